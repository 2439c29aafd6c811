"""What Hugging Face's ``datasets`` makes of each export, where it is installed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.results.export import export

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``load_dataset``, off the network and with a cache of its own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (it is large: pip install datasets)")

    def read(kind: str, **options: Any) -> Any:
        return datasets.load_dataset(kind, split="train", cache_dir=str(tmp_path / "cache"), **options)

    return read


def test_imagefolder(garden: Any, tmp_path: Path, load: Any) -> None:
    """Images with their rows; the card and its front matter do not disturb."""
    export(garden.rows(), "imagefolder", tmp_path / "data", stdout=io.BytesIO())
    found = load("imagefolder", data_dir=str(tmp_path / "data"))
    assert found.num_rows == 4
    assert {row["image"].size for row in found} == {(16, 9)}
    assert {row["prompt"] for row in found} == {row.values["prompt"] for row in garden.rows()}


def test_webdataset(garden: Any, tmp_path: Path, load: Any) -> None:
    """Samples with decoded image, text and row."""
    export(garden.rows(), "webdataset", tmp_path / "w", stdout=io.BytesIO(), shard_bytes=20_480)
    found = load("webdataset", data_dir=str(tmp_path / "w"))
    assert found.num_rows == 4
    for row in found:
        told = row["json"] if isinstance(row["json"], dict) else json.loads(row["json"])
        assert (row["jpeg"].size, told["prompt"]) == ((16, 9), row["txt"])


def test_parquet_with_images(garden: Any, tmp_path: Path, load: Any) -> None:
    """The column of images is one without being told."""
    export(garden.rows(), "parquet", tmp_path / "x.parquet", stdout=io.BytesIO(), with_images=True)
    found = load("parquet", data_files=str(tmp_path / "x.parquet"))
    assert found[0]["image"].size == (16, 9)
