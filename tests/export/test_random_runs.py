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


def job(chance: random.Random) -> str:
    subjects = chance.sample(["heron", "owl", "cat", "fox", "robin"], chance.randint(1, 3))
    return (
        "version: 1\nname: garden\nrequest: {prompt: '{{ s }}, {{ style.text }}'}\n"
        f"matrix:\n  s: [{', '.join(subjects)}]\n  n: [{chance.randint(1, 4)}]\n"
        "  style: [{id: ink, text: ink painting, source: ours}, {id: oil, text: oil, source: theirs}]\n"
        f"repeat: {chance.randint(1, 2)}\noutput: {{dir: out}}\n"
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

    options = ("--delay", "0", "--spread", "0", "--images", "plain", "--seed", "14")
    faults = [word for fault in FAULTS for word in ("--fault", fault)]
    with serving("--state", str(tmp_path / "service"), *options, *faults, "--balance", "100000") as url:
        for number in range(RUNS):
            folder = tmp_path / f"run{number}"
            folder.mkdir()
            monkeypatch.chdir(folder)
            Path("garden.yaml").write_text(job(chance), encoding="utf-8")
            there = ("garden.yaml", "--base-url", url)
            for again in ((), ("--retry-failed",))[: 1 + (chance.random() < 0.3)]:
                call("run", *there, "--yes", "--detach", *again)
                a_minute_later(Path("garden.manifest.jsonl"))
                call("fetch", *there, "--no-gallery", "--deadline", "20s")
            (status,) = json.loads(call("status", "garden.yaml", "--offline", "--format", "json").out)
            charged = Decimal(status["charged_usd"])
            exported = call("export", "garden.yaml", "--format", "csv", "--json")
            rows = list(csv.DictReader(io.StringIO(exported.out)))
            told = json.loads(exported.err.splitlines()[-1])
            assert len(rows) == told["images"] == status["images"]
            assert sum(Decimal(row["cost_usd"] or 0) for row in rows) == Decimal(told["charged_usd"])
            assert Decimal(told["charged_usd"]) + Decimal(told["left_out_usd"]) == charged
            assert {(row["axis_style"], row["axis_style.source"]) for row in rows} <= {
                ("ink", "ours"),
                ("oil", "theirs"),
            }
            partly += any(sum(one["key"] == row["key"] for one in rows) < int(row["n"]) for row in rows)
            for by in BY:
                cost = json.loads(call("cost", "--by", by, "--format", "json").out)
                assert Decimal(cost["total"]["charged_usd"]) == charged, by
                assert Decimal(cost["total"]["spent_usd"]) == Decimal(status["spent_usd"]), by
                assert cost["total"]["images"] == status["images"], by
                parts: dict[str, Decimal] = {}
                for row in cost["rows"]:
                    parts[row.get("axis", "")] = parts.get(row.get("axis", ""), Decimal(0)) + Decimal(
                        row["charged_usd"]
                    )
                assert set(parts.values()) == {charged}, by
    assert partly
