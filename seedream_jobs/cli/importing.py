"""``resolve --import``: a task that was made by hand becomes the result of a request of a job."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedream_jobs.cli import known as records
from seedream_jobs.cli.resolving import hold_task_id
from seedream_jobs.errors import ExitCode, UsageError
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import InDoubt, Intended, Resolved, State

if TYPE_CHECKING:
    from seedream_jobs.expand.expansion import Place
    from seedream_jobs.pipeline import Target
    from seedream_jobs.plan.job import Job


def import_task(named: Path, task_id: str, address: str, *, reason: str, where: Target, now: int) -> ExitCode:
    """Record a task as the one of a request that is new or in doubt.

    :raises UsageError: no such request, one that has a task, or a task that another request has
    """
    one = records.find(named, where=where)
    if one.job is None:
        hint = "seedream-jobs validate shows why"
        raise UsageError(f"{named} can't be expanded, so nothing can be imported", hint=hint)
    place = _place(one.job, address, named)
    with Ledger.open(
        one.paths,
        job=one.job.file.name,
        origin=where.origin,
        new_id=lambda: f"m-{secrets.token_hex(8)}",
        root=one.root,
        command="resolve",
        now=now,
    ) as ledger:
        known = ledger.entries.standing(place.key)
        if known is not None and known.key != place.key and known.state is State.NEW:
            known = None  # not sent under its former key: it is announced under today's
        key = place.key if known is None else known.key
        hold_task_id(ledger, task_id, key)
        if known is None or known.state is State.NEW:
            _announce(ledger, one.job, place, address, generation=1 if known is None else known.generation, now=now)
        elif known.state is not State.IN_DOUBT:
            raise UsageError(f"{address} is {known.state} already", hint="only what is new or in doubt takes a task")
        why = reason or "imported by hand"
        ledger.record_sync(Resolved(key=key, at=now, resolution="accepted", reason=why, task_id=task_id))
    click.echo(f"{address}: accepted as {task_id}")
    click.echo(f"  seedream-jobs fetch {named}{' --emulator' if where.emulator else ''}", err=True)
    return ExitCode.OK


def _place(job: Job, address: str, named: Path) -> Place:
    expansion = job.expansion
    for place in expansion.places():
        if expansion.cells.address(place.cell, place.repeat) == address:
            return place
    raise UsageError(f"{named} has no request {address}", hint=f"seedream-jobs expand {named} lists them")


def _announce(ledger: Ledger, job: Job, place: Place, address: str, *, generation: int, now: int) -> None:
    """Put a request that was never sent on record, in doubt: a task made by hand has no intent of ours."""
    from seedream_jobs.plan.cost import tariff_of
    from seedream_jobs.run.offers import idempotency_key

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
    ledger.record_sync(InDoubt(key=place.key, at=now, doubt="interrupted", detail="made by hand"))
