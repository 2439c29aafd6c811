"""This module turns a ledger, and its job if there is one, into the cells that a gallery shows.

Called by ``build_gallery``, before ``page`` or ``contact_sheet`` draws them. Invariant: the values are plain; drawing
them needs neither the ledger nor the job.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from seedream_jobs.atomic_file import check_folder, confined, link_or_copy
from seedream_jobs.errors import UsageError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.job.document import spoken
from seedream_jobs.job.files import WorkTree
from seedream_jobs.job.spec import SelectRule
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.service_errors import in_words
from seedream_jobs.ledger.state import (
    Attempt,
    Entry,
    Image,
    ServiceError,
    State,
    charged_usd,
    in_shares,
    spent_usd,
)
from seedream_jobs.results.ratings import NO_OPINION, Opinion, Review, read_review
from seedream_jobs.results.selections import read_selection
from seedream_jobs.results.thumbnails import thumbnail_path

if TYPE_CHECKING:
    from seedream_jobs.results.compare import Kind

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
    :param generation: of the submission that the image came from
    :param earlier: the request was submitted again since
    :param change: what became of the request from the run before this one on the page
    :param former: the key of the request there that this one is held against
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
    generation: int = 1
    earlier: bool = False
    change: Kind | None = None
    former: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryRun:
    """A job at one moment. A page may show several, to compare them; an earlier one stands before a later one.

    :param name: the job's name; ratings are filed under it
    :param title: distinguishes runs of one job, such as a revision; the name if it is empty
    :param axes: axis name to the labels of its values, both in the job's order
    :param left_out: unsent requests that have no cell
    :param orphans: stored images that the job file no longer makes and that have no cell
    :param charged_usd: what the service said it charged, in USD
    :param reserved_usd: what else counts as spent: submissions whose cost is not known yet
    :param play_money: on the emulator, where nothing is paid
    :param votes: of the job's review: axis, reviewer, the two images' digests and the winner
    :param select: which images are to be chosen; None where the job does not say
    """

    name: str
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cells: Sequence[GalleryCell] = ()
    left_out: int = 0
    orphans: int = 0
    select: SelectRule | None = None
    title: str = ""
    charged_usd: Decimal | None = None
    reserved_usd: Decimal | None = None
    play_money: bool = False
    votes: Sequence[tuple[str, str, str, str, str]] = ()


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
    entries: Entries,
    *,
    expansion: Expansion | None,
    name: str,
    root: Path,
    files: ImageFiles,
    title: str = "",
    play_money: bool = False,
    generations: bool = True,
) -> GalleryRun:
    """One job at this moment: in the job file's order, or without a job file in the manifest's.

    :param root: the campaign's
    :param generations: with the images of earlier submissions of a request, and how many there are of earlier prompts
    """
    if expansion:
        found, left_out, known = _cells_of_job(entries, expansion, files, generations)
    else:
        found, left_out, known = _cells_of(map(entries.__getitem__, entries), files, generations), 0, set(entries)
    orphans = orphans_of(entries, known) if generations else []
    return _finished(
        GalleryRun(
            name=name,
            title=title,
            left_out=left_out,
            orphans=sum(1 for entry in orphans for image in entry.images if image.stored_sha256),
            select=expansion.spec.select if expansion else None,
            play_money=play_money,
        ),
        found,
        expansion,
        entries.values(),
        root,
        former=generations,
    )


def with_orphans(whole: GalleryRun, entries: Entries, files: ImageFiles, root: Path) -> list[GalleryRun]:
    """One job, and before it as a run of its own what its record has and its file no longer makes.

    An orphan is held against the request that has its address now: its prompt or its parameters were changed.

    :param whole: the job as ``collect`` made it from ``entries``, its job file and ``files``
    """
    found = orphans_of(entries, {cell.key for cell in whole.cells})
    orphans = [entry for entry in found if any(image.stored_sha256 for image in entry.images)]
    former = {entry.address: entry.key for entry in orphans}
    present = {cell.address for cell in whole.cells}
    now = [
        replace(cell, change="new request", former=former[cell.address])
        if cell.address in former and not cell.earlier
        else cell
        for cell in whole.cells
    ]
    cells = [
        replace(cell, change="new request" if cell.address in present else "gone")
        for cell in _cells_of(orphans, files, generations=False)
    ]
    named = f"{whole.title} · earlier prompts" if whole.title else "earlier prompts"
    before = GalleryRun(name=whole.name, title=named, play_money=whole.play_money)
    before = _finished(before, cells, None, orphans, root, former=False)
    charged = (whole.charged_usd or Decimal(0)) - (before.charged_usd or Decimal(0))
    reserved = (whole.reserved_usd or Decimal(0)) - (before.reserved_usd or Decimal(0))
    whole = replace(
        whole,
        title=whole.title or "now",
        cells=now,
        orphans=0,
        charged_usd=charged or None,
        reserved_usd=reserved or None,
    )
    return [before, whole] if cells else [whole]


def orphans_of(entries: Entries, known: Collection[str]) -> list[Entry]:
    """What is on record beside the requests that a job makes, in the manifest's order."""
    return [entries[key] for key in entries if key not in known]


def _finished(
    run: GalleryRun,
    found: list[GalleryCell],
    expansion: Expansion | None,
    entries: Iterable[Entry],
    root: Path,
    *,
    former: bool,
) -> GalleryRun:
    """A run with its cells, judged, and with the money of its entries."""
    charged = spent = Decimal(0)
    for entry in entries:
        charged += charged_usd(entry) or 0
        spent += spent_usd(entry)
    review = read_review(WorkTree(root), run.name, root=root)
    return replace(
        run,
        cells=_judged(found, review, run.name, root, former=former),
        votes=[(*vote, winner) for vote, winner in review.votes.items()],
        axes=_axes(expansion, found),
        charged_usd=charged or None,
        reserved_usd=spent - charged if spent > charged else None,
    )


def _judged(cells: list[GalleryCell], review: Review, name: str, root: Path, *, former: bool) -> list[GalleryCell]:
    """The cells with what people said of their images.

    :raises SeedreamError: the job's selection can't be read
    """
    selection = read_selection(WorkTree(root), name, root=root)
    opinions, verdicts = review.merged(), {} if selection is None else selection.verdicts()
    others = review.former({cell.sha256 for cell in cells if cell.sha256 and not cell.earlier}) if former else Counter()
    judged = []
    for cell in cells:
        opinion, verdict = opinions.get(cell.sha256 or ""), verdicts.get(cell.sha256 or "")
        if not cell.earlier and others[cell.address]:
            opinion = replace(opinion or NO_OPINION, former=others[cell.address])
        if opinion is not None:
            cell = replace(cell, opinion=_opinion_values(opinion))
        if verdict is not None:
            why = {"why": verdict.why} if verdict.why else {}
            cell = replace(cell, choice={"verdict": verdict.said, "by": verdict.by, **why})
        judged.append(cell)
    return judged


def _opinion_values(opinion: Opinion) -> dict[str, Any]:
    values: dict[str, Any] = {
        "rating": opinion.rating,
        "ratings": opinion.ratings,
        "given": opinion.given,
        "stars": opinion.stars,
        "wins": opinion.wins,
        "votes": opinion.votes,
        "notes": [{"reviewer": reviewer, "note": note} for reviewer, note in opinion.notes],
        "former": opinion.former,
    }
    return {name: value for name, value in values.items() if value}


class ImageFiles:
    """Turns a recorded file into paths relative to the page."""

    def __init__(self, page: Path, folder: Path, cache: Path, root: Path) -> None:
        self.page: Path = page
        self.folder: Path = folder
        self.cache: Path = cache
        self.root: Path = root

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


def _cells_of_job(
    entries: Entries, expansion: Expansion, files: ImageFiles, generations: bool
) -> tuple[list[GalleryCell], int, set[str]]:
    """The job file's requests in its order, sent or not, without those that are only in the manifest.

    The number is how many unsent ones are left out; the keys are those that have an entry.
    """
    cells: list[GalleryCell] = []
    planned = 0
    known: set[str] = set()
    for at in expansion.places():
        entry = entries.entry_of(at.key)
        if entry is not None:
            known.add(entry.key)
            cells += cells_of_entry(entry, files, labels=expansion.matrix.labels(at.cell), generations=generations)
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
    return cells, max(0, planned - PLACEHOLDERS), known


def _cells_of(entries: Iterable[Entry], files: ImageFiles, generations: bool) -> list[GalleryCell]:
    return [
        cell for entry in entries for cell in cells_of_entry(entry, files, labels=entry.cell, generations=generations)
    ]


def cells_of_entry(
    entry: Entry, files: ImageFiles, *, labels: Mapping[str, Any], generations: bool = True
) -> Iterator[GalleryCell]:
    """A cell for each image of a request, with its share of the cost; one cell if there is no image yet.

    Then the images of its earlier submissions, the latest first, each with what that one cost.
    """
    earlier = [one for one in reversed(entry.earlier) if any(image.stored_sha256 for image in one.images)]
    earlier = earlier if generations else []
    cost = charged_usd(entry)
    if cost is not None and earlier:  # submissions without an image stay with the present one, as nothing may be lost
        cost -= sum((one.cost_usd or Decimal(0) for one in earlier), start=Decimal(0))
        cost = cost or entry.cost_usd
    yield from _cells_of_attempt(entry, entry, cost, files, labels)
    for one in earlier:
        yield from _cells_of_attempt(entry, one, one.cost_usd, files, labels, earlier=True)


def _cells_of_attempt(
    entry: Entry,
    attempt: Attempt,
    cost: Decimal | None,
    files: ImageFiles,
    labels: Mapping[str, Any],
    *,
    earlier: bool = False,
) -> Iterator[GalleryCell]:
    images: tuple[Image | None, ...] = attempt.images or (None,)
    # An image that never came is not charged. Where none came, the first slot bears the cost.
    paid = [index for index, image in enumerate(images, 1) if image is None or image.error is None] or [1]
    shares = {} if cost is None else dict(zip(paid, in_shares(cost, len(paid)), strict=True))
    error = in_words(attempt.error) if attempt.error else None
    for index, image in enumerate(images, 1):
        yield GalleryCell(
            key=entry.key,
            address=entry.address,
            axes={name: spoken(label) for name, label in labels.items()},
            repeat=entry.repeat,
            index=index,
            state="not_delivered" if image and image.error and attempt.state is State.STORED else str(attempt.state),
            prompt=str(entry.request.get("prompt", "")),
            payload=entry.request,
            image=files.image(image),
            thumbnail=files.thumbnail(image),
            width=image.width if image else None,
            height=image.height if image else None,
            sha256=image.sha256 if image else None,
            task_id=" ".join(attempt.task_ids) or None,
            cost_usd=None if cost is None else shares.get(index, Decimal(0)),
            error=_in_words(image.error) if image and image.error else error,
            warnings=image.warnings if image else (),
            submitted_at=attempt.submitted_at,
            generation=attempt.generation,
            earlier=earlier,
        )


def _in_words(error: str) -> str:
    return in_words(ServiceError(status=None, code="", message=error))


def without_paired_axes(runs: Sequence[GalleryRun]) -> list[GalleryRun]:
    """The runs of one page, without the axes that say the same as another one in all of them."""
    paired = _paired_axes([cell for run in runs for cell in run.cells])
    if not paired:
        return list(runs)

    def rest(named: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in named.items() if name not in paired}

    return [
        replace(run, axes=rest(run.axes), cells=[replace(cell, axes=rest(cell.axes)) for cell in run.cells])
        for run in runs
    ]


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
