"""Looks for what is probably not meant in a job's prompts and parameters, by the rules of ``job.lint``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.file_rows import FileRows
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.expand.prompts import Find, Prompt, origin, prompts, read_by_prompt
from seedream_jobs.expand.texts import odd_texts
from seedream_jobs.job.axis import Axis, AxisValue, DocumentPath, spoken
from seedream_jobs.job.lint import Fault, contradiction, faults, ignored, unused_axes
from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.template import Segment, TemplateProblem

MAX_PROMPTS = 10_000
"""How many prompts are looked at: advice is no reason to look at a million of them."""
MAX_PER_CODE = 5
"""How many findings of one code are reported for one job."""

_OF_VALUES = ("ambiguous-scalar", "invisible-character", "line-break", "value-not-shown")
_MODE = ("n", "sequential_image_generation", "sequential_image_generation_options")


def lint(expansion: Expansion, ignore: Collection[str] = ()) -> tuple[Diagnostic, ...]:
    """The lint warnings of a job that passed ``Expansion.check``, in order.

    :param ignore: codes that are silenced, beside those the job file silences itself
    """
    silent = {*ignore, *ignored(expansion.spec)}
    spec = expansion.spec
    found = [*unused_axes(spec), *_values(expansion), *odd_texts(expansion), *_modes(expansion), *_prompts(expansion)]
    return in_order(_few(finding for finding in found if finding.code not in silent))


def _few(findings: Iterator[Diagnostic]) -> Iterator[Diagnostic]:
    """At most ``MAX_PER_CODE`` of each code; the same place once, though the values of a file share one."""
    seen: set[tuple[Any, ...]] = set()
    counts: dict[str, int] = {}
    for finding in findings:
        place = (finding.code, finding.span, finding.message if finding.code in _OF_VALUES else "")
        if place in seen:
            continue
        seen.add(place)
        counts[finding.code] = counts.get(finding.code, 0) + 1
        if counts[finding.code] <= MAX_PER_CODE:
            yield finding


def _values(expansion: Expansion) -> Iterator[Diagnostic]:
    """Axis values of which nothing is left in any prompt, though other values of the axis show."""
    spec = expansion.spec
    segments = [segment for segment in spec.prompt.segments if segment.evaluate] if spec.prompt else []
    constants, files = set(spec.vars), FileRows(spec)
    for axis in spec.axes:
        names = set(axis.names)
        mine = [segment for segment in segments if segment.names & names]
        if not mine or any(segment.names - names - constants for segment in mine):
            continue  # what reads several axes may show a value in some combinations only
        blank = [
            number for number, value in enumerate(axis.values) if not _shows(mine, {**spec.vars, **_bound(axis, value)})
        ]
        if len(blank) == len(axis.values):
            continue
        for number in blank[: MAX_PER_CODE + 1]:
            value = axis.values[number]
            yield spec.document.finding(
                "value-not-shown",
                f"{files.place(axis, axis.names[0], number)}no prompt shows the value {spoken(value.labels[0])!r} "
                f"of the axis {axis.names[0]!r}",
                value.path,
                severity="warning",
                hint="the template gives nothing for it: a missing branch, or an empty text",
            )


def _bound(axis: Axis, value: AxisValue) -> dict[str, Any]:
    return dict(zip(axis.names, value.bindings, strict=True))


def _shows(segments: Iterable[Segment], context: Mapping[str, Any]) -> bool:
    """Whether any of the segments has a text for these values."""
    return any(segment.evaluate(context).strip() for segment in segments if segment.evaluate)


def _modes(expansion: Expansion) -> Iterator[Diagnostic]:
    """``n`` against ``sequential_image_generation``, for each distinct set of them."""
    spec, matrix = expansion.spec, expansion.matrix
    axes = {place[0] for name in _MODE if (place := spec.axis_of(name))}
    chosen = (Cell(choice, ()) for choice, _ in matrix.groups(axes))
    included = (Cell(None, (number,)) for number in range(len(spec.include)))
    for cell in (*islice(chosen, MAX_PROMPTS if axes else 1), *included):
        fields = {**spec.parameters, **expansion.builder.given(cell)}
        problem = contradiction(fields)
        if problem is not None:
            path = _mode_path(spec, cell)
            yield spec.document.finding("n-against-sequential", problem, path, severity="warning")


def _mode_path(spec: JobSpec, cell: Cell) -> DocumentPath:
    """Where the mode of a cell was set: by its include, by an axis, else in the request."""
    for number in cell.includes:
        if any(name in _MODE for name in spec.include[number].bindings):
            return spec.include[number].path
    place = next((place for name in _MODE if (place := spec.axis_of(name))), None)
    if place is not None and cell.choice is not None:
        return spec.axes[place[0]].values[cell.choice[place[0]]].path
    written = next((name for name in reversed(_MODE) if name in spec.parameters), None)
    return ("request",) if written is None else ("request", written)


def _prompts(expansion: Expansion) -> Iterator[Diagnostic]:
    """What is odd in the rendered prompts, and prompts that several combinations share."""
    first: dict[str, Cell] = {}
    names = sorted(name for name in read_by_prompt(expansion) if expansion.spec.axis_of(name))
    try:
        for prompt in islice(prompts(expansion), MAX_PROMPTS):
            cell, text = prompt
            for fault in faults(text):
                yield _fault(expansion, prompt, fault)
            known = first.setdefault(text, cell)
            if known is not cell and _differ(expansion, names, known, cell):
                yield _identical(expansion, known, cell)
    except TemplateProblem:
        return  # the stream of requests reports it with its place


def _differ(expansion: Expansion, names: list[str], first: Cell, second: Cell) -> bool:
    """Whether two cells differ in something the prompt reads."""
    ours, theirs = expansion.matrix.bindings(first), expansion.matrix.bindings(second)
    return [ours.get(name) for name in names] != [theirs.get(name) for name in names]


def _fault(expansion: Expansion, prompt: Prompt, fault: Fault) -> Diagnostic:
    path, span = origin(expansion, prompt.cell, _finder(fault.code))
    finding = expansion.spec.document.finding(fault.code, fault.message, path, severity="warning", hint=fault.hint)
    if span is not None:
        return replace(finding, span=span)
    address = expansion.builder.address(prompt.cell, 1)
    return replace(finding, message=f"{fault.message} (at {address})")


def _finder(code: str) -> Find:
    def find(text: str) -> tuple[int, int] | None:
        return next(((fault.start, fault.end) for fault in faults(text) if fault.code == code), None)

    return find


def _identical(expansion: Expansion, first: Cell, second: Cell) -> Diagnostic:
    ours, theirs = expansion.matrix.labels(first), expansion.matrix.labels(second)
    names = [name for name in theirs if ours.get(name) != theirs[name]]
    spec = expansion.spec
    path: tuple[str | int, ...] = ("request", "prompt") if spec.prompt else ("matrix",)
    if names and (place := spec.axis_of(names[-1])) and second.choice is not None:
        path = spec.axes[place[0]].values[second.choice[place[0]]].path
    addresses = f"{expansion.builder.address(first, 1)} and {expansion.builder.address(second, 1)}"
    return spec.document.finding(
        "identical-prompts",
        f"{addresses} have the same prompt",
        path,
        severity="warning",
        hint="the template drops what tells them apart; for more copies of one request write repeat",
    )
