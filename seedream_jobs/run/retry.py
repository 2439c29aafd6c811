"""This module decides what an outcome leads to beside its record: the run stops, a request is sent again, or neither.

It is pure arithmetic. ``RetryBudget`` and the backoff say how often, and after which wait, a POST that was provably not
sent is sent again. ``Breakers`` says when the same bad answer, again and again, stops the run. ``OpenCase`` says when a
POST whose outcome is open may be repeated under the same intent. Called by ``submit``, ``rate_limiter`` and ``poll``.
Invariants: retries ≤ 0.1 × accepted + 10, and ≤ 5 for one request; only an acceptance settles a doubt. Randomness and
the clock are passed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

from seedream_jobs.api.outcomes import IN_PROGRESS, NAMED_TASK, NO_CONNECTION, Outcome
from seedream_jobs.errors import ExitCode
from seedream_jobs.ledger.service_errors import with_meaning
from seedream_jobs.ledger.state import REPLAY_SECONDS, REPLAYS

FIRST_BACKOFF = 1.0  # seconds
LONGEST_BACKOFF = 60.0  # seconds
RETRIES_PER_REQUEST = 5
SPARE_RETRIES = 10
ACCEPTED_PER_RETRY = 10


def full_jitter(failures: int, random: Random) -> float:
    """Seconds to wait after that many failures before this one: anything up to 1 s doubling to 60 s."""
    # The exponent is bounded: 2.0 ** 1024 is an overflow.
    return random.uniform(0.0, min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(failures, 16)))


def no_earlier(told: float, random: Random) -> float:
    """Seconds to wait when told to wait ``told`` seconds: that, and up to a tenth (at most 1 s) more."""
    return told + random.uniform(0.0, min(1.0, 0.1 * told))


class RetryBudget:
    """How many POSTs may be sent again: ≤ 0.1 × accepted + 10 in all, ≤ 5 for one request."""

    def __init__(self) -> None:
        self.accepted = 0
        self.retries: int = 0

    def take(self, earlier: int) -> Literal["taken", "never", "not now"]:
        """Take one retry for a request that had ``earlier`` ones, if it may have more and enough were accepted."""
        if earlier >= RETRIES_PER_REQUEST:
            return "never"
        if self.retries >= SPARE_RETRIES + self.accepted // ACCEPTED_PER_RETRY:
            return "not now"
        self.retries += 1
        return "taken"


_IN_A_ROW: Mapping[str, tuple[int, str, str]] = {
    "server": (
        3,
        "server errors in a row",
        "settle what is in doubt with 'seedream-jobs resolve', then run the same command later",
    ),
    "silence": (
        3,
        "requests in a row got no answer",
        "check the network and the proxy; settle what is in doubt with 'seedream-jobs resolve', "
        "then run the same command later",
    ),
}
"""By ``Outcome.counts_against``: how many in a row stop the run, what to say of them, and the hint."""

EQUAL_REFUSALS_IN_A_ROW = 10
CONNECTIONS_BEFORE_THE_FIRST = 3
"""So many failed connections stop a run that has not reached the service yet: the address is wrong, or nobody is there,
and the retry budget would be spent on a typing error."""

_HINTS = {
    ExitCode.USAGE: "check the base URL and what stands between here and the service",
    ExitCode.CREDENTIALS: "check the API key; what was not sent is submitted by the same command",
    ExitCode.MONEY: "top up the account; what was not sent is submitted by the same command",
    ExitCode.UNFINISHED: "run the same command later; it submits only what was not sent",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Why submitting stops, and the exit code that says so."""

    stop: ExitCode
    reason: str
    hint: str | None = None


class Breakers:
    """Watches the outcomes of one run.

    :param reached: the service has answered before, in an earlier part of the run
    """

    def __init__(self, *, reached: bool = False) -> None:
        self._reached = reached
        self._unconnected = 0
        self._in_a_row: Counter[str] = Counter()
        self._refusal: tuple[int | None, str, str] | None = None
        self._refused: list[str] = []
        self._tripped_by: tuple[int | None, str, str] | None = None

    def note(self, key: str, outcome: Outcome, *, repeat: bool = False) -> Halt | None:
        """Take one outcome into account; a ``Halt`` if it stops the run.

        :param repeat: the POST repeated a submission in doubt, which no refusal makes new again
        """
        # A refusal shows that the service works again, but not that its answers to acceptances arrive.
        if outcome.verdict in ("accepted", "rejected"):
            self._in_a_row["server"] = 0
        if outcome.verdict == "accepted":
            self._in_a_row["silence"] = 0
            self._forget_refusals()
        if outcome.row == NO_CONNECTION:
            return self._note_no_connection(outcome)
        self._reached = True
        if outcome.stop is not None:
            return Halt(stop=outcome.stop, reason=said_with_meaning(outcome), hint=_HINTS.get(outcome.stop))
        against = outcome.counts_against
        if against == "refusal":
            return None if repeat else self._note_refusal(key, outcome)
        if against is None:
            return None
        self._in_a_row[against] += 1
        most, what, hint = _IN_A_ROW[against]
        if self._in_a_row[against] < most:
            return None
        return Halt(
            stop=ExitCode.UNFINISHED, reason=f"{most} {what}, the last: {said_with_meaning(outcome)}", hint=hint
        )

    @property
    def refused_alike(self) -> tuple[str, ...]:
        """The keys of the equal refusals that stopped the run: those requests are new again. Else empty."""
        return tuple(self._refused) if self._tripped_by is not None else ()

    def one_more(self, key: str, outcome: Outcome) -> bool:
        """Whether this is a further refusal of the kind that has stopped the run, beyond those that did."""
        alike = outcome.counts_against == "refusal" and _signature(outcome) == self._tripped_by
        return self._tripped_by is not None and alike and key not in self._refused

    def _note_no_connection(self, outcome: Outcome) -> Halt | None:
        self._unconnected += 1
        if self._reached or self._unconnected < CONNECTIONS_BEFORE_THE_FIRST:
            return None
        return Halt(
            stop=ExitCode.UNFINISHED,
            reason=f"the service can't be reached: {said(outcome)}",
            hint="nothing was sent: check the address (--base-url or APIMART_BASE_URL) and the network, then run the "
            "same command again",
        )

    def _note_refusal(self, key: str, outcome: Outcome) -> Halt | None:
        if self._tripped_by is not None:
            return None
        signature = _signature(outcome)
        if signature != self._refusal:
            self._forget_refusals()
            self._refusal = signature
        self._refused.append(key)
        if len(self._refused) < EQUAL_REFUSALS_IN_A_ROW:
            return None
        self._tripped_by = signature
        return Halt(
            stop=ExitCode.FINDINGS,
            reason=f"{EQUAL_REFUSALS_IN_A_ROW} requests in a row were refused alike: {said_with_meaning(outcome)}",
            hint="mend the job file; those requests are new again",
        )

    def _forget_refusals(self) -> None:
        if self._tripped_by is None:  # those that stopped the run have yet to be made new
            self._refusal = None
            self._refused.clear()


def said(outcome: Outcome) -> str:
    """What the service, or the transport, said: for the record and for people."""
    problem = outcome.problem
    if problem is None:
        return outcome.detail or outcome.verdict.replace("_", " ")
    status = f"HTTP {problem.status}" if problem.status is not None else ""
    return " ".join(part for part in (status, problem.code, problem.message) if part) or "no reason given"


def said_with_meaning(outcome: Outcome) -> str:
    """What was said, and what an error of the service means: for people. The record has the words alone."""
    return said(outcome) if outcome.problem is None else with_meaning(said(outcome), outcome.problem, step=False)


def _signature(outcome: Outcome) -> tuple[int | None, str, str]:
    problem = outcome.problem
    return (problem.status, problem.code, problem.message) if problem else (None, "", outcome.detail)


PENDING_SECONDS = 600.0
"""So long a submission is asked for again that the service is still busy with."""

Why = Literal["pending", "replay", "server error"]
Answer = Literal["settled", "charged again", "not charged", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Send it again, ``wait`` seconds from now at the earliest."""

    why: Why
    wait: float

    @property
    def costly(self) -> bool:
        """Whether it may be charged a second time, for which money has to be reserved."""
        return self.why != "pending"


class OpenCase:
    """One submission in doubt: what has been tried, and what may be tried.

    :param first: the outcome that put it in doubt
    :param now: Unix seconds
    :param replay_since: the operator asked for a replay of this one; Unix seconds of its intent
    :param replays: replays before this run, which count
    """

    def __init__(
        self,
        first: Outcome,
        *,
        now: float,
        replay_since: float | None = None,
        replays: int = 0,
        retry_server_errors: bool = False,
    ) -> None:
        self.first = first
        self.server_retries: int = 0
        self._latest = first
        self._pending_until = now + PENDING_SECONDS
        self._replay_since = replay_since
        self._retry_server_errors = retry_server_errors
        self._replays = replays
        self._tries = 0

    def again(self, now: float, random: Random) -> Again | None:
        """The next repeat that is allowed, None where it stays in doubt. ``now`` is Unix seconds."""
        wait = self._wait(random)
        if self._latest.row == IN_PROGRESS:  # a repeat under its key is not charged
            return Again(why="pending", wait=wait) if now + wait <= self._pending_until else None
        if self._latest.row == NAMED_TASK:
            return None
        since = self._replay_since
        if since is not None and self._replays < REPLAYS and now + wait - since <= REPLAY_SECONDS:
            return Again(why="replay", wait=wait)
        if self._retry_server_errors and self._is_retriable_server_error():
            return Again(why="server error", wait=wait)
        return None

    def take(self, again: Again, outcome: Outcome, *, mark_counts: bool) -> Answer:
        """Count a repeat; what its answer means for the submission in doubt.

        :param mark_counts: ``Idempotency-Replayed`` says something: no first answer carried it
        """
        self._tries += 1
        self._replays += again.why == "replay"
        self.server_retries += again.why == "server error"
        self._latest = outcome
        if outcome.verdict == "accepted":
            if self.first.task_id is not None:
                return "settled" if outcome.task_id == self.first.task_id else "charged again"
            return "settled" if again.why == "pending" or (outcome.replayed and mark_counts) else "charged again"
        return "open" if outcome.verdict == "in_doubt" and outcome.row != IN_PROGRESS else "not charged"

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
