"""A job's images as a table or a data set: csv, jsonl, imagefolder, webdataset, parquet. One row per stored image."""

from __future__ import annotations

from seedream_jobs.results.export.rows import Exported, Row, Rows
from seedream_jobs.results.export.write import FILES, FOLDERS, FORMATS, export

__all__ = ["FILES", "FOLDERS", "FORMATS", "Exported", "Row", "Rows", "export"]
