"""csv, jsonl and parquet, read by the readers that everybody uses."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.errors import UsageError
from seedream_jobs.foreign_text import csv_text
from seedream_jobs.results.export import export, tables
from seedream_jobs.results.export.tables import safe
from tests.lanes import examples

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")', "=cmd|' /C calc'!A0")

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed: pip install 'seedream-jobs[parquet]'"
)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, strict=True))


def test_one_row_per_image(garden: Any, tmp_path: Path) -> None:
    """Two images of one request are two rows that share its price; a request without an image has none."""
    rows = garden.rows()
    export(rows, "csv", tmp_path / "t" / "x.csv", stdout=io.BytesIO())
    found = rows_of(tmp_path / "t" / "x.csv")
    assert (rows.images, rows.without_image, len(found)) == (4, 1, 4)
    assert [row["number"] for row in found] == ["1", "1", "2", "1"]
    assert {row["cost_usd"] for row in found} == {"0.0228"}
    assert len({(row["key"], row["number"]) for row in found}) == 4


def test_axes_are_columns(garden: Any, tmp_path: Path) -> None:
    """Those of any request on record, between the request's identity and its payload."""
    export(garden.rows(), "csv", tmp_path / "x.csv", stdout=io.BytesIO())
    found = rows_of(tmp_path / "x.csv")
    names = list(found[0])
    assert names[0] == "file"
    assert [name for name in names if name.startswith("axis_")] == ["axis_size", "axis_subject", "axis_weight"]
    assert found[0]["axis_subject"] == "a heron"
    assert found[0]["size"] == "16:9"
    assert found[-1]["axis_weight"] == "3"
    assert found[-1]["axis_size"] == ""


def test_text_survives(garden: Any, tmp_path: Path) -> None:
    """Line breaks, quotes and other scripts, in both formats."""
    prompts = [
        "a heron",
        "two cats, « deux chats » 两只猫",
        "two cats, « deux chats » 两只猫",
        "a fox\nwith a second line",
    ]
    export(garden.rows(), "csv", tmp_path / "x.csv", stdout=io.BytesIO())
    export(garden.rows(), "jsonl", tmp_path / "x.jsonl", stdout=io.BytesIO())
    assert [row["prompt"] for row in rows_of(tmp_path / "x.csv")] == prompts
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == prompts


def test_the_file_is_found_from_the_table(garden: Any, tmp_path: Path) -> None:
    """Its path is relative to the table's own folder."""
    table = tmp_path / "elsewhere" / "deep" / "x.jsonl"
    export(garden.rows(), "jsonl", table, stdout=io.BytesIO())
    for line in table.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert (table.parent / row["file"]).stat().st_size == row["bytes"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_is_a_formula(record: Any, tmp_path: Path, formula: str) -> None:
    """A prompt, an axis' value and an axis' name that a spreadsheet would run stand behind an apostrophe."""
    record.add(formula, subject=formula)
    export(record.rows(), "csv", tmp_path / "x.csv", stdout=io.BytesIO())
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as lines:
        cells = [cell for row in csv.reader(lines) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert cells.count(csv_text("'" + formula)) == 2


@settings(max_examples=examples(40))
@given(st.one_of(st.text(max_size=20), st.sampled_from("=+-@\t\r'").flatmap(lambda first: st.just(first + "1"))))
def test_safe_only_adds_an_apostrophe(text: str) -> None:
    """Nothing else is changed, and nothing dangerous is left."""
    found = safe(text)
    assert found in (text, "'" + text)
    assert not found.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_standard_output(garden: Any) -> None:
    """The same bytes as in a file of the current folder; a folder's format can't go there."""
    out = io.BytesIO()
    export(garden.rows(), "csv", None, stdout=out)
    assert out.getvalue().count(b"\r\n") == 5
    for form in ("imagefolder", "webdataset", "parquet"):
        with pytest.raises(UsageError, match="standard output"):
            export(garden.rows(), form, None, stdout=out)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_failure_leaves_the_old_table(garden: Any, tmp_path: Path, form: str) -> None:
    """Whole or not at all: an error in the middle keeps what was there, and no half-written file."""
    table = tmp_path / "t" / "x"
    export(garden.rows(), form, table, stdout=io.BytesIO())
    before = table.read_bytes()

    def full(count: int) -> None:
        if count == 2:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        export(garden.rows(on_progress=full), form, table, stdout=io.BytesIO())
    assert table.read_bytes() == before
    assert list(table.parent.iterdir()) == [table]


def test_a_folder_is_no_file(garden: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        export(garden.rows(), "csv", tmp_path, stdout=io.BytesIO())


def test_nothing_to_export(record: Any, tmp_path: Path) -> None:
    """A head and no rows."""
    rows = record.rows()
    export(rows, "csv", tmp_path / "x.csv", stdout=io.BytesIO())
    assert rows.images == 0
    assert rows_of(tmp_path / "x.csv") == []


def test_a_device_is_written_to(garden: Any, tmp_path: Path) -> None:
    """Never replaced by a file: `-o /dev/stdout`, a named pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    export(garden.rows(), "csv", pipe, stdout=io.BytesIO())
    reader.join()
    assert pipe.is_fifo()
    assert read[0].count(b"\r\n") == 5


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
    assert str(table.schema.field("cost_usd").type) == "decimal128(38, 15)"
    assert str(table.schema.field("submitted_at").type) == "timestamp[us, tz=UTC]"
    assert sum(table.column("cost_usd").to_pylist()) == Decimal("0.0912")
    assert set(table.column("submitted_at").to_pylist()) == {datetime.fromtimestamp(1_790_000_000, UTC)}
    assert table.column("watermark").to_pylist() == [None] * 4
    assert table.column("axis_subject").to_pylist() == ["a heron", "cats", "cats", "a fox"]


@needs_pyarrow
def test_images_in_the_table(garden: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `datasets` keeps them, and in groups of rows, so that memory stays flat."""
    from pyarrow import parquet

    monkeypatch.setattr(tables, "GROUP_ROWS", 3)
    export(garden.rows(), "parquet", tmp_path / "x.parquet", stdout=io.BytesIO(), with_images=True)
    file = parquet.ParquetFile(tmp_path / "x.parquet")
    assert file.num_row_groups == 2
    for row in file.read().to_pylist():
        assert len(row["image"]["bytes"]) == row["bytes"]
        assert row["image"]["path"] == row["file"].rpartition("/")[2]
    known = json.loads(file.schema_arrow.metadata[b"huggingface"])
    assert known["info"]["features"]["image"] == {"_type": "Image"}
