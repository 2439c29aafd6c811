"""``seedream-jobs gallery``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from seedream_jobs import confinement
from seedream_jobs.cli.compare import compared_revisions, store_of_base
from seedream_jobs.cli.options import executor_option, jobs_argument, limit_options
from seedream_jobs.cli.output import show_in_use, show_notes
from seedream_jobs.cli.pull import image_store
from seedream_jobs.cli.service_options import rehearsal_option, target
from seedream_jobs.cli.streams import say
from seedream_jobs.diagnostics import plural
from seedream_jobs.errors import ExitCode, UsageError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.plans.load import Target, load_job
from seedream_jobs.plans.options import last_sets
from seedream_jobs.records import Record, as_last_run, find_record, not_started
from seedream_jobs.results.compare import ComparedJob, write_comparison
from seedream_jobs.results.engines import Engine, parse_engine
from seedream_jobs.results.gallery import build_gallery
from seedream_jobs.results.gallery.cells import PLACEHOLDERS
from seedream_jobs.results.missing_thumbnails import make_thumbnails, without_thumbnail

NAMED = 5
"""How many of the images that can't be read are named."""


@click.command()
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
@click.option("--open", "open_it", is_flag=True, help="Show the page in the browser.")
@executor_option("Make the thumbnails that are missing, such as after a clone, by")
@rehearsal_option
@limit_options
@jobs_argument()
def gallery(
    jobs: tuple[Path, ...],
    out: Path | None,
    base: str | None,
    with_orphans: bool,
    single_file: bool,
    contact_sheet: Path | None,
    lang: str | None,
    open_it: bool,
    executor: str | None,
    emulator: bool,
) -> int:
    """Build the page of a job's images: a folder that opens from disk.

    JOB may be a job file or only its manifest. Several are shown on one page; two are held against each other. A page
    is never written over that of other jobs. A job that was never run has a page of placeholders; the page of a run
    under way fills by itself. Needs no key, and no network but for thumbnails of images that are only in the store of
    the policy's shared: images; exit code 8 if some of these can't be read.

    \b
    Examples:
      seedream-jobs gallery garden.yaml --open
      seedream-jobs gallery garden.yaml meadow.yaml
      seedream-jobs gallery garden.yaml --contact-sheet sheet.webp
    """
    if base is not None:
        if with_orphans or contact_sheet is not None or emulator:
            raise click.UsageError("--base goes without --with-orphans, --contact-sheet and --emulator")
        with (
            compared_revisions(jobs, base=base, head=None) as (revisions, changes),
            store_of_base(revisions) as store,
        ):
            index = write_comparison(
                changes, revisions, folder=out, single_file=single_file, language=lang, store=store
            )
        say(str(index))
        if open_it:
            _open(index)
        return ExitCode.OK
    service = target(emulator=emulator, base_url=None)
    found: dict[Path, tuple[Record, Ledger]] = {}
    for job in jobs:
        record, ledger = _read(job, service)
        found.setdefault(record.paths.manifest, (record, ledger))  # a job file and its manifest are one job
    with Engine(parse_engine(executor or "local")) as engine:
        missing = [
            (record.shown, one)
            for record, ledger in found.values()
            for one in _make_missing(record, ledger, service, engine, on_disk=executor is not None)
        ]
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
    if open_it:
        _open(written[0])
    if not missing:
        return ExitCode.OK
    say(f"error: {plural(len(missing), 'image')} without a thumbnail: in the store, and not to be had", err=True)
    for _, (name, why) in missing[:NAMED]:
        say(f"    {name}  {why}", err=True)
    jobs_again = " ".join(shell_word(shown) for shown in dict.fromkeys(shown for shown, _ in missing))
    say(f"  see that the store can be reached, then: seedream-jobs gallery {jobs_again}", err=True)
    return ExitCode.UNFINISHED


def _make_missing(
    record: Record, ledger: Ledger, service: Target, engine: Engine, *, on_disk: bool
) -> list[tuple[str, str]]:
    """Make the thumbnails that are missing; of images that are only in the store, which can't be made, and why.

    :param on_disk: those of images on disk, too
    """
    here = list(without_thumbnail(record, ledger, on_disk=True)) if on_disk else []
    for file, why in make_thumbnails(here, record, engine):
        say(f"{record.shown}: no thumbnail of {file}: {why}", err=True)
    apart = [image for image in without_thumbnail(record, ledger, on_disk=False) if image.object is not None]
    return make_thumbnails(apart, record, engine, image_store(record.root, service)) if apart else []


def _read(named: Path, service: Target) -> tuple[Record, Ledger]:
    """A job as its last run read it, and its ledger as it is on the disk now.

    :raises FindingsError: it was never run, and its file has errors
    """
    record = find_record(named, target=service)
    ledger = Ledger.peek(record.paths, root=record.root)
    record = as_last_run(record, last_sets(ledger.plans.values()), target=service)
    if ledger.header is None:
        if record.job is None:
            load_job(named, shown=str(named), target=service, sets={})
        never_run = not_started(record, "gallery")
        show_notes(filter(None, [never_run.message, never_run.hint and f"  {never_run.hint}"]))
    expected = record.job.expansion.total() if record.job else 0
    confinement.allow_images(max(len(ledger.entries), min(expected, PLACEHOLDERS)), 0)
    show_in_use(record.shown, ledger)
    return record, ledger


def _open(page: Path) -> None:
    """Show a page in the browser of the person at the screen.

    :raises UsageError: there is no screen, or no browser
    """
    import webbrowser  # it looks for every browser that it knows

    hint = f"open it where there is a browser: {page.resolve().as_uri()}"
    screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if not screen:
        raise UsageError(f"there is no display to show {page} on", hint=hint)
    confinement.lift()  # the browser is no part of this command
    if not webbrowser.open(page.resolve().as_uri()):
        raise UsageError(f"no browser took {page}", hint=hint)
