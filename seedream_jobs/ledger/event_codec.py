"""Events as JSON: what a journal's record holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from decimal import Decimal

from seedream_jobs.ledger.codec import (
    Json,
    Malformed,
    amount,
    encode_image,
    encode_problem,
    identifier,
    images,
    money,
    problem,
)
from seedream_jobs.ledger.state import (
    Accepted,
    Completed,
    Event,
    Expired,
    Failed,
    InDoubt,
    Intended,
    NotSent,
    Problem,
    Rejected,
    Resolved,
    Stored,
)

_EVENTS: Mapping[str, type[Event]] = {
    "intended": Intended,
    "accepted": Accepted,
    "rejected": Rejected,
    "not_sent": NotSent,
    "in_doubt": InDoubt,
    "completed": Completed,
    "failed": Failed,
    "stored": Stored,
    "expired": Expired,
    "resolved": Resolved,
}
_WRITTEN: Mapping[type[Event], tuple[str, tuple[tuple[str, object], ...]]] = {
    kind: (name, tuple((field.name, field.default) for field in fields(kind))) for name, kind in _EVENTS.items()
}
"""For each kind its name and its fields with their defaults: every POST is written down twice."""


def encode_event(event: Event) -> Json:
    """An event as the journal's line holds it; times stay Unix seconds."""
    kind, written = _WRITTEN[type(event)]
    line: Json = {"event": kind}
    for name, default in written:
        value = getattr(event, name)
        if value is None or (default is not MISSING and value == default):
            continue
        if isinstance(value, Decimal):
            value = money(value)
        elif isinstance(value, Problem):
            value = encode_problem(value)
        elif name == "images":
            value = [encode_image(image) for image in value]
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Mapping):
            value = dict(value)
        line[name] = value
    return line


def decode_event(line: Json) -> Event:
    """The event a journal's line holds (its checksum is good: this program wrote it).

    :raises Malformed: for an event of another version
    """
    kind = _EVENTS.get(line.get("event", ""))
    if kind is None:
        raise Malformed(f"unknown event {line.get('event')!r}")
    values = {name: value for name, value in line.items() if name != "event"}
    for name in ("cost_usd", "max_cost_usd"):
        if name in values:
            values[name] = amount(name, values[name])
    if "more_task_ids" in values:
        values["more_task_ids"] = tuple(identifier("more_task_ids", one) for one in values["more_task_ids"])
    if "error" in values:
        values["error"] = problem("error", values["error"])
    if "images" in values:
        values["images"] = images("images", values["images"])
    for field in fields(kind):
        if field.name not in values and field.default is MISSING:
            if field.name not in _NULLABLE:
                raise Malformed(f"the event lacks '{field.name}'")
            values[field.name] = None
    try:
        return kind(**values)
    except TypeError as error:
        raise Malformed(str(error)) from None


_NULLABLE = frozenset({"max_cost_usd"})
