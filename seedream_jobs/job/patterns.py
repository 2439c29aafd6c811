"""Reads ``include`` and ``exclude``: partial matches over the axes, as GitHub Actions defines them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from seedream_jobs.diagnostics import closest
from seedream_jobs.job.axis import Axis, DocumentPath, label_of, matches, spoken
from seedream_jobs.job.document import Findings
from seedream_jobs.job.spec import PARAMETERS, Include, Pattern

Fits = dict[int, frozenset[int]]
"""For each axis that a pattern names, the indexes of the values that fit."""


class PatternReader:
    """Turns the items of ``include`` and ``exclude`` into patterns.

    :param unread: names of axes that have findings of their own, so that nothing is said about them twice
    """

    def __init__(self, axes: Sequence[Axis], unread: Collection[str], findings: Findings) -> None:
        self._axes, self._unread, self._findings = axes, unread, findings
        self._places = {name: (index, axis.names.index(name)) for index, axis in enumerate(axes) for name in axis.names}

    def excludes(self, items: Sequence[Mapping[str, Any]]) -> list[Pattern]:
        """The ``exclude`` items; one that can't match anything is an error."""
        patterns: list[Pattern] = []
        for number, item in enumerate(items):
            path: DocumentPath = ("matrix", "exclude", number)
            fits: Fits = {}
            complete = True
            for name, wanted in item.items():
                place = self._places.get(name)
                if place is None:
                    complete = False
                    self._unknown_axis(name, (*path, name))
                    continue
                found = self._fit(place, wanted)
                if not found:
                    complete = False
                    self._no_such_value("exclude-matches-nothing", name, wanted, (*path, name))
                _narrow(fits, place[0], found)
            if complete and not all(fits.values()):  # each value exists, but never beside the other of its zip
                self._findings.add("exclude-matches-nothing", "no combination has these values together", path)
            patterns.append(Pattern(fits=tuple(fits.items()), path=path))
        return patterns

    def includes(self, items: Sequence[Mapping[str, Any]]) -> list[Include]:
        """The ``include`` items."""
        return [self._include(item, ("matrix", "include", number)) for number, item in enumerate(items)]

    def _include(self, item: Mapping[str, Any], path: DocumentPath) -> Include:
        fits: Fits = {}
        bindings: dict[str, Any] = {}
        labels: dict[str, Any] = {}
        adds: list[str] = []
        for name, wanted in item.items():
            place = self._places.get(name)
            bindings[name], labels[name] = wanted, label_of(wanted, name)
            if place is None:
                adds.append(name)
                continue
            axis, position = self._axes[place[0]], place[1]
            found = self._fit(place, wanted)
            _narrow(fits, place[0], found)
            if found:
                value = axis.values[min(found)]
                bindings[name], labels[name] = value.bindings[position], value.labels[position]
            elif not isinstance(wanted, Mapping) and isinstance(axis.values[0].bindings[position], Mapping):
                self._no_such_value("include-unknown-id", name, wanted, (*path, name))
        return Include(
            fits=tuple(fits.items()) if all(fits.values()) else None,
            bindings=bindings,
            labels=labels,
            adds=tuple(adds),
            path=path,
        )

    def check_used(self, include: Sequence[Include], read: Collection[str]) -> None:
        """An include may bring a new name only if something reads it; two may not overwrite each other unnoticed.

        :param read: the names that the templates read
        """
        for item in include:
            for name in item.adds:
                if name in read or name in PARAMETERS or name == "prompt" or name in self._unread:
                    continue
                near = closest(name, [*self._places, *read, *PARAMETERS])
                self._findings.add(
                    "include-unused-name",
                    f"'include' brings {name!r}, which no template and no request field uses",
                    (*item.path, name),
                    key=True,
                    hint=f"did you mean {near!r}?" if near else "remove it, or use it in the prompt",
                )
        for number, item in enumerate(include if self._axes else ()):  # without axes each stands for itself
            for later in include[number + 1 :]:
                self._check_overwrite(item, later)

    def _check_overwrite(self, item: Include, later: Include) -> None:
        shared = [name for name in item.adds if name in later.adds and item.bindings[name] != later.bindings[name]]
        if shared and item.fits is not None and later.fits is not None and _overlap(item.fits, later.fits):
            self._findings.add(
                "include-overwrites",
                f"this 'include' overwrites {shared[0]!r} of an earlier one",
                (*later.path, shared[0]),
                key=True,
                severity="warning",
                hint="where both match, the later one holds",
            )

    def _fit(self, place: tuple[int, int], wanted: Any) -> frozenset[int]:
        axis, position = place
        return frozenset(
            index
            for index, value in enumerate(self._axes[axis].values)
            if matches(wanted, value.bindings[position], value.labels[position])
        )

    def _unknown_axis(self, name: str, path: DocumentPath) -> None:
        if name in self._unread:
            return
        near = closest(name, self._places)
        hint = f"did you mean {near!r}?" if near else f"the axes are: {', '.join(self._places) or 'none'}"
        self._findings.add("unknown-axis", f"there is no axis {name!r}", path, key=True, hint=hint)

    def _no_such_value(self, code: str, name: str, wanted: Any, path: DocumentPath) -> None:
        axis, position = self._places[name]
        labels = [spoken(value.labels[position]) for value in self._axes[axis].values]
        near = closest(spoken(wanted), labels)
        if near == spoken(wanted):
            hint: str | None = "a number and a quoted number are different values"
        else:
            hint = f"did you mean {near!r}?" if near else f"it has: {', '.join(labels[:8])}"
        self._findings.add(code, f"the axis {name!r} has no value {_short(wanted)}", path, hint=hint)


def _narrow(fits: Fits, axis: int, found: frozenset[int]) -> None:
    """Two names of one zip are matched together: both must fit the same value."""
    fits[axis] = fits[axis] & found if axis in fits else found


def _overlap(left: Sequence[tuple[int, frozenset[int]]], right: Sequence[tuple[int, frozenset[int]]]) -> bool:
    """Whether some combination fits both."""
    others = dict(right)
    return all(found & others.get(axis, found) for axis, found in left)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
