"""``resolve --import``: what was paid and is on no record becomes the result of a request of a job.

A task that was made by hand, by its id; or the images of a record that was lost, by the sidecars beside them.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedream_jobs import records
from seedream_jobs.cli.resolving import hold_task_id
from seedream_jobs.errors import ExitCode, UsageError
from seedream_jobs.ledger.campaign import paid_elsewhere
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import Completed, Image, InDoubt, Intended, Resolved, State, Stored

if TYPE_CHECKING:
    from seedream_jobs.expand.expansion import Place
    from seedream_jobs.plan.load import Job, Target
    from seedream_jobs.records import Record
    from seedream_jobs.results.sidecar import SidecarImage


def import_task(named: Path, task_id: str, address: str, *, reason: str, where: Target, now: int) -> ExitCode:
    """Record a task as the one of a request that is new or in doubt.

    :raises UsageError: no such request, one that has a task, or a task that another request has
    """
    one = records.find_record(named, target=where)
    if one.job is None:
        hint = "seedream-jobs validate shows why"
        raise UsageError(f"{named} can't be expanded, so nothing can be imported", hint=hint)
    place = _place(one.job, address, named)
    with _lock_ledger(one, one.job, where, now) as ledger:
        known = ledger.entries.standing(place.key)
        if known is not None and known.key != place.key and known.state is State.NEW:
            known = None  # not sent under its former key: it is announced under today's
        key = place.key if known is None else known.key
        hold_task_id(ledger, task_id, key)
        if known is None or known.state is State.NEW:
            announce(ledger, one.job, place, address, generation=1 if known is None else known.generation, now=now)
        elif known.state is not State.IN_DOUBT:
            raise UsageError(f"{address} is {known.state} already", hint="only what is new or in doubt takes a task")
        why = reason or "imported by hand"
        ledger.record_sync(Resolved(key=key, at=now, resolution="accepted", reason=why, task_id=task_id))
    click.echo(f"{address}: accepted as {task_id}")
    click.echo(f"  seedream-jobs fetch {named}{' --emulator' if where.emulator else ''}", err=True)
    return ExitCode.OK


def _lock_ledger(one: Record, job: Job, where: Target, now: int) -> Ledger:
    """The job's ledger, locked; a manifest is made where there is none."""
    return Ledger.open(
        one.paths,
        job=job.file.name,
        origin=where.origin,
        new_id=lambda: f"m-{secrets.token_hex(8)}",
        root=one.root,
        command="resolve",
        now=now,
    )


def import_sidecars(named: Path, *, reason: str, where: Target, now: int) -> ExitCode:
    """Record the requests that no record knows and whose sidecars lie in the job's output folder.

    One whose images are whole is stored; of the others the task is recorded, and ``fetch`` asks for it.

    :raises UsageError: there is no such sidecar
    """
    one = records.find_record(named, target=where)
    if one.job is None:
        raise UsageError(
            f"{named} can't be expanded, so nothing can be imported", hint="seedream-jobs validate shows why"
        )
    from seedream_jobs.results.sidecar import read_sidecars

    folder = one.paths.manifest.parent
    found = read_sidecars(folder / one.job.expansion.spec.output_dir, folder)
    elsewhere = paid_elsewhere(one.root, one.paths.manifest, origin=where.origin, emulator=where.emulator).jobs
    counts = {State.STORED: 0, State.ACCEPTED: 0}
    with _lock_ledger(one, one.job, where, now) as ledger:
        for place in one.job.expansion.places():
            known = ledger.entries.standing(place.key)
            if place.key not in found or place.key in elsewhere or (known is not None and known.state is not State.NEW):
                continue
            task_id, at, images = taken_from(found[place.key], folder)
            if task_id is None:
                continue
            hold_task_id(ledger, task_id, place.key)
            address = one.job.expansion.builder.address(place.cell, place.repeat)
            generation = known.generation if known is not None and known.key == place.key else 1
            announce(ledger, one.job, place, address, generation=generation, now=now if at is None else at)
            why = reason or "taken from the sidecars beside its images"
            key = place.key
            ledger.record_sync(Resolved(key=key, at=now, resolution="accepted", reason=why, task_id=task_id))
            if images:
                ledger.record_sync(Completed(key=key, at=now, images=images))
                ledger.record_sync(Stored(key=key, at=now, images=images))
            counts[State.STORED if images else State.ACCEPTED] += 1
    if not any(counts.values()):
        raise UsageError(
            f"{named}: no sidecar in {one.job.expansion.spec.output_dir} is of a request that is on no record",
            hint="to take a task by its id: seedream-jobs resolve JOB --import TASK_ID ADDRESS",
        )
    click.echo(f"{counts[State.STORED]} taken from sidecars with their images, {counts[State.ACCEPTED]} to be fetched")
    click.echo(f"  seedream-jobs status {named}{' --emulator' if where.emulator else ''}", err=True)
    return ExitCode.OK


def taken_from(described: list[SidecarImage], folder: Path) -> tuple[str | None, int | None, tuple[Image, ...]]:
    """Task id, time and images of the latest generation that sidecars describe; no images where not all are whole."""
    latest = max(described, key=lambda one: (one.generation, one.task_id or ""))
    same = {
        one.number: one for one in described if (one.generation, one.task_id) == (latest.generation, latest.task_id)
    }
    images = tuple(same[number].image for number in sorted(same))
    whole = sorted(same) == list(range(1, len(same) + 1)) and all(one.is_whole(folder) for one in same.values())
    return latest.task_id, latest.submitted_at, images if whole else ()


def _place(job: Job, address: str, named: Path) -> Place:
    expansion = job.expansion
    for place in expansion.places():
        if expansion.builder.address(place.cell, place.repeat) == address:
            return place
    raise UsageError(f"{named} has no request {address}", hint=f"seedream-jobs expand {named} lists them")


def announce(
    ledger: Ledger, job: Job, place: Place, address: str, *, generation: int, now: int, why: str = "made by hand"
) -> None:
    """Put a request on record, in doubt, of which there is no intent of ours: a task was made by hand, say."""
    from seedream_jobs.plan.cost import tariff_of
    from seedream_jobs.run.job_run import idempotency_key

    request = job.expansion.request(place)
    ledger.record_sync(
        Intended(
            key=place.key,
            at=now,
            generation=generation,
            address=address,
            cell=request.cell,
            request=request.payload,
            repeat=request.repeat,
            output=request.output,
            max_images=request.max_images,
            max_cost_usd=tariff_of(job.expansion.spec.profile, None).cost(request.max_images),
            idempotency_key=idempotency_key(ledger.id, request, generation, {}),
        )
    )
    ledger.record_sync(InDoubt(key=place.key, at=now, doubt="interrupted", detail=why))
