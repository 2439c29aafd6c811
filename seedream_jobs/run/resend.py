"""When a POST whose outcome is open may be sent once more under the same intent: the exceptions to "never".

Pure. Three cases, all with the same body and the same idempotency key: the service says it is still working on this
key (row 19); replay is *proven* for this model; the operator has asked for ``--retry-server-errors`` (row 16, HTTP 500
and 502). Once a submission is in doubt, only an acceptance or a replayed answer settles it: a later "too many
requests" says nothing about the first POST.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.frozen import frozen
from seedream_jobs.run.pacing import full_jitter, no_earlier

PENDING_SECONDS = 600.0
REPLAY_SECONDS = 23 * 3600.0  # the service keeps a key for 24 h
REPLAYS = 3

Why = Literal["pending", "replay", "server error"]


@dataclass(slots=True, kw_only=True)
class Replay:
    """Whether the service honours idempotency keys for this model: named by its schema, or seen in a reply."""

    proven: bool = False

    def note(self, outcome: Outcome) -> None:
        """A reply marked as replayed is the proof."""
        if outcome.replayed:
            self.proven = True


@frozen
class Again:
    """Send it again, ``wait`` seconds from now at the earliest."""

    why: Why
    wait: float


class OpenCase:
    """One submission in doubt: what has been tried, and what may be tried.

    :param first: the outcome that put it in doubt
    :param since: Unix seconds of its intent
    :param now: Unix seconds
    :param replays: replays before this run, which count
    """

    def __init__(
        self, first: Outcome, *, since: float, now: float, replays: int = 0, retry_server_errors: bool = False
    ) -> None:
        self.first = first
        self.server_retries = 0
        self._latest = first
        self._since = since
        self._pending_until = now + PENDING_SECONDS
        self._retry_server_errors = retry_server_errors
        self._replays = replays
        self._tries = 0

    def again(self, now: float, replay: Replay, random: Random) -> Again | None:
        """What may be done next; None: leave it in doubt. ``now`` is Unix seconds."""
        wait = self._wait(random)
        if self._latest.row == 19:
            return Again(why="pending", wait=wait) if now + wait <= self._pending_until else None
        if replay.proven and self._replays < REPLAYS and now + wait - self._since <= REPLAY_SECONDS:
            return Again(why="replay", wait=wait)
        if self._retry_server_errors and self._is_retriable_server_error():
            return Again(why="server error", wait=wait)
        return None

    def sent(self, why: Why) -> None:
        """It was sent again."""
        self._tries += 1
        self._replays += why == "replay"
        self.server_retries += why == "server error"

    def settled_by(self, outcome: Outcome) -> bool:
        """Take the new outcome; whether it settles the case."""
        self._latest = outcome
        return outcome.verdict == "accepted" or (outcome.replayed and outcome.verdict == "rejected")

    @property
    def still_open(self) -> Outcome:
        """The outcome to record while nothing settles it: the latest doubt, never a later "not now"."""
        return self._latest if self._latest.verdict == "in_doubt" else self.first

    def _wait(self, random: Random) -> float:
        if self._latest.retry_after is not None:
            return no_earlier(self._latest.retry_after, random)
        return max(1.0, full_jitter(self._tries, random))

    def _is_retriable_server_error(self) -> bool:
        problem = self._latest.problem
        if self._latest.row == "8a":  # a task id was named: that POST may well be charged
            return False
        return self._latest.counts_against == "server" and problem is not None and problem.status in (500, 502)
