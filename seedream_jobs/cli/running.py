"""What ``run`` does with job files: plan them under their locks, ask, spend, tell."""

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
    from seedream_jobs.plan.jobs import JobsPlan


def run_jobs(
    files: tuple[Path, ...], *, asked: PlanOptions, where: Target, base_url: str | None, rules: Rules, how: How
) -> ExitCode | int:
    """Plan job files and, if a person agrees, carry the plan out.

    :raises SeedreamError: whatever stands in the way, before anything is sent
    """
    from seedream_jobs import pipeline
    from seedream_jobs.cli.records import record_of
    from seedream_jobs.cli.session import open_access
    from seedream_jobs.cli.spending import Agreed, carry_out, confirmed
    from seedream_jobs.errors import ExitCode
    from seedream_jobs.ledger.campaign import naming_doubts
    from seedream_jobs.run.holding import hold_campaigns, hold_kept, hold_ledgers, record_sets
    from seedream_jobs.run.planned import duties

    now = int(time.time())
    with ExitStack() as stack:
        loaded = pipeline.load_all(files, target=where, sets=asked.sets, rules=rules)
        access = open_access(where, loaded[0].expansion.spec.root, stack, base_url=base_url)
        held = hold_ledgers(loaded, origin=where.origin, now=now, stack=stack)
        release = hold_campaigns(loaded, held, emulator=where.emulator, now=now, stack=stack)
        option = " --emulator" if where.emulator else ""
        stack.enter_context(naming_doubts([(job.shown, held(job)) for job in loaded], option))
        planned = pipeline.plan(loaded, target=where, asked=asked, ledger_of=held)
        _show(planned, where.origin)
        if not where.emulator:
            paid = [part.job for part in planned.jobs if part.summary.submit]
            hold_kept({job.paths.manifest: job.expansion.spec.root for job in paid}, os.environ)
        planned.hold_budgets()
        if not planned.submit:
            release()  # what is left is polling and fetching, which no other run needs to wait for
        elif not (how.yes or where.emulator) and not confirmed(planned.submit, planned.cost):
            return ExitCode.OK
        record_sets(planned, asked.sets, now=int(time.time()))
        agreed = Agreed(
            requests=tuple(part.summary.submit for part in planned.jobs),
            usd=planned.cost,
            budgets=planned.budgets,
            jobs=tuple((record_of(part.job), part.ledger) for part in planned.jobs),
            references=planned.references,
            duties=partial(duties, planned, detach=how.options.detach),
            release=release,
        )
        ending = carry_out(agreed, access=access, where=where, how=how, stack=stack)
    return ending.tell()


def _show(planned: JobsPlan, origin: str) -> None:
    from seedream_jobs.cli.output import show_findings
    from seedream_jobs.plan.drafting import document_of
    from seedream_jobs.report.text import plan_text

    click.echo(plan_text(document_of(planned, origin=origin)), nl=False)
    sys.stdout.flush()
    warnings = [warning for part in planned.jobs for warning in part.summary.warnings]
    if warnings:
        show_findings(warnings, err=True)
