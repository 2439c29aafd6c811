"""A job's requests as a stream: shared parts checked first, equal ones merged, every finding with its place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.errors import FindingsError
from seedream_jobs.expand.cells import Cells
from seedream_jobs.expand.counting import Count, count, names_differ
from seedream_jobs.expand.file_rows import FileRows
from seedream_jobs.expand.fragments import Fragments
from seedream_jobs.expand.matrix import MAX_RAW, Cell, Matrix
from seedream_jobs.expand.names import fingerprint
from seedream_jobs.expand.output_names import OutputNames
from seedream_jobs.expand.references import ReferenceProblem, References
from seedream_jobs.expand.request import Request
from seedream_jobs.expand.shared import MAX_ALIKE, MAX_FINDINGS, SharedParts, check_filters, path_of, prompt_finding
from seedream_jobs.job.axis import DocumentPath
from seedream_jobs.job.pinpoint import template_finding
from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.template import TemplateProblem

if TYPE_CHECKING:
    from seedream_jobs.expand.assembly import Assembly


class Place(NamedTuple):
    """One request of the stream, before it is built: its cell, its repeat (from 1), its key, its most images."""

    cell: Cell
    repeat: int
    key: str
    max_images: int


class Expansion:
    """The requests of one job.

    ``check`` looks at what requests share: every axis value in every segment, every distinct set of parameters.
    ``places`` streams the requests, equal ones merged, and leaves behind how many it ``made`` and ``merged``; so does
    ``counted``, without making one, where the shared parts tell. ``request`` builds one of them whole.
    """

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.matrix = Matrix(spec)
        self.cells = Cells(spec, self.matrix, References(spec.files, spec.folder, spec.profile.references))
        self.made = 0
        self.merged = 0
        self._merged_keys: dict[str, str] = {}
        self._fragments: Fragments | None = None
        self._assembly: Assembly | None = None
        self._files = FileRows(spec)

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
                raise FindingsError([prompt_finding(self.spec, problem, "")]) from None
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
        found = list(check_filters(self.matrix))
        if not _errors(found):
            found += SharedParts(self.cells, self.fragments).findings()
        if _errors(found):
            raise FindingsError(in_order([*found, *self.spec.warnings]))
        return in_order([*found, *self.spec.warnings])

    # -- the stream ----------------------------------------------------------------------------------------------------

    def places(self) -> Iterator[Place]:
        """Every request, in order; a request equal to an earlier one is left out and counted in ``merged``.

        :raises FindingsError: at the end, or after ``MAX_FINDINGS``, if a combination can't be made
        """
        from seedream_jobs.expand.seen import Seen  # not where counting is enough

        self.merged, self.made, self._merged_keys = 0, 0, {}
        seen = Seen(min(self.matrix.expected() * self.spec.repeat, MAX_RAW))
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

    def counted(self) -> Count | None:
        """After ``check``: what ``places`` would count, without making a request; None where only streaming tells."""
        found = count(self.fragments)
        if found is not None:
            self.made, self.merged, self._merged_keys = found.requests, 0, {}
        return found

    def total(self) -> int:
        """After ``check``: the exact number of requests.

        :raises FindingsError: as ``places``
        """
        return self.made if self.counted() else sum(1 for _ in self.places())

    def _unmade(self, problem: TemplateProblem | ReferenceProblem, cell: Cell) -> Diagnostic:
        if isinstance(problem, ReferenceProblem):
            path = path_of(self.spec, "image_urls", cell)
            return self.spec.document.finding("reference-image", problem.message, path, hint=problem.hint)
        if self.spec.prompt is None:
            path = self.spec.include[cell.includes[0]].path if cell.includes else path_of(self.spec, "prompt", cell)
            place, hint = "", problem.hint
            at = self.spec.axis_of("prompt")
            if at is not None and cell.choice is not None and not cell.includes:
                axis = self.spec.axes[at[0]]
                place = self._files.place(axis, "prompt", cell.choice[at[0]])
                column = (self._files.source(axis, "prompt") or {}).get("column")
                hint = hint or (f"leave such rows out: where: row[{column!r}] | trim" if column else None)
            message = f"{place}{problem.message} (at {self.cells.address(cell, 1)})"
            return self.spec.document.finding("template-value", message, path, hint=hint)
        return prompt_finding(self.spec, problem, f" (at {self.cells.address(cell, 1)})")

    def _merge(self, cell: Cell, repeat: int, key: str) -> None:
        self.merged += 1
        if len(self._merged_keys) < 5:
            self._merged_keys.setdefault(key, self.cells.address(cell, repeat))

    def request(self, place: Place) -> Request:
        """The whole request of a place.

        :raises FindingsError: its output name is none that every file system takes
        """
        cell = place.cell
        try:
            if cell.choice is None or cell.includes:
                return self.cells.build(cell, place.repeat)
            if self._assembly is None:
                from seedream_jobs.expand.assembly import Assembly  # only for those who need requests whole

                self._assembly = Assembly(self.cells, self.fragments)
            return self._assembly.request(cell, place.repeat, place.key)
        except TemplateProblem as problem:  # the rest of it was made once already, by ``places``
            raise FindingsError([self._name_finding(problem, place.cell)]) from None

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
        """After ``places`` or ``counted``: output names that no file system takes, or that two requests share.

        The repeats of a cell differ by their suffix, so each cell is looked at once.
        """
        if self.spec.output_name is None or names_differ(self.spec, self.matrix):
            return []
        from seedream_jobs.expand.seen import Seen

        seen, found = Seen(self.matrix.expected()), list[Diagnostic]()
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
        first = next((other for other in self._submitted() if _writes(other, name, fingerprint(output))), cell)
        return self.spec.document.finding(
            "output-collision",
            f"two requests would write {output!r}: {self.cells.address(first, 1)} and {self.cells.address(cell, 1)}",
            ("output", "name"),
            hint="name every axis in output.name, or leave it out",
        )


def _writes(cell: Cell, name: OutputNames, wanted: int) -> bool:
    """Whether the images of a cell have a name of this fingerprint; a cell whose name is none has not."""
    try:
        return fingerprint(name(cell)) == wanted
    except TemplateProblem:
        return False


def _errors(found: list[Diagnostic]) -> bool:
    return any(finding.severity == "error" for finding in found)
