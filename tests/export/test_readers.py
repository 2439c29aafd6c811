"""pandas, polars and duckdb read every table with the types that it has. In the long lane, where they are installed."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.results.export import export

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

MOMENT = datetime.fromtimestamp(1_790_000_000, UTC)
FORMS = ("csv", "jsonl", "parquet")


@pytest.fixture
def tables(garden: Any, tmp_path: Path) -> dict[str, str]:
    """One file for each format."""
    pytest.importorskip("pyarrow")
    for form in FORMS:
        export(garden.rows(), form, tmp_path / f"x.{form}", stdout=io.BytesIO())
    return {form: str(tmp_path / f"x.{form}") for form in FORMS}


def test_pandas(tables: dict[str, str]) -> None:
    pandas = pytest.importorskip("pandas")
    read = {
        "csv": lambda file: pandas.read_csv(file, parse_dates=["submitted_at"], dtype={"cost_usd": str}),
        "jsonl": lambda file: pandas.read_json(file, lines=True, dtype={"cost_usd": str, "axis_weight": str}),
        "parquet": pandas.read_parquet,
    }
    for form, file in tables.items():
        table = read[form](file)
        assert len(table) == 4
        assert table["width"].dtype.kind == "i", form
        assert pandas.to_datetime(table["submitted_at"])[0].to_pydatetime() == MOMENT, form
        assert sum(map(Decimal, table["cost_usd"])) == Decimal("0.0912"), form
    table = pandas.read_parquet(tables["parquet"])
    assert isinstance(table["cost_usd"][0], Decimal)
    assert str(table["submitted_at"].dtype) == "datetime64[us, UTC]"


def test_polars(tables: dict[str, str]) -> None:
    polars = pytest.importorskip("polars")
    table = polars.read_parquet(tables["parquet"])
    assert table.schema["cost_usd"] == polars.Decimal(38, 15)
    assert table.schema["submitted_at"] == polars.Datetime("us", "UTC")
    assert table.schema["warnings"] == polars.List(polars.String)
    assert table["cost_usd"].sum() == Decimal("0.0912")
    for form, read in (("csv", polars.read_csv), ("jsonl", polars.read_ndjson)):
        table = read(tables[form])
        assert table.height == 4
        assert table.schema["width"] == polars.Int64, form


def test_duckdb(tables: dict[str, str]) -> None:
    duckdb = pytest.importorskip("duckdb")
    types = "typeof(any_value(width)), typeof(any_value(submitted_at)), sum(cost_usd::decimal(18, 6))"
    for form, file in tables.items():
        found = duckdb.sql(f"select {types} from '{file}'").limit(1).fetchall()[0]
        assert found[0] == "BIGINT", form
        assert found[1].startswith("TIMESTAMP"), form
        assert found[2] == Decimal("0.0912"), form
    assert duckdb.sql(f"select typeof(cost_usd) from '{tables['parquet']}'").limit(1).fetchall() == [
        ("DECIMAL(38,15)",)
    ]


def test_datasets(garden: Any, tables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets")
    for form, kind in (("csv", "csv"), ("jsonl", "json"), ("parquet", "parquet")):
        found = datasets.load_dataset(kind, data_files=tables[form], split="train", cache_dir=str(tmp_path / "cache"))
        assert found.num_rows == 4
        assert found.features["width"].dtype == "int64", form
    assert found.features["cost_usd"].dtype == "decimal128(38, 15)"
    assert found.features["submitted_at"].dtype == "timestamp[us, tz=UTC]"
    assert json.loads(json.dumps(found[0]["prompt"])) == "a heron"
