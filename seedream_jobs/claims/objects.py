"""This module keeps claims in an object store: S3, Google Cloud Storage, Azure, or a folder that machines share.

Loaded by ``claims.store.open_store``. Invariant: everything is an object that is created once and never replaced or
removed, so that one promise of the store carries all of it: of several who create one name, one does.

    format.json                     the layout's number
    <campaign>/claims/<name>        a claim
    <campaign>/settled/<time>-…     outcomes of claims, a line each: as many as gathered meanwhile
    <campaign>/budgets/<account>/n  what is reserved in all after the nth change
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from seedream_jobs.claims.create_only import PREPARED, CreateOnly
from seedream_jobs.claims.store import (
    FORMAT,
    Account,
    Accounts,
    Claim,
    claim_text,
    join_claims,
    not_prepared,
    other_format,
    read_claim,
    unreachable,
)
from seedream_jobs.ledger.codec import canonical, parse

_AT_ONCE = 16
_LATE = 3600
"""Seconds by which the clocks of two machines may differ where outcomes are read in the order of their times."""


class ObjectClaims(Accounts):
    """A ``ClaimStore`` in any store that obstore knows."""

    def __init__(self, url: str, campaign: str) -> None:
        self.url: str = url
        self._folder, self._store = campaign, CreateOnly(url)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="claims")
        self._settled: dict[str, Claim] = {}
        self._read: dict[str, None] = {}  # the objects of outcomes that were read, in the order of their names

    def claim(self, wanted: Sequence[Claim]) -> list[Claim]:
        found = list(self._pool.map(self._claim, wanted))
        if any(standing is not None for standing in found):
            self._read_settled(self._since_last())
        standing = (one or mine for one, mine in zip(found, wanted, strict=True))
        return [self._settled.get(one.name, one) for one in standing]

    def _claim(self, claim: Claim) -> Claim | None:
        """What stood there already; None where this call has created it."""
        standing = self._store.create(f"{self._folder}/claims/{claim.name}", claim_text(claim).encode())
        return None if standing is None else read_claim(standing)

    def settle(self, settled: Sequence[Claim]) -> None:
        lines = b"".join(claim_text(claim).encode() + b"\n" for claim in settled)
        self._store.create(f"{self._folder}/settled/{int(time.time()):012}-{secrets.token_hex(8)}", lines)

    def since(self, at: int) -> list[Claim]:
        latest: dict[tuple[str, str], tuple[int, str]] = {}
        for path, modified in self._store.list(f"{self._folder}/claims/"):
            key, generation, attempt = path.rpartition("/")[2].split(".")
            if attempt.isdigit() and modified >= at:
                latest[key, generation] = max(latest.get((key, generation), (0, "")), (int(attempt), path))
        self._read_settled("")
        open_ones = [path for _, path in latest.values() if path.rpartition("/")[2] not in self._settled]
        found = [read_claim(raw) for raw in self._pool.map(self._store.get, open_ones) if raw is not None]
        return found + [
            known for _, path in latest.values() if (known := self._settled.get(path.rpartition("/")[2])) is not None
        ]

    def prepare(self) -> None:
        self._store.create(PREPARED, canonical({"format": FORMAT}))
        self.check()

    def check(self) -> None:
        raw = self._store.get(PREPARED)
        if raw is None:
            raise not_prepared(self.url)
        if (found := parse(raw).get("format")) != FORMAT:
            raise other_format(self.url, found)

    def _since_last(self) -> str:
        """After which name outcomes may be new: behind the last that was read, but for what a late clock writes."""
        last = next(reversed(self._read), "")
        seconds = int(last.rpartition("/")[2].partition("-")[0] or 0)
        return f"{self._folder}/settled/{max(0, seconds - _LATE):012}"

    def _read_settled(self, after: str) -> None:
        names = [path for path, _ in self._store.list(f"{self._folder}/settled/", after) if path not in self._read]
        for path, raw in zip(names, self._pool.map(self._store.get, names), strict=True):
            for claim in map(read_claim, (raw or b"").splitlines()):
                known = self._settled.get(claim.name)
                self._settled[claim.name] = claim if known is None else join_claims(known, claim)
            self._read[path] = None

    def _change(self, account: str, change: Callable[[Account | None], Account | None]) -> None:
        # Compare-and-swap: the next number is created by one of those who saw the last one.
        folder = f"{self._folder}/budgets/{hashlib.sha256(account.encode()).hexdigest()[:16]}/"
        last, failure = "", "too many runners reserve at once"
        for number in range(100):
            time.sleep(min(0.5, 0.01 * number))
            last = max((path for path, _ in self._store.list(folder, last)), default=last)
            raw = self._store.get(last) if last else None
            new = change(None if raw is None else Account.read(raw))
            if new is None:
                return
            body = canonical({**new.line(), "account": account, "nonce": secrets.token_hex(8)})
            name = f"{int(last.rpartition('/')[2] or 0) + 1:010}"
            if self._store.create(folder + name, body) in (None, body):
                return
        raise unreachable(self.url, failure)
