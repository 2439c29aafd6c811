"""Fetches the images of completed requests whole, those first whose links die first, and records each request once.

An image is downloaded to a temporary name in its folder and hashed on the way; its length and first bytes are looked
at; it is decoded once; then it gets its name and a request whose images are all durable is recorded as stored. Called
by ``session``. Invariant: what goes wrong with a download never changes a paid task: it stays completed, and the next
``fetch`` goes on. Only where the links are dead, past their time *and* the service has no fresh ones is a request
recorded as expired.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

import anyio
from anyio import to_thread

from seedream_jobs.api.tasks import TaskReport, joined
from seedream_jobs.errors import ExitCode, SeedreamError, gravest
from seedream_jobs.ledger.state import Completed, Entry, Expired, Image, State, Stored
from seedream_jobs.model_profile import Profile
from seedream_jobs.run.atomic_file import Sink, confined, place
from seedream_jobs.run.images import DAMAGED, MAX_BYTES, NO_IMAGE, disguise
from seedream_jobs.run.links import dies_at, recordable, wanted
from seedream_jobs.run.store_image import Finishing, Repair, store_image
from seedream_jobs.run.submit import LedgerPort

DEAD = frozenset({401, 403, 404, 410})
"""What an image host answers for a link that has died; signed links of object stores answer 403."""


class DownloadReply(Protocol):
    """How a download went, as the network's side reports it: ``api.downloads.Download``.

    ``problem`` is None if the body came whole; ``refused`` if the link is one that must not be followed.
    """

    @property
    def status(self) -> int | None: ...
    @property
    def content_type(self) -> str | None: ...
    @property
    def content_length(self) -> int | None: ...
    @property
    def received(self) -> int: ...
    @property
    def problem(self) -> str | None: ...
    @property
    def refused(self) -> bool: ...


class Downloader(Protocol):
    """Gets a link without the API key, its address checked, redirects included; hands the body over as it comes."""

    async def get(self, url: str, write: Callable[[bytes], object], *, max_bytes: int) -> DownloadReply: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """No image came.

    :param damaged: the body came whole, and can't be decoded
    :param aside: the name under which such bytes, which came twice, are kept
    :param dead: the host says that the link is no good (any more); asking it again is no use
    :param refused: the link leads where we don't go; asking it again is no use either, but the host was not heard
    """

    problem: str
    damaged: bool = False
    aside: str | None = None
    dead: bool = False
    refused: bool = False


@contextmanager
def discarding(sink: Sink) -> Iterator[Sink]:
    """``sink``, its temporary file removed on the way out, also when the work is cancelled or fails."""
    try:
        yield sink
    finally:
        sink.discard()


async def receive(downloads: Downloader, url: str, sink: Sink) -> Missed | None:
    """Download ``url`` into ``sink``; None if a body came whole that begins like an image.

    :raises SeedreamError: if the disk is full or failing
    """
    try:
        reply = await downloads.get(url, sink.write, max_bytes=MAX_BYTES)
    except OSError as error:
        if sink.error is not None:
            raise sink.error from error
        return Missed(problem=f"the download broke off: {error}")
    if sink.error is not None:
        raise sink.error
    if reply.status in DEAD:
        return Missed(problem=f"the link is dead: HTTP {reply.status}", dead=True)
    if reply.problem is not None:
        return Missed(problem=reply.problem, refused=reply.refused)
    if reply.status != 200:
        return Missed(problem=f"the image host answered HTTP {reply.status}")
    if reply.content_length is not None and reply.content_length != reply.received:
        return Missed(problem=f"{reply.received} of {reply.content_length} bytes came")
    sink.finish()
    wrong = disguise(sink.head, sink.size)
    return None if wrong is None else Missed(problem=wrong, damaged=wrong == NO_IMAGE)


def temporary(stem: Path, entry: Entry, index: int) -> Path:
    """The temporary name for one image, in the folder of ``stem``.

    The same for each attempt, so that what a killed process left behind is overwritten by the next one; and nobody
    else's: two jobs may fetch the same request, each its own task, into one folder.
    """
    key = entry.key.rpartition(":")[2][:16]
    return stem.with_name(f".{key}-{entry.task_id or entry.generation}-{index}.part")


Refresh = Callable[[Entry], Awaitable[tuple[Image, ...] | None]]
"""Asks the task again: its images with fresh links, ``()`` if the service has it no more, None if it can't be told."""


def refresher(task: Callable[[str], Awaitable[TaskReport]]) -> Refresh:
    """A ``Refresh`` over the client's ``task`` call."""

    async def refresh(entry: Entry) -> tuple[Image, ...] | None:
        if entry.task_id is None:
            return ()
        report = joined([await task(one) for one in entry.task_ids], settle=True)
        if len(entry.task_ids) > 1 and report.status == "completed" and len(report.images) != len(entry.images):
            return None  # which link is whose can't be told
        if report.status == "completed":
            return report.images or None  # done without images is no answer; it has been seen to pass
        if report.status in ("gone", "failed"):  # a task that was done can "fail" only by being forgotten
            return ()
        return None

    return refresh


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Something to show: an image was queued, stored, failed for now or was lost, or an attempt is made again.

    ``index`` counts the request's images from 0; ``image`` is set for ``stored``; ``detail`` says what went wrong.
    """

    kind: Literal["queued", "stored", "again", "failed", "lost"]
    entry: Entry
    index: int
    image: Image | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """An image that was not fetched, and why."""

    key: str
    address: str
    index: int
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


@dataclass(slots=True, kw_only=True, eq=False)
class Order:
    """One request on its way: its links as last known, and what became of each of its images.

    ``aside`` are those whose bytes can't be decoded and are kept under another name, each with the words for it;
    ``undecodable`` has the sha256 of such bytes that came once.
    """

    entry: Entry
    stem: Path
    links: dict[int, Image]
    left: int = 0
    got: dict[int, Image] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    aside: dict[int, str] = field(default_factory=dict)
    undecodable: dict[int, str] = field(default_factory=dict)
    asked: bool = False
    gone: bool = False
    asking: anyio.Lock = field(default_factory=anyio.Lock)


class Queue:
    """Images to fetch, the one whose link dies first first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, Order]] = []
        self._count = 0
        self._closed = False
        self._changed = anyio.Condition()

    async def put(self, jobs: Iterable[tuple[float, int, Order]]) -> None:
        async with self._changed:
            for dies, index, order in jobs:
                heapq.heappush(self._heap, (dies, self._count, index, order))
                self._count += 1
            self._changed.notify_all()

    async def close(self) -> None:
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def take(self) -> tuple[int, Order] | None:
        """The next image; None once all are taken and no more will come."""
        async with self._changed:
            while not self._heap:
                if self._closed:
                    return None
                await self._changed.wait()
            _, _, index, order = heapq.heappop(self._heap)
            return index, order


_log = logging.getLogger(__name__)
WAITS: tuple[float, ...] = (1.0, 4.0, 15.0)
"""Seconds to wait before the second, third and fourth attempt at an image."""

LOST = "the link died before the image was fetched"
UNKNOWN = "the service does not know its task: is the key of another account?"

Work = Entry | Repair


@dataclass(slots=True, kw_only=True)
class _Fetch:
    """The state of one ``fetch`` call; its parameters are explained there."""

    downloads: Downloader
    record: LedgerPort
    refresh: Refresh
    finishing: Finishing
    profile: Profile
    now: Callable[[], float]
    folder: Path
    root: Path
    waits: Sequence[float]
    deadline: float
    say: Callable[[Progress], None]
    output_of: Callable[[Entry], str]
    queue: Queue = field(default_factory=Queue)
    done: Fetched = field(default_factory=Fetched)
    busy: int = 0
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def feed(self, work: AsyncIterable[Work] | Iterable[Work]) -> None:
        """Put every image of ``work`` that is to be fetched into the queue, then close it."""
        if isinstance(work, AsyncIterable):
            async for item in work:
                await self.add(item)
        else:
            for item in work:
                await self.add(item)
        await self.queue.close()

    async def add(self, item: Work) -> None:
        entry = item.entry if isinstance(item, Repair) else item
        entry = replace(entry, output=self._output(entry))
        asked = {index: image for index, image in enumerate(entry.images) if wanted(image)}
        if isinstance(item, Repair):
            asked |= {index: replace(entry.images[index], file=None, error=None) for index in item.damage}
        stem = confined(self.root, self.folder, entry.output)
        order = Order(entry=entry, stem=stem, links=asked, left=len(asked))
        if not asked:
            await self.settle(order)
            return
        for index in asked:
            self.say(Progress(kind="queued", entry=entry, index=index))
        jobs = ((dies_at(entry, image, self.profile) or 0.0, index, order) for index, image in asked.items())
        await self.queue.put(jobs)

    def _output(self, entry: Entry) -> str:
        """Where an entry's images go: beside those that are there already, else as ``output_of`` says."""
        stored = next((image.file for image in entry.images if image.file is not None), None)
        if stored is None:
            return self.output_of(entry)
        return str(PurePosixPath(stored).with_name(PurePosixPath(entry.output).name))

    async def work(self) -> None:
        """Fetch images until there are none left; the last one of a request settles it."""
        while (job := await self.queue.take()) is not None:
            index, order = job
            if not self.busy:
                self.scope.deadline = anyio.current_time() + self.deadline
            self.busy += 1
            await self.fetch_image(order, index)
            order.left -= 1
            if not order.left:
                await self.settle(order)
            self.busy -= 1
            if not self.busy:
                self.scope.deadline = inf  # waiting for tasks to be done is not a download's time

    async def fetch_image(self, order: Order, index: int) -> None:
        """Come to an end with one image: got, lost, or failed for now."""
        found = await to_thread.run_sync(self.finishing.already, order.entry, index)
        if found is not None:
            self.keep(order, index, found)
            return
        tries = iter(self.waits)
        while True:
            if not order.asked and self.is_over(order, index):
                await self.ask(order)
            link = order.links[index]
            outcome = await self.attempt(order, index, link)
            if isinstance(outcome, Image):
                self.keep(order, index, outcome)
                return
            if outcome.aside is not None:
                order.aside[index] = (
                    f"{outcome.problem}; the bytes are kept as {outcome.aside}; 'fetch --verify' asks again"
                )
                self.say(Progress(kind="failed", entry=order.entry, index=index, detail=order.aside[index]))
                return
            answered = order.asked or await self.ask(order)
            if order.links[index].url != link.url:
                continue  # fresh links came; a host that moved (or an emulator on another port) is helped by them too
            if outcome.dead and answered and self.is_past(order, index):
                self.lose(order, index)
                return
            wait = None if outcome.refused or (outcome.dead and answered) else next(tries, None)
            if wait is None:
                said = f"; {UNKNOWN}" if order.gone and outcome.dead else ""
                self.give_up(order, index, outcome.problem + said)
                return
            self.say(Progress(kind="again", entry=order.entry, index=index, detail=outcome.problem))
            _log.info("image %d of %s is asked for again in %g s", index + 1, order.entry.address, wait)
            await anyio.sleep(wait)

    def is_over(self, order: Order, index: int) -> bool:
        """Is the link missing, or by the clock dead?"""
        dies = dies_at(order.entry, order.links[index], self.profile)
        return order.links[index].url is None or (dies is not None and dies <= self.now())

    def is_past(self, order: Order, index: int) -> bool:
        """Is the link's life over, by the clock or for want of a time to count from?"""
        dies = dies_at(order.entry, order.links[index], self.profile)
        return dies is None or dies <= self.now()

    async def ask(self, order: Order) -> bool:
        """Ask the task for fresh links, once for each request; is there an answer?"""
        async with order.asking:
            if order.asked:
                return True
            fresh = await self.refresh(order.entry)
            if fresh is None:
                return False
            order.asked, order.gone = True, not fresh
            for index in order.links:
                if index < len(fresh) and fresh[index].url is not None:
                    order.links[index] = fresh[index]
            return True

    async def attempt(self, order: Order, index: int, link: Image) -> Image | Missed:
        """One download of one image, as far as its final name."""
        if link.url is None:
            answered = "the service has no link for it any more" if order.asked else "its task can not be asked now"
            return Missed(problem=answered, dead=order.asked)
        temp = temporary(order.stem, order.entry, index)
        sink = await to_thread.run_sync(Sink, temp)
        with discarding(sink):
            _log.info("GET image %d of %s: %s", index + 1, order.entry.address, _shown(link.url))
            missed = await receive(self.downloads, link.url, sink)
            _log.info(
                "image %d of %s: %s", index + 1, order.entry.address, missed.problem if missed else f"{sink.size} bytes"
            )
            came = sink.sha256
            outcome = missed if missed is not None else await self.store(order, index, sink)
            if isinstance(outcome, Missed) and outcome.damaged:
                again = order.undecodable.get(index) == came
                order.undecodable[index] = came
                if again:  # it is not the way that damages it: whoever paid may know a program that reads it
                    placed = await to_thread.run_sync(place, sink.path, self.stem(order, index), DAMAGED, came)
                    return replace(outcome, aside=placed.name)
            return outcome

    def stem(self, order: Order, index: int) -> Path:
        """The final path of an image, without extension."""
        return order.stem.with_name(PurePosixPath(order.entry.output_of(index)).name)

    async def store(self, order: Order, index: int, sink: Sink) -> Image | Missed:
        stored = await store_image(
            sink,
            order.entry,
            index,
            stem=self.stem(order, index),
            expires_at=order.links[index].expires_at,
            finishing=self.finishing,
            profile=self.profile,
        )
        return stored if isinstance(stored, Image) else Missed(problem=stored, damaged=True)

    def keep(self, order: Order, index: int, image: Image) -> None:
        self.scope.deadline = anyio.current_time() + self.deadline
        _log.info("stored %s: %s bytes, sha256 %s", image.file, image.bytes, image.sha256)
        order.got[index] = image
        self.done.images += 1
        self.done.bytes += image.bytes or 0
        self.done.warnings += len(image.warnings)
        self.say(Progress(kind="stored", entry=order.entry, index=index, image=image))

    def give_up(self, order: Order, index: int, problem: str) -> None:
        order.failed[index] = problem
        self.say(Progress(kind="failed", entry=order.entry, index=index, detail=problem))

    def lose(self, order: Order, index: int) -> None:
        order.lost.add(index)
        self.say(Progress(kind="lost", entry=order.entry, index=index, detail=LOST))

    def left(self, order: Order, index: int) -> Image:
        """What is on record of an image that was not stored now."""
        old = order.entry.images[index]
        if index in order.lost:
            return replace(old, url=None, error=LOST)
        if index in order.aside:
            return replace(order.links[index], error=order.aside[index])
        return order.links.get(index, old) if index in order.failed else old

    async def settle(self, order: Order) -> None:
        """Record what became of a request, once all its images came to an end."""
        entry = order.entry
        trouble = partial(Trouble, key=entry.key, address=entry.address)
        self.done.unfinished += [trouble(index=index, problem=said) for index, said in sorted(order.failed.items())]
        self.done.unfinished += [trouble(index=index, problem=said) for index, said in sorted(order.aside.items())]
        self.done.lost += [trouble(index=index, problem=LOST) for index in sorted(order.lost)]
        if entry.state is State.STORED:  # a repair: what it did not bring back stays as it was recorded
            images = tuple(_repaired(old, order.got.get(index)) for index, old in enumerate(entry.images))
            if images != entry.images:
                await self.record.record(Stored(key=entry.key, at=int(self.now()), images=images))
        elif order.failed:  # it stays completed; what is whole is found by the next call
            fresh = recordable(self.left(order, index) for index in range(len(entry.images)))
            if order.aside or any(fresh[index].url != entry.images[index].url for index in order.failed):
                await self.record.record(Completed(key=entry.key, at=int(self.now()), images=fresh))
            return
        elif not order.links and not any(image.file for image in entry.images):
            said = next((image.error for image in entry.images if image.error), "the task delivered no image")
            self.done.unfinished.append(trouble(index=0, problem=said))
            return
        elif order.got or any(image.file for image in entry.images):
            images = tuple(order.got.get(index) or self.left(order, index) for index in range(len(entry.images)))
            await self.record.record(Stored(key=entry.key, at=int(self.now()), images=recordable(images)))
        elif order.aside:
            images = recordable(self.left(order, index) for index in range(len(entry.images)))
            if images != entry.images:
                await self.record.record(Completed(key=entry.key, at=int(self.now()), images=images))
        else:
            await self.record.record(Expired(key=entry.key, at=int(self.now())))
            return
        self.done.requests += bool(order.got)


def _repaired(old: Image, new: Image | None) -> Image:
    """The record of an image that was fetched again: as it was, where the same bytes came back to the same place."""
    if new is None or (new.file, new.sha256) == (old.file, old.sha256):
        return old
    return new


async def fetch(
    work: AsyncIterable[Work] | Iterable[Work],
    *,
    downloads: Downloader,
    record: LedgerPort,
    refresh: Refresh,
    folder: Path,
    root: Path,
    profile: Profile,
    now: Callable[[], float],
    finishing: Finishing | None = None,
    concurrency: int = 8,
    waits: Sequence[float] = WAITS,
    deadline: float = inf,
    on_progress: Callable[[Progress], None] = lambda _: None,
    output_of: Callable[[Entry], str] = lambda entry: entry.output,
) -> Fetched:
    """Fetch the images of ``work``: completed requests, and stored ones that ``verify`` found damaged.

    Cancelling it stops at once and loses nothing: temporary files are removed, what is named stays.

    :param folder: the manifest's folder, to which outputs and files are relative
    :param root: the campaign's root, which no file leaves
    :param now: Unix seconds
    :param concurrency: images that are fetched at a time
    :param output_of: where an entry's images go of which none is stored yet, as ``Entry.output``
    :param waits: seconds before each further attempt at an image; their number bounds the attempts
    :param deadline: seconds without a further image after which it ends, with what is left unfinished
    :raises LedgerError: if the disk is full or failing, or the record can't be made durable
    :raises UsageError: if an output leads out of the campaign's root, or its folder can't be written
    """
    run = _Fetch(
        downloads=downloads,
        record=record,
        refresh=refresh,
        finishing=finishing or Finishing(),
        profile=profile,
        now=now,
        folder=folder,
        root=root,
        waits=waits,
        deadline=deadline,
        say=on_progress,
        output_of=output_of,
    )
    refused: list[SeedreamError] = []

    async def guarded(task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except SeedreamError as error:
            refused.append(error)
            tasks.cancel_scope.cancel()

    if not isinstance(work, AsyncIterable):
        await run.feed(work)  # all of them first, so that the heap knows the one that dies first
    with run.scope:
        async with anyio.create_task_group() as tasks:
            if isinstance(work, AsyncIterable):
                tasks.start_soon(guarded, partial(run.feed, work))
            for _ in range(concurrency):
                tasks.start_soon(guarded, run.work)
    if refused:
        raise refused[0]
    if run.scope.cancelled_caught:
        run.done.stop = f"no image came within {deadline:g} s (--deadline)"
    return run.done


def _shown(url: str) -> str:
    """A link without what may open it: a signature stands behind the question mark."""
    return url.partition(":")[0] + ":…" if url[:5].lower() == "data:" else url.partition("?")[0]
