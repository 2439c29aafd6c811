"""``cost``: over all records of a campaign, by job, axis value, month and model."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.ledger.state import State
from seedream_jobs.plans.load import load_job
from tests.campaign import NOW, TARGET, history, record, requests_of

Command = Callable[..., Any]
OTHER = "version: 1\nrequest: {prompt: '{{ who }}'}\nmatrix: {who: ['=cmd', an owl]}\noutput: {dir: out/other}\n"
MONTH = 31 * 86_400


@pytest.fixture
def paid(campaign: Path) -> Path:
    """Two jobs of four and two requests; one of them in doubt, one made again a month later."""
    (campaign / "sub").mkdir()
    (campaign / "sub/other.yaml").write_text(OTHER, encoding="utf-8")
    for name in ("garden.yaml", "sub/other.yaml"):
        job = load_job(campaign / name, shown=name, target=TARGET, sets={})
        first, *rest = requests_of(job)
        events = history(first, State.STORED) + history(first, State.STORED, at=NOW + MONTH, generation=2)
        events += [event for one in rest[:-1] for event in history(one, State.STORED)]
        record(job, events + history(rest[-1], State.IN_DOUBT))
    return campaign


def test_by_job(quick: Command, paid: Path) -> None:
    """Each job as the user names it, the dearest first, and the total; what is in doubt counts as spent."""
    lines = quick("cost").out.splitlines()
    assert [line.split() for line in lines] == [
        ["job", "requests", "images", "charged", "USD", "counts", "as", "spent"],
        ["garden.yaml", "4", "3", "0.0912", "0.1140"],
        ["sub/other.yaml", "2", "1", "0.0456", "0.0684"],
        ["total", "6", "4", "0.1368", "0.1824"],
    ]
    assert json.loads(quick("cost", "sub/other.yaml", "--format", "json").out)["total"]["charged_usd"] == "0.0456"


def test_by_month(quick: Command, paid: Path) -> None:
    """A request made again counts in both months, each with its own charge."""
    rows = json.loads(quick("cost", "--by", "month", "--format", "json").out)["rows"]
    assert [(row["month"], row["requests"], row["charged_usd"]) for row in rows] == [
        ("2026-08", 6, "0.0912"),
        ("2026-09", 2, "0.0456"),
    ]


def test_by_axis(quick: Command, paid: Path) -> None:
    """Each axis adds up to the total: what does not have it is a row of its own. No label is a formula."""
    rows = list(csv.DictReader(io.StringIO(quick("cost", "--by", "axis", "--format", "csv").out)))
    for axis in ("size", "subject", "who"):
        assert sum(int(row["requests"]) for row in rows if row["axis"] == axis) == 6
    assert {row["value"] for row in rows if row["axis"] == "who"} == {"'=cmd", "an owl", ""}


def test_a_task_on_two_records_is_counted_once(quick: Command, paid: Path) -> None:
    """A job copied with its record, as people do before they change it."""
    shutil.copy(paid / "garden.manifest.jsonl", paid / "copy.manifest.jsonl")
    shutil.copy(paid / "garden.yaml", paid / "copy.yaml")
    document = json.loads(quick("cost", "--format", "json").out)
    assert document["total"]["charged_usd"] == "0.1368"
    assert document["counted_once"] == 4
    assert "on two records" in quick("cost").out


def test_a_job_that_was_never_run(quick: Command, campaign: Path) -> None:
    ended = quick("cost")
    assert ended.code == 2
    assert "nothing was submitted in the campaign" in ended.err
    assert quick("cost", "garden.yaml").code == 2


def test_a_rehearsal_is_play_money(command: Command) -> None:
    command("run", "garden.yaml", "--emulator", "--no-gallery")
    assert "play money" in command("cost", "--emulator").out
    assert command("cost").code == 2
