"""pandas, polars, duckdb and Hugging Face's ``datasets`` read every export, each column with the type that it has.

In the long lane, where they are installed: ``dev.py`` installs them for ``test --newest`` (``READERS``).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.results.export import export
from seedream_jobs.results.export.rows import BOOLEANS, INTEGERS, LISTS, MONEY, NUMBERS, TIMES
from seedream_jobs.results.ratings import Opinion
from seedream_jobs.results.selections import Verdict

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

MOMENT = datetime.fromtimestamp(1_790_000_000, UTC)
FORMS = ("csv", "jsonl", "parquet")
CHARGED = Decimal("0.0912")
NOTES = ["Ana: calm, « doux »"]


@pytest.fixture
def tables(garden: Any, tmp_path: Path) -> dict[str, str]:
    """One file for each format; of four images people said something of the first, and chose it."""
    pytest.importorskip("pyarrow")
    first = next(iter(garden.rows())).values["sha256"]
    rows = garden.rows(
        opinions={
            first: Opinion(rating=4.5, ratings=2, stars=1, wins=1.5, votes=2, notes=(("Ana", "calm, « doux »"),))
        },
        verdicts={first: Verdict(said="chosen", by=("Ana", "Ben"), why="the cover")},
    )
    for form in FORMS:
        export(rows, form, tmp_path / f"x.{form}", stdout=io.BytesIO())
    export(rows, "parquet", tmp_path / "images.parquet", stdout=io.BytesIO(), with_images=True)
    return {file.stem + file.suffix: str(file) for file in tmp_path.glob("*.*") if file.is_file()}


def kind(column: str) -> str:
    """What a column holds, in the words of the page docs/export.md."""
    kinds = {"lists": LISTS, "integers": INTEGERS, "numbers": NUMBERS, "booleans": BOOLEANS, "money": MONEY}
    kinds["times"] = TIMES
    return next((name for name, columns in kinds.items() if column in columns), "text")


def wrong(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """The columns of a parquet file that a reader gives another type."""
    assert {kind(column) for column in found} == set(expected)
    return {column: given for column, given in found.items() if given != expected[kind(column)]}


def test_pandas(tables: dict[str, str]) -> None:
    pandas = pytest.importorskip("pandas")
    read: dict[str, Callable[[str], Any]] = {
        "x.csv": lambda file: pandas.read_csv(file, parse_dates=["submitted_at"], dtype={"cost_usd": str}),
        "x.jsonl": lambda file: pandas.read_json(file, lines=True, dtype={"cost_usd": str, "axis_weight": str}),
        "x.parquet": pandas.read_parquet,
    }
    for name, reader in read.items():
        table = reader(tables[name])
        assert len(table) == 4
        assert {table[column].dtype.kind for column in ("width", "bytes", "stars", "votes")} == {"i"}, name
        assert (table["rating"][0], table["rating"].count(), table["wins"][0]) == (4.5, 1, 1.5), name
        assert pandas.to_datetime(table["submitted_at"])[0].to_pydatetime() == MOMENT, name
        assert sum(map(Decimal, table["cost_usd"])) == CHARGED, name
        notes = table["notes"][0]
        assert list(json.loads(notes) if isinstance(notes, str) else notes) == NOTES, name
    assert isinstance(table["cost_usd"][0], Decimal)
    assert str(table["submitted_at"].dtype) == "datetime64[us, UTC]"
    # By default pandas has floats for integers that may be missing, and objects for lists: arrow's types are exact.
    table = pandas.read_parquet(tables["images.parquet"], dtype_backend="pyarrow")
    image = table.pop("image")
    assert set(image[0]) == {"bytes", "path"}
    expected = {
        "lists": "list<element: string>[pyarrow]",
        "integers": "int64[pyarrow]",
        "numbers": "double[pyarrow]",
        "booleans": "bool[pyarrow]",
        "money": "decimal128(38, 15)[pyarrow]",
        "times": "timestamp[us, tz=UTC][pyarrow]",
        "text": "string[pyarrow]",
    }
    assert wrong({column: str(dtype) for column, dtype in table.dtypes.items()}, expected) == {}


def test_polars(tables: dict[str, str]) -> None:
    polars = pytest.importorskip("polars")
    table = polars.read_parquet(tables["images.parquet"])
    schema = dict(table.schema)
    assert schema.pop("image") == polars.Struct({"bytes": polars.Binary, "path": polars.String})
    expected = {
        "lists": polars.List(polars.String),
        "integers": polars.Int64,
        "numbers": polars.Float64,
        "booleans": polars.Boolean,
        "money": polars.Decimal(38, 15),
        "times": polars.Datetime("us", "UTC"),
        "text": polars.String,
    }
    assert wrong(schema, expected) == {}
    assert table["cost_usd"].sum() == CHARGED
    for name, read in (("x.csv", polars.read_csv), ("x.jsonl", polars.read_ndjson)):
        table = read(tables[name])
        assert table.height == 4
        assert {table.schema[column] for column in ("width", "stars", "votes")} == {polars.Int64}, name
        assert table["rating"].to_list() == [4.5, None, None, None], name
        assert sum(map(Decimal, table["cost_usd"].cast(polars.String))) == CHARGED, name
    assert table.schema["notes"] == polars.List(polars.String)
    assert table.schema["axis_weight"] == polars.String


def test_duckdb(tables: dict[str, str]) -> None:
    duckdb = pytest.importorskip("duckdb")

    def types(name: str) -> dict[str, str]:
        return {row[0]: row[1] for row in duckdb.sql(f"describe from '{tables[name]}'").fetchall()}

    found = types("images.parquet")
    assert found.pop("image") == "STRUCT(bytes BLOB, path VARCHAR)"
    expected = {
        "lists": "VARCHAR[]",
        "integers": "BIGINT",
        "numbers": "DOUBLE",
        "booleans": "BOOLEAN",
        "money": "DECIMAL(38,15)",
        "times": "TIMESTAMP WITH TIME ZONE",
        "text": "VARCHAR",
    }
    assert wrong(found, expected) == {}
    for name in ("x.csv", "x.jsonl", "x.parquet"):
        found = types(name)
        assert {found[column] for column in ("width", "stars", "votes")} == {"BIGINT"}, name
        assert (found["rating"], found["submitted_at"][:9]) == ("DOUBLE", "TIMESTAMP"), name
        values = "count(*), sum(cost_usd::decimal(18, 6)), max(rating), max(wins), max(epoch(submitted_at))"
        (told,) = duckdb.sql(f"select {values} from '{tables[name]}'").fetchall()
        assert told == (4, CHARGED, 4.5, 1.5, MOMENT.timestamp()), name
    assert types("x.jsonl")["notes"] == "VARCHAR[]"


def test_datasets(tables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets")

    def load(kind: str, name: str) -> Any:
        return datasets.load_dataset(kind, data_files=tables[name], split="train", cache_dir=str(tmp_path / "cache"))

    found = load("parquet", "images.parquet")
    features = dict(found.features)
    assert isinstance(features.pop("image"), datasets.Image)
    assert found[0]["image"].size == (16, 9)
    kinds = {"integers": "int64", "numbers": "float64", "booleans": "bool", "text": "string"}
    kinds |= {"money": "decimal128(38, 15)", "times": "timestamp[us, tz=UTC]"}
    expected = {"lists": datasets.List(datasets.Value("string"))}
    expected |= {name: datasets.Value(dtype) for name, dtype in kinds.items()}
    assert wrong(features, expected) == {}
    assert (found[0]["submitted_at"], sum(found["cost_usd"])) == (MOMENT, CHARGED)
    for form, kind in (("csv", "csv"), ("jsonl", "json")):
        found = load(kind, f"x.{form}")
        assert found.num_rows == 4
        assert {found.features[column].dtype for column in ("width", "stars", "votes")} == {"int64"}, form
        assert found.features["rating"].dtype == "float64", form
        assert found[0]["prompt"] == "a heron"
    assert found.features["notes"] == datasets.List(datasets.Value("string"))
    assert found[0]["notes"] == NOTES
