"""This module joins what branches know of one request: git's union of two manifests holds it twice.

Called by manifest. Invariant: nothing known is lost, and the order of lines does not matter (the join is commutative,
associative and idempotent). An entry is taken apart into its submissions. Two of them are one and the same where
generation, time of the intent, run and task id agree; each field is then the larger of the two by a fixed order. Two
submissions of one generation that differ are two payments: both are kept, one in front, the other in ``earlier``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, TypeVar

from seedream_jobs.ledger.codec import canonical, encode
from seedream_jobs.ledger.state import Attempt, Entry, Header, Holder, Image, PlanRecord, ServiceError, State
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


def join(*entries: Entry) -> Entry:
    """What all of them know of one request, in a time that grows with what they hold together."""
    # They differ here where the job file was edited on one branch: any choice does that ignores their order.
    front = max(entries, key=_description)
    attempts = [attempt for entry in entries for attempt in (entry.current, *entry.earlier)]
    return _assembled(front, attempts, max(entry.replays for entry in entries))


def in_order(entry: Entry) -> Entry:
    """The entry with the right submission in front: ``join(entry, entry)``."""
    return join(entry, entry)


def join_headers(*headers: Header) -> Header | None:
    """One header for several; None where the origins differ, which no rule can settle."""
    if len({header.origin for header in headers}) > 1:
        return None
    # A part holds what the other form's file held, so that the finer form is right for both.
    closed = sorted({run for header in headers for run in header.closed})
    first, *others = sorted({one for header in headers for one in (header.id, *header.other_ids)})
    # Of one run's marks the last in this order stays, with the larger number of intents.
    marks = sorted(
        chain.from_iterable(header.runs for header in headers), key=lambda run: (run.id, run.intents, run.since)
    )
    return Header(
        id=first,
        job=min(header.job for header in headers),
        origin=headers[0].origin,
        other_ids=tuple(others),
        runs=tuple({run.id: run for run in marks if run.id not in closed}.values()),
        serial=max(header.serial for header in headers),
        parts=max(header.parts for header in headers),
        closed=tuple(closed),
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
    alike = defaultdict[_Identity, list[Attempt]](list)
    for attempt in attempts:
        alike[_identity(attempt)].append(attempt)
    known = {identity: _join_attempts(same) if same[1:] else same[0] for identity, same in alike.items()}
    # An attempt that was never sent says nothing beside one that was. A submission without a task id is the one of the
    # same run and second whose task id the other line knows.
    sent = {attempt.generation for attempt in known.values() if not _says_nothing(attempt)}
    tasked = {identity[:3] for identity in known if identity[3] is not None}
    kept = [
        attempt
        for identity, attempt in known.items()
        if (attempt.generation not in sent if _says_nothing(attempt) else identity[3] or identity[:3] not in tasked)
    ]
    # Nor does the retry of a rejected one that another runner had submitted meanwhile: its images are to be fetched.
    times = Counter(attempt.generation for attempt in kept)
    kept = [one for one in kept if not (_says_nothing(one) and times[one.generation - 1] > 1)]
    latest = max(attempt.generation for attempt in kept)
    current = min((attempt for attempt in kept if attempt.generation == latest), key=_place)
    others = tuple(attempt for attempt in kept if attempt is not current)
    return front.with_current(current, replays=replays, earlier=in_generation_order(others))


def _says_nothing(attempt: Attempt) -> bool:
    return attempt.state is State.NEW and attempt.task_id is None


def _place(attempt: Attempt) -> tuple[int, int, str, str]:
    submitted_at = -1 if attempt.submitted_at is None else attempt.submitted_at
    return (IN_FRONT.index(attempt.state), submitted_at, attempt.task_id or "", attempt.run or "")


def _join_attempts(same: Sequence[Attempt]) -> Attempt:
    """One submission, known several times: each field by its own order, so that no order of joining matters."""
    state = max((one.state for one in same), key=KNOWLEDGE.index)
    in_doubt = state is State.IN_DOUBT
    return Attempt(
        generation=same[0].generation,
        state=state,
        task_id=_largest(one.task_id for one in same),
        more_task_ids=max((one.more_task_ids for one in same), key=lambda ids: (len(ids), ids)),
        cost_usd=_largest((one.cost_usd for one in same), _amount),
        images=_join_images(one.images for one in same),
        error=_largest((one.error for one in same), _canonical),
        idempotency_key=_largest(one.idempotency_key for one in same),
        request_id=_largest(one.request_id for one in same),
        doubt=_largest(one.doubt for one in same) if in_doubt else None,
        max_cost_usd=_largest((one.max_cost_usd for one in same), _amount),
        submitted_at=_largest((one.submitted_at for one in same), int),
        since=_largest((one.since for one in same), int) if in_doubt else None,
        run=same[0].run,
        held_by=_largest((one.held_by for one in same), _canonical) if state is State.NEW else None,
    )


def _largest(values: Iterable[_T | None], order: Callable[[_T], Any] = str) -> _T | None:
    known = [value for value in values if value is not None]
    return max(known, key=order) if known else None


def _amount(amount: Decimal) -> tuple[Decimal, str]:
    return (amount, str(amount))


def _canonical(one: Image | ServiceError | Holder) -> bytes:
    return canonical(encode(one))


def _join_images(several: Iterable[tuple[Image, ...]]) -> tuple[Image, ...]:
    by_place: list[list[Image]] = []
    for images in several:
        by_place += [[] for _ in images[len(by_place) :]]
        for place, image in zip(by_place, images, strict=False):
            place.append(image)
    return tuple(max(place, key=lambda image: (image.file is not None, _canonical(image))) for place in by_place)
