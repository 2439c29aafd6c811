"""This module hands work on images to an executor in shards: threads of this process, or the workers of a Dask cluster.

Called by ``fetch_shards`` for downloads, ``missing_thumbnails`` for thumbnails and ``export.rows`` for exports, which
say what a worker does. Invariants: no POST and no key goes this way, since an executor may run a task twice; a shard is
plain JSON, and doing it twice leaves each image once; the ledger is the coordinator's.
"""

from __future__ import annotations

import importlib
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from seedream_jobs import __version__, confinement
from seedream_jobs.api.credentials import is_loopback
from seedream_jobs.atomic_file import read_regular, write_whole
from seedream_jobs.errors import SeedreamError, UnfinishedError, UsageError
from seedream_jobs.inside import STATE_FOLDER
from seedream_jobs.ledger.codec import Json, canonical
from seedream_jobs.ledger.paths import keep_private
from seedream_jobs.records import Record
from seedream_jobs.results.thumbnails import Decoders

T = TypeVar("T")
R = TypeVar("R")

SHARD = 100
"""Images of one shard: few enough that a lost one is soon done again, enough that handing it out costs little."""
AT_ONCE = 64
"""Shards that are handed out at a time."""
TRIES = 5
"""How often a shard that a cluster lost is handed out."""

_WORK = {
    "export": "seedream_jobs.results.export.rows",
    "fetch": "seedream_jobs.results.fetch_shards",
    "thumbnails": "seedream_jobs.results.missing_thumbnails",
}
"""The modules whose ``work`` does a shard, and whose ``sweep`` removes what a lost try of it may have left. Only that
of downloads imports the network."""

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
        self._ahead = 8  # shards whose images may lie in a folder meanwhile

    def __enter__(self) -> Self:
        if self._choice.address is None:
            use_decoders(self._choice.workers)
            self._stack.callback(use_decoders, None)
            self._ahead = decoders().workers
            self._executor = self._stack.enter_context(ThreadPoolExecutor(self._ahead))
            return self
        confinement.allow_cluster()
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

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def campaign(self, record: Record) -> Iterator[Json]:
        """What each shard of a campaign says: where it is, and how a worker sees that its folder is the same one."""
        plain = {
            "root": str(record.root.resolve()),
            "folder": str(record.paths.manifest.parent.resolve()),
            "shared": None,
        }
        if self._choice.address is None:
            yield plain
            return
        with shared_folder(record.root) as shared:
            yield {**plain, "shared": shared}

    def work(self, shard: Mapping[str, Any]) -> Json:
        """Do one shard, on another worker where the first one is lost; blocks until it is done.

        :raises SeedreamError: it can't be done anywhere
        :raises OSError: as the file system of whoever did it does
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
                importlib.import_module(_WORK[shard["work"]]).sweep(shard, token)
                continue
            except Exception as error:  # whatever a worker raised, that is no shard's own trouble
                raise UnfinishedError(
                    f"a worker failed: {type(error).__name__}: {_first_line(error)}",
                    hint=f"every worker needs seedream-jobs {__version__}, as this machine has it",
                ) from None
            if "os_error" in answer:
                raise OSError(*answer["os_error"])
            if "refusal" in answer:
                raise UnfinishedError(str(answer["refusal"]), hint=str(answer.get("hint") or "") or None)
            return answer
        raise UnfinishedError(
            f"the cluster lost a shard {TRIES} times: {why}",
            hint="look at its workers, then run the same command again",
        )

    def each(self, shards: Iterable[Json]) -> Iterator[Json]:
        """The answers to shards, in order, some of which are worked on ahead."""
        for _, answer in in_order(self.work, shards, self._ahead):
            yield answer


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def in_order(work: Callable[[T], R], items: Iterable[T], at_once: int = AT_ONCE) -> Iterator[tuple[T, R]]:
    """Each item with what became of it, in order; a few are worked on at a time, and a million are not held."""
    ahead: deque[tuple[T, Future[R]]] = deque()
    pool = ThreadPoolExecutor(at_once)
    try:
        for item in items:
            ahead.append((item, pool.submit(work, item)))
            if len(ahead) > 2 * at_once:
                first, done = ahead.popleft()
                yield first, done.result()
        for first, done in ahead:
            yield first, done.result()
    finally:
        pool.shutdown(cancel_futures=True)  # after an error nothing more is begun


@contextmanager
def shared_folder(root: Path) -> Iterator[list[str]]:
    """A file by which a worker sees that the campaign's folder is the coordinator's, as a shard says it; removed."""
    nonce = token_hex(16)
    path = root / STATE_FOLDER / f"shared-{nonce[:8]}"
    keep_private(path.parent)
    write_whole(path, [nonce.encode()])
    try:
        yield [str(path), nonce]
    finally:
        with suppress(OSError):
            path.unlink()


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
        if asked["shared"] is not None and not _is_shared(*asked["shared"]):
            raise UsageError(
                f"a worker does not have {asked['root']}, or another folder is there",
                hint="mount the campaign's folder at the same place on every worker, or divide the job: --shard K/N",
            )
        return canonical(importlib.import_module(_WORK[asked["work"]]).work(asked))
    except OSError as error:
        return canonical({"os_error": [error.errno, error.strerror, error.filename and str(error.filename)]})
    except SeedreamError as error:
        return canonical({"refusal": error.message, "hint": error.hint or ""})


def _is_shared(path: str, nonce: str) -> bool:
    try:
        return read_regular(Path(path), 64) == nonce.encode()
    except OSError:
        return False


_pool: list[Decoders] = []
_pool_lock = threading.Lock()


def decoders() -> Decoders:
    """The decoding processes of this worker, kept from one shard to the next; they end with it."""
    with _pool_lock:
        if not _pool:
            _pool.append(Decoders())
        return _pool[0]


def use_decoders(workers: int | None) -> None:
    """End the decoding processes of this process; with ``workers``, so many take their place."""
    with _pool_lock:
        while _pool:
            _pool.pop().close()
        if workers is not None:
            _pool.append(Decoders(workers))
