"""``seedream-jobs cost``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from seedream_jobs.cli.options import current_root, format_option, jobs_argument, limit_options
from seedream_jobs.cli.output import show_in_use, show_notes
from seedream_jobs.cli.service_options import rehearsal_option, target
from seedream_jobs.cli.streams import data_on_stdout, show
from seedream_jobs.errors import UsageError
from seedream_jobs.ledger.campaign import manifests
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.paths import paths_for, records_folder
from seedream_jobs.records import find_started, not_started
from seedream_jobs.report.costs import By, cost_csv, cost_json, cost_table, cost_text


@click.command()
@click.option(
    "--by",
    type=click.Choice(["job", "axis", "month", "model"]),
    default="job",
    help="A row for each job, axis value, month of submission (UTC) or model.  [default: job]",
)
@format_option("text", "json", "csv")
@rehearsal_option
@limit_options
@jobs_argument(required=False)
def cost(jobs: tuple[Path, ...], by: By, form: str, emulator: bool) -> None:
    """Show what was charged, and what counts as spent, of every record in the campaign or of these jobs.

    Reads the records as they are on disk, also of jobs whose file is gone. Needs no key and no network.

    \b
    Examples:
      seedream-jobs cost
      seedream-jobs cost garden.yaml --by axis
      seedream-jobs cost --by month --format csv
    """
    found = _named(jobs, emulator=emulator) if jobs else _all(emulator=emulator)
    for shown, ledger in found:
        show_in_use(shown, ledger)
    table = cost_table(found, by)
    if form == "text":
        show(cost_text(table, play_money=emulator))
        return
    data_on_stdout()
    show(cost_json(table, play_money=emulator) if form == "json" else cost_csv(table))


def _named(jobs: tuple[Path, ...], *, emulator: bool) -> list[tuple[str, Ledger]]:
    records, never_run = find_started(jobs, target=target(emulator=emulator, base_url=None), command="cost")
    show_notes(not_started(record, "cost").message for record in never_run)
    # A job and its manifest may both be named.
    own = {record.paths.manifest.resolve(): record for record in reversed(records)}
    return [(record.shown, Ledger.peek(record.paths, root=record.root)) for record in reversed(own.values())]


def _all(*, emulator: bool) -> list[tuple[str, Ledger]]:
    here = Path.cwd()
    root = current_root()
    top = records_folder(root, emulator=emulator)
    found = []
    for manifest in manifests(root, emulator=emulator):
        paths = paths_for(manifest, emulator_root=root if emulator else None)
        ledger = Ledger.peek(paths, root=root)
        if ledger.header is not None:
            job = root / manifest.relative_to(top).with_name(ledger.header.job)
            found.append((os.path.relpath(job, here), ledger))
    if not found:
        option = " --emulator" if emulator else ""
        only = not emulator and any(True for _ in manifests(root, emulator=True))
        hint = "the rehearsals: seedream-jobs cost --emulator" if only else f"seedream-jobs run JOB{option}"
        said = ", there are only rehearsals on the emulator" if only else ""
        raise UsageError(f"nothing was submitted in the campaign {root} yet{said}", hint=hint)
    return found
