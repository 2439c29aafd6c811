"""This module counts money: prices, budgets and what entries have cost, in decimal USD.

Called by ``plans.plan``, ``plans.saved`` and the views. Invariant: an unknown price is unknown and never 0; what is
shown as a maximum is rounded up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, ROUND_UP, Decimal
from typing import Any

from seedream_jobs.errors import MoneyError
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.state import Entry, spent_usd
from seedream_jobs.model_profile import Profile

_PLACES = Decimal("0.0001")
_A_NUMBER = re.compile(
    r"^[nk]$|^n_|_n$|num|count|batch|sample|variation|variant|quantity|amount|outputs|images$|max_?image", re.IGNORECASE
)
"""Names by which image services are asked for several images."""
MOST_USD = Decimal(1_000_000_000)
"""An amount that a person gives is below it; together with ``MOST_DECIMALS`` it keeps every sum exact."""
MOST_DECIMALS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """USD per image, and what to say about where the number comes from; ``usd`` is None where nobody knows it.

    :param beside: other prices that a person should see next to it, as (what to say, USD)
    """

    usd: Decimal | None
    source: str
    beside: tuple[tuple[str, Decimal], ...] = ()

    def __str__(self) -> str:
        """``0.01 per image, --price; 0.0228 by the profile of 2026-08-22``; empty where no price is known."""
        if self.usd is None:
            return ""
        others = "".join(f"; {plain(usd)} {said}" for said, usd in self.beside)
        return f"{plain(self.usd)} per image, {self.source}{others}"

    def cost(self, images: int) -> Decimal | None:
        """USD for so many images."""
        return None if self.usd is None else self.usd * images


def tariff_of(profile: Profile, override: Decimal | None, seen: tuple[str, Decimal] | None = None) -> Tariff:
    """The operator's price if given, else the profile's dated one, or what the service charged where that is more.

    :param seen: (day, USD per image) that the service charged last
    """
    known = profile.price
    charged = () if seen is None else ((f"charged on {seen[0]}" if seen[0] else "charged", seen[1]),)
    dated = () if known is None else ((f"by the profile of {known.as_of}", known.usd_per_image),)
    if override is not None:
        beside = (*(one for one in dated if one[1] > override), *(one for one in charged if one[1] != override))
        return Tariff(usd=override, source="--price", beside=beside)
    if known is None:
        return Tariff(usd=None, source="unknown", beside=charged)
    if charged and charged[0][1] > known.usd_per_image:  # the lower price would make every budget too wide
        return Tariff(usd=charged[0][1], source=charged[0][0], beside=dated)
    beside = tuple(one for one in charged if one[1] != known.usd_per_image)
    return Tariff(usd=known.usd_per_image, source=known.as_of, beside=beside)


def asks_for_more(extra: Mapping[str, Any]) -> str | None:
    """The field of ``request.extra`` whose name sounds like a number of images, at any depth; None for none."""
    for name, value in extra.items():
        if _A_NUMBER.search(name):
            return name
        if isinstance(value, Mapping) and (inner := asks_for_more(value)):
            return f"{name}.{inner}"
    return None


def price_seen(records: Iterable[Entries]) -> tuple[str, Decimal] | None:
    """(day, USD per image): the highest price charged for what was submitted on the last day of which one is known."""
    return max((found for entries in records for found in entries.prices()), default=None)


def money(usd: Decimal | None, *, play: bool = False) -> str:
    """USD as people read it: four places, rounded up so that a maximum stays one.

    :param play: of a rehearsal, which costs nothing
    """
    shown = "unknown cost" if usd is None else f"{usd.quantize(_PLACES, rounding=ROUND_UP)} USD"
    return shown + PLAY_MONEY if play else shown


PLAY_MONEY = " (play money)"
"""Stands behind the amounts of a rehearsal."""


def plain(usd: Decimal) -> str:
    """A price with all its places and no zeros behind them."""
    return f"{usd.normalize():f}"


def is_amount(usd: Decimal) -> bool:
    """Whether a number may be a price or a budget: 0 or more, below ``MOST_USD``, at most ``MOST_DECIMALS`` places."""
    if not usd.is_finite() or not 0 <= usd < MOST_USD:
        return False
    exponent = usd.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -MOST_DECIMALS


def budget_text(usd: Decimal) -> str:
    """A budget with two places, or as many as it was written with."""
    exponent = usd.as_tuple().exponent
    places = max(2, -exponent if isinstance(exponent, int) else 2)
    if places > MOST_DECIMALS:  # a job file may say 1e-300
        return f"{usd:.3E} USD"
    return f"{usd.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)} USD"


def spent(entries: Iterable[Entry], tariff: Tariff) -> Decimal:
    """What entries count for against a budget; an unknown cost counts as the most it can be at today's price."""
    # Without a price of today it counts as 0: ``check_budget`` then refuses whatever would be submitted.
    costs = (spent_usd(entry, tariff.cost(entry.max_images) or Decimal(0)) for entry in entries)
    return sum(costs, start=Decimal(0))


def check_budget(name: str, limit: Decimal, already: Decimal, planned: Decimal | None, images: int) -> None:
    """Refuse a plan that is over a budget.

    :param already: USD that count against it before this plan
    :raises MoneyError: with the numbers and the ways out
    """
    if images == 0:  # a budget that is used up does not keep anybody from fetching
        return
    if planned is None:
        raise MoneyError(
            "the price of an image is unknown, or request.extra may ask for more images: "
            f"{name} of {budget_text(limit)} can't be held",
            hint="give the price: --price 0.0228, or leave out the field that asks for images",
        )
    if already + planned > limit:
        many = f"{images:,} {'image is' if images == 1 else 'images are'}"
        before = f"{money(already)} already spent and " if already else ""
        raise MoneyError(
            f"{name} is {budget_text(limit)}: {before}at most {money(planned)} for {many} over it",
            hint="raise the budget, or submit less: --select, --limit N",
        )
