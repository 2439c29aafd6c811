"""``seedream-jobs gallery``."""

from __future__ import annotations

from pathlib import Path

import click

from seedream_jobs import confinement
from seedream_jobs.cli.options import limit_options
from seedream_jobs.cli.output import show_in_use
from seedream_jobs.cli.service_options import rehearsal_option, target
from seedream_jobs.cli.streams import say
from seedream_jobs.records import find_record, read_ledger
from seedream_jobs.results.gallery import build_gallery


@click.command()
@click.argument("job", type=click.Path(path_type=Path), metavar="JOB")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where to.  [default: beside the images]")
@click.option("--single-file", is_flag=True, help="One file with the thumbnails inside, for a small run.")
@click.option(
    "--contact-sheet",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also an overview: .webp or .png, in several files where one is too small.",
)
@click.option(
    "--lang", type=click.Choice(["en", "zh"]), help="The page's language.  [default: that of the browser that shows it]"
)
@rehearsal_option
@limit_options
def gallery(
    job: Path, out: Path | None, single_file: bool, contact_sheet: Path | None, lang: str | None, emulator: bool
) -> None:
    """Build the page of a job's images: a folder that opens from disk.

    JOB may be a job file or only its manifest. Needs no key and no network.
    """
    record = find_record(job, target=target(emulator=emulator, base_url=None))
    ledger = read_ledger(record, command="gallery")
    confinement.allow_images(len(ledger.entries), 0)
    show_in_use(record.shown, ledger)
    written = build_gallery(
        record, ledger, folder=out, single_file=single_file, contact_sheet=contact_sheet, language=lang
    )
    for file in written:
        say(str(file))
