"""``seedream-jobs run``: the command that spends money."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedream_jobs.cli.options import jobs_argument, pace_options, request_options, target, target_options
from seedream_jobs.cli.rules import rule_options, rules
from seedream_jobs.cli.streams import goes_on_unheard, progress_mode
from seedream_jobs.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from seedream_jobs.cli.result import Ending
    from seedream_jobs.plan.options import PlanOptions
    from seedream_jobs.plan.plan import Plan
    from seedream_jobs.records import Locked
    from seedream_jobs.report.progress import ProgressDisplay
    from seedream_jobs.run.job_run import JobResult, RunOptions


@click.command()
@jobs_argument
@request_options
@rule_options
@target_options
@pace_options
@click.option("--rate", metavar="N/UNIT", help="At most so many POSTs, such as 60/m.  [default: no limit]")
@click.option("--yes", "-y", is_flag=True, help="Submit without asking.")
@click.option("--detach", is_flag=True, help="End once the task ids are in the manifest; fetch goes on later.")
@click.option("--upload-references", is_flag=True, help="Upload local reference images instead of sending them inline.")
@click.option("--check-balance", is_flag=True, help="Compare the account's balance with the plan before starting.")
@click.option("--embed-metadata", is_flag=True, help="Put prompt and digital source type into the images (XMP).")
@click.option(
    "--retry-server-errors",
    is_flag=True,
    help="Send again after HTTP 500 or 502, which may have charged: it may pay twice.",
)
@click.option("--no-gallery", is_flag=True, help="Leave the page as it is.")
@click.option("--expect", metavar="DIGEST", help="With a saved plan: the approval digest it must have.")
@goes_on_unheard
def run(
    jobs: tuple[Path, ...],
    wanted: PlanOptions,
    policy: Path | None,
    ignore: tuple[str, ...],
    emulator: bool,
    base_url: str | None,
    options: RunOptions,
    as_json: bool,
    yes: bool,
    detach: bool,
    upload_references: bool,
    check_balance: bool,
    embed_metadata: bool,
    retry_server_errors: bool,
    no_gallery: bool,
    expect: str | None,
) -> int:
    """Submit, poll, download and build the gallery.

    Shows the plan and asks first. What was submitted before is never submitted again by itself: the manifest beside
    the job file is the record. Needs APIMART_API_KEY, or --emulator.

    Instead of job files a saved plan (plan -o) may be named: it and nothing else is carried out, once.
    """
    from seedream_jobs import pipeline

    where = target(emulator=emulator, base_url=base_url)
    options = replace(
        options,
        detach=detach,
        upload_references=upload_references,
        check_balance=check_balance,
        embed_metadata=embed_metadata,
        retry_server_errors=retry_server_errors,
        gallery=not no_gallery,
    )
    return pipeline.run(
        jobs,
        plan_options=wanted,
        options=options,
        rules=rules(policy, ignore),
        target=where,
        base_url=base_url,
        expect=expect,
        ask=(lambda plan: True) if yes else confirm,
        report=Terminal(as_json=as_json, emulator=emulator, gallery=options.gallery and not detach),
    )


def confirm(plan: Plan) -> bool:
    """Whether a person at the terminal wants what a plan says.

    :raises UsageError: there is none to ask
    """
    from seedream_jobs.diagnostics import plural
    from seedream_jobs.plan.cost import money

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "this would spend money, and there is no terminal to ask at",
            hint="run it with --yes, or rehearse it with --emulator",
        )
    question = f"Submit {plural(plan.submit, 'request')} for at most {money(plan.cost)}?"
    if click.confirm(question, err=True):
        return True
    click.echo("Nothing was submitted.", err=True)
    return False


class Terminal:
    """Shows a person at a terminal what ``run`` does.

    :param as_json: the progress as JSON Lines
    :param gallery: build the page of each job
    """

    def __init__(self, *, as_json: bool, emulator: bool, gallery: bool) -> None:
        self._as_json, self._emulator, self._gallery = as_json, emulator, gallery
        self._ending: Ending | None = None

    def plan(self, plan: Plan, left: int) -> None:
        """Show a plan, and of one that was begun what is left of it."""
        from seedream_jobs.cli.output import show_findings
        from seedream_jobs.diagnostics import plural
        from seedream_jobs.report.text import plan_text

        click.echo(plan_text(plan), nl=False)
        sys.stdout.flush()
        if plan.warnings and plan.digest is None:  # those of a saved plan were shown when it was made
            show_findings(plan.warnings, err=True)
        if left < plan.submit:
            said = f"{plan.submit - left:,} of {plural(plan.submit, 'request')} went out before, {left:,} left"
            click.echo(f"This plan was begun: {said}.", err=True)

    def progress(self, *, total: int, usd: Decimal | None, running: int) -> ProgressDisplay:
        """Draw the progress while it is entered."""
        from seedream_jobs.report.progress import ProgressDisplay

        return ProgressDisplay(progress_mode(self._as_json), total=total, usd=usd, running=running)

    def applied(self, locked: Locked, results: Sequence[JobResult], asked: Sequence[int]) -> None:
        """Build the pages."""
        from seedream_jobs.cli.errands import build_page
        from seedream_jobs.cli.result import Ending

        jobs = list(zip(locked.records, locked.ledgers, strict=True))
        parts = [(record.shown, ledger, record.paths) for record, ledger in jobs]
        self._ending = Ending.of(parts, results, self._emulator, asked)
        for record, ledger in jobs if self._gallery else ():
            self._ending.add_page(partial(build_page, record, ledger))

    def end(self) -> ExitCode:
        """Say what became of each job, and the next step."""
        return ExitCode.OK if self._ending is None else self._ending.tell()
