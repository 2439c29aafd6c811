"""The gate as workers meet it: they queue, the first waits for its time, and all of it can be called off."""

from __future__ import annotations

import logging
from math import inf

import anyio

from seedream_jobs.run.halting import Idle
from seedream_jobs.run.pacing import Gate, Reply, Ticket

_log = logging.getLogger(__name__)


class Turnstile:
    """One queue in front of the one gate. Only its head looks at the clock, so that a change wakes one worker."""

    def __init__(self, gate: Gate, idle: Idle) -> None:
        self._gate = gate
        self._idle = idle
        self._queue = anyio.Lock()
        self._changed = anyio.Event()

    async def enter(self) -> Ticket | None:
        """Wait until one more POST may leave; None if that was called off."""
        if self._idle.ended:
            return None
        now = anyio.current_time()
        if self._queue.locked() or self._gate.ready_at() > now:
            admitted: list[Ticket] = []

            async def in_turn() -> None:
                async with self._queue:
                    await self._wait_for_gate()
                    admitted.append(self._gate.enter(anyio.current_time()))

            await self._idle.until(in_turn)
            return admitted[0] if admitted else None
        return self._gate.enter(now)

    def leave(self, ticket: Ticket, reply: Reply, retry_after: float | None = None) -> None:
        """One POST is over; ``retry_after`` in seconds."""
        now = anyio.current_time()
        self._gate.leave(ticket, now, reply, retry_after)
        if self._gate.closed_until > now:
            _log.info("no POST for %.1f s, then %d at a time", self._gate.closed_until - now, self._gate.limit)
        self._changed.set()

    def still_open(self) -> bool:
        """Whether a POST that was admitted may leave now: the service may have asked for a pause since."""
        until = self._gate.closed_until
        return until == -inf or until <= anyio.current_time()

    async def _wait_for_gate(self) -> None:
        while (ready_at := self._gate.ready_at()) > anyio.current_time():
            self._changed = anyio.Event()
            with anyio.CancelScope(deadline=ready_at):
                await self._changed.wait()
