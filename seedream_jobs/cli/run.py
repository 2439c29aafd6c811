"""``seedream-jobs run``: the command that spends money."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedream_jobs.cli.options import jobs_argument, pace_options, request_options, target, target_options
from seedream_jobs.cli.rules import rule_options
from seedream_jobs.cli.streams import goes_on_unheard

if TYPE_CHECKING:
    from seedream_jobs.pipeline import PlanOptions
    from seedream_jobs.run.job_run import RunOptions


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
    from seedream_jobs.cli.rules import rules
    from seedream_jobs.cli.running import run_jobs
    from seedream_jobs.cli.spending import How

    where = target(emulator=emulator, base_url=base_url)
    how = How(
        as_json=as_json,
        yes=yes,
        options=replace(
            options,
            detach=detach,
            upload_references=upload_references,
            check_balance=check_balance,
            embed_metadata=embed_metadata,
            retry_server_errors=retry_server_errors,
            gallery=not no_gallery,
        ),
    )
    held = rules(policy, ignore)
    if expect is not None or any(job.suffix == ".json" for job in jobs):
        from seedream_jobs.cli.saved import run_saved

        return run_saved(jobs, asked=wanted, where=where, base_url=base_url, expect=expect, rules=held, how=how)
    return run_jobs(jobs, asked=wanted, where=where, base_url=base_url, rules=held, how=how)
