"""What ``run`` shares between job files and a saved plan: ask, spend, build the pages, say how it ended."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from seedream_jobs.cli.records import Record
    from seedream_jobs.cli.result import Ending
    from seedream_jobs.expand.references import Reference
    from seedream_jobs.job.files import Files
    from seedream_jobs.ledger.ledger import Ledger
    from seedream_jobs.pipeline import Target
    from seedream_jobs.run.job_run import JobRun, RunOptions
    from seedream_jobs.run.session import Access, Connection
    from seedream_jobs.run.store_image import Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """The options of ``run`` that say how, not what."""

    as_json: bool
    yes: bool
    options: RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What was shown and agreed to.

    :param requests: how many are to be submitted, of each job
    :param usd: the most they may cost; None where the price is unknown
    :param budgets: of this invocation, (whose limit, USD)
    :param jobs: each job and its held ledger
    :param references: the local references of what is to be submitted, by their ``sha256:…``
    :param duties: what is to be done, from the links of uploaded references and what is done with each image
    :param release: lets the campaign's next run begin; called once nothing more will be submitted
    """

    requests: tuple[int, ...]
    usd: Decimal | None
    budgets: tuple[tuple[str, Decimal], ...]
    jobs: tuple[tuple[Record, Ledger], ...]
    references: Callable[[], Mapping[str, tuple[Reference, Files]]]
    duties: Callable[[Mapping[str, str], Finish], list[JobRun]]
    release: Callable[[], None]


def carry_out(agreed: Agreed, *, access: Access, where: Target, how: How, stack: ExitStack) -> Ending:
    """Spend the money; what is to be told of it, once ``stack`` has folded the ledgers."""
    from seedream_jobs.cli.errands import build_page
    from seedream_jobs.cli.result import Ending
    from seedream_jobs.cli.session import go, keeping, open_tasks, progress_mode
    from seedream_jobs.report.progress import Progress
    from seedream_jobs.results.thumbnails import Decoders

    running = 0 if how.options.detach else sum(map(open_tasks, (ledger for _, ledger in agreed.jobs)))
    finishing = keeping(stack.enter_context(Decoders()), embed_metadata=how.options.embed_metadata)

    async def duties(connection: Connection) -> list[JobRun]:
        from seedream_jobs.run.preparing import hold_balance, upload

        if how.options.check_balance:
            await hold_balance(connection.client, agreed.usd)
        urls: dict[str, str] = {}
        if how.options.upload_references:
            urls = await upload(connection.client, agreed.references(), how.options.concurrency)
        return agreed.duties(urls, finishing)

    done = go(
        duties,
        access=access,
        options=how.options,
        progress=Progress(progress_mode(how.as_json), total=sum(agreed.requests), usd=agreed.usd, running=running),
        budgets=agreed.budgets,
        rehearsal=where.emulator,
        on_submitted=agreed.release,
    )
    parts = [(one.shown, ledger, one.paths) for one, ledger in agreed.jobs]
    ending = Ending.of(parts, done, where.emulator, agreed.requests)
    if how.options.gallery and not how.options.detach:
        for one, ledger in agreed.jobs:
            ending.add_page(partial(build_page, one, ledger))
    return ending


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
