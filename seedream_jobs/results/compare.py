"""This module holds a job's images at two revisions against each other: what a change does to the pictures.

Called by ``cli.compare`` and ``cli.gallery``. Invariant: only contact sheets and a page are written, and only what lies
here is read. An image is the one on record if its bytes have the recorded sha256, wherever they are found.
"""

from __future__ import annotations

import glob
import hashlib
import io
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

from seedream_jobs.atomic_file import check_folder, confined, read_regular, update_file
from seedream_jobs.confinement import allow_images, allow_requests
from seedream_jobs.errors import SeedreamError, UsageError
from seedream_jobs.expand.expansion import Place
from seedream_jobs.inside import STATE_FOLDER, OutsideRoot
from seedream_jobs.job.document import spoken
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.state import Entry, Image, State
from seedream_jobs.plans.causes import BaseCauses, Cause
from seedream_jobs.plans.load import Job
from seedream_jobs.plans.review import Comparison, Revisions
from seedream_jobs.records import Record, record_of
from seedream_jobs.results.gallery import page_of, writing
from seedream_jobs.results.gallery.cells import GalleryCell, GalleryRun, ImageFiles, collect, without_paired_axes
from seedream_jobs.results.gallery.owner import claim
from seedream_jobs.results.gallery.page import write_gallery
from seedream_jobs.results.image_store import ImageStore, object_name
from seedream_jobs.results.thumbnails import THUMBNAIL_SIDE, thumbnail_path
from seedream_jobs.run.images import EXTENSIONS, sniff

if TYPE_CHECKING:
    from PIL import Image as Pillow

    from seedream_jobs.results.gallery.contact_sheet import Line

Kind = Literal["equal", "new image", "new request", "gone", "no image"]
KINDS: tuple[Kind, ...] = ("equal", "new image", "new request", "gone", "no image")
"""What became of a request: the same images; other ones; it is asked for anew or otherwise; it or its images are no
longer there; the same request, without an image in either revision."""
CHANGED: tuple[Kind, ...] = ("new image", "new request", "gone")

SHEET_HEIGHT = 4_000
"""Pixels of a contact sheet, which stands in a comment."""
_PASSES = 8
MAX_BYTES = 128 << 20
"""Of an image that is read out of a commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesAt:
    """A request at one revision: what it asks for, and the images it has there.

    :param state: of the ledger; ``new`` for a request that was never submitted
    :param folder: the record's, POSIX, relative to the campaign's root; the files of images are relative to it
    :param images: by their number within the request; None for one that is not stored
    """

    key: str
    payload: Mapping[str, Any]
    state: str
    folder: str = ""
    images: tuple[Image | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRequest:
    """A request whose images changed.

    :param number: among the changes of its job, from 1; the contact sheets name it by that
    :param was: at the base; None where it has no such request
    :param now: at the head, likewise
    """

    number: int
    kind: Kind
    address: str
    was: ImagesAt | None
    now: ImagesAt | None

    def pairs(self) -> Iterator[tuple[int, Image | None, Image | None]]:
        """Number, earlier and present image, for each number of which there is one."""
        was, now = (side.images if side is not None else () for side in (self.was, self.now))
        for index, (old, new) in enumerate(zip_longest(was, now), 1):
            if old is not None or new is not None:
                yield index, old, new


@dataclass(slots=True, kw_only=True)
class KindCount:
    """Requests of one kind, and their stored images at both revisions."""

    requests: int = 0
    was: int = 0
    now: int = 0


class _Step(NamedTuple):
    """One request on the way through both revisions.

    :param job: the head's, or the base's for a request that the head does not make
    :param before: the base's place of the same address, likewise of another request
    """

    kind: Kind
    job: Job
    place: Place
    before: Place | None
    was: Entry | None
    now: Entry | None


class ComparedJob:
    """A job's images at two revisions, counted. Made by ``compare``.

    :param shown: the job file as the user named it
    :param notes: what to say about the base, one line each
    :ivar counts: of every kind
    :ivar values: axis to label to how many requests have it, and how many of these changed
    :ivar unmade: new requests that have no image yet
    :ivar causes: why requests are new, as ``plan --base`` says it; ``more_causes`` counts those that are not named
    :ivar sheets: the contact sheets, once they are drawn
    """

    def __init__(
        self, shown: str, *, head: Job | None, base: Job | None, now: Entries, then: Entries, note: str
    ) -> None:
        own = head or base
        assert own is not None
        self._own = own
        # Each entry is taken apart to be counted, listed and drawn.
        allow_requests(_PASSES * (len(now) + len(then)))
        self.shown: str = shown
        self.name: str = own.expansion.spec.name
        self.notes: tuple[str, ...] = (note,) if note else ()
        self.counts: dict[Kind, KindCount] = {kind: KindCount() for kind in KINDS}
        self.values: dict[str, dict[str, list[int]]] = {}
        self.unmade: int = 0
        self.causes: tuple[Cause, ...] = ()
        self.more_causes: int = 0
        self.sheets: list[Path] = []
        self._head, self._base, self._now, self._then = head, base, now, then
        self._comparison = (
            None if head is None else Comparison(head.expansion, None if base is None else base.expansion)
        )
        self._count()

    @property
    def changed(self) -> int:
        """Requests whose images changed."""
        return sum(self.counts[kind].requests for kind in CHANGED)

    def changes(self) -> Iterator[ComparedRequest]:
        """The requests that changed, in the order of the job file, then those that it no longer makes; made anew."""
        changed = (step for step in self._steps() if step.kind in CHANGED)
        for number, (kind, job, place, before, was, now) in enumerate(changed, 1):
            # The payload is made for what changed only: it takes longer than all the rest.
            yield ComparedRequest(
                number=number,
                kind=kind,
                address=job.expansion.builder.address(place.cell, place.repeat),
                was=None if self._base is None or before is None else _images_at(self._base, before, was),
                now=None if job is self._base else _images_at(job, place, now),
            )

    @property
    def record(self) -> Record:
        """The job's record at the head, or at the base where it was removed."""
        return record_of(self._own)

    def changed_images(self) -> set[str]:
        """The digests of all images that changed, of both revisions."""
        changed = (step for step in self._steps() if step.kind in CHANGED)
        return {sha256 for step in changed for entry in (step.was, step.now) for _, sha256 in _digests(entry)}

    def runs(self, files_of: Callable[[Job], ImageFiles], titles: tuple[str, str]) -> list[GalleryRun]:
        """The page's runs of the base and of the head; one without requests where the job is not there."""
        found = []
        for job, entries, title in zip((self._base, self._head), (self._then, self._now), titles, strict=True):
            run = GalleryRun(name=self.name, title=title)
            if job is not None:
                spec = job.expansion.spec
                run = collect(
                    entries,
                    expansion=job.expansion,
                    name=spec.name,
                    root=spec.root,
                    files=files_of(job),
                    title=title,
                    generations=False,
                )
            found.append(run)
        return self.marked(*found)

    def marked(self, was: GalleryRun, now: GalleryRun) -> list[GalleryRun]:
        """The pages' runs of the base and of the head, with what became of each request."""
        before: dict[str, Kind] = {}
        after: dict[str, tuple[Kind, str | None]] = {}
        for kind, job, place, former, old, new in self._steps():
            # A record may have a request under an earlier form of its key, which its cells have then.
            key = None if former is None else former.key if old is None else old.key
            if key is not None:
                before[key] = kind
            if job is not self._base:
                after[place.key if new is None else new.key] = kind, key

        def present(cell: GalleryCell) -> GalleryCell:
            kind, key = after.get(cell.key, (None, None))
            return cell if cell.earlier else replace(cell, change=kind, former=key)

        return [
            replace(
                was, cells=[cell if cell.earlier else replace(cell, change=before.get(cell.key)) for cell in was.cells]
            ),
            replace(now, cells=list(map(present, now.cells))),
        ]

    def _steps(self) -> Iterator[_Step]:
        base, head, comparison = self._base, self._head, self._comparison
        if head is not None and comparison is not None:
            for place in head.expansion.places():
                before, now = comparison.former(place), self._now.entry_of(place.key)
                was = None if before is None else self._then.entry_of(before.key)
                same = before is not None and before.key == place.key
                yield _Step(_kind(was, now) if same else "new request", head, place, before, was, now)
        if base is not None:
            for place in base.expansion.places() if comparison is None else comparison.gone():
                yield _Step("gone", base, place, place, self._then.entry_of(place.key), None)

    def _count(self) -> None:
        comparison = self._comparison
        causes = None
        if comparison is not None and self._base is not None:
            causes = BaseCauses(comparison.head, self._base.expansion)
        for kind, job, place, before, was, now in self._steps():
            count, stored = self.counts[kind], len(_digests(now))
            count.requests += 1
            count.was += len(_digests(was))
            count.now += stored
            if kind == "new request":
                self.unmade += not stored
                if causes is not None and before is not None:
                    assert comparison is not None
                    causes.count_changed(place, comparison.before(place))
                elif causes is not None:
                    causes.count_new(place)
            for name, label in job.expansion.matrix.labels(place.cell).items():
                found = self.values.setdefault(name, {}).setdefault(spoken(label), [0, 0])
                found[0] += 1
                found[1] += kind in CHANGED
        if causes is not None:
            self.causes, self.more_causes = causes.result()


def _kind(was: Entry | None, now: Entry | None) -> Kind:
    """What became of the images of one request."""
    old, new = _digests(was), _digests(now)
    if not old and not new:
        return "no image"
    if not new:
        return "gone"
    return "equal" if old == new else "new image"


def _digests(entry: Entry | None) -> list[tuple[int, str]]:
    images = () if entry is None else entry.images
    return [(number, sha256) for number, image in enumerate(images) if (sha256 := image.stored_sha256)]


def _images_at(job: Job, place: Place, entry: Entry | None) -> ImagesAt:
    expansion = job.expansion
    folder = job.paths.manifest.parent.relative_to(expansion.spec.root).as_posix()
    payload = expansion.request(place).payload
    if entry is None:
        return ImagesAt(key=place.key, payload=payload, state=State.NEW)
    images = tuple(image if image.stored_sha256 else None for image in entry.images)
    return ImagesAt(key=place.key, payload=payload, state=entry.state, folder=folder, images=images)


def compare(revisions: Revisions, jobs: Sequence[Path]) -> list[ComparedJob]:
    """Hold the images of jobs at the head of two revisions against those at its base.

    :raises FindingsError: a job has errors at the head, or a record is damaged
    :raises UsageError: one that was named is in neither tree
    """
    found = []
    for pair in revisions.pairs(jobs, None):
        expansion, note = revisions.base_of(pair)
        head = pair.head if isinstance(pair.head, Job) else None
        base = pair.base if isinstance(pair.base, Job) and expansion is not None else None
        shown = revisions.shown(pair.path)
        if head is None and base is None:
            raise UsageError(f"{shown} was removed, and has errors at the base", hint="there is nothing to compare")
        now = Entries() if head is None else revisions.ledger_of(head).entries
        then = Entries() if base is None else revisions.base_ledger_of(base).entries
        found.append(
            ComparedJob(
                shown,
                head=head,
                base=base,
                now=now,
                then=then,
                note=f"{shown} was removed" if head is None else note,
            )
        )
    return found


# -- contact sheets ----------------------------------------------------------------------------------------------------


def draw_changes(job: ComparedJob, revisions: Revisions, folder: Path, store: ImageStore | None = None) -> None:
    """Draw the changed images of a job, *was* beside *is*, into ``NAME.webp``, ``NAME-2.webp`` …; fills ``sheets``.

    Sheets of an earlier comparison that are not needed any more are removed.

    :param store: has images that are neither on the disk nor in a commit
    :raises OSError: as the file system does
    """
    sheet = _contact_sheet()
    pictures = _Pictures(revisions, sheet.scaled, store)
    lines: list[Line] = []
    for change in job.changes():
        _, _, where = change.address.partition("/")
        several = max(len(side.images) for side in (change.was, change.now) if side is not None) > 1
        for number, was, now in change.pairs():
            which = f" image {number}" if several else ""
            label = f"#{change.number} {change.kind}{which}: {where}"
            lines.append((label, (pictures.cell(change.was, was), pictures.cell(change.now, now))))
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{job.name}.webp"
    if lines:
        layout = sheet.SheetLayout(heads=("was", "is"), lines=tuple(lines), captions=False)
        job.sheets = sheet.draw_sheets(layout, pictures.load, out, tallest=SHEET_HEIGHT)
    for old in folder.glob(f"{glob.escape(job.name)}*.webp"):
        rest = old.stem.removeprefix(job.name)
        if old not in job.sheets and (not rest or (rest[0] == "-" and rest[1:].isdecimal())):
            old.unlink()


def _contact_sheet() -> ModuleType:
    from seedream_jobs.results.gallery import contact_sheet  # it imports Pillow

    return contact_sheet


Scaled = Callable[[BinaryIO, tuple[int, int]], "Pillow.Image | None"]


class _Pictures:
    """Finds recorded images by their digest: as a thumbnail, on disk, in the commits that are compared, in a store."""

    def __init__(self, revisions: Revisions, scaled: Scaled, store: ImageStore | None) -> None:
        self.root, self.scaled, self.store = revisions.root, scaled, store
        self.trees = [tree for tree in (revisions.head_tree, revisions.base_tree) if tree is not None]
        self.cache: Path | None = self.root / STATE_FOLDER / "thumbnails"
        # A thumbnail does not show that it is its image's: one that came with a commit would be anybody's picture.
        if any(path.parts[:2] == (STATE_FOLDER, "thumbnails") for path in revisions.repository.present()):
            self.cache = None

    def cell(self, side: ImagesAt | None, image: Image | None) -> GalleryCell | None:
        """One image for a contact sheet, its path relative to the campaign's root."""
        if side is None:
            return None
        if image is None:
            return GalleryCell(key=side.key, address="", state="planned" if side.state == State.NEW else side.state)
        assert image.file is not None
        return GalleryCell(
            key=side.key,
            address="",
            state=side.state,
            image=posixpath.normpath(posixpath.join(side.folder, image.file)),
            sha256=image.sha256,
            width=image.width,
            height=image.height,
        )

    def load(self, cell: GalleryCell, size: tuple[int, int]) -> Pillow.Image | None:
        """The image, scaled to fit; None where it is not here or can't be read."""
        if cell.image is None or cell.sha256 is None:
            return None
        found = (self.scaled(io.BytesIO(data), size) for data in self._bytes(cell.image, cell.sha256))
        return next((picture for picture in found if picture is not None), None)

    def _bytes(self, path: str, sha256: str) -> Iterator[bytes]:
        """The image's bytes, or those of its thumbnail, from each place that has them."""
        if self.cache is not None:
            with suppress(OSError):
                yield read_regular(thumbnail_path(self.cache, sha256))
        yield from self.whole(path, sha256)

    def whole(self, path: str, sha256: str) -> Iterator[bytes]:
        """The image's bytes, from each place that has them.

        :param path: POSIX, relative to the campaign's root
        """
        reads: list[Callable[[], bytes]] = [lambda: read_regular(confined(self.root, self.root, path), MAX_BYTES)]
        reads += [partial(tree.read, PurePosixPath(path), limit=MAX_BYTES) for tree in self.trees]
        for read in reads:
            with suppress(OSError, UsageError, OutsideRoot):
                data = read()
                if hashlib.sha256(data).hexdigest() == sha256:
                    yield data
                    return
        if self.store is not None:
            with suppress(SeedreamError):
                yield self.store.read(Image(object=object_name(sha256, PurePosixPath(path).suffix), sha256=sha256))


# -- the page ----------------------------------------------------------------------------------------------------------


def write_comparison(
    compared: Sequence[ComparedJob],
    revisions: Revisions,
    *,
    folder: Path | None = None,
    single_file: bool = False,
    language: str | None = None,
    store: ImageStore | None = None,
) -> Path:
    """Write the page of two revisions, was beside is, and return the path of its ``index.html``.

    What changed lies in the page's folder; equal images are linked, as in any gallery.

    :param folder: of the page; ``gallery-base`` beside the jobs' own page by default
    :param store: as for ``draw_changes``
    :raises PageTakenError: the folder has another page
    :raises SeedreamError: the folder can't be written to
    """
    records = [job.record for job in compared]
    if folder is None:
        folder = page_of(records).with_name("gallery-base")
        check_folder(revisions.root, folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("images", "thumbnails"):
            check_folder(folder, folder / name)
        claim(folder, [one.paths.manifest for one in records], names=[one.name for one in records], compared=True)
        changed = {sha256 for job in compared for sha256 in job.changed_images()}
        images = _Copies(_Pictures(revisions, _contact_sheet().scaled, store), folder.resolve(), changed)
        here = "work tree" if revisions.head is None else revisions.head.name
        runs: list[GalleryRun] = []
        for job in compared:
            of = f"{job.name} · " if len(compared) > 1 else ""
            titles = f"{of}{revisions.base.name}", f"{of}{here}"
            runs += job.runs(lambda one: _ComparedFiles(images, one.paths.manifest.parent), titles)
        images.remove_others()
        return write_gallery(folder, without_paired_axes(runs), single_file=single_file, language=language)


class _Copies:
    """The images that changed, as files of a page."""

    def __init__(self, pictures: _Pictures, page: Path, changed: set[str]) -> None:
        self.pictures, self.page, self.changed = pictures, page, changed
        self._made: dict[str, Path | None] = {}

    def image(self, path: str, sha256: str) -> Path | None:
        """The file of one image, with its thumbnail beside it; None where its bytes are nowhere.

        :param path: POSIX, relative to the campaign's root
        """
        if sha256 not in self._made:
            self._made[sha256] = self._make(path, sha256)
        return self._made[sha256]

    def thumbnail(self, sha256: str) -> Path:
        """Where the thumbnail of one lies."""
        return self.page / "thumbnails" / f"{sha256}.webp"

    def _make(self, path: str, sha256: str) -> Path | None:
        data = next(self.pictures.whole(path, sha256), None)
        kind = None if data is None else sniff(data[:12])
        if data is None or kind is None:
            return None
        allow_images(1, len(data))
        file = self.page / "images" / f"{sha256}{EXTENSIONS[kind]}"
        update_file(file, data)
        small = self.pictures.scaled(io.BytesIO(data), (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        if small is not None:
            webp = io.BytesIO()
            small.save(webp, "WEBP", quality=80)
            update_file(self.thumbnail(sha256), webp.getvalue())
        return file

    def remove_others(self) -> None:
        """Remove the images of an earlier comparison."""
        kept = set(self._made.values())
        for file in (self.page / "images").glob("*"):
            if re.fullmatch("[0-9a-f]{64}", file.stem) and file not in kept:
                file.unlink()


class _ComparedFiles(ImageFiles):
    """The images of one job at one revision: what changed is a copy, the rest is linked as in any gallery."""

    def __init__(self, copies: _Copies, folder: Path) -> None:
        root = copies.pictures.root
        super().__init__(copies.page, folder, copies.pictures.cache or copies.page / "thumbnails", root)
        self.copies = copies

    def image(self, image: Image | None) -> str | None:
        if image is None or image.file is None or image.sha256 is None:
            return None
        if image.sha256 in self.copies.changed:
            folder = self.folder.relative_to(self.root).as_posix()
            made = self.copies.image(posixpath.normpath(posixpath.join(folder, image.file)), image.sha256)
            return None if made is None else self._relative(made)
        linked = super().image(image)
        # Another revision's file may lie there. To read 10,000 images that did not change would take minutes.
        same = linked is not None and image.bytes in (None, (self.folder / image.file).stat().st_size)
        return linked if same else None

    def thumbnail(self, image: Image | None) -> str | None:
        if image is None or image.sha256 is None:
            return None
        if image.sha256 in self.copies.changed:
            made = self.copies.thumbnail(image.sha256)
            return self._relative(made) if self.copies.image("", image.sha256) and made.is_file() else None
        return super().thumbnail(image) if self.copies.pictures.cache is not None else None
