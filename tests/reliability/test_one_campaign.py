"""One campaign, many jobs: what two of them share is paid once, however their runs meet."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REQUESTS = 20


@pytest.fixture
def twins(campaign: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """Two jobs of the same requests in one campaign."""

    def make(service: Any) -> tuple[Any, Any]:
        first = campaign(service, REQUESTS)
        second = replace(first, job="other.yaml")
        second.write(REQUESTS)
        return first, second

    return make


def test_two_runs_that_meet_pay_once(
    harness: ModuleType, emulator: Callable[..., Any], twins: Callable[..., tuple[Any, Any]]
) -> None:
    """While one run submits, a run of another job is refused with its name; then it finds everything paid."""
    service = emulator()
    first, second = twins(service)
    service.hold()
    commands = [(mine, mine.start("run", "--yes", "--detach")) for mine in (first, second)]
    harness.until(lambda: sum(command.running for _, command in commands) == 1)
    service.release()
    ended = [(mine, command, command.wait()) for mine, command in commands]
    ((runner, holder, _),) = [one for one in ended if one[2].code == 0]
    ((refused, _, end),) = [one for one in ended if one[2].code == 7]
    who = f"another run in this campaign is submitting: process {holder.process.pid}"
    assert who in end.err
    assert f"'run {runner.job}', since" in end.err
    assert "wait until it has ended" in end.err
    assert service.count() == REQUESTS
    assert refused.run("--detach").code == 0
    assert service.count() == REQUESTS


def test_a_saved_plan_waits_its_turn(
    harness: ModuleType, emulator: Callable[..., Any], twins: Callable[..., tuple[Any, Any]]
) -> None:
    """A saved plan is refused while another job's run submits, and is overtaken by it afterwards."""
    service = emulator()
    first, second = twins(service)
    assert first.command("plan", "-o", "plan.json").code == 0
    digest = json.loads((first.folder / "plan.json").read_text())["digest"]
    plan = replace(first, job="plan.json")
    service.hold()
    command = second.start("run", "--yes", "--detach")
    lock = first.folder / ".seedream" / "campaign.lock"
    harness.until(lambda: lock.exists() and lock.stat().st_size > 0)
    refused = plan.run("--detach", "--expect", digest)
    service.release()
    assert command.wait().code == 0
    overtaken = plan.run("--detach", "--expect", digest)
    assert (refused.code, overtaken.code) == (7, 7)
    assert "another run in this campaign is submitting" in refused.err
    assert "is overtaken" in overtaken.err
    assert service.count() == REQUESTS


def test_a_saved_plan_goes_on_only_with_what_nobody_else_has_paid(
    emulator: Callable[..., Any], twins: Callable[..., tuple[Any, Any]]
) -> None:
    """It was interrupted, another job's run submitted the rest, and the same plan is run again."""
    service = emulator("--fault", "402:every=3")
    first, second = twins(service)
    assert first.command("plan", "-o", "plan.json").code == 0
    plan = replace(first, job="plan.json")
    assert plan.run("--detach", "--concurrency", "1").code == 5
    assert 0 < service.count() < REQUESTS
    service.restart()
    assert second.run("--detach").code == 0
    overtaken = plan.run("--detach")
    assert (overtaken.code, service.count()) == (7, REQUESTS)
    assert "is overtaken" in overtaken.err
    assert f"is paid for in {second.job}" in overtaken.err


def test_the_campaigns_lock_stays_out_of_git_and_in_nobodys_way(
    harness: ModuleType, emulator: Callable[..., Any], twins: Callable[..., tuple[Any, Any]]
) -> None:
    """Fetching one job goes on while another submits; the lock lies where git sees nothing."""
    service = emulator("--delay", "0.2")
    first, second = twins(service)
    assert first.run("--detach", "--limit", "2").code == 0
    second.write(REQUESTS + 5)
    service.hold()
    command = second.start("run", "--yes", "--detach")
    lock = first.folder / ".seedream" / "campaign.lock"
    harness.until(lambda: lock.exists() and lock.stat().st_size > 0)
    fetching = first.start("fetch", "--no-gallery")
    service.release()
    assert fetching.wait().code == 0
    assert command.wait().code == 0
    assert "*" in (Path(lock.parent) / ".gitignore").read_text().split()


def test_another_may_run_while_the_first_only_polls(
    harness: ModuleType, emulator: Callable[..., Any], twins: Callable[..., tuple[Any, Any]]
) -> None:
    """Once everything is submitted the campaign is free, and what the first has under way is not paid again."""
    service = emulator("--delay", "60")
    first, second = twins(service)
    polling = first.start("run", "--yes")
    lock = first.folder / ".seedream" / "campaign.lock"
    harness.until(lambda: service.count() == REQUESTS and lock.stat().st_size == 0)
    assert second.run("--detach").code == 0
    assert polling.running
    assert service.count() == REQUESTS
    polling.process.send_signal(signal.SIGINT)
    assert polling.wait().code == 130
