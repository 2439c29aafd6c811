"""Fetches the images of completed requests whole, those first whose links die first, and records each request once.

An image is downloaded to a temporary name in its folder and hashed on the way; its length and first bytes are looked
at; it is decoded once; then it gets its name and a request whose images are all durable is recorded as stored. What
goes wrong with a download never changes a paid task: it stays completed, and the next ``fetch`` goes on. Only where
the links are dead, past their time *and* the service has no fresh ones is a request recorded as expired.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path, PurePosixPath
from typing import Protocol

import anyio
from anyio import to_thread

from seedream_jobs.errors import SeedreamError
from seedream_jobs.ledger.state import Completed, Entry, Event, Expired, Image, State, Stored
from seedream_jobs.profile import Profile
from seedream_jobs.run.download import Downloads, Missed, discarding, receive, temporary
from seedream_jobs.run.fetch_queue import Fetched, Order, Progress, Queue, Trouble
from seedream_jobs.run.finishing import Finishing, Plain, Prepared
from seedream_jobs.run.images import DAMAGED, EXTENSIONS, departures, sniff
from seedream_jobs.run.links import dies_at, recordable, wanted
from seedream_jobs.run.placing import Sink, confined, place
from seedream_jobs.run.refresh import Refresh
from seedream_jobs.run.verify import Repair

_log = logging.getLogger(__name__)
WAITS: tuple[float, ...] = (1.0, 4.0, 15.0)
"""Seconds to wait before the second, third and fourth attempt at an image."""

LOST = "the link died before the image was fetched"
UNKNOWN = "the service does not know its task: is the key of another account?"

Work = Entry | Repair


class LedgerPort(Protocol):
    """Makes an event durable; returns once it is."""

    async def record(self, event: Event) -> None: ...


class _Fetch:
    """The state of one ``fetch`` call."""

    def __init__(
        self,
        downloads: Downloads,
        record: LedgerPort,
        refresh: Refresh,
        finishing: Finishing,
        profile: Profile,
        now: Callable[[], float],
        folder: Path,
        root: Path,
        waits: Sequence[float],
        deadline: float,
        on_progress: Callable[[Progress], None],
        output_of: Callable[[Entry], str],
    ) -> None:
        self.downloads, self.record, self.refresh, self.finishing = downloads, record, refresh, finishing
        self.profile, self.now, self.folder, self.root = profile, now, folder, root
        self.waits, self.say, self.output_of = waits, on_progress, output_of
        self.deadline = deadline
        self.queue = Queue()
        self.done = Fetched()
        self.busy = 0
        self.scope = anyio.CancelScope()

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
        """Where an entry's images go: beside those that are there already, else where the duty says."""
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
            outcome = missed if missed is not None else await self.finish(order, index, sink)
            if isinstance(outcome, Missed) and outcome.damaged:
                again = order.undecodable.get(index) == came
                order.undecodable[index] = came
                if again:  # it is not the way that damages it: whoever paid may know a program that reads it
                    placed = await to_thread.run_sync(place, sink.path, self.stem(order, index), DAMAGED, came)
                    return replace(outcome, aside=placed.path.name)
            return outcome

    def stem(self, order: Order, index: int) -> Path:
        """The final path of an image, without extension."""
        return order.stem.with_name(PurePosixPath(order.entry.output_of(index)).name)

    async def finish(self, order: Order, index: int, sink: Sink) -> Image | Missed:
        """Examine, name and describe the file that was downloaded."""
        entry, format = order.entry, sniff(sink.head)
        assert format is not None  # ``receive`` has looked
        came = Prepared(sha256=sink.sha256, bytes=sink.size)
        kept = await to_thread.run_sync(self.finishing.prepare, sink.path, entry, index, came)
        seen = await self.finishing.examine(sink.path, kept.sha256)
        if seen.problem is not None:
            return Missed(problem=seen.problem, damaged=True)
        stem = self.stem(order, index)
        placed = await to_thread.run_sync(place, sink.path, stem, EXTENSIONS[format], kept.sha256)
        name, warnings = placed.path.name, (*departures(entry.request, format, seen, self.profile), *kept.warnings)
        if name != stem.name + EXTENSIONS[format]:
            warnings += (f"kept as {name}, because {stem.name + EXTENSIONS[format]} was there with other content",)
        image = Image(
            expires_at=order.links[index].expires_at,
            file=str(PurePosixPath(entry.output).with_name(name)),
            sha256=kept.sha256,
            bytes=kept.bytes,
            width=seen.width,
            height=seen.height,
            format=format,
            warnings=warnings,
        )
        said = await to_thread.run_sync(self.finishing.describe, entry, index, image, came.sha256)
        return replace(image, warnings=image.warnings + said)

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
    downloads: Downloads,
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
        downloads, record, refresh, finishing or Plain(), profile, now, folder, root, waits, deadline, on_progress,
        output_of,
    )  # fmt: skip
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
