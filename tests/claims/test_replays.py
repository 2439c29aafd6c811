"""A doubt that two clones have on record is repeated by one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import anyio
import pytest

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.claims.store import Claim, ClaimStore
from seedream_jobs.errors import ExitCode
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.state import Holder
from seedream_jobs.run.claims import SharedBudget, SharedClaims
from seedream_jobs.run.retry import Halt
from seedream_jobs.run.submit import Submission

NOW, USD = 1_780_000_000, Decimal("0.0228")


def submission(*, replays: int | None) -> Submission:
    request = Request(
        key="v1:" + "a" * 64, address="heron#1", payload={"prompt": "a heron"}, references={}, cell={}, repeat=1,
        max_images=1, output="out/heron",
    )  # fmt: skip
    return Submission(
        request=request, generation=1, idempotency_key="sj-1", max_cost_usd=USD, body=lambda: b"",
        in_doubt_since=None if replays is None else NOW, replays=replays or 0,
    )  # fmt: skip


def with_claims(
    store: ClaimStore,
    holder: str,
    work: Callable[[SharedClaims], Awaitable[None]],
    budget: SharedBudget | None = None,
) -> None:
    """Do something as one run, which ends in order."""

    async def main() -> None:
        claims = SharedClaims(
            store, holder=holder, run=holder.replace("@", "-"), manifest="m-1", budget=budget, now=lambda: NOW
        )
        async with anyio.create_task_group() as group:
            group.start_soon(claims.serve)
            await work(claims)
            _, halt = await claims.close()
            assert halt is None
            group.cancel_scope.cancel()

    anyio.run(main)


@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_of_two_clones_with_one_doubt_one_repeats_it(opened: Callable[[], ClaimStore]) -> None:
    """And its answer settles the claim of the first POST, whoever made that."""
    hold = partial(SharedClaims.hold, usd=USD)

    async def sends_and_dies(claims: SharedClaims) -> None:
        assert await hold(claims, submission(replays=None), replay=False) is None
        claims.settle(submission(replays=None), Outcome(row=6, verdict="in_doubt", doubt="no response"))

    async def repeats(claims: SharedClaims) -> None:
        assert await hold(claims, submission(replays=0), replay=True) is None
        assert await hold(claims, submission(replays=0), replay=True) is None, "the same run may repeat it further"
        claims.settle(submission(replays=0), Outcome(row=8, verdict="accepted", task_id="task_1"))

    async def comes_late(claims: SharedClaims) -> None:
        found = await hold(claims, submission(replays=0), replay=True)
        assert found == Holder(name="mara@b", since=NOW)

    with_claims(opened(), "mara@a", sends_and_dies)
    assert [claim.verdict for claim in opened().since(0)] == [None]
    with_claims(opened(), "mara@b", repeats)
    with_claims(opened(), "noor@c", comes_late)
    assert [(claim.holder, claim.verdict, claim.task_ids) for claim in opened().since(0)] == [
        ("mara@a", "paid", ("task_1",))
    ]


@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_money_for_a_repeat_is_reserved_too(opened: Callable[[], ClaimStore]) -> None:
    """A repeat may be charged once more: the budget of all runners bears it, or it is not sent."""
    hold = partial(SharedClaims.hold, usd=USD)
    budget = SharedBudget(account="a.yaml", limit=USD * 5 / 2, spent=Decimal(0), ended=dict)

    async def repeats(claims: SharedClaims) -> None:
        assert await hold(claims, submission(replays=None), replay=False) is None
        claims.settle(submission(replays=None), Outcome(row=6, verdict="in_doubt", doubt="no response"))
        assert await hold(claims, submission(replays=None), replay=False, costly=True) is None
        found = await hold(claims, submission(replays=None), replay=False, costly=True)
        assert isinstance(found, Halt)
        assert found.stop is ExitCode.MONEY

    async def another(claims: SharedClaims) -> None:
        found = await hold(claims, other, replay=False)
        assert isinstance(found, Halt)

    first = submission(replays=None)
    other = replace(first, request=replace(first.request, key="v1:" + "b" * 64))
    with_claims(opened(), "mara@a", repeats, budget)
    with_claims(opened(), "noor@c", another, budget)


@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_a_doubt_that_is_not_repeated_after_all_stays_one(opened: Callable[[], ClaimStore]) -> None:
    """A signal that comes while the claim of an earlier run is taken over: nobody may take the request as unpaid."""
    hold = partial(SharedClaims.hold, usd=USD)

    async def sends_and_dies(claims: SharedClaims) -> None:
        assert await hold(claims, submission(replays=None), replay=False) is None
        claims.settle(submission(replays=None), Outcome(row=6, verdict="in_doubt", doubt="no response"))

    async def is_interrupted(claims: SharedClaims) -> None:
        taken = claims._take

        def interrupt(wait: Any, one: Claim) -> None:
            taken(wait, one)
            if wait.adopts:
                anyio.from_thread.run_sync(scope.cancel)

        claims._take = interrupt  # type: ignore[method-assign]
        with anyio.CancelScope() as scope:
            await hold(claims, submission(replays=0), replay=True)
        assert scope.cancelled_caught

    with_claims(opened(), "mara@a", sends_and_dies)
    with_claims(opened(), "mara@b", is_interrupted)
    assert [claim.verdict for claim in opened().since(0)] == [None]
