"""A job's requests as a stream: shared parts checked first, equal ones merged, every finding with its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.errors import FindingsError
from seedream_jobs.expand.cells import Cells
from seedream_jobs.expand.fragments import Column, Fragments
from seedream_jobs.expand.matrix import MAX_RAW, Cell, Choice, Matrix
from seedream_jobs.expand.names import fingerprint
from seedream_jobs.expand.output_names import OutputNames
from seedream_jobs.expand.references import ReferenceProblem, References
from seedream_jobs.expand.request import Request
from seedream_jobs.expand.seen import Seen
from seedream_jobs.job.axis import DocumentPath, spoken
from seedream_jobs.job.pinpoint import template_finding
from seedream_jobs.job.sandbox import TemplateProblem
from seedream_jobs.job.schema import check_payload
from seedream_jobs.job.spec import JobSpec

MAX_FINDINGS = 20
"""How many findings about single combinations are collected before the rest is left unsaid."""

MAX_ALIKE = 3
"""How many values or combinations are named for one and the same mistake."""


class Place(NamedTuple):
    """One request of the stream, before it is built: its cell, its repeat (from 1), its key, its most images."""

    cell: Cell
    repeat: int
    key: str
    max_images: int


class Expansion:
    """The requests of one job.

    ``check`` looks at what requests share: every axis value in every segment, every distinct set of parameters.
    ``places`` streams the requests, equal ones merged, and leaves behind how many it ``made`` and ``merged``;
    ``request`` builds one of them whole.
    """

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.matrix = Matrix(spec)
        self.cells = Cells(spec, self.matrix, References(spec.files, spec.folder, spec.profile.references))
        self.made = 0
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
        found = list(self._filters())
        if not _errors(found):
            found += [*self._columns(), *islice(self._parameters(), MAX_FINDINGS)]
        if _errors(found):
            raise FindingsError(in_order([*found, *self.spec.warnings]))
        return in_order([*found, *self.spec.warnings])

    def _filters(self) -> Iterator[Diagnostic]:
        where, document, path = self.spec.where, self.spec.document, ("matrix", "where")
        try:
            left = self.matrix.surviving()
        except TemplateProblem as problem:
            yield template_finding(document, "where-type", problem, where.source if where else "", path)
            return
        if where is None:
            return
        unfiltered = Matrix(replace(self.spec, where=None)).surviving()
        if left == unfiltered:
            yield document.finding("where-drops-nothing", "'where' drops nothing", path, severity="warning")
        elif left == 0:
            yield document.finding(
                "where-drops-everything", "'where' drops every combination", path, severity="warning"
            )

    def _columns(self) -> Iterator[Diagnostic]:
        """Each segment that reads only one axis, for each of its values that some combination has."""
        fragments, living = self.fragments, self.matrix.living()
        for column in (part for part in fragments.parts if isinstance(part, Column)):
            axis, told = self.spec.axes[column.axis], 0
            for index in sorted(living[column.axis]):
                try:
                    fragments.text(column, index)
                except TemplateProblem as problem:
                    yield self._template(problem, f" ({axis.names[0]}={_short(axis.values[index].labels[0])})")
                    told += 1
                    if told == MAX_ALIKE:
                        break

    def _parameters(self) -> Iterator[Diagnostic]:
        """Each distinct set of parameters against the payload's schema, and each local reference image."""
        axes, known = self.fragments.parameter_axes, set[tuple[Choice, tuple[int, ...]]]()
        for cell in self._samples_of(axes):
            restricted = () if cell.choice is None else tuple([cell.choice[axis] for axis in axes])
            if (restricted, cell.includes) not in known:
                known.add((restricted, cell.includes))
                yield from self._payload(cell)

    def _samples_of(self, axes: tuple[int, ...]) -> Iterator[Cell]:
        """Cells that have every set of values of some axes; all cells where a sample or an include tells more apart."""
        if self.spec.include or self.spec.sample is not None:
            yield from self.matrix.cells()
        else:
            for choice, _ in self.matrix.groups(axes):
                yield Cell(choice, ())

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
        except TemplateProblem:
            yield from self._reference_templates(cell, at)
            return
        shown = {**parameters, "prompt": "…"}
        for mistake in check_payload(shown, extra=self.spec.extra):
            field = str(mistake.path[0]) if mistake.path else "request"
            path = self._path_of(field, cell)
            hint = mistake.hint
            if mistake.code == "number-quoted" and self._from_file(field):
                hint = f"give the column its type: types: {{{field}: integer}}"
            yield self.spec.document.finding(mistake.code, mistake.message + at, path, hint=hint)

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

    def _path_of(self, field: str, cell: Cell) -> DocumentPath:
        """Where a field's value of a cell stands in the job file."""
        for number in reversed(cell.includes):
            if field in self.spec.include[number].bindings:
                return (*self.spec.include[number].path, field)
        place = self.spec.axis_of(field)
        if place is not None and cell.choice is not None:
            return self.spec.axes[place[0]].values[cell.choice[place[0]]].paths[place[1]]
        return ("request", field)

    def _template(self, problem: TemplateProblem, note: str) -> Diagnostic:
        source = self.spec.prompt.source if self.spec.prompt else ""
        return template_finding(self.spec.document, "template-value", problem, source, ("request", "prompt"), note=note)

    # -- the stream ----------------------------------------------------------------------------------------------------

    def places(self) -> Iterator[Place]:
        """Every request, in order; a request equal to an earlier one is left out and counted in ``merged``.

        :raises FindingsError: at the end, or after ``MAX_FINDINGS``, if a combination can't be made
        """
        self.merged, self.made, self._merged_keys = 0, 0, {}
        seen = Seen(min(self.matrix.surviving() * self.spec.repeat, MAX_RAW))
        found: list[Diagnostic] = []
        keys, known = self.fragments.keys, seen.add
        for cell in self.matrix.cells():
            try:
                made = keys(cell)
            except (TemplateProblem, ReferenceProblem) as problem:
                found.append(self._unmade(problem, cell))
                if len(found) >= MAX_FINDINGS:
                    break
                continue
            for repeat, (key, images) in enumerate(made, 1):
                if known(key):
                    self._merge(cell, repeat, key)
                else:
                    self.made += 1
                    yield Place(cell, repeat, key, images)
        if found:
            raise FindingsError(in_order(found))

    def _unmade(self, problem: TemplateProblem | ReferenceProblem, cell: Cell) -> Diagnostic:
        if isinstance(problem, ReferenceProblem):
            path = self._path_of("image_urls", cell)
            return self.spec.document.finding("reference-image", problem.message, path, hint=problem.hint)
        if self.spec.prompt is None:
            path = self.spec.include[cell.includes[0]].path if cell.includes else self._path_of("prompt", cell)
            message = f"{problem.message} (at {self.cells.address(cell, 1)})"
            return self.spec.document.finding("template-value", message, path, hint=problem.hint)
        return self._template(problem, f" (at {self.cells.address(cell, 1)})")

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
        """After ``places``: output names that no file system takes, or that two requests share.

        The repeats of a cell differ by their suffix, so each cell is looked at once.
        """
        if self.spec.output_name is None:
            return []
        seen, found = Seen(self.matrix.surviving()), list[Diagnostic]()
        name = OutputNames(self.cells)
        for cell in self._submitted():
            try:
                output = name(cell)
            except TemplateProblem as problem:
                found.append(self._name_finding(problem, cell))
            else:
                if seen.add_fingerprint(fingerprint(output)):
                    found.append(self._collision(name, output, cell))
            if len(found) >= MAX_ALIKE:
                break
        return found

    def _submitted(self) -> Iterator[Cell]:
        """The cells whose requests are not equal to an earlier one."""
        if self.merged == 0:
            return self.matrix.cells()
        return (place.cell for place in self.places() if place.repeat == 1)

    def _name_finding(self, problem: TemplateProblem, cell: Cell) -> Diagnostic:
        source = self.spec.output_name.source if self.spec.output_name else ""
        note = f" (at {self.cells.address(cell, 1)})"
        return template_finding(self.spec.document, "output-name", problem, source, ("output", "name"), note=note)

    def _collision(self, name: OutputNames, output: str, cell: Cell) -> Diagnostic:
        wanted = fingerprint(output)
        first = next((other for other in self._submitted() if fingerprint(name(other)) == wanted), cell)
        return self.spec.document.finding(
            "output-collision",
            f"two requests would write {output!r}: {self.cells.address(first, 1)} and {self.cells.address(cell, 1)}",
            ("output", "name"),
            hint="name every axis in output.name, or leave it out",
        )


def _errors(found: list[Diagnostic]) -> bool:
    return any(finding.severity == "error" for finding in found)


def _where_at(matrix: Matrix, cell: Cell) -> str:
    labels = matrix.labels(cell)
    if not labels:
        return ""
    return f" (at {', '.join(f'{name}={_short(label)}' for name, label in list(labels.items())[:4])})"


def _short(label: object) -> str:
    text = spoken(label)
    return text if len(text) <= 40 else text[:39] + "…"
