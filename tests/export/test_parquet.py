"""Parquet: what is said without pyarrow, and what pyarrow reads where it is installed."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.errors import UsageError
from seedream_jobs.results.export import export
from seedream_jobs.results.export import parquet as module

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed: pip install 'seedream-jobs[parquet]'"
)


def test_without_pyarrow(garden: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line to type, and no file."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError) as refused:
        export(garden.rows(), "parquet", tmp_path / "t" / "x.parquet", stdout=io.BytesIO())
    assert refused.value.hint == "python -m pip install 'seedream-jobs[parquet]'"
    assert list((tmp_path / "t").iterdir()) == []


@needs_pyarrow
def test_columns_have_types(garden: Any, tmp_path: Path) -> None:
    """Numbers are numbers, lists are lists, and what is not known is null."""
    from pyarrow import parquet

    export(garden.rows(), "parquet", tmp_path / "x.parquet", stdout=io.BytesIO())
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.num_rows == 4
    assert str(table.schema.field("width").type) == "int64"
    assert str(table.schema.field("watermark").type) == "bool"
    assert str(table.schema.field("warnings").type).startswith("list")
    assert table.column("watermark").to_pylist() == [None] * 4
    assert table.column("axis_subject").to_pylist() == ["a heron", "cats", "cats", "a fox"]


@needs_pyarrow
def test_images_in_the_table(garden: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `datasets` keeps them, and in groups of rows, so that memory stays flat."""
    from pyarrow import parquet

    monkeypatch.setattr(module, "GROUP_ROWS", 3)
    export(garden.rows(), "parquet", tmp_path / "x.parquet", stdout=io.BytesIO(), with_images=True)
    file = parquet.ParquetFile(tmp_path / "x.parquet")
    assert file.num_row_groups == 2
    for row in file.read().to_pylist():
        assert len(row["image"]["bytes"]) == row["bytes"]
        assert row["image"]["path"] == row["file"].rpartition("/")[2]
    known = json.loads(file.schema_arrow.metadata[b"huggingface"])
    assert known["info"]["features"]["image"] == {"_type": "Image"}
