"""``seedream-jobs run plan.json``: a saved plan is carried out, it and nothing else."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from seedream_jobs.cli.spending import How
    from seedream_jobs.errors import ExitCode
    from seedream_jobs.pipeline import PlanOptions, Rules, Target
    from seedream_jobs.plan.application import Application


def run_saved(
    files: tuple[Path, ...],
    *,
    asked: PlanOptions,
    where: Target,
    base_url: str | None,
    expect: str | None,
    rules: Rules,
    how: How,
) -> ExitCode | int:
    """Carry out the one plan that is named.

    :raises UsageError: something beside it is named, or an option that would change it
    :raises FindingsError: the policy refuses one of its requests
    :raises HeldError: the plan may not be carried out (any more)
    """
    from seedream_jobs import apply
    from seedream_jobs.cli.records import Record
    from seedream_jobs.cli.session import open_access
    from seedream_jobs.cli.spending import Agreed, carry_out, confirmed
    from seedream_jobs.errors import ExitCode
    from seedream_jobs.plan import saved
    from seedream_jobs.run.applied import duties
    from seedream_jobs.run.holding import hold_kept

    file = _one(files, asked)
    plan = saved.read(file)
    now = int(time.time())
    saved.hold_fresh(plan, now=now, expect=expect, shown=str(file))
    root = apply.find_root(plan, file, Path.cwd())
    budgets = asked.budgets
    policy = rules.policy_of(root)
    if policy is not None:
        from seedream_jobs.plan.enforce_saved import hold_saved

        plan = hold_saved(policy, plan, str(file))
        if policy.budget_usd is not None:
            budgets = (*budgets, (f"budget_usd of {policy.shown}", policy.budget_usd))
    with ExitStack() as stack:
        access = open_access(where, root, stack, base_url=base_url)
        application = apply.prepare(
            plan, root=root, target=where, now=now, budgets=budgets, stack=stack, shown=str(file)
        )
        _show(application)
        if not where.emulator:
            hold_kept({part.paths.manifest: root for part in application.parts if part.left}, os.environ)
        if application.left and not (how.yes or where.emulator) and not confirmed(application.left, application.cost):
            return ExitCode.OK
        apply.record_use(application, now=now)
        agreed = Agreed(
            requests=tuple(len(part.left) for part in application.parts),
            usd=application.cost,
            budgets=application.budgets,
            jobs=tuple(
                (Record(shown=part.job.shown, paths=part.paths, root=part.root, job=None), part.ledger)
                for part in application.parts
            ),
            references=application.references,
            duties=partial(duties, application, detach=how.options.detach),
            release=application.release,
        )
        ending = carry_out(agreed, access=access, where=where, how=how, stack=stack)
        apply.record_finish(application)
    return ending.tell()


def _one(files: tuple[Path, ...], asked: PlanOptions) -> Path:
    from seedream_jobs.errors import UsageError

    if len(files) != 1 or files[0].suffix != ".json":
        raise UsageError("a saved plan is run alone", hint="seedream-jobs run plan.json --expect DIGEST")
    changing = [*asked.recorded, *(["price"] if asked.price is not None else [])]
    if changing:
        option = f"--{changing[0].replace('_', '-')}"
        raise UsageError(
            f"{option} can't change a saved plan", hint="make another one: seedream-jobs plan … -o plan.json"
        )
    return files[0]


def _show(application: Application) -> None:
    from seedream_jobs.report.text import plan_text, plural

    click.echo(plan_text(application.plan), nl=False)
    sys.stdout.flush()
    if application.left < application.plan.submit:
        begun = application.plan.submit - application.left
        said = f"{begun:,} of {plural(application.plan.submit, 'request')} went out before, {application.left:,} left"
        click.echo(f"This plan was begun: {said}.", err=True)
