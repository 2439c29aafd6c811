"""Submitting and polling at the same time, one feeding the other."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import anyio

from seedream_jobs.api.outcomes import Flight, Outcome, Sent
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.ledger.state import Accepted, Entry, Event, Image, State
from seedream_jobs.ledger.transitions import evolve
from seedream_jobs.run.budget import Spend
from seedream_jobs.run.poll import Poller, Watch
from seedream_jobs.run.rate_limiter import RateLimiter
from seedream_jobs.run.retry import RetryBudget
from seedream_jobs.run.shutdown import Shutdown
from seedream_jobs.run.submit import Observer, Submitter


class Service:
    """Accepts everything; a task takes 40 s."""

    def __init__(self) -> None:
        self.begun: dict[str, float] = {}
        self.first_completed_after = 0

    async def submit(self, worker: int, body: bytes, *, idempotency_key: str, flight: Flight) -> Outcome:
        flight.sent = Sent.STARTED
        await anyio.sleep(2.0)
        task_id = f"task_{len(self.begun)}"
        self.begun[task_id] = anyio.current_time()
        return Outcome(row=8, verdict="accepted", task_id=task_id)

    async def task(self, task_id: str) -> TaskReport:
        await anyio.sleep(0.1)
        if anyio.current_time() - self.begun[task_id] < 40:
            return TaskReport(status="running", estimated_time=60.0)
        self.first_completed_after = self.first_completed_after or len(self.begun)
        return TaskReport(status="completed", images=(Image(url="https://img.example/a.jpeg"),))


class Ledger:
    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    async def record(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        self.entries[event.key] = evolve(self.entries.get(event.key), event)


def test_what_is_accepted_is_polled_while_the_rest_is_submitted(
    virtual: Callable[..., Any], make_submission: Callable[..., Any]
) -> None:
    """The first images are there long before the last request is sent, and every request completes."""
    service, ledger = Service(), Ledger()

    async def main() -> None:
        random, shutdown = Random(1), Shutdown()
        shared: dict[str, Any] = {"ledger": ledger, "shutdown": shutdown, "random": random}

        def now() -> float:
            return 1_780_000_000.0 + anyio.current_time()

        poller = Poller(service=service, now=now, link_life=259_200.0, **shared)

        class Feed(Observer):
            def on_event(self, event: Event, outcome: Outcome | None) -> None:
                if isinstance(event, Accepted):
                    poller.add(Watch(key=event.key, task_ids=(event.task_id,), accepted_at=event.at))

        submitter = Submitter(
            service=service,
            limiter=RateLimiter(concurrency=4, random=random),
            retries=RetryBudget(),
            spend=Spend(),
            now=now,
            concurrency=4,
            observer=Feed(),
            **shared,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(poller.run)
            finished = await submitter.run(make_submission(number) for number in range(200))
            assert finished.accepted == 200
            poller.close()

    virtual(main)
    assert {entry.state for entry in ledger.entries.values()} == {State.COMPLETED}
    assert len(ledger.entries) == 200
    assert 0 < service.first_completed_after < 150
