"""Compares a job with itself at another revision, by request key: what is new, changed or removed, and why.

Called by ``review``, which shows it as part of a plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from seedream_jobs.expand.expansion import Expansion, Place
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.plan.causes import BaseCauses, Cause
from seedream_jobs.plan.diff import Action, Change, Changes
from seedream_jobs.plan.plan import (
    Against,
    PlannedJob,
    PlannedRequest,
    Relation,
    Removed,
    Stream,
    changes_of,
    planned_request,
)


class Comparison:
    """A job at its head held against its base.

    Two requests are the same if their keys are. A request of the head whose key the base does not have is *changed* if
    the base has another one at its address (the job's name left out) that the head does not have; else it is *new*.

    :param base: None where the base has no such job, or one with errors: everything is new then
    :param notes: what to say about that, one line each
    """

    def __init__(self, head: Expansion, base: Expansion | None, notes: tuple[str, ...] = ()) -> None:
        self.head, self.base, self.notes = head, base, notes
        self._base: dict[str, Place] = {} if base is None else {place.key: place for place in base.places()}
        self._at: dict[str, str] = {}
        self._pairs: dict[str, str] = {}
        if base is not None:
            self._at = {local_address(base, place): key for key, place in self._base.items()}
        self._kept = 0
        self._gone = set(self._base)
        fresh: list[Place] = []
        for place in head.places():
            if place.key in self._base:
                self._gone.discard(place.key)
            elif base is not None:
                fresh.append(place)
        for place in fresh:
            other = self._at.get(local_address(head, place))
            if other is not None and other in self._gone:
                self._pairs[place.key] = other
        self._gone -= set(self._pairs.values())

    def relation(self, place: Place) -> Relation:
        """How a request of the head stands to the base."""
        if place.key in self._base:
            return "unchanged"
        return "changed" if place.key in self._pairs else "new"

    def before(self, place: Place) -> Request:
        """The base's request at the address of a changed one."""
        assert self.base is not None
        return self.base.request(self._base[self._pairs[place.key]])

    def removed(self, entries: Entries) -> Iterator[Removed]:
        """The requests of the base that are no longer made, in the base's order."""
        for key, place in self._base.items():
            if key in self._gone and self.base is not None:
                request, brief = self.base.request(place), entries.brief(key)
                known = None if brief is None else str(brief[0])
                yield Removed(key=key, address=request.address, payload=request.payload, known=known)


def local_address(expansion: Expansion, place: Place) -> str:
    """A request's address without the job's name, which may change."""
    return expansion.builder.address(place.cell, place.repeat).removeprefix(f"{expansion.spec.name}/")


def compare(job: PlannedJob, comparison: Comparison) -> PlannedJob:
    """A job's part of a plan that was just made, with how it stands to its base."""
    changes = changes_of(job)
    return replace(
        job,
        against=_against(changes, comparison),
        items=Stream(lambda: (_compared(changes, one, comparison) for one in changes if one.action is not Action.DONE)),
        removed=Stream(lambda: comparison.removed(changes.entries)),
    )


def _compared(changes: Changes, change: Change, comparison: Comparison) -> PlannedRequest:
    if change.place is None:
        return planned_request(changes, change)
    relation = comparison.relation(change.place)
    changed = relation == "changed"
    before = comparison.before(change.place).payload if changed else None
    return replace(planned_request(changes, change, whole=changed), relation=relation, before=before)


def _against(changes: Changes, comparison: Comparison) -> Against:
    counts = Counter[Relation]()
    new: tuple[tuple[Cause, ...], int] = (), 0
    changed = new
    base = comparison.base
    causes = None if base is None else (BaseCauses(comparison.head, base), BaseCauses(comparison.head, base))
    for change in changes.submits():
        if change.action is Action.NEW and change.place is not None:
            relation = comparison.relation(change.place)
            counts[relation] += 1
            if causes is not None and relation == "new":
                causes[0].count_new(change.place)
            elif causes is not None and relation == "changed":
                causes[1].count_changed(change.place, comparison.before(change.place))
    if causes is not None:
        new, changed = causes[0].result(), causes[1].result()
    removed = list(comparison.removed(changes.entries))
    return Against(
        new=counts["new"],
        changed=counts["changed"],
        pending=counts["unchanged"],
        removed=len(removed),
        removed_paid=sum(1 for one in removed if one.known is not None),
        causes=new[0],
        changed_causes=changed[0],
        more_causes=new[1] + changed[1],
        notes=comparison.notes,
    )
