"""Real signals to a real process: drained, recorded, and left at the second press."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seedream_jobs.errors import ExitCode, LedgerError
from seedream_jobs.run.shutdown import Shutdown

PROGRAM = """
import json, sys, time
from random import Random
import anyio
from seedream_jobs.api.outcomes import Outcome, Sent
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.run.submit import Submitter
from seedream_jobs.run.retry import RetryBudget
from seedream_jobs.run.rate_limiter import RateLimiter
from seedream_jobs.run.shutdown import Shutdown, listen
from seedream_jobs.run.budget import Spend
from seedream_jobs.run.submit import Submission

class Service:
    async def submit(self, worker, body, *, idempotency_key, flight):
        flight.sent = Sent.STARTED
        print("posted", flush=True)
        await anyio.sleep(float(sys.argv[1]))
        return Outcome(row=8, verdict="accepted", task_id="task_1")

class Ledger:
    async def record(self, event):
        print(type(event).__name__, flush=True)

def submission(number):
    request = Request(key=f"v1:{number}", address="a", payload={}, references={}, cell={}, repeat=1, max_images=1,
                      output="o")
    return Submission(request=request, generation=1, idempotency_key="k", max_cost_usd=None, body=lambda: b"{}")

async def main():
    shutdown, random = Shutdown(), Random(1)
    async with anyio.create_task_group() as group:
        await group.start(lambda *, task_status: listen(shutdown, task_status=task_status))
        submitter = Submitter(service=Service(), ledger=Ledger(), limiter=RateLimiter(concurrency=2, random=random),
                            retries=RetryBudget(), spend=Spend(), shutdown=shutdown, random=random, now=time.time,
                            concurrency=2)
        finished = await submitter.run(submission(number) for number in range(100))
        group.cancel_scope.cancel()
    print(json.dumps([finished.accepted, finished.in_doubt, finished.halt.stop]), flush=True)
    sys.exit(finished.halt.stop)

anyio.run(main)
"""


def play(latency: float, *presses: signal.Signals) -> tuple[int, list[str]]:
    """Start the program, press once both POSTs are under way, again after 0.6 s each; its exit code and its lines."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(latency)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    with process.stdout:
        lines = []
        while lines.count("posted") < 2:
            lines.append(process.stdout.readline().strip())
        for number, press in enumerate(presses):
            time.sleep(0.6 if number else 0.0)
            process.send_signal(press)
        lines += process.stdout.read().split("\n")
    return process.wait(), [line for line in lines if line]


@pytest.mark.parametrize(
    ("press", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_the_first_signal_lets_posts_in_flight_come_to_their_end(press: signal.Signals, code: int) -> None:
    """No third POST; both ids are recorded; the exit code is the signal's."""
    exit_code, lines = play(0.5, press)
    assert exit_code == code
    assert lines.count("posted") == 2
    assert lines.count("Accepted") == 2
    assert lines[-1] == f"[2, 0, {code}]"


def test_a_second_press_leaves_with_the_open_posts_in_doubt() -> None:
    """They would have taken ten minutes; what is open is in doubt, and that is recorded."""
    exit_code, lines = play(600.0, signal.SIGINT, signal.SIGINT)
    assert exit_code == 130
    assert lines.count("InDoubt") == 2
    assert lines[-1] == "[0, 2, 130]"


def test_a_press_within_half_a_second_is_the_same_press() -> None:
    """A terminal and a wrapper may both pass it on."""
    clock = [0.0]
    shutdown = Shutdown(lambda: clock[0])
    for at, give_up_at in [(0.0, 6.0), (0.2, 6.0), (0.5, 6.0), (0.51, 0.51)]:
        clock[0] = at
        shutdown.interrupt(signal.SIGINT)
        assert shutdown.give_up_at == give_up_at
    assert shutdown.code is ExitCode.SIGINT


def test_sigterm_has_the_shorter_grace() -> None:
    """Whoever sends it may send SIGKILL soon after; a ledger that failed before does not make it longer."""
    shutdown = Shutdown(lambda: 1.0)
    shutdown.fail(LedgerError("no space left on device"))
    assert shutdown.give_up_at == 7.0
    shutdown.interrupt(signal.SIGTERM)
    assert shutdown.give_up_at == 3.0
