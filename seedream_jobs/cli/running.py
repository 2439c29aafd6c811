"""What ``run`` does with job files: plan them under their locks, ask, spend, tell."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from seedream_jobs.cli.ending import Ending
    from seedream_jobs.cli.errand import Pacing
    from seedream_jobs.errors import ExitCode
    from seedream_jobs.pipeline import Request, Rules, Target
    from seedream_jobs.plan.jobs import JobsPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """The options of ``run`` that say how, not what."""

    pacing: Pacing
    as_json: bool
    yes: bool
    detach: bool
    upload_references: bool
    check_balance: bool
    embed_metadata: bool
    retry_server_errors: bool
    gallery: bool


def run_jobs(
    files: tuple[Path, ...], *, asked: Request, where: Target, base_url: str | None, rules: Rules, how: How
) -> ExitCode | int:
    """Plan job files and, if a person agrees, carry the plan out.

    :raises SeedreamError: whatever stands in the way, before anything is sent
    """
    from seedream_jobs import pipeline
    from seedream_jobs.cli.service import open_access
    from seedream_jobs.errors import ExitCode

    now = int(time.time())
    with ExitStack() as stack:
        loaded = pipeline.load_all(files, target=where, sets=asked.sets, rules=rules)
        access = open_access(where, loaded[0].expansion.spec.root, stack, base_url=base_url)
        held = pipeline.hold_ledgers(loaded, target=where, now=now, stack=stack)
        release = pipeline.hold_campaigns(loaded, target=where, now=now, stack=stack)
        planned = pipeline.plan(loaded, target=where, asked=asked, ledger_of=held)
        _show(planned, where.origin)
        planned.hold_budgets()
        if not planned.submit:
            release()  # what is left is polling and fetching, which no other run needs to wait for
        elif not (how.yes or where.emulator) and not confirmed(planned.submit, planned.cost):
            return ExitCode.OK
        pipeline.record_sets(planned, asked.sets, now=int(time.time()))
        ending = _carried_out(planned, access=access, where=where, how=how, stack=stack, release=release)
    return ending.tell()


def _carried_out(
    planned: JobsPlan, *, access: Any, where: Target, how: How, stack: ExitStack, release: Callable[[], None]
) -> Ending:
    """Spend the money; what is to be told of it. ``release`` lets the campaign's next run begin."""
    from seedream_jobs import pipeline
    from seedream_jobs.cli.ending import Ending
    from seedream_jobs.cli.errand import go, keeping, progress_mode
    from seedream_jobs.cli.errands import build_page
    from seedream_jobs.cli.known import known_job
    from seedream_jobs.report.progress import Progress
    from seedream_jobs.results.thumbnails import Decoders

    finishing = keeping(stack.enter_context(Decoders()), embed_metadata=how.embed_metadata)

    async def duties(connection: Any) -> Any:
        from seedream_jobs.run.preparing import hold_balance, references_of, upload

        if how.check_balance:
            await hold_balance(connection.client, planned.cost)
        urls: dict[str, str] = {}
        if how.upload_references:
            urls = await upload(connection.client, references_of(planned), how.pacing.concurrency)
        return pipeline.duties(planned, detach=how.detach, urls=urls, finishing=finishing)

    done = go(
        duties,
        access=access,
        pacing=how.pacing,
        progress=Progress(progress_mode(how.as_json), total=planned.submit, usd=planned.cost),
        budgets=planned.budgets,
        rehearsal=where.emulator,
        retry_server_errors=how.retry_server_errors,
        on_submitted=release,
    )
    parts = [(part.job.shown, part.ledger, part.job.paths) for part in planned.jobs]
    ending = Ending.of(parts, done, where.emulator)
    if how.gallery and not how.detach:
        for part in planned.jobs:
            ending.add_page(partial(build_page, known_job(part.job), part.ledger))
    return ending


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
