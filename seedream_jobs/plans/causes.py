"""This module finds why requests are new or changed, once for many: "axis style gained 'ink'", and where in the file.

Called by ``plans.plan`` (``RecordCauses`` compares with the record) and ``plans.review`` (``BaseCauses`` compares with
the job at a base revision). Invariant: each request is counted under one cause, the first that explains it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from seedream_jobs.diagnostics import shorten
from seedream_jobs.expand.expansion import Expansion, Place
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.job.axes import Axis, AxisValue
from seedream_jobs.job.document import DocumentPath, spoken
from seedream_jobs.job.template import Template
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.plans.diff import Change

MAX_CAUSES = 12
"""How many causes are named before the rest is counted."""
MAX_COMPARED = 1_000
"""How many requests are held against what the record has at their address."""
MAX_EDITS = 5
"""How many edits of prompts are shown as what they were and are."""
MAX_GAINED = 3
"""How many new values of one axis are named where a job is compared with its record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why requests are new, said once: ``axis style gained 'ink'``, and where in the job file."""

    text: str
    place: str
    requests: int


# A word; a single character of a script without spaces; a run of white space; or one other character.
_WORD = (  # not compiled at every start: that takes 3 ms
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|\s+|[^\w\s]"
)
_AROUND = 2  # a word and the space beside it


def words(text: str) -> list[str]:
    """A text in the pieces that an edit is shown in; joined they are the text."""
    return re.findall(_WORD, text)


def alike(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    """How many words both texts begin with, and how many of the others both end with."""
    start = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    ends = zip(reversed(old[start:]), reversed(new[start:]), strict=False)
    return start, next((at for at, (a, b) in enumerate(ends) if a != b), min(len(old), len(new)) - start)


def _part(pieces: Sequence[str], start: int, stop: int) -> str:
    """What lies between so many pieces at the begin and at the end of a text."""
    shown = "".join(pieces[max(0, start) : len(pieces) - max(0, stop)]).strip()
    return repr(shorten(shown, 120))


def _changed_fields(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in {**was, **now} if was.get(name) != now.get(name)]


def _changed_value(name: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return f"{name} changed from {_short(was.get(name))} to {_short(now.get(name))}"


class _Causes:
    max_gained: float = inf  # how many new values of one axis are named

    def __init__(self, expansion: Expansion) -> None:
        self.expansion = expansion
        self.labels: dict[str, set[str]] = {}  # of each axis, the values that were there before
        self.found: Counter[tuple[str, str]] = Counter()
        self.gained: dict[tuple[str, str], Counter[tuple[str, str]]] = {}  # (axis, its place): (value, its place)

    def learn(self, cells: Iterable[Mapping[str, Any]]) -> None:
        """Take in values that were there before."""
        for cell in cells:
            for name, label in cell.items():
                # Labels are compared as text: a record has them as JSON, a job file as YAML.
                self.labels.setdefault(name, set()).add(spoken(label))

    def count_new_value(self, cell: Cell) -> bool:
        """Attribute a request to an axis or a value that was not there before; False where there is none."""
        for name, label in self.expansion.matrix.labels(cell).items():
            text = spoken(label)
            if name not in self.labels:
                self.found[f"axis {name} added", self._axis(name, cell, whole=True)] += 1
                return True
            if text not in self.labels[name]:
                value = text, self._axis(name, cell, whole=False)
                self.gained.setdefault((name, self._axis(name, cell, whole=True)), Counter())[value] += 1
                return True
        return False

    def line(self, path: DocumentPath, *, key: bool = False) -> str:
        """A place in the job file, ``FILE:LINE``."""
        document = self.expansion.spec.document
        return f"{document.path}:{document.span(path, key=key).start.line}"

    def _axis(self, name: str, cell: Cell, *, whole: bool) -> str:
        spec = self.expansion.spec
        at = spec.axis_of(name)
        if at is None or cell.choice is None:
            return self.line(spec.include[cell.includes[0]].path if cell.includes else ("matrix",), key=whole)
        axis = spec.axes[at[0]]
        return self.line(axis.name_path(name) if whole else axis.values[cell.choice[at[0]]].paths[at[1]], key=whole)

    def result(self) -> tuple[tuple[Cause, ...], int]:
        """The causes by weight, and how many more there were."""
        found = Counter(self.found)
        for (name, place), values in self.gained.items():
            if len(values) > self.max_gained:
                found[f"axis {name}: {len(values):,} values not submitted yet", place] = values.total()
                continue
            for (label, where), requests in values.items():
                found[f"axis {name} gained {shorten(label, 40)!r}", where] += requests
        ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        shown = tuple(Cause(text=text, place=place, requests=count) for (text, place), count in ranked[:MAX_CAUSES])
        return shown, max(0, len(ranked) - MAX_CAUSES)


class RecordCauses(_Causes):
    """What new requests have that no request on record has. Where nothing is on record there are no causes."""

    # Many more new values are as likely what --limit or --select left for later as what somebody wrote: the record does
    # not know, so the plan says only what is certain, that they are not submitted.
    max_gained = MAX_GAINED

    def __init__(self, expansion: Expansion, entries: Entries) -> None:
        super().__init__(expansion)
        self._entries = entries
        self._addresses: dict[str, tuple[str, str]] = {}  # of each address when it was last submitted, and the key
        self._compared = 0
        self._edits: dict[tuple[str, str], str] = {}  # (words gone, words new) of a prompt, as they are shown

    def count(self, change: Change) -> None:
        """Attribute one new request."""
        if not self._entries or change.place is None:
            return
        if change.known:
            self.found["not sent by an earlier run", ""] += 1
            return
        if not self._addresses:  # read only once there is a new request: it takes every line of the record apart
            for raw in self._entries.raw():
                last = raw.get("submitted_at") or "", raw["key"]
                self._addresses[raw["address"]] = max(last, self._addresses.get(raw["address"], ("", "")))
                self.learn([raw.get("cell", {})])
        if not self.count_new_value(change.place.cell):
            self.found[self._same_values(change.place)] += 1

    def _same_values(self, place: Place) -> tuple[str, str]:
        """Why a request is new whose values are all known."""
        cell, repeat = place.cell, place.repeat
        address = self.expansion.builder.address
        if (before := self._addresses.get(address(cell, repeat))) is not None:
            self._compared += 1
            if self._compared > MAX_COMPARED:
                return "prompt or parameters changed", ""
            return self._changed(self._entries[before[1]].request, self.expansion.request(place).payload), ""
        if repeat > 1 and address(cell, 1) in self._addresses:
            return f"repeat raised to {self.expansion.spec.repeat}", self.line(("repeat",))
        return "combination added", ""

    def _changed(self, was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
        """What differs between two payloads; of prompts the words that were edited: one sentence for many requests."""
        fields = _changed_fields(was, now)
        if "prompt" not in fields:
            if not fields or "image_urls" in fields:
                return "images or parameters changed"
            return _changed_value(fields[0], was, now)
        old, new = (words(" ".join(str(one.get("prompt", "")).split())) for one in (was, now))
        start, stop = alike(old, new)
        edit = "".join(old[start : len(old) - stop]), "".join(new[start : len(new) - stop])
        if edit not in self._edits:
            if len(self._edits) == MAX_EDITS:
                return "prompt changed"
            around = 0 if all(edit) else _AROUND  # what is only left out or put in is shown with its neighbours
            self._edits[edit] = " → ".join(_part(one, start - around, stop - around) for one in (old, new))
        return f"prompt changed: {self._edits[edit]}"


class BaseCauses(_Causes):
    """What new and changed requests have that the job at its base does not have."""

    def __init__(self, head: Expansion, base: Expansion) -> None:
        super().__init__(head)
        self._base = base
        self._edits: list[_Edit] | None = None
        for axis in base.spec.axes:
            self.learn(dict(zip(axis.names, value.labels, strict=True)) for value in axis.values)
        self.learn(include.labels for include in base.spec.include)

    def count_new(self, place: Place) -> None:
        """Attribute a request that the base does not make."""
        if self.count_new_value(place.cell):
            return
        if place.repeat > self._base.spec.repeat:
            self.found["repeat raised", self.line(("repeat",))] += 1
        else:
            self.found["combination added", self.line(("matrix",))] += 1

    def count_changed(self, place: Place, before: Request) -> None:
        """Attribute a request that the base makes otherwise.

        :param before: as the base makes it
        """
        self.found[self._edited(place, before)] += 1

    def _edited(self, place: Place, before: Request) -> tuple[str, str]:
        # Made for the first changed request only: most comparisons have none.
        if self._edits is None:
            self._edits = list(_edits(self._base, self.expansion))
        now = self.expansion.request(place)
        fields = _changed_fields(before.payload, now.payload)
        labels = {name: spoken(label) for name, label in now.cell.items()}
        for edit in self._edits:
            if edit.explains(fields, labels):
                return edit.text, self.line(edit.path)
        # The templates are the same, so a file that one of them names has other bytes.
        if "image_urls" in fields:
            paths = sorted({one.path for one in now.references.values()} & {r.path for r in before.references.values()})
            images = [path for path in paths if not path.startswith("data:")]
            if images:
                return f"the image {images[0]} changed", self.line(("request", "image_urls"))
        return f"{fields[0] if fields else 'repeat'} changed", self.line(("request", *fields[:1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edit:
    """A difference between the two job files.

    :param fields: the request fields it can have changed; empty for any
    :param label: (axis, label) of the cells it concerns; None for all
    """

    text: str
    path: DocumentPath
    fields: frozenset[str] = frozenset()
    label: tuple[str, str] | None = None

    def explains(self, fields: list[str], labels: Mapping[str, str]) -> bool:
        """Whether it explains a request in which these fields changed, of a cell with these labels."""
        if self.label is not None and labels.get(self.label[0]) != self.label[1]:
            return False
        return not self.fields or any(field in self.fields for field in fields)


_TEXTS = frozenset({"prompt", "image_urls"})


def _edits(base: Expansion, head: Expansion) -> Iterator[_Edit]:
    """The differences, the most telling first: each request is attributed to the first that explains it."""
    was, now = base.spec, head.spec
    if _source(was.prompt) != _source(now.prompt):
        yield _Edit(text="prompt changed", path=("request", "prompt"), fields=frozenset({"prompt"}))
    for name in sorted({*was.parameters, *now.parameters}):
        if was.parameters.get(name) != now.parameters.get(name):
            text = _changed_value(name, was.parameters, now.parameters)
            yield _Edit(text=text, path=("request", name), fields=frozenset({name}))
    if list(map(_source, was.image_urls or ())) != list(map(_source, now.image_urls or ())):
        yield _Edit(text="image_urls changed", path=("request", "image_urls"), fields=frozenset({"image_urls"}))
    for name in sorted({*was.vars, *now.vars}):
        # A variable that no template reads can't have changed a payload.
        if was.vars.get(name) != now.vars.get(name) and _uses(head, name):
            yield _Edit(text=f"variable {name} changed", path=("vars", name), fields=_TEXTS)
    older = {(name, spoken(label)): bound for axis in was.axes for name, label, bound, _ in _values(axis)}
    for axis in now.axes:
        for name, label, bound, value in _values(axis):
            named = (name, spoken(label))
            if named in older and older[named] != bound:
                text = f"axis {name}: {_short(label)} changed"
                yield _Edit(text=text, path=value.paths[axis.names.index(name)], label=named)


def _uses(expansion: Expansion, name: str) -> bool:
    spec = expansion.spec
    templates = (*([spec.prompt] if spec.prompt else []), *(spec.image_urls or ()))
    return any(name in template.names for template in templates)


def _values(axis: Axis) -> Iterator[tuple[str, Any, Any, AxisValue]]:
    for value in axis.values:
        for name, label, bound in zip(axis.names, value.labels, value.bindings, strict=True):
            yield name, label, bound, value


def _source(template: Template | None) -> str | None:
    return None if template is None else template.source


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    return shorten(repr(value) if isinstance(value, str) else spoken(value), 40)
