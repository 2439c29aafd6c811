"""This module joins what two branches know of one request: git's union of two manifests holds it twice.

Called by manifest. Invariant: nothing known is lost, and the order of lines does not matter (the join is commutative,
associative and idempotent). An entry is taken apart into its submissions. Two of them are one and the same where
generation, time of the intent, run and task id agree; each field is then the larger of the two by a fixed order. Two
submissions of one generation that differ are two payments: both are kept, one in front, the other in ``earlier``.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import zip_longest
from typing import TypeVar

from seedream_jobs.ledger.codec import canonical, encode
from seedream_jobs.ledger.state import Attempt, Entry, Header, Image, PlanRecord, ServiceError, State
from seedream_jobs.ledger.transitions import in_generation_order

KNOWLEDGE: tuple[State, ...] = (
    State.NEW,
    State.INTENT,
    State.IN_DOUBT,
    State.REJECTED,
    State.ABANDONED,
    State.ACCEPTED,
    State.COMPLETED,
    State.FAILED,
    State.EXPIRED,
    State.STORED,
)
"""Of two states of the same submission the later one here counts: it knows more, and it costs no second submission."""

IN_FRONT: tuple[State, ...] = (
    State.INTENT,
    State.ACCEPTED,
    State.COMPLETED,
    State.IN_DOUBT,
    State.STORED,
    State.EXPIRED,
    State.FAILED,
    State.ABANDONED,
    State.REJECTED,
    State.NEW,
)
"""Of two submissions of the latest generation the earlier one here comes first: it has work left, and is polled and
fetched before the other."""

_Identity = tuple[int, int | None, str | None, str | None]
_T = TypeVar("_T")


def join(one: Entry, other: Entry) -> Entry:
    """What both know of one request."""
    # The two differ here where the job file was edited on one branch: any choice does that ignores their order.
    front = max(one, other, key=_description)
    return _assembled(
        front, [one.current, *one.earlier, other.current, *other.earlier], max(one.replays, other.replays)
    )


def in_order(entry: Entry) -> Entry:
    """The entry with the right submission in front: ``join(entry, entry)``."""
    return join(entry, entry)


def join_headers(one: Header, other: Header) -> Header | None:
    """One header for two; None where the origins differ, which no rule can settle."""
    if one.origin != other.origin:
        return None
    first, *others = sorted({one.id, other.id, *one.other_ids, *other.other_ids})
    # Of one run's marks the last in this order stays, with the larger number of intents.
    runs = {run.id: run for run in sorted((*one.runs, *other.runs), key=lambda run: (run.id, run.intents, run.since))}
    return Header(
        id=first,
        job=min(one.job, other.job),
        origin=one.origin,
        other_ids=tuple(others),
        runs=tuple(runs.values()),
        serial=max(one.serial, other.serial),
    )


def join_plans(one: PlanRecord, other: PlanRecord) -> PlanRecord:
    """One record for two of the same plan: used when it was first used, finished where either branch finished it."""
    return PlanRecord(
        plan=one.plan,
        digest=max(one.digest, other.digest),
        used_at=min(one.used_at, other.used_at),
        finished=one.finished or other.finished,
        options=max(one.options, other.options, key=lambda options: canonical(dict(options))),
    )


def _description(entry: Entry) -> bytes:
    plain = [entry.address, dict(entry.cell), dict(entry.request), entry.repeat, entry.output, entry.max_images]
    return canonical(plain)


def _identity(attempt: Attempt) -> _Identity:
    if _says_nothing(attempt):  # in one generation all of these are the same
        return (attempt.generation, None, None, None)
    return (attempt.generation, attempt.submitted_at, attempt.run, attempt.task_id)


def _assembled(front: Entry, attempts: Iterable[Attempt], replays: int) -> Entry:
    known: dict[_Identity, Attempt] = {}
    for attempt in attempts:
        identity = _identity(attempt)
        known[identity] = _join_attempts(known[identity], attempt) if identity in known else attempt
    # An attempt that was never sent says nothing beside one that was. A submission without a task id is the one of the
    # same run and second whose task id the other line knows.
    sent = {attempt.generation for attempt in known.values() if not _says_nothing(attempt)}
    tasked = {identity[:3] for identity in known if identity[3] is not None}
    kept = [
        attempt
        for identity, attempt in known.items()
        if (attempt.generation not in sent if _says_nothing(attempt) else identity[3] or identity[:3] not in tasked)
    ]
    latest = max(attempt.generation for attempt in kept)
    current = min((attempt for attempt in kept if attempt.generation == latest), key=_place)
    others = tuple(attempt for attempt in kept if attempt is not current)
    return front.with_current(current, replays=replays, earlier=in_generation_order(others))


def _says_nothing(attempt: Attempt) -> bool:
    return attempt.state is State.NEW and attempt.task_id is None


def _place(attempt: Attempt) -> tuple[int, int, str, str]:
    submitted_at = -1 if attempt.submitted_at is None else attempt.submitted_at
    return (IN_FRONT.index(attempt.state), submitted_at, attempt.task_id or "", attempt.run or "")


def _join_attempts(one: Attempt, other: Attempt) -> Attempt:
    """The same submission, known twice: each field by its own order, so that no order of joining matters."""
    state = max(one.state, other.state, key=KNOWLEDGE.index)
    in_doubt = state is State.IN_DOUBT
    return Attempt(
        generation=one.generation,
        state=state,
        task_id=_larger(one.task_id, other.task_id),
        more_task_ids=max(one.more_task_ids, other.more_task_ids, key=lambda ids: (len(ids), ids)),
        cost_usd=_larger_amount(one.cost_usd, other.cost_usd),
        images=tuple(_join_images(a, b) for a, b in zip_longest(one.images, other.images)),
        error=_join_problems(one.error, other.error),
        idempotency_key=_larger(one.idempotency_key, other.idempotency_key),
        request_id=_larger(one.request_id, other.request_id),
        doubt=_larger(one.doubt, other.doubt) if in_doubt else None,
        max_cost_usd=_larger_amount(one.max_cost_usd, other.max_cost_usd),
        submitted_at=_larger_number(one.submitted_at, other.submitted_at),
        since=_larger_number(one.since, other.since) if in_doubt else None,
        run=one.run,
    )


def _larger(one: _T | None, other: _T | None) -> _T | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other, key=str)


def _larger_number(one: int | None, other: int | None) -> int | None:
    return max((number for number in (one, other) if number is not None), default=None)


def _larger_amount(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    amounts = [amount for amount in (one, other) if amount is not None]
    return max(amounts, key=lambda amount: (amount, str(amount)), default=None)


def _join_images(one: Image | None, other: Image | None) -> Image:
    if one is None or other is None:
        image = other if one is None else one
        assert image is not None  # zip_longest pads only one of the two
        return image
    return max(one, other, key=lambda image: (image.file is not None, canonical(encode(image))))


def _join_problems(one: ServiceError | None, other: ServiceError | None) -> ServiceError | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other, key=lambda problem: canonical(encode(problem)))
