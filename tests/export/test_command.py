"""The commands ``export`` and ``ratings apply`` on a rehearsed campaign."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from seedream_jobs.cli.main import run_command
from seedream_jobs.results.export import export

JOB = 'version: 1\nrequest: {prompt: "{{ s }} in a garden"}\nmatrix: {s: [a heron, a cat], size: [16:9, 1:1]}\n'
Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Ended]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of four requests run on the emulator."""
    folder = tmp_path_factory.mktemp("campaign")
    (folder / "garden.yaml").write_text(JOB, encoding="utf-8")
    ended = started(folder, "run", "garden.yaml", "--emulator", "--limit", "3", "--no-gallery")
    assert ended.returncode == 0, ended.stderr
    return folder


def environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(folder), "LANG": "C.UTF-8", "GIT_CEILING_DIRECTORIES": str(folder.parent)}


def started(folder: Path, *arguments: str) -> Ended:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "seedream_jobs", *arguments],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """A command in this process."""

    def run(folder: Path, *arguments: str) -> Ended:
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            for name in list(os.environ):
                patch.delenv(name)
            for name, value in environment(folder).items():
                patch.setenv(name, value)
            capfd.readouterr()
            code = run_command(list(arguments))
            sys.stdout.flush()
        return Ended(arguments, code, *capfd.readouterr())

    return run


def test_csv_to_standard_output(call: Call, campaign: Path) -> None:
    """Data on stdout, the count on stderr, in the job's order."""
    ended = call(campaign, "export", "garden.yaml", "--emulator", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    assert ended.returncode == 0
    assert [(row["axis_s"], row["axis_size"]) for row in rows] == [
        ("a heron", "16:9"),
        ("a heron", "1:1"),
        ("a cat", "16:9"),
    ]
    assert "3 images as csv" in ended.stderr
    assert "1 request without a stored image left out" in ended.stderr
    assert all((campaign / row["file"]).is_file() for row in rows)


def test_progress_for_machines(call: Call, campaign: Path) -> None:
    """With --json every line of stderr is JSON, and the last one has the counts."""
    ended = call(campaign, "export", "garden.yaml", "--emulator", "--format", "csv", "--json")
    events = [json.loads(line) for line in ended.stderr.splitlines()]
    counts = {"images": 3, "missing": 0, "without_image": 1, "charged_usd": "0.0684", "left_out_usd": "0"}
    assert events[-1] == {"event": "exported"} | counts


def test_only_what_is_selected(call: Call, campaign: Path) -> None:
    ended = call(campaign, "export", "garden.yaml", "--emulator", "--format", "jsonl", "--select", "{s: a cat}")
    assert [json.loads(line)["axis_s"] for line in ended.stdout.splitlines()] == ["a cat"]


def test_from_the_manifest_alone(call: Call, campaign: Path) -> None:
    """As on another machine: the axes are those on record."""
    manifest = ".seedream/emulator/garden.manifest.jsonl"
    ended = call(campaign, "export", manifest, "--format", "jsonl")
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(rows) == 3
    assert rows[0].keys() >= {"axis_s", "axis_size"}


@pytest.mark.parametrize("form", ["csv", "jsonl", "imagefolder", "webdataset", "parquet"])
def test_what_is_no_image_is_left_out(garden: Any, tmp_path: Path, form: str) -> None:
    """Missing, empty, a pointer, edited to the same size: named with what is wrong, in every format."""
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    first, second, third, fourth = garden.rows()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    first.source.unlink()
    second.source.write_bytes(b"")
    third.source.write_bytes(pointer)
    fourth.source.write_bytes(bytes(fourth.values["bytes"]))
    rows = garden.rows()
    export(rows, form, tmp_path / "x", stdout=io.BytesIO())
    assert (rows.images, rows.missing) == (0, 4)
    assert [name for name, _ in rows.named] == [str(row.name) for row in (first, second, third, fourth)]
    sizes = [row.values["bytes"] for row in (second, third)]
    assert [why for _, why in rows.named] == [
        "not on disk",
        f"0 bytes where {sizes[0]} were stored",
        f"a Git LFS pointer, {len(pointer)} bytes where {sizes[1]} were stored",
        "changed since it was stored",
    ]


def test_a_missing_image_is_exit_8(call: Call, campaign: Path) -> None:
    """The name of the file and the command that brings it back."""
    file = next((campaign / ".seedream/emulator/out").rglob("*.jpeg"))
    aside = file.rename(file.with_suffix(".aside"))
    ended = call(campaign, "export", "garden.yaml", "--emulator", "--format", "imagefolder", "-o", "short")
    aside.rename(file)
    assert ended.returncode == 8
    assert file.name in ended.stderr
    assert "seedream-jobs fetch garden.yaml --verify --emulator" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "xml"), "xml"),
        (("--format", "webdataset"), "name a place: -o PATH"),
        (("--format", "webdataset", "-o", "w", "--shard-size", "big"), "'big' is not a size"),
        (("--format", "csv", "-o", "."), "is a folder"),
        (("--format", "csv", "--select", "nope == 1"), "nope"),
        ((), "--format"),
    ],
)
def test_bad_options(call: Call, campaign: Path, arguments: tuple[str, ...], said: str) -> None:
    ended = call(campaign, "export", "garden.yaml", "--emulator", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr


@pytest.mark.parametrize("output", ["garden.yaml", ".seedream/emulator/garden.manifest.jsonl"])
def test_no_job_file_and_no_record_is_written_over(call: Call, campaign: Path, output: str) -> None:
    """The record holds what was paid."""
    before = (campaign / output).read_bytes()
    ended = call(campaign, "export", "garden.yaml", "--emulator", "--format", "jsonl", "-o", output)
    assert (ended.returncode, (campaign / output).read_bytes()) == (2, before)
    assert f"{output} is the name of a job file or a record" in ended.stderr


def test_a_place_that_cannot_be_written(call: Call, campaign: Path) -> None:
    """One line and the next step, exit 74."""
    (campaign / "plain").write_text("x", encoding="utf-8")
    ended = call(campaign, "export", "garden.yaml", "--emulator", "--format", "csv", "-o", "plain/x.csv")
    assert ended.returncode == 74
    assert ended.stderr.startswith("error: ")


def test_memory_does_not_grow_with_the_images(record: Any, tmp_path: Path) -> None:
    """Five times the rows (3 MB of prompts) take the same memory, in each of the formats that stream."""

    def peak(form: str) -> int:
        tracemalloc.start()
        export(record.rows(), form, tmp_path / form, stdout=io.BytesIO())
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    record.add("x" * 4000)
    entry = record.entries[next(iter(record.entries))]

    def grow(count: int) -> None:
        for number in range(len(record.entries), count):
            record.entries.put(replace(entry, key=f"v1:{number:064x}"))

    grow(150)  # more than a shard
    few = {form: peak(form) for form in ("csv", "jsonl")}
    grow(750)
    for form, before in few.items():
        assert min(peak(form), peak(form)) < before + 500_000, form  # what is imported or cached once counts once


RATING = {
    "key": "v1:" + "0" * 64,
    "address": "garden/s=a-heron#1",
    "index": 1,
    "rating": 4,
    "note": "calm",
    "sha256": "a" * 64,
}


@pytest.fixture
def ratings(campaign: Path) -> Callable[..., Path]:
    """Writes an export of the gallery, as its schema describes it."""

    def write(**changes: Any) -> Path:
        content = {"format": 2, "job": "garden", "reviewer": "mei", "ratings": [RATING], **changes}
        path = campaign / "ratings.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


def test_ratings_become_a_review(call: Call, campaign: Path, ratings: Callable[..., Path]) -> None:
    """reviews/<job>.yaml in the campaign's root, whose path is the command's output; twice is the same as once."""
    ratings(job="garden")
    ended = call(campaign, "ratings", "apply", "ratings.json", "garden.yaml")
    assert ended.returncode == 0, ended.stderr
    review = Path(ended.stdout.strip())
    assert review == campaign / "reviews" / "garden.yaml"
    assert yaml.safe_load(review.read_bytes())["job"] == "garden"
    before = review.read_bytes()
    assert call(campaign, "ratings", "apply", "ratings.json").returncode == 0
    assert review.read_bytes() == before


def test_ratings_of_another_job_are_refused(call: Call, campaign: Path, ratings: Callable[..., Path]) -> None:
    """Where jobs are named, the export must be of one of them; and it must be an export."""
    ratings(job="park")
    ended = call(campaign, "ratings", "apply", "ratings.json", "garden.yaml")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "'park', not 'garden'" in ended.stderr
    for name in ("nope.json", "garden.yaml"):
        ended = call(campaign, "ratings", "apply", name, "garden.yaml")
        assert (ended.returncode, ended.stdout) == (2, "")
    assert not (campaign / "reviews" / "park.yaml").exists()
