"""Each example validates, and expands to what its own comment states."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from seedream_jobs.plans.load import Target, load_job

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
TARGET = Target(origin="https://api.example", emulator=False)
MODELINE = "# yaml-language-server: $schema=../schemas/job.schema.json"


def stated(text: str, name: str) -> str | None:
    found = re.search(rf"^# {name}: (.+)$", text, re.MULTILINE)
    return found[1] if found else None


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_example(file: Path, snapshot: SnapshotAssertion) -> None:
    """Its number of requests, its most images and its warnings are as stated, its addresses as they were."""
    text = file.read_text(encoding="utf-8")
    assert text.startswith(MODELINE)
    job = load_job(file, shown=file.name, target=TARGET, sets={})
    places = list(job.expansion.places())
    requests = [job.expansion.request(place) for place in places]
    assert job.expansion.name_collisions() == []
    assert [w.code for w in (*job.warnings, *job.expansion.merge_warnings())] == (
        stated(text, "warnings") or ""
    ).split()
    assert len(requests) == int(stated(text, "requests") or 12)
    assert sum(request.max_images for request in requests) == int(stated(text, "images") or len(requests))
    assert "\n".join(f"{request.address}  {request.payload['prompt']}" for request in requests) == snapshot


def test_every_feature_has_one() -> None:
    """The words of a job file all occur in some example."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in EXAMPLES)
    words = "vars zip include exclude where repeat sample glob range from column types limit extra x- << n: max_images"
    missing = [word for word in words.split() if word not in text]
    assert not missing
    assert {"txt", "csv", "tsv", "json", "jsonl", "yaml"} <= set(re.findall(r"from: data/\w+\.(\w+)", text))
