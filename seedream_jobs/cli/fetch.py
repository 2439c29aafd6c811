"""``seedream-jobs fetch``."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedream_jobs.cli.options import Duration, jobs_argument, pace_options, target, target_options
from seedream_jobs.cli.streams import goes_on_unheard

if TYPE_CHECKING:
    from seedream_jobs.run.job_run import RunOptions


@click.command()
@jobs_argument
@target_options
@pace_options
@click.option("--verify", is_flag=True, help="Re-hash every stored image; fetch what is missing or damaged again.")
@click.option(
    "--expiring", type=Duration(), metavar="TIME", help="Only images whose links die within this time, such as 6h."
)
@click.option("--embed-metadata", is_flag=True, help="Put prompt and digital source type into the images (XMP).")
@click.option("--no-gallery", is_flag=True, help="Leave the page as it is.")
@goes_on_unheard
def fetch(
    jobs: tuple[Path, ...],
    emulator: bool,
    base_url: str | None,
    options: RunOptions,
    as_json: bool,
    verify: bool,
    expiring: float | None,
    embed_metadata: bool,
    no_gallery: bool,
) -> int:
    """Poll open tasks and download what is done. Submits nothing.

    JOB may be a job file or only its manifest, such as on another machine. Running it again downloads only what is
    missing. Exit code 8 if tasks are still open at the deadline.
    """
    from seedream_jobs.cli.errands import fetch_jobs

    return fetch_jobs(
        jobs,
        where=target(emulator=emulator, base_url=base_url),
        base_url=base_url,
        options=options,
        as_json=as_json,
        verify=verify,
        expiring=expiring,
        embed_metadata=embed_metadata,
        gallery=not no_gallery,
        now=time.time,
        stack=ExitStack(),
    )
