"""This module builds the gallery of jobs: a static folder, or one file, that shows their images and opens from disk.

Called by ``gallery``, ``run`` and ``fetch``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from seedream_jobs.atomic_file import check_folder, in_the_way
from seedream_jobs.errors import LedgerError
from seedream_jobs.inside import STATE_FOLDER
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.plans.load import EMULATOR_ORIGIN
from seedream_jobs.records import Record
from seedream_jobs.results.gallery.cells import GalleryRun, ImageFiles, collect, with_orphans, without_paired_axes
from seedream_jobs.results.gallery.owner import claim
from seedream_jobs.results.gallery.page import Live, write_gallery

if TYPE_CHECKING:
    from seedream_jobs.results.compare import ComparedJob

_LONGEST = 60
"""Characters of a folder that is named after several jobs."""


def page_of(records: Sequence[Record]) -> Path:
    """The folder of the page of these jobs: of one beside its images, of several beside that of the first."""
    first, *others = records
    if not others:
        return first.page
    name = "+".join(record.name for record in records)
    if len(name) > _LONGEST:
        name = f"{first.name[:_LONGEST]}+{len(others)}"
    return first.paths.manifest.parent / "out" / name / "gallery"


def build_gallery(
    jobs: Sequence[tuple[Record, Ledger]],
    *,
    folder: Path | None = None,
    single_file: bool = False,
    contact_sheet: Path | None = None,
    language: str | None = None,
    orphans: bool = False,
    compared: ComparedJob | None = None,
    live: Live | None = None,
) -> tuple[Path, ...]:
    """Write one page of jobs from their records, each in its job file's order if there is one.

    :param folder: of the page; ``page_of`` the jobs by default
    :param contact_sheet: also write this image, and further ones where it does not hold all
    :param language: of the page, such as ``zh``; that of the browser by default
    :param orphans: also show the images that a job file no longer makes
    :param compared: what became of the requests of the first of two jobs in the second
    :param live: of a run that is under way
    :return: ``index.html``, and the contact sheets
    :raises PageTakenError: the folder has the page of other jobs
    :raises SeedreamError: the folder can't be written to
    """
    records = [record for record, _ in jobs]
    if folder is None:
        folder = page_of(records)
        check_folder(records[0].root, folder)  # by a link in the tree the page would be written anywhere
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        claim(folder, [record.paths.manifest for record in records], names=[record.name for record in records])
        runs: list[GalleryRun] = []
        for record, ledger in jobs:
            alone = [one.name for one in records].count(record.name) == 1
            title = (record.name if alone else record.shown) if len(jobs) > 1 else ""
            runs += _runs(record, ledger, folder.resolve(), title, orphans=orphans)
        runs = without_paired_axes(runs if compared is None else compared.marked(*runs))
        sheets: list[Path] = []
        if contact_sheet is not None:
            from seedream_jobs.results.gallery.contact_sheet import contact_sheet as draw  # it imports Pillow

            present = [cell for run in runs for cell in run.cells if not cell.earlier]
            sheets = draw(present, folder.resolve(), contact_sheet)
        index = write_gallery(folder, runs, single_file=single_file, language=language, live=live)
        return (index, *sheets)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """While it is entered a page is written: what the disk says becomes a refusal.

    :raises SeedreamError: the folder can't be written to
    """
    try:
        yield
    except OSError as error:
        if (refused := in_the_way(folder)) is not None:
            raise refused from None
        raise LedgerError(
            f"{folder} can't be written: {error.strerror or error}",
            hint="free disk space or choose another folder, then run: seedream-jobs gallery",
        ) from None


def _runs(record: Record, ledger: Ledger, page: Path, title: str, *, orphans: bool) -> list[GalleryRun]:
    expansion, name, root = record.job.expansion if record.job else None, record.name, record.root
    files = ImageFiles(page, record.paths.manifest.parent, root / STATE_FOLDER / "thumbnails", root)
    play = ledger.header is not None and ledger.header.origin == EMULATOR_ORIGIN
    run = collect(ledger.entries, expansion=expansion, name=name, root=root, files=files, title=title, play_money=play)
    return with_orphans(run, ledger.entries, files, root) if orphans and expansion is not None else [run]
