"""Axis files read once more, for what is said of their values: the line each stands on, how its numbers are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seedream_jobs.job.axis import Axis, DocumentPath
from seedream_jobs.job.spec import JobSpec

if TYPE_CHECKING:  # a job without findings reads its files once
    from seedream_jobs.job.formats import Row

MAX_VALUES = 100_000
"""A longer file is not read again: its values are told without their line."""


class FileRows:
    """The rows behind the values of a job's axes; each file is read again when first asked for."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._rows: dict[DocumentPath, Sequence[Row]] = {}

    def source(self, axis: Axis, name: str) -> Mapping[str, Any] | None:
        """The ``{from: …}`` by which the values of an axis' name are read; None where they stand elsewhere."""
        found: Any = self._spec.document.data
        for part in axis.name_path(name):
            if not isinstance(found, Mapping) or part not in found:
                return None
            found = found[part]
        return found if isinstance(found, Mapping) and "from" in found else None

    def row(self, axis: Axis, name: str, number: int) -> Row | None:
        """The row of a value, its numbers as ``Written``; None where that is not known."""
        source, path = self.source(axis, name), axis.name_path(name)
        if source is None or len(axis.values) > MAX_VALUES:
            return None
        if path not in self._rows:
            from seedream_jobs.job.data import read_rows
            from seedream_jobs.job.formats import DataProblem

            try:
                self._rows[path] = read_rows(source, self._spec.files, self._spec.folder, written=True)
            except DataProblem:  # it was changed since
                self._rows[path] = ()
        rows = self._rows[path]
        return rows[number] if number < len(rows) else None

    def place(self, axis: Axis, name: str, number: int) -> str:
        """``prompts.csv:3: `` for a value of a file, nothing for one of the job file."""
        source = self.source(axis, name)
        if source is None:
            return ""
        row = self.row(axis, name, number)
        return f"{source['from']}: " if row is None else f"{source['from']}:{row.line}: "
