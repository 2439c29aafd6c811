"""A plan in numbers: how many requests per action, images, money, and the few causes behind many new requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.job.document import DocumentPath, spoken
from seedream_jobs.ledger.entries import Entries
from seedream_jobs.ledger.state import Entry, State
from seedream_jobs.plan.cost import Tariff
from seedream_jobs.plan.diff import SUBMITS, Action, Change

MAX_CAUSES = 12
"""How many causes are named before the rest is counted."""
MAX_GAINED = 3
"""How many new values of one axis are named. Many more are as likely what ``--limit`` or ``--select`` left for later
as what somebody wrote: the record does not know, so the plan says only what is certain, that they are not submitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why requests are new, said once: ``axis style gained 'ink'``, and where in the job file."""

    text: str
    place: str
    requests: int


@dataclass(slots=True, kw_only=True)
class Summary:
    """One job's plan in numbers; filled by ``summarise``.

    :param requests: all that the job file asks for; orphans are not among them
    :param images: the most images all of them can deliver
    :param submit_images: the most images of those to be submitted
    :param elsewhere: how many are paid in other manifests, by their job
    :param claimed: how many another job of the same plan is about to submit, by that job
    :param submitted_days: first and last day on which a finished request was submitted, ``YYYY-MM-DD``
    """

    job: str
    requests: int = 0
    images: int = 0
    counts: Counter[Action] = field(default_factory=Counter)
    submit: int = 0
    submit_images: int = 0
    causes: tuple[Cause, ...] = ()
    more_causes: int = 0
    elsewhere: Counter[str] = field(default_factory=Counter)
    claimed: Counter[str] = field(default_factory=Counter)
    submitted_days: tuple[str, str] | None = None
    failures: Counter[str] = field(default_factory=Counter)
    warnings: tuple[Diagnostic, ...] = ()

    def cost(self, tariff: Tariff) -> Decimal | None:
        """The most that submitting can cost, USD."""
        return tariff.cost(self.submit_images)


def summarise(
    expansion: Expansion, changes: Iterable[Change], entries: Entries, claimed: Mapping[str, str] | None = None
) -> Summary:
    """Count a stream of changes, which is used up.

    :param claimed: the keys that earlier jobs of the same plan submit
    """
    summary = Summary(job=expansion.spec.document.path)
    causes = _Causes(expansion, entries)
    days: set[str] = set()
    for change in changes:
        action = change.action
        summary.counts[action] += 1
        if change.place is not None:
            summary.requests += 1
            summary.images += change.max_images
        if action in SUBMITS:
            summary.submit += 1
            summary.submit_images += change.max_images
            if action is Action.NEW:
                causes.count(change)
        elif action is Action.ELSEWHERE:
            (summary.claimed if claimed and change.key in claimed else summary.elsewhere)[change.note] += 1
        elif action is Action.DONE:
            days.add(entries.submitted_day(change.key))
        elif action is Action.FAILED:
            summary.failures[_failure(entries[change.key])] += 1
    days.discard("")
    summary.submitted_days = (min(days), max(days)) if days else None
    summary.causes, summary.more_causes = causes.result()
    return summary


def _failure(entry: Entry) -> str:
    if entry.state is State.EXPIRED:
        return "links died before they were fetched"
    if entry.error is None:
        return str(entry.state)
    return " ".join(entry.error.message.split())[:80] or entry.error.code or str(entry.state)


class _Causes:
    """Finds what new requests have in common that no known request has."""

    def __init__(self, expansion: Expansion, entries: Entries) -> None:
        self.expansion = expansion
        self.entries = entries
        self.first = not entries
        self.known: dict[str, set[str]] = {}
        self.addresses: set[str] = set()
        self.found: Counter[tuple[str, str]] = Counter()
        self.gained: dict[tuple[str, str], Counter[tuple[str, str]]] = {}  # (axis, its place): (value, its place)

    def _learn(self) -> None:
        """What the known requests have; looked up only once a new one turns up."""
        for address, cell in self.entries.cells():
            self.addresses.add(address)
            for name, label in cell.items():
                self.known.setdefault(name, set()).add(spoken(label))

    def count(self, change: Change) -> None:
        """Attribute one new request."""
        if self.first or change.place is None:
            return
        if change.known:
            self.found["not sent by an earlier run", ""] += 1
            return
        if not self.addresses:
            self._learn()
        cell = change.place.cell
        for name, label in self.expansion.matrix.labels(cell).items():
            text = spoken(label)
            if name not in self.known:
                self.found[f"axis {name} added", self._place(name, cell, whole=True)] += 1
                return
            if text not in self.known[name]:
                axis = name, self._place(name, cell, whole=True)
                value = text, self._place(name, cell, whole=False)
                self.gained.setdefault(axis, Counter())[value] += 1
                return
        self.found[self._unlabelled(cell, change.place.repeat)] += 1

    def _unlabelled(self, cell: Cell, repeat: int) -> tuple[str, str]:
        """Why a request is new whose values are all known."""
        address = self.expansion.builder.address
        if address(cell, repeat) in self.addresses:
            return "prompt or parameters changed", ""
        spec = self.expansion.spec
        if repeat > 1 and address(cell, 1) in self.addresses:
            return f"repeat raised to {spec.repeat}", self._line(("repeat",))
        return "combination added", ""

    def _place(self, name: str, cell: Cell, *, whole: bool) -> str:
        spec = self.expansion.spec
        at = spec.axis_of(name)
        if at is None or cell.choice is None:
            path: DocumentPath = spec.include[cell.includes[0]].path if cell.includes else ("matrix",)
        else:
            axis = spec.axes[at[0]]
            path = axis.name_path(name) if whole else axis.values[cell.choice[at[0]]].paths[at[1]]
        return self._line(path, key=whole)

    def _line(self, path: DocumentPath, *, key: bool = False) -> str:
        document = self.expansion.spec.document
        return f"{document.path}:{document.span(path, key=key).start.line}"

    def result(self) -> tuple[tuple[Cause, ...], int]:
        """The causes by weight, and how many more there were."""
        for (name, place), values in self.gained.items():
            if len(values) > MAX_GAINED:
                self.found[f"axis {name}: {len(values):,} values not submitted yet", place] = values.total()
                continue
            for (label, where), requests in values.items():
                short = label if len(label) <= 40 else label[:39] + "…"
                self.found[f"axis {name} gained {short!r}", where] += requests
        ranked = sorted(self.found.items(), key=lambda item: (-item[1], item[0]))
        shown = tuple(Cause(text=text, place=place, requests=count) for (text, place), count in ranked[:MAX_CAUSES])
        return shown, max(0, len(ranked) - MAX_CAUSES)
