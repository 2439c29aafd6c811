"""Submits a lazily pulled stream of requests with a fixed set of workers, and leaves a durable record of each.

Table 1 (docs/outcomes.md) says what each outcome leads to. Called by ``session``. Invariants: no POST leaves before its
money is reserved and its intent is durable; no outcome is acted on before it is durable. Waiting at the gate comes
before the intent, so that an interruption while waiting leaves no doubt. Making the intent durable takes time; if the
run was stopped or the service asked for a pause meanwhile, the intent is withdrawn as not sent.

Submitting stops taking work at the first halt: a signal, a breaker, a budget, the ledger. POSTs under way then come to
their own end; after a signal or a failing ledger they have a grace, then they are given up and are in doubt, unless
their flight shows that nothing had left.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from typing import Protocol

import anyio
from anyio.to_thread import run_sync

from seedream_jobs.api.outcomes import Flight, Outcome, Sent, Verdict
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.errors import ExitCode, LedgerError
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.state import Accepted, Event, InDoubt, Intended, NotSent, Problem, Rejected
from seedream_jobs.run.budget import Spend
from seedream_jobs.run.rate_limiter import Gate, Reply, Ticket, Turnstile
from seedream_jobs.run.retry import Breakers, Halt, OpenCase, RetryBudget, full_jitter, said
from seedream_jobs.run.shutdown import RESUME, Halting, Stopper


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One request to be submitted.

    :param idempotency_key: digest of (manifest id, key, generation, body digest)
    :param max_cost_usd: the most it can cost; None where the price is unknown
    :param body: makes the POST's body; may read reference images. Called once per attempt
    :param in_doubt_since: Unix seconds of the recorded intent, where an earlier run left this very submission in
        doubt and the plan says that it is replayed: it stays in doubt until that is answered
    :param replays: how often it was replayed by earlier runs
    """

    request: Request
    generation: int
    idempotency_key: str
    max_cost_usd: Decimal | None
    body: Callable[[], bytes]
    in_doubt_since: int | None = None
    replays: int = 0

    @property
    def body_weight(self) -> int:
        """An upper bound of the body's bytes, known before it is made (base64 makes 4 of 3)."""
        return 64 * 1024 + sum(reference.bytes * 4 // 3 + 64 for reference in self.request.references.values())

    def intent(self, at: int) -> Intended:
        """The event that has to be durable before the POST."""
        request = self.request
        return Intended(
            key=request.key,
            at=at,
            generation=self.generation,
            address=request.address,
            cell=request.cell,
            request=request.payload,
            repeat=request.repeat,
            output=request.output,
            max_images=request.max_images,
            max_cost_usd=self.max_cost_usd,
            idempotency_key=self.idempotency_key,
        )


class Submit(Protocol):
    """One POST: never raises but on cancellation, never re-sends; ``flight`` is kept up to date while it runs."""

    async def submit(self, worker: int, body: bytes, *, idempotency_key: str, flight: Flight) -> Outcome: ...


class LedgerPort(Protocol):
    """The ledger: returns once the event is durable. Events of one caller become durable in order.

    Not cancelled half-way: once called it comes to its end, and a cancellation is raised by whatever is awaited next.

    :raises LedgerError: when it can't be made durable; fatal for the run
    """

    async def record(self, event: Event) -> None: ...


class Ask(Protocol):
    """One GET of a task; network trouble is a report, not an exception."""

    async def task(self, task_id: str) -> TaskReport: ...


class Observer(Protocol):
    """Told of each event once it is durable, with the outcome it came from; synchronous, must be quick.

    ``on_trouble``: why a task is asked for again, in the service's words or the transport's; empty once it answers.
    """

    def on_event(self, event: Event, outcome: Outcome | None) -> None: ...

    def on_trouble(self, reason: str) -> None: ...


class Quiet:
    """The observer that does nothing."""

    def on_event(self, event: Event, outcome: Outcome | None) -> None:
        """Let it pass."""

    def on_trouble(self, reason: str) -> None:
        """Let it pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How submitting ended.

    :param not_sent: taken from the work and left ``new``; what was never taken from it is not counted
    :param retries: POSTs that were sent again
    :param stop: the exit code with which submitting stopped before its end, None where it came to its end
    :param lost: events that could not be recorded: their task ids must be told to a person (row 21)
    """

    accepted: int = 0
    rejected: int = 0
    in_doubt: int = 0
    not_sent: int = 0
    retries: int = 0
    stop: ExitCode | None = None
    reason: str | None = None
    hint: str | None = None
    lost: tuple[Event, ...] = ()


def event_of(outcome: Outcome, key: str, at: int) -> Event:
    """The event that an outcome is recorded as (table 1, the column "state")."""
    match outcome.verdict:
        case "accepted":
            assert outcome.task_id is not None
            return Accepted(
                key=key,
                at=at,
                task_id=outcome.task_id,
                more_task_ids=outcome.more_task_ids,
                request_id=outcome.request_id,
            )
        case "rejected":
            problem = outcome.problem or Problem(status=None, code="", message=outcome.detail)
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
    """What a POST means that was cancelled, or whose client broke, by what its flight shows (rows 5 and 7)."""
    if flight.sent is Sent.NO:
        return Outcome(row=5, verdict="not_sent", detail=detail)
    return Outcome(row=7, verdict="in_doubt", doubt="interrupted", detail=detail)


BODIES_IN_FLIGHT = 256 * 1024 * 1024  # bytes


class Weights:
    """At most ``capacity`` in all, first come, first served; a weight above the capacity counts as all of it."""

    def __init__(self, capacity: int = BODIES_IN_FLIGHT) -> None:
        self._capacity = capacity
        self._held = 0
        self._waiting: deque[tuple[int, anyio.Event]] = deque()

    def acquire_nowait(self, weight: int) -> bool:
        """Take the weight if it is free and nobody waits; the path without a task switch."""
        weight = min(weight, self._capacity)
        if self._waiting or self._held + weight > self._capacity:
            return False
        self._held += weight
        return True

    async def acquire(self, weight: int) -> None:
        """Take the weight, waiting for it in turn."""
        if self.acquire_nowait(weight):
            return
        place = (min(weight, self._capacity), anyio.Event())
        self._waiting.append(place)
        try:
            await place[1].wait()
        except BaseException:
            if place in self._waiting:
                self._waiting.remove(place)
            else:  # it was handed over while the wait was being cancelled
                self._held -= place[0]
            self._hand_over()
            raise

    def release(self, weight: int) -> None:
        """Give the weight back, and wake whoever fits now."""
        self._held -= min(weight, self._capacity)
        self._hand_over()

    def _hand_over(self) -> None:
        while self._waiting and self._held + self._waiting[0][0] <= self._capacity:
            weight, event = self._waiting.popleft()
            self._held += weight
            event.set()


_log = logging.getLogger(__name__)


class Retrying:
    """The retry budget as workers meet it: where it is spent a worker is parked until more were accepted.

    Once all workers that are left are parked nothing can be accepted any more, and the run stops, resumable.
    """

    def __init__(self, budget: RetryBudget, halting: Halting, random: Random, *, workers: int) -> None:
        self.budget = budget
        self.in_vain = 0
        self._last = ""
        self._halting = halting
        self._random = random
        self._active = workers
        self._parked = 0
        self._accepted = anyio.Event()

    def accepted(self) -> None:
        """A request was accepted: the budget may have grown."""
        self.budget.accepted += 1
        if self._parked:
            self._accepted.set()
            self._accepted = anyio.Event()

    def worker_done(self) -> None:
        """A worker takes no more work."""
        self._active -= 1
        self._check()

    async def granted(self, earlier: int, outcome: Outcome) -> bool:
        """Wait for the retry of a request that had ``earlier`` ones; False where it has to stay ``new``."""
        self._last = said(outcome)
        if self.budget.exhausted_for(earlier):
            _log.info("left new after %d retries: %s", earlier, self._last)
            self.in_vain += 1
            return False
        while not self.budget.take(earlier):
            self._parked += 1
            try:
                self._check()
                if not await self._halting.idle.until(self._accepted.wait):
                    return False
            finally:
                self._parked -= 1
        _log.info("retry %d of one request, %d of the run, after: %s", earlier + 1, self.budget.retries, self._last)
        if reply_of(outcome) != "other" or outcome.retry_after is not None:
            return not self._halting.halted  # the gate makes it wait, with all the others
        wait = full_jitter(earlier, self._random)
        return await self._halting.idle.until(lambda: anyio.sleep(wait))

    def in_vain_because(self) -> str:
        """For people: how many requests were retried to the end, and what stood in the way."""
        return f"{self.in_vain} not sent after several attempts, the last time: {self._last}"

    def _check(self) -> None:
        if self._parked and self._parked >= self._active:
            reason = f"the retry budget is spent, the last time: {self._last}"
            self._halting.stop(Halt(stop=ExitCode.UNFINISHED, reason=reason, hint=RESUME))


def reply_of(outcome: Outcome) -> Reply:
    """What the gate makes of an outcome."""
    if outcome.verdict == "accepted":
        return "accepted"
    if outcome.verdict == "not_sent" or outcome.row == "8a":
        if outcome.problem is None:
            return "unreachable"
        if outcome.problem.status in (429, 503):
            return "limited"
    return "other"


class Recording:
    """The ledger, the observer, the money and the counts of one run of submitting.

    :param now: Unix seconds
    """

    def __init__(
        self,
        *,
        ledger: LedgerPort,
        observer: Observer,
        spend: Spend,
        halting: Halting,
        retrying: Retrying,
        now: Callable[[], float],
    ) -> None:
        self.counts: Counter[Verdict] = Counter()
        self.lost: list[Event] = []
        self._ledger = ledger
        self._observer = observer
        self._spend = spend
        self._halting = halting
        self._retrying = retrying
        self._now = now

    async def record(self, event: Event, outcome: Outcome | None = None) -> bool:
        """Make an event durable, also while the run is being cancelled. False, and the run ends, where that fails."""
        try:
            await self._ledger.record(event)
        except LedgerError as error:
            if not isinstance(event, Intended):
                self.lost.append(event)
            self._halting.fail(error)
            return False
        self._observer.on_event(event, outcome)
        return True

    def left_new(self) -> None:
        """A submission was taken from the work and stays ``new``."""
        self.counts["not_sent"] += 1

    async def intend(self, submission: Submission) -> bool:
        """Announce a POST; True once that is durable."""
        most = self._spend.most(submission.max_cost_usd, submission.request.max_images)
        return await self.record(replace(submission, max_cost_usd=most).intent(int(self._now())))

    async def settle(self, submission: Submission, outcome: Outcome) -> None:
        """Make the outcome of a POST durable, and give the money back where nothing was charged."""
        if outcome.verdict in ("accepted", "rejected", "in_doubt"):
            self.counts[outcome.verdict] += 1
        if outcome.verdict == "accepted":
            self._retrying.accepted()
        durable = await self.record(event_of(outcome, submission.request.key, int(self._now())), outcome)
        if durable and outcome.verdict in ("not_sent", "refused", "rejected"):
            self._spend.release(submission.request.key)

    async def still_in_doubt(self, submission: Submission, outcome: Outcome) -> None:
        """Make a further doubt about the same submission durable; it is counted once."""
        await self.record(event_of(outcome, submission.request.key, int(self._now())), outcome)

    async def not_repeated(self, submission: Submission, outcome: Outcome) -> None:
        """The repeat of a submission in doubt was provably not charged; the submission stays in doubt."""
        at, key = int(self._now()), submission.request.key
        pending = outcome.verdict == "in_doubt"
        await self.record(
            event_of(outcome, key, at) if pending else NotSent(key=key, at=at, reason=said(outcome)), outcome
        )

    async def cleared(self, submission: Submission, outcome: Outcome, *, again: bool) -> None:
        """A recorded doubt is settled by an acceptance; with ``again``, that is another submission."""
        self.counts["in_doubt"] -= 1
        self.counts["accepted"] += 1
        self._retrying.accepted()
        at, key, task_id = int(self._now()), submission.request.key, outcome.task_id
        assert task_id is not None
        event = Accepted(
            key=key,
            at=at,
            task_id=task_id,
            request_id=outcome.request_id,
            again=again,
            more_task_ids=outcome.more_task_ids,
        )
        await self.record(event, outcome)

    def release(self, submission: Submission, times: int) -> None:
        """Give back what was reserved for repeats that were not charged."""
        for _ in range(times):
            self._spend.release(submission.request.key)

    async def salvaged(self, submission: Submission, outcome: Outcome, task_id: str) -> None:
        """A recorded doubt is settled by the task id found in its reply, which the service knows."""
        self.counts["in_doubt"] -= 1
        self.counts["accepted"] += 1
        at, key = int(self._now()), submission.request.key
        event = Accepted(
            key=key,
            at=at,
            task_id=task_id,
            request_id=outcome.request_id,
            salvaged=True,
            more_task_ids=outcome.more_task_ids,
        )
        await self.record(event, outcome)

    async def restore(self, keys: tuple[str, ...]) -> None:
        """The equal refusals that stopped the run were refusals of the run: those requests are new again."""
        async with anyio.create_task_group() as together:  # so that they share one sync
            for key in keys:
                together.start_soon(self._restore, key)

    async def _restore(self, key: str) -> None:
        event = NotSent(key=key, at=int(self._now()), reason="one of ten equal refusals that stopped the run")
        if await self.record(event):
            self.counts["rejected"] -= 1
            self.counts["not_sent"] += 1

    def reserve(self, submission: Submission) -> Halt | None:
        """Commit the most it can cost to every budget; a halt where one can't bear it."""
        request = submission.request
        over = self._spend.reserve(request.key, submission.max_cost_usd, request.max_images)
        if over is None:
            return None
        return Halt(stop=ExitCode.MONEY, reason=over, hint="raise the budget, give --price, or submit fewer requests")


class Sending:
    """Announces and sends for all workers of one run; gate and breakers hear of every outcome."""

    def __init__(
        self,
        *,
        submit: Submit,
        turnstile: Turnstile,
        recording: Recording,
        halting: Halting,
        breakers: Breakers,
    ) -> None:
        self._submit = submit
        self._turnstile = turnstile
        self._recording = recording
        self._halting = halting
        self._breakers = breakers

    async def announce(self, submission: Submission) -> Ticket | None:
        """The permission to send it now, its intent durable; None where the run has stopped: then it is not sent."""
        while True:
            ticket = await self._turnstile.enter()
            if ticket is None:
                return None
            over = self._recording.reserve(submission)
            if over is not None:
                self._turnstile.leave(ticket, "other")
                self._halting.stop(over, withdraw=False)  # the money for what is announced is there
                return None
            durable = await self._recording.intend(submission)
            if durable and self._may_leave():
                return ticket
            self._turnstile.leave(ticket, "other")
            if durable:
                reason = (
                    "the run stopped before it was sent" if self._halting.withdraws else "the service asked to wait"
                )
                await self._recording.settle(submission, Outcome(row=5, verdict="not_sent", detail=reason))
            if self._halting.halted:
                return None

    async def announce_again(self, submission: Submission, *, charged_again: bool) -> Ticket | None:
        """Like ``announce``, for a submission that is in doubt and stays so: there is nothing to withdraw.

        :param charged_again: it may be charged a second time, so the money for that is reserved too
        """
        while True:
            ticket = await self._turnstile.enter()
            if ticket is None:
                return None
            if charged_again and self._recording.reserve(submission) is not None:
                self._turnstile.leave(ticket, "other")
                return None
            charged_again = False
            durable = await self._recording.intend(submission)
            if durable and self._may_leave():
                return ticket
            self._turnstile.leave(ticket, "other")
            if self._halting.halted:
                return None

    async def post(
        self, worker: int, submission: Submission, body: bytes, ticket: Ticket, *, repeat: bool = False
    ) -> Outcome:
        """Send it, or with ``repeat`` once more. Whatever happens there is an outcome; the caller records it at once.

        :raises: the cancellation, if the whole run is cancelled from outside; the outcome is recorded before
        """
        flight = Flight()
        outcome: Outcome | None = None
        _log.info("POST by worker %d: %s, %d bytes", worker, submission.request.address, len(body))
        try:
            with self._halting.post(worker):
                outcome = await self._submit.submit(
                    worker, body, idempotency_key=submission.idempotency_key, flight=flight
                )
        except anyio.get_cancelled_exc_class():
            await self._recording.settle(submission, given_up(flight, "cancelled"))
            raise
        except Exception as error:  # a bug of the client: what its flight shows still counts
            outcome = given_up(flight, repr(error))
            self._halting.fail(error)
        outcome = outcome or given_up(flight, "interrupted")
        self._turnstile.leave(ticket, reply_of(outcome), outcome.retry_after)
        halt = self._breakers.note(submission.request.key, outcome, repeat=repeat)
        if halt is not None:
            self._halting.stop(halt)
        return outcome

    def _may_leave(self) -> bool:
        return not self._halting.withdraws and self._turnstile.still_open()


class Doubts:
    """Pursues submissions whose doubt is already durable; whatever happens here, at worst they stay in doubt.

    :param now: Unix seconds
    """

    def __init__(
        self,
        *,
        sending: Sending,
        recording: Recording,
        halting: Halting,
        retrying: Retrying,
        ask: Ask | None,
        retry_server_errors: bool,
        random: Random,
        now: Callable[[], float],
    ) -> None:
        self._sending = sending
        self._recording = recording
        self._halting = halting
        self._retrying = retrying
        self._mark_counts = True
        self._ask = ask
        self._retry_server_errors = retry_server_errors
        self._random = random
        self._now = now

    def note_first(self, outcome: Outcome) -> None:
        """A mark on the answer to a first POST: this service's marks say nothing about replays."""
        self._mark_counts = self._mark_counts and not outcome.replayed

    async def pursue(self, worker: int, submission: Submission, body: bytes, first: Outcome, *, since: float) -> None:
        """Settle a doubt where the rules of ``resend`` allow it.

        :param first: the outcome that put it in doubt
        :param since: Unix seconds of its intent
        """
        if await self._confirm(worker, submission, first):
            return
        case = OpenCase(
            first,
            since=since,
            now=self._now(),
            replays=submission.replays,
            replay=submission.in_doubt_since is not None,
            retry_server_errors=self._retry_server_errors,
        )
        reserved = 0  # how often beside the first time
        while not self._halting.halted and (again := case.again(self._now(), self._random)) is not None:
            if again.why == "server error" and not self._retrying.budget.take(case.server_retries):
                return
            if not await self._sleep(again.wait):
                return
            costly = again.why != "pending"
            ticket = await self._sending.announce_again(submission, charged_again=costly)
            if ticket is None:
                return
            case.sent(again.why)
            reserved += costly
            outcome = await self._sending.post(worker, submission, body, ticket, repeat=True)
            if outcome.verdict == "in_doubt" and await self._known(worker, outcome):
                outcome = replace(outcome, verdict="accepted")
            answer = case.take(outcome, mark_counts=self._mark_counts)
            if answer == "open":
                await self._recording.still_in_doubt(submission, case.still_open)
            elif answer == "not charged":
                await self._recording.not_repeated(submission, outcome)
                self._recording.release(submission, int(costly))
                reserved -= costly
            else:
                await self._recording.cleared(submission, outcome, again=answer == "charged again")
                self._recording.release(submission, reserved if answer == "settled" else 0)
                return

    async def _sleep(self, seconds: float) -> bool:
        return await self._halting.idle.until(lambda: anyio.sleep(seconds))

    async def _confirm(self, worker: int, submission: Submission, outcome: Outcome) -> bool:
        """Rows 8a and 9: ask the service about a task id found in a reply that is no acceptance."""
        if outcome.task_id is None or not await self._known(worker, outcome):
            return False
        await self._recording.salvaged(submission, outcome, outcome.task_id)
        return True

    async def _known(self, worker: int, outcome: Outcome) -> bool:
        """Whether the service knows the task id that was found in a reply."""
        task_id, ask = outcome.task_id, self._ask
        if task_id is None or ask is None or self._halting.hurried:
            return False
        known = False
        with self._halting.post(worker):
            reports = [await ask.task(one) for one in (task_id, *outcome.more_task_ids)]
            known = all(report.status in ("running", "completed", "failed") for report in reports)
        return known


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
