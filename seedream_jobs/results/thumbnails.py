"""Thumbnails by content, made in a pool of processes: ``thumbnails/<2 hex>/<sha256>.webp``.

The cache can be deleted at any time; what is missing is made again.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from seedream_jobs.run.images import Examined

_PACKAGES = str(Path(__file__).resolve().parents[2])
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from seedream_jobs.results.decoder import main; main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An image to make a thumbnail of: its file, and the sha256 of its content in hex."""

    file: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of it: ``thumbnail`` is None if there is none, and then ``problem`` says why."""

    source: Source
    thumbnail: Path | None
    problem: str | None = None


def thumbnail_cache(root: Path) -> Path:
    """The campaign's cache, ``.seedream/thumbnails`` below its root, made if need be and kept out of git.

    :raises OSError: if it can't be made
    """
    cache = root / ".seedream" / "thumbnails"
    cache.mkdir(parents=True, exist_ok=True)
    ignored = cache / ".gitignore"
    if not ignored.exists():
        ignored.write_text("# Thumbnails made by seedream-jobs: can be deleted at any time.\n*\n", encoding="utf-8")
    return cache


def thumbnail_path(cache: Path, sha256: str) -> Path:
    """Where the thumbnail of the image with this content is kept.

    :param cache: the campaign's ``.seedream/thumbnails``
    """
    return cache / sha256[:2] / f"{sha256}.webp"


class Decoders:
    """A few processes that decode images. Safe to use from several threads; processes start when they are needed.

    :param workers: how many; the number of CPUs by default
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(self.workers):
            self._idle.put(None)  # a place for a process that is not started yet
        self._all: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Decoders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def decode(self, file: Path, thumbnail: Path | None = None) -> Examined:
        """Decode ``file`` whole in one of the processes; blocks until it is done.

        :param thumbnail: where to write its thumbnail, if one is wanted
        """
        process = self._idle.get()
        try:
            process = process or self._start()
            answer = self._ask(process, [str(file), None if thumbnail is None else str(thumbnail)])
        except (OSError, ValueError):  # its pipes broke, or were closed with all the others
            answer = b""
        if not answer.endswith(b"\n"):
            if process is not None:
                self._drop(process)
            self._idle.put(None)
            return Examined(width=0, height=0, problem="the image can not be decoded: the decoder stopped over it")
        self._idle.put(process)
        return Examined(**json.loads(answer))

    async def examine(self, file: Path, thumbnail: Path | None = None) -> Examined:
        """``decode`` for the event loop. If it is cancelled, the process finishes the image by itself."""
        from anyio import to_thread

        return await to_thread.run_sync(self.decode, file, thumbnail, abandon_on_cancel=True)

    def close(self) -> None:
        """End the processes at once; an image they are at is given up. A later ``decode`` finds a problem."""
        with self._lock:
            self._closed = True
            processes = list(self._all)
        for process in processes:
            process.kill()
        for process in processes:
            self._drop(process)

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise OSError("the decoders are closed")
            # -P: neither the working folder nor what lies in it is a place to import from
            command = [sys.executable, "-P", "-c", _PROGRAM, _PACKAGES]
            environment = {name: value for name, value in os.environ.items() if not name.startswith("APIMART_")}
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            self._all.add(process)
            return process

    def _ask(self, process: subprocess.Popen[bytes], job: list[str | None]) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        return process.stdout.readline()

    def _drop(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        with self._lock:
            if process not in self._all:
                return
            self._all.discard(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def make_thumbnails(sources: Iterable[Source], cache: Path, *, workers: int | None = None) -> Iterator[Made]:
    """Make the thumbnails that are missing from the cache; one result for each source, in their order.

    Holds a few sources at a time, however many there are. Closing the iterator ends the processes.
    """
    with Decoders(workers) as decoders, ThreadPoolExecutor(decoders.workers) as threads:
        try:
            waiting: deque[Future[Made]] = deque()
            for source in sources:
                waiting.append(threads.submit(_make, decoders, source, thumbnail_path(cache, source.sha256)))
                if len(waiting) >= 4 * decoders.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            decoders.close()  # before the threads are joined, which wait for the processes
            raise


def _make(decoders: Decoders, source: Source, path: Path) -> Made:
    if path.exists():
        return Made(source=source, thumbnail=path)
    if not source.file.is_file():
        return Made(source=source, thumbnail=None, problem="the image is not there")
    problem = decoders.decode(source.file, path).problem
    if problem is None and not path.exists():
        problem = "the thumbnail could not be written"
    return Made(source=source, thumbnail=None if problem else path, problem=problem)
