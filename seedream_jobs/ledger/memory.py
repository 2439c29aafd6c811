"""A ledger without a disk, deterministic and without threads: for simulations on a virtual clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from seedream_jobs.errors import LedgerError
from seedream_jobs.ledger.entries import Brief, Entries
from seedream_jobs.ledger.machine import evolve
from seedream_jobs.ledger.state import Doubt, Event


class MemoryLedger:
    """Records events as ``Ledger`` does, with the same machine.

    :param sync: awaited for each record, such as a virtual sleep in place of an fsync; raising ``OSError`` there is a
        disk that fails, after which nothing is taken any more
    """

    def __init__(self, sync: Callable[[], Awaitable[object]] | None = None) -> None:
        self.entries = Entries()
        self.durable: list[Event] = []
        self._sync = sync
        self._error: OSError | None = None

    async def record(self, event: Event) -> None:
        """Return once the event counts as durable; not cancelled half-way.

        :raises IllegalEvent: the event has no place in the request's state; nothing is recorded
        :raises LedgerError: the simulated disk failed, now or before
        """
        self._alive()
        self.entries.put(evolve(self.entries.find(event.key), event))
        with anyio.CancelScope(shield=True):
            try:
                if self._sync is not None:
                    await self._sync()
            except OSError as error:
                self._error = error
        self._alive()
        self.durable.append(event)

    def record_sync(self, event: Event) -> None:
        """As ``record``, without the simulated sync."""
        self._alive()
        self.entries.put(evolve(self.entries.find(event.key), event))
        self.durable.append(event)

    def brief(self, key: str) -> Brief | None:
        """State and generation of a request, None for an unknown one."""
        return self.entries.brief(key)

    def settle(self, doubt: Doubt) -> None:
        """What the end of a run makes of open intents."""
        self.entries.settle(doubt)

    def crashed(self) -> MemoryLedger:
        """What a next run finds after this one was killed: what was durable, open intents in doubt."""
        survivor = MemoryLedger(self._sync)
        for event in self.durable:
            survivor.record_sync(event)
        survivor.settle("crash")
        return survivor

    def _alive(self) -> None:
        if self._error is not None:
            raise LedgerError(f"the journal could not be written: {self._error}")
