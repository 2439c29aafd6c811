"""What tasks really cost, beside what was estimated for them: only the service's own word counts as charged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from seedream_jobs.ledger.state import Earlier, Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """USD of the tasks whose cost the service has named; ``estimated`` is None where one of them had no estimate."""

    usd: Decimal = Decimal(0)
    estimated: Decimal | None = Decimal(0)

    def __add__(self, other: Bill) -> Bill:
        known = self.estimated is not None and other.estimated is not None
        estimated = (self.estimated or Decimal(0)) + (other.estimated or Decimal(0)) if known else None
        return Bill(usd=self.usd + other.usd, estimated=estimated)

    def __str__(self) -> str:
        """``0.0456 USD charged of 0.0912 estimated``."""
        beside = "" if self.estimated is None else f" of {self.estimated:.4f} estimated"
        return f"{self.usd:.4f} USD charged{beside}"


def bill_of(entry: Entry) -> Bill:
    """One request's, all its generations and branches included."""
    bill = Bill()
    attempts: tuple[Entry | Earlier, ...] = (entry, *entry.earlier)
    for attempt in attempts:
        if attempt.cost_usd is not None:
            bill += Bill(usd=attempt.cost_usd, estimated=attempt.max_cost_usd)
    return bill


def charged(entries: Iterable[Entry]) -> Bill:
    """The bill of a record."""
    return sum(map(bill_of, entries), start=Bill())
