"""``seedream-jobs fetch``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click

from seedream_jobs.cli.options import executor_option, jobs_argument
from seedream_jobs.cli.output import show_notes
from seedream_jobs.cli.pull import image_store
from seedream_jobs.cli.service_options import Duration, pace_options, target, target_options
from seedream_jobs.cli.streams import goes_on_unheard
from seedream_jobs.cli.terminal import Terminal
from seedream_jobs.errors import UsageError
from seedream_jobs.ledger.shards import find_shard
from seedream_jobs.records import find_started, not_started
from seedream_jobs.run.options import RunOptions


@click.command()
@target_options
@pace_options
@click.option("--verify", is_flag=True, help="Re-hash every stored image; fetch what is missing or damaged again.")
@click.option(
    "--expiring", type=Duration(), metavar="TIME", help="Only images whose links expire within TIME, such as 6h."
)
@click.option("--embed-metadata", is_flag=True, help="Put prompt and digital source type into the images (XMP).")
@click.option("--no-local", is_flag=True, help="Keep the images only in the store of the policy's shared: images.")
@click.option(
    "--shard",
    metavar="K/N",
    help="Only this share of the requests, on one of N machines; auto takes K and N from Kubernetes, Slurm or GitLab.",
)
@click.option(
    "--records",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("records"),
    metavar="DIR",
    help="Where --shard writes its record, K-of-N.jsonl, for `collect`.  [default: records]",
)
@executor_option("What downloads and decodes:")
@click.option("--no-gallery", is_flag=True, help="Do not build the gallery.")
@goes_on_unheard
@jobs_argument()
def fetch(
    jobs: tuple[Path, ...],
    emulator: bool,
    base_url: str | None,
    run_options: RunOptions,
    as_json: bool,
    verify: bool,
    expiring: float | None,
    embed_metadata: bool,
    no_local: bool,
    shard: str | None,
    records: Path,
    executor: str | None,
    no_gallery: bool,
) -> int:
    """Poll open tasks and download what is done. Submits nothing.

    JOB may be a job file or only its manifest, such as on another machine. Running it again downloads only what is
    missing. Exit code 8 if tasks are still open at the deadline.

    With --shard several machines share the work of one JOB: each needs the manifest, and leaves it as it is.

    \b
    Examples:
      seedream-jobs fetch garden.yaml
      seedream-jobs fetch garden.yaml --verify
      seedream-jobs fetch garden.yaml --shard 1/2
    """
    from seedream_jobs import open_tasks  # it imports anyio and httpx, which --help does not need

    share = None if shard is None else find_shard(shard, os.environ)
    report = Terminal(
        as_json=as_json, emulator=emulator, gallery=share is None and not no_gallery, shard=share, submits=False
    )
    service = target(emulator=emulator, base_url=base_url)
    found, never_run = find_started(jobs, target=service, command="fetch")
    if share is not None and len(found) > 1:
        raise UsageError("--shard divides one job", hint="name one, with a folder for its records: --records DIR")
    show_notes(not_started(record, "fetch").message for record in never_run)
    return open_tasks.fetch(
        found,
        target=service,
        stores=[image_store(record.root, service, needed="--no-local" if no_local else "") for record in found],
        base_url=base_url,
        options=replace(run_options, embed_metadata=embed_metadata, local=not no_local),
        verify=verify,
        expiring=expiring,
        report=report,
        executor=executor or "local",
        shard=share,
        shards=records,
    )
