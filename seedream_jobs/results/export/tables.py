"""Tables of text: csv that a spreadsheet can't be tricked by, and JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from seedream_jobs.results.export.rows import Exported, Row, Rows

FILE = "file"
"""The column of the image's path: relative to the table's folder, POSIX."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def safe(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe before ``= + - @``, tab and carriage return.

    (OWASP, "CSV Injection". Prompts and axis values come from files that others wrote.)
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def write_csv(rows: Rows, out: BinaryIO, base: Path, told: Callable[[int], None]) -> Exported:
    """RFC 4180, UTF-8 without a byte order mark. Lists are JSON; what is not known is empty.

    :param base: the folder that ``file`` is relative to
    """
    columns = rows.columns
    line = io.StringIO()
    writer = csv.writer(line)

    def put(fields: list[Any]) -> None:
        writer.writerow(fields)
        out.write(line.getvalue().encode("utf-8", "backslashreplace"))
        line.seek(0)
        line.truncate()

    put([safe(name) for name in (FILE, *columns)])
    count, way = 0, way_from(base, rows.folder)
    for count, row in enumerate(rows.sound(), 1):
        put([_field(value) for value in (relative(row, way), *(row.values[name] for name in columns))])
        told(count)
    return rows.exported(count)


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


def write_jsonl(rows: Rows, out: BinaryIO, base: Path, told: Callable[[int], None]) -> Exported:
    """One object per line, UTF-8, the columns in order; what is not known is null."""
    count, way = 0, way_from(base, rows.folder)
    for count, row in enumerate(rows.sound(), 1):
        out.write(json_line({FILE: relative(row, way)} | dict(row.values)))
        told(count)
    return rows.exported(count)


def json_line(values: dict[str, Any]) -> bytes:
    """One line of JSON Lines."""
    return (json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def way_from(base: Path, folder: Path) -> str:
    """How ``folder`` is reached from ``base``, POSIX."""
    return Path(os.path.relpath(folder, base)).as_posix()


def relative(row: Row, way: str) -> str:
    """The image's path, where ``way`` leads to its manifest's folder."""
    return posixpath.normpath(posixpath.join(way, row.file))
