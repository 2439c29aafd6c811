"""A job's images as a table or a data set: csv, jsonl, imagefolder, webdataset, parquet. One row per stored image.

Called by ``cli.export``. Invariant: a file gets its final name when it is whole; images are hard links, or copies if
the file system has no links.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from seedream_jobs.atomic_file import whole_file
from seedream_jobs.errors import UsageError
from seedream_jobs.results.export.folders import write_imagefolder, write_webdataset
from seedream_jobs.results.export.rows import ExportRows
from seedream_jobs.results.export.tables import write_csv, write_jsonl, write_parquet

__all__ = ["ExportRows", "export"]


def export(
    rows: ExportRows,
    form: str,
    target: Path | None,
    *,
    stdout: BinaryIO,
    shard_bytes: int = 1_000_000_000,
    with_images: bool = False,
    license_id: str = "unknown",
) -> None:
    """Write a job's images in one format; ``rows`` counts them.

    :param form: ``csv``, ``jsonl``, ``imagefolder``, ``webdataset`` or ``parquet``
    :param target: the file or folder; None is standard output
    :param shard_bytes: of webdataset: the most bytes of a shard
    :param with_images: of parquet: the images, too
    :param license_id: of imagefolder: what the dataset card names
    :raises UsageError: the format can't go there, or pyarrow is not installed
    :raises OSError: as the file system does
    """

    def write_table(out: BinaryIO, base: Path) -> None:
        if form == "parquet":
            write_parquet(rows, out, base, with_images=with_images)
        else:
            (write_csv if form == "csv" else write_jsonl)(rows, out, base)

    if target is None:
        if form not in ("csv", "jsonl"):
            raise UsageError(f"{form} can't go to standard output", hint="name a place: -o PATH")
        write_table(stdout, Path.cwd())
    elif form == "imagefolder":
        write_imagefolder(rows, target, license_id=license_id)
    elif form == "webdataset":
        write_webdataset(rows, target, shard_bytes=shard_bytes)
    elif target.is_dir():
        raise UsageError(f"{target} is a folder", hint=f"{form} is one file, such as -o {target / f'images.{form}'}")
    elif target.exists() and not target.is_file():  # a device or a pipe: it is written to, never replaced
        with target.open("wb") as out:
            write_table(out, target.parent)
    else:
        with whole_file(target) as file:
            write_table(file, target.resolve().parent)
