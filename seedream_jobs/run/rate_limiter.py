"""This module decides when the next POST may leave, by the rate, the number in flight and Retry-After.

Called by ``submit``; all workers wait in one queue. Invariants:

- never earlier than told: no admission before the latest ``Retry-After``; jitter only adds;
- one limiter for all workers: what one of them was told holds for every one;
- the number in flight halves on 429, creeps up on success, is never below 1 nor above its cap.
"""

from __future__ import annotations

import logging
from math import inf
from random import Random
from typing import Literal

import anyio

from seedream_jobs.run.options import Rate
from seedream_jobs.run.retry import full_jitter, no_earlier
from seedream_jobs.run.shutdown import Shutdown

_log = logging.getLogger(__name__)


class Bucket:
    """A token bucket, kept as the time at which it is next full: no drift, no counting of fractions.

    In any window of ``seconds`` at most ``count + burst`` tokens are taken.
    """

    def __init__(self, rate: Rate) -> None:
        self._interval = rate.interval
        self._tolerance = (rate.burst - 1) * rate.interval
        self._full_at = -inf

    def ready_at(self) -> float:
        """The time from which a token is there."""
        return self._full_at - self._tolerance

    def take(self, now: float) -> None:
        """Take a token; the caller has checked ``ready_at() <= now``."""
        self._full_at = max(self._full_at, now) + self._interval


Feedback = Literal["accepted", "limited", "unreachable", "other"]
"""What the limiter learns of a POST: taken; told to slow down (429); no connection came about; anything else."""


class RateLimiter:
    """Says when the next POST may leave, and how many at a time.

    On 429 the number in flight is halved and nothing leaves as long as told; where no connection came about, one POST
    at a time probes the host, behind a growing backoff, until one gets through.

    ``enter`` and ``leave`` are the arithmetic, over a passed-in clock; workers call ``acquire`` and ``release``.
    """

    def __init__(self, *, concurrency: int, random: Random, rate: Rate | None = None) -> None:
        self._cap = float(concurrency)
        self._limit = float(concurrency)
        self._probing_from: float | None = None  # the limit to go back to once the host answers
        self._bucket = Bucket(rate) if rate else None
        self._random = random
        self._closed_until = -inf
        self._failures = 0
        self._epoch = 0  # cuts so far
        self.in_flight: int = 0
        self._queue = anyio.Lock()
        self._changed = anyio.Event()

    @property
    def limit(self) -> int:
        """POSTs that may be in flight at once, at least 1."""
        return 1 if self._probing_from is not None else int(self._limit)

    def ready_at(self) -> float:
        """The time from which one more POST may leave; infinite while those in flight are as many as may be."""
        if self.in_flight >= self.limit:
            return inf
        return max(self._closed_until, self._bucket.ready_at()) if self._bucket else self._closed_until

    def enter(self, now: float) -> int:
        """Admit one POST; the caller has checked ``ready_at() <= now``.

        :return: a ticket: the number of cuts before it, so that one burst of 429s is one cut
        """
        if self._bucket:
            self._bucket.take(now)
        self.in_flight += 1
        return self._epoch

    def leave(self, ticket: int, now: float, feedback: Feedback, retry_after: float | None = None) -> None:
        """One POST is over. ``retry_after``: seconds, as told by the service, which hold for every worker."""
        self.in_flight -= 1
        if retry_after is not None and feedback != "accepted":
            self._close(now + no_earlier(retry_after, self._random))
        if feedback == "accepted":
            self._succeeded()
        # One burst is one cut: what was admitted before the last cut says nothing new.
        elif feedback in ("limited", "unreachable") and ticket == self._epoch:
            self._cut(feedback)
            if retry_after is None:
                self._close(now + full_jitter(self._failures, self._random))
            self._failures += 1

    async def acquire(self, shutdown: Shutdown) -> int | None:
        """Wait until one more POST may leave; its ticket, or None if submitting stopped meanwhile.

        Workers queue, and only the head of the queue looks at the clock, so that a change wakes one worker.
        """
        if shutdown.waits_ended:
            return None
        now = anyio.current_time()
        # The path without a task switch: nobody queues, and nothing is to be waited for.
        if not self._queue.locked() and self.ready_at() <= now:
            return self.enter(now)
        ticket: int | None = None
        with shutdown.waiting():
            async with self._queue:
                while (ready_at := self.ready_at()) > anyio.current_time():
                    self._changed = anyio.Event()
                    with anyio.CancelScope(deadline=ready_at):
                        await self._changed.wait()
                ticket = self.enter(anyio.current_time())
        return ticket

    def release(self, ticket: int, feedback: Feedback, retry_after: float | None = None) -> None:
        """One POST is over; ``retry_after`` in seconds."""
        now = anyio.current_time()
        self.leave(ticket, now, feedback, retry_after)
        if self._closed_until > now:
            _log.info("no POST for %.1f s, then %d at a time", self._closed_until - now, self.limit)
        self._changed.set()

    def still_open(self) -> bool:
        """Whether a POST that was admitted may leave now: the service may have asked for a pause since."""
        # Most runs are never asked to pause: they are spared the look at the clock.
        return self._closed_until == -inf or self._closed_until <= anyio.current_time()

    def _succeeded(self) -> None:
        self._failures = 0
        if self._probing_from is not None:
            self._limit, self._probing_from = self._probing_from, None
        self._limit = min(self._cap, self._limit + 1.0 / self._limit)  # one more for each round of successes

    def _cut(self, feedback: Feedback) -> None:
        self._epoch += 1
        if feedback == "limited":
            self._limit = max(1.0, self._limit / 2.0)
        elif self._probing_from is None:
            self._probing_from = self._limit

    def _close(self, until: float) -> None:
        self._closed_until = max(self._closed_until, until)
