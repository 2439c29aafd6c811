"""This module shows what a run is doing: a live line on a terminal, a line every 30 s elsewhere, or JSON Lines.

Called by ``run``, ``fetch`` and ``status --wait``, which hand it the events. Invariant: it only counts, and writes to
stderr alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Self

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.diagnostics import plural
from seedream_jobs.foreign_text import visible
from seedream_jobs.ledger.state import Accepted, Completed, Event, Expired, Failed, InDoubt, Intended, NotSent, Rejected
from seedream_jobs.report.json import json_text
from seedream_jobs.report.text import duration

if TYPE_CHECKING:  # it takes 50 ms to import
    from seedream_jobs.run.fetch import ImageEvent

Mode = Literal["live", "lines", "json", "quiet"]
LINE_EVERY = 30.0
"""Seconds between two lines where nobody watches."""


class ProgressDisplay:
    """Counts events and shows them on stderr.

    :param total: requests that are to be submitted; None where nothing is
    :param running: tasks of earlier runs that are polled, too
    :param wall: Unix seconds
    :param draw: draws the live line over the one before
    """

    def __init__(
        self,
        mode: Mode,
        *,
        total: int,
        running: int = 0,
        wall: Callable[[], float] = time.time,
        draw: Callable[[str], None] | None = None,
    ) -> None:
        self.mode, self.total, self._wall, self._draw = mode, total, wall, draw
        self.sent = self.done = self.failed = self.in_doubt = self.images = 0
        self.running = running
        self.cost = Decimal(0)
        self.trouble = ""
        self.dies: dict[str, int] = {}
        self._last_line = time.monotonic()

    # -- what happened -------------------------------------------------------------------------------------------------

    def on_event(self, event: Event, outcome: Outcome | None) -> None:
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
            case Failed() | Expired():
                self.running -= 1
                self.failed += 1
                self.cost += event.cost_usd or Decimal(0)
            case Rejected():
                self.sent += 1
                self.failed += 1
            case InDoubt():
                self.sent += 1
                self.in_doubt += 1
            case NotSent() if outcome is not None and outcome.verdict == "not_sent" and outcome.stop is None:
                self.on_trouble(event.reason)
                return
            case Intended() | NotSent():
                return
            case _:
                pass
        self.trouble = ""
        self._show(type(event).__name__.lower(), event.key)

    def on_image(self, event: ImageEvent) -> None:
        """Count an image."""
        if event.kind == "stored":
            self.images += 1
            self.dies.pop(event.entry.key, None)
        elif event.kind in ("queued", "again"):
            return
        self._show(f"image_{event.kind}", event.entry.key)

    def on_trouble(self, reason: str) -> None:
        """Show why the service is asked again; an empty reason ends the trouble."""
        # The first reason is shown at once: a line that only stands still tells a person nothing.
        begun, self.trouble = bool(reason) and not self.trouble, reason
        if begun and self.mode == "json":
            self._write(event="trouble", reason=reason)
        elif reason and self.mode == "lines":
            self._line(at_once=begun)
        else:
            self._show_live()

    def on_news(self, text: str) -> None:
        """Show at once what a person should know, such as another price."""
        if self.mode == "json":
            self._write(event="news", text=text)
        elif self.mode != "quiet":
            sys.stderr.write(f"warning: {visible(text)}\n")

    # -- how it is shown -----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._show_live()
        return self

    def __exit__(self, *_: object) -> None:
        if self.mode == "live" and self._draw is not None:
            self._draw("")

    def line(self) -> str:
        """Everything on one line."""
        parts = [f"{self.sent}/{self.total} submitted"] if self.total else []
        parts += [f"{self.running} running", f"{self.done} done", plural(self.images, "image")]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.in_doubt:
            parts.append(f"{self.in_doubt} in doubt")
        if self.cost:
            parts.append(f"{self.cost:.4f} USD")
        if self.dies:
            parts.append(f"links live {duration(min(self.dies.values()) - self._wall())}")
        if self.trouble:
            parts.append(f"trying again after: {self.trouble}")
        return " · ".join(parts)

    def _show_live(self) -> None:
        if self.mode == "live" and self._draw is not None:
            self._draw(self.line())

    def _show(self, what: str, key: str) -> None:
        if self.mode == "json":
            self._write(event=what, key=key)
        elif self.mode == "lines":
            self._line()
        else:
            self._show_live()

    def _line(self, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self._last_line >= LINE_EVERY:
            self._last_line = time.monotonic()
            sys.stderr.write(f"{visible(self.line())}\n")

    def _write(self, **event: str) -> None:
        numbers = {
            "submitted": self.sent,
            "total": self.total,
            "running": self.running,
            "done": self.done,
            "failed": self.failed,
            "in_doubt": self.in_doubt,
            "images": self.images,
            "cost_usd": str(self.cost),
        }
        sys.stderr.write(json_text({**event, **numbers}) + "\n")
