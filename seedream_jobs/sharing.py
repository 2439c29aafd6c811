"""This module brings what other runners have claimed into the record of this clone, and tells them what is known here.

Called by ``pipeline``: before a run plans, and for a plan that asks, which records nothing, as ``status`` does; by
``resolution``; and by ``scaffold``, which says what CI has to install for it. Invariant: what another runner has
claimed is never taken for free because it was not looked at: a run claims each request all the same.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from seedream_jobs.claims.store import CLIENTS, Claim, ClaimStore, extra_of, holder
from seedream_jobs.claims.trust import campaign_name, is_trusted, open_trusted
from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import SeedreamError
from seedream_jobs.expand.expansion import Place
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import Attempt, Entry, Event, Holder, NotSent, State
from seedream_jobs.plans.load import Job, Rules, Target
from seedream_jobs.plans.plan import intent_of
from seedream_jobs.plans.policy import Policy, policy_of_tree
from seedream_jobs.records import Locked
from seedream_jobs.resources import resource

_DAY = 86_400
"""Seconds by which the claims that are read overlap with what is on record: clocks differ."""


def open_claims(policy: Policy | None, root: Path, target: Target) -> ClaimStore | None:
    """The store in which a campaign's runners share their claims; None where its policy names none.

    A rehearsal claims nothing: it pays nothing.

    :raises SeedreamError: it can't be used from here
    """
    if policy is None or policy.claims is None or target.emulator:
        return None
    return open_trusted(policy.claims, campaign_name(policy.campaign, target.origin), root)


def store_requirements(root: Path) -> Iterator[str]:
    """What the stores of a campaign's policy need before CI can run: a line each, for ``scaffold/ci.sh``.

    ``install FILE`` for each client that is not there, ``check`` where the store of claims has not raced from this
    clone. What is wrong with the policy is told by the run.
    """
    try:
        policy = policy_of_tree(today=datetime.now(UTC).date())(root)
    except SeedreamError:
        return
    if policy is None:
        return
    for extra in sorted({extra_of(url) for url in (policy.claims, policy.images) if url}):
        if importlib.util.find_spec(CLIENTS[extra]) is None:
            yield f"install {resource('requirements', f'{extra}.txt')}"
    if policy.claims and not is_trusted(policy.claims, root):
        yield "check"


def read_claims(store: ClaimStore, ledger: Ledger) -> dict[str, Claim]:
    """By request key, the claim of its latest generation: those made since the last submission, or the first doubt."""
    entries = ledger.entries
    days = [day for key in entries if (day := entries.submitted_day(key))]
    doubts = [day for key in entries.keys_in(State.IN_DOUBT) if (day := entries.submitted_day(key))]
    held = [entry.held_by.since for entry in _new(ledger) if entry.held_by is not None]
    last = datetime.fromisoformat(f"{min([max(days), *doubts])}T00:00:00Z").timestamp() if days else _DAY
    latest: dict[str, Claim] = {}
    for claim in store.since(min([int(last) - _DAY, *(since - _DAY for since in held)])):
        known = latest.get(claim.key)
        if known is None or known.generation < claim.generation:
            latest[claim.key] = claim
    return latest


def _new(ledger: Ledger) -> Iterator[Entry]:
    return map(ledger.entries.__getitem__, ledger.entries.keys_in(State.NEW))


def events_of(claims: dict[str, Claim], job: Job | None, ledger: Ledger, *, now: int) -> Iterator[Event]:
    """What puts on record which requests of a job are claimed elsewhere, and which are not any more.

    A request that is not on record is announced and withdrawn: so it stands there as new, with whoever has it.

    :param job: None where only the record is at hand: then its own requests are looked at
    """
    for place in () if not claims else list(_new(ledger)) if job is None else job.expansion.places():
        claim, known = claims.get(place.key), ledger.entries.summary(place.key)
        if claim is None or (known is not None and known[0] is not State.NEW):
            continue
        entry = None if known is None else ledger.entries[place.key]
        other = None if claim.verdict == "free" else holder_of(claim)
        if entry is not None:
            later = claim.generation - entry.claimed_as(entry.generation)
            # That a later one is free says nothing of this one.
            if other == entry.held_by or later < 0 or (later and other is None):
                continue
        if known is None and job is not None and isinstance(place, Place):
            yield intent_of(
                job.expansion.request(place),
                at=now,
                generation=claim.generation,
                max_cost_usd=claim.usd,
                idempotency_key="sj-not-sent",  # nothing is: it goes with the next event
            )
        why = f"claimed by {claim.holder}" if other else "claimed by nobody any more"
        yield NotSent(key=place.key, at=now, reason=why, held_by=other)


def holder_of(claim: Claim) -> Holder:
    """Who has a request, as a record says it."""
    return Holder(name=claim.holder, since=claim.at, paid=claim.verdict == "paid")


def note_claims(store: ClaimStore, job: Job | None, ledger: Ledger, *, now: int) -> None:
    """Record, before a run plans, what others have claimed; tell them what an earlier run here did not come to tell.

    :param job: None where only the record is at hand: of what is not on it each claim tells for itself
    """
    claims = read_claims(store, ledger)
    if told := list(_untold(claims.values(), ledger, now)):
        store.settle(told)
    ledger.record_all(events_of(claims, job, ledger, now=now))
    ledger.fold()  # so that the run that begins now is announced before its first intent


def suppose_claims(
    policy: Policy | None, root: Path, job: Job | None, ledger: Ledger, *, target: Target, now: int
) -> None:
    """Take in what others have claimed, without recording it; where the store can't be asked, a note says so."""
    if job is None:
        return
    try:
        if (store := open_claims(policy, root, target)) is not None:
            ledger.suppose(events_of(read_claims(store, ledger), job, ledger, now=now))
    except SeedreamError as error:
        what = f"what other runners have claimed is not known: {error.message}"
        note = Diagnostic(code="claims-unknown", severity="warning", message=what, path=job.shown, hint=error.hint)
        ledger.suppose([], note)


def open_stores(locked: Locked, rules: Rules, target: Target, *, now: int) -> list[ClaimStore | None]:
    """For each locked record the store in which its requests are claimed; what others have claimed is recorded.

    :raises SeedreamError: a store can't be used: nothing is sent without it
    """
    stores: list[ClaimStore | None] = []
    for record, ledger in zip(locked.records, locked.ledgers, strict=True):
        stores.append(store := open_claims(rules.policy_of(record.root), record.root, target))
        if store is not None:
            note_claims(store, record.job, ledger, now=now)
    return stores


def _untold(claims: Iterable[Claim], ledger: Ledger, now: int) -> Iterator[Claim]:
    """The outcomes of this record's own submissions that are open in the store: their run was killed before it told."""
    for claim in claims:
        entry = None if claim.verdict is not None else ledger.entries.find(claim.key)
        for attempt in () if entry is None else entry.attempts:
            # A run submits one generation of a request.
            if attempt.run == claim.run and (verdict := _verdict(attempt)) is not None:
                yield claim.settled(verdict, at=now, by=holder(), task_ids=attempt.task_ids)


def _verdict(attempt: Attempt) -> Literal["paid", "free"] | None:
    match attempt.state:
        case State.NEW | State.INTENT | State.IN_DOUBT:
            return None
        case State.REJECTED:
            return "free"
        case _:
            return "paid"
