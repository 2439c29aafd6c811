"""This module reads the axes of a matrix, and the items of ``include`` and ``exclude``.

Called by ``job.spec``. Invariant: each value keeps its label and its place. A pattern is a partial match over the axes,
as GitHub Actions defines it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from seedream_jobs.confinement import allow_requests
from seedream_jobs.diagnostics import Diagnostic, did_you_mean, shorten
from seedream_jobs.errors import FindingsError
from seedream_jobs.job.axis_files import MAX_VALUES, AxisFile, AxisProblem, expand_glob, expand_range, read_axis_file
from seedream_jobs.job.document import Document, DocumentPath, spoken
from seedream_jobs.job.files import Files

MAX_RAW = 10_000_000
"""The most raw combinations (before exclude, where and sample) that are expanded at all."""

FEW_VALUES = 10_000
"""Values of a range that are built whatever the other axes are."""

MAX_TOLD = 200
"""Findings after which entries that match nothing are left unsaid."""

MAX_PAIRS = 100_000
"""Pairs of include items that are held against each other; beyond them one may overwrite another unseen."""

MATRIX_WORDS = ("include", "exclude", "where", "sample")
"""What stands in a matrix and is no axis."""

MAX_COMPARED = 500_000
"""Values that patterns of mappings and lists are held against: such a pattern looks at each value of its axis."""

PARAMETERS = (
    "model",
    "size",
    "resolution",
    "n",
    "image_urls",
    "output_format",
    "sequential_image_generation",
    "sequential_image_generation_options",
    "watermark",
)
"""The request fields that an axis of the same name sets, beside ``prompt``."""


class AxisValue(NamedTuple):
    """One value of an axis: what templates see, what people call it, where it is written; one of each per name."""

    bindings: tuple[Any, ...]
    labels: tuple[Any, ...]
    paths: tuple[DocumentPath, ...]

    @property
    def path(self) -> DocumentPath:
        """Where its first part is written."""
        return self.paths[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis of the matrix: one name, or the several names of a ``zip`` that move together.

    :param path: where the axis is written; for a zip, the place of the mapping that holds its names
    :param files: for each name the file that its values were read from, None where they were not
    """

    names: tuple[str, ...]
    values: tuple[AxisValue, ...]
    path: DocumentPath
    files: tuple[AxisFile | None, ...]
    zipped: bool = False

    def name_path(self, name: str) -> DocumentPath:
        """Where the values of one of its names are written."""
        return (*self.path, name) if self.zipped else self.path

    def file(self, name: str) -> AxisFile | None:
        """The file that the values of one of its names were read from."""
        return self.files[self.names.index(name)]

    def place(self, name: str, index: int) -> str:
        """``prompts.csv:3: `` for a value of a file, nothing for one of the job file."""
        file = self.file(name)
        return "" if file is None else f"{file.path}:{file.lines[index]}: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A partial match over axes: for each axis it names, the indexes of the values that fit."""

    fits: tuple[tuple[int, frozenset[int]], ...]
    path: DocumentPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Include:
    """One ``include`` item: what it must match, and what it adds.

    :param fits: as in ``Pattern``; None if one of its values is no value of its axis, so that it matches nothing
    :param bindings: every name it gives, with the value that templates see
    :param adds: the names it gives that are no axis
    """

    fits: tuple[tuple[int, frozenset[int]], ...] | None
    bindings: Mapping[str, Any]
    labels: Mapping[str, Any]
    adds: tuple[str, ...]
    path: DocumentPath


def label_of(value: Any, fallback: Any) -> Any:
    """What a value is called: itself if it is a scalar, a mapping's ``id``, the file names of a list of paths."""
    if isinstance(value, Mapping):
        named = value.get("id")
        return named if isinstance(named, str | int | float) else fallback
    if isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            return "+".join(item.rsplit("/", 1)[-1][:40] for item in value)
        return fallback
    return value


def same(left: Any, right: Any) -> bool:
    """Equality as YAML means it: ``1`` is ``1.0`` but neither ``'1'`` nor ``true``."""
    if isinstance(left, bool) != isinstance(right, bool):
        return False  # to Python, True is 1
    return bool(left == right)


def matches(pattern: Any, binding: Any, label: Any) -> bool:
    """Whether a pattern names a value: by the value, by a mapping's id, or by some of a mapping's fields."""
    if isinstance(pattern, Mapping):
        return isinstance(binding, Mapping) and all(
            key in binding and same(binding[key], wanted) for key, wanted in pattern.items()
        )
    if isinstance(binding, Mapping):
        return same(pattern, label)
    return same(pattern, binding)


# -- reading axes ------------------------------------------------------------------------------------------------------


class _Column(NamedTuple):
    """(value, label, place) of each value of one name, and the file they were read from."""

    values: list[tuple[Any, Any, DocumentPath]]
    file: AxisFile | None = None


def _axis(columns: Mapping[str, _Column], path: DocumentPath, *, zipped: bool) -> Axis:
    rows = zip(*(column.values for column in columns.values()), strict=True)
    values = [AxisValue(*zip(*row, strict=True)) for row in rows]
    files = tuple(column.file for column in columns.values())
    return Axis(names=tuple(columns), values=tuple(values), path=path, files=files, zipped=zipped)


def names_below(key: str, value: Any) -> Mapping[str, tuple[str, ...]]:
    """The names that what stands under ``key`` of the matrix binds, and where below it each is written.

    They are its own name, or those of a zip: ``zip: {a: …, b: …}``, and where there are several, ``any: {zip: …}``.
    """
    if key == "zip":
        return {name: (name,) for name in value}
    if isinstance(value, Mapping) and "zip" in value:
        return {name: ("zip", name) for name in value["zip"]}
    return {key: ()}


class AxisReader:
    """Turns what stands under an axis' name into its values; its findings go into ``found``.

    :param counted: requests that are counted before the job is refused: so many values may cost what a request does
    """

    def __init__(
        self, files: Files, folder: PurePosixPath, document: Document, found: list[Diagnostic], counted: int = 0
    ) -> None:
        self._files, self._folder, self._document, self._found = files, folder, document, found
        self._counted = counted
        self._combinations = 1

    def read(self, name: str, value: Any, path: DocumentPath) -> Sequence[Axis]:
        """The axis written under ``name``; none where it has findings, so that they are reported once."""
        self._document.mark("reading this axis", path, key=True)
        if names_below(name, value) == {name: ()}:
            column = self._column(name, value, path)
            axes: Sequence[Axis] = () if column is None else (_axis({name: column}, path, zipped=False),)
        elif name == "zip":
            axes = self._zip(value, path)
        else:
            axes = self._zip(value["zip"], (*path, "zip"))
        for axis in axes:
            self._combinations *= len(axis.values)
        return axes

    def _column(self, name: str, value: Any, path: DocumentPath) -> _Column | None:
        """The values of one name; None where something is wrong with them."""
        try:
            column = self._read_column(value, path)
            allow_requests(min(len(column.values), self._counted))
            _check_column(name, value, column)
        except AxisProblem as problem:
            at = (*path, problem.at) if problem.at is not None and self._document.exists((*path, problem.at)) else path
            self._found.append(
                self._document.finding(problem.code, problem.message, at, key=problem.at is None, hint=problem.hint)
            )
            return None
        return column

    def _read_column(self, value: Any, path: DocumentPath) -> _Column:
        """What a list says, a file holds, a glob finds or a range spans."""
        if isinstance(value, list):
            return _Column([(item, label_of(item, at + 1), (*path, at)) for at, item in enumerate(value)])
        if "from" in value:
            file, items = read_axis_file(value, self._files, self._folder)
            rows = zip(items, file.lines, strict=True)
            return _Column([(item, label_of(item, line), path) for item, line in rows], file)
        found: Sequence[Any]
        if "range" in value:
            # A range is a few characters, so that it is counted before it is built.
            found = expand_range(value["range"], max(MAX_RAW // self._combinations, FEW_VALUES))
        else:
            found = expand_glob(value["glob"], self._files, self._folder)
        return _Column([(item, item, path) for item in found])

    def _zip(self, columns: Mapping[str, Any], path: DocumentPath) -> Sequence[Axis]:
        read = {name: self._column(name, value, (*path, name)) for name, value in columns.items()}
        found = {name: column for name, column in read.items() if column is not None}
        if len(found) < len(read):
            return ()
        first, length = next((name, len(column.values)) for name, column in found.items())
        for name, column in found.items():
            if len(column.values) != length:
                message = f"a zip's lists differ in length: {first!r} has {length}, {name!r} has {len(column.values)}"
                self._found.append(self._document.finding("zip-lengths", message, (*path, name), key=True))
                return ()
        return (_axis(found, path, zipped=True),)


def _check_column(name: str, written: Any, column: _Column) -> None:
    """See that there are values, not too many of them, and that they can be used under this name.

    :raises AxisProblem: with the number of the value to point at
    """
    if not column.values:
        glob = isinstance(written, Mapping) and "glob" in written
        hint = "no file matches; the pattern is relative to the job file, and .jpg is not .JPG" if glob else None
        raise AxisProblem(f"the axis {name!r} has no values", code="empty-axis", at=None, hint=hint)
    if len(column.values) > MAX_VALUES:
        message = f"the axis {name!r} has {len(column.values):,} values: at most {MAX_VALUES:,}"
        hint = "write limit: or where: on the file"
        raise AxisProblem(message, code="too-many-combinations", at=None, hint=hint)
    ids: dict[Any, Any] = {}
    for index, (value, label, _) in enumerate(column.values):
        if name == "prompt":
            # A row of several columns would be written out as Python spells a mapping, and be paid for.
            if not isinstance(value, str):
                message = f"value {index + 1} of the axis 'prompt' is no text"
                hint = "name the column that holds the prompt: column: Prompt"
                raise AxisProblem(message, code="prompt-value", at=index, hint=hint)
        # include, exclude and addresses name a mapping by its id: two of one id could not be told apart.
        elif name not in PARAMETERS and isinstance(value, Mapping) and ids.setdefault(label, value) != value:
            raise AxisProblem(f"the id {label!r} stands twice in the axis {name!r}", code="duplicate-id", at=index)


# -- reading patterns --------------------------------------------------------------------------------------------------


Fits = dict[int, frozenset[int]]
"""For each axis that a pattern names, the indexes of the values that fit."""


class PatternReader:
    """Turns the items of ``include`` and ``exclude`` into patterns; its findings go into ``found``.

    :param unread: names of axes that have findings of their own, so that nothing is said about them twice
    """

    def __init__(
        self, axes: Sequence[Axis], unread: Collection[str], document: Document, found: list[Diagnostic]
    ) -> None:
        self._axes, self._unread, self._document, self._found = axes, unread, document, found
        self._places = {name: (index, axis.names.index(name)) for index, axis in enumerate(axes) for name in axis.names}
        self._indexes: dict[tuple[int, int], dict[Any, list[int]]] = {}
        self._compared = 0

    def excludes(self, items: Sequence[Mapping[str, Any]]) -> list[Pattern]:
        """The ``exclude`` items; one that can't match anything is an error."""
        patterns: list[Pattern] = []
        for number, item in enumerate(items):
            path: DocumentPath = ("matrix", "exclude", number)
            fits: Fits = {}
            unknown = False
            for name, wanted in item.items():
                place = self._places.get(name)
                if place is None:
                    unknown = True
                    self._report_unknown_axis(name, (*path, name))
                    continue
                found = self._fit(place, wanted, (*path, name))
                if not found:
                    unknown = True
                    self._report_no_value("exclude-matches-nothing", name, wanted, (*path, name))
                _narrow(fits, place[0], found)
            if not unknown and not all(fits.values()):  # each value exists, but never beside the other of its zip
                message = "no combination has these values together"
                self._found.append(self._document.finding("exclude-matches-nothing", message, path))
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
            found = self._fit(place, wanted, (*path, name))
            _narrow(fits, place[0], found)
            if found:  # an id or a part of a mapping stands for the whole value, and templates see that
                value = axis.values[min(found)]
                bindings[name], labels[name] = value.bindings[position], value.labels[position]
            elif not isinstance(wanted, Mapping) and isinstance(axis.values[0].bindings[position], Mapping):
                self._report_no_value("include-unknown-id", name, wanted, (*path, name))
        return Include(
            fits=tuple(fits.items()) if all(fits.values()) else None,
            bindings=bindings,
            labels=labels,
            adds=tuple(adds),
            path=path,
        )

    def find_unused(self, include: Sequence[Include], read: Collection[str]) -> Iterator[Diagnostic]:
        """What includes bring and nothing reads; and where one overwrites what an earlier one brings.

        :param read: the names that the templates read
        """
        used = {*read, *PARAMETERS, "prompt", *self._unread}
        for item in include:
            for name in set(item.adds) - used:
                known = [*self._places, *read, *PARAMETERS]
                yield self._document.finding(
                    "include-unused-name",
                    f"'include' brings {name!r}, which no template and no request field uses",
                    (*item.path, name),
                    key=True,
                    hint=did_you_mean(name, known, "remove it, or use it in the prompt"),
                )
        pairs = combinations(include if self._axes else (), 2)  # without axes each stands for itself
        for item, later in islice(pairs, MAX_PAIRS):
            shared = [name for name in item.adds if name in later.adds and item.bindings[name] != later.bindings[name]]
            if shared and item.fits is not None and later.fits is not None and _overlap(item.fits, later.fits):
                yield self._document.finding(
                    "include-overwrites",
                    f"this 'include' overwrites {shared[0]!r} of an earlier one",
                    (*later.path, shared[0]),
                    key=True,
                    severity="warning",
                    hint="where both match, the later one holds",
                )

    def _fit(self, place: tuple[int, int], wanted: Any, path: DocumentPath) -> frozenset[int]:
        """The values that a pattern names.

        :raises FindingsError: there are too many to be looked at one by one
        """
        axis, position = place
        if not isinstance(wanted, Mapping | list):
            return frozenset(self._index(place).get((isinstance(wanted, bool), wanted), ()))
        self._compared += len(self._axes[axis].values)
        if self._compared > MAX_COMPARED:
            message = (
                f"patterns of mappings and lists, up to this one, are held against more than {MAX_COMPARED:,} values"
            )
            hint = "name a value by its id, or say it by where"
            raise FindingsError([self._document.finding("too-many-entries", message, path, hint=hint)])
        return frozenset(
            index
            for index, value in enumerate(self._axes[axis].values)
            if matches(wanted, value.bindings[position], value.labels[position])
        )

    def _index(self, place: tuple[int, int]) -> dict[Any, list[int]]:
        """The indexes of the values that a scalar names, as ``matches`` says: a thousand entries are one walk."""
        found = self._indexes.get(place)
        if found is None:
            found = self._indexes[place] = {}
            for index, value in enumerate(self._axes[place[0]].values):
                said = value.bindings[place[1]]
                said = value.labels[place[1]] if isinstance(said, Mapping) else said
                if not isinstance(said, Mapping | list):
                    # As in ``same``: to Python, True and 1 are one key.
                    found.setdefault((isinstance(said, bool), said), []).append(index)
        return found

    def _report_unknown_axis(self, name: str, path: DocumentPath) -> None:
        if name not in self._unread:
            hint = did_you_mean(name, self._places, f"the axes are: {', '.join(self._places) or 'none'}")
            finding = self._document.finding("unknown-axis", f"there is no axis {name!r}", path, key=True, hint=hint)
            self._found.append(finding)

    def _report_no_value(self, code: str, name: str, wanted: Any, path: DocumentPath) -> None:
        axis, position = self._places[name]
        if len(self._found) > MAX_TOLD:
            return  # each looks through all values of its axis
        labels = [spoken(value.labels[position]) for value in self._axes[axis].values]
        if spoken(wanted) in labels:
            hint: str | None = "a number and a quoted number are different values"
        else:
            hint = did_you_mean(spoken(wanted), labels, f"it has: {', '.join(labels[:8])}")
        message = f"the axis {name!r} has no value {shorten(repr(wanted))}"
        self._found.append(self._document.finding(code, message, path, hint=hint))


def _narrow(fits: Fits, axis: int, found: frozenset[int]) -> None:
    # Two names of one zip are matched together: both must fit the same value.
    fits[axis] = fits[axis] & found if axis in fits else found


def _overlap(left: Sequence[tuple[int, frozenset[int]]], right: Sequence[tuple[int, frozenset[int]]]) -> bool:
    """Whether some combination fits both."""
    others = dict(right)
    return all(found & others.get(axis, found) for axis, found in left)
