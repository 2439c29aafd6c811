"""The prompts of a job, each with a cell it comes from, and where in the job file a part of one was written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from seedream_jobs.diagnostics import Span
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.job.axis import DocumentPath
from seedream_jobs.job.template import Template

Find = Callable[[str], "tuple[int, int] | None"]
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
    spec, matrix = expansion.spec, expansion.matrix
    if spec.sample is None and not spec.include:
        axes = {place[0] for name in read_by_prompt(expansion) if (place := spec.axis_of(name))}
        cells: Iterator[Cell] = (Cell(choice, ()) for choice, _ in matrix.groups(axes))
    else:
        cells = matrix.cells()
    for cell in cells:
        yield Prompt(cell, expansion.builder.prompt(cell))


def read_by_prompt(expansion: Expansion) -> frozenset[str]:
    """The names that a prompt reads, or that are the prompt."""
    template = expansion.spec.prompt
    return frozenset({"prompt"} | (set(template.names) if template else set()))


def origin(expansion: Expansion, cell: Cell, find: Find) -> tuple[DocumentPath, Span | None]:
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


def _inside(value: Any, find: Find) -> bool:
    if isinstance(value, str):
        return find(value) is not None
    if isinstance(value, dict):
        return any(_inside(item, find) for item in value.values())
    return isinstance(value, list) and any(_inside(item, find) for item in value)


def _in_template(expansion: Expansion, template: Template, find: Find) -> Span | None:
    """Where the template's own text holds it; its expressions count as some character that is no letter."""
    text = _EXPRESSIONS.sub(lambda match: "\x01" * len(match.group()), template.source)
    return _exactly(expansion, ("request", "prompt"), text, find)


def _exactly(expansion: Expansion, path: DocumentPath, text: Any, find: Find) -> Span | None:
    found = find(text) if isinstance(text, str) else None
    if found is None:
        return None
    document = expansion.spec.document
    if not document.exists(path):
        return None
    start, end = document.text_position(path, found[0]), document.text_position(path, found[1])
    return None if start is None or end is None else Span(start=start, end=end)
