"""What every store of claims has to do: the same tests for a folder, an S3 server and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from seedream_jobs.claims.store import Account, Claim, ClaimStore, open_store
from seedream_jobs.errors import UnfinishedError, UsageError

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
    """Eight runners reserve at once; what is given back can be taken again, however often it is given back."""
    limit, step = Decimal("1.00"), Decimal("0.07")
    stores, together = [opened() for _ in range(8)], threading.Barrier(8)

    def reserve(store: ClaimStore, run: str, most: Decimal, account: str = "job.yaml", **other: Decimal) -> Decimal:
        amounts = {"limit": limit, "least": step, "spent": Decimal("0.1"), **other}
        return store.reserve(account, run, most=most, **amounts)

    def take(number: int) -> Decimal:
        together.wait()
        return sum((reserve(stores[number], f"r{number}", step * 2) for _ in range(3)), Decimal(0))

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(take, range(8)))
    assert Decimal("0.9") - step < sum(taken) <= Decimal("0.9")
    assert reserve(stores[0], "r0", step) == 0
    winner = taken.index(max(taken))
    for store in stores[:3]:
        store.release("job.yaml", {f"r{winner}": Decimal("0.02"), "r99": Decimal(0)})
        store.release("job.yaml", {f"r{winner}": Decimal("0.05")})  # somebody who knows less comes later
    given_back = taken[winner] - Decimal("0.02")
    assert reserve(stores[1], "r9", Decimal(5)) == Decimal("0.9") - sum(taken) + given_back
    assert reserve(stores[2], "r9", step) == 0
    assert reserve(stores[2], "r9", step, "other.yaml", spent=Decimal(2)) == 0, "more was spent before it was shared"
    assert reserve(stores[3], "r9", step, limit=limit / 2) == 0, "a lower limit bears nothing more"
    stores[3].release("other.yaml", {"r9": Decimal(0)})  # nobody has reserved there


def test_an_account_that_is_none_is_named() -> None:
    """Whatever else writes there: no traceback, and nothing is reserved."""
    assert Account.read(b'{"limit":"1","nonce":"x","runs":[["r1","0.5"]],"total":"0.7"}') == Account(
        Decimal("0.7"), Decimal(1), {"r1": Decimal("0.5")}
    )
    for line in (
        b"[]",
        b"{}",
        b'{"total":"1","limit":"1","runs":[["r"]]}',
        b'{"total":1,"limit":"1","runs":[]}',
        b"\xff",
    ):
        with pytest.raises(UsageError, match="what stands in the place of an account is none"):
            Account.read(line)


def test_an_account_names_the_runs_that_came_last() -> None:
    """What is not named can't be given back: the sum stays, so that it is never over."""
    account = Account(Decimal(3), Decimal(100), {})
    for number in range(250):
        account = account.take(f"r{number}", Decimal("0.1"))
    assert (account.total, len(account.runs), "r49" in account.runs) == (Decimal(28), 200, False)
    assert account.give_back({f"r{number}": Decimal(0) for number in range(250)}).total == Decimal(8)


def test_a_store_is_prepared_once_and_has_one_format(url: str, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    opened().prepare()
    module = type(opened()).__module__
    for name in (module, "seedream_jobs.claims.store"):
        monkeypatch.setattr(f"{name}.FORMAT", 2)
    with pytest.raises(UsageError, match="have the format 1, and this version of seedream-jobs knows 2"):
        opened().check()


def test_a_folder_without_claims_is_not_prepared(tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    with pytest.raises(UsageError, match="is not prepared for claims") as refused:
        open_store(f"file://{tmp_path}", "c").check()
    assert str(refused.value.hint).startswith("once for each store: seedream-jobs shared init; where that was done ")


def test_a_folder_is_never_made(tmp_path: Path, make_claim: Make) -> None:
    """Where it is missing its disk is not mounted: claims would be made where nobody else sees them."""
    pytest.importorskip("obstore")
    folder, away = tmp_path / "mount" / "store", tmp_path / "away"
    with pytest.raises(UnfinishedError, match="there is no such folder; mount it, or make it"):
        open_store(f"file://{folder}", "c")
    folder.mkdir(parents=True)
    opened = open_store(f"file://{folder}", "c")
    opened.prepare()
    folder.rename(away)
    for ask in (opened.check, lambda: opened.claim([make_claim(1)]), lambda: opened.since(0)):
        with pytest.raises(UnfinishedError, match="there is no such folder"):
            ask()
    assert not folder.exists()
    folder.mkdir()  # a mount point stays when its disk goes
    for ask in (lambda: opened.claim([make_claim(1)]), lambda: opened.since(0)):
        with pytest.raises(UnfinishedError, match="it holds nothing any more; see that it is mounted"):
            ask()
    assert list(folder.iterdir()) == []
    folder.rmdir()
    away.rename(folder)
    opened.check()


def test_a_campaign_sees_its_own_claims_alone(url: str, opened: Open, make_claim: Make) -> None:
    claim = make_claim(1)
    opened().claim([claim])
    other = replace(claim, nonce="0" * 16)
    assert open_store(url, "another").claim([other]) == [other]
