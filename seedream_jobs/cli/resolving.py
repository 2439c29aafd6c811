"""What ``resolve`` does: list what is in doubt, gather evidence, record what a person decided."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedream_jobs import records
from seedream_jobs.atomic_file import DISK
from seedream_jobs.cli.output import show_in_use
from seedream_jobs.errors import ExitCode, SeedreamError, UsageError
from seedream_jobs.ledger import journal
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import ID, Entry, Resolution, Resolved, State

if TYPE_CHECKING:
    from seedream_jobs.ledger.ledger import Ledger
    from seedream_jobs.plan.load import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person found out, and why they are sure."""

    resolution: Resolution
    task_id: str | None
    reason: str


def in_doubt(ledger: Ledger) -> list[Entry]:
    """What waits for a person, by address."""
    return _in_state(ledger, State.IN_DOUBT)


def _in_state(ledger: Ledger, state: State) -> list[Entry]:
    return sorted(map(ledger.entries.__getitem__, ledger.entries.keys_in(state)), key=lambda entry: entry.address)


def listing(job: Path, *, where: Target) -> ExitCode:
    """Print what is in doubt."""
    from seedream_jobs.plan.cost import money

    one = records.find_record(job, target=where)
    ledger = records.read_ledger(one, command="resolve")
    show_in_use(str(job), ledger)
    doubtful, expired = in_doubt(ledger), _in_state(ledger, State.EXPIRED)
    option = " --emulator" if where.emulator else ""
    if expired:
        click.echo(f"{job}: {len(expired)} expired. One whose task the service knows after all is asked for again with")
        click.echo(f"  seedream-jobs resolve {job}{option} ADDRESS --accepted TASK_ID --reason '…'")
        for entry in expired:
            click.echo(f"  {entry.address}  {', '.join(entry.task_ids) or 'no task id'}")
    lost = [note for note in ledger.notes if note.code in ("run-open", "journal-elsewhere")]
    for note in lost:
        click.echo(f"{job}: {note.message}.")
        click.echo(f"  {note.hint}", err=True)
    if not doubtful:
        if not lost:
            click.echo(f"{job}: nothing is in doubt.")
        return ExitCode.IN_DOUBT if lost else ExitCode.OK
    click.echo(
        f"{job}: {len(doubtful)} in doubt, counted with {money(_counted(doubtful))}. "
        "Each counts as paid until it is settled, and is never sent again."
    )
    for entry in doubtful:
        for line in _lines(entry):
            click.echo(f"  {line}")
    click.echo("Look them up in the service's console by time or request id, then:", err=True)
    click.echo(f"  seedream-jobs resolve {job}{option} ADDRESS --accepted TASK_ID --reason '…'", err=True)
    click.echo(f"  seedream-jobs resolve {job}{option} ADDRESS --not-charged --reason '…'     sends it again", err=True)
    click.echo(f"  seedream-jobs resolve {job}{option} ADDRESS --abandon --reason '…'         leaves it", err=True)
    return ExitCode.IN_DOUBT


def _lines(entry: Entry) -> Iterable[str]:
    from seedream_jobs.plan.cost import money

    yield entry.address
    yield f"    {entry.doubt or 'open'} since {since(entry)}, at most {money(entry.max_cost_usd)}"
    if entry.request_id:
        yield f"    request id {entry.request_id}"
    if entry.task_id:
        ids = ", ".join(entry.task_ids)
        yield f"    task id {ids}, found in a broken reply and not confirmed"


def since(entry: Entry) -> str:
    """When it came to be in doubt, UTC."""
    import datetime

    at = entry.since if entry.since is not None else entry.submitted_at
    if at is None:
        return "unknown time"
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def hold_task_id(ledger: Ledger, task_id: str, key: str) -> None:
    """Refuse what can't be the task of the request ``key``: a task belongs to one request.

    :raises UsageError: it is no task id, or another request's
    """
    if not ID.fullmatch(task_id):
        raise UsageError(f"{task_id!r} is no task id", hint="letters, digits, _ and -, at most 128")
    written = f'"{task_id}"'.encode("ascii")
    for other in ledger.entries:
        if other != key and written in (ledger.entries.line(other) or b""):
            entry = ledger.entries[other]
            if task_id in (
                *entry.task_ids,
                *(one for past in entry.earlier for one in (past.task_id, *past.more_task_ids)),
            ):
                raise UsageError(
                    f"{task_id} is the task of {entry.address} already",
                    hint="look the request up again in the service's console: by its time, or its prompt",
                )


def settle(job: Path, addresses: tuple[str, ...] | None, decision: Decision, *, where: Target, now: int) -> ExitCode:
    """Record a decision about some, or all, that are in doubt."""
    one = records.find_record(job, target=where)
    with records.lock_ledger(one, origin=None, command="resolve", now=now) as ledger:
        doubtful = in_doubt(ledger)
        choice = doubtful + (_in_state(ledger, State.EXPIRED) if decision.resolution == "accepted" else [])
        named = doubtful if addresses is None else [_named(address, choice, job) for address in addresses]
        wanted = list({entry.key: entry for entry in named}.values())  # an address and its key may both be named
        for entry in wanted:
            if decision.task_id is not None:
                hold_task_id(ledger, decision.task_id, entry.key)
            _record(ledger, entry, decision, now)
        left = len(in_doubt(ledger))
    said = {"accepted": "accepted", "not_charged": "not charged: the next run submits it", "abandoned": "abandoned"}
    for entry in wanted:
        click.echo(f"{entry.address}: {said[decision.resolution]}")
    if decision.resolution == "accepted":
        click.echo(f"  seedream-jobs fetch {job}{' --emulator' if where.emulator else ''}", err=True)
    if left:
        click.echo(f"{left} still in doubt.", err=True)
    return ExitCode.IN_DOUBT if left else ExitCode.OK


def _record(ledger: Ledger, entry: Entry, decision: Decision, now: int) -> None:
    ledger.record_sync(
        Resolved(
            key=entry.key, at=now, resolution=decision.resolution, reason=decision.reason, task_id=decision.task_id
        )
    )


def _named(address: str, doubtful: list[Entry], job: Path) -> Entry:
    for entry in doubtful:
        if address in (entry.address, entry.key):
            return entry
    from seedream_jobs.diagnostics import closest

    near = closest(address, [entry.address for entry in doubtful])
    hint = f"did you mean {near!r}?" if near else f"seedream-jobs resolve {job} lists them"
    raise UsageError(f"{address} is not in doubt", hint=hint)


def bring_in(job: Path, file: Path, *, where: Target, now: int) -> ExitCode:
    """Merge a journal into the record: one that another machine wrote, or that builds on another manifest.

    :raises UsageError: there is no such file, or nothing was announced in it
    """
    file = Path(os.path.realpath(file))
    one = records.find_record(job, target=where, required=False)
    try:
        left = journal.read_journal(DISK.snapshot(file), str(file))
    except OSError as error:
        raise UsageError(
            f"{file} can't be read: {error.strerror or error}",
            hint="a run keeps its journal in .git/seedream-jobs/, outside git beside the manifest",
        ) from error
    if left is None:
        raise UsageError(f"{file} is empty or no journal", hint="nothing was announced in it, so nothing was paid")
    manifest = left.header.manifest
    with Ledger.open(
        one.paths,
        job=left.header.job or Path(one.shown).name,
        origin=None if one.paths.manifest.exists() else left.header.origin or where.origin,
        new_id=lambda: manifest,
        root=one.root,
        command="resolve",
        now=now,
        apart_from=file,
    ) as ledger:
        before = len(ledger.entries)
        ledger.take_in_journal(file, left)
        found, doubtful = len(ledger.entries) - before, len(in_doubt(ledger))
    click.echo(f"{job}: the journal is taken in, {found} requests are new on record, {doubtful} are in doubt.")
    hint = "resolve" if doubtful else "fetch"
    click.echo(f"  seedream-jobs {hint} {job}{' --emulator' if where.emulator else ''}", err=True)
    return ExitCode.IN_DOUBT if doubtful else ExitCode.OK


def close_run(job: Path, *, abandon: bool, reason: str, where: Target, now: int) -> ExitCode:
    """Record what a person knows of the runs whose journal is lost: nothing was charged, or leave all of it.

    :param abandon: every request of the job that is new counts as charged, and is not submitted by itself
    :raises UsageError: no run is open, or the job can't be expanded
    """
    from seedream_jobs.cli.importing import announce
    from seedream_jobs.ledger.state import ResolutionRecord

    one = records.find_record(job, target=where)
    left = 0
    with records.lock_ledger(one, origin=None, command="resolve", now=now) as ledger:
        lost = ledger.open_runs()
        if not lost:
            raise UsageError(f"no run of {job} is open", hint=f"seedream-jobs status {job} shows how it stands")
        if abandon:
            if one.job is None:
                hint = "seedream-jobs validate shows why"
                raise UsageError(f"{job} can't be expanded, so that nobody knows what is new in it", hint=hint)
            expansion = one.job.expansion
            for place in expansion.places():
                known = ledger.entries.summary(place.key)
                if known is None or known[0] is State.NEW:
                    address = expansion.builder.address(place.cell, place.repeat)
                    generation = 1 if known is None else known[1]
                    announce(ledger, one.job, place, address, generation=generation, now=now, why="the journal is lost")
                    ledger.record_sync(Resolved(key=place.key, at=now, resolution="abandoned", reason=reason))
                    left += 1
        said: Resolution = "abandoned" if abandon else "not_charged"
        ledger.close_runs(ResolutionRecord(key="", resolution=said, reason=reason, at=now, run=run.id) for run in lost)
    if abandon:
        click.echo(f"{job}: the run is closed; {left} requests are abandoned and count as charged")
    else:
        click.echo(f"{job}: the run is closed; the next one submits what is not on record")
    return ExitCode.OK


def check_evidence(job: Path, *, where: Target, base_url: str | None) -> ExitCode:
    """Print what the service says that bears on what is in doubt: the balance, and salvaged task ids."""
    import anyio

    from seedream_jobs.api.client import connect
    from seedream_jobs.pipeline import open_access
    from seedream_jobs.plan.cost import money

    one = records.find_record(job, target=where)
    doubtful = in_doubt(records.read_ledger(one, command="resolve"))
    with ExitStack() as stack:
        access = open_access(where, one.root, stack, base_url=base_url)

        async def ask() -> None:
            async with connect(access, workers=1, environment=os.environ) as (client, _):
                try:
                    balance = await client.balance()
                    left = "unlimited" if balance.unlimited else money(balance.remaining_usd)
                    click.echo(f"balance: {left}, used {money(balance.used_usd)}")
                except SeedreamError as error:
                    click.echo(f"balance: {error.message}")
                for entry in doubtful:
                    click.echo(entry.address)
                    if entry.task_id is None:
                        click.echo("  no task id is known: look it up in the console by its time or request id")
                        continue
                    report = await client.task(entry.task_id)
                    said = report.problem.message if report.problem else ""
                    click.echo(f"  task {entry.task_id}: {report.status} {said}".rstrip())
                    if report.status in ("running", "completed", "failed"):
                        click.echo(f"  so it was accepted: --accepted {entry.task_id}")

        anyio.run(ask)
    click.echo(f"{len(doubtful)} in doubt, counted with {money(_counted(doubtful))}")
    return ExitCode.IN_DOUBT if doubtful else ExitCode.OK


def _counted(doubtful: Iterable[Entry]) -> Decimal:
    """USD that doubts hold in every budget."""
    return sum((entry.max_cost_usd for entry in doubtful if entry.max_cost_usd is not None), start=Decimal(0))
