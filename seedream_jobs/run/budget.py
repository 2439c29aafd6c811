"""This module guards the money: before a POST leaves, every budget must bear the most it can cost.

Called by ``submit`` and ``session``. Pure arithmetic; all amounts are USD. Invariant: what is in flight, accepted or in
doubt counts with its maximum. A request that is provably not charged gives its share back; a completed one is settled
with what it really cost. Once the service has charged more for an image than was counted, everything that is not
settled counts with that price, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from seedream_jobs.ledger.state import Entry, image_price
from seedream_jobs.plans.cost import plain


@dataclass(slots=True)
class Budget:
    """One limit. Several jobs may share it: ``--budget`` covers all jobs of a command.

    :param name: as people know it, such as ``--budget`` or ``limits.budget_usd of garden.yaml``
    :param limit: USD
    :param spent: USD that count against it already, in-doubt submissions included
    """

    name: str
    limit: Decimal
    spent: Decimal = Decimal(0)

    @property
    def left(self) -> Decimal:
        """USD that may still be committed; below 0 where it was overspent before."""
        return self.limit - self.spent


class ObservedPrice:
    """What the service was seen to charge for an image, for all jobs of a command.

    :param usd: the highest price seen; None before there is one
    """

    def __init__(self) -> None:
        self.usd: Decimal | None = None
        self._lowest: Decimal | None = None
        self._guards: list[Spend] = []

    def learn(self, entry: Entry) -> str | None:
        """Learn from what a task cost; the news to tell, if it is a price that was not counted with and not yet told.

        :param entry: after the event that named the cost
        """
        seen = image_price(entry)
        if seen is None or entry.max_cost_usd is None:
            return None
        counted = entry.max_cost_usd / entry.max_images
        if seen > counted and (self.usd is None or seen > self.usd):
            before, self.usd = max(counted, self.usd or Decimal(0)), seen
            for guard in self._guards:
                guard.recount(seen)
            return f"the service charges {plain(seen)} USD per image, not {plain(before)}: the rest is counted with it"
        if seen < counted and (self._lowest is None or seen < self._lowest):
            self._lowest = seen
            return f"the service charges {plain(seen)} USD per image, less than the {plain(counted)} that are counted"
        return None

    def watch(self, guard: Spend) -> None:
        """Have a guard count again when the price rises."""
        self._guards.append(guard)


class Spend:
    """What a job's submissions spend of all the budgets that hold for them.

    :param price: what was seen to be charged, shared by all jobs
    """

    def __init__(self, budgets: Iterable[Budget] = (), price: ObservedPrice | None = None) -> None:
        self._budgets = tuple(budgets)
        self._price = price or ObservedPrice()
        self._open: dict[str, list[tuple[Decimal, int]]] = {}  # by key, of each POST: USD reserved, the most images
        if self._budgets:
            self._price.watch(self)  # without a budget nothing is reserved, so nothing is to be counted again

    def most(self, cost: Decimal | None, images: int) -> Decimal | None:
        """The most that a request can cost: as planned, or more by the price that was seen."""
        if cost is None or self._price.usd is None:
            return cost
        return max(cost, self._price.usd * images)

    def reserve(self, key: str, cost: Decimal | None, images: int) -> str | None:
        """Commit the most that a request can cost to every budget; or commit nothing and say which one can't bear it.

        A request that is reserved once more may be charged twice. An unknown cost (None) fits no budget.

        :param cost: as planned
        """
        most = self.most(cost, images)
        for budget in self._budgets:
            if most is None:
                return f"the price is unknown, so {budget.name} can't be kept"
            if most > budget.left:
                return f"{budget.name} of {budget.limit} USD would be exceeded: {budget.spent} USD are committed"
        if self._budgets and most is not None:
            self._open.setdefault(key, []).append((most, images))
            self._add(most)
        return None

    @property
    def overdrawn(self) -> bool:
        """Whether a price that rose has put more on a budget than it bears."""
        return any(budget.left < 0 for budget in self._budgets)

    def release(self, key: str) -> None:
        """Give back what was reserved last for a request: it was provably not charged."""
        reserved = self._pop(key)
        if reserved is not None:
            self._add(-reserved)

    def settle(self, key: str, reserved: Decimal | None, actual: Decimal | None) -> None:
        """Put what it really cost in place of what was reserved; without an ``actual`` the reserve stands.

        :param reserved: USD that were counted for it where an earlier run has reserved it
        """
        if actual is None:
            return
        mine = self._pop(key)
        before = reserved if mine is None else mine  # what this run reserved for it, or an earlier one
        if before is not None:
            self._add(actual - before)

    def recount(self, usd: Decimal) -> None:
        """Count what is not settled with a higher price per image."""
        for posts in self._open.values():
            for index, (reserved, images) in enumerate(posts):
                most = max(reserved, usd * images)
                posts[index] = most, images
                self._add(most - reserved)

    def _pop(self, key: str) -> Decimal | None:
        """What was reserved last for a request, once: a million settled ones must not be looked at by ``recount``."""
        posts = self._open.get(key)
        if posts is None:
            return None
        usd, _ = posts.pop()
        if not posts:
            del self._open[key]
        return usd

    def _add(self, amount: Decimal) -> None:
        for budget in self._budgets:
            budget.spent += amount
