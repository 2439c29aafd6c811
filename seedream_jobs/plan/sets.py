"""``--set`` values across runs: what the last one used, its record, and the warning where the next one differs.

A value of ``--set`` is in no file: without a record nobody could tell why a request is new, or repeat what was run. A
direct run's record is a line like an applied plan's, written only where the values differ from the last ones.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.ledger.codec import canonical
from seedream_jobs.ledger.state import PlanRecord

_RUN = "r-"


def is_direct(plan: str) -> bool:
    """Whether a plan's id is that of a direct run, which no saved plan stands behind."""
    return plan.startswith(_RUN)


def last_sets(plans: Iterable[PlanRecord]) -> Mapping[str, str]:
    """The ``--set`` values of the last run that submitted something."""
    last = max(plans, key=lambda plan: (plan.used_at, plan.plan), default=None)
    sets = None if last is None else last.options.get("set")
    return {str(name): str(value) for name, value in sets.items()} if isinstance(sets, Mapping) else {}


def run_record(plans: Mapping[str, PlanRecord], sets: Mapping[str, str], *, now: int, token: str) -> PlanRecord | None:
    """What is recorded of a direct run's ``--set`` values before its first intent; None where they are the last ones.

    :param plans: what is recorded, by id
    :param now: Unix seconds
    :param token: tells apart runs of two branches, of letters and digits
    """
    if dict(sets) == last_sets(plans.values()):
        return None
    options = {"set": dict(sets)} if sets else {}
    digest = f"sha256:{hashlib.sha256(canonical(options)).hexdigest()}"
    return PlanRecord(plan=f"{_RUN}{len(plans):06d}-{token}", digest=digest, used_at=now, options=options)


def said(sets: Mapping[str, str]) -> str:
    """The options as they are typed in a shell, for a terminal: a record may come from elsewhere."""
    typed = " ".join(f"--set {shlex.quote(f'{name}={value}')}" for name, value in sets.items())
    return "".join(character if character.isprintable() else "?" for character in typed)


def other_sets(shown: str, plans: Iterable[PlanRecord], sets: Mapping[str, str]) -> tuple[Diagnostic, ...]:
    """A warning where the last run used ``--set`` and this plan does not use the same.

    :param shown: the job file as the user named it
    """
    last = last_sets(plans)
    if not last or last == dict(sets):
        return ()
    uses = f"uses {said(sets)}" if sets else "does not"
    finding = Diagnostic(
        code="other-set",
        severity="warning",
        message=f"the last run used {said(last)}; this plan {uses}",
        path=shown,
        hint=f"its requests are other ones, and are paid for; to go on with the last ones: {said(last)}",
    )
    return (finding,)
