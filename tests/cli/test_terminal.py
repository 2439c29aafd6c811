"""The screen of a person: a terminal of 80 columns that pyte draws, while a real command runs in it."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyte
import pytest

from tests import terminals
from tests.canary import CANARY
from tests.service import serving

PATIENCE = 120.0
"""Seconds after which a screen that does not come is given up."""


class Screen:
    """A command in a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str, columns: int = 80, lines: int = 24, **environment: str) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        self._leader, self.process = terminals.start(
            [sys.executable, "-m", "seedream_jobs", *arguments],
            folder,
            {**kept, "HOME": str(folder), "LANG": "C.UTF-8", "TERM": "xterm", **environment},
            columns=columns,
            lines=lines,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._leader)

    @property
    def lines(self) -> list[str]:
        """The lines that have something on them."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def colours(self) -> set[tuple[str, str]]:
        """(foreground, background) of every cell that is not in the terminal's own colours."""
        cells = (cell for row in self._screen.buffer.values() for cell in row.values())
        return {(cell.fg, cell.bg) for cell in cells} - {("default", "default")}

    def until(self, shown: Callable[[str], Any]) -> None:
        """Go on until the screen shows something, or the command ends."""
        begun = time.monotonic()
        while not shown("\n".join(self.lines)):
            assert time.monotonic() - begun < PATIENCE, self.lines
            if not select.select([self._leader], [], [], 1.0)[0]:
                continue
            try:
                more = os.read(self._leader, 65536)
            except OSError:  # Linux: the other side is closed
                return
            self.raw += more
            self._stream.feed(more)

    def end(self) -> int:
        """Go on to the end of the command; its exit code."""
        self.until(lambda _: False)
        return self.process.wait()

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._leader, keys)

    def resize(self, columns: int, lines: int = 24) -> None:
        """Give the terminal another size."""
        self._screen.resize(lines, columns)
        terminals.resize(self._leader, columns, lines)
        os.killpg(self.process.pid, signal.SIGWINCH)


@pytest.fixture
def slow() -> Iterator[str]:
    """A service whose tasks take longer than a test."""
    with serving("--delay", "600", "--spread", "0", "--images", "plain") as url:
        yield url


def elapsed(text: str) -> str:
    """The time that the bar shows."""
    found = re.search(r"(\d+:\d\d) elapsed", text)
    return found[1] if found else ""


def test_a_run_that_is_under_way(campaign: Path, slow: str) -> None:
    """The plan stays, the bar moves below it, nothing is cut; it survives another width, and Ctrl-C ends it."""
    words = ("run", "garden.yaml", "--yes", "--base-url", slow)
    with Screen(campaign, *words, APIMART_API_KEY=CANARY) as screen:
        screen.until(lambda text: "4 running" in text)
        top = "\n".join(screen.lines)
        assert "  + 4 new           nothing submitted so far" in screen.lines
        bar, counts = screen.lines[-2:]
        assert re.fullmatch(r"░{30}  0 of 4 finished · \d+:\d\d elapsed", bar)
        assert counts == "4 of 4 submitted · 4 running · 0 done · 0 images · 0.0000 of at most 0.0912 USD"
        assert "…" not in top
        before = elapsed(top)
        screen.until(lambda text: elapsed(text) not in ("", before))  # time passes, though nothing happens
        for columns in (50, 120):
            screen.resize(columns)
            now = elapsed("\n".join(screen.lines))
            screen.until(lambda text, now=now: elapsed(text) not in ("", now))  # type: ignore[misc]
            screen.until(lambda text: "at most 0.0912 USD" in text)
            text = "\n".join(screen.lines)
            assert (text.count("finished"), text.count("submitted ·")) == (1, 1), text
        screen.type(b"\x03")
        assert screen.end() == 130
        text = "\n".join(screen.lines)
        assert "finished" not in text, "the bar is gone"
        assert "garden.yaml: 4 submitted" in text
        assert "4 not fetched yet: seedream-jobs fetch garden.yaml" in text


def test_a_plan_and_a_status(campaign: Path) -> None:
    """No line is broken in mid-word, what goes on stands below its note; colours are the terminal's own."""
    with Screen(campaign, "run", "garden.yaml", "--emulator") as screen:
        assert screen.end() == 0
        first, last = screen.lines[0], screen.lines[-1]
        assert first == "A rehearsal on the emulator: nothing is paid, and every amount is play money."
        assert "This was a rehearsal: nothing was paid." in "\n".join(screen.lines[-3:]), last
    job = (campaign / "garden.yaml").read_text(encoding="utf-8")
    new = "a quiet garden behind the old house, 在花园里的一只苍鹭，在秋天的早晨，阳光照进花园"
    (campaign / "garden.yaml").write_text(job.replace("a garden", new), encoding="utf-8")
    with Screen(campaign, "plan", "garden.yaml", "--emulator") as screen:
        assert screen.end() == 0
        text = "\n".join(screen.lines)
        at = next(number for number, line in enumerate(screen.lines) if line.startswith("  + 4 new"))
        assert screen.lines[at + 1].startswith(" " * 20)
        noted = re.sub(r"\s+", "", "".join(screen.lines[at : at + 4]))
        assert "promptchanged:'garden'→'quietgardenbehindtheoldhouse,在花园里的一只苍鹭，" in noted
        for word in ("behind", "house,"):
            assert re.search(rf"(^|\s){word}(\s|$)", text, re.MULTILINE), "no word is broken"
        assert {colour for colour, _ in screen.colours} <= {"green", "red", "brown", "cyan"}
        assert {background for _, background in screen.colours} == {"default"}, "readable on light and on dark"
        assert screen.colours
    with Screen(campaign, "status", "garden.yaml", "--emulator", "--offline", columns=60) as screen:
        assert screen.end() == 0
        assert "0.0912 USD charged of 0.0912 estimated (play money)" in " ".join(" ".join(screen.lines).split())
        assert not any(len(line) > 60 for line in screen.lines)
    with Screen(campaign, "plan", "garden.yaml", "--emulator", NO_COLOR="1") as screen:
        assert screen.end() == 0
        assert b"\x1b[" not in screen.raw


def test_a_command_that_finds_only_a_rehearsal_says_so(command: Callable[..., Any], campaign: Path) -> None:
    """Each with the command that looks at the rehearsal."""
    assert command("run", "garden.yaml", "--emulator").code == 0
    for words in (("plan",), ("status",), ("fetch",), ("cost",), ("gallery",), ("export", "--format", "csv")):
        ended = command(words[0], "garden.yaml", *words[1:])
        assert "only a rehearsal on the emulator" in ended.err, words
        assert f"seedream-jobs {words[0]} garden.yaml --emulator" in ended.err, words
    ended = command("pull", "garden.yaml")
    assert (ended.code, "only a rehearsal" in ended.err, "--emulator" in ended.err) == (2, True, False), "it has none"
    ended = command("cost")
    assert (ended.code, "the rehearsals: seedream-jobs cost --emulator" in ended.err) == (2, True)
    asked = command("run", "garden.yaml", APIMART_API_KEY=CANARY)
    assert "only a rehearsal on the emulator" in asked.err


def test_a_rehearsal_says_that_it_is_one(command: Callable[..., Any]) -> None:
    """At its start, at its end, and behind every amount; a paid run never does."""
    ended = command("run", "garden.yaml", "--emulator")
    first, last = ended.err.splitlines()[0], ended.err.splitlines()[-1]
    assert ("rehearsal" in first, "rehearsal" in last) == (True, True)
    amounts = re.findall(r"\d\.\d{4} (?:USD|estimated).{0,13}", ended.out)
    assert [amount for amount in amounts if "(play money)" in amount], ended.out
    assert "0.0912 USD (play money)" in ended.out
    assert "0.0912 USD charged of 0.0912 estimated (play money)" in ended.out
    fetched = command("fetch", "garden.yaml", "--emulator")
    assert "rehearsal" in fetched.err.splitlines()[0]
    assert fetched.err.splitlines()[-1] == "This was a rehearsal: nothing was paid.", "fetch never pays"
    told = command("export", "garden.yaml", "--emulator", "--format", "csv", "--select", "{size: 16:9}").err
    assert "of 0.0912 USD (play money) charged were for what has no row" in told
    assert re.search(r"^balance .* USD \(play money\)$", command("doctor", "--emulator").out, re.MULTILINE)
    for form in ("markdown", "github", "json"):
        shown = command(
            "plan", "garden.yaml", "--emulator", "--again", "garden/subject=a-heron,size=16-9#1", "--format", form
        )
        assert shown.code in (0, 2)
    assert "play money" not in command("plan", "garden.yaml").out
