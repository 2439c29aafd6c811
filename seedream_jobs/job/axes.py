"""The axes of a matrix: lists, files, globs, ranges and zips; and the patterns of ``include`` and ``exclude``.

Called by ``job.spec``. Each value keeps its label and its place. A pattern is a partial match over the axes, as GitHub
Actions defines it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from seedream_jobs.diagnostics import closest, shorten
from seedream_jobs.job.axis_files import MAX_VALUES, AxisFile, DataProblem, expand_glob, expand_range, read_axis_file
from seedream_jobs.job.document import DocumentPath, Findings, spoken
from seedream_jobs.job.files import Files

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisValue:
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
        return False
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


Values = list[tuple[Any, Any, DocumentPath]]
"""(value, label, place) of each value of one name."""


class _Column(NamedTuple):
    """The values of one name, and the file they were read from."""

    values: Values
    file: AxisFile | None = None


def _axis(columns: Mapping[str, _Column], path: DocumentPath, *, zipped: bool) -> Axis:
    """The axis of columns of one length."""
    values = tuple(
        AxisValue(
            bindings=tuple([bound for bound, _, _ in row]),
            labels=tuple([label for _, label, _ in row]),
            paths=tuple([place for _, _, place in row]),
        )
        for row in zip(*(column.values for column in columns.values()), strict=True)
    )
    files = tuple(column.file for column in columns.values())
    return Axis(names=tuple(columns), values=values, path=path, files=files, zipped=zipped)


def axis_names(name: str, value: Any) -> Sequence[str]:
    """The names that what is written under ``name`` binds, whether or not its values can be read."""
    columns = value if name == "zip" else value.get("zip") if isinstance(value, Mapping) else None
    return (name,) if columns is None else tuple(columns)


class AxisReader:
    """Turns what stands under an axis' name into its values."""

    def __init__(self, files: Files, folder: PurePosixPath, findings: Findings) -> None:
        self._files, self._folder, self._findings = files, folder, findings

    def read(self, name: str, value: Any, path: DocumentPath) -> Sequence[Axis]:
        """The axis written under ``name``; none where it has findings, so that they are reported once."""
        if name == "zip":
            return self._zip(value, path)
        if isinstance(value, Mapping) and "zip" in value:
            return self._zip(value["zip"], (*path, "zip"))
        column = self._column(name, value, path)
        return () if column is None else (_axis({name: column}, path, zipped=False),)

    def _column(self, name: str, value: Any, path: DocumentPath) -> _Column | None:
        """The values of one name; None where something is wrong with them."""
        column = self._read_column(value, path)
        if column is None:
            return None
        found = column.values
        if not found:
            hint = None
            if isinstance(value, Mapping) and "glob" in value:
                hint = "no file matches; the pattern is relative to the job file, and .jpg is not .JPG"
            self._findings.add("empty-axis", f"the axis {name!r} has no values", path, key=True, hint=hint)
            return None
        if len(found) > MAX_VALUES:
            message = f"the axis {name!r} has {len(found):,} values: at most {MAX_VALUES:,}"
            self._findings.add(
                "too-many-combinations", message, path, key=True, hint="write limit: or where: on the file"
            )
            return None
        usable = self._all_text(found) if name == "prompt" else name in PARAMETERS or self._labels_differ(name, found)
        return column if usable else None

    def _read_column(self, value: Any, path: DocumentPath) -> _Column | None:
        """What a list says, a file holds, a glob finds or a range spans."""
        if isinstance(value, list):
            return _Column([(item, label_of(item, at + 1), (*path, at)) for at, item in enumerate(value)])
        try:
            if "from" in value:
                file, items = read_axis_file(value, self._files, self._folder)
                rows = zip(items, file.lines, strict=True)
                return _Column([(item, label_of(item, line), path) for item, line in rows], file)
            found = expand_range(value["range"]) if "range" in value else self._glob(value["glob"])
            return _Column([(item, item, path) for item in found])
        except DataProblem as problem:
            at = (*path, problem.at) if problem.at in value else path
            self._findings.add("axis-data", problem.message, at, hint=problem.hint)
            return None

    def _glob(self, pattern: str) -> list[Any]:
        return list(expand_glob(pattern, self._files, self._folder))

    def _all_text(self, found: Values) -> bool:
        """A prompt is text: a row of several columns written out would be paid for."""
        for number, (value, _, path) in enumerate(found, 1):
            if not isinstance(value, str):
                self._findings.add(
                    "prompt-value",
                    f"value {number} of the axis 'prompt' is no text",
                    path,
                    hint="name the column that holds the prompt: column: Prompt",
                )
                return False
        return True

    def _labels_differ(self, name: str, found: Values) -> bool:
        """Two mappings of one id could not be told apart by ``include``, ``exclude`` or an address."""
        seen: dict[Any, Any] = {}
        for value, label, path in found:
            if isinstance(value, Mapping):
                if label in seen and seen[label] != value:
                    self._findings.add("duplicate-id", f"the id {label!r} stands twice in the axis {name!r}", path)
                    return False
                seen[label] = value
        return True

    def _zip(self, columns: Mapping[str, Any], path: DocumentPath) -> Sequence[Axis]:
        read = {name: self._column(name, value, (*path, name)) for name, value in columns.items()}
        found = {name: column for name, column in read.items() if column is not None}
        if len(found) < len(read):
            return ()
        first = next(iter(found))
        for name, column in found.items():
            if len(column.values) != len(found[first].values):
                self._findings.add(
                    "zip-lengths",
                    f"a zip's lists differ in length: "
                    f"{first!r} has {len(found[first].values)}, {name!r} has {len(column.values)}",
                    (*path, name),
                    key=True,
                )
                return ()
        return (_axis(found, path, zipped=True),)


# -- reading patterns --------------------------------------------------------------------------------------------------


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
        self._findings.add(code, f"the axis {name!r} has no value {shorten(repr(wanted))}", path, hint=hint)


def _narrow(fits: Fits, axis: int, found: frozenset[int]) -> None:
    """Two names of one zip are matched together: both must fit the same value."""
    fits[axis] = fits[axis] & found if axis in fits else found


def _overlap(left: Sequence[tuple[int, frozenset[int]]], right: Sequence[tuple[int, frozenset[int]]]) -> bool:
    """Whether some combination fits both."""
    others = dict(right)
    return all(found & others.get(axis, found) for axis, found in left)
