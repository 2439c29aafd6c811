"""``seedream-jobs run``: the command that spends money."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedream_jobs.cli.errand import pace_options
from seedream_jobs.cli.listeners import goes_on_unheard
from seedream_jobs.cli.options import asked, jobs_argument, request_options, set_option, target, target_options
from seedream_jobs.cli.rules import rule_options

if TYPE_CHECKING:
    from seedream_jobs.plan.jobs import JobsPlan


@click.command()
@jobs_argument
@set_option
@request_options
@rule_options
@target_options
@pace_options
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
    concurrency: int,
    rate: str | None,
    deadline: float,
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
    from seedream_jobs.cli.ending import Ending
    from seedream_jobs.cli.errand import Pacing, go, keeping, progress_mode
    from seedream_jobs.cli.errands import build_page
    from seedream_jobs.cli.known import known_job
    from seedream_jobs.cli.rules import rules
    from seedream_jobs.cli.service import open_access
    from seedream_jobs.errors import ExitCode
    from seedream_jobs.report.progress import Progress
    from seedream_jobs.results.thumbnails import Decoders
    from seedream_jobs.run.pacing import parse_rate

    if rate:
        parse_rate(rate)
    wanted = asked(
        sets=sets, select=select, limit=limit, retry_failed=retry_failed, again=again, price=price, budget=budget
    )
    where = target(emulator=emulator, base_url=base_url)
    if expect is not None or any(job.suffix == ".json" for job in jobs):
        from seedream_jobs.cli.saved import How, run_saved

        return run_saved(
            jobs,
            asked=wanted,
            where=where,
            base_url=base_url,
            expect=expect,
            rules=rules(policy, ignore),
            how=How(
                pacing=Pacing(concurrency=concurrency, rate=rate, deadline=deadline),
                as_json=as_json,
                yes=yes,
                detach=detach,
                upload_references=upload_references,
                check_balance=check_balance,
                embed_metadata=embed_metadata,
                retry_server_errors=retry_server_errors,
                gallery=not no_gallery,
            ),
        )
    with ExitStack() as stack:
        loaded = pipeline.load_all(jobs, target=where, sets=wanted.sets, rules=rules(policy, ignore))
        access = open_access(where, loaded[0].expansion.spec.root, stack, base_url=base_url)
        held = pipeline.hold_ledgers(loaded, target=where, now=int(time.time()), stack=stack)
        release = pipeline.hold_campaigns(loaded, target=where, now=int(time.time()), stack=stack)
        planned = pipeline.plan(loaded, target=where, asked=wanted, ledger_of=held)
        _show(planned, where.origin)
        planned.hold_budgets()
        if not planned.submit:
            release()  # what is left is polling and fetching, which no other run needs to wait for
        if planned.submit and not (yes or emulator) and not confirmed(planned.submit, planned.cost):
            return ExitCode.OK
        pipeline.record_sets(planned, wanted.sets, now=int(time.time()))
        decoders = stack.enter_context(Decoders())
        progress = Progress(progress_mode(as_json), total=planned.submit, usd=planned.cost)

        async def duties(connection: object) -> object:
            from seedream_jobs.run.preparing import hold_balance, references_of, upload

            assert hasattr(connection, "client")
            if check_balance:
                await hold_balance(connection.client, planned.cost)
            urls = await upload(connection.client, references_of(planned), concurrency) if upload_references else {}
            return pipeline.duties(
                planned, detach=detach, urls=urls, finishing=keeping(decoders, embed_metadata=embed_metadata)
            )

        done = go(
            duties,
            access=access,
            pacing=Pacing(concurrency=concurrency, rate=rate, deadline=deadline),
            progress=progress,
            budgets=planned.budgets,
            rehearsal=emulator,
            retry_server_errors=retry_server_errors,
        )
        ending = Ending.of([(part.job.shown, part.ledger, part.job.paths) for part in planned.jobs], done, emulator)
        if not detach and not no_gallery:
            for part in planned.jobs:
                ending.add_page(partial(build_page, known_job(part.job), part.ledger))
    return ending.tell()


def _show(planned: JobsPlan, origin: str) -> None:
    from seedream_jobs.cli.talk import flush_stdout, show_findings
    from seedream_jobs.plan.drafting import document_of
    from seedream_jobs.report.text import plan_text

    click.echo(plan_text(document_of(planned, origin=origin)), nl=False)
    flush_stdout()
    warnings = [warning for part in planned.jobs for warning in part.summary.warnings]
    if warnings:
        show_findings(warnings, err=True)


def confirmed(requests: int, usd: Decimal | None) -> bool:
    """Whether a person at the terminal wants it.

    :raises UsageError: there is none to ask
    """
    from seedream_jobs.errors import UsageError
    from seedream_jobs.plan.cost import money
    from seedream_jobs.report.text import plural

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "this would spend money, and there is no terminal to ask at",
            hint="run it with --yes, or rehearse it with --emulator",
        )
    question = f"Submit {plural(requests, 'request')} for at most {money(usd)}?"
    if click.confirm(question, err=True):
        return True
    click.echo("Nothing was submitted.", err=True)
    return False
