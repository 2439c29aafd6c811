"""This module hands work on images to an executor in shards: threads of this process, or the workers of a Dask cluster.

Called by ``open_tasks`` for downloads and by ``gallery`` for thumbnails. Invariants: no POST and no key goes this way,
since an executor may run a task twice; a shard is plain JSON, and doing it twice leaves each image once; the ledger is
the coordinator's, which reads what a worker says as strictly as a record.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path, PurePosixPath
from secrets import token_hex
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream

from seedream_jobs import __version__
from seedream_jobs.api.credentials import endpoint, is_loopback, proxy_for
from seedream_jobs.api.downloads import Downloads
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.atomic_file import confined, digest, read_regular, write_whole
from seedream_jobs.errors import SeedreamError, UnfinishedError, UsageError
from seedream_jobs.inside import STATE_FOLDER, OutsideRoot
from seedream_jobs.ledger.codec import Json, Malformed, canonical, decode, encode
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.manifest import read_event
from seedream_jobs.ledger.paths import keep_private
from seedream_jobs.ledger.state import Entry, Event, Image, State, Stored
from seedream_jobs.model_profile import profiles
from seedream_jobs.records import Record
from seedream_jobs.results.image_steps import CampaignImageSteps
from seedream_jobs.results.image_store import open_at
from seedream_jobs.results.missing_thumbnails import without_thumbnail
from seedream_jobs.results.sidecar import Provenance
from seedream_jobs.results.thumbnails import Decoders, thumbnail_path
from seedream_jobs.run.fetch import Fetched, Fetcher, ImageEvent, Work, temporary
from seedream_jobs.run.images import is_missing

SHARD = 100
"""Images of one shard: few enough that a lost one is soon done again, enough that handing it out costs little."""
AT_ONCE = 64
"""Shards that are handed out at a time."""
IDLE = 1.0
"""Seconds after which a shard that is not full is handed out all the same."""
TRIES = 5
"""How often a shard that a cluster lost is handed out."""

PutBack = Callable[[Work], None]

_LOCAL = re.compile(r"local(?::([0-9]{1,3}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """What ``--executor`` names.

    :param workers: processes that decode on this machine; None for one for each CPU
    :param address: of a Dask scheduler; None for this machine
    """

    workers: int | None = None
    address: str | None = None


def parse_engine(text: str) -> EngineChoice:
    """Read ``local``, ``local:4`` or ``dask:ADDRESS``.

    :raises UsageError: for anything else, and for a scheduler that anybody can reach
    """
    if match := _LOCAL.fullmatch(text):
        if match[1] is not None and int(match[1]) < 1:
            raise UsageError(f"'{text}' has no worker", hint="local:N with N from 1, or local for one for each CPU")
        return EngineChoice(workers=None if match[1] is None else int(match[1]))
    kind, _, address = text.partition(":")
    if kind != "dask" or not address:
        raise UsageError(f"'{text}' is no executor", hint="local, local:N or dask:ADDRESS, such as dask:127.0.0.1:8786")
    if "://" not in address:
        address = f"tcp://{address}"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if parts.scheme not in ("tcp", "tls") or not host or port is None:
        raise UsageError(f"'{address}' is no address of a Dask scheduler", hint="such as tls://HOST:8786")
    if parts.scheme != "tls" and not is_loopback(host):
        raise UsageError(
            f"{address} is refused: a Dask scheduler runs the code of whoever reaches it, and so does this command "
            "with what such a scheduler answers",
            hint="give scheduler and workers certificates and name tls://HOST:PORT, or reach it through a tunnel to "
            "127.0.0.1",
        )
    return EngineChoice(address=address)


# -- the coordinator ---------------------------------------------------------------------------------------------------


class Engine:
    """Does shards. A context manager; ``work`` may be called from several threads."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._stack = ExitStack()
        self._executor: Executor | None = None
        self._lost: tuple[type[BaseException], ...] = (CancelledError,)

    def __enter__(self) -> Self:
        if self._choice.address is None:
            self._executor = self._stack.enter_context(ThreadPoolExecutor(2))
            _use_decoders(self._choice.workers)
            self._stack.callback(_use_decoders, None)
            return self
        try:
            distributed = importlib.import_module("distributed")
        except ImportError as error:
            raise UsageError(
                f"--executor dask needs {error.name}, which is not installed",
                hint='pip install "seedream-jobs[cluster]"',
            ) from None
        self._lost = (CancelledError, distributed.KilledWorker, distributed.comm.CommClosedError)
        try:
            client = distributed.Client(self._choice.address, timeout=10, set_as_default=False)
        except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
            raise UnfinishedError(
                f"the Dask scheduler at {self._choice.address} can't be reached: {_first_line(error)}",
                hint="see that it runs, and of tls:// that DASK_DISTRIBUTED__COMM__TLS__… name the certificates",
            ) from None
        self._stack.callback(client.close, timeout=5)
        self._executor = client.get_executor(pure=False, retries=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def work(self, shard: Mapping[str, Any]) -> Json:
        """Do one shard, on another worker where the first one is lost; blocks until it is done.

        :raises SeedreamError: it can't be done anywhere
        """
        assert self._executor is not None
        why = ""
        for _ in range(TRIES):
            # Each try has names of its own: a worker that counts as lost may still be writing.
            token = token_hex(4)
            try:
                answer: Json = json.loads(
                    self._executor.submit(
                        work_shard, canonical({**shard, "token": token, "version": __version__})
                    ).result()
                )
            except self._lost as error:
                why = _first_line(error)
                _sweep(shard, token)
                continue
            except Exception as error:  # whatever a worker raised, that is no shard's own trouble
                raise UnfinishedError(
                    f"a worker failed: {type(error).__name__}: {_first_line(error)}",
                    hint=f"every worker needs seedream-jobs {__version__}, as this machine has it",
                ) from None
            if "refusal" in answer:
                raise UnfinishedError(str(answer["refusal"]), hint=str(answer.get("hint") or "") or None)
            return answer
        raise UnfinishedError(
            f"the cluster lost a shard {TRIES} times: {why}",
            hint="look at its workers, then run the same command again",
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _sweep(shard: Mapping[str, Any], token: str) -> None:
    """Remove what a lost worker may have left of a try."""
    for raw in shard.get("entries", ()):
        entry = decode(Entry, dict(raw))
        with suppress(SeedreamError):
            stem = confined(Path(shard["root"]), Path(shard["folder"]), entry.output)
            for index in range(len(entry.images)):
                with suppress(OSError):
                    temporary(stem, entry, index, token).unlink()


class SharedFolder:
    """A file by which a worker sees that the campaign's folder is the coordinator's; removed in the end."""

    def __init__(self, root: Path) -> None:
        self.nonce = token_hex(16)
        self.path = root / STATE_FOLDER / f"shared-{self.nonce[:8]}"

    def __enter__(self) -> Self:
        keep_private(self.path.parent)
        write_whole(self.path, [self.nonce.encode()])
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.path.unlink()

    def described(self) -> list[str]:
        """As a shard says it."""
        return [str(self.path), self.nonce]


@dataclass(slots=True, kw_only=True)
class HandedOut:
    """Lets the workers of an engine download one job's images, and records what came.

    What they did not bring (a dead link, a host that did not answer) is fetched here as ever.

    :param folder: of the manifest, relative to the campaign's root
    """

    engine: Engine
    steps: CampaignImageSteps
    shared: SharedFolder
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
            "work": "fetch",
            "root": str(fetcher.root.resolve()),
            "folder": str(fetcher.folder.resolve()),
            "shared": self.shared.described(),
            "base": fetcher.downloads.base,
            "model": fetcher.profile.id,
            "embed": self.steps.embed_metadata,
            "provenance": asdict(self.steps.provenance),
            "store": None if self.steps.store is None else self.steps.store.objects.url,
            "record": self.steps.record(),
            "entries": [encode(replace(entry, output=fetcher.output(entry))) for entry in entries],
        }

    async def _record(
        self, fetcher: Fetcher, entries: Sequence[Entry], answer: Json, came: Fetched, put_back: PutBack
    ) -> None:
        stored = {event.key: event for event in _stored(answer, fetcher, self.folder)}
        for entry in entries:
            event = stored.get(entry.key)
            if event is None or len(event.images) != len(entry.images):
                put_back(entry)
                continue
            await fetcher.ledger.record(replace(event, at=int(fetcher.now())))
            came.requests += 1
            for index, image in enumerate(event.images):
                if is_missing(entry.images[index]) and image.file is not None:
                    came.images += 1
                    came.bytes += image.bytes or 0
                    came.warnings += len(image.warnings)
                    fetcher.on_image(ImageEvent(kind="queued", entry=entry, index=index))
                    fetcher.on_image(ImageEvent(kind="stored", entry=entry, index=index, image=image))


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


def _stored(answer: Json, fetcher: Fetcher, folder: PurePosixPath) -> Iterator[Stored]:
    """What a worker says was stored, where the files are there: whoever reaches the cluster may have said it."""
    for raw in answer.get("events", ()):
        try:
            event = read_event(dict(raw), folder)
            if isinstance(event, Stored) and all(_is_there(image, fetcher) for image in event.images):
                yield event
        except (Malformed, OutsideRoot, UsageError, OSError, TypeError, ValueError):
            continue  # the request is fetched here


def _is_there(image: Image, fetcher: Fetcher) -> bool:
    return image.file is None or (
        confined(fetcher.root, fetcher.folder, image.file).stat().st_size == image.bytes and image.sha256 is not None
    )


def fill_thumbnails(record: Record, ledger: Ledger, engine: Engine) -> list[tuple[str, str]]:
    """Make the thumbnails that are missing of images on disk; the file and the reason of those that can't be made."""
    folder = record.paths.manifest.parent
    wanted = [(image.file, image.sha256) for image in without_thumbnail(record, ledger, on_disk=True)]
    if not wanted:
        return []
    with SharedFolder(record.root) as shared, ThreadPoolExecutor(AT_ONCE) as threads:
        plain = {
            "work": "thumbnails",
            "root": str(record.root.resolve()),
            "folder": str(folder.resolve()),
            "shared": shared.described(),
        }
        shards = [{**plain, "images": wanted[at : at + SHARD]} for at in range(0, len(wanted), SHARD)]
        answers = list(threads.map(engine.work, shards))
    return [(str(file), str(why)) for answer in answers for file, why in answer.get("problems", ())]


# -- the worker --------------------------------------------------------------------------------------------------------


def work_shard(shard: bytes) -> bytes:
    """Do one shard; JSON in, JSON out. Runs wherever the executor runs it; doing it twice does no harm."""
    asked: Json = json.loads(shard)
    try:
        if asked["version"] != __version__:
            raise UsageError(
                f"a worker has seedream-jobs {__version__}, and this machine {asked['version']}",
                hint="install the same version on every worker",
            )
        path, nonce = asked["shared"]
        try:
            shared = read_regular(Path(path), 64) == nonce.encode()
        except OSError:
            shared = False
        if not shared:
            raise UsageError(
                f"a worker does not have {asked['root']}, or another folder is there",
                hint="mount the campaign's folder at the same place on every worker, or divide the job: --shard K/N",
            )
        return canonical({"fetch": _fetch, "thumbnails": _thumbnails}[asked["work"]](asked))
    except SeedreamError as error:
        return canonical({"refusal": error.message, "hint": error.hint or ""})


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


def _fetch(asked: Json) -> Json:
    """Download the images of some requests, and say which requests have all of theirs."""
    root, folder, told = Path(asked["root"]), Path(asked["folder"]), _Events()
    steps = CampaignImageSteps(
        decoders=_decoders(),
        folder=folder,
        root=root,
        cache=root / STATE_FOLDER / "thumbnails",
        now=time.time,
        provenance=Provenance(**asked["provenance"]),
        embed_metadata=asked["embed"],
        token=asked["token"],
        store=None if asked["store"] is None else open_at(asked["store"]),
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


def _thumbnails(asked: Json) -> Json:
    """Make thumbnails of images that have the recorded sha256."""
    root, folder, decoders = Path(asked["root"]), Path(asked["folder"]), _decoders()
    cache = root / STATE_FOLDER / "thumbnails"

    def make(image: Sequence[str]) -> str | None:
        file, sha256 = image
        path = confined(root, folder, file)
        try:
            if path.is_symlink() or digest(path) != sha256:
                return "it is not the image on record"
        except OSError as error:
            return error.strerror or str(error)
        return decoders.decode(path, thumbnail_path(cache, sha256)).problem

    with ThreadPoolExecutor(decoders.workers) as threads:
        whys = list(threads.map(make, asked["images"]))
    found: Iterable[tuple[Sequence[str], str | None]] = zip(asked["images"], whys, strict=True)
    return {"problems": [[image[0], why] for image, why in found if why is not None]}


_pool: list[Decoders] = []
_pool_lock = threading.Lock()


def _decoders() -> Decoders:
    """The decoding processes of this worker, kept from one shard to the next; they end with it."""
    with _pool_lock:
        if not _pool:
            _pool.append(Decoders())
        return _pool[0]


def _use_decoders(workers: int | None) -> None:
    """End the decoding processes of this process; with ``workers``, so many take their place."""
    with _pool_lock:
        while _pool:
            _pool.pop().close()
        if workers is not None:
            _pool.append(Decoders(workers))
