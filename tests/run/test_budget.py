"""What the budgets let through, and what a price that was seen means for them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_jobs.ledger.state import Entry, Image, State
from seedream_jobs.run.budget import Budget, ObservedPrice, Spend


@given(st.lists(st.tuples(st.sampled_from(["reserve", "release", "settle"]), st.integers(0, 300)), max_size=60))
def test_no_budget_is_ever_overrun(steps: list[tuple[str, int]]) -> None:
    """Whatever is reserved, given back or settled below its reserve, every budget holds."""
    narrow, wide = Budget("narrow", Decimal(5), Decimal(1)), Budget("wide", Decimal(9))
    spend = Spend([narrow, wide])
    reserved: list[tuple[str, Decimal]] = []
    keys = iter(map(str, range(1000)))
    for kind, cents in steps:
        if kind == "reserve":
            key, cost = next(keys), Decimal(cents) / 100
            if spend.reserve(key, cost, 1) is None:
                reserved.append((key, cost))
        elif reserved and kind == "release":
            spend.release(reserved.pop()[0])
        elif reserved:
            key, cost = reserved.pop()
            spend.settle(key, None, min(cost, Decimal(cents) / 100))
        assert narrow.left >= 0
        assert wide.left >= 0
        assert narrow.spent - wide.spent == 1


def test_a_refused_reserve_takes_from_no_budget() -> None:
    """All or nothing, and the one that refuses is named."""
    wide, narrow = Budget("--budget", Decimal(9)), Budget("limits.budget_usd of a.yaml", Decimal(1))
    assert "limits.budget_usd of a.yaml" in (Spend([wide, narrow]).reserve("a", Decimal(2), 1) or "")
    assert wide.spent == narrow.spent == 0


def test_an_unknown_price_fits_no_budget_and_passes_without_one() -> None:
    """Unknown is never 0."""
    assert "unknown" in (Spend([Budget("--budget", Decimal(9))]).reserve("a", None, 1) or "")
    assert Spend().reserve("a", None, 1) is None


def completed(key: str, cost: str, *, images: int = 1, most: int = 1, counted: str = "0.02", bad: int = 0) -> Entry:
    """A request that is done: so much charged for so many images, of which some did not come."""
    delivered = (Image(url="https://x/1"),) * images + (Image(error="no"),) * bad
    return Entry(
        key=key,
        address=key,
        cell={},
        request={},
        repeat=1,
        output="out/a",
        max_images=most,
        generation=1,
        state=State.COMPLETED,
        images=delivered,
        cost_usd=Decimal(cost),
        max_cost_usd=Decimal(counted) * most,
    )


def test_a_price_that_rose_counts_for_all_that_is_not_settled() -> None:
    """Told once per new price; what is under way and what is still to be sent count with it in every job."""
    price, shared = ObservedPrice(), Budget("--budget", Decimal("1.00"))
    one, other = Spend([shared], price), Spend([shared, Budget("limits", Decimal("0.50"))], price)
    for key in ("a", "b", "c"):
        assert one.reserve(key, Decimal("0.02"), 1) is None
    assert other.reserve("d", Decimal("0.06"), 3) is None
    one.settle("a", None, Decimal("0.10"))
    assert price.learn(completed("a", "0.10")) == (
        "the service charges 0.1 USD per image, not 0.02: the rest is counted with it"
    )
    assert shared.spent == Decimal("0.10") * 3 + Decimal("0.10") * 3
    assert other.most(Decimal("0.02"), 2) == Decimal("0.20")
    one.settle("b", None, Decimal("0.10"))
    assert price.learn(completed("b", "0.10")) is None, "told once"
    assert shared.spent == Decimal("0.60")
    one.release("c")
    assert shared.spent == Decimal("0.50")
    assert "limits of 0.50 USD would be exceeded" in (other.reserve("e", Decimal("0.06"), 3) or "")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (completed("a", "0.06", images=3, most=3), None),
        (completed("a", "0.02", images=1, most=3, bad=2), None),  # a partial group is billed by delivered image
        (completed("a", "0.02", images=1, most=15), None),
        (completed("a", "0.06", images=1, most=3), "charges 0.06 USD per image, not 0.02"),
        (
            completed("a", "0.30", images=15, most=1),
            "charges 0.3 USD per image, not 0.02",
        ),  # more came than can be asked
        (completed("a", "0.06", images=0, most=3), None),
        (completed("a", "0.09", images=0, most=3), "charges 0.03 USD per image, not 0.02"),
        (completed("a", "0.01"), "charges 0.01 USD per image, less than the 0.02 that are counted"),
        (completed("a", "0"), "charges 0 USD per image, less than"),
        (completed("a", "0", images=0), None),  # the money came back
        (completed("a", "0.05", images=3, most=3), "charges 0.016667 USD per image, less than"),
    ],
)
def test_what_a_cost_says_of_the_price(entry: Entry, words: str | None) -> None:
    """Per image that was delivered; of a task without images, per image that it could be charged for."""
    said_of = ObservedPrice().learn(entry)
    assert said_of is None if words is None else words in (said_of or "")


def test_nothing_is_kept_of_a_request_that_is_settled() -> None:
    """``recount`` looks at all that is open; of a million that are done it sees none."""
    spend = Spend([Budget("--budget", Decimal(9))])
    for key in "ab":
        spend.reserve(key, Decimal(1), 1)
    spend.reserve("b", Decimal(1), 1)
    spend.settle("a", None, Decimal(1))
    spend.release("b")
    assert list(spend._open) == ["b"]
    spend.release("b")
    assert not spend._open
