"""The cap on request bodies held in memory: a semaphore whose holders have weights."""

from __future__ import annotations

from collections import deque

import anyio

BODIES_IN_FLIGHT = 256 * 1024 * 1024  # bytes


class Weights:
    """At most ``capacity`` in all, first come, first served; a weight above the capacity counts as all of it."""

    def __init__(self, capacity: int = BODIES_IN_FLIGHT) -> None:
        self._capacity = capacity
        self._held = 0
        self._waiting: deque[tuple[int, anyio.Event]] = deque()

    def acquire_nowait(self, weight: int) -> bool:
        """Take the weight if it is free and nobody waits; the path without a task switch."""
        weight = min(weight, self._capacity)
        if self._waiting or self._held + weight > self._capacity:
            return False
        self._held += weight
        return True

    async def acquire(self, weight: int) -> None:
        """Take the weight, waiting for it in turn."""
        if self.acquire_nowait(weight):
            return
        place = (min(weight, self._capacity), anyio.Event())
        self._waiting.append(place)
        try:
            await place[1].wait()
        except BaseException:
            if place in self._waiting:
                self._waiting.remove(place)
            else:  # it was handed over while the wait was being cancelled
                self._held -= place[0]
            self._hand_over()
            raise

    def release(self, weight: int) -> None:
        """Give the weight back, and wake whoever fits now."""
        self._held -= min(weight, self._capacity)
        self._hand_over()

    def _hand_over(self) -> None:
        while self._waiting and self._held + self._waiting[0][0] <= self._capacity:
            weight, event = self._waiting.popleft()
            self._held += weight
            event.set()
