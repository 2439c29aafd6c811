"""This module finds, reads and locks the records of jobs: a job's manifest and, during a run, its journal.

Called by ``pipeline`` and by every command that names a JOB. Invariant: ledgers are locked in the order of their paths,
then the campaigns, all or none, so that two runs never wait for each other.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.job.files import campaign_root
from seedream_jobs.ledger import campaign
from seedream_jobs.ledger.ledger import Ledger, left_behind
from seedream_jobs.ledger.parts import MANIFEST_SUFFIX
from seedream_jobs.ledger.paths import (
    LedgerPaths,
    campaign_lock,
    is_manifest,
    job_beside,
    paths_for,
    records_folder,
)
from seedream_jobs.ledger.state import State
from seedream_jobs.model_profile import DEFAULT_MODEL, Profile, profiles
from seedream_jobs.plans.load import Job, Target, load_job
from seedream_jobs.plans.plan import Plan
from seedream_jobs.plans.saved import check_target


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record of a job, and the job itself if its file is there and has no errors.

    :param shown: the job file or the manifest as the user named it
    """

    shown: str
    paths: LedgerPaths
    root: Path
    job: Job | None

    @property
    def profile(self) -> Profile:
        """The model's profile; the default one if only the manifest is there."""
        return self.job.expansion.spec.profile if self.job else profiles()[DEFAULT_MODEL]

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.expansion.spec.name if self.job else self.paths.manifest.name.removesuffix(MANIFEST_SUFFIX)

    @property
    def page(self) -> Path:
        """The folder of the job's gallery, beside its images."""
        folder = self.paths.manifest.parent
        # Without the job file the default of ``output.dir`` is the best guess.
        return folder / (self.job.expansion.spec.output_dir if self.job else f"out/{self.name}") / "gallery"

    @property
    def started(self) -> bool:
        """Whether there is a manifest, or the journal of one that is gone."""
        paths = self.paths
        if paths.manifest.exists() or paths.journal.exists():
            return True
        return paths.shared is not None and any(header.path == paths.within for _, header in left_behind(paths.shared))


def record_of(job: Job) -> Record:
    """The record of a job that is loaded already."""
    return Record(shown=job.shown, paths=job.paths, root=job.expansion.spec.root, job=job)


def saved_records(saved: Plan, *, root: Path, target: Target, shown: str) -> list[Record]:
    """The records of a saved plan's jobs, in the order of the plan.

    :param shown: the plan's file
    :raises HeldError: the plan was made for another service
    """
    check_target(saved, origin=target.origin, emulator=target.emulator, shown=shown)
    emulator_root = root if target.emulator else None
    return [
        Record(shown=job.shown, paths=paths_for(root / job.path, emulator_root=emulator_root), root=root, job=None)
        for job in saved.jobs
    ]


def find_record(named: Path, *, target: Target, required: bool = True) -> Record:
    """Find the record of a job file or of a manifest.

    A job file with errors does not hide its record: what was paid can be fetched all the same.

    :param required: False if the record is about to be made from a journal
    :raises UsageError: there is neither a job file nor a record
    """
    # Outside git ``campaign_root`` would take a rehearsal's own folder for the campaign.
    root = _root_of_rehearsal(named) or campaign_root(named)
    paths = paths_for(named, emulator_root=root if target.emulator else None)
    job: Job | None = None
    file = job_beside(named) if is_manifest(named) else named
    if file is not None and file.is_file():
        try:
            job = load_job(file, shown=str(file), target=target, sets={})
        except FindingsError:
            job = None
    record = Record(shown=str(named), paths=paths, root=root, job=job)
    # A record alone is enough: ``fetch`` needs no job file.
    if job is None and required and not record.started:
        if named.is_symlink() and not named.exists():
            raise UsageError(f"{named} is a symbolic link that leads nowhere", hint="name the job file itself")
        if not named.exists():
            raise UsageError(f"there is no {named}", hint=f"name a job file, or its {MANIFEST_SUFFIX}")
        if named.is_dir():
            raise UsageError(f"{named} is a folder", hint="name a job file in it")
    return record


def _root_of_rehearsal(named: Path) -> Path | None:
    """The campaign's root if ``named`` lies below its ``.seedream/emulator``."""
    folders = [own for own in named.absolute().parents if len(own.parts) > 2]
    return next((root for own in folders if records_folder(root := own.parents[1], emulator=True) == own), None)


def as_last_run(record: Record, sets: Mapping[str, str], *, target: Target) -> Record:
    """The record with its job as a run reads it that used these ``--set`` values.

    A saved plan's record has no job; its page shows the one that lies beside the manifest.
    """
    beside = record.paths.manifest
    if record.paths.private is not None:  # a rehearsal's record lies apart from its job
        apart = records_folder(record.paths.private.parent, emulator=True)
        beside = record.paths.private.parent / beside.relative_to(apart)
    file = record.job.file if record.job else job_beside(beside)
    if file is None or (record.job and not sets):
        return record
    try:
        return replace(record, job=load_job(file, shown=str(file), target=target, sets=sets))
    except (FindingsError, UsageError):
        return record


def find_started(named: Sequence[Path], *, target: Target, command: str) -> tuple[list[Record], list[Record]]:
    """The records of several jobs, in path order, and those of the jobs that were never run.

    :param command: for the hint of a refusal, such as ``status``
    :raises UsageError: one of them is not there, or none was ever run
    """
    # A job that is named twice has one lock: it would be refused as held by this very process.
    found = list(
        {record.paths.lock: record for record in (find_record(job, target=target) for job in sorted(named))}.values()
    )
    started = [record for record in found if record.started]
    if not started:
        raise not_started(found[0], command)
    return started, [record for record in found if record not in started]


def read_ledger(record: Record, *, command: str) -> Ledger:
    """The ledger as it is on disk now; nothing is locked.

    :param command: for the hint of a refusal, such as ``status``
    :raises UsageError: nothing was submitted yet
    """
    ledger = Ledger.peek(record.paths, root=record.root)
    if ledger.header is None:
        raise not_started(record, command)
    return ledger


def not_started(record: Record, command: str) -> UsageError:
    """The refusal of a job without a record, with the next step; a rehearsal is not the paid run."""
    shown, rehearsal = record.shown, record.paths.private is not None
    if record.job is not None and (renamed := half_renamed(record.job, emulator=rehearsal)) is not None:
        return UsageError(f"{shown}: {renamed.message.removeprefix(f'{shown} ')}", hint=renamed.hint)
    if rehearsal:
        return UsageError(
            f"{shown}: nothing was submitted yet", hint=f"seedream-jobs run {shell_word(shown)} --emulator"
        )
    if not is_rehearsed(Path(shown), record.root):
        return UsageError(f"{shown}: nothing was submitted yet", hint=f"seedream-jobs run {shell_word(shown)}")
    # A rehearsal puts nothing into the store that pull reads, so that it has no --emulator.
    of_rehearsal = (
        "" if command == "pull" else f"the rehearsal: seedream-jobs {command} {shell_word(shown)} --emulator; "
    )
    return UsageError(
        f"{shown}: nothing was submitted yet, there is only a rehearsal on the emulator",
        hint=f"{of_rehearsal}the paid run: seedream-jobs run {shell_word(shown)}",
    )


def is_rehearsed(named: Path, root: Path) -> bool:
    """Whether there is a record of a rehearsal.

    :param named: a job file or a manifest
    :param root: of the campaign
    """
    return paths_for(named, emulator_root=root).manifest.exists()


def only_rehearsed(plan: Plan) -> Iterator[str]:
    """A sentence on each job of a paid plan of which there is only a rehearsal on record."""
    for one in plan.jobs if not plan.rehearsal else ():
        never_run = one.ledger is not None and not one.ledger.entries
        if one.job is not None and never_run and is_rehearsed(one.job.file, one.job.expansion.spec.root):
            command = f"seedream-jobs plan {shell_word(one.shown)} --emulator"
            yield f"{one.shown}: there is only a rehearsal on the emulator, which paid for nothing: {command}"


def half_renamed(job: Job, *, emulator: bool) -> Diagnostic | None:
    """A warning if a job lost its record because only one of the two files was renamed."""
    expansion = job.expansion
    return campaign.half_renamed(
        job.shown,
        job.paths.manifest,
        expansion.spec.root,
        lambda: (place.key for place in expansion.places()),
        emulator=emulator,
    )


def open_tasks(ledger: Ledger) -> int:
    """How many tasks were accepted and are not done."""
    return len(ledger.entries.keys_in(State.ACCEPTED))


def lock_ledger(record: Record, *, origin: str | None, command: str, now: int) -> Ledger:
    """Lock one record, for a command that submits nothing.

    :param origin: the service's origin; None for a command that uses none
    :param now: Unix seconds
    :raises UsageError: nothing was submitted yet
    :raises HeldError: another process holds it, or it belongs to another origin
    """
    # Refused before a lock file is made for a job that was never run.
    read_ledger(record, command=command)
    return Ledger.open(
        record.paths,
        job=record.shown,
        origin=origin,
        new_id=new_manifest_id,
        root=record.root,
        command=command,
        now=now,
    )


def lock_or_create(record: Record, job: Job, *, target: Target, command: str, now: int) -> Ledger:
    """The job's ledger, locked, as ``lock_ledger`` does it; a manifest is made if there is none."""
    return Ledger.open(
        record.paths,
        job=job.file.name,
        origin=target.origin,
        new_id=new_manifest_id,
        root=record.root,
        command=command,
        now=now,
    )


def new_manifest_id(given: str | None = None) -> str:
    """The id of a new manifest: the one that a saved plan has given it, else a random one."""
    return given or f"m-{secrets.token_hex(8)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """Records that only this process writes.

    :param ledgers: in the order of ``records``
    :param release: lets the campaign's next run begin; called once nothing more will be submitted
    """

    records: tuple[Record, ...]
    ledgers: tuple[Ledger, ...]
    release: Callable[[], None]

    def ledger_of(self, job: Job) -> Ledger:
        """The ledger of a job."""
        (found,) = (ledger for ledger in self.ledgers if ledger.paths == job.paths)
        return found


def lock_records(
    records: Sequence[Record],
    *,
    target: Target,
    now: int,
    stack: ExitStack,
    command: str | None = None,
    ids: Sequence[str | None] = (),
) -> Locked:
    """Lock the ledgers of all jobs, in path order, then their campaigns; all or none. ``stack`` releases them.

    A ledger's lock keeps two runs of one job apart. The campaign's lock keeps apart runs of two jobs that share
    requests, from before the plan until nothing more will be submitted.

    :param now: Unix seconds
    :param command: how other processes are told of this one; ``run JOB…`` by default
    :param ids: the ids of manifests that are not there yet, if a saved plan has given them
    :raises HeldError: another run is under way
    :raises InDoubtError: another worktree of the campaign has an open run, of which nobody knows what it paid; or
        a command fails later while records have doubts: the doubts come first
    """
    # There are no ids but for a saved plan.
    given = dict(zip((record.paths.manifest for record in records), ids, strict=False))
    ledgers: dict[Path, Ledger] = {}
    for record in sorted(records, key=lambda record: record.paths.manifest):
        manifest = record.paths.manifest
        opened = Ledger.open(
            record.paths,
            job=Path(record.shown).name,
            origin=target.origin,
            new_id=partial(new_manifest_id, given.get(manifest)),
            root=record.root,
            command="run",
            now=now,
            run=secrets.token_hex(4),
        )
        ledgers[manifest] = stack.enter_context(opened)
    # A rehearsal's record lies in one worktree, where no other one reads it.
    for record in records if not target.emulator else ():
        campaign.check_settled(record.root, record.paths.manifest)
    command = command or " ".join(["run", *(record.shown for record in records)])
    # A stack of its own: ``release`` ends it early, an error before that ends it with the others.
    own = stack.enter_context(ExitStack())
    # Worktrees of one repository are one campaign, so that their roots may share a lock file.
    roots = {campaign_lock(record.root, emulator=target.emulator): record.root for record in records}
    for path in sorted(roots):
        held = campaign.lock_campaign(roots[path], emulator=target.emulator, command=command, now=now)
        own.callback(held.release)
        for ledger in ledgers.values():
            ledger.guard(held)
    option = " --emulator" if target.emulator else ""
    named = [(record.shown, ledgers[record.paths.manifest]) for record in records]
    # Entered last: it sees whatever is refused from here to the end of the command.
    stack.enter_context(campaign.naming_doubts(named, option))
    return Locked(
        records=tuple(records),
        ledgers=tuple(ledgers[record.paths.manifest] for record in records),
        release=own.close,
    )


def with_manifests(plan: Plan, *, target: Target, now: int) -> Plan:
    """A plan that can be saved: each job with something to submit has a manifest id; a missing manifest is made.

    :param now: Unix seconds
    :raises HeldError: a run holds a record whose manifest has to be made
    """
    jobs = list(plan.jobs)
    for number, planned in enumerate(jobs):
        # Idempotency keys hold the id: made now, it is the same on every machine that runs the plan.
        if planned.job is not None and planned.manifest is None and planned.submit:
            job = planned.job
            with lock_or_create(record_of(job), job, target=target, command="plan", now=now) as ledger:
                ledger.ensure_created()
                jobs[number] = replace(planned, manifest=ledger.id)
    return replace(plan, jobs=tuple(jobs))
