"""Runs against a service with faults: what an export's rows cost, and what ``cost`` adds up, ``status`` says, too."""

from __future__ import annotations

import csv
import io
import json
import random
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.cli.main import run_command
from tests.cli.test_whole_way import a_minute_later
from tests.lanes import examples
from tests.service import serving

RUNS = examples(300, few=20)
CAMPAIGN = 20
"""Jobs of one campaign, whose images are fetched together."""
FAULTS = (
    "task-failed:0.1",
    "task-failed-charged:0.15",
    "task-image-error:0.4",
    "task-no-cost:0.05",
    "task-without-images-charged:0.05",
    "image-404:0.05",
    "moderation:0.05",
)
BY = ("job", "axis", "month", "model")


def job(name: str, chance: random.Random) -> str:
    subjects = chance.sample(["heron", "owl", "cat", "fox", "robin"], chance.randint(1, 3))
    return (
        f"version: 1\nrequest: {{prompt: '{name}: {{{{ s }}}}, {{{{ style.text }}}}'}}\n"
        f"matrix:\n  s: [{', '.join(subjects)}]\n  n: [{chance.randint(1, 4)}]\n"
        "  style: [{id: ink, text: ink painting, source: ours}, {id: oil, text: oil, source: theirs}]\n"
        f"repeat: {chance.randint(1, 2)}\noutput: {{dir: out/{name}}}\n"
    )


def test_exports_status_and_cost_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    chance = random.Random(14)
    partly = 0

    def call(*arguments: str) -> Any:
        capfd.readouterr()
        monkeypatch.setenv("APIMART_API_KEY", "x")  # a command that has read it takes it out of the environment
        code = run_command([*arguments])
        sys.stdout.flush()
        assert code not in (2, 70), capfd.readouterr().err
        return capfd.readouterr()

    def check(name: str) -> tuple[Decimal, Decimal, int]:
        nonlocal partly
        (status,) = json.loads(call("status", name, "--offline", "--format", "json").out)
        exported = call("export", name, "--format", "csv", "--json")
        rows = list(csv.DictReader(io.StringIO(exported.out)))
        told = json.loads(exported.err.splitlines()[-1])
        assert len(rows) == told["images"] == status["images"]
        assert sum(Decimal(row["cost_usd"] or 0) for row in rows) == Decimal(told["charged_usd"])
        assert Decimal(told["charged_usd"]) + Decimal(told["left_out_usd"]) == Decimal(status["charged_usd"])
        styles = {(row["axis_style"], row["axis_style.source"]) for row in rows}
        assert styles <= {("ink", "ours"), ("oil", "theirs")}
        partly += any(sum(one["key"] == row["key"] for one in rows) < int(row["n"]) for row in rows)
        found = Decimal(status["charged_usd"]), Decimal(status["spent_usd"]), status["images"]
        assert add_up(name) == found
        return found

    def add_up(*names: str) -> tuple[Decimal, Decimal, int]:
        """What ``cost`` says in all, the same whatever it is by; each axis adds up to that."""
        totals = set()
        for by in BY:
            cost = json.loads(call("cost", *names, "--by", by, "--format", "json").out)
            total = cost["total"]
            totals.add((Decimal(total["charged_usd"]), Decimal(total["spent_usd"]), total["images"]))
            parts: dict[str, Decimal] = {}
            for row in cost["rows"]:
                parts[row.get("axis", "")] = parts.get(row.get("axis", ""), Decimal(0)) + Decimal(row["charged_usd"])
            assert set(parts.values()) == {Decimal(total["charged_usd"])}, by
        (only,) = totals
        return only

    options = ("--delay", "0", "--spread", "0", "--images", "plain", "--seed", "14")
    faults = [word for fault in FAULTS for word in ("--fault", fault)]
    with serving("--state", str(tmp_path / "service"), *options, *faults, "--balance", "100000") as url:
        for number in range(RUNS // CAMPAIGN):
            folder = tmp_path / f"campaign{number}"
            folder.mkdir()
            monkeypatch.chdir(folder)
            jobs = [f"run{number}.yaml" for number in range(CAMPAIGN)]
            for name in jobs:
                Path(name).write_text(job(name, chance), encoding="utf-8")
            for again in ((), ("--retry-failed",)):
                for name in jobs if not again else chance.sample(jobs, CAMPAIGN // 3):
                    call("run", name, "--base-url", url, "--yes", "--detach", *again)
                    a_minute_later(Path(name).with_suffix(".manifest.jsonl"))
                call("fetch", *jobs, "--base-url", url, "--no-gallery", "--deadline", "20s")
            sums = [check(name) for name in jobs]
            assert add_up() == tuple(sum(one[at] for one in sums) for at in range(3))
    assert partly
