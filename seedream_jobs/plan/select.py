"""``--select``: a partial match (``{style: ink}``) or a condition (``style.id == 'ink'``) over the cells of a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from seedream_jobs.diagnostics import closest
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.job.axis import matches
from seedream_jobs.job.template import TemplateProblem

if TYPE_CHECKING:
    from seedream_jobs.job.expression import Expression


def selector(text: str, expansion: Expansion) -> Callable[[Cell], bool]:
    """A predicate over the cells of one job.

    :raises UsageError: it can't be read, or names what the job does not have
    """
    names = {name for axis in expansion.spec.axes for name in axis.names}
    names |= {name for item in expansion.spec.include for name in item.adds}
    if text.lstrip().startswith("{"):
        return _matching(_mapping(text), names, expansion)
    from seedream_jobs.job.expression import compile_expression  # a plan without --select does without Jinja

    try:
        condition = compile_expression(text)
    except TemplateProblem as problem:
        raise _refused(text, problem.message, problem.hint) from None
    _known(text, condition.names, names | set(expansion.spec.vars))
    return _holding(text, condition, expansion)


def _mapping(text: str) -> Mapping[str, Any]:
    from seedream_jobs.job.source import parse

    try:
        data: Mapping[str, Any] = parse(text.encode(), "--select").data
    except FindingsError as error:
        raise _refused(text, error.diagnostics[0].message, "such as --select '{style: ink}'") from None
    return data


def _matching(pattern: Mapping[str, Any], names: set[str], expansion: Expansion) -> Callable[[Cell], bool]:
    _known("--select", pattern, names)
    matrix = expansion.matrix

    def fits(cell: Cell) -> bool:
        labels, bindings = matrix.labels(cell), matrix.bindings(cell)
        return all(name in labels and matches(wanted, bindings[name], labels[name]) for name, wanted in pattern.items())

    return fits


def _holding(text: str, condition: Expression, expansion: Expansion) -> Callable[[Cell], bool]:
    def holds(cell: Cell) -> bool:
        try:
            return condition(expansion.matrix.bindings(cell))
        except TemplateProblem as problem:
            raise _refused(text, problem.message, problem.hint) from None

    return holds


def _known(text: str, used: Any, names: set[str]) -> None:
    for name in used:
        if name not in names:
            near = closest(name, names)
            hint = f"did you mean {near!r}?" if near else f"the axes are: {', '.join(sorted(names)) or 'none'}"
            raise UsageError(f"--select names {name!r}, which is no axis", hint=hint)


def _refused(text: str, message: str, hint: str | None) -> UsageError:
    return UsageError(f"--select {text}: {message}", hint=hint)
