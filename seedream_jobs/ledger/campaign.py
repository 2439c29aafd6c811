"""This module looks at a whole campaign: who may submit for it, and what is paid in other manifests than the job's own.

Called by records and plan. Invariant: a request that any manifest of the campaign, of its worktrees or a journal
without its manifest counts as spent is not paid again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from seedream_jobs.atomic_file import DISK, FileSystem
from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import (
    CredentialsError,
    FindingsError,
    HeldError,
    InDoubtError,
    LedgerError,
    MoneyError,
    UsageError,
)
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.inside import STATE_FOLDER
from seedream_jobs.job.files import git_common, worktrees
from seedream_jobs.ledger import journal
from seedream_jobs.ledger.codec import iso
from seedream_jobs.ledger.ledger import Ledger, ids_of, left_behind, run_open
from seedream_jobs.ledger.lock import FileLock, lock_file
from seedream_jobs.ledger.manifest import Entries, alone
from seedream_jobs.ledger.parts import MANIFEST_SUFFIX
from seedream_jobs.ledger.paths import (
    SHARED,
    campaign_lock,
    job_beside,
    keep_private,
    paths_for,
    records_folder,
)
from seedream_jobs.ledger.state import STATE_RULES, Entry, State

MAX_NAMED = 5
"""How many doubts are named before the rest is counted."""
_SKIPPED = frozenset({".git", STATE_FOLDER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What manifests other than the job's own know.

    :param jobs: request key to the job in whose manifest it counts as spent
    :param jobless: (manifest id, what it holds) of those whose job file is gone: renamed, or removed
    """

    jobs: dict[str, str] = field(default_factory=dict)
    jobless: list[tuple[str, Entries]] = field(default_factory=list)

    def of_gone_jobs(self, keys: Iterable[str]) -> Iterator[Entry]:
        """The entries of these requests in manifests without a job file.

        What they cost counts against the budget of the job that asks for the requests now. As long as the other job
        file exists, the money is that one's.
        """
        for key in keys if self.jobless else ():
            counted = set[str]()  # two worktrees may have the same manifest
            for manifest, entries in self.jobless:
                entry = entries.entry_of(key)
                if entry is not None and manifest not in counted:
                    counted.add(manifest)
                    yield entry


def held_elsewhere(entries: Entries, *, paid: bool) -> dict[str, str]:
    """The requests on record that another runner has claimed, by key: whose record they are in.

    :param paid: those that are paid there; else those of which nobody here knows
    """
    held = {key: held for key in entries.keys_in(State.NEW) if (held := entries[key].held_by) and held.paid is paid}
    since: dict[str, int] = {}  # one time for each holder: a run of hours is one line for people
    for one in held.values():
        since[one.name] = min(one.since, since.get(one.name, one.since))
    return {key: f"the record of {one.name}, {iso(since[one.name])}" for key, one in held.items()}


def manifests(root: Path, *, emulator: bool) -> Iterator[Path]:
    """Every manifest below the campaign's root, sorted; only the emulator's, or all but those.

    Hidden folders, too: a record that is not seen is paid again.

    :raises UsageError: a folder can't be listed
    """
    top = records_folder(root, emulator=emulator)
    for folder, folders, files in os.walk(top, onerror=_refuse_unseen):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        for name in sorted(files):
            if name.endswith(MANIFEST_SUFFIX):
                yield Path(folder, name)


def _refuse_unseen(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # it was never there, or is gone meanwhile
        raise UsageError(
            f"{error.filename} can't be searched for records: {error.strerror}",
            hint="what a record in it has paid could be paid again: let it be listed, or move it out of the campaign",
        )


def lock_campaign(root: Path, *, emulator: bool, command: str, now: int) -> FileLock:
    """Be the only one who submits for this campaign, in all worktrees of its repository: jobs may share requests, and
    each must see what another paid.

    Taken before ``paid_elsewhere`` is read, and held until nothing more is submitted. What only asks for tasks, fetches
    them or settles doubts does not take it.

    :param command: what to tell the one who comes second
    :param now: Unix seconds
    :raises HeldError: another process holds it; says which
    :raises LedgerError: the lock can't be written
    """
    path = campaign_lock(root, emulator=emulator)
    try:
        # In a repository the lock lies in the git folder. Elsewhere it lies in .seedream, which has to ignore itself.
        if path.parent.name == SHARED:
            path.parent.mkdir(exist_ok=True)
        else:
            keep_private(root / STATE_FOLDER)
            path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise LedgerError(
            f"{path.parent} could not be made: {error.strerror or error}",
            hint="make room, or check who may write there",
        ) from error
    return lock_file(path, command=command, now=now, refusal="another run in this campaign is submitting:")


def paid_elsewhere(
    root: Path,
    own: Path,
    *,
    origin: str,
    emulator: bool,
    among: Iterable[Path] | None = None,
    fs: FileSystem | None = None,
    is_file: Callable[[Path], bool] = Path.is_file,
) -> Elsewhere:
    """What was paid with the same origin by the record of a manifest other than ``own``.

    In a repository also what the manifests of its other worktrees hold, and journals whose manifest is gone.

    :param among: the campaign's manifests, sorted, where they are not those on disk; ``fs`` reads them
    :param is_file: tells whether a job file is there
    :raises FindingsError: one of the manifests, or of those journals, is damaged
    """
    common = None if emulator or among is not None else git_common(Path(os.path.realpath(root)))
    tops = [root]
    if common is not None:
        tops += [top for top in worktrees(common) if not top.samefile(root)]
    found = Elsewhere()
    mine = ids_of(own)
    ids = set(mine)
    for top in tops:
        for manifest in manifests(top, emulator=emulator) if among is None else among:
            if manifest == own:
                continue
            ledger = Ledger.peek(paths_for(manifest, emulator_root=root if emulator else None), root=top, fs=fs)
            if ledger.header is None:
                continue
            ids.update((ledger.header.id, *ledger.header.other_ids))
            if ledger.header.origin == origin:
                base = records_folder(root, emulator=emulator)
                job = Path(os.path.relpath(manifest.with_name(ledger.header.job), base)).as_posix()
                _note(ledger.entries, job, found.jobs)
                beside = top / manifest.relative_to(base if emulator else top)
                # Another worktree's copy of this very record is not a gone job's: its costs would count twice.
                if ledger.header.id not in mine and job_beside(beside, is_file) is None:
                    found.jobless.append((ledger.header.id, ledger.entries))
    if common is not None:
        _note_left_behind(root, common / SHARED, own, ids, origin, found)
    return found


def check_settled(root: Path, own: Path) -> None:
    """See that this very record has no open run in another worktree: nobody knows which requests that one paid.

    :raises InDoubtError: it has; names the next step
    """
    common = git_common(Path(os.path.realpath(root)))
    within = paths_for(own).within if common is not None else ""
    for top in worktrees(common) if common is not None else ():
        manifest = top / within
        if manifest.is_file() and not (own.exists() and manifest.samefile(own)):
            paths = paths_for(manifest)
            if lost := Ledger.peek(paths, root=top).open_runs():
                told = run_open(lost[0], paths)
                raise InDoubtError(f"in the worktree {top}, {told.message}", hint=f"there: {told.hint}")


@contextmanager
def naming_doubts(records: Iterable[tuple[str, Ledger]], option: str) -> Iterator[None]:
    """Where a run is refused though its records have doubts, raise those: exit code 6 comes before 4, 5 and 7.

    A person has to decide on them first, and the message names them together with the refusal.

    :param records: each job as a command names it, and its held ledger
    :param option: what stands behind the job in that command
    :raises InDoubtError: in place of the refusal
    """
    try:
        yield
    except (CredentialsError, MoneyError, HeldError) as error:
        doubts: list[str] = []
        for job, ledger in records:
            found = ledger.entries.keys_in(State.IN_DOUBT)
            if found:
                named = ", ".join(ledger.entries[key].address for key in found[:MAX_NAMED])
                more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
                doubts.append(f"{len(found)} in doubt: {named}{more} (seedream-jobs resolve {shell_word(job)}{option})")
        if not doubts:
            raise
        raise InDoubtError(f"{error.message}; {'; '.join(doubts)}", hint=error.hint) from None


def _note(entries: Entries, job: str, found: dict[str, str]) -> None:
    paid = dict.fromkeys(entries.keys_in(*(state for state, rule in STATE_RULES.items() if rule.spent)))
    for key in chain(paid, (today for today, former in entries.former.items() if former in paid)):
        found.setdefault(key, job)


def _note_left_behind(root: Path, shared: Path, own: Path, ids: set[str], origin: str, found: Elsewhere) -> None:
    # Git or a hand may have taken a manifest away after its run was interrupted: then only the journal knows.
    for file, header in left_behind(shared):
        # The journal of this job's first run makes its manifest anew (``ledger.load``): nothing of it is elsewhere.
        mine = not own.exists() and header.before == journal.ABSENT and paths_for(own).within == header.path
        if header.manifest in ids or header.origin != origin or mine:
            continue
        left = journal.read_journal(DISK.snapshot(file), str(file))
        if left is not None:
            job = Path(header.path).with_name(header.job).as_posix() if header.path and header.job else str(file)
            entries = alone(left).entries
            if header.path and job_beside(root / header.path) is None:
                found.jobless.append((header.manifest, entries))
            way_back = (
                f"bring its record back, or: seedream-jobs resolve {shell_word(job)} --journal {shell_word(file)}"
            )
            _note(entries, f"{job}, of whose record only the journal of a run is left; {way_back}", found.jobs)


def half_renamed(
    shown: str, own: Path, root: Path, keys: Callable[[], Iterable[str]], *, emulator: bool
) -> Diagnostic | None:
    """The warning that a job was renamed without its record, or the record without its job.

    It names the manifest without a job file that knows most of the job's requests; None where none knows any.

    :param shown: the job file as the user named it
    :param own: where its record would be
    :param keys: of the job's requests; asked for only where there is such a manifest
    """
    top = records_folder(root, emulator=emulator)
    jobless = [one for one in manifests(root, emulator=emulator) if job_beside(root / one.relative_to(top)) is None]
    wanted = frozenset(keys()) if jobless else frozenset[str]()
    best, most, total = own, 0, 0
    for manifest in jobless:
        try:
            entries = Ledger.peek(paths_for(manifest, emulator_root=root if emulator else None), root=root).entries
        except FindingsError:
            # This is advice only. Where the record is needed, its damage is a finding.
            continue
        shared = sum(1 for key in entries if key in wanted)
        if shared > most:
            best, most, total = manifest, shared, len(entries)
    if not most:
        return None
    there, here = (os.path.relpath(path, own.parent) for path in (best, own))
    before = os.path.dirname(shown)  # noqa: PTH120  (an empty one stays empty)
    there, here = (os.path.normpath(os.path.join(before, one)) for one in (there, here))  # noqa: PTH118
    return Diagnostic(
        code="record-renamed",
        severity="warning",
        message=f"{shown} has no record, and {there}, which has no job file, holds {most} of its requests (of {total})",
        path=shown,
        hint=f"where the job was renamed, rename its record as well: git mv {shell_word(there)} {shell_word(here)}",
    )
