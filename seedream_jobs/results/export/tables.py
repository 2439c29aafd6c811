"""This module writes tables: csv whose text no spreadsheet runs as a formula, JSON Lines, and parquet by pyarrow.

Called by ``export``. Invariant: every format has the same columns, of which the first, ``file``, is the image's path
relative to the table's folder.
"""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from seedream_jobs.atomic_file import read_regular
from seedream_jobs.errors import UsageError
from seedream_jobs.foreign_text import csv_text, escaped_json
from seedream_jobs.results.export.rows import (
    BOOLEANS,
    INTEGERS,
    LISTS,
    MONEY,
    NUMBERS,
    TIMES,
    ExportRow,
    ExportRows,
    typed,
)

FILE = "file"
GROUP_ROWS = 1_000
GROUP_BYTES = 64 * 1024 * 1024
"""A row group of parquet is written when it has so many rows, or so many bytes of images: that much is in memory."""

_PLACES = 15
"""Decimal places of money in parquet: as many as a record may have, so that sums of rows are exact."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _with_file(rows: ExportRows, base: Path) -> Iterator[tuple[ExportRow, dict[str, Any]]]:
    """The intact rows, and their values with the image's path, POSIX, relative to ``base``."""
    folder = Path(os.path.relpath(rows.folder, base)).as_posix()
    for row in rows.intact():
        yield row, {FILE: posixpath.normpath(posixpath.join(folder, row.file)), **row.values}


def safe(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe before ``= + - @``, tab and carriage return.

    (OWASP, "CSV Injection". Prompts and axis values come from files that others wrote.)
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def write_csv(rows: ExportRows, out: BinaryIO, base: Path) -> None:
    """RFC 4180, UTF-8 without a byte order mark. Lists are JSON; an unknown value is empty.

    What a terminal or the runner of a CI would obey is shown as an escape: the table may go to standard output.

    :param base: the folder that ``file`` is relative to
    """
    # Each line is encoded by itself: ``out`` takes bytes, and half a surrogate pair has no UTF-8.
    columns = (FILE, *rows.columns)
    line = io.StringIO()
    writer = csv.writer(line)

    def put(fields: list[Any]) -> None:
        writer.writerow([csv_text(field) if isinstance(field, str) else field for field in fields])
        out.write(line.getvalue().encode("utf-8", "backslashreplace"))
        line.seek(0)
        line.truncate()

    put([safe(name) for name in columns])  # the names of axes are others' words, too
    for _, values in _with_file(rows, base):
        put([_field(values[name]) for name in columns])


def _field(value: Any) -> Any:
    match value:
        case str():
            return safe(value)
        case None | []:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return value


def write_jsonl(rows: ExportRows, out: BinaryIO, base: Path) -> None:
    """One object per line, UTF-8, the columns in order; an unknown value is null."""
    for _, values in _with_file(rows, base):
        out.write(json_line(values))


def json_line(values: dict[str, Any]) -> bytes:
    """One line of JSON Lines."""
    return (escaped_json(json.dumps(values, ensure_ascii=False)) + "\n").encode()


def write_parquet(rows: ExportRows, out: BinaryIO, base: Path, *, with_images: bool) -> None:
    """One file, written in groups of rows.

    :param with_images: add a column ``image`` of ``{bytes, path}``, as Hugging Face's viewer and ``datasets`` read it
    :raises UsageError: pyarrow, an optional extra, is not installed
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            "parquet needs pyarrow, which is not installed", hint="python -m pip install 'seedream-jobs[parquet]'"
        ) from None
    schema = _parquet_schema(pyarrow, rows, with_images=with_images)
    group: list[dict[str, Any]] = []
    held = 0
    with pyarrow.parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for row, values in _with_file(rows, base):
            values = typed(values)
            if with_images:
                data = read_regular(row.source)
                values["image"] = {"bytes": data, "path": row.name.name}
                held += len(data)
            group.append(values)
            if len(group) >= GROUP_ROWS or held >= GROUP_BYTES:
                writer.write_table(pyarrow.Table.from_pylist(group, schema))
                group, held = [], 0
        if group:
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


def _parquet_schema(arrow: Any, rows: ExportRows, *, with_images: bool) -> Any:
    def kind(name: str) -> Any:
        if name in LISTS:
            return arrow.list_(arrow.string())
        if name in MONEY:
            return arrow.decimal128(38, _PLACES)
        if name in TIMES:
            return arrow.timestamp("us", tz="UTC")
        if name in INTEGERS:
            return arrow.int64()
        if name in NUMBERS:
            return arrow.float64()
        return arrow.bool_() if name in BOOLEANS else arrow.string()

    fields = [arrow.field(name, kind(name)) for name in (FILE, *rows.columns)]
    if not with_images:
        return arrow.schema(fields)
    fields.append(arrow.field("image", arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])))
    # By this ``datasets`` and the hub's viewer know that the column holds images.
    known = {"info": {"features": {"image": {"_type": "Image"}}}}
    return arrow.schema(fields, metadata={"huggingface": json.dumps(known)})
