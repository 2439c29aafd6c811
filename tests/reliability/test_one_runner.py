"""One runner at a time: of many simultaneous starts one works, and nothing is sent twice."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

REQUESTS = 20


def many_starts(harness: ModuleType, mine: Any, service: Any, *, starts: int, fault: str | None = None) -> list[str]:
    """Start so many runs at once against a service that answers only once all but one are gone; what goes wrong."""
    service.hold()
    commands = [mine.start("run", "--yes", "--detach", fault=fault) for _ in range(starts)]
    if fault is None:
        harness.until(lambda: sum(command.running for command in commands) == 1)
    service.release()
    ended = [command.wait(120) for command in commands]
    found = []
    holders = [index for index, one in enumerate(ended) if one.code == 0]
    refused = [one for one in ended if one.code == 7]
    if len(holders) != 1 or len(refused) != starts - 1:
        found.append(f"{len(holders)} ran and {len(refused)} were refused, of {starts}")
    else:
        who = f"is held by process {commands[holders[0]].process.pid} on {os.uname().nodename}, 'run'"
        found += [one.err for one in refused if who not in one.err]
    if service.count() != REQUESTS:
        found.append(f"{service.count()} charges for {REQUESTS} requests")
    return found + harness.audit(mine, service, {}, set())


@pytest.mark.parametrize("starts", [8, *(pytest.param(many, marks=pytest.mark.slow) for many in (20, 50))])
def test_of_simultaneous_starts_one_runs(
    starts: int, harness: ModuleType, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """One holder, all others refused with exit 7 and the holder's name, charges as planned."""
    service = emulator()
    mine = campaign(service, REQUESTS)
    assert many_starts(harness, mine, service, starts=starts) == []
    assert mine.states() == {"accepted": REQUESTS}


def test_the_harness_catches_a_lock_that_locks_nothing(
    harness: ModuleType, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """With the lock removed a few starts are enough to be charged too much, or to trip over each other's files."""
    service = emulator()
    mine = campaign(service, REQUESTS)
    assert many_starts(harness, mine, service, starts=4, fault="no-lock") != []


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)], ids=lambda value: str(value)
)
def test_a_dead_holder_holds_nothing(
    number: signal.Signals, harness: ModuleType, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """The lock goes with the process, however it ends: no unlock command, no waiting."""
    service = emulator("--fault", "hang-after-accept")
    mine = campaign(service, REQUESTS)
    command = mine.start("run", "--yes", "--detach")
    harness.until(lambda: service.count() > 0, command)
    refused = mine.run("--detach")
    command.signal(number)
    command.wait(10)
    assert refused.code == 7, refused.said
    service.restart()
    again = mine.run("--detach")
    assert again.code == (6 if mine.states()["in_doubt"] else 0)
    assert harness.audit(mine, service, {}, set()) == []


@pytest.mark.parametrize(
    ("git", "accident"),
    [
        (True, "rm -f .git/seedream-jobs/*.lock"),
        pytest.param(False, "rm -f *.lock .seedream/*.lock", marks=pytest.mark.slow),
    ],
)
def test_locks_that_are_removed_under_a_run_let_nothing_be_paid_twice(
    git: bool, accident: str, harness: ModuleType, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """``git clean`` reaches no lock. Where a hand does, the first run stops with 74, and its POST is in doubt."""
    service = emulator()
    mine = campaign(service, 4, git=git)
    if git:
        subprocess.run(["git", "add", mine.job], cwd=mine.folder, check=True)

    def intents() -> int:
        return sum(record.get("event") == "intended" for record in mine.records())

    service.hold()
    detached = ("--yes", "--detach", "--concurrency", "1")
    first = mine.start("run", *detached)
    harness.until(lambda: intents() == 1, first)
    if git:
        subprocess.run(["git", "clean", "-qfdx"], cwd=mine.folder, check=True)
        assert not mine.manifest.exists()
        assert mine.start("run", *detached).wait().code == 7
    subprocess.run(accident, shell=True, cwd=mine.folder, check=True)
    second = mine.start("run", *detached)
    harness.until(lambda: mine.states()["in_doubt"] == 1 and intents() == 1, second)
    service.release()
    stopped, ended = first.wait(), second.wait()
    assert (stopped.code, ended.code) == (74, 6), stopped.err + ended.err
    assert "was removed or replaced during the run" in stopped.err
    assert mine.states() == {"accepted": 3, "in_doubt": 1}
    assert "seedream-jobs resolve job.yaml" in ended.err
    assert service.count() == 4
    assert harness.audit(mine, service, {}, set()) == []
