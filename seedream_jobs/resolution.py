"""This module records what a person found out about submissions whose outcome nobody knows.

Called by ``resolve``. Invariant: everything is recorded as an event of the ledger, with the person's reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Literal

from seedream_jobs.atomic_file import DISK, check_folder
from seedream_jobs.claims.store import Claim, ClaimStore, holder
from seedream_jobs.diagnostics import did_you_mean
from seedream_jobs.errors import UsageError
from seedream_jobs.expand.expansion import Place
from seedream_jobs.expand.identity import canonical_json
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.ledger import journal
from seedream_jobs.ledger.campaign import paid_elsewhere
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import (
    ID,
    Completed,
    Entry,
    Event,
    Image,
    InDoubt,
    NotSent,
    Resolution,
    ResolutionRecord,
    Resolved,
    State,
    Stored,
)
from seedream_jobs.plans.cost import tariff_of
from seedream_jobs.plans.load import Job, Target
from seedream_jobs.records import Record, lock_ledger, lock_or_create
from seedream_jobs.results.sidecar import SidecarImage, read_sidecars
from seedream_jobs.sharing import read_claims


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person found out, and why they are sure."""

    resolution: Resolution
    task_id: str | None
    reason: str


def entries_in(ledger: Ledger, state: State) -> list[Entry]:
    """The entries in one state, by address."""
    return sorted(map(ledger.entries.__getitem__, ledger.entries.keys_in(state)), key=lambda entry: entry.address)


def in_doubt(ledger: Ledger) -> list[Entry]:
    """What waits for a person, by address."""
    return entries_in(ledger, State.IN_DOUBT)


def reserved(doubtful: Iterable[Entry]) -> Decimal:
    """USD that doubts reserve in every budget."""
    return sum((entry.max_cost_usd for entry in doubtful if entry.max_cost_usd is not None), start=Decimal(0))


def in_doubt_elsewhere(ledger: Ledger) -> list[Entry]:
    """What another runner has claimed, and of which nobody knows what became, by address."""
    return [entry for entry in entries_in(ledger, State.NEW) if entry.held_by and not entry.held_by.paid]


def settle(
    record: Record,
    addresses: tuple[str, ...] | None,
    decision: Decision,
    *,
    now: int,
    store: ClaimStore | None = None,
) -> tuple[list[Entry], int]:
    """Record a decision about some requests that are in doubt, or all of them.

    :param addresses: addresses or keys; None for all that this record is in doubt about: what another runner has
        claimed may be under way there, and is named
    :param store: where the campaign's runners share their claims; it is told, too
    :return: the entries it is about, and how many are still in doubt
    :raises UsageError: one of them is not in doubt, or the task belongs to another request
    """
    with lock_ledger(record, origin=None, command="resolve", now=now) as ledger:
        claims = {} if store is None else read_claims(store, ledger)
        doubtful = in_doubt(ledger)
        # Only a task id helps an expired request: its task lives after all, and has new links.
        choice = doubtful + (entries_in(ledger, State.EXPIRED) if decision.resolution == "accepted" else [])
        choice += in_doubt_elsewhere(ledger)
        named = doubtful if addresses is None else [_named(address, choice, record.shown) for address in addresses]
        wanted = list({entry.key: entry for entry in named}.values())  # an address and its key may both be named
        if decision.task_id is not None:
            owners = _Owners(ledger)
            for entry in wanted:
                owners.take(decision.task_id, entry.key, entry.address)
        # The store first: a decision that is on record is not made again, and a claim not told of it would stay open.
        if store is not None:
            verdict: Literal["paid", "free"] = "free" if decision.resolution == "not_charged" else "paid"
            ids = [] if decision.task_id is None else [decision.task_id]
            store.settle(
                [
                    claim.settled(verdict, at=now, by=holder(), task_ids=ids)
                    for entry in wanted
                    if (claim := claims.get(entry.key)) and _is_of(claim, entry)
                ]
            )
        ledger.record_all(_decided(entry, decision, now) for entry in wanted)
        return wanted, len(in_doubt(ledger)) + len(in_doubt_elsewhere(ledger))


def _is_of(claim: Claim, doubtful: Entry) -> bool:
    """Whether a doubt is about this very claim: it may have been freed meanwhile, and the request claimed again."""
    if doubtful.held_by is not None:
        return (claim.holder, claim.at) == (doubtful.held_by.name, doubtful.held_by.since)
    return claim.run == doubtful.run


def _decided(entry: Entry, decision: Decision, now: int) -> Event:
    if entry.held_by is not None and decision.resolution != "accepted":
        # Nothing was sent from here: what changes is who holds it.
        still = replace(entry.held_by, paid=True) if decision.resolution == "abandoned" else None
        return NotSent(key=entry.key, at=now, reason=decision.reason, held_by=still)
    return Resolved(
        key=entry.key, at=now, resolution=decision.resolution, reason=decision.reason, task_id=decision.task_id
    )


def _named(address: str, doubtful: list[Entry], shown: str) -> Entry:
    for entry in doubtful:
        if address in (entry.address, entry.key):
            return entry
    hint = did_you_mean(
        address, [entry.address for entry in doubtful], f"seedream-jobs resolve {shell_word(shown)} lists them"
    )
    raise UsageError(f"{address} is not in doubt", hint=hint)


class _Owners:
    """The requests that have a task: a task belongs to one request."""

    def __init__(self, ledger: Ledger) -> None:
        self._of: dict[str, dict[str, str]] = {}  # task id, to the address of each key that has it
        for task_id, key, address in ledger.entries.tasks():
            self._of.setdefault(task_id, {})[key] = address

    def take(self, task_id: str, key: str, address: str) -> None:
        """Make a task that of the request ``key``.

        :raises UsageError: it is not a task id, or another request's
        """
        if not ID.fullmatch(task_id):
            raise UsageError(f"{task_id!r} is not a task id", hint="letters, digits, _ and -, at most 128")
        of = self._of.setdefault(task_id, {})
        if other := next((owner for owner in of if owner != key), None):
            raise UsageError(
                f"{task_id} is the task of {of[other]} already",
                hint="look the request up again in the service's console: by its time, or its prompt",
            )
        of[key] = address


def merge_journal(record: Record, file: Path, *, target: Target, now: int) -> tuple[int, int]:
    """Merge a journal into the record: one that another machine wrote, or that builds on another manifest.

    :return: how many requests are new on record, and how many are in doubt
    :raises UsageError: there is no such file, or nothing was announced in it
    """
    # Compared with the places of the record's journals: ``open`` leaves this one alone, the merge removes it.
    file = Path(os.path.realpath(file))
    try:
        left = journal.read_journal(DISK.snapshot(file), str(file))
    except OSError as error:
        raise UsageError(
            f"{file} can't be read: {error.strerror or error}",
            hint="a run keeps its journal in .git/seedream-jobs/, outside git beside the manifest",
        ) from error
    if left is None:
        raise UsageError(f"{file} is empty or not a journal", hint="nothing was announced in it, so nothing was paid")
    manifest = left.header.manifest
    # A record that is there keeps its origin; a new one takes the journal's.
    with Ledger.open(
        record.paths,
        job=left.header.job or Path(record.shown).name,
        origin=None if record.paths.manifest.exists() else left.header.origin or target.origin,
        new_id=lambda: manifest,
        root=record.root,
        command="resolve",
        now=now,
        apart_from=file,
    ) as ledger:
        before = len(ledger.entries)
        ledger.take_in_journal(file, left)
        return len(ledger.entries) - before, len(in_doubt(ledger))


def close_lost_runs(record: Record, *, abandon: bool, reason: str, now: int) -> int:
    """Record what a person knows of the runs whose journal is lost: nothing was charged, or leave all of it.

    :param abandon: every request of the job that is new counts as charged, and is not submitted by itself
    :return: how many requests were abandoned
    :raises UsageError: no run is open, or the job file has errors
    """
    shown, abandoned = record.shown, 0
    with lock_ledger(record, origin=None, command="resolve", now=now) as ledger:
        lost = ledger.open_runs()
        if not lost:
            raise UsageError(
                f"no run of {shown} is open",
                hint=f"seedream-jobs status {shell_word(shown)} shows its state",
            )
        if abandon:
            job = _job_of(record, "so that nobody knows what is new in it")
            # Nobody knows which of them the run paid, so each one that it may have paid counts as charged.
            new = [
                (place, 1 if known is None else known[1])
                for place in job.expansion.places()
                if (known := ledger.entries.summary(place.key)) is None or known[0] is State.NEW
            ]
            abandoned = len(new)
            ledger.record_all(
                event
                for place, generation in new
                for event in (
                    *_announced(ledger, job, place, generation=generation, now=now, why="the journal is lost"),
                    Resolved(key=place.key, at=now, resolution="abandoned", reason=reason),
                )
            )
        resolution: Resolution = "abandoned" if abandon else "not_charged"
        ledger.close_runs(
            ResolutionRecord(key="", resolution=resolution, reason=reason, at=now, run=run.id) for run in lost
        )
    return abandoned


def _job_of(record: Record, consequence: str) -> Job:
    if record.job is None:
        hint = "seedream-jobs validate shows why"
        raise UsageError(f"{record.shown} can't be expanded, {consequence}", hint=hint)
    return record.job


def import_task(record: Record, task_id: str, address: str, *, reason: str, target: Target, now: int) -> None:
    """Record a task as the one of a request that is new or in doubt.

    :raises UsageError: no such request, one that has a task, or a task that another request has
    """
    job = _job_of(record, "so nothing can be imported")
    place = _place(job, address, record.shown)
    with lock_or_create(record, job, target=target, command="resolve", now=now) as ledger:
        known = ledger.entries.entry_of(place.key)
        if known is not None and known.key != place.key and known.state is State.NEW:
            known = None  # not sent under its former key: it is announced under today's
        key = place.key if known is None else known.key
        _Owners(ledger).take(task_id, key, address)
        if known is None or known.state is State.NEW:
            generation = 1 if known is None else known.generation
            ledger.record_sync(*_announced(ledger, job, place, generation=generation, now=now))
        elif known.state is not State.IN_DOUBT:
            raise UsageError(f"{address} is {known.state} already", hint="only what is new or in doubt takes a task")
        why = reason or "imported by hand"
        ledger.record_sync(Resolved(key=key, at=now, resolution="accepted", reason=why, task_id=task_id))


def import_sidecars(record: Record, *, reason: str, target: Target, now: int) -> tuple[int, int]:
    """Record the requests that no record knows and whose sidecars lie in the job's output folder.

    :return: how many were taken with their images, and how many only with their task, which ``fetch`` asks for
    :raises UsageError: there is no such sidecar
    """
    job = _job_of(record, "so nothing can be imported")
    folder = record.paths.manifest.parent
    output = folder / job.expansion.spec.output_dir
    check_folder(record.root, output)  # what lies outside was stored by no run of this campaign
    found = read_sidecars(output, folder)
    elsewhere = paid_elsewhere(record.root, record.paths.manifest, origin=target.origin, emulator=target.emulator).jobs
    stored = accepted = 0
    why = reason or "taken from the sidecars beside its images"

    def events(ledger: Ledger) -> Iterator[Event]:
        nonlocal stored, accepted
        owners = _Owners(ledger)
        for place in job.expansion.places():
            known = ledger.entries.entry_of(place.key)
            # What another record has paid for would count twice here.
            if place.key not in found or place.key in elsewhere or (known is not None and known.state is not State.NEW):
                continue
            task_id, at, images = latest_images(found[place.key], folder)
            if task_id is None:
                continue
            owners.take(task_id, place.key, job.expansion.builder.address(place.cell, place.repeat))
            generation = known.generation if known is not None and known.key == place.key else 1
            yield from _announced(ledger, job, place, generation=generation, now=now if at is None else at)
            key = place.key
            yield Resolved(key=key, at=now, resolution="accepted", reason=why, task_id=task_id)
            if images:
                yield Completed(key=key, at=now, images=images)
                yield Stored(key=key, at=now, images=images)
                stored += 1
            else:
                accepted += 1

    with lock_or_create(record, job, target=target, command="resolve", now=now) as ledger:
        ledger.record_all(events(ledger))
    if not stored + accepted:
        raise UsageError(
            f"{record.shown}: no sidecar in {job.expansion.spec.output_dir} is of a request that is on no record",
            hint="to take a task by its id: seedream-jobs resolve JOB --import TASK_ID ADDRESS",
        )
    return stored, accepted


def latest_images(described: list[SidecarImage], folder: Path) -> tuple[str | None, int | None, tuple[Image, ...]]:
    """Task id, time and images of the latest generation among sidecars; no images if one is missing or damaged."""
    latest = max(described, key=lambda one: (one.generation, one.task_id or ""))
    same = {
        one.number: one for one in described if (one.generation, one.task_id) == (latest.generation, latest.task_id)
    }
    images = tuple(same[number].image for number in sorted(same))
    # Where one of them is missing, ``fetch`` asks for the task and downloads them all.
    whole = sorted(same) == list(range(1, len(same) + 1)) and all(one.is_whole(folder) for one in same.values())
    return latest.task_id, latest.submitted_at, images if whole else ()


def _place(job: Job, address: str, shown: str) -> Place:
    expansion = job.expansion
    for place in expansion.places():
        if expansion.builder.address(place.cell, place.repeat) == address:
            return place
    raise UsageError(f"{shown} has no request {address}", hint=f"seedream-jobs expand {shell_word(shown)} lists them")


def _announced(
    ledger: Ledger, job: Job, place: Place, *, generation: int, now: int, why: str = "made by hand"
) -> tuple[Event, Event]:
    """What puts a request on record, in doubt, that no run of ours has submitted: its task was made by hand, say."""
    # It imports anyio, which most of ``resolve`` does not need.
    from seedream_jobs.run.job_run import submission_of

    request = job.expansion.request(place)
    submission = submission_of(
        request,
        canonical_json(request.payload),
        generation=generation,
        manifest=ledger.id,
        max_cost_usd=tariff_of(job.expansion.spec.profile, None).cost(request.max_images),
        files=job.expansion.spec.files,
        urls={},
    )
    # An intent takes no resolution, a doubt does (``ledger.transitions``).
    return submission.intent(now), InDoubt(key=place.key, at=now, doubt="interrupted", detail=why)
