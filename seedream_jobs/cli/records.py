"""Finds the record behind a JOB: a job file, or only its manifest, as another machine may have it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.job.files import campaign_root
from seedream_jobs.ledger.ledger import Ledger, left_behind
from seedream_jobs.ledger.paths import STATE_FOLDER, LedgerPaths, is_manifest, job_beside, paths_for
from seedream_jobs.pipeline import Record, half_renamed
from seedream_jobs.plan.load import Target, load_job

if TYPE_CHECKING:
    from seedream_jobs.plan.job import Job


def find(named: Path, *, where: Target, lost: bool = False) -> Record:
    """What ``named`` (a job file or a manifest) leads to.

    A job file with findings does not hide its record: what was paid can be fetched all the same.

    :param lost: neither need be there: the record is about to be made from a journal
    :raises UsageError: neither is there
    """
    root = _emulated_root(named) or campaign_root(named)
    paths = paths_for(named, emulator_root=root if where.emulator else None)
    job: Job | None = None
    file = job_beside(named) if is_manifest(named) else named
    if file is not None and file.is_file():
        try:
            job = load_job(file, shown=str(file), target=where, sets={})
        except FindingsError:
            job = None
    if job is None and not lost and not started(paths):
        if named.is_symlink() and not named.exists():
            raise UsageError(f"{named} is a symbolic link that leads nowhere", hint="name the job file itself")
        if not named.exists():
            raise UsageError(f"there is no {named}", hint="name a job file, or its .manifest.jsonl")
        if named.is_dir():
            raise UsageError(f"{named} is a folder", hint="name a job file in it")
    return Record(shown=str(named), paths=paths, root=root, job=job)


def started(paths: LedgerPaths) -> bool:
    """Whether there is a record, or the journal of one that is gone."""
    if paths.manifest.exists() or paths.journal.exists():
        return True
    return paths.shared is not None and any(place.path == paths.within for _, _, place in left_behind(paths.shared))


def _emulated_root(named: Path) -> Path | None:
    """The campaign's root, where a record below its ``.seedream/emulator`` is named; None elsewhere."""
    folders = list(named.absolute().parents)
    return next((own.parent.parent for own in folders if own.parts[-2:] == (STATE_FOLDER, "emulator")), None)


def find_started(named: Sequence[Path], *, where: Target) -> list[Record]:
    """What several JOBs lead to, in path order; one that was never run is told of and left out, unless all are.

    :raises UsageError: one of them is not there
    """
    found = [find(job, where=where) for job in sorted(named)]
    begun = [one for one in found if started(one.paths)]
    if not begun:
        return found
    for one in found:
        if one not in begun:
            click.echo(f"{one.shown}: {_not_begun(one)[0]}", err=True)
    return begun


def peek(known: Record) -> Ledger:
    """What is known, read only.

    :raises UsageError: nothing was submitted for it yet
    """
    ledger = Ledger.peek(known.paths, root=known.root)
    if ledger.header is None:
        message, hint = _not_begun(known)
        raise UsageError(f"{known.shown}: {message}", hint=hint)
    return ledger


def _not_begun(known: Record) -> tuple[str, str]:
    """What is said of a job without a record, and the next step: after a rehearsal that is not the paid run."""
    if known.job is not None:
        for found in half_renamed(known.job, known.paths.private is not None):
            return found.message.removeprefix(f"{known.shown} "), found.hint or ""
    if known.paths.private is not None:
        return "nothing was submitted yet", f"seedream-jobs run {known.shown} --emulator"
    if not paths_for(Path(known.shown), emulator_root=known.root).manifest.exists():
        return "nothing was submitted yet", f"seedream-jobs run {known.shown}"
    command = click.get_current_context().info_name
    return (
        "nothing was submitted yet, there is only a rehearsal on the emulator",
        f"the rehearsal: seedream-jobs {command} {known.shown} --emulator; "
        f"the paid run: seedream-jobs run {known.shown}",
    )


def tell_in_use(shown: str, ledger: Ledger) -> None:
    """Say that another process works on a job: what was read of it is of this moment."""
    if ledger.held_by is not None:
        click.echo(f"{shown}: in use by {ledger.held_by}; this is how it stands now", err=True)


def hold(known: Record, *, origin: str | None, command: str, now: int) -> Ledger:
    """Take the record for writing.

    :raises UsageError: nothing was submitted for it yet
    :raises HeldError: another run holds it, or it belongs to another origin
    """
    peek(known)
    return Ledger.open(
        known.paths,
        job=known.shown,
        origin=origin,
        new_id=lambda: "m-unused",
        root=known.root,
        command=command,
        now=now,
    )
