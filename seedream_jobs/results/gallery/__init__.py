"""The gallery: a static folder, or one file, that shows a run as a grid and opens from disk."""

from __future__ import annotations

from seedream_jobs.results.gallery.page import write_gallery
from seedream_jobs.results.gallery.values import Cell, Run

__all__ = ["Cell", "Run", "write_gallery"]
