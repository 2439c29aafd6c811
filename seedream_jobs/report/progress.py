"""This module shows what a run is doing: a bar on a terminal, a line every 30 s elsewhere, or JSON Lines.

Called by ``run``, ``fetch`` and ``status --wait``, which hand it the events. Invariant: it only counts, and writes to
stderr alone. rich's Live would draw the bar, too, but puts its own file in the place of stdout and stderr, which here
are the door that shows text of others without obeying it; drawing three lines takes less code than joining the two.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Self

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.diagnostics import plural
from seedream_jobs.foreign_text import one_line, visible, width, wrapped
from seedream_jobs.ledger.codec import iso
from seedream_jobs.ledger.service_errors import with_meaning
from seedream_jobs.ledger.state import (
    Accepted,
    Completed,
    Entry,
    Event,
    Expired,
    Failed,
    InDoubt,
    Intended,
    NotSent,
    Rejected,
)
from seedream_jobs.plans.cost import PLAY_MONEY, money
from seedream_jobs.report.json import json_text
from seedream_jobs.report.text import duration

if TYPE_CHECKING:  # they take 50 ms to import
    from seedream_jobs.run.fetch import ImageEvent
    from seedream_jobs.run.job_run import JobRun

Mode = Literal["live", "lines", "json", "quiet"]
LINE_EVERY = 30.0
"""Seconds between two lines where nobody watches."""
DRAW_EVERY = 0.1
"""Seconds between two drawings of the bar: a fast run has a thousand events in that time."""
WINDOW = 60
"""Seconds, about, over which the rate is measured."""
BAR = 30
"""Columns of the bar, where there is room; below ``SHORT_BAR`` there is none."""
SHORT_BAR = 8

FIELDS = {
    "event": "what happened: `accepted`, `completed`, `failed`, `expired`, `rejected`, `indoubt` of a request; "
    "`image_stored`, `image_failed`, `image_lost` of an image; `trouble`, `news`; at last `end`",
    "time": "when, RFC 3339 in UTC",
    "job": "the job file, as it was named; of a request or an image",
    "address": "the request's address, such as `garden/style=ink#1`",
    "key": "the request's key",
    "file": "the image's file, from the manifest's folder; of `image_stored`",
    "detail": "why an image was not fetched; of `image_failed` and `image_lost`",
    "reason": "why the service is asked again; of `trouble`",
    "text": "what a person should know, such as another price; of `news`",
    "exit_code": "the exit code of the command; of `end`",
    "finished": "requests that are settled, their images stored",
    "requests": "requests that this command is about",
    "submitted": "requests that went out",
    "total": "requests that were to be submitted",
    "running": "tasks that are polled",
    "done": "tasks that the service has completed",
    "failed": "requests that were rejected, failed or expired",
    "in_doubt": "submissions whose outcome is unknown",
    "images": "images stored",
    "cost_usd": "USD charged so far, as a string",
    "max_cost_usd": "the most that these submissions, and tasks of earlier runs that go on, can cost, USD as a string; "
    "null where it is unknown, and for fetch",
    "play_money": "whether it is a rehearsal on the emulator, which costs nothing",
}
"""The fields of a line of ``--json``: those up to ``exit_code`` belong to some events, the others to every one."""


class ProgressDisplay:
    """Counts events and shows them on stderr.

    :param total: requests that are to be submitted
    :param running: tasks of earlier runs that are polled, too; of ``ready`` requests only the images are left to fetch
    :param most: USD that submissions and tasks cost at most; None where it is unknown, or nothing is submitted
    :param detach: nothing is polled, so that a request is finished once it went out
    :param play_money: it is a rehearsal
    :param wall: Unix seconds
    :param clock: seconds that never go back
    :param draw: draws lines over those before
    """

    def __init__(
        self,
        mode: Mode,
        *,
        total: int,
        running: int = 0,
        ready: int = 0,
        most: Decimal | None = None,
        detach: bool = False,
        play_money: bool = False,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[str], None] | None = None,
    ) -> None:
        self.mode, self.total, self._wall, self._clock, self._draw = mode, total, wall, clock, draw
        self._most, self._detach, self._play_money = most, detach, play_money
        self.requests = total + running + ready
        self.sent = self.done = self.failed = self.in_doubt = self.images = 0
        self.running = running
        self.cost = Decimal(0)
        self.trouble = ""
        self.dies: dict[str, int] = {}
        self._settled: set[str] = set()
        self._to_fetch: dict[str, int] = {}  # of a request whose images are on their way, how many are left
        self._begun = self._last_line = clock()
        self._last_drawn = self._begun - DRAW_EVERY
        self._samples = deque([(self._begun, 0)], maxlen=WINDOW)

    @property
    def finished(self) -> int:
        """How many of the requests are settled."""
        return self.sent if self._detach else len(self._settled)

    # -- what happened -------------------------------------------------------------------------------------------------

    def on_event(self, event: Event, outcome: Outcome | None, run: JobRun | None = None) -> None:
        """Count an event of the ledger."""
        match event:
            case Accepted():
                self.sent += 1
                self.running += 1
            case Completed():
                self.running -= 1
                self.done += 1
                self.cost += event.cost_usd or Decimal(0)
                links = [image.expires_at for image in event.images if image.expires_at is not None]
                if links:
                    self.dies[event.key] = min(links)
                if not event.images:
                    self._settled.add(event.key)
            case Failed() | Expired():
                self.running -= 1
                self.failed += 1
                self.cost += event.cost_usd or Decimal(0)
                self._settled.add(event.key)
            case Rejected():
                self.sent += 1
                self.failed += 1
                self._settled.add(event.key)
            case InDoubt():
                self.sent += 1
                self.in_doubt += 1
                self._settled.add(event.key)
            case NotSent() if outcome is not None and outcome.verdict == "not_sent" and outcome.stop is None:
                problem = outcome.problem
                self.on_trouble(with_meaning(event.reason, problem, step=False) if problem else event.reason)
                return
            case Intended() | NotSent():
                return
            case _:
                pass
        self.trouble = ""
        entry = run.ledger.entries.find(event.key) if run is not None and self.mode == "json" else None
        self._show(type(event).__name__.lower(), event.key, run, entry)

    def on_image(self, event: ImageEvent, run: JobRun | None = None) -> None:
        """Count an image."""
        key = event.entry.key
        if event.kind == "queued":
            self._to_fetch[key] = self._to_fetch.get(key, 0) + 1
            return
        if event.kind == "again":
            return
        self._to_fetch[key] = self._to_fetch.get(key, 1) - 1
        if self._to_fetch[key] <= 0:
            del self._to_fetch[key]
            self._settled.add(key)
        if event.kind == "stored":
            self.images += 1
            self.dies.pop(key, None)
        about = {"file": event.image.file or ""} if event.image is not None else {"detail": event.detail}
        self._show(f"image_{event.kind}", key, run, event.entry, **about)

    def on_trouble(self, reason: str) -> None:
        """Show why the service is asked again; an empty reason ends the trouble."""
        # The first reason is shown at once: a line that only stands still tells a person nothing.
        begun, self.trouble = bool(reason) and not self.trouble, reason
        if begun and self.mode == "json":
            self._write(event="trouble", reason=reason)
        elif reason and self.mode == "lines":
            self._line(at_once=begun)
        else:
            self._show_live(at_once=begun)

    def on_news(self, text: str) -> None:
        """Show at once what a person should know, such as another price."""
        if self.mode == "json":
            self._write(event="news", text=text)
        elif self.mode != "quiet":
            sys.stderr.write(f"warning: {visible(text)}\n")

    def on_tick(self) -> None:
        """Show how time passes, also while nothing happens; called about once a second."""
        self._samples.append((self._clock(), self.finished))
        if self.mode == "lines":
            self._line()
        else:
            self._show_live()

    # -- how it is shown -----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._show_live(at_once=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.mode == "live" and self._draw is not None:
            self._draw("")

    def end(self, code: int) -> None:
        """Tell a program that reads the events how the command ended."""
        if self.mode == "json":
            self._write(event="end", exit_code=code)

    def line(self) -> str:
        """Everything on one line."""
        return " · ".join([*self._pace(), *self._counts()])

    def lines(self, columns: int) -> str:
        """The same for a terminal: the bar, then the counts, on as many lines as they take."""
        pace = " · ".join(self._pace())
        room = min(BAR, columns - width(pace) - 2)
        bar = f"{self._bar(room)}  " if room >= SHORT_BAR and self.requests else ""
        return "\n".join([*_folded(bar + pace, columns), *_folded(" · ".join(self._counts()), columns)])

    def _bar(self, columns: int) -> str:
        full, empty = ("█", "░") if (sys.stderr.encoding or "").lower().startswith("utf") else ("#", "-")
        done = columns * min(self.finished, self.requests) // self.requests
        return full * done + empty * (columns - done)

    def _pace(self) -> Iterator[str]:
        """How far, how fast, how long."""
        now = self._clock()
        if self.requests:
            share = f" ({100 * self.finished // self.requests} %)" if self.finished else ""
            yield f"{self.finished:,} of {self.requests:,} finished{share}"
        since, before = self._samples[0]
        rate = (self.finished - before) / (now - since) if now > since else 0.0
        if rate:
            yield f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
        yield f"{_clock_time(now - self._begun)} elapsed"
        if rate and self.finished < self.requests:
            yield f"about {_clock_time((self.requests - self.finished) / rate)} left"

    def _counts(self) -> Iterator[str]:
        if self.total:
            yield f"{self.sent:,} of {self.total:,} submitted"
        yield f"{self.running:,} running"
        yield f"{self.done:,} done"
        yield plural(self.images, "image")
        if self.failed:
            yield f"{self.failed:,} failed"
        if self.in_doubt:
            yield f"{self.in_doubt:,} in doubt"
        if self.cost or self.total:
            paid = money(self.cost)
            most = "" if self._most is None else f"{paid.removesuffix(' USD')} of at most {money(self._most)}"
            yield (most or paid) + (PLAY_MONEY if self._play_money else "")
        if self.dies:
            yield f"links live {duration(min(self.dies.values()) - self._wall())}"
        if self.trouble:
            yield f"trying again after: {one_line(self.trouble, 200)}"

    def _show_live(self, *, at_once: bool = False) -> None:
        if self.mode == "live" and self._draw is not None:
            now = self._clock()
            if at_once or now - self._last_drawn >= DRAW_EVERY:
                self._last_drawn = now
                # One column is left free: some terminals begin a new line after the last one.
                self._draw(self.lines(shutil.get_terminal_size().columns - 1))

    def _show(self, what: str, key: str, run: JobRun | None, entry: Entry | None, **about: str) -> None:
        if self.mode == "json":
            job = {} if run is None else {"job": run.shown}
            address = {} if entry is None else {"address": entry.address}
            self._write(event=what, **job, **address, key=key, **about)
        elif self.mode == "lines":
            self._line()
        else:
            self._show_live()

    def _line(self, *, at_once: bool = False) -> None:
        if at_once or self._clock() - self._last_line >= LINE_EVERY:
            self._last_line = self._clock()
            sys.stderr.write(f"{visible(self.line())}\n")

    def _write(self, *, event: str, **about: str | int) -> None:
        numbers = {
            "finished": self.finished,
            "requests": self.requests,
            "submitted": self.sent,
            "total": self.total,
            "running": self.running,
            "done": self.done,
            "failed": self.failed,
            "in_doubt": self.in_doubt,
            "images": self.images,
            "cost_usd": str(self.cost),
            "max_cost_usd": None if self._most is None else str(self._most),
            "play_money": self._play_money,
        }
        line = {"event": event, "time": iso(int(self._wall())), **about, **numbers}
        sys.stderr.write(json_text(line) + "\n")


def _folded(line: str, columns: int) -> list[str]:
    """A line, parted between its facts where it is wider than a terminal, and where one fact is, between its words."""
    found = [""]
    for fact in line.split(" · "):
        joined = f"{found[-1]} · {fact}" if found[-1] else fact
        if width(visible(joined)) <= columns:
            found[-1] = joined
        else:
            found.append(fact)
    return [piece for one in found if one for piece in wrapped(visible(one), columns).split("\n")]


def _clock_time(seconds: float) -> str:
    """``0:07``, ``12:34``, ``1:02:03``."""
    minutes, left = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
