"""What every store of claims has to do: the same tests for a folder, an S3 server and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import pytest

from seedream_jobs.claims.store import Claim, ClaimStore, open_store
from seedream_jobs.errors import UsageError

Open = Callable[[], ClaimStore]
Make = Callable[..., Claim]


def test_of_two_who_claim_a_request_the_first_has_it(opened: Open, make_claim: Make) -> None:
    """The second is told who, and what became of it; asking again changes nothing."""
    mara, noor = opened(), opened()
    mine = [make_claim(number) for number in range(5)]
    theirs = [make_claim(number, "noor@b") for number in range(3, 8)]
    assert mara.claim(mine) == mine
    standing = noor.claim(theirs)
    assert [one.holder for one in standing] == ["mara@a", "mara@a", "noor@b", "noor@b", "noor@b"]
    assert [one.verdict for one in standing] == [None] * 5
    assert mara.claim(mine) == mine
    mara.settle(
        [mine[3].settled("paid", at=7, by="mara@a", task_ids=["t1", "t2"]), mine[4].settled("free", at=7, by="x")]
    )
    paid, free, *_ = noor.claim(theirs)
    assert (paid.verdict, paid.task_ids, free.verdict) == ("paid", ("t1", "t2"), "free")


def test_what_is_free_is_claimed_by_one_further_attempt(opened: Open, make_claim: Make) -> None:
    store, first = opened(), make_claim(1)
    store.claim([first])
    store.settle([first.settled("free", at=7, by="mara@a")])
    second, late = make_claim(1, "noor@b", attempt="2"), make_claim(1, "mara@a", attempt="2")
    assert store.claim([second]) == [second]
    assert opened().claim([late]) == [second]
    assert opened().since(0) == [second]


def test_paid_counts_before_free(opened: Open, make_claim: Make) -> None:
    """A person took a runner for dead, and it was not: its task id is never lost."""
    for order in (("free", "paid"), ("paid", "free")):
        store, claim = opened(), make_claim(order.index("paid"))
        store.claim([claim])
        for verdict in order:
            store.settle([claim.settled(verdict, at=7, by="mara@a", task_ids=["t1"] if verdict == "paid" else [])])
        (found,) = opened().claim([claim])
        assert (found.verdict, found.task_ids) == ("paid", ("t1",))


def test_one_listing_tells_all_since_a_time(opened: Open, make_claim: Make) -> None:
    store, claims = opened(), [make_claim(number) for number in range(20)]
    store.claim(claims)
    settled = [one.settled("paid", at=7, by="mara@a", task_ids=["t"]) for one in claims[:15]]
    store.settle(settled)
    replays = make_claim(1, attempt="replay-1")
    store.claim([replays])
    found = opened().since(claims[0].at - 5)
    assert sorted(found, key=lambda one: one.key) == [*settled, *claims[15:]]
    assert opened().since(claims[0].at + 1000) == []


def test_a_budget_is_never_over_whoever_takes_from_it(opened: Open) -> None:
    """Eight runners reserve at once; what is given back can be taken again."""
    limit, step = Decimal("1.00"), Decimal("0.07")
    stores, together = [opened() for _ in range(8)], threading.Barrier(8)

    def take(store: ClaimStore) -> Decimal:
        together.wait()
        return sum((store.reserve("job.yaml", limit, step, step * 2, Decimal("0.1")) for _ in range(3)), Decimal(0))

    with ThreadPoolExecutor(8) as pool:
        taken = sum(pool.map(take, stores))
    assert Decimal("0.9") - step < taken <= Decimal("0.9")
    stores[0].release("job.yaml", Decimal("0.5"))
    assert stores[1].reserve("job.yaml", limit, step, Decimal(5), Decimal(0)) == limit - Decimal(
        "0.1"
    ) - taken + Decimal("0.5")
    assert stores[2].reserve("job.yaml", limit, step, step, Decimal(0)) == 0
    assert stores[2].reserve("other.yaml", limit, step, step, Decimal(2)) == 0, "more was spent before it was shared"
    assert stores[3].reserve("job.yaml", limit / 2, step, step, Decimal(0)) == 0, "a lower limit bears nothing more"


def test_a_store_is_prepared_once_and_has_one_format(url: str, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    opened().prepare()
    module = type(opened()).__module__
    for name in (module, "seedream_jobs.claims.store"):
        monkeypatch.setattr(f"{name}.FORMAT", 2)
    with pytest.raises(UsageError, match="have the format 1, and this version of seedream-jobs knows 2"):
        opened().check()


def test_a_folder_without_claims_is_not_prepared(tmp_path) -> None:
    pytest.importorskip("obstore")
    with pytest.raises(UsageError, match="is not prepared for claims") as refused:
        open_store(f"file://{tmp_path}/new", "c").check()
    assert refused.value.hint == "once for each store: seedream-jobs shared init"


def test_a_campaign_sees_its_own_claims_alone(url: str, opened: Open, make_claim: Make) -> None:
    claim = make_claim(1)
    opened().claim([claim])
    other = replace(claim, nonce="0" * 16)
    assert open_store(url, "another").claim([other]) == [other]
