"""This module opens the service and carries out a command's work on it, with signals, progress and pace.

Called by ``run``, ``fetch``, ``status``, ``resolve --check`` and ``doctor``. Invariant: the ledgers are locked before.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seedream_jobs.errors import PRECEDENCE, SeedreamError

if TYPE_CHECKING:
    from seedream_jobs.ledger.ledger import Ledger
    from seedream_jobs.pipeline import Target
    from seedream_jobs.plan.job import Job
    from seedream_jobs.report.progress import Mode, Progress
    from seedream_jobs.results.thumbnails import Decoders
    from seedream_jobs.run.job_run import JobResult, JobRun, RunOptions
    from seedream_jobs.run.poll import Cadence
    from seedream_jobs.run.session import Access, Connection
    from seedream_jobs.run.store_image import Finishing

JOURNAL_WAITS = 0.001
"""Seconds the journal's thread waits at most for its turn while the event loop is busy; Python's own 5 ms, up to three
times for each record, would cost a twentieth of the requests per second."""


def progress_mode(as_json: bool) -> Mode:
    """A live line for a person at a terminal, JSON Lines on demand, else, and with -v, a line now and then."""
    if as_json:
        return "json"
    verbose = click.get_current_context().find_root().params.get("verbose")
    return "live" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not verbose else "lines"


def open_tasks(ledger: Ledger) -> int:
    """How many tasks of a record are under way, and polled: they are running before anything is submitted."""
    from seedream_jobs.ledger.state import State

    return sum(1 for key in ledger.entries if (brief := ledger.brief(key)) and brief[0] is State.ACCEPTED)


def go(
    duties: Callable[[Connection], Any],
    *,
    access: Access,
    options: RunOptions,
    progress: Progress,
    budgets: tuple[tuple[str, Decimal], ...] = (),
    rehearsal: bool,
    on_submitted: Callable[[], None] = lambda: None,
) -> list[JobResult]:
    """Open the connection, listen to signals, carry out the duties.

    :param duties: an async function from the open connection to the list of duties
    :param on_submitted: called once nothing more will be submitted; polling and fetching may go on
    """
    import anyio

    from seedream_jobs.pipeline import execute
    from seedream_jobs.run.budget import Budget
    from seedream_jobs.run.rate_limiter import RateLimiter, parse_rate
    from seedream_jobs.run.session import Session, connect
    from seedream_jobs.run.shutdown import Shutdown, listen

    chance = random.Random()
    rate = parse_rate(options.rate) if options.rate else None

    async def main() -> list[JobResult]:
        shutdown = Shutdown()
        async with anyio.create_task_group() as background:
            await background.start(listen, shutdown)
            async with connect(access, workers=options.concurrency, environment=os.environ) as connection:
                session = Session(
                    service=connection.service,
                    downloads=connection.downloads,
                    limiter=RateLimiter(concurrency=options.concurrency, random=chance, rate=rate),
                    shutdown=shutdown,
                    options=replace(options, cadence=rehearsal_cadence if rehearsal else None),
                    random=chance,
                    now=time.time,
                    watcher=progress,
                    budgets=[Budget(name, limit) for name, limit in budgets],
                    retry_server_errors=options.retry_server_errors,
                    on_submitted=on_submitted,
                )
                work: list[JobRun] = await duties(connection)
                with progress:
                    done = await execute(session, work)
            background.cancel_scope.cancel()
        return done

    sys.setswitchinterval(JOURNAL_WAITS)
    try:
        return anyio.run(main, backend="asyncio")
    except BaseExceptionGroup as group:
        raise _gravest(group) from None


def _gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a group of tasks failed of: a bug before a refusal, of refusals the gravest."""
    failures: list[BaseException] = []
    for error in group.exceptions:
        failures.append(_gravest(error) if isinstance(error, BaseExceptionGroup) else error)
    refusals = [error for error in failures if isinstance(error, SeedreamError)]
    bugs = [error for error in failures if not isinstance(error, SeedreamError)]
    return bugs[0] if bugs else min(refusals, key=lambda error: PRECEDENCE.index(error.exit_code))


def keeping(decoders: Decoders, *, embed_metadata: bool) -> Callable[[Path, Path, Job | None], Finishing]:
    """What is done with each image: checked, described by a sidecar, made small for the gallery."""
    from seedream_jobs.ledger.paths import STATE_FOLDER, keep_private
    from seedream_jobs.results.keeping import Keeping
    from seedream_jobs.results.sidecar import Provenance
    from seedream_jobs.run.atomic_file import refusal

    def make(folder: Path, root: Path, job: Job | None) -> Keeping:
        try:
            keep_private(root / STATE_FOLDER)  # thumbnails will lie there
        except OSError as error:
            raise refusal(error, root / STATE_FOLDER) from error
        provenance = Provenance()
        if job is not None:
            spec = job.expansion.spec
            provenance = Provenance(
                job=str(spec.folder / job.file.name),
                template=spec.prompt.source if spec.prompt else None,
                commit=_commit(root),
            )
        return Keeping(
            decoders=decoders,
            folder=folder,
            root=root,
            cache=root / STATE_FOLDER / "thumbnails",
            now=time.time,
            provenance=provenance,
            embed_metadata=embed_metadata,
        )

    return make


def _commit(root: Path) -> str | None:
    """The commit that is checked out, None outside git."""
    import subprocess

    from seedream_jobs.job.files import git_environment

    try:
        ended = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--verify", "HEAD"],
            env=git_environment(os.environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None


EMULATOR_KEY = "emulator"
EMULATOR_DELAY = 1.0
"""Seconds that a task of the built-in emulator takes: long enough to be seen, short enough for a rehearsal."""


def open_access(where: Target, root: Path, stack: ExitStack, *, base_url: str | None) -> Access:
    """What opens the service; starts the emulator, which ``stack`` stops.

    :param root: the campaign's root
    :raises CredentialsError: there is no key
    :raises UsageError: a file is where the emulator keeps its books
    """
    from seedream_jobs.api.credentials import ApiKey, endpoint, find_endpoint, find_key, keep_out
    from seedream_jobs.run.session import Access

    if not where.emulator:
        key = find_key(os.environ, root)
        keep_out(key.reveal())
        return Access(endpoint=find_endpoint(base_url, os.environ), key=key)
    from seedream_jobs.emulator.server import EmulatorServer
    from seedream_jobs.emulator.settings import Settings
    from seedream_jobs.ledger.paths import STATE_FOLDER, in_the_way

    state = root / STATE_FOLDER / "emulator" / "service"
    if (refusal := in_the_way(state)) is not None:
        raise refusal
    settings = Settings(state=state, delay=EMULATOR_DELAY, balance=Decimal(1_000_000))
    server = stack.enter_context(EmulatorServer(settings))
    return Access(endpoint=endpoint(server.url), key=ApiKey(EMULATOR_KEY))


def rehearsal_cadence(chance: random.Random) -> Cadence:
    """When to ask the built-in emulator for a task: its tasks take a second, not forty."""
    from seedream_jobs.run.poll import Cadence

    return Cadence(chance, pace=EMULATOR_DELAY / 20)
