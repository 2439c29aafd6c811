"""This module says what each state costs and what the next run does about it, as data, and counts money by it.

Called by plan, budgets, status and export. Invariant: pure; every state has a rule (``STATE_RULES``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import Literal

from seedream_jobs.ledger.state import Attempt, Entry, State

Submits = Literal["yes", "never", "retry-failed", "again"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRule:
    """What one state means for a plan and a budget: a row of the table in docs/ledger.md.

    :param mark: what a plan shows
    :param submits: what it takes for the next run to submit it; ``retry-failed`` includes ``again``
    :param spent: whether it counts against every budget; where it does not, a cost that the service named still does
    """

    mark: str
    submits: Submits
    spent: bool


STATE_RULES: Mapping[State, StateRule] = {
    State.NEW: StateRule(mark="+", submits="yes", spent=False),
    State.INTENT: StateRule(mark="?", submits="never", spent=True),
    State.ACCEPTED: StateRule(mark=">", submits="never", spent=True),
    State.COMPLETED: StateRule(mark="v", submits="never", spent=True),
    State.STORED: StateRule(mark="=", submits="again", spent=True),
    State.IN_DOUBT: StateRule(mark="?", submits="never", spent=True),
    State.REJECTED: StateRule(mark="!", submits="retry-failed", spent=False),
    State.FAILED: StateRule(mark="!", submits="retry-failed", spent=False),
    State.EXPIRED: StateRule(mark="!", submits="retry-failed", spent=True),
    State.ABANDONED: StateRule(mark=".", submits="again", spent=True),
}


def counts_as_spent(attempt: Attempt) -> bool:
    """Whether a submission counts against every budget: by its state, or because the service named a cost."""
    return STATE_RULES[attempt.state].spent or bool(attempt.cost_usd)


def submits(state: State, *, retry_failed: bool = False, again: bool = False) -> bool:
    """Whether the next run submits a request in this state.

    :param retry_failed: ``--retry-failed``
    :param again: ``--again`` names it
    """
    needed = STATE_RULES[state].submits
    return needed == "yes" or (needed == "retry-failed" and (retry_failed or again)) or (needed == "again" and again)


REPLAYS = 3
"""How often at most one submission in doubt is repeated."""
REPLAY_SECONDS = 23 * 3600
"""How long after its intent: the service is said to keep a key for 24 h."""
_REPEATED = frozenset({State.INTENT, State.IN_DOUBT, State.ABANDONED})


def may_be_replayed(entry: Entry, now: int) -> bool:
    """Whether a submission in doubt may be repeated under its idempotency key, if the operator asks for it.

    Not where a task id was named in its reply: that is confirmed by ``resolve --check``. ``now`` is Unix seconds.
    """
    return (
        entry.state is State.IN_DOUBT
        and entry.idempotency_key is not None
        and entry.task_id is None
        and entry.replays < REPLAYS
        and entry.submitted_at is not None
        and now - entry.submitted_at <= REPLAY_SECONDS
    )


def spent_usd(entry: Entry, unknown: Decimal | None = None) -> Decimal | None:
    """USD this request counts for in a budget, over all its generations and branches.

    The actual cost where the service named it, whatever the state; else the most it can be, if it counts as spent.
    While it is in doubt each repeat of its POST counts, too.

    :param unknown: what an attempt counts for that was charged, and of which neither is known; None leaves the sum
        unknown, too
    """
    total = Decimal(0)
    for attempt in entry.attempts:
        if counts_as_spent(attempt):
            charged = attempt.max_cost_usd if attempt.cost_usd is None else attempt.cost_usd
            charged = unknown if charged is None else charged
            if charged is None:
                return None
            if isinstance(attempt, Entry) and attempt.state in _REPEATED:
                charged *= 1 + attempt.replays
            total += charged
    return total


def charged_usd(entry: Entry) -> Decimal | None:
    """USD that the service said this request cost, over all its generations and branches; None where it said nothing.

    What ``status`` prints as charged is the sum of these.
    """
    named = [attempt.cost_usd for attempt in entry.attempts if attempt.cost_usd is not None]
    return sum(named, start=Decimal(0)) if named else None


def in_shares(cost: Decimal, parts: int) -> list[Decimal]:
    """An amount in equal parts of at most six places (more where it has more) that add up to it exactly."""
    unit = Decimal(1).scaleb(min(-6, int(cost.as_tuple().exponent)))
    units = int(cost / unit)
    return [unit * (units * (part + 1) // parts - units * part // parts) for part in range(parts)]


def image_price(attempt: Attempt, max_images: int | None = None) -> Decimal | None:
    """USD that the service charged per image; None where it named no cost, or gave the money back.

    A partly delivered group is billed by the images that were delivered. Where none was, or more than can be charged
    for, the most that can be charged for is what the cost stands for.

    :param max_images: the most images that can be charged for; an entry knows its own
    """
    most = attempt.max_images if isinstance(attempt, Entry) else max_images
    delivered = sum(1 for image in attempt.images if image.error is None)
    if attempt.cost_usd is None or most is None or (not delivered and not attempt.cost_usd):
        return None
    usd = attempt.cost_usd / (min(delivered, most) or most)
    short = usd.quantize(Decimal("0.000001"), rounding=ROUND_UP)
    return short if short > usd and len(str(usd)) > 18 else usd  # a third of a price has no end


def paid_twice(entry: Entry) -> bool:
    """Whether two submissions of one generation count as spent: two branches, or a key that bought two tasks."""
    others = [one for one in entry.earlier if one.generation == entry.generation and counts_as_spent(one)]
    return len(others) + counts_as_spent(entry) > 1
