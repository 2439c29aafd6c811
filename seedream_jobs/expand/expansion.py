"""A job's requests as a stream: shared parts checked first, equal ones merged, every finding with its place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.errors import FindingsError
from seedream_jobs.expand.cells import Cells
from seedream_jobs.expand.fragments import Column, Fragments
from seedream_jobs.expand.matrix import MAX_RAW, Cell, Choice, Matrix
from seedream_jobs.expand.references import ReferenceProblem, References
from seedream_jobs.expand.request import Request
from seedream_jobs.expand.seen import Seen
from seedream_jobs.job.axis import DocumentPath, spoken
from seedream_jobs.job.load import template_finding
from seedream_jobs.job.schema import check_payload
from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.template import TemplateProblem

MAX_FINDINGS = 20
"""How many findings about single combinations are collected before the rest is left unsaid."""


class Place(NamedTuple):
    """One request of the stream, before it is built: its cell, its repeat (from 1), its key, its most images."""

    cell: Cell
    repeat: int
    key: str
    max_images: int


class Expansion:
    """The requests of one job.

    ``check`` looks at what requests share: every axis value in every segment, every distinct set of parameters.
    ``places`` streams the requests, equal ones merged; ``request`` builds one of them whole.
    """

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.matrix = Matrix(spec)
        self.cells = Cells(spec, self.matrix, References(spec.files, spec.folder, spec.profile.references))
        self.merged = 0
        self._merged_keys: dict[str, str] = {}
        self._fragments: Fragments | None = None

    # -- findings ------------------------------------------------------------------------------------------------------

    @property
    def fragments(self) -> Fragments:
        """The job's fragments.

        :raises FindingsError: where even a constant part of a template can't be evaluated
        """
        if self._fragments is None:
            try:
                self._fragments = Fragments(self.cells)
            except TemplateProblem as problem:
                raise FindingsError([self._template(problem, "")]) from None
        return self._fragments

    def check(self) -> tuple[Diagnostic, ...]:
        """Everything that can be said before the stream: warnings are returned.

        :raises FindingsError: for errors
        """
        if self.matrix.raw > MAX_RAW:
            path: DocumentPath = ("matrix",)
            message = f"the matrix has {self.matrix.raw:,} combinations: at most {MAX_RAW:,}"
            hint = "shorten an axis (limit:), or split the job"
            raise FindingsError(
                [self.spec.document.finding("too-many-combinations", message, path, key=True, hint=hint)]
            )
        found = [*self._filters(), *self._columns(), *self._parameters()]
        if any(finding.severity == "error" for finding in found):
            raise FindingsError(in_order([*found, *self.spec.warnings]))
        return in_order([*found, *self.spec.warnings])

    def _filters(self) -> Iterator[Diagnostic]:
        where, document = self.spec.where, self.spec.document
        try:
            left = self.matrix.surviving()
        except TemplateProblem as problem:
            source = where.source if where else ""
            yield template_finding(document, "where-type", problem, source, ("matrix", "where"))
            raise FindingsError(
                [template_finding(document, "where-type", problem, source, ("matrix", "where"))]
            ) from None
        if where is None:
            return
        unfiltered = Matrix(_without_where(self.spec)).surviving()
        if left == unfiltered:
            yield document.finding(
                "where-drops-nothing", "'where' drops nothing", ("matrix", "where"), severity="warning"
            )
        elif left == 0 and unfiltered:
            yield document.finding(
                "where-drops-everything", "'where' drops every combination", ("matrix", "where"), severity="warning"
            )

    def _columns(self) -> Iterator[Diagnostic]:
        """Each axis value in each segment that reads only its axis."""
        for column in (part for part in self.fragments.parts if isinstance(part, Column)):
            for index, value in enumerate(self.spec.axes[column.axis].values):
                try:
                    self.fragments.text(column, index)
                except TemplateProblem as problem:
                    names = self.spec.axes[column.axis].names
                    yield self._template(problem, f" ({names[0]}={_short(value.labels[0])})")

    def _parameters(self) -> Iterator[Diagnostic]:
        """Each distinct set of parameters against the payload's schema, and each local reference image."""
        fragments, known = self.fragments, set[Choice]()
        choices = (
            (choice for choice, _ in self.matrix.groups(fragments.parameter_axes))
            if self.spec.sample is None
            else self.matrix.chosen()
        )
        for choice in choices:
            restricted = tuple(choice[axis] for axis in fragments.parameter_axes)
            if restricted not in known:
                known.add(restricted)
                yield from self._payload(Cell(choice, ()))
        if self.spec.include:
            for cell in self.matrix.cells():
                if cell.includes:
                    yield from self._payload(cell)

    def _payload(self, cell: Cell) -> Iterator[Diagnostic]:
        context, given = self.matrix.bindings(cell), self.cells.given(cell)
        at = _where_at(self.matrix, cell)
        try:
            parameters, _ = self.cells.resolve(self.cells.parameters(context, given))
        except ReferenceProblem as problem:
            yield self.spec.document.finding(
                "reference-image", problem.message, self._path_of("image_urls", cell), hint=problem.hint
            )
            return
        except TemplateProblem as problem:
            template = next(iter(self.spec.image_urls or ()), None)
            path: DocumentPath = ("request", "image_urls", 0)
            yield template_finding(
                self.spec.document, "template-value", problem, template.source if template else "", path, note=at
            )
            return
        shown = {**parameters, "prompt": "…"}
        for mistake in check_payload(shown, extra=self.spec.extra):
            field = str(mistake.path[0]) if mistake.path else "request"
            yield self.spec.document.finding(
                mistake.code, mistake.message + at, self._path_of(field, cell), hint=mistake.hint
            )

    def _path_of(self, field: str, cell: Cell) -> DocumentPath:
        """Where a field's value of a cell stands in the job file."""
        for number in reversed(cell.includes):
            if field in self.spec.include[number].bindings:
                return (*self.spec.include[number].path, field)
        place = self.spec.axis_of(field)
        if place is not None and cell.choice is not None:
            return self.spec.axes[place[0]].values[cell.choice[place[0]]].path
        return ("request", field)

    def _template(self, problem: TemplateProblem, note: str) -> Diagnostic:
        source = self.spec.prompt.source if self.spec.prompt else ""
        return template_finding(self.spec.document, "template-value", problem, source, ("request", "prompt"), note=note)

    # -- the stream ----------------------------------------------------------------------------------------------------

    def places(self) -> Iterator[Place]:
        """Every request, in order; a request equal to an earlier one is left out and counted in ``merged``.

        :raises FindingsError: at the end, or after ``MAX_FINDINGS``, if a combination can't be made
        """
        self.merged, self._merged_keys = 0, {}
        seen = Seen(min(self.matrix.raw * self.spec.repeat, MAX_RAW))
        found: list[Diagnostic] = []
        keys = self.fragments.keys
        for cell in self.matrix.cells():
            try:
                for repeat, (key, images) in enumerate(keys(cell), 1):
                    if seen.add(key):
                        self._merge(cell, repeat, key)
                    else:
                        yield Place(cell, repeat, key, images)
            except (TemplateProblem, ReferenceProblem) as problem:
                note = f" (at {self.cells.address(cell, 1)})"
                if isinstance(problem, ReferenceProblem):
                    path = self._path_of("image_urls", cell)
                    finding = self.spec.document.finding("reference-image", problem.message, path, hint=problem.hint)
                else:
                    finding = self._template(problem, note)
                found.append(finding)
                if len(found) >= MAX_FINDINGS:
                    break
        if found:
            raise FindingsError(in_order(found))

    def _merge(self, cell: Cell, repeat: int, key: str) -> None:
        self.merged += 1
        if len(self._merged_keys) < 5:
            self._merged_keys.setdefault(key, self.cells.address(cell, repeat))

    def request(self, place: Place) -> Request:
        """The whole request of a place."""
        return self.cells.build(place.cell, place.repeat)

    def merge_warnings(self) -> list[Diagnostic]:
        """After ``places``: the equal requests, with the cells of the first few."""
        if not self.merged:
            return []
        wanted, firsts = dict(self._merged_keys), dict[str, str]()
        for cell in self.matrix.cells():
            for repeat, (key, _) in enumerate(self.fragments.keys(cell), 1):
                if key in wanted and key not in firsts:
                    firsts[key] = self.cells.address(cell, repeat)
            if len(firsts) == len(wanted):
                break
        pairs = [f"{second} equals {firsts[key]}" for key, second in wanted.items()]
        more = f" and {self.merged - len(pairs)} more" if self.merged > len(pairs) else ""
        plural = "request equals" if self.merged == 1 else "requests equal"
        return [
            self.spec.document.finding(
                "equal-requests",
                f"{self.merged} {plural} an earlier one and {'is' if self.merged == 1 else 'are'} submitted once: "
                f"{'; '.join(islice(pairs, 3))}{more}",
                ("matrix",),
                key=True,
                severity="warning",
                hint="for more copies of one request write repeat",
            )
        ]

    def name_collisions(self) -> list[Diagnostic]:
        """Output names that two requests share (case folded), where the job names them itself."""
        if self.spec.output_name is None:
            return []
        path: DocumentPath = ("output", "name")
        names: dict[int, int] = {}
        found: list[Diagnostic] = []
        for place in self.places():
            try:
                output = self.cells.output(
                    place.cell, self.matrix.bindings(place.cell), place.repeat, place.key
                ).casefold()
            except TemplateProblem as problem:
                address = f" (at {self.cells.address(place.cell, place.repeat)})"
                source = self.spec.output_name.source
                found.append(template_finding(self.spec.document, "output-name", problem, source, path, note=address))
            else:
                if hash(output) in names:
                    found.append(self._collision(output, self.cells.address(place.cell, place.repeat), path))
                names[hash(output)] = 1
            if len(found) >= 3:
                break
        return found

    def _collision(self, output: str, address: str, path: DocumentPath) -> Diagnostic:
        return self.spec.document.finding(
            "output-collision",
            f"two requests would write {output!r}: the second is {address}",
            path,
            hint="name every axis in output.name, or leave it out",
        )


def _without_where(spec: JobSpec) -> JobSpec:
    from dataclasses import replace

    return replace(spec, where=None)


def _where_at(matrix: Matrix, cell: Cell) -> str:
    labels = matrix.labels(cell)
    if not labels:
        return ""
    return f" (at {', '.join(f'{name}={_short(label)}' for name, label in list(labels.items())[:4])})"


def _short(label: object) -> str:
    text = spoken(label)
    return text if len(text) <= 40 else text[:39] + "…"
