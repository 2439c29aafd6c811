"""This module holds the table of a request's life: which event is legal in which state, and where it leads.

Called by manifest (``apply``). Invariant: an event is legal exactly where the table has an arrow; an illegal one raises
and changes nothing.

    * ``new`` is reached only by a proof that nothing was charged, or by a person who says so.
    * From ``in_doubt`` no arrow leads to ``intent``: a doubtful submission is never submitted again. ``replay`` repeats
      it under the same idempotency key and leaves it in doubt until the service has answered.
    * ``accepted`` is legal wherever an entry exists: a task id is never refused, at worst it is a second one.
    * ``again`` (the next generation) starts only from a finished state, and keeps what was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from enum import StrEnum
from typing import assert_never

from seedream_jobs.ledger.state import (
    ID,
    Accepted,
    Attempt,
    Completed,
    Doubt,
    Entry,
    Event,
    Expired,
    Failed,
    Holder,
    InDoubt,
    Intended,
    NotSent,
    Rejected,
    Resolution,
    Resolved,
    State,
    Stored,
)


class Trigger(StrEnum):
    """A column of the table: an event's kind, and for an intent and a resolution what it says about the entry."""

    INTENDED = "intended"
    AGAIN = "intended, next generation"
    REPLAY = "intended, same idempotency key"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SENT = "not sent"
    IN_DOUBT = "in doubt"
    COMPLETED = "completed"
    FAILED = "failed"
    STORED = "stored"
    EXPIRED = "expired"
    RESOLVED_ACCEPTED = "resolved: accepted"
    RESOLVED_NOT_CHARGED = "resolved: not charged"
    RESOLVED_ABANDONED = "resolved: abandoned"


_S, _T = State, Trigger

TRANSITIONS: Mapping[State | None, Mapping[Trigger, State]] = {
    None: {_T.INTENDED: _S.INTENT},
    State.NEW: {
        _T.INTENDED: _S.INTENT,
        _T.NOT_SENT: _S.NEW,
        _T.ACCEPTED: _S.ACCEPTED,
        _T.RESOLVED_ACCEPTED: _S.ACCEPTED,
    },
    State.INTENT: {
        _T.ACCEPTED: _S.ACCEPTED,
        _T.REJECTED: _S.REJECTED,
        _T.NOT_SENT: _S.NEW,
        _T.IN_DOUBT: _S.IN_DOUBT,
    },
    State.ACCEPTED: {
        _T.ACCEPTED: _S.ACCEPTED,
        _T.COMPLETED: _S.COMPLETED,
        _T.FAILED: _S.FAILED,
        _T.EXPIRED: _S.EXPIRED,
        _T.RESOLVED_ACCEPTED: _S.ACCEPTED,
        _T.RESOLVED_ABANDONED: _S.ABANDONED,
    },
    State.COMPLETED: {
        _T.ACCEPTED: _S.COMPLETED,
        _T.COMPLETED: _S.COMPLETED,  # fresh links
        _T.STORED: _S.STORED,
        _T.FAILED: _S.FAILED,
        _T.EXPIRED: _S.EXPIRED,
    },
    State.STORED: {
        _T.AGAIN: _S.INTENT,
        _T.ACCEPTED: _S.STORED,
        _T.COMPLETED: _S.COMPLETED,  # the files were lost and are fetched once more
        _T.STORED: _S.STORED,
        _T.EXPIRED: _S.EXPIRED,
    },
    State.IN_DOUBT: {
        _T.REPLAY: _S.IN_DOUBT,
        _T.NOT_SENT: _S.IN_DOUBT,  # the replay was not sent; the first submission stays doubtful
        _T.IN_DOUBT: _S.IN_DOUBT,
        _T.ACCEPTED: _S.ACCEPTED,
        _T.REJECTED: _S.REJECTED,  # the answer to a proven replay
        _T.RESOLVED_ACCEPTED: _S.ACCEPTED,
        _T.RESOLVED_NOT_CHARGED: _S.NEW,
        _T.RESOLVED_ABANDONED: _S.ABANDONED,
    },
    State.REJECTED: {
        _T.AGAIN: _S.INTENT,
        _T.NOT_SENT: _S.NEW,  # one of ten alike that stopped the run: the run was refused, not the request
        _T.ACCEPTED: _S.ACCEPTED,
    },
    State.FAILED: {_T.AGAIN: _S.INTENT, _T.ACCEPTED: _S.FAILED},
    State.EXPIRED: {
        _T.AGAIN: _S.INTENT,
        _T.ACCEPTED: _S.EXPIRED,
        _T.COMPLETED: _S.COMPLETED,  # the service found them again
        _T.EXPIRED: _S.EXPIRED,
        _T.RESOLVED_ACCEPTED: _S.ACCEPTED,  # a person knows that its task lives
    },
    State.ABANDONED: {
        _T.AGAIN: _S.INTENT,
        _T.ACCEPTED: _S.ACCEPTED,
        _T.RESOLVED_ACCEPTED: _S.ACCEPTED,
    },
}


def state_diagram() -> str:
    """The table as a Mermaid state diagram: the picture in docs/ledger.md."""
    lines = ["stateDiagram-v2"]
    for source, arrows in TRANSITIONS.items():
        by_target: dict[State, list[str]] = {}
        for trigger, target in arrows.items():
            by_target.setdefault(target, []).append(trigger.value.replace(": ", " as "))
        start = "[*]" if source is None else source.value
        lines.extend(f"    {start} --> {target.value}: {' / '.join(names)}" for target, names in by_target.items())
    return "\n".join(lines) + "\n"


class IllegalEvent(Exception):
    """An event that has no arrow in the table: a bug of the caller."""

    def __init__(self, state: State | None, event: Event, why: str = "") -> None:
        known = "unknown to the ledger" if state is None else f"in state {state.value}"
        super().__init__(f"{type(event).__name__} is not legal for {event.key} ({known}){': ' if why else ''}{why}")


def evolve(entry: Entry | None, event: Event) -> Entry:
    """The entry after the event.

    :param entry: None for a request the ledger does not know
    :raises IllegalEvent: for an event that has no arrow, that is about another request, or whose task id is no id
    """
    state = None if entry is None else entry.state
    if entry is not None and entry.key != event.key:
        raise IllegalEvent(state, event, f"the entry is {entry.key}")
    trigger = _trigger(entry, event)
    target = None if trigger is None else TRANSITIONS[state].get(trigger)
    if target is None:
        raise IllegalEvent(state, event)
    _check_id(state, event)
    if isinstance(event, Intended):
        return _after_intent(entry, event, target)
    assert entry is not None  # only Intended has an arrow from None
    return _applied(entry, event, target)


def _trigger(entry: Entry | None, event: Event) -> Trigger | None:
    match event:
        case Intended():
            return _intent_trigger(entry, event)
        case Resolved():
            return _RESOLVED[event.resolution]
        case _:
            return _PLAIN.get(type(event))


_PLAIN: Mapping[type[Event], Trigger] = {
    Accepted: Trigger.ACCEPTED,
    Rejected: Trigger.REJECTED,
    NotSent: Trigger.NOT_SENT,
    InDoubt: Trigger.IN_DOUBT,
    Completed: Trigger.COMPLETED,
    Failed: Trigger.FAILED,
    Stored: Trigger.STORED,
    Expired: Trigger.EXPIRED,
}
_RESOLVED: Mapping[Resolution, Trigger] = {
    "accepted": Trigger.RESOLVED_ACCEPTED,
    "not_charged": Trigger.RESOLVED_NOT_CHARGED,
    "abandoned": Trigger.RESOLVED_ABANDONED,
}


def _intent_trigger(entry: Entry | None, event: Intended) -> Trigger | None:
    if entry is None:
        return Trigger.INTENDED if event.generation >= 1 else None
    if event.generation == entry.generation + 1:
        return Trigger.AGAIN
    if event.generation != entry.generation:
        return None
    if entry.state is not State.IN_DOUBT:
        return Trigger.INTENDED
    # Under another key the service would take the repeat for a new submission, and charge it.
    return Trigger.REPLAY if event.idempotency_key == entry.idempotency_key else None


def _check_id(state: State | None, event: Event) -> None:
    task_id = event.task_id if isinstance(event, Accepted | InDoubt | Resolved) else None
    more = event.more_task_ids if isinstance(event, Accepted | InDoubt) else ()
    if any(ID.fullmatch(one) is None for one in (task_id, *more) if one is not None):
        raise IllegalEvent(state, event, "the task id is not [A-Za-z0-9_-]{1,128}")
    if isinstance(event, Resolved) and event.resolution == "accepted" and task_id is None:
        raise IllegalEvent(state, event, "a resolution as accepted names its task id")


def _after_intent(entry: Entry | None, event: Intended, target: State) -> Entry:
    """The entry once a submission is announced; a replay only adds to ``replays``."""
    if entry is not None and target is State.IN_DOUBT:
        return replace(entry, replays=entry.replays + 1)
    earlier: tuple[Attempt, ...] = ()
    if entry is not None:
        earlier = entry.earlier if event.generation == entry.generation else (*entry.earlier, entry.current)
    return Entry(
        key=event.key,
        address=event.address,
        cell=event.cell,
        request=event.request,
        repeat=event.repeat,
        output=event.output,
        max_images=event.max_images,
        generation=event.generation,
        state=target,
        idempotency_key=event.idempotency_key,
        max_cost_usd=event.max_cost_usd,
        submitted_at=event.at,
        run=event.run,
        earlier=in_generation_order(earlier),
    )


def _applied(entry: Entry, event: Event, target: State) -> Entry:
    match event:
        case Accepted() if event.again and entry.state is State.IN_DOUBT:
            return _accepted_again(entry, event, target)
        case Accepted():
            return _with_task(entry, event.task_id, event.request_id, target, event.more_task_ids)
        case Rejected():
            request_id = event.request_id or entry.request_id
            return replace(entry, state=target, error=event.error, request_id=request_id, doubt=None, since=None)
        case NotSent():
            return _not_repeated(entry) if target is State.IN_DOUBT else _unsent(entry, event.held_by)
        case InDoubt():
            return _doubted(entry, event)
        case Completed():
            return replace(entry, state=target, images=event.images, cost_usd=_cost(entry, event))
        case Failed():
            return replace(entry, state=target, error=event.error, images=(), cost_usd=_cost(entry, event))
        case Stored():
            return replace(entry, state=target, images=event.images)
        case Expired():
            return replace(entry, state=target, cost_usd=_cost(entry, event))
        case Resolved():
            return _settled(entry, event, target)
        case _:
            raise IllegalEvent(entry.state, event)


def _cost(entry: Entry, event: Completed | Failed | Expired) -> Decimal | None:
    # The service's last word on the cost counts, and silence takes nothing back.
    return entry.cost_usd if event.cost_usd is None else event.cost_usd


def _with_task(entry: Entry, task_id: str, request_id: str | None, target: State, more: tuple[str, ...] = ()) -> Entry:
    known = entry.task_id
    request_id = request_id or entry.request_id
    if entry.state is target and known is not None:  # it has a task already; another id is a second payment
        if task_id in (*entry.task_ids, *entry.other_task_ids):
            return entry
        second = replace(
            entry.current,
            state=State.ACCEPTED,
            task_id=task_id,
            more_task_ids=more,
            cost_usd=None,
            images=(),
            error=None,
        )
        return replace(entry, earlier=in_generation_order((*entry.earlier, second)))
    earlier = entry.earlier
    if known not in (None, task_id):  # a token from an unreadable reply that turned out to be another task
        earlier = in_generation_order((*earlier, entry.current))
    return replace(
        entry,
        state=target,
        task_id=task_id,
        more_task_ids=more or (entry.more_task_ids if task_id == known else ()),
        request_id=request_id,
        doubt=None,
        since=None,
        error=None,
        held_by=None,
        earlier=earlier,
    )


def _accepted_again(entry: Entry, event: Accepted, target: State) -> Entry:
    # The repeat bought a task of its own: the submission in doubt, and the repeats before this one, count as charged.
    most = entry.max_cost_usd
    first = replace(
        entry.current,
        state=State.ABANDONED,
        max_cost_usd=None if most is None else most * max(1, entry.replays),
    )
    fresh = replace(entry, task_id=None, more_task_ids=(), request_id=None, submitted_at=event.at)
    accepted = _with_task(fresh, event.task_id, event.request_id, target, event.more_task_ids)
    return replace(accepted, earlier=in_generation_order((*accepted.earlier, first)))


def _not_repeated(entry: Entry) -> Entry:
    # The last repeat was provably not charged.
    return replace(entry, replays=max(0, entry.replays - 1))


def _unsent(entry: Entry, held_by: Holder | None = None) -> Entry:
    unsent = Attempt(generation=entry.generation, state=State.NEW, max_cost_usd=entry.max_cost_usd, held_by=held_by)
    return entry.with_current(unsent, replays=0)


def _doubted(entry: Entry, event: InDoubt) -> Entry:
    if event.doubt == "pending":  # the repeat was put off until the first POST is answered
        entry = _not_repeated(entry)
    earlier = entry.earlier
    if entry.task_id is not None and event.task_id not in (None, entry.task_id):
        earlier = in_generation_order((*earlier, entry.current))
    return replace(
        entry,
        state=State.IN_DOUBT,
        doubt=event.doubt,
        since=event.at if entry.since is None else entry.since,
        request_id=event.request_id or entry.request_id,
        task_id=event.task_id or entry.task_id,
        more_task_ids=event.more_task_ids if event.task_id else entry.more_task_ids,
        earlier=earlier,
    )


def _settled(entry: Entry, event: Resolved, target: State) -> Entry:
    match event.resolution:
        case "accepted":
            assert event.task_id is not None  # refused by _check_id
            # An expired entry still has its dead links; the task is asked for new ones.
            return replace(_with_task(entry, event.task_id, None, target), images=())
        case "not_charged":
            return _unsent(entry)
        case "abandoned":
            return replace(entry, state=target)
        case _:
            assert_never(event.resolution)


def in_generation_order(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """By generation, then time, then task id, then run: the order in which they stand in the manifest."""
    return tuple(sorted(attempts, key=_place))


def _place(attempt: Attempt) -> tuple[int, int, str, str]:
    submitted_at = -1 if attempt.submitted_at is None else attempt.submitted_at
    return (attempt.generation, submitted_at, attempt.task_id or "", attempt.run or "")


def settle_open_intent(entry: Entry, doubt: Doubt) -> Entry:
    """An announced submission without an outcome, once no run is under way any more: it is in doubt.

    :param doubt: ``interrupted`` where the run ended in order, ``crash`` where it was found later
    """
    if entry.state is not State.INTENT:
        return entry
    return replace(entry, state=State.IN_DOUBT, doubt=doubt, since=entry.submitted_at)
