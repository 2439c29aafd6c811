"""What can be said of a job before its requests are streamed: of its filters, axis values and sets of parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.expand.cells import Cells
from seedream_jobs.expand.fragments import Column, Fragments
from seedream_jobs.expand.matrix import MAX_PAIRWISE, Cell, Choice, Matrix
from seedream_jobs.expand.names import checked_folder
from seedream_jobs.expand.references import ReferenceProblem, is_remote
from seedream_jobs.job.axis import DocumentPath, spoken
from seedream_jobs.job.pinpoint import template_finding
from seedream_jobs.job.schema import check_payload
from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.template import TemplateProblem

MAX_FINDINGS = 20
"""How many findings about single combinations are collected before the rest is left unsaid."""

MAX_ALIKE = 3
"""How many values or combinations are named for one and the same mistake."""


def check_filters(matrix: Matrix) -> Iterator[Diagnostic]:
    """Whether ``where`` can be evaluated, and does anything."""
    where, document, path = matrix.spec.where, matrix.spec.document, ("matrix", "where")
    try:
        left = matrix.surviving()
    except TemplateProblem as problem:
        yield template_finding(document, "where-type", problem, where.source if where else "", path)
        return
    sample = matrix.spec.sample
    if sample is not None and sample.strategy == "pairwise" and left > MAX_PAIRWISE:
        message = f"pairwise would choose among {left:,} combinations: at most {MAX_PAIRWISE:,}"
        hint = "write {size: 100} for a random sample, or exclude more"
        yield document.finding("too-many-combinations", message, ("matrix", "sample"), hint=hint)
    if where is None:
        return
    unfiltered = Matrix(replace(matrix.spec, where=None)).surviving()
    if left == unfiltered:
        yield document.finding("where-drops-nothing", "'where' drops nothing", path, severity="warning")
    elif left == 0:
        yield document.finding("where-drops-everything", "'where' drops every combination", path, severity="warning")


class SharedParts:
    """What many requests share, checked once: each axis value in the prompt, each distinct set of parameters."""

    def __init__(self, cells: Cells, fragments: Fragments) -> None:
        self.cells, self.spec, self.matrix, self.fragments = cells, cells.spec, cells.matrix, fragments

    def findings(self) -> Iterator[Diagnostic]:
        """Every finding, the same mistake a few times and single combinations up to ``MAX_FINDINGS``."""
        yield from self._output_folder()
        yield from self._columns()
        yield from islice(self._parameters(), MAX_FINDINGS)

    def _output_folder(self) -> Iterator[Diagnostic]:
        """The folder of the images: what can't be made is found before anything is paid."""
        try:
            checked_folder(self.spec.output_dir)
        except TemplateProblem as problem:
            yield self.spec.document.finding("output-dir", problem.message, ("output", "dir"), hint=problem.hint)

    def _columns(self) -> Iterator[Diagnostic]:
        """Each segment that reads only one axis, for each of its values that some combination has."""
        fragments, living = self.fragments, self.matrix.living()
        for column in (part for part in fragments.parts if isinstance(part, Column)):
            axis, told = self.spec.axes[column.axis], 0
            for index in sorted(living[column.axis]):
                try:
                    fragments.text(column, index)
                except TemplateProblem as problem:
                    yield prompt_finding(
                        self.spec, problem, f" ({axis.names[0]}={_short(axis.values[index].labels[0])})"
                    )
                    told += 1
                    if told == MAX_ALIKE:
                        break

    def _parameters(self) -> Iterator[Diagnostic]:
        """Each distinct set of parameters against the payload's schema, and each local reference image."""
        axes, known = self.fragments.parameter_axes, set[tuple[Choice, tuple[int, ...]]]()
        told = set[Diagnostic]()
        for cell in self._samples_of(axes):
            restricted = () if cell.choice is None else tuple([cell.choice[axis] for axis in axes])
            if (restricted, cell.includes) not in known:
                known.add((restricted, cell.includes))
                for finding in self._payload(cell):
                    if finding not in told:  # many sets of parameters share a reference
                        told.add(finding)
                        yield finding

    def _samples_of(self, axes: tuple[int, ...]) -> Iterator[Cell]:
        """Cells that have every set of values of some axes; all cells where a sample or an include tells more apart."""
        if self.spec.include or self.spec.sample is not None:
            yield from self.matrix.cells()
        else:
            for choice, _ in self.matrix.groups(axes):
                yield Cell(choice, ())

    def _payload(self, cell: Cell) -> Iterator[Diagnostic]:
        context, given = self.matrix.bindings(cell), self.cells.given(cell)
        at = _said_of(self.matrix, cell)
        try:
            written = self.cells.parameters(context, given)
        except TemplateProblem:
            yield from self._reference_templates(cell, at)
            return
        refused = list(self._references(written, cell))
        if refused:
            yield from refused
            return
        parameters, _ = self.cells.resolve(written)
        shown = {**parameters, "prompt": "…"}
        for mistake in check_payload(shown, extra=self.spec.extra):
            field = str(mistake.path[0]) if mistake.path else "request"
            path = path_of(self.spec, field, cell)
            hint = mistake.hint
            if mistake.code == "number-quoted" and self._from_file(field):
                hint = f"give the column its type: types: {{{field}: integer}}"
            yield self.spec.document.finding(mistake.code, mistake.message + at, path, hint=hint)

    def _references(self, written: Mapping[str, Any], cell: Cell) -> Iterator[Diagnostic]:
        """Each local reference of a cell that the service would refuse, where it is written."""
        for index, url in enumerate(written.get("image_urls", ())):
            if is_remote(url):
                continue
            try:
                self.cells.references.look(url)
            except ReferenceProblem as problem:
                path, note = self._reference_place(cell, index, url)
                yield self.spec.document.finding("reference-image", problem.message + note, path, hint=problem.hint)

    def _reference_place(self, cell: Cell, index: int, url: str) -> tuple[DocumentPath, str]:
        """Where a cell's reference is written: the value that a template puts in where that is known, else the item.

        :returns: the path, and which of the values of a file or a pattern it is
        """
        spec, document = self.spec, self.spec.document
        path = path_of(spec, "image_urls", cell)
        names = ["image_urls"]
        if path == ("request", "image_urls"):
            names = sorted((spec.image_urls or ())[index].names)
        for name in names:
            for found, value in _texts(self._value_path(name, cell), self.matrix.bindings(cell).get(name)):
                if value and value in url and document.exists(found) and document.scalar_style(found) is not None:
                    return found, ""
        item = (*path, index)
        labels = self.matrix.labels(cell)
        said = ", ".join(f"{name}={_short(labels[name])}" for name in names if name in labels)
        return item if document.exists(item) else path, f" (at {said})" if said else ""

    def _value_path(self, name: str, cell: Cell) -> DocumentPath:
        return path_of(self.spec, name, cell) if name in self.matrix.labels(cell) else ("vars", name)

    def _from_file(self, field: str) -> bool:
        """Whether an axis' values are cells of a file, which are text."""
        place = self.spec.axis_of(field)
        path = () if place is None else self.spec.axes[place[0]].name_path(field)
        return bool(path) and self.spec.document.exists((*path, "from"))

    def _reference_templates(self, cell: Cell, at: str) -> Iterator[Diagnostic]:
        context = self.matrix.bindings(cell)
        for index, template in enumerate(self.spec.image_urls or ()):
            try:
                template.render(context)
            except TemplateProblem as problem:
                path: DocumentPath = ("request", "image_urls", index)
                yield template_finding(self.spec.document, "template-value", problem, template.source, path, note=at)


def _texts(path: DocumentPath, value: Any) -> Iterator[tuple[DocumentPath, str]]:
    """The texts in a value, each with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping | list):
        for part, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _texts((*path, part), item)


def path_of(spec: JobSpec, field: str, cell: Cell) -> DocumentPath:
    """Where a cell's value of a request field is written: in an include, in an axis, or in the request."""
    for number in reversed(cell.includes):
        if field in spec.include[number].bindings:
            return (*spec.include[number].path, field)
    place = spec.axis_of(field)
    if place is not None and cell.choice is not None:
        return spec.axes[place[0]].values[cell.choice[place[0]]].paths[place[1]]
    return ("request", field)


def prompt_finding(spec: JobSpec, problem: TemplateProblem, note: str) -> Diagnostic:
    """A problem of the prompt's template, at its place in the job file."""
    source = spec.prompt.source if spec.prompt else ""
    return template_finding(spec.document, "template-value", problem, source, ("request", "prompt"), note=note)


def _said_of(matrix: Matrix, cell: Cell) -> str:
    labels = matrix.labels(cell)
    if not labels:
        return ""
    return f" (at {', '.join(f'{name}={_short(label)}' for name, label in list(labels.items())[:4])})"


def _short(label: object) -> str:
    text = spoken(label)
    return text if len(text) <= 40 else text[:39] + "…"
