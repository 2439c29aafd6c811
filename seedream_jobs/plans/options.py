"""This module holds what an operator asks of a plan: its options, what ``--select`` keeps, what ``--set`` last was.

Called by ``plans.plan``, the pipeline and the commands. Invariant: a value of ``--set`` is in no file, so a direct
run's values are recorded in the manifest, as a line like an applied plan's, wherever they differ from the last ones.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from seedream_jobs.diagnostics import Diagnostic, did_you_mean
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.job.axes import matches
from seedream_jobs.job.condition import compile_condition
from seedream_jobs.job.document import spoken
from seedream_jobs.job.template import TemplateProblem
from seedream_jobs.job.yaml_reader import parse
from seedream_jobs.ledger.codec import canonical
from seedream_jobs.ledger.state import PlanRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What an operator asked of ``plan`` or ``run``, by the options' names.

    :param replay: Unix seconds now, where what is in doubt is to be sent again under its idempotency key
    :param rejected: submit once more what a selection rejects, as if ``again`` named it
    """

    sets: Mapping[str, str]
    select: str | None = None
    limit: int | None = None
    retry_failed: bool = False
    replay: int | None = None
    again: tuple[str, ...] = ()
    rejected: bool = False
    price: Decimal | None = None
    budgets: tuple[tuple[str, Decimal], ...] = ()

    @property
    def recorded(self) -> dict[str, object]:
        """The options that change requests or money, for the plan and the record; absent are those not given."""
        options: dict[str, object] = {
            "again": list(self.again) or None,
            "limit": self.limit,  # 0 is one, too: nothing is submitted
            "rejected": self.rejected or None,
            "replay": self.replay is not None or None,
            "retry_failed": self.retry_failed or None,
            "select": self.select,
            "set": dict(self.sets) or None,
        }
        return {name: value for name, value in options.items() if value is not None}


NOTHING: Mapping[str, Any] = {}

# -- --select ----------------------------------------------------------------------------------------------------------


def selector(text: str, expansion: Expansion, *, more: Iterable[str] = ()) -> Callable[..., bool]:
    """A predicate over the cells of one job, and a mapping of values beside those of the cell.

    :param text: a partial match (``{style: ink}``), or a condition (``style.id == 'ink'``)
    :param more: the names of those values, for a condition; a name of the job comes before one of them
    :raises UsageError: it can't be read, or names what the job does not have
    """
    matrix = expansion.matrix
    names = {name for axis in expansion.spec.axes for name in axis.names}
    # An ``include`` may bring a name that no axis has.
    names |= {name for item in expansion.spec.include for name in item.adds}
    if _is_mapping(text):
        pattern = _mapping(text)
        _check_names(pattern, names)

        def matching(cell: Cell, values: Mapping[str, Any] = NOTHING) -> bool:
            labels, bindings = matrix.labels(cell), matrix.bindings(cell)
            return all(
                name in labels and matches(wanted, bindings[name], labels[name]) for name, wanted in pattern.items()
            )

        return matching
    try:
        condition = compile_condition(text)
    except TemplateProblem as problem:
        raise _refusal(text, problem.message, problem.hint) from None
    _check_names(condition.names, names | set(expansion.spec.vars) | set(more))

    def fulfilling(cell: Cell, values: Mapping[str, Any] = NOTHING) -> bool:
        bound = {**values, **matrix.bindings(cell)}
        try:
            return condition(bound)
        except TemplateProblem as problem:
            # As in SQL: what is not known is neither greater nor less than anything.
            if any(name in values and bound[name] is None for name in condition.names):
                return False
            raise _refusal(text, problem.message, problem.hint) from None

    return fulfilling


def check_values(text: str, expansions: Iterable[Expansion]) -> None:
    """Refuse a selection, which fits no request at all, if no job has a value that it names.

    :raises UsageError: the value is probably misspelt
    """
    if not _is_mapping(text):
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
        hint = did_you_mean(spoken(wanted), labels, f"it has: {', '.join(labels[:8])}")
        if spoken(wanted) in labels:
            hint = "a number and a quoted number are different values"
        raise UsageError(f"--select: the axis {name!r} has no value {wanted!r}", hint=hint)


def _is_mapping(text: str) -> bool:
    return text.lstrip().startswith("{")


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        data: Mapping[str, Any] = parse(text.encode(), "--select").data
    except FindingsError as error:
        raise _refusal(text, error.diagnostics[0].message, "such as --select '{style: ink}'") from None
    return data


def _check_names(used: Iterable[str], names: set[str]) -> None:
    for name in used:
        if name not in names:
            hint = did_you_mean(name, names, f"the axes are: {', '.join(sorted(names)) or 'none'}")
            raise UsageError(f"--select names {name!r}, which is no axis", hint=hint)


def _refusal(text: str, message: str, hint: str | None) -> UsageError:
    return UsageError(f"--select {text}: {message}", hint=hint)


# -- --set, across runs ------------------------------------------------------------------------------------------------

_DIRECT = "r-"
"""How the id of a direct run begins, in place of a plan's."""


def is_direct(plan: str) -> bool:
    """Whether a recorded id is that of a direct run, which has no saved plan."""
    return plan.startswith(_DIRECT)


def last_sets(plans: Iterable[PlanRecord]) -> Mapping[str, str]:
    """The ``--set`` values of the last run that submitted something."""
    # Two runs may begin in one second; the ids of direct runs are numbered.
    last = max(plans, key=lambda plan: (plan.used_at, plan.plan), default=None)
    return {} if last is None else sets_of(last.options)


def sets_of(options: Mapping[str, Any]) -> Mapping[str, str]:
    """The ``--set`` values among the recorded options of a plan or a run."""
    sets = options.get("set")
    return {str(name): str(value) for name, value in sets.items()} if isinstance(sets, Mapping) else {}


def run_record(plans: Mapping[str, PlanRecord], sets: Mapping[str, str], *, now: int, token: str) -> PlanRecord | None:
    """The record of a direct run's ``--set`` values, made before its first intent; None where they are the last ones.

    :param plans: the records so far, by id
    :param now: Unix seconds
    :param token: letters and digits that tell apart runs of two branches
    """
    if dict(sets) == last_sets(plans.values()):
        return None
    options = {"set": dict(sets)} if sets else {}  # a run without --set is recorded as well, where the last one had any
    # Nobody approves a direct run: this digest only gives its line the form of an applied plan's.
    digest = f"sha256:{hashlib.sha256(canonical(options)).hexdigest()}"
    return PlanRecord(plan=f"{_DIRECT}{len(plans):06d}-{token}", digest=digest, used_at=now, options=options)


def set_options(sets: Mapping[str, str]) -> str:
    """The options as they are typed in a shell."""
    return " ".join(f"--set {shlex.quote(f'{name}={value}')}" for name, value in sets.items())


def other_sets(shown: str, plans: Iterable[PlanRecord], sets: Mapping[str, str]) -> tuple[Diagnostic, ...]:
    """The warning that the last run used other ``--set`` values than this plan, if it used any.

    :param shown: the job file as the user named it
    """
    last = last_sets(plans)
    if not last or last == dict(sets):
        return ()
    before = set_options(last)
    finding = Diagnostic(
        code="other-set",
        severity="warning",
        message=f"the last run used {before}; this plan {f'uses {set_options(sets)}' if sets else 'does not'}",
        path=shown,
        hint=f"its requests are other ones, and are paid for; to go on with the last ones: {before}",
    )
    return (finding,)
