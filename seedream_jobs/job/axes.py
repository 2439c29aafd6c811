"""Reads the axes of a matrix: lists, files, globs, ranges and zips, each value with its label and its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from seedream_jobs.job.axis import MAX_VALUES, Axis, AxisValue, DocumentPath, label_of
from seedream_jobs.job.data import expand_glob, expand_range, read_rows
from seedream_jobs.job.document import Findings
from seedream_jobs.job.files import Files
from seedream_jobs.job.formats import DataProblem
from seedream_jobs.job.spec import PARAMETERS


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
        if column is None:
            return ()
        values = tuple(AxisValue(bindings=(bound,), labels=(label,), paths=(place,)) for bound, label, place in column)
        return (Axis(names=(name,), values=values, path=path),)

    def _column(self, name: str, value: Any, path: DocumentPath) -> list[tuple[Any, Any, DocumentPath]] | None:
        """(value, label, place) of each value of one name."""
        found = (
            [(item, label_of(item, index + 1), (*path, index)) for index, item in enumerate(value)]
            if isinstance(value, list)
            else self._from_elsewhere(value, path)
        )
        if found is None:
            return None
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
        if name == "prompt":
            return found if self._all_text(found) else None
        return found if name in PARAMETERS or self._labels_differ(name, found) else None

    def _from_elsewhere(
        self, value: Mapping[str, Any], path: DocumentPath
    ) -> list[tuple[Any, Any, DocumentPath]] | None:
        """What a file holds, a glob finds or a range spans."""

        try:
            if "from" in value:
                rows = read_rows(value, self._files, self._folder)
                return [(row.value, label_of(row.value, row.line), path) for row in rows]
            if "glob" in value:
                return [(item, item, path) for item in expand_glob(value["glob"], self._files, self._folder)]
            return [(item, item, path) for item in expand_range(value["range"])]
        except DataProblem as problem:
            at = (*path, problem.at) if problem.at in value else path
            self._findings.add("axis-data", problem.message, at, hint=problem.hint)
            return None

    def _all_text(self, found: list[tuple[Any, Any, DocumentPath]]) -> bool:
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

    def _labels_differ(self, name: str, found: list[tuple[Any, Any, DocumentPath]]) -> bool:
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
            if len(column) != len(found[first]):
                self._findings.add(
                    "zip-lengths",
                    f"a zip's lists differ in length: {first!r} has {len(found[first])}, {name!r} has {len(column)}",
                    (*path, name),
                    key=True,
                )
                return ()
        values = tuple(
            AxisValue(
                bindings=tuple(bound for bound, _, _ in row),
                labels=tuple(label for _, label, _ in row),
                paths=tuple(place for _, _, place in row),
            )
            for row in zip(*found.values(), strict=True)
        )
        return (Axis(names=tuple(found), values=values, path=path, zipped=True),)
