"""``--select``: a partial match (``{style: ink}``) or a condition (``style.id == 'ink'``) over the cells of a job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from seedream_jobs.diagnostics import closest
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.job.axes import matches
from seedream_jobs.job.condition import Condition, compile_condition
from seedream_jobs.job.document import spoken
from seedream_jobs.job.template import TemplateProblem
from seedream_jobs.job.yaml_reader import parse


def selector(text: str, expansion: Expansion) -> Callable[[Cell], bool]:
    """A predicate over the cells of one job.

    :raises UsageError: it can't be read, or names what the job does not have
    """
    names = {name for axis in expansion.spec.axes for name in axis.names}
    names |= {name for item in expansion.spec.include for name in item.adds}
    if text.lstrip().startswith("{"):
        return _matching(_mapping(text), names, expansion)
    try:
        condition = compile_condition(text)
    except TemplateProblem as problem:
        raise _refused(text, problem.message, problem.hint) from None
    _known(text, condition.names, names | set(expansion.spec.vars))
    return _holding(text, condition, expansion)


def hold_values(text: str, expansions: Iterable[Expansion]) -> None:
    """Where a selection fits no request at all: see that each value it names is one of some job's.

    :raises UsageError: a value that is none is a slip of the pen, not nothing to do
    """
    if not text.lstrip().startswith("{"):
        return
    of_name: dict[str, list[tuple[Any, Any]]] = {}
    for spec in (expansion.spec for expansion in expansions):
        for axis in spec.axes:
            for position, name in enumerate(axis.names):
                known = ((value.bindings[position], value.labels[position]) for value in axis.values)
                of_name.setdefault(name, []).extend(known)
        for item in spec.include:
            for name, binding in item.bindings.items():
                of_name.setdefault(name, []).append((binding, item.labels[name]))
    for name, wanted in _mapping(text).items():
        values = of_name.get(name, [])
        if any(matches(wanted, binding, label) for binding, label in values):
            continue
        labels = list(dict.fromkeys(spoken(label) for _, label in values))
        near = closest(spoken(wanted), labels)
        hint = f"did you mean {near!r}?" if near else f"it has: {', '.join(labels[:8])}"
        if near == spoken(wanted):
            hint = "a number and a quoted number are different values"
        raise UsageError(f"--select: the axis {name!r} has no value {wanted!r}", hint=hint)


def _mapping(text: str) -> Mapping[str, Any]:

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


def _holding(text: str, condition: Condition, expansion: Expansion) -> Callable[[Cell], bool]:
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
