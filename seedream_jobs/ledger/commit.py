"""Group commit: one thread that makes records durable, many that wait for it.

Whatever gathered while the last sync ran is written with one write and one fsync. Nobody is told that a record is
durable before that fsync has returned. Any error is final: after a failed fsync the kernel may have dropped the pages,
so that asking again would say yes to a lie (PostgreSQL's "fsyncgate", 2018). The journal is then dead, and so is
every caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import anyio

from seedream_jobs.errors import LedgerError
from seedream_jobs.ledger.filesystem import FileSystem, write_all

Wake = Callable[[], None]


class _Batch:
    """The records that share one write and one fsync, and who waits for them."""

    __slots__ = ("done", "error", "events", "finished", "records")

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.done: threading.Event | None = None  # where somebody waits who runs on no event loop
        self.finished = False
        self.error: OSError | None = None
        self.events: dict[int, tuple[anyio.Event, Wake]] = {}


class GroupCommit:
    """Appends records to an open journal.

    :param descriptor: the journal, open for appending; closed by ``close``
    :param name: the journal's name, for messages
    """

    def __init__(self, fs: FileSystem, descriptor: int, name: str) -> None:
        self._fs = fs
        self._descriptor = descriptor
        self._name = name
        self._lock = threading.Lock()
        self._begun: SimpleQueue[None] = SimpleQueue()  # one for each batch: a condition would wake the thread twice
        self._gathering = _Batch()
        self._closing = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    async def append(self, make: Callable[[], bytes]) -> None:
        """Return once the record is durable. A cancellation waits for that too: a record is never half-announced.

        :param make: called with the journal locked, so that sequence numbers follow the order of the file
        :raises LedgerError: it could not be made durable, now or for an earlier record
        """
        loop, wake = _current_loop()
        with self._lock:
            batch = self._add(make)
            waiting = batch.events.get(id(loop))
            if waiting is None:
                event = anyio.Event()
                batch.events[id(loop)] = (event, lambda: wake(event.set))
            else:
                event = waiting[0]
        with anyio.CancelScope(shield=True):
            await event.wait()
        self._told(batch)

    def append_sync(self, make: Callable[[], bytes]) -> None:
        """As ``append``, for code that runs on no event loop."""
        with self._lock:
            batch = self._add(make)
            done = batch.done = batch.done or threading.Event()
        done.wait()
        self._told(batch)

    def close(self) -> None:
        """Make what was appended durable, end the thread, close the file."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._begun.put(None)
        self._thread.join()
        with contextlib.suppress(OSError):  # everything that was announced is synced
            self._fs.close(self._descriptor)

    @property
    def dead(self) -> bool:
        """Whether a write or an fsync has failed: nothing is taken any more."""
        return self._error is not None

    def _add(self, make: Callable[[], bytes]) -> _Batch:
        if self._error is not None:
            raise self._failure(self._error)
        if self._closing:
            raise LedgerError(f"{self._name} is closed")
        batch = self._gathering
        batch.records.append(make())
        if len(batch.records) == 1:
            self._begun.put(None)
        return batch

    def _told(self, batch: _Batch) -> None:
        if batch.error is not None:
            raise self._failure(batch.error) from batch.error

    def _failure(self, error: OSError) -> LedgerError:
        return LedgerError(
            f"{self._name} could not be written: {error.strerror or error}",
            hint="make room or repair the disk, then run the same command again: it goes on from what was recorded",
        )

    def _run(self) -> None:
        while True:
            self._begun.get()
            with self._lock:
                batch, self._gathering = self._gathering, _Batch()
            if not batch.records:
                return
            error = self._commit(batch)
            if error is None:
                self._finish(batch, None)
                continue
            with self._lock:
                self._error = error
                late, self._gathering = self._gathering, _Batch()
            self._finish(batch, error)
            self._finish(late, error)
            return

    def _commit(self, batch: _Batch) -> OSError | None:
        try:
            write_all(self._fs, self._descriptor, b"".join(batch.records))
            self._fs.sync(self._descriptor)
        except OSError as error:
            return error
        except Exception as error:  # whatever it is, those who wait must hear of it
            return OSError(f"{type(error).__name__}: {error}")
        return None

    @staticmethod
    def _finish(batch: _Batch, error: OSError | None) -> None:
        batch.error = error
        if batch.done is not None:
            batch.done.set()
        for _, wake in batch.events.values():
            try:
                wake()
            except RuntimeError:  # that event loop has ended: nobody waits there any more
                continue


def _current_loop() -> tuple[object, Callable[[Callable[[], None]], Any]]:
    """The running event loop (asyncio's or trio's), and how another thread calls something on it."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        lowlevel = sys.modules["trio"].lowlevel  # under trio it is imported; the project does not depend on it
        token = lowlevel.current_trio_token()
        return token, token.run_sync_soon
    return loop, loop.call_soon_threadsafe
