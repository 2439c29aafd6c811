"""``seedream-jobs status``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from seedream_jobs.cli.options import format_option, jobs_argument
from seedream_jobs.cli.output import show_findings, show_notes, show_status
from seedream_jobs.cli.service_options import Duration, target, target_options
from seedream_jobs.cli.streams import goes_on_unheard, say
from seedream_jobs.errors import ExitCode, gravest
from seedream_jobs.records import find_started
from seedream_jobs.report.status import status_of
from seedream_jobs.run.access import EMULATOR_PACE
from seedream_jobs.run.options import DEADLINE_SECONDS, RunOptions


@click.command()
@jobs_argument
@target_options
@click.option("--offline", is_flag=True, help="Only what the manifest says; needs no key and no network.")
@click.option("--wait", is_flag=True, help="Poll until every task is done, or the deadline.")
@click.option(
    "--deadline",
    type=Duration(),
    default=DEADLINE_SECONDS,
    metavar="TIME",
    help="With --wait: poll so long.  [default: 30m]",
)
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, metavar="N", help="Polls at once.  [default: 8]")
@format_option
@goes_on_unheard
def status(
    jobs: tuple[Path, ...],
    emulator: bool,
    base_url: str | None,
    offline: bool,
    wait: bool,
    deadline: float,
    concurrency: int,
    form: str,
) -> int:
    """Poll open tasks once, and show the state of every request.

    Downloads nothing. Shows how long the links of finished images live. While a run works on a job, shows its state and
    asks the service nothing: the run does. Exit code 6 if a submission is in doubt, 8 if tasks or downloads are open.
    """
    from seedream_jobs import open_tasks  # it imports anyio and httpx, which --help does not need

    service = target(emulator=emulator, base_url=base_url)
    records, never_run = find_started(jobs, target=service, command="status")
    show_notes(never_run)
    polled = open_tasks.poll(
        records,
        target=service,
        base_url=base_url,
        options=RunOptions(
            concurrency=concurrency,
            deadline=deadline if wait else 0.0,  # 0: one look at every task
            pace=EMULATOR_PACE if emulator else 1.0,
        ),
        offline=offline,
    )
    for job in polled:
        if job.reason is not None:
            say(f"error: {job.record.shown}: {job.reason}", err=True)
    statuses = [status_of(job.record.shown, job.ledger, job.record.profile, time.time()) for job in polled]
    show_status(statuses, form)
    if notes := [note for job in polled for note in job.ledger.notes]:
        show_findings(notes, err=True)
    # Open tasks and failures are told by the whole record, not by this look alone.
    codes = [job.exit_code for job in polled if job.exit_code not in (ExitCode.UNFINISHED, ExitCode.FINDINGS)]
    return gravest([*codes, *(one.exit_code for one in statuses)])
