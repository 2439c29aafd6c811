"""The guard in front of the money: before a POST leaves, every budget must bear the most it can cost.

Pure. What is in flight, accepted or in doubt counts with its maximum; a request that is provably not charged gives
its share back; a completed one is settled with what it really cost. USD throughout.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal


class Budget:
    """One limit. Several guards may share it: ``--budget`` covers all jobs of an invocation.

    :param name: as people know it, such as ``--budget`` or ``limits.budget_usd of garden.yaml``
    :param limit: USD
    :param spent: USD that count against it already, in-doubt submissions included
    """

    def __init__(self, name: str, limit: Decimal, spent: Decimal = Decimal(0)) -> None:
        self.name = name
        self.limit = limit
        self.spent = spent

    @property
    def left(self) -> Decimal:
        """USD that may still be committed; below 0 where it was overspent before."""
        return self.limit - self.spent


class Spend:
    """All budgets that hold for a submission: every one of them must."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self._budgets = tuple(budgets)

    def reserve(self, cost: Decimal | None) -> str | None:
        """Commit ``cost`` to every budget; or commit nothing and say which one can't bear it.

        An unknown cost (None) fits no budget.
        """
        for budget in self._budgets:
            if cost is None:
                return f"the price is unknown, so {budget.name} can't be kept"
            if cost > budget.left:
                return f"{budget.name} of {budget.limit} USD would be exceeded: {budget.spent} USD are committed"
        self._add(cost)
        return None

    def release(self, cost: Decimal | None) -> None:
        """Give back what was reserved: provably not charged."""
        self._add(-cost if cost is not None else None)

    def settle(self, reserved: Decimal | None, actual: Decimal | None) -> None:
        """Put what it really cost in place of what was reserved; without an ``actual`` the reserve stands."""
        if reserved is not None and actual is not None:
            self._add(actual - reserved)

    def _add(self, amount: Decimal | None) -> None:
        if amount is not None:
            for budget in self._budgets:
                budget.spent += amount
