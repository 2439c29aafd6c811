"""Any interleaving, any misbehaviour of the service, any interruption: the promises hold, for every seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from seedream_jobs.api.outcomes import Flight, Outcome
from seedream_jobs.errors import ExitCode
from seedream_jobs.ledger.state import Event
from seedream_jobs.run import budget, rate_limiter, retry, shutdown, submit
from seedream_jobs.run.submit import Submission
from tests.lanes import check_caught

FAST = 200
SLOW = 10_000


def test_every_promise_holds_for_the_fast_seeds(simulate: Callable[[int], Any]) -> None:
    """Two hundred seeds, and between them they reach every way in which a run can end."""
    stops: Counter[ExitCode | None] = Counter()
    posts = 0
    for seed in range(FAST):
        played = simulate(seed)
        posts += len(played.service.posts)
        halt = played.finished.halt if played.finished else None
        stops[halt.stop if halt else None] += 1
    assert posts > 5 * FAST
    reached = {ExitCode.SIGINT, ExitCode.SIGTERM, ExitCode.SIGHUP, ExitCode.LEDGER, ExitCode.MONEY}
    assert reached | {ExitCode.CREDENTIALS, ExitCode.UNFINISHED, ExitCode.FINDINGS, None} <= set(stops)


@pytest.mark.slow
def test_every_promise_holds_for_ten_thousand_seeds(simulate: Callable[[int], Any]) -> None:
    """The budget is never overrun, nothing is charged twice, no id is lost, in ten thousand seeds."""
    for seed in range(FAST, FAST + SLOW):
        simulate(seed)


def test_the_same_seed_gives_the_same_trace(simulate: Callable[[int], Any]) -> None:
    """A failure can be replayed: scheduler, service, disk and pacing follow from the seed alone."""
    for seed in range(0, FAST, 20):
        assert simulate(seed).trace == simulate(seed).trace
    assert simulate(2).trace != simulate(3).trace


def blind_retry(patch: pytest.MonkeyPatch) -> None:
    """Sends again whatever got no answer."""

    def again(self: retry.OpenCase, now: float, random: object) -> retry.Again:
        return retry.Again(why="replay", wait=1.0)

    patch.setattr(retry.OpenCase, "again", again)


def replay_after_limit(patch: pytest.MonkeyPatch) -> None:
    """Takes "too many requests" to a replay for the answer to the first POST."""

    async def freed(self: submit.Submitter, submission: Submission, outcome: Outcome) -> None:
        self._counts["in_doubt"] -= 1

    patch.setattr(submit.Submitter, "_stay_in_doubt", freed)


def repeats_are_free(patch: pytest.MonkeyPatch) -> None:
    """Takes whatever a repeat is answered with for the first POST's answer."""

    def take(self: retry.OpenCase, again: retry.Again, outcome: Outcome, *, mark_counts: bool) -> str:
        self._latest = outcome
        return "settled" if outcome.verdict == "accepted" else "open"

    patch.setattr(retry.OpenCase, "take", take)


def intent_written_late(patch: pytest.MonkeyPatch) -> None:
    """Writes the intent once the reply is there."""
    settle = submit.Submitter._settle

    async def intend(self: submit.Submitter, submission: Submission) -> bool:
        return True

    async def late(self: submit.Submitter, submission: Submission, outcome: Outcome) -> None:
        await self._record(submission.intent(0))
        await settle(self, submission, outcome)

    patch.setattr(submit.Submitter, "_intend", intend)
    patch.setattr(submit.Submitter, "_settle", late)


def gate_ignored(patch: pytest.MonkeyPatch) -> None:
    """Doesn't wait as told."""
    patch.setattr(rate_limiter.RateLimiter, "_close", lambda self, until: None)


def no_last_look(patch: pytest.MonkeyPatch) -> None:
    """Sends an announced POST although another worker was told to wait meanwhile."""
    patch.setattr(rate_limiter.RateLimiter, "still_open", lambda self: True)


def jitter_both_ways(patch: pytest.MonkeyPatch) -> None:
    """Lets jitter shorten the wait."""
    patch.setattr(rate_limiter, "no_earlier", lambda told, random: told * random.uniform(0.9, 1.1))


def budget_checked_after(patch: pytest.MonkeyPatch) -> None:
    """Looks at the money once it is spent."""
    reserve, settle = submit.Submitter._reserve, submit.Submitter._settle

    async def late(self: submit.Submitter, submission: Submission, outcome: Outcome) -> None:
        over = reserve(self, submission)
        if over is not None:
            self._shutdown.stop(over)
        await settle(self, submission, outcome)

    patch.setattr(submit.Submitter, "_reserve", lambda self, submission: None)
    patch.setattr(submit.Submitter, "_settle", late)


def doubt_is_free(patch: pytest.MonkeyPatch) -> None:
    """Gives the money back for what is in doubt."""
    settle = submit.Submitter._settle

    async def cheap(self: submit.Submitter, submission: Submission, outcome: Outcome) -> None:
        await settle(self, submission, outcome)
        if outcome.verdict == "in_doubt":
            self._spend.release(submission.request.key)

    patch.setattr(submit.Submitter, "_settle", cheap)


def price_of_the_plan(patch: pytest.MonkeyPatch) -> None:
    """Goes on counting with the plan's price, whatever the service charges."""
    patch.setattr(budget.Spend, "most", lambda self, cost, images: cost)
    patch.setattr(budget.Spend, "recount", lambda self, usd: None)


def cancelled_is_not_sent(patch: pytest.MonkeyPatch) -> None:
    """Takes a POST that was given up for one that never left."""

    def optimist(flight: Flight, detail: str) -> Outcome:
        return Outcome(row=5, verdict="not_sent", detail=detail)

    patch.setattr(submit, "given_up", optimist)


def records_can_be_cancelled(patch: pytest.MonkeyPatch) -> None:
    """Lets a cancellation interrupt the writing of an acceptance."""
    record = submit.Submitter._record

    async def exposed(self: submit.Submitter, event: Event, outcome: Outcome | None = None) -> bool:
        await anyio.sleep(1.0)
        return await record(self, event, outcome)

    patch.setattr(submit.Submitter, "_record", exposed)


def retries_without_budget(patch: pytest.MonkeyPatch) -> None:
    """Retries as often as it likes."""
    patch.setattr(retry.RetryBudget, "take", lambda self, earlier: "taken")


def breakers_removed(patch: pytest.MonkeyPatch) -> None:
    """Goes on after 401."""
    patch.setattr(retry.Breakers, "note", lambda self, key, outcome, **_: None)


def deaf_to_signals(patch: pytest.MonkeyPatch) -> None:
    """Goes on submitting after a signal."""
    stop = shutdown.Shutdown.stop

    def deaf(self: shutdown.Shutdown, halt: retry.Halt, *, withdraw: bool = True) -> None:
        if halt.reason != "interrupted":
            stop(self, halt, withdraw=withdraw)

    patch.setattr(shutdown.Shutdown, "stop", deaf)


def endless_drain(patch: pytest.MonkeyPatch) -> None:
    """Never gives up what is under way."""

    async def watch(self: shutdown.Shutdown) -> None:
        await anyio.sleep_forever()

    patch.setattr(shutdown.Shutdown, "watch", watch)


FAULTS = [
    (blind_retry, "nothing in doubt is sent again unless the plan says so"),
    (repeats_are_free, "every charge is on record"),
    (replay_after_limit, "all that is in doubt is told"),
    (intent_written_late, "no POST before its intent is durable"),
    (gate_ignored, "never earlier than told"),
    (no_last_look, "never earlier than told"),
    (jitter_both_ways, "never earlier than told"),
    (budget_checked_after, "the budget holds"),
    (doubt_is_free, "the budget holds"),
    (price_of_the_plan, "the price that was seen is counted"),
    (cancelled_is_not_sent, "nothing that was charged is new, rejected or failed"),
    (records_can_be_cancelled, "no acknowledged id is lost"),
    (retries_without_budget, "retries stay within their budget"),
    (breakers_removed, "no POST begins once the run was refused"),
    (deaf_to_signals, "no POST begins after a signal"),
    (endless_drain, "what is under way drains within its grace"),
]


@pytest.mark.parametrize(("fault", "law"), FAULTS)
def test_a_seeded_fault_is_caught(
    fault: Callable[[pytest.MonkeyPatch], None],
    law: str,
    simulate: Callable[[int], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A checker that has never failed proves nothing: each of these breaks its law within the fast seeds."""
    fault(monkeypatch)
    check_caught(law, simulate, FAST, AssertionError)
