"""The line a run shows while it is under way: counts, and what is in its way."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.errors import ExitCode
from seedream_jobs.ledger.state import Accepted, Completed, NotSent
from seedream_jobs.report.progress import ProgressDisplay

NOT_SENT = NotSent(key="v1:1", at=0, reason="connect: refused")
ACCEPTED = Accepted(key="v1:1", at=0, task_id="task_1")
RETRIED = Outcome(row=3, verdict="not_sent")


def progress(mode: str = "lines") -> ProgressDisplay:
    return ProgressDisplay(mode, total=2)  # type: ignore[arg-type]


def test_trouble_is_told_at_once_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A line when it begins, none for each further attempt; it is gone with the first answer."""
    shown = progress()
    for _ in range(3):
        shown.on_event(NOT_SENT, RETRIED)
    told = "0/2 submitted · 0 running · 0 done · 0 images · trying again after: connect: refused"
    assert capsys.readouterr().err == told + "\n"
    shown.on_event(ACCEPTED, None)
    assert shown.line() == "1/2 submitted · 1 running · 0 done · 0 images"
    shown.on_event(NOT_SENT, RETRIED)
    assert capsys.readouterr().err.endswith("trying again after: connect: refused\n")


def test_a_refusal_of_the_run_is_not_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    """What ends the run is told at its end."""
    shown = progress()
    shown.on_event(NOT_SENT, Outcome(row=14, verdict="refused", stop=ExitCode.CREDENTIALS))
    shown.on_event(NOT_SENT, Outcome(row=18, verdict="not_sent", stop=ExitCode.UNFINISHED))
    shown.on_event(NOT_SENT, None)
    assert "trying" not in shown.line() + capsys.readouterr().err


def test_trouble_with_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    """The same while polling, where an empty reason says that the service answers again."""
    shown = progress("json")
    shown.on_trouble("HTTP 503")
    shown.on_trouble("HTTP 503")
    shown.on_trouble("")
    shown.on_event(ACCEPTED, None)
    shown.on_event(Completed(key="v1:1", at=0, images=(), cost_usd=Decimal("0.0228")), None)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [one["event"] for one in told] == ["trouble", "accepted", "completed"]
    assert told[0]["reason"] == "HTTP 503"
    assert shown.line().endswith("0.0228 USD")


def test_tasks_of_earlier_runs_are_running() -> None:
    """A fetch polls them: they run before it begins, and the count does not fall below nothing."""
    shown = ProgressDisplay("quiet", total=0, running=3)
    assert shown.line() == "3 running · 0 done · 0 images"
    shown.on_event(Completed(key="v1:1", at=0, images=()), None)
    assert shown.line() == "2 running · 1 done · 0 images"
