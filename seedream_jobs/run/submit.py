"""This module submits a lazily pulled stream of requests with a fixed set of workers, and records what became of each.

``Submitter.submit`` is the one place that spends: the order in which one POST happens stands there. Table 1
(docs/outcomes.md) says what each outcome leads to. Called by ``session``. Invariants: no POST leaves before its money
is reserved, its intent is durable and its claim is made; what is in doubt is sent again only where ``retry.OpenCase``
allows it.

At the first halt (a signal, a breaker, a budget, the ledger) no more work is taken. POSTs under way then come to their
own end. After a signal or a failing ledger they have a grace; then they are given up, and are in doubt unless their
flight shows that nothing had left.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from typing import Protocol

import anyio
from anyio.to_thread import run_sync

from seedream_jobs.api.outcomes import NAMED_TASK, Flight, Outcome, Sent, Verdict
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.errors import ExitCode, LedgerError
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.state import Accepted, Event, Holder, InDoubt, Intended, NotSent, Rejected, ServiceError
from seedream_jobs.plans.plan import intent_of
from seedream_jobs.run.budget import Spend
from seedream_jobs.run.rate_limiter import Feedback, RateLimiter
from seedream_jobs.run.retry import Again, Breakers, Halt, OpenCase, RetryBudget, full_jitter, said, said_with_meaning
from seedream_jobs.run.shutdown import RESUME, Shutdown

_log = logging.getLogger(__name__)
BODIES_IN_FLIGHT = 256 * 1024 * 1024  # bytes
SMALL_BODY = 1024 * 1024  # bytes; a larger one is made in a thread
ANOTHERS = "1a"
"""The row of table 1 that says: another runner has claimed the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One request to be submitted.

    :param idempotency_key: digest of (manifest id, key, generation, body digest)
    :param max_cost_usd: the most it can cost; None where the price is unknown
    :param body: makes the POST's body; may read reference images. Called once per attempt
    :param in_doubt_since: Unix seconds of the recorded intent, where an earlier run left this very submission in
        doubt and the plan says that it is replayed: it stays in doubt until that is answered
    :param replays: how often it was replayed by earlier runs
    :param claimed_as: the generation that other runners know, ``Entry.claimed_as``
    """

    request: Request
    generation: int
    idempotency_key: str
    max_cost_usd: Decimal | None
    body: Callable[[], bytes]
    in_doubt_since: int | None = None
    replays: int = 0
    claimed_as: int = 1

    @property
    def body_weight(self) -> int:
        """An upper bound of the body's bytes, known before it is made (base64 makes 4 of 3)."""
        return 64 * 1024 + sum(reference.bytes * 4 // 3 + 64 for reference in self.request.references.values())

    def intent(self, at: int, max_cost_usd: Decimal | None = None) -> Intended:
        """The event that has to be durable before the POST.

        :param max_cost_usd: the most it can cost, where that is known better by now
        """
        return intent_of(
            self.request,
            at=at,
            generation=self.generation,
            max_cost_usd=self.max_cost_usd if max_cost_usd is None else max_cost_usd,
            idempotency_key=self.idempotency_key,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """How submitting ended.

    :param not_sent: taken from the work and left ``new``; what was never taken from it is not counted
    :param elsewhere: not sent because another runner has claimed it; ``open_elsewhere`` of them are in doubt there
    :param retries: POSTs that were sent again
    :param halt: why submitting stopped before its end, None where it came to its end
    :param lost: events that could not be recorded: their task ids must be told to a person (row 21)
    """

    accepted: int = 0
    rejected: int = 0
    in_doubt: int = 0
    not_sent: int = 0
    elsewhere: int = 0
    open_elsewhere: int = 0
    retries: int = 0
    halt: Halt | None = None
    lost: tuple[Event, ...] = ()


class TaskService(Protocol):
    """What is asked of ``api.client.Client``; the simulation of the tests is another service."""

    async def submit(self, worker: int, body: bytes, *, idempotency_key: str, flight: Flight) -> Outcome:
        """Send one POST, once; raises nothing but a cancellation, and ``flight`` is up to date then."""
        ...

    async def task(self, task_id: str) -> TaskReport:
        """Ask for one task; trouble of the network is a report, not an exception."""
        ...


class LedgerPort(Protocol):
    """What is asked of a ledger: to make events durable, those of one caller in order."""

    async def record(self, event: Event) -> None:
        """Return once the event is durable; a cancellation does not interrupt it.

        :raises LedgerError: it can't be made durable, which is fatal for the run
        """
        ...


class Observer:
    """Is told of what happens; its methods must be quick, and do nothing here."""

    def on_event(self, event: Event, outcome: Outcome | None) -> None:
        """An event is durable; ``outcome`` is what it came from."""

    def on_trouble(self, reason: str) -> None:
        """A task has to be asked for again, for this reason; it is empty once the service answers."""


class Claims:
    """What other runners of the campaign are told before a POST leaves. Here there are none: nothing is done."""

    async def hold(
        self, submission: Submission, usd: Decimal | None, *, replay: bool, costly: bool = False
    ) -> Holder | Halt | None:
        """Claim a request whose intent is durable: None where it is this run's now, else whose it is, or why not.

        :param usd: the most it can cost
        :param replay: it is in doubt since an earlier run, and is about to be repeated
        :param costly: it is about to be repeated, and may be charged once more
        """
        return None

    def settle(self, submission: Submission, outcome: Outcome) -> None:
        """Take in an outcome that is durable; the others are told soon, and at the end at the latest."""

    async def serve(self) -> None:
        """Do what the store is asked for, in groups; to be cancelled once ``close`` is over."""

    async def close(self) -> tuple[dict[str, Holder | None], Halt | None]:
        """Tell the others what is left to tell.

        :return: by key, what is known by now of the claims that were lost, None where nobody holds it any more; and
            why something could not be told
        """
        return {}, None


class Submitter:
    """Submits the requests of one job. Jobs share ``limiter``, ``retries``, ``memory`` and ``shutdown``.

    :param concurrency: number of workers; ``service.submit`` is called with worker 0 … ``concurrency`` - 1
    :param now: Unix seconds
    :param retry_server_errors: the operator accepts that a 500 or 502 that is sent again may be charged twice
    """

    def __init__(
        self,
        *,
        service: TaskService,
        ledger: LedgerPort,
        limiter: RateLimiter,
        retries: RetryBudget,
        spend: Spend,
        shutdown: Shutdown,
        random: Random,
        now: Callable[[], float],
        concurrency: int,
        observer: Observer | None = None,
        retry_server_errors: bool = False,
        memory: Weights | None = None,
        claims: Claims | None = None,
    ) -> None:
        self._service, self._ledger, self._observer = service, ledger, observer or Observer()
        self._limiter, self._retries, self._spend, self._shutdown = limiter, retries, spend, shutdown
        self._random, self._now = random, now
        self._workers = self._active = concurrency
        self._retry_server_errors = retry_server_errors
        self._memory = memory or Weights()
        self._claims = claims or Claims()
        self._lost_to: dict[str, Holder] = {}  # by key: who else has it
        self._breakers = Breakers(reached=retries.accepted > 0)
        self._counts: Counter[Verdict] = Counter()
        self._lost: list[Event] = []
        self._retries_before = retries.retries
        self._in_vain = 0  # requests that had all the retries one request may have
        self._last_problem = ""
        self._parked = 0  # workers that wait for the retry budget to grow
        self._one_more_accepted = anyio.Event()
        self._mark_counts = True  # ``Idempotency-Replayed`` says something: no first answer carried it

    async def run(self, work: Iterator[Submission]) -> Submitted:
        """Submit all of ``work``, pulled one at a time as workers come free, until its end or a halt; called once.

        Refusals and a failing ledger are in the result. A bug is raised, once what was under way has come to its end
        and is recorded.
        """
        async with anyio.create_task_group() as watching:
            watching.start_soon(self._shutdown.watch)
            watching.start_soon(self._claims.serve)
            async with anyio.create_task_group() as workers:
                for worker in range(self._workers):
                    workers.start_soon(self._work, worker, work)
            await self._close_claims()
            watching.cancel_scope.cancel()
        async with anyio.create_task_group() as together:  # so that they share one sync
            for key in self._breakers.refused_alike:
                together.start_soon(self._renew, key)
        if self._shutdown.crash is not None:
            for event in self._lost:
                self._shutdown.crash.add_note(f"not recorded: {event}")
            raise self._shutdown.crash
        return self._submitted()

    async def submit(
        self, worker: int, submission: Submission, body: bytes, *, repeat: Again | None = None
    ) -> Outcome | None:
        """Send one POST, in the one order that is safe; its outcome, or None where submitting stopped before it left.

        :param repeat: the submission is in doubt, and stays so until the caller has recorded what the answer means
        :raises: the cancellation, if the whole run is cancelled from outside; the outcome is recorded before
        """
        costly = reserve = repeat is None or repeat.costly
        while True:
            ticket = await self._limiter.acquire(self._shutdown)  # an intent before this wait could be left in doubt
            if ticket is None:
                return None
            if reserve and (too_much := self._reserve(submission)) is not None:
                self._limiter.release(ticket, "other")
                if repeat is None:
                    self._shutdown.stop(too_much, withdraw=False)  # the money for what others have announced is there
                return None
            reserve = repeat is None
            durable = await self._intend(submission)
            held = durable and await self._hold(submission, repeat)
            too_dear = costly and self._spend.overdrawn
            if held is True and not self._shutdown.withdraws and not too_dear and self._limiter.still_open():
                break
            # Making the intent durable took time, in which a signal, a pause or a higher price came.
            self._limiter.release(ticket, "other")
            if isinstance(held, Holder):
                return await self._lose(submission, held, repeat)
            if durable and repeat is None:
                why = "the service charges more than was counted" if too_dear else "the service asked to wait"
                why = "the run stopped before it was sent" if self._shutdown.withdraws else why
                await self._settle(submission, Outcome(row=5, verdict="not_sent", detail=why))
            if self._shutdown.halted or (too_dear and repeat is not None):
                return None
        flight, outcome = Flight(), None
        _log.info("POST by worker %d: %s, %d bytes", worker, submission.request.address, len(body))
        try:
            with self._shutdown.post(worker):
                key = submission.idempotency_key
                outcome = await self._service.submit(worker, body, idempotency_key=key, flight=flight)
        except anyio.get_cancelled_exc_class():
            ended = given_up(flight, "cancelled")
            # A repeat that did not leave says nothing about the first POST.
            await (self._settle if repeat is None else self._stay_in_doubt)(submission, ended)
            raise
        except Exception as error:  # a bug of the client: what its flight shows still counts
            outcome = given_up(flight, repr(error))
            self._shutdown.fail(error)
        outcome = outcome or given_up(flight, "interrupted")
        self._limiter.release(ticket, feedback_of(outcome), outcome.retry_after)
        halt = self._breakers.note(submission.request.key, outcome, repeat=repeat is not None)
        if halt is not None:
            self._shutdown.stop(halt)
        if repeat is None:
            if self._breakers.one_more(submission.request.key, outcome):
                outcome = Outcome(row=outcome.row, verdict="refused", problem=outcome.problem, detail=outcome.detail)
            self._mark_counts = self._mark_counts and not outcome.replayed
            await self._settle(submission, outcome)
        return outcome

    def _reserve(self, submission: Submission) -> Halt | None:
        request = submission.request
        over = self._spend.reserve(request.key, submission.max_cost_usd, request.max_images)
        if over is None:
            return None
        return Halt(stop=ExitCode.MONEY, reason=over, hint="raise the budget, give --price, or submit fewer requests")

    async def _intend(self, submission: Submission) -> bool:
        most = self._spend.most(submission.max_cost_usd, submission.request.max_images)
        return await self._record(submission.intent(int(self._now()), most))

    async def _hold(self, submission: Submission, repeat: Again | None) -> Holder | bool:
        """Claim a request; False where that failed, and the run ends."""
        replay = submission.in_doubt_since is not None
        costly = repeat is not None and repeat.costly
        if repeat is not None and not (replay or costly):
            return True  # the POST in doubt is this run's, and so is its claim
        usd = self._spend.most(submission.max_cost_usd, submission.request.max_images)
        with self._shutdown.waiting() as wait:
            found = await self._claims.hold(submission, usd, replay=replay, costly=costly)
        if wait.cancelled_caught:
            if self._shutdown.withdraws:
                return False
            # What is announced is still sent.
            found = await self._claims.hold(submission, usd, replay=replay, costly=costly)
        if isinstance(found, Halt):
            self._shutdown.stop(found)
            return False
        return found or True

    async def _lose(self, submission: Submission, holder: Holder, repeat: Again | None) -> Outcome | None:
        """Record that a request is another runner's. What is in doubt here stays so."""
        why = f"claimed by {holder.name}"
        if repeat is not None:
            await self._stay_in_doubt(submission, Outcome(row=ANOTHERS, verdict="not_sent", detail=why))
            self._release(submission, int(repeat.costly))
            return None
        self._lost_to[submission.request.key] = holder
        if await self._record(NotSent(key=submission.request.key, at=int(self._now()), reason=why, held_by=holder)):
            self._spend.release(submission.request.key)
        return Outcome(row=ANOTHERS, verdict="refused", detail=why)

    async def _close_claims(self) -> None:
        """Tell the other runners what became of the claims, and record what they have told meanwhile."""
        known, halt = await self._claims.close()
        if halt is not None:
            self._shutdown.stop(halt)
        for key, holder in known.items():
            if holder != self._lost_to.get(key):
                why = "claimed by nobody any more" if holder is None else f"claimed by {holder.name}"
                await self._record(NotSent(key=key, at=int(self._now()), reason=why, held_by=holder))
            if holder is None:
                self._counts["not_sent"] += self._lost_to.pop(key, None) is not None
            else:
                self._lost_to[key] = holder

    async def _settle(self, submission: Submission, outcome: Outcome) -> None:
        """Make the outcome of a POST durable, and give the money back where nothing was charged."""
        if outcome.verdict in ("accepted", "rejected", "in_doubt"):
            self._counts[outcome.verdict] += 1
        if outcome.verdict == "accepted":
            self._grow_retry_budget()
        durable = await self._record_outcome(submission, outcome)
        if durable:
            self._claims.settle(submission, outcome)
        if durable and outcome.verdict in ("not_sent", "refused", "rejected"):
            self._spend.release(submission.request.key)

    async def _record_outcome(
        self, submission: Submission, outcome: Outcome, *, again: bool = False, salvaged: bool = False
    ) -> bool:
        event = event_of(outcome, submission.request.key, int(self._now()), again=again, salvaged=salvaged)
        return await self._record(event, outcome)

    async def _record(self, event: Event, outcome: Outcome | None = None) -> bool:
        """Make an event durable; where that fails the run ends, and False is returned."""
        try:
            await self._ledger.record(event)
        except LedgerError as error:
            if not isinstance(event, Intended):  # of an intent nothing has left yet: nobody needs to be told
                self._lost.append(event)
            self._shutdown.fail(error)
            return False
        self._observer.on_event(event, outcome)
        return True

    async def _work(self, worker: int, work: Iterator[Submission]) -> None:
        try:
            while not self._shutdown.halted and (submission := next(work, None)) is not None:
                await self._deliver(worker, submission)
        except Exception as error:  # whatever it is, the others' POSTs must come to a recorded end first
            self._shutdown.fail(error)
        finally:
            self._active -= 1
            self._stop_if_all_are_parked()

    async def _deliver(self, worker: int, submission: Submission) -> None:
        retries = 0
        while (outcome := await self._attempt(worker, submission)) is not None:
            if self._shutdown.halted or not await self._may_retry(retries, outcome):
                self._counts["not_sent"] += 1
                return
            retries += 1

    async def _attempt(self, worker: int, submission: Submission) -> Outcome | None:
        """Attempt a submission once, its body in memory no longer than that; an outcome is one to try again after."""
        weight, memory = submission.body_weight, self._memory
        if not memory.acquire_nowait(weight):
            with self._shutdown.waiting() as wait:
                await memory.acquire(weight)
            if wait.cancelled_caught:
                self._counts["not_sent"] += 1
                return None
        try:
            body = await run_sync(submission.body) if weight > SMALL_BODY else submission.body()
            if submission.in_doubt_since is None:
                outcome = await self.submit(worker, submission, body)
            else:
                self._counts["in_doubt"] += 1
                outcome = Outcome(row=7, verdict="in_doubt", doubt="crash", detail="left by an earlier run")
            if outcome is None or (outcome.verdict == "refused" and outcome.row != ANOTHERS):
                self._counts["not_sent"] += 1
            elif outcome.verdict == "not_sent":
                return outcome
            elif outcome.verdict == "in_doubt":
                await self._pursue(worker, submission, body, outcome)
            return None
        finally:
            memory.release(weight)

    async def _may_retry(self, earlier: int, outcome: Outcome) -> bool:
        """Wait until a request that had ``earlier`` retries may have another; False where it has to stay ``new``."""
        self._last_problem = said_with_meaning(outcome)
        while (taken := self._retries.take(earlier)) != "taken":
            if taken == "never":
                _log.info("left new after %d retries: %s", earlier, self._last_problem)
                self._in_vain += 1
                return False
            self._parked += 1  # the budget is spent: the worker waits until more were accepted
            try:
                self._stop_if_all_are_parked()
                with self._shutdown.waiting() as wait:
                    await self._one_more_accepted.wait()
                if wait.cancelled_caught:
                    return False
            finally:
                self._parked -= 1
        retry, of_run = earlier + 1, self._retries.retries
        _log.info("retry %d of one request, %d of the run, after: %s", retry, of_run, self._last_problem)
        if feedback_of(outcome) != "other" or outcome.retry_after is not None:
            return not self._shutdown.halted  # the limiter makes it wait, with all the others
        return await self._shutdown.sleep(full_jitter(earlier, self._random))

    def _stop_if_all_are_parked(self) -> None:
        if self._parked and self._parked >= self._active:  # nobody is left whose acceptance could make the budget grow
            reason = f"the retry budget is spent, the last time: {self._last_problem}"
            self._shutdown.stop(Halt(stop=ExitCode.UNFINISHED, reason=reason, hint=RESUME))

    def _grow_retry_budget(self) -> None:
        self._retries.accepted += 1
        if self._parked:
            self._one_more_accepted.set()
            self._one_more_accepted = anyio.Event()

    async def _pursue(self, worker: int, submission: Submission, body: bytes, first: Outcome) -> None:
        """Send a submission in doubt again, where ``retry.OpenCase`` allows it, until its doubt is settled."""
        if await self._is_known(worker, first):  # rows 8a and 9: a reply that is no acceptance names a task
            await self._settle_doubt(submission, replace(first, verdict="accepted"), salvaged=True)
            return
        case = OpenCase(
            first,
            now=self._now(),
            replay_since=submission.in_doubt_since,
            replays=submission.replays,
            retry_server_errors=self._retry_server_errors,
        )
        reserved = 0  # times, beside the first POST's reserve
        while not self._shutdown.halted and (again := case.again(self._now(), self._random)) is not None:
            if again.why == "server error" and self._retries.take(case.server_retries) != "taken":
                return
            if not await self._shutdown.sleep(again.wait):
                return
            outcome = await self.submit(worker, submission, body, repeat=again)
            if outcome is None:
                return
            reserved += again.costly
            if outcome.verdict == "in_doubt" and await self._is_known(worker, outcome):
                outcome = replace(outcome, verdict="accepted")
            answer = case.take(again, outcome, mark_counts=self._mark_counts)
            if answer == "open":
                await self._record_outcome(submission, case.still_open)
            elif answer == "not charged":
                await self._stay_in_doubt(submission, outcome)
                self._release(submission, int(again.costly))
                reserved -= again.costly
            else:
                self._grow_retry_budget()
                await self._settle_doubt(submission, outcome, again=answer == "charged again")
                self._release(submission, reserved if answer == "settled" else 0)
                return

    async def _is_known(self, worker: int, outcome: Outcome) -> bool:
        if outcome.task_id is None or self._shutdown.hurried:
            return False
        known = False
        with self._shutdown.post(worker):
            reports = [await self._service.task(one) for one in (outcome.task_id, *outcome.more_task_ids)]
            known = all(report.status in ("running", "completed", "failed") for report in reports)
        return known

    async def _settle_doubt(
        self, submission: Submission, outcome: Outcome, *, again: bool = False, salvaged: bool = False
    ) -> None:
        """Record that a doubt is settled by an acceptance; with ``again`` it is another, charged submission."""
        self._counts["in_doubt"] -= 1
        self._counts["accepted"] += 1
        if await self._record_outcome(submission, outcome, again=again, salvaged=salvaged):
            self._claims.settle(submission, outcome)

    async def _stay_in_doubt(self, submission: Submission, outcome: Outcome) -> None:
        """Record that a repeat was provably not charged, which says nothing about the first POST."""
        if outcome.verdict != "in_doubt":
            outcome = replace(outcome, verdict="not_sent")
        await self._record_outcome(submission, outcome)

    def _release(self, submission: Submission, times: int) -> None:
        for _ in range(times):
            self._spend.release(submission.request.key)

    async def _renew(self, key: str) -> None:
        """Make a request new again: ten equal refusals were a refusal of the run, not of each request."""
        event = NotSent(key=key, at=int(self._now()), reason="one of ten equal refusals that stopped the run")
        if await self._record(event):
            self._counts["rejected"] -= 1
            self._counts["not_sent"] += 1

    def _submitted(self) -> Submitted:
        halt = self._shutdown.halt
        if halt is None and self._in_vain:
            reason = f"{self._in_vain} not sent after several attempts, the last time: {self._last_problem}"
            halt = Halt(stop=ExitCode.UNFINISHED, reason=reason, hint=RESUME)
        return Submitted(
            accepted=self._counts["accepted"],
            rejected=self._counts["rejected"],
            in_doubt=self._counts["in_doubt"],
            not_sent=self._counts["not_sent"],
            elsewhere=len(self._lost_to),
            open_elsewhere=sum(not holder.paid for holder in self._lost_to.values()),
            retries=self._retries.retries - self._retries_before,
            halt=halt,
            lost=tuple(self._lost),
        )


class Weights:
    """The request bodies held in memory: at most ``capacity`` bytes in all, first come, first served.

    A weight above the capacity counts as all of it.
    """

    def __init__(self, capacity: int = BODIES_IN_FLIGHT) -> None:
        self._capacity = capacity
        self._held = 0
        self._queue = anyio.Lock()
        self._freed = anyio.Event()

    def acquire_nowait(self, weight: int) -> bool:
        """Take the weight if it is free and nobody waits; the path without a task switch."""
        weight = min(weight, self._capacity)
        if self._queue.locked() or self._held + weight > self._capacity:
            return False
        self._held += weight
        return True

    async def acquire(self, weight: int) -> None:
        """Take the weight, waiting for it in turn."""
        weight = min(weight, self._capacity)
        async with self._queue:
            while self._held + weight > self._capacity:
                self._freed = anyio.Event()
                await self._freed.wait()
            self._held += weight

    def release(self, weight: int) -> None:
        """Give the weight back."""
        self._held -= min(weight, self._capacity)
        self._freed.set()


def event_of(outcome: Outcome, key: str, at: int, *, again: bool = False, salvaged: bool = False) -> Event:
    """The event that records an outcome, by the column "state" of table 1."""
    match outcome.verdict:
        case "accepted":
            assert outcome.task_id is not None
            return Accepted(
                key=key,
                at=at,
                task_id=outcome.task_id,
                request_id=outcome.request_id,
                again=again,
                salvaged=salvaged,
                more_task_ids=outcome.more_task_ids,
            )
        case "rejected":
            problem = outcome.problem or ServiceError(status=None, code="", message=outcome.detail)
            return Rejected(key=key, at=at, error=problem, request_id=outcome.request_id)
        case "not_sent" | "refused":
            return NotSent(key=key, at=at, reason=said(outcome))
        case "in_doubt":
            return InDoubt(
                key=key,
                at=at,
                doubt=outcome.doubt or "no response",
                detail=outcome.detail or (said(outcome) if outcome.problem else ""),
                request_id=outcome.request_id,
                task_id=outcome.task_id,
                more_task_ids=outcome.more_task_ids,
            )


def given_up(flight: Flight, detail: str) -> Outcome:
    """The outcome of a POST that was cancelled, or whose client broke: its flight shows what had left (rows 5, 7)."""
    if flight.sent is Sent.NO:
        return Outcome(row=5, verdict="not_sent", detail=detail)
    return Outcome(row=7, verdict="in_doubt", doubt="interrupted", detail=detail)


def feedback_of(outcome: Outcome) -> Feedback:
    """What the rate limiter makes of an outcome."""
    if outcome.verdict == "accepted":
        return "accepted"
    if outcome.verdict == "not_sent" or outcome.row == NAMED_TASK:
        if outcome.problem is None:
            return "unreachable"
        if outcome.problem.status in (429, 503):
            return "limited"
    return "other"
