"""What is no regular file is refused in one line, where reading it would wait for ever."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.canary import CANARY

Command = Callable[..., Any]


@pytest.mark.parametrize(
    "line",
    ["validate J", "plan J", "expand J", "run J --yes", "plan garden.yaml --policy J", "run plan.json --yes"],
)
def test_a_pipe_is_no_job(line: str, campaign: Path, command: Command) -> None:
    """A job file, a policy, a saved plan."""
    os.mkfifo(campaign / "pipe.yaml")
    os.mkfifo(campaign / "plan.json")
    ended = command(*line.replace("J", "pipe.yaml").split(), timeout=30)
    assert ended.code == 2
    assert "it is no regular file" in ended.err


NOWHERE = "--base-url http://127.0.0.1:9"


@pytest.mark.parametrize("part", ["jsonl", "journal"])
@pytest.mark.parametrize("line", ["plan J", "status J --offline", f"run J --yes {NOWHERE}", f"fetch J {NOWHERE}"])
def test_a_pipe_is_no_record(line: str, part: str, campaign: Path, command: Command) -> None:
    """It is refused before anything is asked or sent."""
    os.mkfifo(campaign / f"garden.manifest.{part}")
    ended = command(*line.replace("J", "garden.yaml").split(), timeout=30, APIMART_API_KEY=CANARY)
    assert ended.code == 2
    assert f"garden.manifest.{part} can't be read: it is no regular file" in ended.err


def test_a_lock_that_is_a_pipe_says_nothing(campaign: Path, command: Command) -> None:
    """A view asks it who holds it, and goes on."""
    os.mkfifo(campaign / "garden.manifest.lock")
    assert command("plan", "garden.yaml", timeout=30).code == 0


def test_a_key_may_come_out_of_a_pipe(campaign: Path, quick: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a password manager hands it over; where nobody writes, the wait has an end and is told."""
    os.mkfifo(campaign / ".env")
    writer = Thread(target=(campaign / ".env").write_text, args=("APIMART_API_KEY=sk-piped\n",), daemon=True)
    writer.start()
    assert "key        found" in quick("doctor", "--base-url", "http://127.0.0.1:9").out
    writer.join(10)
    monkeypatch.setattr("seedream_jobs.api.credentials.PIPE_SECONDS", 0.05)
    ended = quick("doctor", "--base-url", "http://127.0.0.1:9")
    assert ended.code == 4
    assert ".env cannot be read: nothing came out of this pipe within 0.05 s" in ended.out
