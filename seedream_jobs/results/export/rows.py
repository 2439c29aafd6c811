"""This module turns a ledger into rows: one per stored image, axes flattened into columns of their own.

Called by the writers of ``export``. Invariant: rows are a stream, never a list; the costs of the rows and of the
requests left out add up to the charge that ``status`` shows.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Self

from seedream_jobs.atomic_file import check_folder, confined, digest, find_damage, link_or_copy, read_regular
from seedream_jobs.errors import SeedreamError, UnfinishedError, UsageError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.inside import STATE_FOLDER
from seedream_jobs.job.document import spoken
from seedream_jobs.job.files import LFS_POINTER, WorkTree
from seedream_jobs.ledger.codec import Json, decode, encode, iso
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.paths import keep_private
from seedream_jobs.ledger.state import Entry, Image, charged_usd, in_shares
from seedream_jobs.plans.options import selector
from seedream_jobs.records import Record
from seedream_jobs.results.engines import SHARD, Engine
from seedream_jobs.results.image_store import ImageStore, open_at
from seedream_jobs.results.ratings import NO_OPINION, Opinion, read_review
from seedream_jobs.results.selections import Verdict, read_selection

AXIS = "axis_"
"""Before an axis' name in a column's: an axis may have the name of a field (``size``). Where its values are rows of a
table or mappings, each of their fields has a column, too: ``axis_style.text``, as a template names it."""

PARAMETERS = ("model", "size", "resolution", "n", "output_format", "watermark", "sequential_image_generation")
"""Payload fields with a column of their own; a field that was not sent is empty."""

BEFORE_AXES = ("job", "address", "key", "repeat", "number")
AFTER_AXES = (
    "prompt",
    *PARAMETERS,
    "references",
    "other_fields",
    "width",
    "height",
    "format",
    "bytes",
    "sha256",
    "cost_usd",
    "task_id",
    "submitted_at",
    "warnings",
    "rating",
    "ratings",
    "stars",
    "wins",
    "votes",
    "notes",
    "choice",
    "choice_by",
    "choice_why",
)
LISTS = frozenset({"references", "warnings", "notes", "choice_by"})
"""Columns that hold lists of text."""
INTEGERS = frozenset({"repeat", "number", "n", "width", "height", "bytes", "ratings", "stars", "votes"})
NUMBERS = frozenset({"rating", "wins"})
BOOLEANS = frozenset({"watermark"})
MONEY = frozenset({"cost_usd"})
"""Columns that hold USD: decimal text, but in parquet."""
TIMES = frozenset({"submitted_at"})
"""Columns that hold a moment, UTC: text, but in parquet."""
IMAGES = "images"
"""The folder of an ``imagefolder`` that the images are in."""
_TYPED: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(MONEY, Decimal),
    **dict.fromkeys(TIMES, datetime.fromisoformat),
}
NAMED = 5
"""How many of the images that are left out are named."""


SAID = ("rating", "ratings", "stars", "wins", "votes", "chosen", "rejected")
"""What a condition of ``--select`` may read beside the axes."""


def said_of(opinion: Opinion, verdict: Verdict | None) -> dict[str, Any]:
    """What people said of an image, by the names of ``SAID``; a rating that nobody gave is None."""
    said = None if verdict is None else verdict.said
    numbers = (opinion.rating, opinion.ratings, opinion.stars, opinion.wins, opinion.votes)
    return dict(zip(SAID, (*numbers, said == "chosen", said == "rejected"), strict=True))


def typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a row with money as ``Decimal`` and moments as ``datetime`` (UTC) in place of text."""
    known = {name: convert(values[name]) for name, convert in _TYPED.items() if values[name] is not None}
    return {**values, **known}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRow:
    """One image.

    :param root: the campaign's
    :param folder: the manifest's
    :param image: as recorded
    :param file: its file: POSIX, relative to the manifest's folder
    :param values: column to value; None where it is not known. Axis labels are text
    :param apart: the folder of images that are brought from the store; None where they are not needed
    """

    root: Path
    folder: Path
    image: Image
    file: str
    values: Mapping[str, Any] = field(default_factory=dict)
    apart: Path | None = None

    @property
    def own(self) -> Path:
        """Where the image lies, or would lie: below the campaign's root, and no link.

        :raises UsageError: the record leads out of it
        """
        return confined(self.root, self.folder, self.file)

    @property
    def is_apart(self) -> bool:
        """Whether the image lies in the store and not here."""
        try:
            return self.image.object is not None and not os.path.lexists(self.own)
        except UsageError:  # the record leads out of the campaign's root
            return False

    @property
    def source(self) -> Path:
        """Where the image is, now that ``place`` has found no problem.

        :raises UsageError: the record leads out of the campaign's root
        """
        return self.own if self.apart is None or not self.is_apart else self.apart / self.name

    @property
    def name(self) -> PurePosixPath:
        """The recorded name without a way up: ``../shared/a.png`` becomes ``_/shared/a.png``."""
        parts = PurePosixPath(self.file).parts
        return PurePosixPath(*("_" if part == ".." else part for part in parts if part != "/"))

    def place(self, into: Path | None, token: str, store: ImageStore | None = None) -> str | None:
        """See that the file is the image that was stored, and link it into a folder; why not, None if it is there.

        Reads the file whole. What is in the store alone is brought: into that folder, or to ``source``.

        :param into: the export's folder, in which it gets the name ``IMAGES / name``; None to link it nowhere
        :param token: of temporary names
        :raises OSError: as the file system of the export does
        """
        target = None if into is None else into / IMAGES / self.name
        if not self.is_apart:
            problem = self._problem()
            if problem is None and target is not None:
                link_or_copy(self.own, target, _part(target, token))
        elif target is not None and self._is_at(target):  # of an earlier export: it is not brought again
            return None
        elif target is None and self.apart is None:
            problem = None if self.image.sha256 is not None else _NO_DIGEST
        else:
            problem = self._bring(target or self.source, token, store)
        if problem is not None and target is not None and self._is_at(target):
            return None  # an earlier export may have the only copy left
        return problem

    def _is_at(self, target: Path) -> bool:
        return target.is_file() and not target.is_symlink() and digest(target) == self.image.sha256

    def _problem(self) -> str | None:
        image = self.image
        if image.sha256 is None:  # then any file would do, and a record may be a stranger's
            return _NO_DIGEST
        try:
            source = self.own
        except UsageError as error:
            return error.message
        found = find_damage(source, size=image.bytes, sha256=image.sha256)
        if found is None:
            return None
        with suppress(OSError):
            if read_regular(source, len(LFS_POINTER)) == LFS_POINTER:
                return f"a Git LFS pointer, {found[1]}"
        return found[1]

    def _bring(self, target: Path, token: str, store: ImageStore | None) -> str | None:
        if store is None:
            return "it is in a store, and the policy names none"
        try:
            raw = store.read(self.image)
        except SeedreamError as error:
            return error.message
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _part(target, token)
        part.write_bytes(raw)
        part.replace(target)
        return None


_NO_DIGEST = "the record does not say what it holds"


def _part(path: Path, token: str) -> Path:
    return path.with_name(f".{path.name}.{token}.part")


class Apart:
    """The store of images that are not on disk, and where they lie while they are packed; entered, it removes them.

    :param open_store: opens it, once an image is needed; None where the policy names none
    """

    def __init__(self, open_store: Callable[[], ImageStore | None], root: Path) -> None:
        self._open, self._root = open_store, root
        self._folder: Path | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def folder(self) -> Path:
        """In the campaign, so that a worker has it, too."""
        if self._folder is None:
            keep_private(state := self._root / STATE_FOLDER)
            self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="export-", dir=state)))
        return self._folder

    def drop(self, source: Path) -> None:
        """Remove an image that is not needed any more."""
        if self._folder is not None and source.is_relative_to(self._folder):
            source.unlink(missing_ok=True)

    @cached_property
    def url(self) -> str | None:
        """Of the store; None where there is none."""
        store = self._open()
        return None if store is None else store.objects.url


@dataclass(slots=True, kw_only=True)
class ExportRows:
    """The stored images of a job, in the job file's order, or without a job file sorted by key.

    Each iteration reads the entries and counts anew. Requests that are no longer in the job file, and requests without
    a stored image, have no row.

    :param root: the campaign's, which no image lies outside of
    :param folder: the manifest's folder
    :param select: which images, by their cell and by what people said of them (``SAID``); only with an expansion
    :param chosen: only images that were chosen
    :param opinions: what people think of an image, by its sha256; ``verdicts`` likewise
    :param apart: the store; None where rows do without their images
    :param engine: reads and links the images; None for this thread
    :param campaign: what each shard says of it (``Engine.campaign``)
    :param on_progress: called with the number of images so far
    :param images: rows that were exported
    :param missing: rows that were left out because their file is missing or not what was stored
    :param named: name and reason of the first few of these
    :param without_image: requests that have no row
    :param shared_usd: what the rows' ``cost_usd`` adds up to
    :param left_out_usd: what was charged for requests without a row
    :param axes: the names of the axes, each with the fields of its values where these are mappings
    """

    job: str
    entries: Entries
    root: Path
    folder: Path
    expansion: Expansion | None
    select: Callable[[Cell, Mapping[str, Any]], bool] | None = None
    chosen: bool = False
    opinions: Mapping[str, Opinion] = field(default_factory=dict)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    apart: Apart | None = None
    engine: Engine | None = None
    campaign: Mapping[str, Any] = field(default_factory=dict)
    on_progress: Callable[[int], None] = lambda _: None
    images: int = 0
    missing: int = 0
    without_image: int = 0
    named: list[tuple[str, str]] = field(default_factory=list)
    shared_usd: Decimal = Decimal(0)
    left_out_usd: Decimal = Decimal(0)
    axes: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        # Axes are in the job's order. Without a job file they are in the record's, which knows labels alone.
        if self.expansion is None:
            self.axes = {name: () for raw in self.entries.raw() for name in raw.get("cell", ())}
            return
        found: dict[str, dict[str, None]] = {}
        for name, value, label in _axis_values(self.expansion):
            fields = found.setdefault(name, {})
            if isinstance(value, Mapping):
                # The label is the ``id`` where there is one.
                fields |= dict.fromkeys(key for key in value if key != "id" or label != value["id"])
        self.axes = {name: tuple(fields) for name, fields in found.items()}

    @classmethod
    def of(
        cls,
        record: Record,
        entries: Entries,
        *,
        select: str | None = None,
        chosen: bool = False,
        apart: Apart | None = None,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> ExportRows:
        """The images of a job, with what its review and its selection say of them.

        :param select: a condition, as ``--select`` has it
        :raises FindingsError: the review or the selection is damaged
        :raises UsageError: ``select`` without a job file, or it names what the job does not have
        """
        expansion = record.job.expansion if record.job else None
        selected = None
        if select is not None:
            if expansion is None:
                raise UsageError("--select needs the job file", hint=f"{record.shown} is only a manifest")
            selected = selector(select, expansion, more=SAID)
        files = WorkTree(record.root)
        review = read_review(files, record.name, root=record.root)
        selection = read_selection(files, record.name, root=record.root)
        return cls(
            job=record.name,
            entries=entries,
            root=record.root,
            folder=record.paths.manifest.parent,
            expansion=expansion,
            select=selected,
            opinions=review.merged(),
            verdicts={} if selection is None else selection.verdicts(),
            chosen=chosen,
            apart=apart,
            on_progress=on_progress,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns, in order; the file's own name comes before them."""
        own = (column for name, fields in self.axes.items() for column in (name, *(f"{name}.{key}" for key in fields)))
        return (*BEFORE_AXES, *(AXIS + column for column in own), *AFTER_AXES)

    def intact(self, into: Path | None = None) -> Iterator[ExportRow]:
        """The rows whose file is the image that was stored; each is counted once the next one is asked for.

        :param into: the folder that the images are linked into, as ``IMAGES / name``
        :raises UsageError: a folder in it leads out of it
        """
        # Read in shards, some of them ahead, and given in order: with any executor the export is the same.
        handed: deque[list[ExportRow]] = deque()
        shards = self._shards(handed, into)
        here = (work({**shard, "token": "here"}) for shard in shards)
        answers = here if self.engine is None else self.engine.each(shards)
        for answer in answers:
            rows, problems = handed.popleft(), answer.get("problems")
            if type(problems) is not list or len(problems) != len(rows):
                raise UnfinishedError("a worker does not say what became of its images", hint="run it again")
            for row, problem in zip(rows, problems, strict=True):
                if problem is not None:
                    self._leave_out(row, str(problem))
                    continue
                if into is not None and not os.path.lexists(into / IMAGES / row.name):
                    raise UnfinishedError(
                        f"a worker has put {row.name} into another folder",
                        hint="mount the folder of the export at the same place on every worker",
                    )
                yield row
                self.images += 1
                self.on_progress(self.images)

    def _shards(self, handed: deque[list[ExportRow]], into: Path | None) -> Iterator[Json]:
        plain = {"root": str(self.root), "folder": str(self.folder), **self.campaign, "work": "export"}
        checked: set[PurePosixPath] = set()
        rows = iter(self)
        while some := list(islice(rows, SHARD)):
            if into is not None:
                for row in some:
                    _check_folder(row, into, checked)
            url, folder = None, None
            if self.apart is not None and any(row.is_apart for row in some):
                url, folder = self.apart.url, self.apart.folder if into is None else None
                some = [replace(row, apart=folder) for row in some]
            handed.append(some)
            yield {
                **plain,
                "into": None if into is None else str(into.absolute()),
                "apart": None if folder is None else str(folder.absolute()),
                "store": url,
                "images": [encode(row.image) for row in some],
            }

    def drop(self, source: Path) -> None:
        """Remove an image that was brought from the store, and is packed."""
        if self.apart is not None:
            self.apart.drop(source)

    def _leave_out(self, row: ExportRow, why: str) -> None:
        """Count a row that is not exported; the first few are named."""
        self.missing += 1
        # Its share was added to ``shared_usd`` with those of the other images of its request.
        share = Decimal(row.values["cost_usd"] or 0)
        self.shared_usd -= share
        self.left_out_usd += share
        if len(self.named) < NAMED:
            self.named.append((str(row.name), why))

    def __iter__(self) -> Iterator[ExportRow]:
        self.images = self.missing = self.without_image = known = 0
        self.shared_usd = self.left_out_usd = Decimal(0)
        self.named.clear()
        for entry, labels, given, cell in self._known():
            cost = charged_usd(entry)
            stored = [(number, image) for number, image in enumerate(entry.images, 1) if image.file is not None]
            if not stored:
                if self._is_wanted(cell, None):
                    known += 1
                    self.without_image += 1
                    self.left_out_usd += cost or 0
                continue
            shares = [None] * len(stored) if cost is None else in_shares(cost, len(stored))
            wanted = [
                (number, image, share)
                for (number, image), share in zip(stored, shares, strict=True)
                if self._is_wanted(cell, image.sha256)
            ]
            if len(wanted) == len(stored):
                known += 1
                self.shared_usd += cost or 0
            else:
                self.shared_usd += sum(share or 0 for _, _, share in wanted)
            for number, image, share in wanted:
                yield self._row(entry, self._axis_columns(labels, given), number, image, share)
        if known < len(self.entries):  # what was not selected, and orphans
            costs = map(charged_usd, self.entries.values())
            self.left_out_usd = sum(filter(None, costs), start=Decimal(0)) - self.shared_usd

    def _axis_columns(self, labels: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
        for name, fields in self.axes.items():
            yield AXIS + name, spoken(labels[name]) if name in labels else None
            value = values.get(name) if fields else None
            for key in fields:
                yield f"{AXIS}{name}.{key}", _as_text(value.get(key)) if isinstance(value, Mapping) else None

    def _known(self) -> Iterator[tuple[Entry, Mapping[str, Any], Mapping[str, Any], Cell | None]]:
        """Entries with the labels and the values of their axes, and with their cell where there is a job file."""
        if self.expansion is None:
            for key in self.entries:
                entry = self.entries[key]
                yield entry, entry.cell, {}, None
            return
        for place in self.expansion.places():
            found = self.entries.entry_of(place.key)
            if found is not None:
                matrix = self.expansion.matrix
                yield found, matrix.labels(place.cell), matrix.given(place.cell), place.cell
            elif self._is_wanted(place.cell, None):
                self.without_image += 1

    def _is_wanted(self, cell: Cell | None, sha256: str | None) -> bool:
        """Whether an image was selected; with None a request without one."""
        verdict = None if sha256 is None else self.verdicts.get(sha256)
        if self.chosen and (verdict is None or verdict.said != "chosen"):
            return False
        if self.select is None or cell is None:
            return True
        return self.select(cell, said_of(self._opinion(sha256), verdict))

    def _opinion(self, sha256: str | None) -> Opinion:
        return NO_OPINION if sha256 is None else self.opinions.get(sha256, NO_OPINION)

    def _row(
        self, entry: Entry, axes: Iterable[tuple[str, str | None]], number: int, image: Image, share: Decimal | None
    ) -> ExportRow:
        sent, opinion = entry.request, self._opinion(image.sha256)
        verdict = None if image.sha256 is None else self.verdicts.get(image.sha256)
        assert image.file is not None
        known = {"prompt", "image_urls", *PARAMETERS}
        other = {name: value for name, value in sent.items() if name not in known}
        values: dict[str, Any] = {
            "job": self.job,
            "address": entry.address,
            "key": entry.key,
            "repeat": entry.repeat,
            "number": number,
            **dict(axes),
            "prompt": sent.get("prompt"),
            **{name: sent.get(name) for name in PARAMETERS},
            "references": list(sent.get("image_urls", ())),
            "other_fields": json.dumps(other, ensure_ascii=False, sort_keys=True) if other else None,
            "width": image.width,
            "height": image.height,
            "format": image.format,
            "bytes": image.bytes,
            "sha256": image.sha256,
            "task_id": " ".join(entry.task_ids) or None,
            "cost_usd": None if share is None else f"{share.normalize():f}",
            "submitted_at": None if entry.submitted_at is None else iso(entry.submitted_at),
            "warnings": list(image.warnings),
            "rating": opinion.rating,
            "ratings": opinion.ratings,
            "stars": opinion.stars,
            "wins": opinion.wins,
            "votes": opinion.votes,
            "notes": [f"{reviewer}: {note}" if reviewer else note for reviewer, note in opinion.notes],
            "choice": None if verdict is None else verdict.said,
            "choice_by": [] if verdict is None else list(verdict.by),
            "choice_why": None if verdict is None else verdict.why or None,
        }
        return ExportRow(root=self.root, folder=self.folder, image=image, file=image.file, values=values)


def _check_folder(row: ExportRow, into: Path, checked: set[PurePosixPath]) -> None:
    """See that an image's folder in an export is one below ``into``: an earlier export may have come with a commit.

    :raises UsageError: it is not
    """
    parent = row.name.parent
    if parent in checked:
        return
    with suppress(UsageError):  # a record that leads out of the campaign's root: nothing of it is put anywhere
        confined(row.root, row.folder, row.file)
        checked.add(parent)
    if parent in checked:
        check_folder(into, into / IMAGES / parent)


def _axis_values(expansion: Expansion) -> Iterator[tuple[str, Any, Any]]:
    """Name, value and label of all values of all axes, those that an ``include`` brings among them."""
    for axis in expansion.spec.axes:
        for value in axis.values:
            yield from zip(axis.names, value.bindings, value.labels, strict=True)
    for item in expansion.spec.include:
        yield from ((name, item.bindings[name], item.labels[name]) for name in item.bindings)


def _as_text(value: Any) -> str | None:
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return None if value is None else spoken(value)


# -- a worker ----------------------------------------------------------------------------------------------------------


def work(asked: Mapping[str, Any]) -> Json:
    """See that images are those on record, and link them where they are asked for: for each why not, or None."""
    root, folder = Path(asked["root"]), Path(asked["folder"])
    into, apart = (None if asked[name] is None else Path(asked[name]) for name in ("into", "apart"))
    store = None if asked["store"] is None else open_at(asked["store"])
    images = (decode(Image, raw, "an image") for raw in asked["images"])
    rows = (ExportRow(root=root, folder=folder, image=image, file=image.file or "", apart=apart) for image in images)
    return {"problems": [row.place(into, asked["token"], store) for row in rows]}


def sweep(shard: Mapping[str, Any], token: str) -> None:
    """Remove what a lost worker may have left of a try."""
    for folder in filter(None, (shard["into"], shard["apart"])):
        for part in Path(folder).rglob(f".*.{token}.part"):
            with suppress(OSError):
                part.unlink()
