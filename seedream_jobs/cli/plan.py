"""``seedream-jobs plan``."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedream_jobs.cli.options import asked, request_options, set_option, target, target_options
from seedream_jobs.cli.rules import rule_options
from seedream_jobs.cli.views import view_options

if TYPE_CHECKING:
    import datetime

    from seedream_jobs.pipeline import Request, Target
    from seedream_jobs.plan.document import PlanDocument
    from seedream_jobs.plan.jobs import JobsPlan
    from seedream_jobs.plan.policy_file import PolicyOf
    from seedream_jobs.review import Revisions


@click.command()
@click.argument("jobs", nargs=-1, type=click.Path(path_type=Path), metavar="JOB…")
@set_option
@request_options
@rule_options
@target_options
@click.option("--base", metavar="REV", help="Compare with this git revision; without JOB, every job it concerns.")
@click.option("--head", metavar="REV", help="With --base: plan this revision.  [default: the work tree]")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Save the plan for run."
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit code 3 if there is something to submit.")
@view_options
def plan(
    jobs: tuple[Path, ...],
    sets: tuple[tuple[str, str], ...],
    select: str | None,
    limit: int | None,
    budget: Decimal | None,
    price: Decimal | None,
    retry_failed: bool,
    again: tuple[str, ...],
    policy: Path | None,
    ignore: tuple[str, ...],
    emulator: bool,
    base_url: str | None,
    base: str | None,
    head: str | None,
    output: Path | None,
    detailed_exitcode: bool,
    form: str,
    concise: bool,
) -> int:
    """Show what would be submitted, why, and for how much.

    Needs no key and no network. Writes nothing, unless -o saves the plan: that also gives a job its manifest, whose
    id stands in the plan. Exit code 5 if a budget does not allow it.
    """
    from seedream_jobs.cli.talk import show_findings
    from seedream_jobs.cli.views import show_plan
    from seedream_jobs.errors import ExitCode

    wanted = asked(
        sets=sets, select=select, limit=limit, retry_failed=retry_failed, again=again, price=price, budget=budget
    )
    where = target(emulator=emulator, base_url=base_url)
    if head is not None and base is None:
        raise click.UsageError("--head needs --base")
    with ExitStack() as stack:
        planned: JobsPlan | None
        if base is None:
            planned, document = _planned(jobs, where, wanted, policy, ignore)
        else:
            planned, document = _between(jobs, where, wanted, policy, ignore, base=base, head=head, stack=stack)
        if output is not None:
            document = _saved(document, planned, output, where)
        show_plan(document, form, concise=concise)
        if document.warnings:
            read = {part.job.shown: part.job.expansion.spec.document.text for part in (planned.jobs if planned else ())}
            show_findings(document.warnings, err=True, read=read)
        document.hold_budgets()
    return ExitCode.CHANGES if detailed_exitcode and document.submit else ExitCode.OK


def _planned(
    jobs: tuple[Path, ...], where: Target, wanted: Request, policy: Path | None, ignore: tuple[str, ...]
) -> tuple[JobsPlan, PlanDocument]:
    from seedream_jobs import pipeline
    from seedream_jobs.cli.rules import rules
    from seedream_jobs.plan.document import document_of

    loaded = pipeline.load_all(jobs, target=where, sets=wanted.sets, rules=rules(policy, ignore))
    planned = pipeline.plan(loaded, target=where, asked=wanted)
    return planned, document_of(planned, origin=where.origin, options=wanted.recorded)


def _between(
    jobs: tuple[Path, ...],
    where: Target,
    wanted: Request,
    policy: Path | None,
    ignore: tuple[str, ...],
    *,
    base: str,
    head: str | None,
    stack: ExitStack,
) -> tuple[JobsPlan | None, PlanDocument]:
    from seedream_jobs.cli.rules import rules
    from seedream_jobs.review import Revisions, repository_of, review

    repository = stack.enter_context(repository_of(jobs, here=Path.cwd(), environment=os.environ))
    revisions = Revisions(repository, base=base, head=head, target=where, sets=wanted.sets, here=Path.cwd())
    held = rules(policy, ignore, base=lambda today: _base_policy(revisions, today))
    found = review(revisions, jobs, target=where, asked=wanted, rules=held)
    return found.planned, found.document


def _base_policy(revisions: Revisions, today: datetime.date) -> PolicyOf:
    """A change is held against the policy of the branch it goes to."""
    from seedream_jobs.plan.policy import POLICY_FILE
    from seedream_jobs.plan.policy_file import policy_of_tree

    shown = f"{revisions.base.name}:{POLICY_FILE}"
    return policy_of_tree(lambda root: revisions.base_tree, shown=lambda root: shown, today=today)


def _saved(document: PlanDocument, planned: JobsPlan | None, file: Path, where: Target) -> PlanDocument:
    """Save the plan, and say how to run it."""
    from seedream_jobs.apply import with_manifests
    from seedream_jobs.plan.saved import save

    now = int(time.time())
    named = document if planned is None else with_manifests(document, planned, target=where, now=now)
    saved = save(named, file, made_at=now)
    option = " --emulator" if where.emulator else ""
    click.echo(f"Saved. After approval: seedream-jobs run {file}{option} --expect {saved.digest}", err=True)
    return saved
