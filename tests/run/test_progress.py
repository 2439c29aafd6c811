"""What a run shows while it is under way: how far, how fast, for how much, and what is in its way."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, cast

import pytest

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.errors import ExitCode
from seedream_jobs.foreign_text import width
from seedream_jobs.ledger.state import Accepted, Completed, Expired, Image, NotSent
from seedream_jobs.report.progress import FIELDS, ProgressDisplay
from seedream_jobs.run.fetch import ImageEvent

NOT_SENT = NotSent(key="v1:1", at=0, reason="connect: refused")
ACCEPTED = Accepted(key="v1:1", at=0, task_id="task_1")
RETRIED = Outcome(row=3, verdict="not_sent")


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def progress(mode: str = "lines", **options: Any) -> ProgressDisplay:
    return ProgressDisplay(mode, **{"total": 2, "clock": Clock(), **options})  # type: ignore[arg-type]


def test_trouble_is_told_at_once_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A line when it begins, none for each further attempt; it is gone with the first answer."""
    shown = progress()
    for _ in range(3):
        shown.on_event(NOT_SENT, RETRIED)
    told = "0 of 2 submitted · 0 running · 0 done · 0 images · 0.0000 USD · trying again after: connect: refused"
    assert capsys.readouterr().err == f"0 of 2 finished · 0:00 elapsed · {told}\n"
    shown.on_event(ACCEPTED, None)
    assert shown.line().endswith("1 of 2 submitted · 1 running · 0 done · 0 images · 0.0000 USD")
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
    shown.on_news("another price")
    shown.end(3)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [one["event"] for one in told] == ["trouble", "accepted", "completed", "news", "end"]
    assert (told[0]["reason"], told[3]["text"], told[4]["exit_code"]) == ("HTTP 503", "another price", 3)
    assert all(one.keys() <= FIELDS.keys() for one in told)
    assert "0.0228 USD" in shown.line()


def test_tasks_of_earlier_runs_are_running() -> None:
    """A fetch polls them: they run before it begins, and the count does not fall below nothing."""
    shown = progress("quiet", total=0, running=3, ready=1)
    assert shown.line() == "0 of 4 finished · 0:00 elapsed · 3 running · 0 done · 0 images"
    shown.on_event(Completed(key="v1:1", at=0, images=()), None)
    assert shown.line() == "1 of 4 finished (25 %) · 0:00 elapsed · 2 running · 1 done · 0 images"


class Entry:
    """Of an entry, what an event about an image needs."""

    def __init__(self, key: str) -> None:
        self.key, self.address = key, f"garden/{key}#1"


def image(kind: Any, key: str) -> ImageEvent:
    return ImageEvent(kind=kind, entry=cast("Any", Entry(key)), detail="HTTP 500")


def test_a_request_is_finished_with_its_last_image() -> None:
    """Not when its task is done; and once, though an image is asked for again, or fails."""
    shown = progress("quiet", total=3)
    two = (Image(url="http://a/1"), Image(url="http://a/2"))
    shown.on_event(ACCEPTED, None)
    shown.on_event(Completed(key="v1:1", at=0, images=two), None)
    for kind in ("queued", "queued", "stored", "again"):
        shown.on_image(image(kind, "v1:1"))
    assert shown.finished == 0
    shown.on_image(image("stored", "v1:1"))
    assert (shown.finished, shown.images) == (1, 2)
    shown.on_event(Expired(key="v1:2", at=0), None)
    for kind in ("queued", "failed"):
        shown.on_image(image(kind, "v1:3"))
    assert shown.finished == 3


def test_rate_elapsed_time_and_what_is_left() -> None:
    """The rate is that of the last minute; nothing is foretold before the first request is finished."""
    shown = progress("quiet", total=130, most=Decimal("2.964"), play_money=True)
    clock = cast("Clock", shown._clock)
    assert "left" not in shown.line()
    for second in range(1, 101):
        clock.now = second
        shown.on_event(Expired(key=f"v1:{second}", at=0), None)
        shown.on_tick()
    assert shown.line().startswith("100 of 130 finished (76 %) · 1.0/s · 1:40 elapsed · about 0:30 left · 0 of 130")
    assert "0.0000 of at most 2.9640 USD (play money)" in shown.line()
    clock.now = 4000.0
    assert "1:06:40 elapsed" in shown.line()
    assert "/min" in shown.line()


def test_a_line_every_thirty_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal; also while nothing happens."""
    shown = progress()
    clock = cast("Clock", shown._clock)
    for second in range(1, 91):
        clock.now = second
        shown.on_tick()
    assert [line.split(" · ")[1] for line in capsys.readouterr().err.splitlines()] == [
        "0:30 elapsed",
        "1:00 elapsed",
        "1:30 elapsed",
    ]


@pytest.mark.parametrize("columns", [20, 40, 59, 79, 119, 200])
def test_nothing_is_cut_in_any_width(columns: int) -> None:
    """Facts go to further lines, which fit; the bar is left out where it has no room."""
    shown = progress("quiet", total=100_000, most=Decimal("2280"), play_money=True)
    clock = cast("Clock", shown._clock)
    for number in range(70):
        shown.on_event(Accepted(key=f"v1:{number}", at=0, task_id="task_1"), None)
        shown.on_event(Expired(key=f"v1:{number}", at=0), None)
    clock.now = 7.0
    shown.on_trouble("HTTP 503 from the service, twice")
    drawn = shown.lines(columns).split("\n")
    assert max(map(width, drawn)) <= columns
    words = " ".join(drawn).replace("█", "").replace("░", "").replace(" · ", " ").split()
    assert words == shown.line().replace(" · ", " ").split()
    assert ("░" in drawn[0]) is (columns >= 119)


def test_a_run_that_is_detached_ends_with_what_went_out() -> None:
    shown = progress("quiet", total=1, detach=True)
    shown.on_event(ACCEPTED, None)
    assert shown.line().startswith("1 of 1 finished (100 %)")
