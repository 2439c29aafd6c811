"""Parquet by pyarrow, an optional extra: typed columns, and the images themselves where they are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from seedream_jobs.errors import UsageError
from seedream_jobs.results.export.rows import BOOLEANS, INTEGERS, LISTS, Exported, Rows
from seedream_jobs.results.export.tables import FILE, relative, way_from

GROUP_ROWS = 1_000
GROUP_BYTES = 64 * 1024 * 1024
"""A row group is written when it has so many rows, or so many bytes of images: that much is in memory."""


def load_pyarrow() -> Any:
    """pyarrow with its parquet module.

    :raises UsageError: it is not installed
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            "parquet needs pyarrow, which is not installed", hint="python -m pip install 'seedream-jobs[parquet]'"
        ) from None
    return pyarrow


def write_parquet(rows: Rows, out: BinaryIO, base: Path, told: Callable[[int], None], *, with_images: bool) -> Exported:
    """One file, written in groups of rows.

    :param with_images: add a column ``image`` of ``{bytes, path}``, as Hugging Face's viewer and ``datasets`` read it
    :raises UsageError: pyarrow is not installed
    """
    arrow = load_pyarrow()
    schema = _schema(arrow, rows, with_images=with_images)
    group: list[dict[str, Any]] = []
    held, count = 0, 0
    way = way_from(base, rows.folder)
    with arrow.parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for row in rows.sound():
            values = {FILE: relative(row, way)} | dict(row.values)
            if with_images:
                data = row.source.read_bytes()
                values["image"] = {"bytes": data, "path": row.name.name}
                held += len(data)
            group.append(values)
            count += 1
            if len(group) >= GROUP_ROWS or held >= GROUP_BYTES:
                writer.write_table(arrow.Table.from_pylist(group, schema))
                group, held = [], 0
            told(count)
        if group:
            writer.write_table(arrow.Table.from_pylist(group, schema))
    return rows.exported(count)


def _schema(arrow: Any, rows: Rows, *, with_images: bool) -> Any:
    def kind(name: str) -> Any:
        if name in LISTS:
            return arrow.list_(arrow.string())
        if name in INTEGERS:
            return arrow.int64()
        return arrow.bool_() if name in BOOLEANS else arrow.string()

    fields = [arrow.field(name, kind(name)) for name in (FILE, *rows.columns)]
    if not with_images:
        return arrow.schema(fields)
    fields.append(arrow.field("image", arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])))
    known = {"info": {"features": {"image": {"_type": "Image"}}}}
    return arrow.schema(fields, metadata={"huggingface": json.dumps(known)})
