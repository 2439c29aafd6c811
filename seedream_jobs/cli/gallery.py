"""``seedream-jobs gallery``."""

from __future__ import annotations

from pathlib import Path

import click

from seedream_jobs import confinement
from seedream_jobs.cli.compare import compared_revisions
from seedream_jobs.cli.options import jobs_argument, limit_options
from seedream_jobs.cli.output import show_in_use
from seedream_jobs.cli.service_options import rehearsal_option, target
from seedream_jobs.cli.streams import say
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.records import Record, find_record, read_ledger
from seedream_jobs.results.compare import ComparedJob, write_comparison
from seedream_jobs.results.gallery import build_gallery


@click.command()
@jobs_argument
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to.  [default: beside the images; of several jobs out/A+B/gallery; with --base gallery-base]",
)
@click.option("--base", metavar="REV", help="Show the work tree beside the commit that it began from this branch at.")
@click.option("--with-orphans", is_flag=True, help="Also images of earlier prompts, which the job no longer makes.")
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
    jobs: tuple[Path, ...],
    out: Path | None,
    base: str | None,
    with_orphans: bool,
    single_file: bool,
    contact_sheet: Path | None,
    lang: str | None,
    emulator: bool,
) -> None:
    """Build the page of a job's images: a folder that opens from disk.

    JOB may be a job file or only its manifest. Several are shown on one page; two are held against each other. A page
    is never written over that of other jobs. Needs no key and no network.
    """
    if base is not None:
        if with_orphans or contact_sheet is not None or emulator:
            raise click.UsageError("--base goes without --with-orphans, --contact-sheet and --emulator")
        with compared_revisions(jobs, base=base, head=None) as (revisions, changes):
            index = write_comparison(changes, revisions, folder=out, single_file=single_file, language=lang)
        say(str(index))
        return
    found: dict[Path, tuple[Record, Ledger]] = {}
    for job in jobs:
        record = find_record(job, target=target(emulator=emulator, base_url=None))
        ledger = read_ledger(record, command="gallery")
        confinement.allow_images(len(ledger.entries), 0)
        show_in_use(record.shown, ledger)
        found.setdefault(record.paths.manifest, (record, ledger))  # a job file and its manifest are one job
    compared = None
    if len(found) == 2 and not with_orphans:
        (was, then), (head, now) = found.values()
        if was.job is not None and head.job is not None:
            compared = ComparedJob(head.shown, head=head.job, base=was.job, now=now.entries, then=then.entries, note="")
    written = build_gallery(
        list(found.values()),
        folder=out,
        single_file=single_file,
        contact_sheet=contact_sheet,
        language=lang,
        orphans=with_orphans,
        compared=compared,
    )
    for file in written:
        say(str(file))
