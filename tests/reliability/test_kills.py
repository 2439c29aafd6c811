"""kill -9 at random moments of a run never pays twice and never loses a task id.

The command and the service are processes of their own; the service charges before it replies. Kills are placed by
progress (how many charges the service has on its books), with a seed.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

WORKERS = 8
LATENCY = ("--latency", "60")  # milliseconds: a kill that comes late on a busy machine still finds the run


def killing_run(
    harness: ModuleType, campaign: Any, emulator: Any, *, seed: int, kills: int, requests: int, fault: str | None = None
) -> tuple[list[str], dict[str, int]]:
    """Kill a run at ``kills`` seeded moments, let it end, and compare the record with the books."""
    chance = random.Random(seed)
    moments = sorted(chance.sample(range(requests - 2 * WORKERS), kills))
    acknowledged: dict[str, str] = {}
    reported: set[str] = set()
    violations: list[str] = []
    done, open_intents = 0, 0
    for moment in moments:
        command = campaign.start("run", "--yes", "--detach", "--json", "--concurrency", str(WORKERS), fault=fault)
        reached = harness.until(lambda moment=moment: emulator.count() > moment, command)
        time.sleep(chance.uniform(0, 0.03))
        command.signal(signal.SIGKILL)
        ended = command.wait()
        done += reached and ended.code == -signal.SIGKILL
        left = harness.snapshot(campaign)
        open_intents += len(left.open_intents)
        if len(left.open_intents) > WORKERS:
            violations.append(f"{len(left.open_intents)} left open by {WORKERS} workers")
        acknowledged |= left.acknowledged
        reported |= harness.told(ended.err)
    last = campaign.run("--detach", "--concurrency", str(WORKERS), fault=fault)
    states = campaign.states()
    if last.code != (6 if states["in_doubt"] else 0):
        violations.append(f"the last run ended with {last.code}: {last.err}")
    if sum(states.values()) != requests:
        violations.append(f"{sum(states.values())} of {requests} requests are on record")
    if states["in_doubt"] > open_intents:
        violations.append(f"{states['in_doubt']} in doubt, of {open_intents} left open")
    violations += harness.audit(campaign, emulator, acknowledged, reported)
    return violations, {"kills": done, "in_doubt": states["in_doubt"], "charges": emulator.count()}


FAST = pytest.param(1, 3, 60, id="fast")
SLOW = [pytest.param(seed, 10, 200, id=str(seed), marks=pytest.mark.slow) for seed in range(1, 11)]


@pytest.mark.parametrize(("seed", "kills", "requests"), [FAST, *SLOW])
def test_kills_pay_nothing_twice_and_lose_nothing(
    seed: int,
    kills: int,
    requests: int,
    harness: ModuleType,
    emulator: Callable[..., Any],
    campaign: Callable[..., Any],
) -> None:
    """0 duplicate charges, 0 ids lost, in doubt ≤ 8 for each kill. The long lane: 200 requests, 10 kills, 10 seeds."""
    service = emulator(*LATENCY)
    mine = campaign(service, requests, git=True)
    violations, figures = killing_run(harness, mine, service, seed=seed, kills=kills, requests=requests)
    print(figures)  # shown by -s, and with a failure
    assert violations == []
    assert figures["kills"] == kills
    listing = mine.command("resolve")
    doubtful = [line["address"] for line in mine.entries().values() if line["state"] == "in_doubt"]
    assert [address for address in doubtful if f"  {address}\n" not in listing.out] == []
    assert listing.code == (6 if doubtful else 0)
    if doubtful:
        settled = mine.command("resolve", "--all", "--abandon", "--reason", "killed on purpose")
        assert settled.code == 0
        assert mine.states()["abandoned"] == len(doubtful)
        again = mine.run("--detach")
        assert (again.code, service.count()) == (0, figures["charges"]), "what was given up was submitted again"


@pytest.mark.parametrize(
    "fault", ["blind-retry", *(pytest.param(fault, marks=pytest.mark.slow) for fault in ("late-intent", "early-word"))]
)
def test_the_harness_catches(
    fault: str, harness: ModuleType, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """A program with a seeded fault does not pass: within a few kills something is paid twice or lost."""
    found: list[str] = []
    for seed in range(4):
        service = emulator(*LATENCY, state=f"state-{seed}")
        mine = campaign(service, 40, git=seed % 2 == 0, name=f"campaign-{seed}")
        found, _ = killing_run(harness, mine, service, seed=seed, kills=3, requests=40, fault=fault)
        if found:
            break
    assert any("charged" in violation or "reported" in violation for violation in found), found
