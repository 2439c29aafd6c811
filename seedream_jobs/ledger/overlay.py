"""What a journal's records make of a manifest: the same code for recording, for recovery and for a look in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from seedream_jobs.ledger.event_codec import decode_event, encode_event
from seedream_jobs.ledger.journal import Contents
from seedream_jobs.ledger.machine import IllegalEvent, evolve
from seedream_jobs.ledger.manifest import Manifest
from seedream_jobs.ledger.merge import join_plans
from seedream_jobs.ledger.records import PlanRecord, ResolutionRecord, decode_plan, encode_plan
from seedream_jobs.ledger.state import Event, Resolved


def body_of(what: Event | PlanRecord) -> dict[str, Any]:
    """A record's content."""
    return encode_plan(what) if isinstance(what, PlanRecord) else encode_event(what)


def apply(manifest: Manifest, records: Iterable[dict[str, Any] | Event | PlanRecord]) -> None:
    """Fold records into what is known, in order.

    :raises IllegalEvent: an event that has no place in its request's state; what came before it is applied
    """
    for record in records:
        what = _read(record) if isinstance(record, dict) else record
        if isinstance(what, PlanRecord):
            known = manifest.plans.get(what.plan)
            manifest.plans[what.plan] = what if known is None else join_plans(known, what)
            continue
        manifest.entries.put(evolve(manifest.entries.find(what.key), what))
        if isinstance(what, Resolved):
            manifest.resolutions.add(
                ResolutionRecord(
                    key=what.key, resolution=what.resolution, reason=what.reason, at=what.at, task_id=what.task_id
                )
            )


def alone(left: Contents, known: Manifest | None = None) -> Manifest:
    """What a journal says without the manifest that it builds on: every request that it announces is whole in it.

    :param known: where to look for a request that it says more about without announcing it; else that is left out
    """
    made = Manifest()
    for record in left.records:
        key = str(record.get("key", ""))
        if key and key not in made.entries and record.get("event") != "intended":
            entry = None if known is None else known.entries.find(key)
            if entry is None:
                continue
            made.entries.put(entry)
        try:
            apply(made, (record,))
        except IllegalEvent:  # the other manifest knows more by now
            continue
    made.entries.settle("crash")
    return made


def _read(record: dict[str, Any]) -> Event | PlanRecord:
    return decode_plan(record) if "plan" in record else decode_event(record)
