"""Finds the record behind a JOB: a job file, or only its manifest, as another machine may have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedream_jobs.errors import UsageError

if TYPE_CHECKING:
    from seedream_jobs.ledger.ledger import Ledger
    from seedream_jobs.ledger.paths import LedgerPaths
    from seedream_jobs.pipeline import Target
    from seedream_jobs.plan.job import Job
    from seedream_jobs.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A job by what is on disk: its record, and the job itself where its file is at hand and sound."""

    shown: str
    paths: LedgerPaths
    root: Path
    job: Job | None

    @property
    def profile(self) -> Profile:
        """The model's profile; the default one where only the manifest is at hand."""
        from seedream_jobs.profile import DEFAULT_MODEL, profiles

        return self.job.expansion.spec.profile if self.job else profiles()[DEFAULT_MODEL]

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.expansion.spec.name if self.job else self.paths.manifest.name.removesuffix(".manifest.jsonl")

    @property
    def page(self) -> Path:
        """The folder of the job's gallery."""
        from seedream_jobs.pipeline import gallery_folder

        return gallery_folder(self.job) if self.job else self.paths.manifest.parent / "out" / self.name / "gallery"


def find(named: Path, *, where: Target, lost: bool = False) -> Record:
    """What ``named`` (a job file or a manifest) leads to.

    A job file with findings does not hide its record: what was paid can be fetched all the same.

    :param lost: neither need be there: the record is about to be made from a journal
    :raises UsageError: neither is there
    """
    from seedream_jobs.errors import FindingsError
    from seedream_jobs.job.files import campaign_root
    from seedream_jobs.ledger.paths import is_manifest, job_beside, paths_for

    root = _emulated_root(named) or campaign_root(named)
    paths = paths_for(named, emulator_root=root if where.emulator else None)
    job: Job | None = None
    file = job_beside(named) if is_manifest(named) else named
    if file is not None and file.is_file():
        from seedream_jobs.pipeline import load

        try:
            job = load(file, shown=str(file), target=where, sets={})
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
    from seedream_jobs.ledger.loading import left_behind

    if paths.manifest.exists() or paths.journal.exists():
        return True
    return paths.shared is not None and any(place.path == paths.within for _, _, place in left_behind(paths.shared))


def _emulated_root(named: Path) -> Path | None:
    """The campaign's root, where a record below its ``.seedream/emulator`` is named; None elsewhere."""
    from seedream_jobs.ledger.paths import STATE_FOLDER

    folders = list(named.absolute().parents)
    return next((own.parent.parent for own in folders if own.parts[-2:] == (STATE_FOLDER, "emulator")), None)


def record_of(job: Job) -> Record:
    """A job that is loaded already."""
    return Record(shown=job.shown, paths=job.paths, root=job.expansion.spec.root, job=job)


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
    from seedream_jobs.ledger.ledger import Ledger

    ledger = Ledger.peek(known.paths, root=known.root)
    if ledger.header is None:
        message, hint = _not_begun(known)
        raise UsageError(f"{known.shown}: {message}", hint=hint)
    return ledger


def _not_begun(known: Record) -> tuple[str, str]:
    """What is said of a job without a record, and the next step: after a rehearsal that is not the paid run."""
    if known.job is not None:
        from seedream_jobs.pipeline import half_renamed

        for found in half_renamed(known.job, known.paths.private is not None):
            return found.message.removeprefix(f"{known.shown} "), found.hint or ""
    if known.paths.private is not None:
        return "nothing was submitted yet", f"seedream-jobs run {known.shown} --emulator"
    from seedream_jobs.ledger.paths import paths_for

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
    from seedream_jobs.ledger.ledger import Ledger

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
