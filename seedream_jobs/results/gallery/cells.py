"""This module turns a ledger, and its job if there is one, into the cells that a gallery shows.

Called by ``build_gallery``, before ``page`` or ``contact_sheet`` draws them. Invariant: the values are plain; drawing
them needs neither the ledger nor the job.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from seedream_jobs.atomic_file import check_folder, confined, link_or_copy
from seedream_jobs.errors import UsageError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.job.document import spoken
from seedream_jobs.job.files import WorkTree
from seedream_jobs.job.spec import SelectRule
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import Entry, Image, State, charged_usd, in_shares, spent_usd
from seedream_jobs.plan.load import EMULATOR_ORIGIN
from seedream_jobs.results.ratings import NO_OPINION, Opinion, read_review
from seedream_jobs.results.selections import Verdict, read_selection
from seedream_jobs.results.thumbnails import thumbnail_path

PLACEHOLDERS = 20_000
"""At most so many unsent requests are on the page, which says how many more there are: a browser does not cope with a
million cells."""

_NOT_IN_PATHS = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryCell:
    """One image slot of one request, or its placeholder while there is no image.

    :param key: the request's identity; with ``index`` it is what a rating belongs to
    :param address: for people, such as ``garden/subject=a-heron,size=16-9#1``
    :param axes: axis name to the label of its value, in axis order; an axis a cell lacks is left out
    :param repeat: the request's repeat number, from 1
    :param index: the image's number within the request, from 1
    :param state: a ledger state (``new``, ``accepted``, ``stored``, …), a word of a plan (``planned``), or
        ``not_delivered`` for an image that is missing from a stored group
    :param payload: what is sent; ``prompt`` may be among it and is shown once
    :param image: the whole image, a POSIX path relative to the page's folder, not percent-encoded
    :param thumbnail: a small image, likewise
    :param width: pixels
    :param height: pixels
    :param cost_usd: what this slot cost, in USD
    :param submitted_at: Unix seconds
    :param opinion: what all reviewers think of the image, as the page has it (``Opinion``); None where nobody spoke
    :param choice: whether it was chosen or rejected, likewise: ``verdict``, ``by`` and ``why``
    """

    key: str
    address: str
    axes: Mapping[str, str] = field(default_factory=dict)
    repeat: int = 1
    index: int = 1
    state: str = "planned"
    prompt: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    image: str | None = None
    thumbnail: str | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    task_id: str | None = None
    cost_usd: Decimal | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    submitted_at: int | None = None
    opinion: Mapping[str, Any] | None = None
    choice: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryRun:
    """A job at one moment. A page may show two, to compare them.

    :param name: the job's name; ratings are filed under it
    :param title: distinguishes runs of one job, such as a revision; the name if it is empty
    :param axes: axis name to the labels of its values, both in the job's order
    :param left_out: unsent requests that have no cell
    :param charged_usd: what the service said it charged, in USD
    :param reserved_usd: what else counts as spent: submissions whose cost is not known yet
    :param play_money: on the emulator, where nothing is paid
    :param select: which images are to be chosen; None where the job does not say
    """

    name: str
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cells: Sequence[GalleryCell] = ()
    left_out: int = 0
    select: SelectRule | None = None
    title: str = ""
    charged_usd: Decimal | None = None
    reserved_usd: Decimal | None = None
    play_money: bool = False


def href(path: str, *, up: int = 0) -> str:
    """A relative path as a URL reference.

    Every character that could begin a scheme, a host, a query or a fragment is percent-encoded, so that the reference
    can't leave the page's own files.

    :param up: how many folders below the page's folder the reference stands
    :raises ValueError: for an absolute path, a backslash or a control character
    """
    if not path or path.startswith("/") or _NOT_IN_PATHS.search(path):
        raise ValueError(f"not a path relative to the page: {path!r}")
    return "../" * up + quote(path, safe="/-._~", errors="surrogateescape")


def collect(
    ledger: Ledger, *, expansion: Expansion | None, name: str, page: Path, folder: Path, cache: Path, root: Path
) -> GalleryRun:
    """One job at this moment: in the job file's order, or without a job file in the manifest's.

    :param page: the page's folder, to which the paths of images are made relative
    :param folder: the manifest's folder
    :param cache: where thumbnails lie
    :param root: the campaign's, which no image lies outside of
    """
    files = ImageFiles(page, folder, cache, root)
    found, left_out = _cells_of_job(ledger, expansion, files) if expansion else (_cells_of_record(ledger, files), 0)
    paired = _paired_axes(found)
    cells = [replace(cell, axes={n: label for n, label in cell.axes.items() if n not in paired}) for cell in found]
    cells = _judged(cells, name, root)
    entries = [ledger.entries[key] for key in ledger.entries]
    charged = sum((charged_usd(entry) or Decimal(0) for entry in entries), start=Decimal(0))
    spent = sum((spent_usd(entry, Decimal(0)) or Decimal(0) for entry in entries), start=Decimal(0))
    return GalleryRun(
        name=name,
        axes={name: labels for name, labels in _axes(expansion, cells).items() if name not in paired},
        cells=cells,
        left_out=left_out,
        select=expansion.spec.select if expansion else None,
        charged_usd=charged or None,
        reserved_usd=spent - charged if spent > charged else None,
        play_money=ledger.header is not None and ledger.header.origin == EMULATOR_ORIGIN,
    )


def _judged(cells: list[GalleryCell], name: str, root: Path) -> list[GalleryCell]:
    """The cells with what people said of their images.

    :raises SeedreamError: the job's review or its selection can't be read
    """
    files = WorkTree(root)
    review, selection = read_review(files, name, root=root), read_selection(files, name, root=root)
    opinions, verdicts = review.merged(), {} if selection is None else selection.verdicts()
    former = review.former({cell.sha256 for cell in cells if cell.sha256})
    judged = []
    for cell in cells:
        opinion, verdict = opinions.get(cell.sha256 or ""), verdicts.get(cell.sha256 or "")
        if others := former[cell.address]:
            opinion = replace(opinion or NO_OPINION, former=others)
        if opinion is not None:
            cell = replace(cell, opinion=_opinion_values(opinion))
        if verdict is not None:
            cell = replace(cell, choice=_choice_values(verdict))
        judged.append(cell)
    return judged


def _opinion_values(opinion: Opinion) -> dict[str, Any]:
    values: dict[str, Any] = {
        "rating": opinion.rating,
        "ratings": opinion.ratings,
        "stars": opinion.stars,
        "wins": opinion.wins,
        "votes": opinion.votes,
        "notes": [{"reviewer": reviewer, "note": note} for reviewer, note in opinion.notes],
        "former": opinion.former,
    }
    return {name: value for name, value in values.items() if value}


def _choice_values(verdict: Verdict) -> dict[str, Any]:
    return {"verdict": verdict.said, "by": verdict.by, **({"why": verdict.why} if verdict.why else {})}


class ImageFiles:
    """Turns a recorded file into paths relative to the page."""

    def __init__(self, page: Path, folder: Path, cache: Path, root: Path) -> None:
        self.page, self.folder, self.cache, self.root = page, folder, cache, root

    def image(self, image: Image | None) -> str | None:
        if image is None or image.file is None:
            return None
        try:
            file = confined(self.root, self.folder, image.file)
        except UsageError:  # a record may be a stranger's
            return None
        return self._relative(self.folder / image.file) if file.is_file() and not file.is_symlink() else None

    def thumbnail(self, image: Image | None) -> str | None:
        if image is None or image.sha256 is None:
            return None
        made = thumbnail_path(self.cache, image.sha256)
        if made.is_symlink() or not made.is_file():
            return None
        own = self.page / "thumbnails" / made.name  # the page is a folder that can be handed on, cache and all
        if own.is_symlink() or not own.exists():
            check_folder(self.page, own.parent)
            link_or_copy(made, own)
        return self._relative(own)

    def _relative(self, file: Path) -> str:
        return Path(os.path.relpath(file, self.page)).as_posix()


def _cells_of_job(ledger: Ledger, expansion: Expansion, files: ImageFiles) -> tuple[list[GalleryCell], int]:
    """The job file's requests in its order, sent or not, without those that are only in the manifest.

    The number is how many unsent ones are left out.
    """
    cells: list[GalleryCell] = []
    planned = 0
    for at in expansion.places():
        entry = ledger.entries.entry_of(at.key)
        if entry is not None:
            cells += cells_of_entry(entry, files, labels=expansion.matrix.labels(at.cell))
            continue
        planned += 1
        if planned <= PLACEHOLDERS:
            request = expansion.request(at)
            cells.append(
                GalleryCell(
                    key=request.key,
                    address=request.address,
                    axes={name: spoken(label) for name, label in request.cell.items()},
                    repeat=request.repeat,
                    prompt=str(request.payload["prompt"]),
                    payload=request.payload,
                )
            )
    return cells, max(0, planned - PLACEHOLDERS)


def _cells_of_record(ledger: Ledger, files: ImageFiles) -> list[GalleryCell]:
    entries = map(ledger.entries.__getitem__, ledger.entries)
    return [cell for entry in entries for cell in cells_of_entry(entry, files, labels=entry.cell)]


def cells_of_entry(entry: Entry, files: ImageFiles, *, labels: Mapping[str, Any]) -> Iterator[GalleryCell]:
    """A cell for each image of a request, with its share of the cost; one cell if there is no image yet."""
    images: tuple[Image | None, ...] = entry.images or (None,)
    cost = charged_usd(entry)
    # An image that never came is not charged. Where none came, the first slot bears the cost.
    paid = [index for index, image in enumerate(images, 1) if image is None or image.error is None] or [1]
    shares = {} if cost is None else dict(zip(paid, in_shares(cost, len(paid)), strict=True))
    error = entry.error.message if entry.error else None
    for index, image in enumerate(images, 1):
        yield GalleryCell(
            key=entry.key,
            address=entry.address,
            axes={name: spoken(label) for name, label in labels.items()},
            repeat=entry.repeat,
            index=index,
            state="not_delivered" if image and image.error and entry.state is State.STORED else str(entry.state),
            prompt=str(entry.request.get("prompt", "")),
            payload=entry.request,
            image=files.image(image),
            thumbnail=files.thumbnail(image),
            width=image.width if image else None,
            height=image.height if image else None,
            sha256=image.sha256 if image else None,
            task_id=" ".join(entry.task_ids) or None,
            cost_usd=None if cost is None else shares.get(index, Decimal(0)),
            error=(image.error if image and image.error else error),
            warnings=image.warnings if image else (),
            submitted_at=entry.submitted_at,
        )


def _paired_axes(cells: list[GalleryCell]) -> set[str]:
    # The names of a zip always change together: a grid over two of them would be a diagonal.
    names = list(dict.fromkeys(name for cell in cells for name in cell.axes))
    dropped: set[str] = set()
    for index, name in enumerate(names):
        for other in names[:index]:
            pairs = {(cell.axes.get(other), cell.axes.get(name)) for cell in cells}
            if other not in dropped and 1 < len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):
                dropped.add(name)
    return dropped


def _axes(expansion: Expansion | None, cells: list[GalleryCell]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    if expansion is not None:
        for axis in expansion.spec.axes:
            for position, name in enumerate(axis.names):
                found[name] = dict.fromkeys(spoken(value.labels[position]) for value in axis.values)
    for cell in cells:
        for name, label in cell.axes.items():
            found.setdefault(name, {}).setdefault(label)
    return {name: tuple(labels) for name, labels in found.items()}
