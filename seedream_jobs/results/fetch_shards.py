"""This module lets the workers of an engine download images: the coordinator's part, and a worker's.

Called by ``open_tasks``, and on a worker by ``engines.work_shard``. Invariant: the ledger is the coordinator's, which
reads what a worker says as strictly as a record.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path, PurePosixPath
from typing import Any

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream

from seedream_jobs import __version__
from seedream_jobs.api.credentials import endpoint, proxy_for
from seedream_jobs.api.downloads import Downloads
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.atomic_file import confined
from seedream_jobs.errors import SeedreamError, UsageError
from seedream_jobs.inside import STATE_FOLDER, OutsideRoot
from seedream_jobs.ledger.codec import Json, Malformed, decode, encode
from seedream_jobs.ledger.manifest import read_event
from seedream_jobs.ledger.state import Entry, Event, Image, State, Stored
from seedream_jobs.model_profile import profiles
from seedream_jobs.results.engines import AT_ONCE, SHARD, Engine, decoders
from seedream_jobs.results.image_steps import CampaignImageSteps
from seedream_jobs.results.image_store import object_name, open_at
from seedream_jobs.results.sidecar import Provenance
from seedream_jobs.run.fetch import Fetched, Fetcher, ImageEvent, Work, temporary
from seedream_jobs.run.images import EXTENSIONS, is_missing

IDLE = 1.0
"""Seconds after which a shard that is not full is handed out all the same."""

PutBack = Callable[[Work], None]


@dataclass(slots=True, kw_only=True)
class HandedOut:
    """Lets the workers of an engine download one job's images, and records what came.

    What they did not bring (a dead link, a host that did not answer) is fetched here as ever.

    :param campaign: what each shard says of it (``Engine.campaign``)
    :param folder: of the manifest, relative to the campaign's root
    """

    engine: Engine
    steps: CampaignImageSteps
    campaign: Json
    folder: PurePosixPath
    _refused: list[SeedreamError] = field(default_factory=list)

    async def run(self, fetcher: Fetcher, work: MemoryObjectReceiveStream[Work]) -> Fetched:
        """As ``Fetcher.run``."""
        send, here = anyio.create_memory_object_stream[Work](max_buffer_size=inf)
        came, left = Fetched(), Fetched()
        limiter = anyio.CapacityLimiter(AT_ONCE)

        async def rest() -> None:
            nonlocal left
            try:
                left = await fetcher.run(here)
            except SeedreamError as error:
                self._refused.append(error)
                both.cancel_scope.cancel()

        async def shard(entries: Sequence[Entry]) -> None:
            try:
                answer = await to_thread.run_sync(
                    self.engine.work, self._shard(fetcher, entries), abandon_on_cancel=True, limiter=limiter
                )
                await self._record(fetcher, entries, answer, came, send.send_nowait)
            except SeedreamError as error:
                self._refused.append(error)
                both.cancel_scope.cancel()

        with here, send:
            async with anyio.create_task_group() as both:
                both.start_soon(rest)
                async with anyio.create_task_group() as shards:
                    async for some in _batches(work, send.send_nowait):
                        shards.start_soon(shard, some)
                send.close()
        if self._refused:
            raise self._refused[0]
        return replace(
            left,
            requests=left.requests + came.requests,
            images=left.images + came.images,
            bytes=left.bytes + came.bytes,
            warnings=left.warnings + came.warnings,
        )

    def _shard(self, fetcher: Fetcher, entries: Sequence[Entry]) -> Json:
        return {
            **self.campaign,
            "work": "fetch",
            "base": fetcher.downloads.base,
            "model": fetcher.profile.id,
            "embed": self.steps.embed_metadata,
            "provenance": asdict(self.steps.provenance),
            "store": None if self.steps.store is None else self.steps.store.objects.url,
            "local": self.steps.local,
            "record": self.steps.record(),
            "entries": [encode(replace(entry, output=fetcher.output(entry))) for entry in entries],
        }

    async def _record(
        self, fetcher: Fetcher, entries: Sequence[Entry], answer: Json, came: Fetched, put_back: PutBack
    ) -> None:
        events = await to_thread.run_sync(lambda: list(self._stored(answer, fetcher)))
        stored = {event.key: event for event in events}
        for entry in entries:
            event = stored.get(entry.key)
            if event is None or len(event.images) != len(entry.images):
                put_back(entry)
                continue
            await fetcher.ledger.record(replace(event, at=int(fetcher.now())))
            came.requests += 1
            for old, image in zip(entry.images, event.images, strict=True):
                if is_missing(old) and image.file is not None:
                    came.images += 1
                    came.bytes += image.bytes or 0
                    came.warnings += len(image.warnings)
                    fetcher.on_image(ImageEvent(kind="queued", entry=entry))
                    fetcher.on_image(ImageEvent(kind="stored", entry=entry, image=image))

    def _stored(self, answer: Json, fetcher: Fetcher) -> Iterator[Stored]:
        """What a worker says was stored, where the images are there: whoever reaches the cluster may have said it."""
        for raw in answer.get("events", ()):
            try:
                event = read_event(dict(raw), self.folder)
                if isinstance(event, Stored) and all(self._is_there(image, fetcher) for image in event.images):
                    yield event
            except (Malformed, OutsideRoot, UsageError, OSError, TypeError, ValueError):
                continue  # the request is fetched here

    def _is_there(self, image: Image, fetcher: Fetcher) -> bool:
        if image.file is None:
            return True
        path, store = confined(fetcher.root, fetcher.folder, image.file), self.steps.store
        if image.sha256 is None:
            return False
        if self.steps.local or store is None:
            return path.stat().st_size == image.bytes
        # Of an image that is in the store alone the sidecar beside it was created last.
        name = object_name(image.sha256, EXTENSIONS.get(image.format or "", ""))
        return image.object == name and store.sidecar(image) is not None


async def _batches(work: MemoryObjectReceiveStream[Work], put_back: PutBack) -> AsyncIterator[list[Entry]]:
    """What is to be fetched in lists of about ``SHARD`` images; what only this machine can do is put back."""
    batch: list[Entry] = []
    images = 0
    while True:
        item: Work | None = None
        try:
            with anyio.move_on_after(IDLE if batch else None):
                item = await work.receive()
        except anyio.EndOfStream:
            break
        if isinstance(item, Entry) and item.state is State.COMPLETED and _can_go(item):
            batch.append(item)
            images += len(item.images)
        elif item is not None:
            put_back(item)
        if batch and (item is None or images >= SHARD):
            yield batch
            batch, images = [], 0
    if batch:
        yield batch


def _can_go(entry: Entry) -> bool:
    """Whether a worker can fetch it: each image that is missing has a link that is no image itself."""
    missing = [image for image in entry.images if is_missing(image)]
    return bool(missing) and all(image.url is not None and image.url[:5].lower() != "data:" for image in missing)


# -- a worker ----------------------------------------------------------------------------------------------------------


def sweep(shard: Mapping[str, Any], token: str) -> None:
    """Remove what a lost worker may have left of a try."""
    for raw in shard.get("entries", ()):
        entry = decode(Entry, dict(raw))
        with suppress(SeedreamError):
            stem = confined(Path(shard["root"]), Path(shard["folder"]), entry.output)
            for index in range(len(entry.images)):
                with suppress(OSError):
                    temporary(stem, entry, index, token).unlink()


class _Events:
    """Keeps in memory what the coordinator will record."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def record(self, event: Event) -> None:
        self.events.append(event)


class _NoService:
    """A worker has no key, so it can't ask for fresh links: the coordinator does."""

    async def task(self, task_id: str) -> TaskReport:
        return TaskReport(status="unavailable")


def work(asked: Json) -> Json:
    """Download the images of some requests, and say which requests have all of theirs."""
    root, folder, told = Path(asked["root"]), Path(asked["folder"]), _Events()
    steps = CampaignImageSteps(
        decoders=decoders(),
        folder=folder,
        root=root,
        cache=root / STATE_FOLDER / "thumbnails",
        now=time.time,
        provenance=Provenance(**asked["provenance"]),
        embed_metadata=asked["embed"],
        token=asked["token"],
        store=None if asked["store"] is None else open_at(asked["store"]),
        local=asked["local"],
        record=lambda: tuple(asked["record"]),
    )
    where = endpoint(asked["base"])

    async def fetch() -> None:
        proxy = proxy_for(where, os.environ)
        async with Downloads(where.base, user_agent=f"seedream-jobs/{__version__}", proxy=proxy) as downloads:
            await Fetcher(
                downloads=downloads,
                service=_NoService(),  # type: ignore[arg-type]  # a fetcher submits nothing
                ledger=told,
                steps=steps,
                profile=profiles()[asked["model"]],
                folder=folder,
                root=root,
                now=time.time,
                waits=(1.0,),
                token=asked["token"],
            ).run([decode(Entry, raw) for raw in asked["entries"]])

    anyio.run(fetch)
    return {"events": [encode(event) for event in told.events if isinstance(event, Stored)]}
