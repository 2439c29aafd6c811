"""This module builds the gallery of a job: a static folder, or one file, that shows its images and opens from disk.

Called by ``gallery``, ``run`` and ``fetch``.
"""

from __future__ import annotations

from pathlib import Path

from seedream_jobs.atomic_file import check_folder, in_the_way
from seedream_jobs.errors import LedgerError
from seedream_jobs.inside import STATE_FOLDER
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.records import Record
from seedream_jobs.results.gallery.cells import collect
from seedream_jobs.results.gallery.owner import claim
from seedream_jobs.results.gallery.page import write_gallery


def build_gallery(
    record: Record,
    ledger: Ledger,
    *,
    folder: Path | None = None,
    single_file: bool = False,
    contact_sheet: Path | None = None,
    language: str | None = None,
) -> tuple[Path, ...]:
    """Write a job's gallery from its record, in the job file's order if there is one.

    :param folder: of the page; beside the images by default
    :param contact_sheet: also write this image, and further ones where it does not hold all
    :param language: of the page, such as ``zh``; that of the browser by default
    :return: ``index.html``, and the contact sheets
    :raises PageTakenError: the folder has the page of other jobs
    :raises SeedreamError: the folder can't be written to
    """
    if folder is None:
        folder = record.page
        check_folder(record.root, folder)  # by a link in the tree the page would be written anywhere
    try:
        folder.mkdir(parents=True, exist_ok=True)
        claim(folder, [record.paths.manifest], names=[record.name])
        run = collect(
            ledger,
            expansion=record.job.expansion if record.job else None,
            name=record.name,
            page=folder.resolve(),
            folder=record.paths.manifest.parent,
            root=record.root,
            cache=record.root / STATE_FOLDER / "thumbnails",
        )
        sheets: list[Path] = []
        if contact_sheet is not None:
            from seedream_jobs.results.gallery.contact_sheet import contact_sheet as draw  # it imports Pillow

            sheets = draw(run.cells, folder.resolve(), contact_sheet)
        return (write_gallery(folder, [run], single_file=single_file, language=language), *sheets)
    except OSError as error:
        if (refused := in_the_way(folder)) is not None:
            raise refused from None
        raise LedgerError(
            f"{folder} can't be written: {error.strerror or error}",
            hint="free disk space or choose another folder, then run: seedream-jobs gallery",
        ) from None
