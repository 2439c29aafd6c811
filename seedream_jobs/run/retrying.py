"""Whether a request that is provably not sent is tried again, and the wait before that."""

from __future__ import annotations

import logging
from random import Random

import anyio

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.errors import ExitCode
from seedream_jobs.run.breakers import Halt, said
from seedream_jobs.run.halting import RESUME, Halting
from seedream_jobs.run.pacing import Reply, RetryBudget, full_jitter

_log = logging.getLogger(__name__)


class Retrying:
    """The retry budget as workers meet it: where it is spent a worker is parked until more were accepted.

    Once all workers that are left are parked nothing can be accepted any more, and the run stops, resumable.
    """

    def __init__(self, budget: RetryBudget, halting: Halting, random: Random, *, workers: int) -> None:
        self.budget = budget
        self.in_vain = 0
        self._last = ""
        self._halting = halting
        self._random = random
        self._active = workers
        self._parked = 0
        self._accepted = anyio.Event()

    def accepted(self) -> None:
        """A request was accepted: the budget may have grown."""
        self.budget.accepted += 1
        if self._parked:
            self._accepted.set()
            self._accepted = anyio.Event()

    def worker_done(self) -> None:
        """A worker takes no more work."""
        self._active -= 1
        self._check()

    async def granted(self, earlier: int, outcome: Outcome) -> bool:
        """Wait for the retry of a request that had ``earlier`` ones; False where it has to stay ``new``."""
        self._last = said(outcome)
        if self.budget.exhausted_for(earlier):
            _log.info("left new after %d retries: %s", earlier, self._last)
            self.in_vain += 1
            return False
        while not self.budget.take(earlier):
            self._parked += 1
            try:
                self._check()
                if not await self._halting.idle.until(self._accepted.wait):
                    return False
            finally:
                self._parked -= 1
        _log.info("retry %d of one request, %d of the run, after: %s", earlier + 1, self.budget.retries, self._last)
        if reply_of(outcome) != "other" or outcome.retry_after is not None:
            return not self._halting.halted  # the gate makes it wait, with all the others
        wait = full_jitter(earlier, self._random)
        return await self._halting.idle.until(lambda: anyio.sleep(wait))

    def in_vain_because(self) -> str:
        """For people: how many requests were retried to the end, and what stood in the way."""
        return f"{self.in_vain} not sent after several attempts, the last time: {self._last}"

    def _check(self) -> None:
        if self._parked and self._parked >= self._active:
            reason = f"the retry budget is spent, the last time: {self._last}"
            self._halting.stop(Halt(stop=ExitCode.UNFINISHED, reason=reason, hint=RESUME))


def reply_of(outcome: Outcome) -> Reply:
    """What the gate makes of an outcome."""
    if outcome.verdict == "accepted":
        return "accepted"
    if outcome.verdict == "not_sent" or outcome.row == "8a":
        if outcome.problem is None:
            return "unreachable"
        if outcome.problem.status in (429, 503):
            return "limited"
    return "other"
