"""``seedream-jobs status``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from seedream_jobs.cli.options import FORMATS, format_option, jobs_argument, policy_option, rules
from seedream_jobs.cli.output import show_findings, show_notes, show_status
from seedream_jobs.cli.service_options import Duration, target, target_options
from seedream_jobs.cli.streams import goes_on_unheard, say
from seedream_jobs.errors import ExitCode, UsageError, gravest
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.plans.load import Rules
from seedream_jobs.records import Record, find_started, not_started
from seedream_jobs.report.status import status_of
from seedream_jobs.results.selections import find_unchosen
from seedream_jobs.run.access import EMULATOR_PACE
from seedream_jobs.run.options import DEADLINE_SECONDS, RunOptions


@click.command()
@target_options
@click.option("--offline", is_flag=True, help="Only what the manifest says; needs no key and no network.")
@click.option("--shared", is_flag=True, help="Ask the store of the policy's shared: what other runners have claimed.")
@click.option("--wait", is_flag=True, help="Poll until every task is done, or the deadline.")
@click.option(
    "--deadline",
    type=Duration(),
    default=DEADLINE_SECONDS,
    metavar="TIME",
    help="With --wait: poll so long.  [default: 30m]",
)
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, metavar="N", help="Polls at once.  [default: 8]")
@click.option(
    "--require-chosen",
    is_flag=True,
    help="Exit code 9 where a group of the job's select: lacks its one chosen image, with enough approvals.",
)
@policy_option
@format_option(*FORMATS)
@goes_on_unheard
@jobs_argument()
def status(
    jobs: tuple[Path, ...],
    emulator: bool,
    base_url: str | None,
    offline: bool,
    shared: bool,
    wait: bool,
    deadline: float,
    concurrency: int,
    require_chosen: bool,
    policy: Path | None,
    form: str,
) -> int:
    """Poll open tasks once, and show the state of every request.

    Downloads nothing. Shows how long the links of finished images live. While a run works on a job, shows its state and
    asks the service nothing: the run does. Exit code 6 if a submission is in doubt, 8 if tasks or downloads are open,
    9 if images are to be chosen.

    \b
    Examples:
      seedream-jobs status garden.yaml
      seedream-jobs status garden.yaml --offline --format json
    """
    from seedream_jobs import open_tasks  # it imports anyio and httpx, which --help does not need

    if policy is not None and offline and not require_chosen:
        raise click.UsageError("--policy and --offline exclude each other, but for --require-chosen")
    if shared and offline:
        raise click.UsageError("--shared and --offline exclude each other")
    checked = rules(policy, ())
    service = target(emulator=emulator, base_url=base_url)
    records, never_run = find_started(jobs, target=service, command="status")
    show_notes(not_started(record, "status").message for record in never_run)
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
        rules=checked,
        shared=shared,
    )
    for job in polled:
        if job.reason is not None:
            say(f"error: {job.record.shown}: {job.reason}", err=True)
    statuses = [status_of(job.record.shown, job.ledger, job.record.profile, time.time()) for job in polled]
    if require_chosen:
        for job, one in zip(polled, statuses, strict=True):
            one.unchosen = _unchosen(job.record, job.ledger.entries, checked)
    show_status(statuses, form)
    if notes := [note for job in polled for note in job.ledger.notes]:
        show_findings(notes, err=True)
    # Open tasks and failures are told by the whole record, not by this look alone.
    codes = [job.exit_code for job in polled if job.exit_code not in (ExitCode.UNFINISHED, ExitCode.FINDINGS)]
    if require_chosen and any(record.job and record.job.expansion.spec.select for record in never_run):
        codes.append(ExitCode.NOT_CHOSEN)
    return gravest([*codes, *(one.exit_code for one in statuses)])


def _unchosen(record: Record, entries: Entries, checked: Rules) -> list[tuple[str, str]]:
    """The groups of a job that lack a chosen image, and why.

    :raises UsageError: there is no job file that says which groups there are
    """
    if record.job is None:
        raise UsageError(
            f"--require-chosen needs the job file of {record.shown}, without findings",
            hint=f"seedream-jobs validate {shell_word(record.shown)}",
        )
    if record.job.expansion.spec.select is None:
        say(f"{record.shown}: no select:, so no image has to be chosen", err=True)
    return find_unchosen(record.job, entries, checked.policy_of(record.root))
