"""This module claims requests in the store that runners share, in groups, and tells it what became of them.

Made by ``pipeline.apply`` for each job, called by ``submit``. As with the journal, what gathered while the last group
was under way goes together. Invariants: a claim is settled only after its outcome is durable here; a claim whose POST
may have left is never settled as free; what the store did not answer counts as not held.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal

import anyio
from anyio.from_thread import run_sync as on_event_loop
from anyio.to_thread import run_sync

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.claims.store import Claim, ClaimStore
from seedream_jobs.diagnostics import plural
from seedream_jobs.errors import ExitCode, SeedreamError
from seedream_jobs.ledger.state import Holder
from seedream_jobs.run.retry import Halt
from seedream_jobs.run.submit import Claims, Submission

_SOON = 1.0
"""Seconds after which outcomes are told at the latest: in groups, since nobody waits for them."""
_TOGETHER = 64
_BLOCK = 20
"""A budget is reserved in twentieths, at least what a group needs: each change of it costs the store a turn."""


@dataclass(eq=False, slots=True)
class _Wait:
    """Somebody waits for a claim.

    :param adopts: whoever made it before, the claim counts as this run's: it has the submission in doubt on record
    :param repeats: the claim is held; money is reserved for one more POST under it
    :param abandoned: nobody waits any more, and nothing will be sent
    """

    claim: Claim
    adopts: bool = False
    repeats: bool = False
    abandoned: bool = False
    result: Holder | Halt | None = None
    done: anyio.Event = field(default_factory=anyio.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedBudget:
    """What all runners together may spend for a job.

    :param account: the job
    :param spent: USD that its record counts as spent
    :param ended: what runs on record that have ended can have cost; asked on the event loop, once the budget is short
    """

    account: str
    limit: Decimal
    spent: Decimal
    ended: Callable[[], Mapping[str, Decimal]]


class SharedClaims(Claims):
    """The claims of one job's run.

    :param holder: who this is, as others are told
    :param run: the run's token in its record
    :param manifest: the record's id
    """

    def __init__(
        self,
        store: ClaimStore,
        *,
        holder: str,
        run: str,
        manifest: str,
        budget: SharedBudget | None,
        now: Callable[[], float],
    ) -> None:
        self._store, self._budget, self._now = store, budget, now
        self._holder, self._run, self._manifest = holder, run, manifest
        self._waiting: list[_Wait] = []
        self._gathered = anyio.Event()
        self._turn = anyio.Lock()  # the store is asked one thing at a time
        self._waits: dict[str, _Wait] = {}  # by the claim's name; those that gathered, and those under way
        self._mine: dict[tuple[str, int], Claim] = {}
        self._unsent: dict[tuple[str, int], None] = {}  # of those: provably nothing was charged
        self._unsure: list[Claim] = []  # the store did not say whether they were made; nothing was sent
        self._told: list[Claim] = []  # outcomes that the store is not told of yet
        self._lost: list[Claim] = []
        self._reserved: dict[str, Decimal] = {}  # by a claim's name
        self._credit = Decimal(0)  # reserved, and for no claim
        self._given_back = False
        self._repeats = 0

    async def hold(
        self, submission: Submission, usd: Decimal | None, *, replay: bool, costly: bool = False
    ) -> Holder | Halt | None:
        name = (submission.request.key, submission.claimed_as)
        claim = self._mine.get(name) or self._made(submission, usd)
        if name in self._mine and (replay or costly):
            if self._budget is None or not costly:
                return None
            self._repeats += 1
            more = replace(claim, attempt=f"repeat-{self._repeats}", usd=usd)
            return await self._wait(_Wait(more, repeats=True))
        if not replay:
            return await self._wait(_Wait(claim))
        # Where two clones have this doubt on record, one of them repeats it.
        again = replace(self._made(submission, usd), attempt=f"replay-{submission.replays + 1}")
        return await self._wait(_Wait(again)) or await self._wait(_Wait(claim, adopts=True))

    async def _wait(self, asked: _Wait) -> Holder | Halt | None:
        wait = self._waits.setdefault(asked.claim.name, asked)
        if wait is asked:
            self._waiting.append(wait)
            self._gathered.set()
        wait.abandoned = False
        try:
            await wait.done.wait()
        except anyio.get_cancelled_exc_class():
            wait.abandoned = True
            raise
        return wait.result

    def _made(self, submission: Submission, usd: Decimal | None) -> Claim:
        return Claim(
            key=submission.request.key,
            generation=submission.claimed_as,
            attempt="1",
            nonce=secrets.token_hex(8),
            holder=self._holder,
            run=self._run,
            manifest=self._manifest,
            address=submission.request.address,
            at=int(self._now()),
            usd=usd,
        )

    def settle(self, submission: Submission, outcome: Outcome) -> None:
        name = (submission.request.key, submission.claimed_as)
        claim = self._mine.get(name)
        if claim is None:
            return
        self._unsent.pop(name, None)
        match outcome.verdict:
            case "accepted":
                ids = [] if outcome.task_id is None else [outcome.task_id, *outcome.more_task_ids]
                self._tell(name, "paid", ids)
            case "rejected":
                self._tell(name, "free")
            case "not_sent" | "refused":
                self._unsent[name] = None  # it is kept for the next try, and is free at the end of the run
            case "in_doubt":
                pass  # it stays open until a repeat is answered, or a person knows more

    def _tell(self, name: tuple[str, int], verdict: str, ids: list[str] | None = None) -> None:
        claim = self._mine.pop(name)
        if verdict == "free":
            self._credit += self._reserved.pop(claim.name, Decimal(0))
        at = int(self._now())
        self._told.append(
            claim.settled("paid" if verdict == "paid" else "free", at=at, by=self._holder, task_ids=ids or ())
        )

    async def serve(self) -> None:
        while True:
            with anyio.move_on_after(_SOON):
                await self._gathered.wait()
            async with self._turn:
                group, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
                if not self._waiting:
                    self._gathered = anyio.Event()
                if group:
                    await self._serve(group)
                with suppress(SeedreamError):  # ``close`` tells what could not be told
                    await self._tell_all(soon=True)

    async def _serve(self, group: list[_Wait]) -> None:
        asked = {wait: wait.claim.name for wait in group}  # a claim may be followed by another attempt
        try:
            await run_sync(self._claim, group)
        except SeedreamError as error:
            halt = Halt(stop=error.exit_code, reason=error.message, hint=error.hint)
            for wait in group:
                wait.result = halt
                if (wait.claim.key, wait.claim.generation) not in self._mine:
                    self._unsure.append(wait.claim)
        for wait, name in asked.items():
            del self._waits[name]
            # One that is repeated may be paid for already.
            sent = wait.adopts or wait.repeats
            if wait.abandoned and not sent and (wait.claim.key, wait.claim.generation) in self._mine:
                self._unsent[wait.claim.key, wait.claim.generation] = None
            wait.done.set()

    def _claim(self, group: list[_Wait]) -> None:
        """Make a group's claims; for one that was settled as free the next attempt is made."""
        for wait in group:
            if wait.repeats:
                self._cover(wait, wait.claim)
        left = [wait for wait in group if not wait.repeats]
        while left:
            standing = self._store.claim([wait.claim for wait in left])
            again: list[_Wait] = []
            for wait, one in zip(left, standing, strict=True):
                if one.verdict == "free":
                    wait.claim = replace(wait.claim, attempt=str(int(one.attempt) + 1), nonce=secrets.token_hex(8))
                    again.append(wait)
                else:
                    self._take(wait, one)
            left = again

    def _take(self, wait: _Wait, one: Claim) -> None:
        name = (one.key, one.generation)
        if one.verdict is None and (wait.adopts or one.is_same(wait.claim)):
            if not one.attempt.startswith("replay-"):
                self._mine[name] = one
                self._unsent.pop(name, None)
            if not wait.adopts:
                self._cover(wait, one)
            return
        wait.result = Holder(name=one.holder, since=one.at, paid=one.verdict == "paid")
        if not one.attempt.startswith("replay-"):
            self._mine.pop(name, None)
            self._unsent.pop(name, None)
            self._lost.append(one)

    def _cover(self, wait: _Wait, claim: Claim) -> None:
        if not self._covers(claim):
            assert self._budget is not None
            budget = f"{self._budget.account} may cost {self._budget.limit} USD in all, over all runners"
            wait.result = Halt(
                stop=ExitCode.MONEY, reason=f"{budget}: it is reserved", hint="raise the budget, or submit less"
            )

    def _covers(self, claim: Claim) -> bool:
        """Whether the budget of all runners bears a claim; reserves it."""
        if self._budget is None or claim.usd is None or claim.name in self._reserved:
            return True
        if self._credit < claim.usd:
            self._reserve(self._budget, claim.usd - self._credit)
        if self._credit < claim.usd and not self._given_back:
            self._given_back = True  # runs that were killed, and tasks that cost less, left something
            self._store.release(self._budget.account, on_event_loop(self._budget.ended))
            self._reserve(self._budget, claim.usd - self._credit)
        if self._credit < claim.usd:
            return False
        self._credit -= claim.usd
        self._reserved[claim.name] = claim.usd
        return True

    def _reserve(self, budget: SharedBudget, least: Decimal) -> None:
        block = max(least, budget.limit / _BLOCK)
        self._credit += self._store.reserve(
            budget.account, self._run, limit=budget.limit, least=least, most=block, spent=budget.spent
        )

    async def _tell_all(self, *, soon: bool) -> None:
        oldest = min((claim.settled_at or 0 for claim in self._told), default=None)
        if oldest is None or (soon and self._now() - oldest < _SOON and len(self._told) < _TOGETHER):
            return
        told = list(self._told)
        await run_sync(self._store.settle, told)
        del self._told[: len(told)]

    async def close(self) -> tuple[dict[str, Holder | None], Halt | None]:
        known: dict[str, Holder | None] = {}
        async with self._turn:
            self._waiting.clear()  # the workers have ended: nobody waits any more
            for name in self._unsent:
                self._tell(name, "free")
            self._unsent.clear()
            lost = {one.key: one for one in self._lost if one.verdict is None}
            try:
                found = await run_sync(self._store.claim, self._unsure) if self._unsure else []
                for mine, one in zip(self._unsure, found, strict=True):
                    if one.is_same(mine) and one.verdict is None:
                        self._told.append(one.settled("free", at=int(self._now()), by=self._holder))
                self._unsure = []
                await self._tell_all(soon=False)
                if self._budget is not None and self._credit:
                    spent = {self._run: sum(self._reserved.values(), start=Decimal(0))}
                    await run_sync(self._store.release, self._budget.account, spent)
                    self._credit = Decimal(0)
                for one in await run_sync(self._store.claim, list(lost.values())) if lost else ():
                    held = Holder(name=one.holder, since=one.at, paid=one.verdict == "paid")
                    known[one.key] = None if one.verdict == "free" else held
            except SeedreamError as error:
                what = f"{plural(len(self._told), 'outcome')} could not be told to the other runners: {error.message}"
                hint = "the same command tells it later; until then the others take it as in doubt"
                return known, Halt(stop=error.exit_code, reason=what, hint=hint) if self._told else None
        return known, None
