"""This module fetches the images of completed requests whole, and records each request once.

An image is downloaded to a temporary name in its folder and hashed on the way; its length and first bytes are looked
at; it is decoded once; then it gets its name, and a request whose images are all durable is recorded as stored. Called
by ``session``. Invariant: what goes wrong with a download never changes a paid task: it stays completed, and the next
``fetch`` goes on. Only where the links are dead, past their time *and* the service has no fresh ones is a request
recorded as expired.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import anyio
from anyio import to_thread

from seedream_jobs.api.credentials import without_keys
from seedream_jobs.api.tasks import joined
from seedream_jobs.atomic_file import Sink, confined, free_name, place
from seedream_jobs.errors import ExitCode, SeedreamError, UnfinishedError, gravest
from seedream_jobs.ledger.state import Completed, Entry, Expired, Image, State, Stored
from seedream_jobs.model_profile import Profile
from seedream_jobs.run.images import (
    DAMAGED,
    EXTENSIONS,
    NO_IMAGE,
    ImageSteps,
    KeptBytes,
    Repair,
    dies_at,
    disguise,
    find_departures,
    is_missing,
    sniff,
    without_data,
)
from seedream_jobs.run.submit import LedgerPort, TaskService

if TYPE_CHECKING:  # it imports httpx, which takes 0.2 s; `status` imports this module and seldom needs the network
    from seedream_jobs.api.downloads import Downloads

_log = logging.getLogger(__name__)
DEAD = frozenset({401, 403, 404, 410})
"""What an image host answers for a link that has died; signed links of object stores answer 403."""

WAITS: tuple[float, ...] = (1.0, 4.0, 15.0)
"""Seconds to wait before the second, third and fourth attempt at an image."""

LOST = "the link died before the image was fetched"
UNKNOWN = "the service does not know its task: is the key of another account?"

Work = Entry | Repair


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEvent:
    """Something to show: an image was queued, stored, failed for now or was lost, or an attempt is made again.

    ``image`` is set for ``stored``; ``detail`` says what went wrong.
    """

    kind: Literal["queued", "stored", "again", "failed", "lost"]
    entry: Entry
    image: Image | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """An image that was not fetched, and why."""

    address: str
    problem: str


@dataclass(slots=True, kw_only=True)
class Fetched:
    """What a fetch did. ``bytes`` counts what was stored; ``unfinished`` can be fetched again, ``lost`` can't.

    ``stop`` says why it ended before it came to all, empty where it did not.
    """

    requests: int = 0
    images: int = 0
    bytes: int = 0
    warnings: int = 0
    unfinished: list[Trouble] = field(default_factory=list)
    lost: list[Trouble] = field(default_factory=list)
    stop: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """8 if the same command goes on later, 1 if images were lost, 0 if all are there."""
        unfinished = [ExitCode.UNFINISHED] if self.unfinished or self.stop else []
        return gravest(unfinished + ([ExitCode.FINDINGS] if self.lost else []))


def temporary(stem: Path, entry: Entry, index: int, token: str = "") -> Path:
    """The temporary name for one image, in the folder of ``stem``.

    The same for each attempt, so that what a killed process left behind is overwritten by the next one; and nobody
    else's: two jobs may fetch the same request, each its own task, into one folder.

    :param token: of one attempt, where another one may still be under way
    """
    key = entry.key.rpartition(":")[2][:16]
    own = f"-{token}" if token else ""
    return stem.with_name(f".{key}-{entry.task_id or entry.generation}-{index}{own}.part")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Missed:
    """Why no image came.

    :param damaged: the body came whole, and can't be decoded
    :param aside: the name under which such bytes, which came twice, are kept
    :param dead: the host says that the link is no good (any more); asking it again is no use
    :param refused: the link leads where we don't go; asking it again is no use either, but the host was not heard
    :param unkept: it came whole, and the store did not take it: the link is not to blame
    """

    problem: str
    damaged: bool = False
    aside: str | None = None
    dead: bool = False
    refused: bool = False
    unkept: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class _Delivery:
    """The images of one request on their way: their links as last known, and what became of each.

    ``aside`` are those whose bytes can't be decoded and are kept under another name, each with the words for it;
    ``undecodable`` has the sha256 of such bytes that came once.
    """

    entry: Entry
    stem: Path
    links: dict[int, Image]
    left: int
    got: dict[int, Image] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    aside: dict[int, str] = field(default_factory=dict)
    undecodable: dict[int, str] = field(default_factory=dict)
    asked: bool = False
    gone: bool = False
    asking: anyio.Lock = field(default_factory=anyio.Lock)

    def path(self, index: int) -> Path:
        """The final path of an image, without extension."""
        return self.stem.with_name(PurePosixPath(self.entry.output_of(index)).name)

    def unstored(self, index: int) -> Image:
        """What is on record of an image that was not stored now."""
        old = self.entry.images[index]
        if index in self.lost:
            return replace(old, url=None, error=LOST)
        if index in self.aside:
            return replace(self.links[index], error=self.aside[index])
        return self.links.get(index, old) if index in self.failed else old


class _Queue:
    """The images to fetch, in the order in which their links die."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, _Delivery]] = []
        self._count = 0  # settles ties in the heap, which can't compare deliveries
        self._closed = False
        self._changed = anyio.Condition()

    async def put(self, images: Iterable[tuple[float, int, _Delivery]]) -> None:
        async with self._changed:
            for dies, index, delivery in images:
                heapq.heappush(self._heap, (dies, self._count, index, delivery))
                self._count += 1
            self._changed.notify_all()

    async def close(self) -> None:
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def take(self) -> tuple[int, _Delivery] | None:
        """The next image; None once all are taken and no more will come."""
        async with self._changed:
            while not self._heap:
                if self._closed:
                    return None
                await self._changed.wait()
            _, _, index, delivery = heapq.heappop(self._heap)
            return index, delivery


@dataclass(slots=True, kw_only=True)
class Fetcher:
    """Fetches the images of completed requests, and of stored ones that ``images.find_damaged`` found damaged.

    Cancelling it stops at once and loses nothing: temporary files are removed, what is named stays.

    :param folder: the manifest's folder, to which outputs and files are relative
    :param root: the campaign's root, which no file leaves
    :param now: Unix seconds
    :param concurrency: images that are fetched at a time
    :param output_of: where an entry's images go of which none is stored yet, as ``Entry.output``
    :param waits: seconds before each further attempt at an image; their number bounds the attempts
    :param deadline: seconds without a further image after which it ends, with what is left unfinished
    :param token: of temporary names
    """

    downloads: Downloads
    service: TaskService
    ledger: LedgerPort
    steps: ImageSteps
    profile: Profile
    folder: Path
    root: Path
    now: Callable[[], float]
    concurrency: int = 8
    waits: Sequence[float] = WAITS
    deadline: float = inf
    token: str = ""
    output_of: Callable[[Entry], str] = lambda entry: entry.output
    on_image: Callable[[ImageEvent], None] = lambda event: None
    _queue: _Queue = field(default_factory=_Queue, init=False)
    _done: Fetched = field(default_factory=Fetched, init=False)
    _busy: int = field(default=0, init=False)
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope, init=False)

    async def run(self, work: AsyncIterable[Work] | Iterable[Work]) -> Fetched:
        """Fetch all of ``work``; called once.

        :raises LedgerError: if the disk is full or failing, or the record can't be made durable
        :raises UsageError: if an output leads out of the campaign's root, or its folder can't be written
        """
        # A refusal is kept and raised as it is: a task group would raise it inside a group.
        refused: list[SeedreamError] = []

        async def guarded(task: Callable[[], Awaitable[None]]) -> None:
            try:
                await task()
            except SeedreamError as error:
                refused.append(error)
                tasks.cancel_scope.cancel()

        if not isinstance(work, AsyncIterable):
            await self._feed(work)  # all of them first, so that the heap knows the one that dies first
        with self._scope:
            async with anyio.create_task_group() as tasks:
                if isinstance(work, AsyncIterable):
                    tasks.start_soon(guarded, partial(self._feed, work))
                for _ in range(self.concurrency):
                    tasks.start_soon(guarded, self._work)
        if refused:
            raise refused[0]
        if self._scope.cancelled_caught:
            self._done.stop = f"no image came within {self.deadline:g} s (--deadline)"
        return self._done

    async def _feed(self, work: AsyncIterable[Work] | Iterable[Work]) -> None:
        if isinstance(work, AsyncIterable):
            async for item in work:
                await self._add(item)
        else:
            for item in work:
                await self._add(item)
        await self._queue.close()

    async def _add(self, item: Work) -> None:
        """Put every image of a request that is to be fetched into the queue."""
        entry = item.entry if isinstance(item, Repair) else item
        entry = replace(entry, output=self.output(entry))
        links = {index: image for index, image in enumerate(entry.images) if is_missing(image)}
        if isinstance(item, Repair):
            links |= {index: replace(entry.images[index], file=None, error=None) for index in item.damage}
        stem = confined(self.root, self.folder, entry.output)
        delivery = _Delivery(entry=entry, stem=stem, links=links, left=len(links))
        if not links:
            await self._settle(delivery)
            return
        for _ in links:
            self.on_image(ImageEvent(kind="queued", entry=entry))
        await self._queue.put(  # a link whose end is unknown comes first
            (dies_at(entry, image, self.profile) or 0.0, index, delivery) for index, image in links.items()
        )

    def output(self, entry: Entry) -> str:
        """The path for an entry's images: beside those that are there already, else as ``output_of`` says."""
        stored = next((image.file for image in entry.images if image.file is not None), None)
        if stored is None:
            return self.output_of(entry)
        return str(PurePosixPath(stored).with_name(PurePosixPath(entry.output).name))

    async def _work(self) -> None:
        while (taken := await self._queue.take()) is not None:
            index, delivery = taken
            if not self._busy:
                self._scope.deadline = anyio.current_time() + self.deadline
            self._busy += 1
            await self._fetch(delivery, index)
            delivery.left -= 1
            if not delivery.left:
                await self._settle(delivery)
            self._busy -= 1
            if not self._busy:
                self._scope.deadline = inf  # waiting for tasks to be done is not a download's time

    async def _fetch(self, delivery: _Delivery, index: int) -> None:
        """Try to get one image until it is stored, lost, or failed for now."""
        say = partial(ImageEvent, entry=delivery.entry)
        try:
            found = await to_thread.run_sync(self.steps.find_stored, delivery.entry, index)
        except UnfinishedError as error:
            delivery.failed[index] = _said(error)
            self.on_image(say(kind="failed", detail=_said(error)))
            return
        if found is not None:
            self._keep(delivery, index, found)
            return
        tries = iter(self.waits)
        while True:
            is_over = delivery.links[index].url is None or self._is_past(delivery, index, unknown=False)
            if is_over and not delivery.asked:
                await self._ask(delivery)
            link = delivery.links[index]
            outcome = await self._attempt(delivery, index, link)
            if isinstance(outcome, Image):
                self._keep(delivery, index, outcome)
                return
            if outcome.unkept:
                delivery.failed[index] = outcome.problem
                self.on_image(say(kind="failed", detail=outcome.problem))
                return
            if outcome.aside is not None:
                told = f"{outcome.problem}; the bytes are kept as {outcome.aside}; 'fetch --verify' asks again"
                delivery.aside[index] = told
                self.on_image(say(kind="failed", detail=told))
                return
            answered = delivery.asked or await self._ask(delivery)
            if delivery.links[index].url != link.url:
                continue  # fresh links came; a host that moved (or an emulator on another port) is helped by them too
            if outcome.dead and answered and self._is_past(delivery, index, unknown=True):
                delivery.lost.add(index)
                self.on_image(say(kind="lost", detail=LOST))
                return
            wait = None if outcome.refused or (outcome.dead and answered) else next(tries, None)
            if wait is None:
                told = outcome.problem + (f"; {UNKNOWN}" if delivery.gone and outcome.dead else "")
                delivery.failed[index] = told
                self.on_image(say(kind="failed", detail=told))
                return
            self.on_image(say(kind="again", detail=outcome.problem))
            _log.info("image %d of %s is asked for again in %g s", index + 1, delivery.entry.address, wait)
            await anyio.sleep(wait)

    def _is_past(self, delivery: _Delivery, index: int, *, unknown: bool) -> bool:
        """Whether a link's life is over by the clock; ``unknown`` where there is no time to count from."""
        dies = dies_at(delivery.entry, delivery.links[index], self.profile)
        return unknown if dies is None else dies <= self.now()

    async def _ask(self, delivery: _Delivery) -> bool:
        """Ask the task for fresh links, once for each request; whether there is an answer."""
        async with delivery.asking:
            if delivery.asked:
                return True
            fresh = await self._fresh_images(delivery.entry)
            if fresh is None:
                return False
            delivery.asked, delivery.gone = True, not fresh
            for index in delivery.links:
                if index < len(fresh) and fresh[index].url is not None:
                    delivery.links[index] = fresh[index]
            return True

    async def _fresh_images(self, entry: Entry) -> tuple[Image, ...] | None:
        """A task's images with fresh links, ``()`` if the service has it no more, None if it can't be told."""
        if entry.task_id is None:
            return ()
        report = joined([await self.service.task(one) for one in entry.task_ids], settle=True)
        if report.status == "completed":
            if len(entry.task_ids) > 1 and len(report.images) != len(entry.images):
                return None  # which link is whose can't be told
            return report.images or None  # done without images is no answer; it has been seen to pass
        return () if report.status in ("gone", "failed") else None  # a done task "fails" only by being forgotten

    async def _attempt(self, delivery: _Delivery, index: int, link: Image) -> Image | _Missed:
        """Download one image once, and store it."""
        if link.url is None:
            why = "the service has no link for it any more" if delivery.asked else "its task can not be asked now"
            return _Missed(problem=why, dead=delivery.asked)
        sink = await to_thread.run_sync(Sink, temporary(delivery.stem, delivery.entry, index, self.token))
        try:
            name = f"image {index + 1} of {delivery.entry.address}"
            _log.info("GET %s: %s", name, _shown(link.url))
            missed = await self._download(link.url, sink)
            _log.info("%s: %s", name, missed.problem if missed else f"{sink.size} bytes")
            came = sink.sha256
            outcome = missed or await self._store(delivery, index, sink)
            if isinstance(outcome, _Missed) and outcome.damaged:
                again = delivery.undecodable.get(index) == came
                delivery.undecodable[index] = came
                if again:  # it is not the way that damages it: whoever paid may know a program that reads it
                    placed = await to_thread.run_sync(place, sink.path, delivery.path(index), DAMAGED, came)
                    return replace(outcome, aside=placed.name)
            return outcome
        finally:
            sink.discard()

    async def _download(self, url: str, sink: Sink) -> _Missed | None:
        """Download ``url`` into ``sink``; None if a body came whole that begins like an image."""
        reply = await self.downloads.get(url, sink.write)
        if reply.status in DEAD:
            return _Missed(problem=f"the link is dead: HTTP {reply.status}", dead=True)
        if reply.problem is not None:
            return _Missed(problem=without_keys(reply.problem), refused=reply.refused)  # a host's words
        sink.finish()
        wrong = disguise(sink.head, sink.size)
        return None if wrong is None else _Missed(problem=wrong, damaged=wrong == NO_IMAGE)

    async def _store(self, delivery: _Delivery, index: int, sink: Sink) -> Image | _Missed:
        """Examine, name and describe a file that was downloaded."""
        entry, stem, steps = delivery.entry, delivery.path(index), self.steps
        format = sniff(sink.head)
        assert format is not None  # ``disguise`` has looked
        came = KeptBytes(sha256=sink.sha256, bytes=sink.size)
        # Decoding may take long, in a child; the other steps write files, so a cancellation waits for them.
        seen = await to_thread.run_sync(steps.examine, sink.path, came.sha256, abandon_on_cancel=True)
        if seen.problem is not None:
            return _Missed(problem=seen.problem, damaged=True)
        kept = await to_thread.run_sync(steps.prepare, sink.path, entry, came)
        image = Image(
            expires_at=delivery.links[index].expires_at,
            sha256=kept.sha256,
            bytes=kept.bytes,
            width=seen.width,
            height=seen.height,
            format=format,
            warnings=(*find_departures(entry.request, format, seen, self.profile), *kept.warnings),
        )
        try:
            stored = await to_thread.run_sync(steps.keep, sink.path, image, abandon_on_cancel=True)
            naming = place if steps.local else free_name
            placed = await to_thread.run_sync(naming, sink.path, stem, EXTENSIONS[format], kept.sha256)
            if placed.name != stem.name + EXTENSIONS[format]:
                why = f"kept as {placed.name}, because {stem.name + EXTENSIONS[format]} was there with other content"
                image = replace(image, warnings=(*image.warnings, why))
            image = replace(image, file=str(PurePosixPath(entry.output).with_name(placed.name)), object=stored)
            said = await to_thread.run_sync(steps.describe, entry, index, image, came.sha256)
        except UnfinishedError as error:
            return _Missed(problem=_said(error), unkept=True)
        return replace(image, warnings=image.warnings + said)

    def _keep(self, delivery: _Delivery, index: int, image: Image) -> None:
        self._scope.deadline = anyio.current_time() + self.deadline
        _log.info("stored %s: %s bytes, sha256 %s", image.file, image.bytes, image.sha256)
        delivery.got[index] = image
        self._done.images += 1
        self._done.bytes += image.bytes or 0
        self._done.warnings += len(image.warnings)
        self.on_image(ImageEvent(kind="stored", entry=delivery.entry, image=image))

    async def _settle(self, delivery: _Delivery) -> None:
        """Record what became of a request, once all its images came to an end."""
        entry, done, at = delivery.entry, self._done, int(self.now())
        trouble = partial(Trouble, address=entry.address)
        for problems in (delivery.failed, delivery.aside):
            done.unfinished += [trouble(problem=problem) for _, problem in sorted(problems.items())]
        done.lost += [trouble(problem=LOST) for _ in delivery.lost]
        if entry.state is State.STORED:  # a repair: what it did not bring back stays as it was recorded
            images = tuple(_repaired(old, delivery.got.get(index)) for index, old in enumerate(entry.images))
            if images != entry.images:
                await self.ledger.record(Stored(key=entry.key, at=at, images=images))
            done.requests += bool(delivery.got)
            return
        left = without_data(delivery.unstored(index) for index in range(len(entry.images)))
        has_files = any(image.file for image in entry.images)
        if delivery.failed:  # it stays completed; what is whole is found by the next call
            if delivery.aside or any(left[index].url != entry.images[index].url for index in delivery.failed):
                await self.ledger.record(Completed(key=entry.key, at=at, images=left))
        elif not delivery.links and not has_files:
            said = next((image.error for image in entry.images if image.error), "the task delivered no image")
            done.unfinished.append(trouble(problem=said))
        elif delivery.got or has_files:
            images = without_data(delivery.got.get(index) or image for index, image in enumerate(left))
            await self.ledger.record(Stored(key=entry.key, at=at, images=images))
            done.requests += bool(delivery.got)
        elif delivery.aside:
            if left != entry.images:
                await self.ledger.record(Completed(key=entry.key, at=at, images=left))
        else:
            await self.ledger.record(Expired(key=entry.key, at=at))


def _repaired(old: Image, new: Image | None) -> Image:
    """The record of an image that was fetched again: as it was, where the same bytes came back to the same place."""
    if new is None or (new.file, new.sha256) != (old.file, old.sha256):
        return new or old
    return replace(old, object=new.object or old.object)


def _said(error: SeedreamError) -> str:
    return error.message if error.hint is None else f"{error.message}; {error.hint}"


def _shown(url: str) -> str:
    """A link without what may open it: a signature stands behind the question mark."""
    return url.partition(":")[0] + ":…" if url[:5].lower() == "data:" else url.partition("?")[0]
