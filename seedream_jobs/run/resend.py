"""When a POST whose outcome is open may be sent once more under the same intent: the exceptions to "never".

Pure. Three cases, all with the same body and the same idempotency key: the service says it is still working on this
key (row 19); the operator asked for this very replay (``--replay``, a line of the plan); the operator has asked for
``--retry-server-errors`` (row 16, HTTP 500 and 502). Only an acceptance settles a doubt: a later "too many requests"
says nothing about the first POST.

Whether the service honours keys is the operator's word. So each repeat counts as a charge of its own until its answer
shows otherwise: the id that the first reply named, a mark that no first answer carries, or a plain "not now".
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.ledger.steps import REPLAY_SECONDS, REPLAYS
from seedream_jobs.run.pacing import full_jitter, no_earlier

PENDING_SECONDS = 600.0

Why = Literal["pending", "replay", "server error"]
Answer = Literal["settled", "charged again", "not charged", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
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
    :param replay: the operator asked for a replay of this one
    """

    def __init__(
        self,
        first: Outcome,
        *,
        since: float,
        now: float,
        replays: int = 0,
        replay: bool = False,
        retry_server_errors: bool = False,
    ) -> None:
        self.first = first
        self.server_retries = 0
        self._latest = first
        self._since = since
        self._pending_until = now + PENDING_SECONDS
        self._replay = replay
        self._retry_server_errors = retry_server_errors
        self._replays = replays
        self._tries = 0
        self._why: Why = "pending"

    def again(self, now: float, random: Random) -> Again | None:
        """What may be done next; None: leave it in doubt. ``now`` is Unix seconds."""
        wait = self._wait(random)
        if self._latest.row == 19:
            return Again(why="pending", wait=wait) if now + wait <= self._pending_until else None
        if self._latest.row == "8a":  # a task id was named: that POST may well be charged
            return None
        if self._replay and self._replays < REPLAYS and now + wait - self._since <= REPLAY_SECONDS:
            return Again(why="replay", wait=wait)
        if self._retry_server_errors and self._is_retriable_server_error():
            return Again(why="server error", wait=wait)
        return None

    def sent(self, why: Why) -> None:
        """It was sent again."""
        self._why = why
        self._tries += 1
        self._replays += why == "replay"
        self.server_retries += why == "server error"

    def take(self, outcome: Outcome, *, mark_counts: bool) -> Answer:
        """What the answer to a repeat means for the submission in doubt.

        :param mark_counts: ``Idempotency-Replayed`` says something: no first answer carried it
        """
        self._latest = outcome
        if outcome.verdict == "accepted":
            if self.first.task_id is not None:
                return "settled" if outcome.task_id == self.first.task_id else "charged again"
            return "settled" if self._why == "pending" or (outcome.replayed and mark_counts) else "charged again"
        return "open" if outcome.verdict == "in_doubt" and outcome.row != 19 else "not charged"

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
        return self._latest.counts_against == "server" and problem is not None and problem.status in (500, 502)
