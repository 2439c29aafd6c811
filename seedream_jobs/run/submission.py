"""What the executor takes in, speaks to and hands back: the values and the small protocols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from seedream_jobs.api.outcomes import Flight, Outcome, Sent
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.errors import ExitCode
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.state import Accepted, Event, InDoubt, Intended, NotSent, Problem, Rejected
from seedream_jobs.run.breakers import said


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
