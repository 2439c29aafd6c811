"""``seedream-jobs choose``: what people chose in the gallery becomes a file under version control."""

from __future__ import annotations

from pathlib import Path

import click

from seedream_jobs.cli.options import limit_options
from seedream_jobs.cli.output import show_notes
from seedream_jobs.cli.ratings import read_exported, writing
from seedream_jobs.cli.service_options import rehearsal_option, target
from seedream_jobs.cli.streams import say
from seedream_jobs.records import find_record, read_ledger
from seedream_jobs.results.selections import SELECTIONS, apply_choices


@click.command()
@click.argument("job", type=click.Path(path_type=Path), metavar="JOB")
@click.argument("exported", type=click.Path(path_type=Path), metavar="RATINGS.JSON")
@rehearsal_option
@limit_options
def choose(job: Path, exported: Path, emulator: bool) -> None:
    """Merge the choices of exported ratings into selections/<job>.yaml.

    RATINGS.JSON comes from the gallery, where each image can be chosen or rejected, with a reason. The file names each
    image by its bytes, and who chose it; it is committed and reviewed like a job file. Buys nothing, and needs no key
    and no network.

    \b
    Examples:
      seedream-jobs choose garden.yaml ratings.json
    """
    data = read_exported(exported)
    record = find_record(job, target=target(emulator=emulator, base_url=None))
    ledger = read_ledger(record, command="choose")
    with writing(record.root / SELECTIONS):
        done = apply_choices(data, record, ledger.entries)
    say(str(done.file))
    show_notes(done.notes)
