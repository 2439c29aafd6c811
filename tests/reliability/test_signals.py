"""Ctrl-C, SIGTERM, SIGHUP, a second Ctrl-C, a reader that leaves: through the command, in real processes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import termios
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

START = Callable[..., Any]
HOW_TO_GO_ON = "run the same command later"


def checked(harness: ModuleType, mine: Any, service: Any, ended: Any) -> list[str]:
    """What breaks the promise, and what no interrupted command should say."""
    found: list[str] = harness.audit(mine, service, {}, harness.told(ended.err))
    if "Traceback" in ended.said or "a mistake" in ended.said:
        found.append(ended.said)
    return found


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow)],
    ids=lambda value: str(value),
)
def test_the_first_signal_drains(
    number: signal.Signals, code: int, harness: ModuleType, emulator: START, campaign: START
) -> None:
    """Nothing new is sent, the replies under way are waited for, nothing is in doubt; one line says how to go on."""
    service = emulator("--latency", "300")
    mine = campaign(service, 30)
    command = mine.start("run", "--yes", "--detach", "--json")
    harness.until(lambda: service.count() >= 9, command)
    command.signal(number)
    ended = command.wait(10)
    assert ended.code == code, ended.err
    assert set(mine.states()) <= {"accepted", "new"}
    assert mine.states()["accepted"] == service.count() < 30
    assert ended.err.count(HOW_TO_GO_ON) == 1
    assert checked(harness, mine, service, ended) == []
    again = mine.run("--detach")
    assert (again.code, service.count(), mine.states()) == (0, 30, {"accepted": 30})


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
    ids=lambda value: str(value),
)
def test_what_does_not_drain_is_in_doubt(
    number: signal.Signals, code: int, harness: ModuleType, emulator: START, campaign: START
) -> None:
    """Replies that never come are given up, 2 s after SIGTERM or at a second Ctrl-C; listed, never repeated."""
    service = emulator("--fault", "hang-after-accept")
    mine = campaign(service, 20)
    command = mine.start("run", "--yes", "--detach", "--json")
    harness.until(lambda: service.count() == 8, command)
    command.signal(number)
    if number == signal.SIGINT:
        with pytest.raises(subprocess.TimeoutExpired):
            command.process.wait(0.8)
        command.signal(number)
    ended = command.wait(5)
    assert ended.code == code, ended.err
    assert mine.states() == {"in_doubt": 8}
    assert {line["doubt"] for line in mine.entries().values()} == {"interrupted"}
    assert "8 in doubt: seedream-jobs resolve job.yaml" in ended.err
    assert ended.err.count(HOW_TO_GO_ON) == 1
    assert checked(harness, mine, service, ended) == []
    service.restart()
    again = mine.run("--detach")
    assert (again.code, service.count(), mine.states()) == (6, 20, {"accepted": 12, "in_doubt": 8})


def test_polling_stops_at_once(harness: ModuleType, emulator: START, campaign: START) -> None:
    """Ctrl-C while tasks are asked for ends the command; every id is on record, and fetch goes on."""
    service = emulator("--delay", "600")
    mine = campaign(service, 10)
    command = mine.start("run", "--yes", "--json")
    harness.until(lambda: service.count() == 10, command)
    harness.until(lambda: len(harness.snapshot(mine).acknowledged) == 10, command)
    command.signal(signal.SIGINT)
    ended = command.wait(5)
    assert (ended.code, mine.states()) == (130, {"accepted": 10}), ended.err
    assert ended.err.count("error: interrupted\n") == 1
    assert "seedream-jobs fetch job.yaml" in ended.err
    assert not mine.journal.exists(), "it was folded"
    assert checked(harness, mine, service, ended) == []


def test_downloading_stops_at_once(harness: ModuleType, emulator: START, campaign: START) -> None:
    """Ctrl-C amid downloads leaves no half file under a final name, and fetch brings the rest."""
    service = emulator("--delay", "0")
    mine = campaign(service, 6)
    assert mine.run("--detach").code == 0
    mine.age(60)
    service.restart("--delay", "0", "--fault", "image-slow:every=2", "--slow", "30")
    command = mine.start("fetch", "--json")
    harness.until(lambda: downloads(service.url) >= 6, command)
    command.signal(signal.SIGINT)
    ended = command.wait(5)
    assert ended.code == 130, ended.err
    assert ended.err.count("error: interrupted\n") == 1
    assert checked(harness, mine, service, ended) == []
    assert sum(mine.states().values()) == mine.states()["completed"] + mine.states()["stored"] == 6
    on_record = {
        image["file"] for line in mine.entries().values() for image in line.get("images", []) if "file" in image
    }
    images = {str(path.relative_to(mine.folder)) for path in mine.folder.glob("out/**/*.jpeg")}
    assert on_record <= images
    assert [path for path in mine.folder.glob("out/**/*") if path.name.endswith((".part", ".tmp"))] == []
    service.restart("--delay", "0")
    again = mine.command("fetch")
    assert (again.code, mine.states()) == (0, {"stored": 6}), again.err


def downloads(url: str) -> int:
    with urllib.request.urlopen(f"{url}/emulator/books", timeout=60) as reply:
        return sum(json.load(reply)["downloads"].values())


@pytest.mark.parametrize("redirect", [pytest.param("", marks=pytest.mark.slow), "2>&1"], ids=["stdout", "both"])
def test_a_reader_that_leaves_changes_nothing(
    redirect: str, harness: ModuleType, emulator: START, campaign: START
) -> None:
    """``run … | head -1``: everything is submitted and recorded, and the exit code is the run's own."""
    service = emulator("--latency", "50", "--fault", "drop-after-accept:every=30")
    mine = campaign(service, 30)
    line = " ".join(mine.arguments("run", mine.job, "--yes", "--detach", "--json"))
    shell = ["bash", "-o", "pipefail", "-c", f"{line} {redirect} | head -1"]
    command = harness.Command(shell, cwd=mine.folder, env=mine.environment())
    ended = command.wait()
    assert ended.out == "job: 30 requests, 30 images\n"
    assert (ended.code, mine.states()) == (6, {"accepted": 29, "in_doubt": 1}), ended.err
    assert checked(harness, mine, service, ended) == []


class Terminal:
    """A command on a terminal of its own: what is typed, Ctrl-C included, goes the way a person's keys go."""

    def __init__(self, mine: Any, *arguments: str) -> None:
        self.master, slave = pty.openpty()

        def take_terminal() -> None:
            os.setsid()
            import fcntl

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            mine.arguments(*arguments),
            cwd=mine.folder,
            env=mine.environment(TERM="xterm", COLUMNS="120"),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=take_terminal,
        )
        os.close(slave)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def waits(self) -> bool:
        """Whether it sleeps until a key is pressed. A Ctrl-C just before Python's ``read`` begins would go unseen."""
        process = Path(f"/proc/{self.process.pid}")
        if not process.exists():
            return True
        sleeps = (process / "stat").read_text().rsplit(")", 1)[1].split()[0] == "S"
        return sleeps and (process / "wchan").read_text() in ("0", "wait_woken")  # "0": the system does not say

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def end(self, harness: ModuleType) -> str:
        """Everything it still shows; it has ended then."""
        shown: bytes = harness.read_until(self.master, b"\0never")
        self.process.wait(10)
        os.close(self.master)
        return shown.decode("utf-8", "replace")


def test_a_person_answers_and_interrupts(harness: ModuleType, emulator: START, campaign: START) -> None:
    """On a terminal: the question, yes, the live line, Ctrl-C, how to go on."""
    service = emulator("--latency", "300")
    mine = campaign(service, 60)
    terminal = Terminal(mine, "run", mine.job, "--detach")
    question = harness.read_until(terminal.master, b"[y/N]")
    assert b"Submit 60 requests for at most 1.3680 USD?" in question
    terminal.type(b"y\n")
    harness.until(lambda: service.count() >= 12, terminal)
    terminal.type(b"\x03")
    shown = terminal.end(harness)
    assert terminal.process.returncode == 130, shown
    assert HOW_TO_GO_ON in shown
    assert "Traceback" not in shown
    assert mine.states()["accepted"] == service.count() < 60


@pytest.mark.parametrize(("keys", "code"), [(b"\x03", 130), (b"\n", 0)], ids=["ctrl-c", "enter"])
def test_a_person_declines(keys: bytes, code: int, harness: ModuleType, emulator: START, campaign: START) -> None:
    """Whatever is not yes submits nothing; declining is no failure."""
    service = emulator()
    mine = campaign(service, 5)
    terminal = Terminal(mine, "run", mine.job)
    harness.read_until(terminal.master, b"[y/N]")
    harness.until(lambda: terminal.waits)
    terminal.type(keys)
    shown = terminal.end(harness)
    assert (terminal.process.returncode, service.count()) == (code, 0), shown
