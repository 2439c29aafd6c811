"""One job in two revisions, compared by request key: what is new, changed or removed, and the few causes behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from seedream_jobs.expand.expansion import Expansion, Place
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.job.axes import Axis, AxisValue
from seedream_jobs.job.document import DocumentPath, spoken
from seedream_jobs.job.template import Template
from seedream_jobs.ledger.entries import Entries
from seedream_jobs.plan.summary import MAX_CAUSES, Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A request of the base that the head no longer makes. ``known`` is its state in the manifest, if it has one."""

    key: str
    address: str
    payload: Mapping[str, Any]
    known: str | None


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

    def relation(self, place: Place) -> Literal["new", "changed", "unchanged"]:
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

    def causes(self) -> Causes:
        """An empty count of causes."""
        return Causes(self)


def local_address(expansion: Expansion, place: Place) -> str:
    """A request's address without the job's name, which may change."""
    return expansion.builder.address(place.cell, place.repeat).removeprefix(f"{expansion.spec.name}/")


class Causes:
    """Finds what new and changed requests have in common, said once: "axis style gained 'ink'", and where."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._found: Counter[tuple[str, str]] = Counter()
        self._edits: list[_Edit] | None = None
        self._labels: dict[str, set[str]] = {}
        base = comparison.base
        for axis in () if base is None else base.spec.axes:
            for value in axis.values:
                for name, label in zip(axis.names, value.labels, strict=True):
                    self._labels.setdefault(name, set()).add(spoken(label))
        for include in () if base is None else base.spec.include:
            for name, label in include.labels.items():
                self._labels.setdefault(name, set()).add(spoken(label))

    def count(self, place: Place, relation: Literal["new", "changed", "unchanged"]) -> None:
        """Attribute one request."""
        if self._comparison.base is None or relation == "unchanged":
            return
        self._found[self._gained(place) if relation == "new" else self._edited(place)] += 1

    def result(self) -> tuple[tuple[Cause, ...], int]:
        """The causes by weight, and how many more there were."""
        ranked = sorted(self._found.items(), key=lambda item: (-item[1], item[0]))
        shown = tuple(Cause(text=text, place=at, requests=count) for (text, at), count in ranked[:MAX_CAUSES])
        return shown, max(0, len(ranked) - MAX_CAUSES)

    def _gained(self, place: Place) -> tuple[str, str]:
        head = self._comparison.head
        for name, label in head.matrix.labels(place.cell).items():
            text = spoken(label)
            if name not in self._labels:
                return f"axis {name} added", self._axis_line(name, place, whole=True)
            if text not in self._labels[name]:
                shown = text if len(text) <= 40 else text[:39] + "…"
                return f"axis {name} gained {shown!r}", self._axis_line(name, place, whole=False)
        if place.repeat > (self._comparison.base.spec.repeat if self._comparison.base else 0):
            return "repeat raised", self._line(("repeat",))
        return "combination added", self._line(("matrix",))

    def _edited(self, place: Place) -> tuple[str, str]:
        comparison = self._comparison
        if self._edits is None:
            assert comparison.base is not None
            self._edits = list(_edits(comparison.base, comparison.head))
        now, before = comparison.head.request(place), comparison.before(place)
        fields = [
            name for name in {**before.payload, **now.payload} if before.payload.get(name) != now.payload.get(name)
        ]
        labels = {name: spoken(label) for name, label in now.cell.items()}
        for edit in self._edits:
            if edit.explains(fields, labels):
                return edit.text, self._line(edit.path)
        if "image_urls" in fields:
            paths = sorted({one.path for one in now.references.values()} & {r.path for r in before.references.values()})
            images = [path for path in paths if not path.startswith("data:")]
            if images:
                return f"the image {images[0]} changed", self._line(("request", "image_urls"))
        return f"{fields[0] if fields else 'repeat'} changed", self._line(("request", *fields[:1]))

    def _axis_line(self, name: str, place: Place, *, whole: bool) -> str:
        spec, cell = self._comparison.head.spec, place.cell
        at = spec.axis_of(name)
        if at is None or cell.choice is None:
            return self._line(spec.include[cell.includes[0]].path if cell.includes else ("matrix",))
        axis = spec.axes[at[0]]
        if whole:
            return self._line(axis.name_path(name), key=True)
        return self._line(axis.values[cell.choice[at[0]]].paths[at[1]])

    def _line(self, path: DocumentPath, *, key: bool = False) -> str:
        document = self._comparison.head.spec.document
        return f"{document.path}:{document.span(path, key=key).start.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edit:
    """Something that differs between the two job files.

    :param fields: the request fields it can have changed; empty for any
    :param label: (axis, label) of the cells it concerns; None for all
    """

    text: str
    path: DocumentPath
    fields: frozenset[str] = frozenset()
    label: tuple[str, str] | None = None

    def explains(self, fields: list[str], labels: Mapping[str, str]) -> bool:
        """Whether a request in which these fields changed, of a cell with these labels, may be its doing."""
        if self.label is not None and labels.get(self.label[0]) != self.label[1]:
            return False
        return not self.fields or any(field in self.fields for field in fields)


_TEXTS = frozenset({"prompt", "image_urls"})


def _edits(base: Expansion, head: Expansion) -> Iterator[_Edit]:
    """What differs: the prompt's template, parameters, variables, the values behind unchanged names; by weight."""
    was, now = base.spec, head.spec
    if _source(was.prompt) != _source(now.prompt):
        yield _Edit(text="prompt changed", path=("request", "prompt"), fields=frozenset({"prompt"}))
    for name in sorted({*was.parameters, *now.parameters}):
        if was.parameters.get(name) != now.parameters.get(name):
            values = f"from {_short(was.parameters.get(name))} to {_short(now.parameters.get(name))}"
            text = f"{name} changed {values}"
            yield _Edit(text=text, path=("request", name), fields=frozenset({name}))
    if list(map(_source, was.image_urls or ())) != list(map(_source, now.image_urls or ())):
        yield _Edit(text="image_urls changed", path=("request", "image_urls"), fields=frozenset({"image_urls"}))
    for name in sorted({*was.vars, *now.vars}):
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
    text = repr(value) if isinstance(value, str) else spoken(value)
    return text if len(text) <= 40 else text[:39] + "…"
