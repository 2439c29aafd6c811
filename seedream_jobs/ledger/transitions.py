"""The table of one request's life: which event is legal in which state, and where it leads.

The law: **an event is legal exactly where the table below has an arrow; an illegal one raises and changes nothing.**

    * ``new`` is reached only by a proof that nothing was charged, or by a person who says so.
    * From ``in_doubt`` no arrow leads to ``intent``: a doubtful submission is never submitted again. ``replay`` repeats
      it under the same idempotency key and leaves it in doubt until the service has answered.
    * ``accepted`` is legal wherever an entry exists: a task id is never refused, at worst it is a second one.
    * ``again`` (the next generation) starts only from a finished state, and keeps what was.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from seedream_jobs.ledger.state import State


class Trigger(StrEnum):
    """What an event means to the table: its kind, and for three of them what they say about the entry."""

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
