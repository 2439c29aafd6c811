"""``seedream-jobs status``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from seedream_jobs.cli.options import Duration, format_option, jobs_argument, target, target_options
from seedream_jobs.cli.streams import goes_on_unheard


@click.command()
@jobs_argument
@target_options
@click.option("--offline", is_flag=True, help="Only what the manifest says; needs no key and no network.")
@click.option("--wait", is_flag=True, help="Poll until every task is done, or the deadline.")
@click.option(
    "--deadline", type=Duration(), default=1800.0, metavar="TIME", help="With --wait: poll so long.  [default: 30m]"
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
    """Poll open tasks once, and show where every request stands.

    Downloads nothing. Shows how long the links of finished images live. While a run works on a job, shows how it
    stands and asks the service nothing: the run does. Exit code 6 if a submission is in doubt, 8 if tasks or downloads
    are open.
    """
    from seedream_jobs import records
    from seedream_jobs.cli.errands import poll_once
    from seedream_jobs.cli.output import show_notes, show_status
    from seedream_jobs.errors import ExitCode, gravest
    from seedream_jobs.report.status import status_of
    from seedream_jobs.run.job_run import RunOptions

    where = target(emulator=emulator, base_url=base_url)
    if offline:
        found, never_run = records.find_started(jobs, target=where, command="status")
        show_notes(never_run)
        parts = [(one, records.read_ledger(one, command="status"), ExitCode.OK) for one in found]
    else:
        parts = poll_once(
            jobs,
            where=where,
            base_url=base_url,
            options=RunOptions(concurrency=concurrency, deadline=deadline if wait else 0.0),
            now=time.time(),
        )
    found_status = [status_of(one.shown, ledger, one.profile, time.time()) for one, ledger, _ in parts]
    show_status(found_status, form)
    if notes := [note for _, ledger, _ in parts for note in ledger.notes]:
        from seedream_jobs.cli.output import show_findings

        show_findings(notes, err=True)
    codes = [code for _, _, code in parts if code not in (ExitCode.UNFINISHED, ExitCode.FINDINGS)]
    return gravest([*codes, *(one_status.exit_code for one_status in found_status)])
