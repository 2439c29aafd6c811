"""``seedream-jobs plan``."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import click

from seedream_jobs.cli.options import asked, jobs_argument, request_options, set_option, target, target_options
from seedream_jobs.cli.rules import rule_options


@click.command()
@jobs_argument
@set_option
@request_options
@rule_options
@target_options
@click.option("--detailed-exitcode", is_flag=True, help="Exit code 3 if there is something to submit.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="[default: text]")
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
    detailed_exitcode: bool,
    form: str,
) -> int:
    """Show what would be submitted, why, and for how much.

    Writes nothing, needs no key and no network. Exit code 5 if a budget does not allow it.
    """
    from seedream_jobs import pipeline
    from seedream_jobs.cli.rules import rules
    from seedream_jobs.cli.talk import flush_stdout, show_findings
    from seedream_jobs.errors import ExitCode
    from seedream_jobs.plan.document import document_of
    from seedream_jobs.report.json import plan_json
    from seedream_jobs.report.text import plan_text

    wanted = asked(
        sets=sets, select=select, limit=limit, retry_failed=retry_failed, again=again, price=price, budget=budget
    )
    where = target(emulator=emulator, base_url=base_url)
    loaded = pipeline.load_all(jobs, target=where, sets=wanted.sets, rules=rules(policy, ignore))
    planned = pipeline.plan(loaded, target=where, asked=wanted)
    document = document_of(planned, origin=where.origin)
    click.echo(plan_json(document) if form == "json" else plan_text(document), nl=False)
    flush_stdout()
    warnings = [warning for job in planned.jobs for warning in job.summary.warnings]
    if warnings:
        show_findings(warnings, err=True)
    planned.hold_budgets()
    return ExitCode.CHANGES if detailed_exitcode and planned.submit else ExitCode.OK
