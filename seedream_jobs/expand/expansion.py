"""This module streams a job's requests: shared parts checked first, equal ones merged, every finding with its place.

Called by ``validate``, ``plan``, ``expand`` and ``run``. Invariant: nothing here grows with the number of requests but
a set of 64-bit fingerprints of their keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from seedream_jobs.confinement import allow_requests
from seedream_jobs.diagnostics import Diagnostic, Span, in_order, shorten
from seedream_jobs.errors import FindingsError
from seedream_jobs.expand.matrix import MAX_PAIRWISE, Cell, Choice, Matrix
from seedream_jobs.expand.references import ReferenceProblem, References, is_remote
from seedream_jobs.expand.request_builder import Request, RequestBuilder, check_folder, folded_name
from seedream_jobs.job.axes import MAX_RAW
from seedream_jobs.job.document import DocumentPath, check_findings, spoken
from seedream_jobs.job.schema import check_payload
from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.template import Template, TemplateProblem, template_finding

MAX_FINDINGS = 20
"""How many findings about single combinations are collected before the rest is left unsaid."""

STRIDE = 1_000
"""Requests after which the limits of this process are raised by what they cost."""

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
    ``places`` streams the requests, equal ones merged, and leaves behind how many it ``made`` and ``merged``.
    ``request`` builds one of them whole.
    """

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.matrix: Matrix = Matrix(spec)
        self.made: int = 0
        self.merged: int = 0
        self._merged_keys: dict[str, str] = {}

    @cached_property
    def builder(self) -> RequestBuilder:
        """Builds the requests of single cells.

        :raises FindingsError: where even a constant part of a template can't be evaluated
        """
        try:
            references = References(self.spec.files, self.spec.folder, self.spec.profile.references)
            return RequestBuilder(self.spec, self.matrix, references)
        except TemplateProblem as problem:
            raise FindingsError([_prompt_finding(self.spec, problem, "")]) from None

    # -- findings before the stream --------------------------------------------------------------------------------

    def _exceeds(self, most: int) -> bool:
        """Whether the job makes more than ``most`` requests, equal ones counted; visits no more combinations."""
        if not self.spec.include and self.spec.sample is None:
            return self.matrix.surviving() * self.spec.repeat > most
        cells = islice(self.matrix.cells(), most // self.spec.repeat + 1)
        return sum(1 for _ in cells) * self.spec.repeat > most

    def check(
        self, most: int = MAX_RAW, too_many: Callable[[int], Sequence[Diagnostic]] | None = None
    ) -> tuple[Diagnostic, ...]:
        """Everything that can be said before the stream: warnings are returned.

        :param most: requests beyond which nothing is rendered, and ``too_many`` the findings then
        :raises FindingsError: for errors
        """
        if self.matrix.raw > MAX_RAW:
            message = f"the matrix has {self.matrix.raw:,} combinations: at most {MAX_RAW:,}"
            hint = "shorten an axis (limit:), or split the job"
            raise FindingsError(
                [self.spec.document.finding("too-many-combinations", message, ("matrix",), key=True, hint=hint)]
            )
        found = list(self._find_in_filters())
        if not any(finding.severity == "error" for finding in found):
            self.spec.document.mark("counting these combinations", ("matrix",), key=True)
            if too_many is not None and self._exceeds(most):
                raise FindingsError(too_many(most))
            self.spec.document.mark("rendering this template", ("request", "prompt"))
            found += [
                *self._find_in_output_folder(),
                *self._find_in_columns(),
                *islice(self._find_in_payloads(), MAX_FINDINGS),
            ]
        return check_findings([*found, *self.spec.warnings])

    def _find_in_filters(self) -> Iterator[Diagnostic]:
        """Whether ``where`` can be evaluated, and does anything."""
        matrix, document, path = self.matrix, self.spec.document, ("matrix", "where")
        where, sample = self.spec.where, self.spec.sample
        document.mark("filtering these combinations", path if where else ("matrix",), key=True)
        try:
            left = matrix.surviving()
        except TemplateProblem as problem:
            yield template_finding(document, "where-type", problem, where.source if where else "", path)
            return
        if sample is not None and sample.strategy == "pairwise" and left > MAX_PAIRWISE:
            message = f"pairwise would choose among {left:,} combinations: at most {MAX_PAIRWISE:,}"
            hint = "write {size: 100} for a random sample, or exclude more"
            yield document.finding("too-many-combinations", message, ("matrix", "sample"), hint=hint)
        if where is None:
            return
        # Held against what exclude leaves, not against the raw product: an exclude before it is no effect of where.
        unfiltered = Matrix(replace(self.spec, where=None)).surviving()
        if left == unfiltered:
            yield document.finding("where-drops-nothing", "'where' drops nothing", path, severity="warning")
        elif left == 0:
            yield document.finding(
                "where-drops-everything", "'where' drops every combination", path, severity="warning"
            )

    def _find_in_output_folder(self) -> Iterator[Diagnostic]:
        """The folder of the images: what can't be made is found before anything is paid."""
        try:
            check_folder(self.spec.output_dir)
        except TemplateProblem as problem:
            yield self.spec.document.finding("output-dir", problem.message, ("output", "dir"), hint=problem.hint)

    def _find_in_columns(self) -> Iterator[Diagnostic]:
        """Each segment of the prompt that reads only one axis, for each of its values that some combination has."""
        renderer, living = self.builder.prompt_renderer, self.matrix.living
        for column in renderer.columns if renderer else ():
            axis, told = self.spec.axes[column.axis], 0
            for index in sorted(living[column.axis]):
                try:
                    column.text(index)
                except TemplateProblem as problem:
                    note = f" ({axis.names[0]}={shorten(spoken(axis.values[index].labels[0]), 40)})"
                    yield _prompt_finding(self.spec, problem, note)
                    told += 1
                    if told == MAX_ALIKE:
                        break

    def parameter_cells(self) -> Iterator[Cell]:
        """One cell for each distinct set of parameters."""
        axes, known = self.builder.parameter_axes, set[tuple[Choice, tuple[int, ...]]]()
        for cell in self.matrix.cells_over(axes):
            restricted = () if cell.choice is None else tuple([cell.choice[axis] for axis in axes])
            if (restricted, cell.includes) not in known:
                known.add((restricted, cell.includes))
                yield cell

    def _find_in_payloads(self) -> Iterator[Diagnostic]:
        """Each distinct set of parameters against the payload's schema, and each local reference image."""
        told = set[Diagnostic]()
        for cell in self.parameter_cells():
            for finding in self._find_in_payload(cell):
                if finding not in told:  # many sets of parameters share a reference
                    told.add(finding)
                    yield finding

    def _find_in_payload(self, cell: Cell) -> Iterator[Diagnostic]:
        document, at = self.spec.document, _said_of(self.matrix, cell)
        try:
            written = self.builder.parameters(cell)
        except TemplateProblem:
            yield from self._find_in_reference_templates(cell, at)
            return
        if refused := list(self._find_in_references(written, cell)):
            yield from refused
            return
        parameters, _ = self.builder.resolve(written)
        # Any text stands for the prompt here: rendering each of them is left to the stream.
        for mistake in check_payload({**parameters, "prompt": "…"}, extra=self.spec.extra):
            field = str(mistake.path[0]) if mistake.path else "request"
            hint = mistake.hint
            if mistake.code == "number-quoted" and self._from_file(field):
                hint = f"give the column its type: types: {{{field}: integer}}"
            yield document.finding(mistake.code, mistake.message + at, self._path_of(field, cell), hint=hint)

    def _path_of(self, field: str, cell: Cell) -> DocumentPath:
        """Where a request field of a cell is written: in an include, in an axis, else in the request."""
        return self.matrix.path_of(cell, field) or ("request", field)

    def _find_in_references(self, written: Mapping[str, Any], cell: Cell) -> Iterator[Diagnostic]:
        """Each local reference of a cell that the service would refuse, where it is written."""
        for index, url in enumerate(written.get("image_urls", ())):
            if is_remote(url):
                continue
            try:
                self.builder.references.look(url)
            except ReferenceProblem as problem:
                path, note = self._reference_place(cell, index, url)
                yield self.spec.document.finding("reference-image", problem.message + note, path, hint=problem.hint)

    def _reference_place(self, cell: Cell, index: int, url: str) -> tuple[DocumentPath, str]:
        """Where a cell's reference is written: the value that a template puts in where that is known, else the item.

        :returns: the path, and which of the values of a file or a pattern it is
        """
        spec, document = self.spec, self.spec.document
        path = self._path_of("image_urls", cell)
        names = ["image_urls"]
        if path == ("request", "image_urls"):
            names = sorted((spec.image_urls or ())[index].names)
        for name in names:
            written = self.matrix.path_of(cell, name) or ("vars", name)
            for found, value in _texts(written, self.matrix.bindings(cell).get(name)):
                if value and value in url and document.exists(found) and document.scalar_style(found) is not None:
                    return found, ""
        item = (*path, index)
        labels = self.matrix.labels(cell)
        said = ", ".join(f"{name}={shorten(spoken(labels[name]), 40)}" for name in names if name in labels)
        return item if document.exists(item) else path, f" (at {said})" if said else ""

    def _from_file(self, field: str) -> bool:
        """Whether an axis' values are cells of a file, which are text."""
        place = self.spec.axis_of(field)
        return place is not None and self.spec.axes[place[0]].file(field) is not None

    def _find_in_reference_templates(self, cell: Cell, at: str) -> Iterator[Diagnostic]:
        context = self.matrix.bindings(cell)
        for index, template in enumerate(self.spec.image_urls or ()):
            try:
                template.render(context)
            except TemplateProblem as problem:
                path: DocumentPath = ("request", "image_urls", index)
                yield template_finding(self.spec.document, "template-value", problem, template.source, path, note=at)

    # -- the stream ------------------------------------------------------------------------------------------------

    def places(self) -> Iterator[Place]:
        """Every request, in order; a request equal to an earlier one is left out and counted in ``merged``.

        :raises FindingsError: at the end, or after ``MAX_FINDINGS``, if a combination can't be made
        """
        self.spec.document.mark("making these requests", ("request",), key=True)
        self.merged, self.made, self._merged_keys = 0, 0, {}
        seen: set[int] = set()
        found: list[Diagnostic] = []
        keys = self.builder.keys
        for cell in self.matrix.cells():
            try:
                made = keys(cell)
            except (TemplateProblem, ReferenceProblem) as problem:
                found.append(self._unmade(problem, cell))
                if len(found) >= MAX_FINDINGS:
                    break
                continue
            for repeat, (key, images) in enumerate(made, 1):
                # A million keys as texts take 150 MiB, as integers a third. That two of ten million different ones
                # share a fingerprint, and the second is left out, has a probability below 1e-5.
                fingerprint = int(key[-16:], 16)
                if fingerprint in seen:
                    self._merge(cell, repeat, key)
                else:
                    seen.add(fingerprint)
                    self.made += 1
                    if not self.made % STRIDE:
                        allow_requests(STRIDE)
                    yield Place(cell, repeat, key, images)
        if found:
            raise FindingsError(in_order(found))

    def total(self) -> int:
        """After ``check``: the exact number of requests.

        :raises FindingsError: as ``places``
        """
        return sum(1 for _ in self.places())

    def _unmade(self, problem: TemplateProblem | ReferenceProblem, cell: Cell) -> Diagnostic:
        if isinstance(problem, ReferenceProblem):
            path = self._path_of("image_urls", cell)
            return self.spec.document.finding("reference-image", problem.message, path, hint=problem.hint)
        if self.spec.prompt is None:
            path = self.spec.include[cell.includes[0]].path if cell.includes else self._path_of("prompt", cell)
            place, hint = "", problem.hint
            at = self.spec.axis_of("prompt")
            if at is not None and cell.choice is not None and not cell.includes:
                axis = self.spec.axes[at[0]]
                place, file = axis.place("prompt", cell.choice[at[0]]), axis.file("prompt")
                if file and file.column:
                    hint = hint or f"leave such rows out: where: row[{file.column!r}] | trim"
            message = f"{place}{problem.message} (at {self.builder.address(cell, 1)})"
            return self.spec.document.finding("template-value", message, path, hint=hint)
        return _prompt_finding(self.spec, problem, f" (at {self.builder.address(cell, 1)})")

    def _merge(self, cell: Cell, repeat: int, key: str) -> None:
        self.merged += 1
        if len(self._merged_keys) < MAX_ALIKE:
            self._merged_keys.setdefault(key, self.builder.address(cell, repeat))

    def request(self, place: Place) -> Request:
        """The whole request of a place, built when it is needed: the stream holds no payload.

        :raises FindingsError: its output name is none that every file system takes
        """
        try:
            return self.builder.request(place.cell, place.repeat, place.key)
        except TemplateProblem as problem:  # the rest of it was made once already, for its key
            raise FindingsError([self._name_finding(problem, place.cell)]) from None

    def place_of(self, cell: Cell, repeat: int) -> Place:
        """The place of a combination that the stream need not have.

        :raises FindingsError: it can't be made
        """
        try:
            return Place(cell, repeat, *self.builder.keys(cell)[repeat - 1])
        except (TemplateProblem, ReferenceProblem) as problem:
            raise FindingsError([self._unmade(problem, cell)]) from None

    def merge_warnings(self) -> list[Diagnostic]:
        """After ``places``: the equal requests, with the cells of the first few."""
        if not self.merged:
            return []
        wanted, firsts = dict(self._merged_keys), dict[str, str]()
        for cell in self.matrix.cells():  # a second walk: to keep every first address would take the memory of all
            for repeat, (key, _) in enumerate(self.builder.keys(cell), 1):
                if key in wanted and key not in firsts:
                    firsts[key] = self.builder.address(cell, repeat)
            if len(firsts) == len(wanted):
                break
        pairs = [f"{second} equals {firsts[key]}" for key, second in wanted.items()]
        more = f" and {self.merged - len(pairs)} more" if self.merged > len(pairs) else ""
        plural = "request equals" if self.merged == 1 else "requests equal"
        return [
            self.spec.document.finding(
                "equal-requests",
                f"{self.merged} {plural} an earlier one and {'is' if self.merged == 1 else 'are'} submitted once: "
                f"{'; '.join(pairs)}{more}",
                ("matrix",),
                key=True,
                severity="warning",
                hint="for more copies of one request write repeat",
            )
        ]

    # -- output names ----------------------------------------------------------------------------------------------

    def name_collisions(self) -> list[Diagnostic]:
        """After ``places``: output names that no file system takes, or that two requests share.

        The repeats of a cell differ by their suffix, so each cell is looked at once. A default name holds the key.
        """
        if self.spec.output_name is None:
            return []
        seen, found = set[Hashable](), list[Diagnostic]()
        for cell in self._submitted():
            try:
                output = self.builder.output_name(cell) or ""
            except TemplateProblem as problem:
                found.append(self._name_finding(problem, cell))
            else:
                # Folded, because some file systems take "Fox" and "fox" for one name, and the second image would
                # overwrite the first. Hashed, because a million names would take a hundred bytes each.
                fingerprint = hash(folded_name(output))
                if fingerprint in seen:
                    found.append(self._collision(output, cell))
                seen.add(fingerprint)
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
        note = f" (at {self.builder.address(cell, 1)})"
        return template_finding(self.spec.document, "output-name", problem, source, ("output", "name"), note=note)

    def _collision(self, output: str, cell: Cell) -> Diagnostic:
        def has_it(other: Cell) -> bool:
            try:
                return folded_name(self.builder.output_name(other) or "") == folded_name(output)
            except TemplateProblem:  # a name that is none has its own finding
                return False

        first = next(filter(has_it, self._submitted()), cell)
        both = f"{self.builder.address(first, 1)} and {self.builder.address(cell, 1)}"
        return self.spec.document.finding(
            "output-collision",
            f"two requests would write {output!r}: {both}",
            ("output", "name"),
            hint="name every axis in output.name, or leave it out",
        )


def _texts(path: DocumentPath, value: Any) -> Iterator[tuple[DocumentPath, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping | list):
        for part, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _texts((*path, part), item)


def _prompt_finding(spec: JobSpec, problem: TemplateProblem, note: str) -> Diagnostic:
    source = spec.prompt.source if spec.prompt else ""
    return template_finding(spec.document, "template-value", problem, source, ("request", "prompt"), note=note)


def _said_of(matrix: Matrix, cell: Cell) -> str:
    labels = matrix.labels(cell)
    if not labels:
        return ""
    return f" (at {', '.join(f'{name}={shorten(spoken(label), 40)}' for name, label in list(labels.items())[:4])})"


# -- prompts, and where a part of one was written ----------------------------------------------------------------------


FindText = Callable[[str], "tuple[int, int] | None"]
"""Finds something in a text: its first offset and the one behind its last, or None."""

_EXPRESSIONS = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


class Prompt(NamedTuple):
    """A rendered prompt, and a cell that has it."""

    cell: Cell
    text: str


def prompts(expansion: Expansion) -> Iterator[Prompt]:
    """Every prompt of a job at least once: axes that no prompt reads are not walked through.

    :raises TemplateProblem: for one that can't be rendered
    """
    axes = {place[0] for name in read_by_prompt(expansion) if (place := expansion.spec.axis_of(name))}
    for cell in expansion.matrix.cells_over(axes):
        yield Prompt(cell, expansion.builder.prompt(cell))


def read_by_prompt(expansion: Expansion) -> frozenset[str]:
    """The names that a prompt reads, or that are the prompt."""
    template = expansion.spec.prompt
    return frozenset({"prompt"} | (set(template.names) if template else set()))


def origin(expansion: Expansion, cell: Cell, find: FindText) -> tuple[DocumentPath, Span | None]:
    """Where what ``find`` finds in a cell's prompt was written: a value of the cell, a variable, or the template.

    :returns: the path in the job file, and the exact place where that is known
    """
    spec = expansion.spec
    names = read_by_prompt(expansion)
    for number in reversed(cell.includes):
        for name, value in spec.include[number].bindings.items():
            if name in names and _inside(value, find):
                return (*spec.include[number].path, name), None
    for axis, index in zip(spec.axes, cell.choice or (), strict=False):
        for name, value in zip(axis.names, axis.values[index].bindings, strict=True):
            if name in names and _inside(value, find):
                path = axis.values[index].path
                return path, _exactly(expansion, path, value, find)
    for name, value in spec.vars.items():
        if name in names and name not in spec.sets and _inside(value, find):
            return ("vars", name), _exactly(expansion, ("vars", name), value, find)
    path = ("request", "prompt") if spec.prompt is not None else ("request",)
    return path, None if spec.prompt is None else _in_template(expansion, spec.prompt, find)


def _inside(value: Any, find: FindText) -> bool:
    if isinstance(value, str):
        return find(value) is not None
    if isinstance(value, dict):
        return any(_inside(item, find) for item in value.values())
    return isinstance(value, list) and any(_inside(item, find) for item in value)


def _in_template(expansion: Expansion, template: Template, find: FindText) -> Span | None:
    """Where the template's own text holds it; an expression counts as characters that are no letters."""
    text = _EXPRESSIONS.sub(lambda match: "\x01" * len(match.group()), template.source)
    return _exactly(expansion, ("request", "prompt"), text, find)


def _exactly(expansion: Expansion, path: DocumentPath, text: Any, find: FindText) -> Span | None:
    found = find(text) if isinstance(text, str) else None
    return None if found is None else expansion.spec.document.text_span(path, *found)
