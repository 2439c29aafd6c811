"""This module defines a claim, and what a store does in which the runners of a campaign share their claims.

Called by ``run.claims`` (a run), ``pipeline`` (plans), ``resolution`` and ``claims.trust``. Invariants: a claim is
create-only per (campaign, key, generation) and never expires; of many who ask for it one gets it. What is known of its
outcome is added beside it, never in its place.

Nothing here knows a store's client: each store is a file of its own, imported when a URL names it.
"""

from __future__ import annotations

import getpass
import importlib
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, Protocol
from urllib.parse import urlsplit

from seedream_jobs.errors import UnfinishedError, UsageError
from seedream_jobs.foreign_text import client_words
from seedream_jobs.ledger.codec import Json, Malformed, amount, canonical, decode, encode, money, parse
from seedream_jobs.ledger.state import Count, Identifier, Key, Moment

FORMAT = 1
"""The layout of a store; another number is another layout."""

INIT = "seedream-jobs shared init"

_RUNS = 200
"""How many runs an account names: what older ones did not spend is long given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That one runner, and no other, submits a request; once it is settled, what became of that.

    A claim that was settled as ``free`` can be followed by another attempt at the same generation: nothing was charged.

    :param generation: ``Entry.claimed_as``: rejected ones are not counted
    :param attempt: ``1`` and up; ``replay-1`` and up for repeats of a submission in doubt
    :param nonce: random: tells this claim from any other under its name, whatever a reply or its loss says
    :param holder: who made it, as people know them: ``user@host``
    :param run: the run that made it, as in ``Attempt.run``
    :param manifest: the id of its record
    :param usd: the most that the submission can cost
    :param verdict: None while nobody knows more than that it was made: in doubt for everybody but its holder
    :param settled_by: who settled it
    """

    key: Key
    generation: Count
    attempt: Identifier
    nonce: Identifier
    holder: str
    run: Identifier
    manifest: Identifier
    address: str
    at: Moment
    usd: Decimal | None = None
    verdict: Literal["paid", "free"] | None = None
    task_ids: tuple[Identifier, ...] = ()
    settled_at: Moment | None = None
    settled_by: str | None = None

    @property
    def name(self) -> str:
        """What is unique in a campaign: of all claims with one name a store keeps the first."""
        return f"{self.key.replace(':', '-')}.{self.generation}.{self.attempt}"

    def is_same(self, other: Claim) -> bool:
        """Whether this very claim is meant, settled or not."""
        return (self.name, self.nonce) == (other.name, other.nonce)

    def settled(self, verdict: Literal["paid", "free"], *, at: int, by: str, task_ids: Sequence[str] = ()) -> Claim:
        """The claim with its outcome."""
        return replace(self, verdict=verdict, task_ids=tuple(task_ids), settled_at=at, settled_by=by)


@dataclass(frozen=True, slots=True)
class Account:
    """What is reserved of a budget that all runners share, and by whom. All amounts are USD.

    :param total: what was spent before included
    :param limit: when something was reserved last
    :param runs: by run, those that came last at the end
    """

    total: Decimal
    limit: Decimal
    runs: Mapping[str, Decimal]

    def take(self, run: str, usd: Decimal) -> Account:
        """With so much more for a run."""
        runs = {**self.runs, run: self.runs.get(run, Decimal(0)) + usd}
        # What is not named any more can't be given back: it stays in the sum.
        return replace(self, total=self.total + usd, runs=dict(list(runs.items())[-_RUNS:]))

    def give_back(self, spent: Mapping[str, Decimal]) -> Account:
        """Without what runs took and did not spend. No share grows, so that it does not matter who comes last."""
        runs = {run: min(usd, spent.get(run, usd)) for run, usd in self.runs.items()}
        return replace(self, total=self.total - sum(self.runs.values()) + sum(runs.values()), runs=runs)

    def line(self) -> Json:
        """As a store keeps it."""
        runs = [[run, money(usd)] for run, usd in self.runs.items()]
        return {"total": money(self.total), "limit": money(self.limit), "runs": runs}

    @classmethod
    def read(cls, line: str | bytes) -> Account:
        """From ``line``, which may say more.

        :raises UsageError: something else writes there
        """
        try:
            raw = parse(line.encode() if isinstance(line, str) else line)
            total, limit = (amount(name, raw[name]) for name in ("total", "limit"))
            return cls(total, limit, {str(run): amount("runs", usd) for run, usd in raw["runs"]})
        except (Malformed, KeyError, TypeError, ValueError) as problem:
            raise _not_ours("an account", problem) from None


class Accounts:
    """The part of a ``ClaimStore`` that holds budgets, for stores that can change an account as one step."""

    def reserve(
        self, account: str, run: str, *, limit: Decimal, least: Decimal, most: Decimal, spent: Decimal
    ) -> Decimal:
        granted = Decimal(0)

        def more(known: Account | None) -> Account | None:
            nonlocal granted
            known = replace(known or Account(spent, limit, {}), limit=limit)
            granted = min(most, limit - known.total)
            if granted < least:
                granted = Decimal(0)
            return known.take(run, granted) if granted else None

        self._change(account, more)
        return granted

    def release(self, account: str, spent: Mapping[str, Decimal]) -> None:
        def less(known: Account | None) -> Account | None:
            after = None if known is None else known.give_back(spent)
            return None if after == known else after

        self._change(account, less)

    def _change(self, account: str, change: Callable[[Account | None], Account | None]) -> None:
        """Replace an account by what ``change`` makes of it, unless another runner does so first: then ask it again.

        :param change: the new account for the present one (None where there is none); None leaves it
        """
        raise NotImplementedError


class ClaimStore(Protocol):
    """Where the runners of one campaign share their claims and a budget. Its calls wait for the network.

    Every method raises ``UnfinishedError`` where the store can't be reached or does not say what became of a call,
    ``CredentialsError`` where it refuses, ``UsageError`` where it was not prepared or is another version's.
    """

    def claim(self, wanted: Sequence[Claim]) -> list[Claim]:
        """Create these claims; for each the one that stands under its name now: itself, or another's with its verdict.

        May be called again with the same claims, such as after a failure: what was created is not created twice.
        """
        ...

    def settle(self, settled: Sequence[Claim]) -> None:
        """Keep the outcomes of claims. Of two outcomes of one claim ``paid`` counts."""
        ...

    def since(self, at: int) -> list[Claim]:
        """The claims made at or after a time (Unix seconds), of each generation the last attempt, with its verdict."""
        ...

    def reserve(
        self, account: str, run: str, *, limit: Decimal, least: Decimal, most: Decimal, spent: Decimal
    ) -> Decimal:
        """Take from a budget that all runners share: as much of ``most`` as is left, or 0 where not even ``least`` is.

        :param account: whose budget: a job
        :param run: who takes it
        :param spent: USD that count against it from before, used when the account is new
        """
        ...

    def release(self, account: str, spent: Mapping[str, Decimal]) -> None:
        """Give back what runs that have ended took and did not spend. May be called again, and by several.

        :param spent: by run, the most that it can have cost in all
        """
        ...

    def prepare(self) -> None:
        """Create what the store needs; may be called again."""
        ...

    def check(self) -> None:
        """:raises UsageError: the store is not prepared, or for another version"""
        ...


_STORES = {
    "s3": ("seedream_jobs.claims.objects", "ObjectClaims", "cloud"),
    "gs": ("seedream_jobs.claims.objects", "ObjectClaims", "cloud"),
    "az": ("seedream_jobs.claims.objects", "ObjectClaims", "cloud"),
    "file": ("seedream_jobs.claims.objects", "ObjectClaims", "cloud"),
    "postgresql": ("seedream_jobs.claims.postgres", "PostgresClaims", "postgres"),
}


CLIENTS = {"cloud": "obstore", "postgres": "psycopg"}
"""By extra of the package, the module that it brings."""


def extra_of(url: str) -> str:
    """The extra of the package that has a store's client."""
    return _STORES[urlsplit(url).scheme][2]


def open_store(url: str, campaign: str) -> ClaimStore:
    """The store that a URL names; nothing is asked of it yet.

    :param campaign: the campaign's name in the store
    :raises UsageError: its client is not installed, or does not take the URL or what the environment says
    """
    module, name, extra = _STORES[urlsplit(url).scheme]
    try:
        found: ClaimStore = getattr(importlib.import_module(module), name)(url, campaign)
    except ImportError as error:
        raise UsageError(
            f"{url} needs {error.name}, which is not installed",
            hint=f'pip install "seedream-jobs[{extra}]"',
        ) from None
    return found


def claim_text(claim: Claim) -> str:
    """A claim as a line of JSON."""
    return canonical(encode(claim)).decode()


def read_claim(line: bytes) -> Claim:
    """A claim in a store.

    :raises UsageError: it is not one: something else writes there, or a later version
    """
    try:
        raw: Json = parse(line)
        return decode(Claim, raw, "a claim")
    except Malformed as problem:
        raise _not_ours("a claim", problem) from None


def _not_ours(what: str, problem: Exception) -> UsageError:
    return UsageError(
        f"what stands in the place of {what} is none: {problem}",
        hint="has a later version of seedream-jobs, or something else, written there?",
    )


def join_claims(one: Claim, other: Claim) -> Claim:
    """What two runners know of one claim: that it was paid counts before that nothing was charged."""
    return max(one, other, key=lambda claim: (claim.verdict == "paid", claim.verdict is not None, claim.task_ids))


def unreachable(url: str, why: object) -> UnfinishedError:
    """The refusal where a store does not answer, or not so that it is known what it did."""
    return UnfinishedError(
        f"the claims in {url} can't be reached: {client_words(why)}",
        hint="nothing is sent without a claim: see that the store is there, then run the same command again",
    )


def there(url: str) -> str:
    """What may be wrong where a store is not the one that was prepared."""
    return "it is mounted" if url.startswith("file:") else "its name and the credentials are right"


def not_prepared(url: str) -> UsageError:
    """The refusal of a store that nothing was prepared in."""
    return UsageError(
        f"{url} is not prepared for claims",
        hint=f"once for each store: {INIT}; where that was done before, see that {there(url)}",
    )


def other_format(url: str, found: object) -> UsageError:
    """The refusal of a store of another version."""
    return UsageError(
        f"the claims in {url} have the format {found}, and this version of seedream-jobs knows {FORMAT}",
        hint="use the version that made it, or a new place in the store",
    )


def holder() -> str:
    """Who this is, as other runners are told: ``user@host``."""
    user = "somebody"
    with suppress(KeyError, OSError):  # no name for this user id, as in some containers
        user = getpass.getuser()
    return f"{user}@{platform.node()}"[:120]
