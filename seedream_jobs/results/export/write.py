"""Chooses the writer of a format and gives it a place: a file that appears whole, a folder, or standard output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from seedream_jobs.errors import UsageError
from seedream_jobs.results.export.files import whole_file
from seedream_jobs.results.export.rows import Exported, Rows

FILES = ("csv", "jsonl", "parquet")
FOLDERS = ("imagefolder", "webdataset")
FORMATS = (*FILES, *FOLDERS)
STREAMS = ("csv", "jsonl")
"""What can go to standard output."""

SHARD_BYTES = 1_000_000_000


def export(
    rows: Rows,
    form: str,
    target: Path | None,
    *,
    stdout: BinaryIO,
    told: Callable[[int], None] = lambda _: None,
    shard_bytes: int = SHARD_BYTES,
    with_images: bool = False,
) -> Exported:
    """Write a job's images in one of ``FORMATS``.

    :param target: the file or folder; None is standard output
    :param told: called with the number of images so far
    :param shard_bytes: of webdataset: the most bytes of a shard
    :param with_images: of parquet: the images, too
    :raises UsageError: the format can't go there, or pyarrow is not installed
    :raises OSError: as the file system does; nothing half-written stands under a final name
    """
    if target is None:
        if form not in STREAMS:
            raise UsageError(f"{form} can't go to standard output", hint="name a place: -o PATH")
        return _write(rows, form, stdout, Path.cwd(), told, with_images=False)
    if form in FILES:
        return _to_file(rows, form, target, told, with_images=with_images)
    if form == "imagefolder":
        from seedream_jobs.results.export.imagefolder import write_imagefolder

        return write_imagefolder(rows, target, told)
    from seedream_jobs.results.export.webdataset import write_webdataset

    return write_webdataset(rows, target, told, shard_bytes=shard_bytes)


def _to_file(rows: Rows, form: str, target: Path, told: Callable[[int], None], *, with_images: bool) -> Exported:
    if target.is_dir():
        raise UsageError(f"{target} is a folder", hint=f"{form} is one file, such as -o {target / f'images.{form}'}")
    if target.exists() and not target.is_file():  # a device or a pipe: it is written to, never replaced
        with target.open("wb") as out:
            return _write(rows, form, out, target.parent, told, with_images=with_images)
    with whole_file(target) as out:
        return _write(rows, form, out, target.resolve().parent, told, with_images=with_images)


def _write(
    rows: Rows, form: str, out: BinaryIO, base: Path, told: Callable[[int], None], *, with_images: bool
) -> Exported:
    if form == "parquet":
        from seedream_jobs.results.export.parquet import write_parquet

        return write_parquet(rows, out, base, told, with_images=with_images)
    from seedream_jobs.results.export.tables import write_csv, write_jsonl

    return (write_csv if form == "csv" else write_jsonl)(rows, out, base, told)
