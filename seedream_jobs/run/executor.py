"""Submits a lazily pulled stream of requests with a fixed set of workers, and leaves a durable record of each.

Table 1 (docs/outcomes.md) says what each outcome leads to; ``sending`` holds the order in which one POST happens. It
stops taking work at the first halt: a signal, a breaker, a budget, the ledger. POSTs under way then come to their own
end; after a signal or a failing ledger they have a grace, then they are given up and are in doubt, unless their flight
shows that nothing had left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import anyio
from anyio.to_thread import run_sync

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.errors import ExitCode
from seedream_jobs.ledger.state import Event
from seedream_jobs.run.breakers import Breakers, Halt
from seedream_jobs.run.doubts import Doubts
from seedream_jobs.run.halting import RESUME, Halting
from seedream_jobs.run.memory import Weights
from seedream_jobs.run.pacing import Gate, RetryBudget
from seedream_jobs.run.recording import Recording
from seedream_jobs.run.retrying import Retrying
from seedream_jobs.run.sending import Sending
from seedream_jobs.run.signals import Stopper
from seedream_jobs.run.spend import Spend
from seedream_jobs.run.submission import Ask, Finished, LedgerPort, Observer, Quiet, Submission, Submit
from seedream_jobs.run.turnstile import Turnstile

SMALL_BODY = 1024 * 1024  # bytes; a larger one is made in a thread


class Executor:
    """One run of submitting. ``gate``, ``retries``, ``spend``, ``memory`` and ``stopper`` may be shared.

    :param concurrency: number of workers; ``submit`` is called with worker 0 … ``concurrency`` - 1
    :param now: Unix seconds
    :param ask: confirms a task id salvaged from an unreadable reply; without it such a submission stays in doubt
    :param retry_server_errors: the operator accepts that a 500 or 502 that is sent again may be charged twice
    """

    def __init__(
        self,
        *,
        submit: Submit,
        record: LedgerPort,
        gate: Gate,
        retries: RetryBudget,
        spend: Spend,
        stopper: Stopper,
        random: Random,
        now: Callable[[], float],
        concurrency: int,
        observer: Observer | None = None,
        ask: Ask | None = None,
        retry_server_errors: bool = False,
        memory: Weights | None = None,
    ) -> None:
        self._workers = concurrency
        self._now = now
        self._retries_before = retries.retries
        self._memory = memory or Weights()
        self._breakers = Breakers(reached=retries.accepted > 0)
        self._halting = Halting(stopper)
        self._retrying = Retrying(retries, self._halting, random, workers=concurrency)
        self._recording = Recording(
            ledger=record,
            observer=observer or Quiet(),
            spend=spend,
            halting=self._halting,
            retrying=self._retrying,
            now=now,
        )
        self._sending = Sending(
            submit=submit,
            turnstile=Turnstile(gate, self._halting.idle),
            recording=self._recording,
            halting=self._halting,
            breakers=self._breakers,
        )
        self._doubts = Doubts(
            sending=self._sending,
            recording=self._recording,
            halting=self._halting,
            retrying=self._retrying,
            ask=ask,
            retry_server_errors=retry_server_errors,
            random=random,
            now=now,
        )

    async def run(self, work: Iterator[Submission]) -> Finished:
        """Submit all of ``work``, pulled one at a time as workers come free, until its end or a halt; called once.

        Refusals and a failing ledger are in the result. An exception that is a bug is raised, once what was under way
        has come to its end and is recorded.
        """
        async with anyio.create_task_group() as watching:
            watching.start_soon(self._halting.watch)
            async with anyio.create_task_group() as workers:
                for worker in range(self._workers):
                    workers.start_soon(self._work, worker, work)
            watching.cancel_scope.cancel()
        await self._recording.restore(self._breakers.refused_alike)
        if self._halting.crash is not None:
            for event in self.lost:
                self._halting.crash.add_note(f"not recorded: {event}")
            raise self._halting.crash
        return self._finished()

    @property
    def lost(self) -> tuple[Event, ...]:
        """Events that could not be recorded (row 21); also after the run was cancelled from outside."""
        return tuple(self._recording.lost)

    async def _work(self, worker: int, work: Iterator[Submission]) -> None:
        try:
            while not self._halting.halted and (submission := next(work, None)) is not None:
                await self._deliver(worker, submission)
        except Exception as error:  # whatever it is, the others' POSTs must come to a recorded end first
            self._halting.fail(error)
        finally:
            self._retrying.worker_done()

    async def _deliver(self, worker: int, submission: Submission) -> None:
        """Bring one submission to its end: attempt it, and again while it was provably not sent."""
        retries = 0
        while (outcome := await self._with_body(worker, submission)) is not None:
            if self._halting.halted or not await self._retrying.granted(retries, outcome):
                self._recording.left_new()
                return
            retries += 1

    async def _with_body(self, worker: int, submission: Submission) -> Outcome | None:
        """One attempt, its body held in memory no longer than that; the outcome if it may be tried again."""
        weight = submission.body_weight
        if not self._memory.acquire_nowait(weight) and not await self._halting.idle.until(
            lambda: self._memory.acquire(weight)
        ):
            self._recording.left_new()
            return None
        try:
            body = await run_sync(submission.body) if weight > SMALL_BODY else submission.body()
            if submission.in_doubt_since is not None:
                await self._reopen(worker, submission, body, submission.in_doubt_since)
                return None
            return await self._attempt(worker, submission, body)
        finally:
            self._memory.release(weight)

    async def _attempt(self, worker: int, submission: Submission, body: bytes) -> Outcome | None:
        """One intent and what came of it; the outcome if it is provably not sent and may be tried again."""
        ticket = await self._sending.announce(submission)
        if ticket is None:
            self._recording.left_new()
            return None
        since = self._now()
        outcome = await self._sending.post(worker, submission, body, ticket)
        if self._breakers.one_more(submission.request.key, outcome):
            outcome = Outcome(row=outcome.row, verdict="refused", problem=outcome.problem, detail=outcome.detail)
        self._doubts.note_first(outcome)
        await self._recording.settle(submission, outcome)
        match outcome.verdict:
            case "not_sent":
                return outcome
            case "refused":
                self._recording.left_new()
            case "in_doubt":
                await self._doubts.pursue(worker, submission, body, outcome, since=since)
        return None

    async def _reopen(self, worker: int, submission: Submission, body: bytes, since: float) -> None:
        """A submission that an earlier run left in doubt: sent again, as the plan says."""
        self._recording.counts["in_doubt"] += 1
        first = Outcome(row=7, verdict="in_doubt", doubt="crash", detail="left by an earlier run")
        await self._doubts.pursue(worker, submission, body, first, since=since)

    def _finished(self) -> Finished:
        halt = self._halting.halt
        if halt is None and self._retrying.in_vain:
            halt = Halt(stop=ExitCode.UNFINISHED, reason=self._retrying.in_vain_because(), hint=RESUME)
        counts = self._recording.counts
        return Finished(
            accepted=counts["accepted"],
            rejected=counts["rejected"],
            in_doubt=counts["in_doubt"],
            not_sent=counts["not_sent"],
            retries=self._retrying.budget.retries - self._retries_before,
            stop=halt.stop if halt else None,
            reason=halt.reason if halt else None,
            hint=halt.hint if halt else None,
            lost=self.lost,
        )
