"""This module keeps the record of one job: manifest, journal and lock are read, recorded to and folded as one thing.

Called by the commands through ``records`` and by the run. A reader (``Ledger.peek``) applies a journal that was left
behind in memory and writes nothing. A writer (``Ledger.open``) holds the lock, folds such a journal first, appends
events to a new one, and folds that when it ends. Invariants: an event is durable before ``record`` returns; what git or
an editor does to the manifest meanwhile is seen before the first record and merged before the fold. A journal belongs
to the manifest whose id and bytes its first record names; without a manifest, to the one that was at this very place
when a first run began, and is gone since. A journal whose manifest is still at another place (another worktree, a copy)
is that one's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Self

from seedream_jobs import confinement
from seedream_jobs.atomic_file import DISK, FileSystem, Snapshot, read_regular, write_whole
from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import FindingsError, HeldError, InDoubtError, LedgerError, UsageError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.job.files import worktrees
from seedream_jobs.job.git import is_tracked
from seedream_jobs.ledger import journal
from seedream_jobs.ledger.codec import encode, iso
from seedream_jobs.ledger.journal import GroupCommit, Pair
from seedream_jobs.ledger.lock import FileLock, in_use, lock_file, who_holds
from seedream_jobs.ledger.manifest import Entries, Manifest, alone, apply, apply_journal, ids_in, read_manifest
from seedream_jobs.ledger.parts import (
    LARGE_PART,
    MANIFEST_SUFFIX,
    PARTS,
    ManifestFiles,
    NewFiles,
    digest_of,
    find_files,
    largest_part,
    make_parts_folder,
    remove_parts_folder,
)
from seedream_jobs.ledger.paths import SHARED, LedgerPaths, check_link, prepare
from seedream_jobs.ledger.state import (
    STATE_RULES,
    Entry,
    Event,
    Header,
    Intended,
    OpenRun,
    PlanRecord,
    ResolutionRecord,
)

_LOOKS = 20
_TOGETHER = 1000
"""How many events share one sync at most."""
_log = logging.getLogger(__name__)


class Ledger:
    """What is known of a job's requests. Made by ``peek`` or ``open``."""

    def __init__(
        self,
        paths: LedgerPaths,
        manifest: Manifest,
        fs: FileSystem,
        lock: FileLock | None,
        root: Path,
        run: str | None = None,
        now: int = 0,
    ) -> None:
        self.paths = paths
        self._run, self._now = run, now
        self._intents = 0
        self._journal_lock: FileLock | None = None  # in a repository, beside the lock on the manifest's place
        self._guards: list[FileLock] = []
        self._root = root
        self._manifest = manifest
        self._in_parts = False  # whether the next run is to leave a split manifest
        self._fs = fs
        self._lock = lock
        self.held_by: str | None = None
        self._moved = False  # to another origin than the one on the disk
        self._commit: GroupCommit | None = None
        self._starting = threading.Lock()  # one of several threads begins the journal
        self._seq = 0
        self._failure: LedgerError | None = None

    @classmethod
    def peek(cls, paths: LedgerPaths, *, root: Path, fs: FileSystem | None = None) -> Ledger:
        """What is known, without writing anything; also while a run is under way: ``held_by`` then names it.

        :param root: the campaign's root, out of which no recorded path may lead
        :raises FindingsError: the manifest or the journal is damaged
        :raises HeldError: the manifest was replaced under a run
        """
        confinement.mark("reading this record", paths.manifest.name)
        check_link(paths)
        disk = DISK if fs is None else fs
        if not disk.has_runs:
            paths = replace(paths, shared=None)

        def is_busy(lock: Path) -> bool:
            return disk.has_runs and in_use(lock)

        busy = is_busy(paths.lock)
        try:
            loaded = load(paths, disk, root)
        except FindingsError as error:
            if (busy or is_busy(paths.lock)) and error.diagnostics[0].code == "journal-foreign":
                raise under_way(paths) from error
            raise
        manifest = loaded.manifest
        if disk.has_runs:
            _note_older(paths, manifest)
        shared = None if manifest.header is None else paths.lock_of(manifest.header.id)
        busy = busy or is_busy(paths.lock)  # the run may have ended, or begun, while its files were read
        holder = paths.lock if busy or shared is None else shared
        busy = busy or is_busy(holder)
        if loaded.hot is not None:
            try:
                apply_journal(manifest, loaded.hot, _folder(paths, root), loaded.folded)
            except OSError as error:
                raise UsageError(f"{loaded.file} can't be read: {error.strerror or error}") from error
            # Its journal is here, so nothing of that run is lost.
            manifest.close_run(loaded.hot.header.run)
        if loaded.elsewhere is not None:
            manifest.notes.append(_elsewhere_note(loaded.elsewhere, paths))
        if not busy:
            manifest.notes.extend(run_open(run, paths) for run in manifest.open_runs())
        if busy:
            manifest.notes = [note for note in manifest.notes if note.code != "journal-torn"]  # it is being written
        else:
            manifest.entries.settle("crash")
        ledger = cls(paths, manifest, disk, None, root)
        ledger.held_by = who_holds(holder) if busy else None
        return ledger

    @classmethod
    def open(
        cls,
        paths: LedgerPaths,
        *,
        job: str,
        origin: str | None,
        new_id: Callable[[], str],
        root: Path,
        command: str,
        now: int,
        fs: FileSystem | None = None,
        run: str | None = None,
        apart_from: Path | None = None,
    ) -> Ledger:
        """Take the lock, fold what a crash left, and be ready to record.

        :param job: the job file's name, for a new manifest
        :param origin: the service's origin; None for a command that speaks to none and only settles what is known
        :param new_id: makes the id of a new manifest (``m-…``)
        :param root: the campaign's root, out of which no recorded path may lead
        :param command: what to tell the one who comes second
        :param now: Unix seconds
        :param run: of one that is going to pay: its id, random, which what it submits bears (``Entry.run``), and
            the manifest while the run is open
        :param apart_from: a journal that is left alone, since it is going to be taken in (``take_in_journal``)
        :raises HeldError: another run holds the lock, or the manifest was written against another origin
        :raises InDoubtError: an earlier run may have paid what is not on record (only with ``run``), or the manifest is
            gone and a journal of it is not
        :raises FindingsError: the manifest or the journal is damaged
        :raises LedgerError: the files can't be written
        :raises UsageError: there is no manifest and no origin to make one for
        """
        check_link(paths)
        disk = DISK if fs is None else fs
        try:
            prepare(paths)
        except OSError as error:
            raise _failed(paths.manifest, error) from error
        lock = lock_file(paths.lock, command=command, now=now)
        try:
            loaded = load(paths, disk, root, apart_from=apart_from)
            ledger = cls(paths, loaded.manifest, disk, lock, root, run, now)
            try:
                ledger._opened(loaded, job=job, origin=origin, new_id=new_id, command=command)
            except BaseException:
                if ledger._journal_lock is not None:
                    ledger._journal_lock.release()
                raise
        except BaseException:
            lock.release()
            raise
        _log.info("%s locked, %d requests on record", paths.lock, len(ledger.entries))
        return ledger

    def _opened(self, loaded: Loaded, *, job: str, origin: str | None, new_id: Callable[[], str], command: str) -> None:
        manifest = self._manifest
        if manifest.header is not None:
            self._lock_journal(command)
            _note_older(self.paths, manifest)
            _remember(self.paths, manifest)
        if loaded.elsewhere is not None:
            raise loaded.elsewhere
        if manifest.header is None:
            if origin is None:
                raise UsageError(
                    f"there is no {self.paths.manifest.name}", hint="nothing was submitted for this job yet"
                )
            manifest.header = Header(id=new_id(), job=job, origin=origin)
        elif origin is not None and origin != manifest.header.origin:
            # What a left-behind journal announces went to the record's own origin, and is not among the entries yet.
            if loaded.hot is not None or self.tied:
                raise other_origin(self.paths.manifest, origin)
            manifest.header = replace(manifest.header, origin=origin)
            self._moved = True
        self._fold_left_behind(loaded)
        if self._run is not None and (lost := manifest.open_runs()):
            told = run_open(lost[0], self.paths)
            raise InDoubtError(told.message, hint=told.hint)

    def _lock_journal(self, command: str) -> None:
        path = self.paths.lock_of(self.id)  # in a repository, another worktree may have the same manifest
        if path is not None and self._journal_lock is None:
            refusal = f"the record {self.id} ({self.paths.manifest.name}) is held by"
            self._journal_lock = lock_file(path, command=command, now=self._now, refusal=refusal)

    def guard(self, lock: FileLock) -> None:
        """Let no intent be recorded once the file of this lock, too, was removed or replaced."""
        self._guards.append(lock)

    def _check_places(self, *others: FileLock) -> None:
        """:raises LedgerError: a lock's file was removed or replaced"""
        for lock in (self._lock, self._journal_lock, *others):
            if lock is not None:
                lock.check_place()

    def _fold_left_behind(self, loaded: Loaded) -> None:
        failing = self._journal
        try:
            for failing in loaded.done:
                self._pair(failing).remove_journal()
            if loaded.hot is not None and loaded.file is not None:
                failing = loaded.file
                apply_journal(self._manifest, loaded.hot, _folder(self.paths, self._root), loaded.folded)
                self._manifest.entries.settle("crash")
                self._manifest.close_run(loaded.hot.header.run)
                self._written(self._pair(failing).fold_left_behind(loaded.hot, self._new_files()))
            self._manifest.entries.settle("crash")
        except OSError as error:
            raise self._dead(_failed(failing, error)) from error

    @property
    def _journal(self) -> Path:
        """Where this ledger's own journal is written."""
        return self.paths.at(self.id)

    def _pair(self, file: Path | None = None) -> Pair:
        return Pair(self._fs, self.paths.real, self._journal if file is None else file)

    def announce(self, intents: int) -> None:
        """Say before the first record of a run that pays how many requests it is going to submit, at most.

        The manifest then names the open run, durably before the first intent and until the journal is folded.
        """
        self._intents = intents

    def _new_files(self) -> NewFiles:
        new = self._manifest.new_files()
        if len(new.files) > 1:
            make_parts_folder(self.paths.real)
        return new

    def _written(self, digests: Mapping[str, str]) -> None:
        self._manifest.digests = digests
        self._manifest.merged = False
        self._manifest.entries.changed.clear()
        _remember(self.paths, self._manifest)
        if not self._header().parts:
            remove_parts_folder(self.paths.real)

    @property
    def folder(self) -> PurePosixPath:
        """The manifest's folder, relative to the campaign's root."""
        return _folder(self.paths, self._root)

    @property
    def file(self) -> Path:
        """Where what is recorded ends up."""
        return self.paths.manifest

    @property
    def header(self) -> Header | None:
        """Whose record it is; None for a job that has none yet (only after ``peek``)."""
        return self._manifest.header

    @property
    def tied(self) -> bool:
        """Whether the record belongs to its origin for good: something was submitted to it that counts, or has an id.

        A record without that, such as the one a mistyped address leaves, goes over to the origin of the next run.
        """
        return any(map(_binds, self.entries.values()))

    @property
    def id(self) -> str:
        """The manifest's id, part of every idempotency key.

        :raises LookupError: there is no manifest yet (only after ``peek``)
        """
        if self._manifest.header is None:
            raise LookupError(f"{self.paths.manifest.name} does not exist yet")
        return self._manifest.header.id

    @property
    def parts(self) -> int:
        """How many files the lines of its requests lie in; 0 for one with the header."""
        return 0 if self._manifest.header is None else self._manifest.header.parts

    @property
    def run(self) -> str:
        """The token of this run; empty for a command that does not pay."""
        return self._run or ""

    @property
    def entries(self) -> Entries:
        """Everything known, by request key; live."""
        return self._manifest.entries

    @property
    def plans(self) -> Mapping[str, PlanRecord]:
        """The plans that were used, by id."""
        return self._manifest.plans

    @property
    def resolutions(self) -> tuple[ResolutionRecord, ...]:
        """What people decided, in order of time."""
        return tuple(sorted(self._manifest.resolutions, key=lambda one: (one.at, one.key, one.resolution, one.reason)))

    @property
    def locked(self) -> bool:
        """Whether it can record; else it was only read (``peek``)."""
        return self._lock is not None

    @property
    def notes(self) -> tuple[Diagnostic, ...]:
        """Warnings about what was read: a torn record cut off, a request paid for on two branches."""
        return tuple(self._manifest.notes)

    async def record(self, event: Event) -> None:
        """Return once the event is durable. Not cancelled half-way: once called, the event is recorded.

        For an intent the locks are checked before and after it is made durable. If they are in place afterwards, every
        other run finds the intent, since it reads the journal only once it has the locks.

        :raises IllegalEvent: the event has no place in the request's state; nothing is recorded
        :raises LedgerError: it could not be made durable; the ledger takes nothing more
        """
        intent = isinstance(event, Intended)
        if intent:
            self._check_places(*self._guards)
        await self._started().append(lambda: self._next(event))
        if intent:
            self._check_places(*self._guards)
        self._log_event(event)

    def record_sync(self, *events: Event) -> None:
        """As ``record``, for code that runs on no event loop; several events are made durable together."""
        self._started().append_sync(*(partial(self._next, event) for event in events))
        for event in events:
            self._log_event(event)

    def record_all(self, events: Iterable[Event]) -> None:
        """As ``record_sync``, for any number of events. What makes them sees those before only now and then."""
        left = iter(events)
        while some := list(islice(left, _TOGETHER)):
            self.record_sync(*some)

    def suppose(self, events: Iterable[Event], *notes: Diagnostic) -> None:
        """Take events in that are not recorded: what ``plan --shared`` shows is known to the store alone.

        :raises ValueError: the ledger is locked: what it knows will be written
        """
        if self.locked:
            raise ValueError("only what was read may be supposed")
        for event in events:
            apply(self._manifest, event)
        self._manifest.notes.extend(notes)

    def use_plan(self, plan: PlanRecord) -> None:
        """Record that a plan is applied, durably, before its first intent."""
        self._started().append_sync(lambda: self._next(plan))

    def finish_plan(self, plan: str) -> None:
        """Record that none of a plan is left to send.

        :raises KeyError: the plan was never used
        """
        self.use_plan(replace(self._manifest.plans[plan], finished=True))

    def ensure_created(self) -> None:
        """Make the manifest's id, and its origin, durable before anything refers to it (a saved plan does).

        :raises LedgerError: it could not be written
        """
        if self._manifest.digest == journal.ABSENT or self._moved:
            self._check_writable()
            self._lock_journal("run")
            self._take_in_replacement()
            self._write()
            self._moved = False

    def take_in_journal(self, file: Path, left: journal.Contents) -> None:
        """Merge what a journal announces, which builds on another version of the manifest or was another machine's.

        The file is removed where it lies among this repository's journals, or beside the manifest.

        :raises FindingsError: the journal is damaged
        :raises HeldError: it belongs to another service
        :raises LedgerError: the manifest could not be written; the journal is still there
        """
        if left.header.origin not in ("", self._header().origin):
            raise HeldError(
                f"{self.paths.manifest.name} was written against another service than the journal",
                hint="the first line of each names its service: bring in the journal of a run of this record",
            )
        self._take_in_replacement()
        self._manifest.take_in(alone(left, self._manifest, _folder(self.paths, self._root)))
        header = self._header()
        others = {*header.other_ids, left.header.manifest} - {header.id}
        self._manifest.header = replace(header, other_ids=tuple(sorted(others)))
        self._manifest.close_run(left.header.run)
        self._write()
        if file.parent == self.paths.shared or file == self.paths.journal:
            try:
                self._pair(file).remove_journal()
            except OSError as error:
                raise self._dead(_failed(file, error)) from error

    def take_in(self, other: Manifest) -> None:
        """Merge what another version of this record knows, by the rule for two branches.

        :raises LedgerError: it could not be written
        """
        # A journal builds on the manifest's bytes, so it is folded before they change.
        self.fold()
        self._take_in_replacement()
        self._manifest.take_in(other)
        self._write()

    def use_parts(self) -> None:
        """Let the next run leave a split manifest."""
        self._in_parts = True

    def reshape(self, parts: int) -> bool:
        """Write the manifest in so many parts, or in one file (0); whether it was in another form.

        :raises LedgerError: it could not be written; each request's line is in the old form or the new one, or in both
        """
        self.fold()
        self._take_in_replacement()
        if self._header().parts == parts and not self._manifest.merged:
            return False
        self._manifest.reshape(parts)
        self._write()
        return True

    def _split_where_asked(self) -> None:
        """Where a run is to leave a split manifest, or a part has grown too large for 16: write it so."""
        parts = self._header().parts
        if self._in_parts and not parts:
            self.reshape(PARTS[0])
        if parts == PARTS[0] and largest_part(self.paths.real) > LARGE_PART:
            self.reshape(PARTS[1])

    def open_runs(self) -> tuple[OpenRun, ...]:
        """The runs that may have paid what is not on record, since their journal is not here."""
        return self._manifest.open_runs()

    def close_runs(self, resolutions: Iterable[ResolutionRecord]) -> None:
        """Record what a person decided about open runs.

        :raises LedgerError: it could not be written
        """
        # A journal builds on the manifest's bytes, so it is folded before they change.
        self.fold()
        self._take_in_replacement()
        for one in resolutions:
            self._manifest.resolutions.add(one)
            self._manifest.close_run(one.run or "")
        self._write()

    def _header(self) -> Header:
        header = self._manifest.header
        assert header is not None  # a writer has one
        return header

    def _replacement(self) -> ManifestFiles | None:
        """The manifest on the disk, where it is another one than was read; an empty one where it is gone.

        :raises UsageError: it can't be read
        """
        record = read_files(self._fs, self.paths) or ManifestFiles()
        try:
            same = record.digests == self._manifest.digests
        except OSError as error:
            raise UsageError(f"the manifest can't be read: {error.strerror or error}") from error
        return None if same else record

    def _take_in_replacement(self) -> None:
        """Merge the manifest on the disk, where it is another one than was read.

        :raises LedgerError: it is damaged, or another service's; the journal still holds everything
        :raises UsageError: it can't be read
        """
        found = self._replacement()
        if found is None:
            return
        if not found.size:  # where it is gone or empty, nothing is lost by writing it anew, all parts of it
            self._manifest.merged = self._manifest.merged or self._header().parts > 0
            return
        try:
            came = parse_record(self.paths, found, self._root)
            came.entries.settle("crash")
            self._manifest.take_in(came)
            if len(came.digests) > 1 or self._header().parts:
                self._manifest.digests, self._manifest.merged = came.digests, True
        except FindingsError as error:
            raise LedgerError(
                f"{self.paths.manifest.name} was changed while it was in use, and {error.diagnostics[0].message}",
                hint=f"{self.paths.journal.name} holds what was recorded: bring back the manifest that the command "
                "began with (`git stash`, or `git checkout`), then run the same command again",
            ) from error

    def _write(self) -> None:
        self._check_writable()
        try:
            self._written(self._pair().write_manifest(self._new_files()))
        except OSError as error:
            raise self._dead(_failed(self.paths.manifest, error)) from error

    def fold(self) -> None:
        """Write everything known into the manifest and remove the journal; open intents are in doubt (interrupted).

        What a pull or a checkout put in the manifest's place meanwhile is known, too, and is kept.

        :raises LedgerError: it could not be written; the journal still holds everything
        """
        self._check_writable()
        self._manifest.entries.settle("interrupted")
        commit, self._commit = self._commit, None
        try:
            if commit is not None or self._manifest.merged:
                self._take_in_replacement()
            if commit is not None and self._run is not None:
                self._manifest.close_run(self._run)
                self._intents = 0
            if commit is not None:
                new = self._new_files()
                self._written(self._pair().fold(new, self._seq, lambda line: commit.append_sync(lambda: line)))
                _log.info("%d records of the journal folded into %s", self._seq - 1, self.paths.manifest)
            elif self._manifest.merged and self._manifest.digest != journal.ABSENT:
                self._written(self._pair().write_manifest(self._new_files()))
        except OSError as error:
            raise self._dead(_failed(self.paths.manifest, error)) from error
        except LedgerError as error:
            raise self._dead(error) from error
        finally:
            if commit is not None:
                commit.close()

    def close(self) -> None:
        """Fold, unless the journal is dead (it then stays, and the next command folds it), and release the lock."""
        try:
            if self._lock is not None and self._failure is None and not (self._commit and self._commit.dead):
                # If a lock's file was replaced, another run may be at work, and a fold would undo what it wrote.
                self._check_places()
                self.fold()
                if self._run is not None and self.header is not None and self._manifest.digests:
                    self._split_where_asked()
        finally:
            if self._commit is not None:
                self._commit.close()
                self._commit = None
            if self._journal_lock is not None:
                self._journal_lock.release()
            if self._lock is not None:
                self._lock.release()
                _log.info("%s released", self.paths.lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _log_event(self, event: Event) -> None:
        if _log.isEnabledFor(logging.INFO):
            entry = self.entries.find(event.key)
            names = ("generation", "task_id", "request_id", "doubt", "detail", "reason", "resolution", "error")
            facts = [f"{name} {value}" for name in names if (value := getattr(event, name, None))]
            address = event.key if entry is None else entry.address
            _log.info("%s", ", ".join([f"recorded: {address} is {type(event).__name__.lower()}", *facts]))

    def _next(self, what: Event | PlanRecord) -> bytes:
        if isinstance(what, Intended) and self._run is not None:
            what = replace(what, run=self._run)
        # ``apply`` raises for an illegal event, so the number is taken only after it.
        line = journal.record(self._seq, encode(what))
        apply(self._manifest, what)
        self._seq += 1
        return line

    def _started(self) -> GroupCommit:
        """The journal, which begins with the first record: the manifest it builds on is durable before it."""
        commit = self._commit
        if commit is not None:
            return commit
        self._check_writable()
        with self._starting:
            if self._commit is None:
                # A pull may have brought a manifest in which this run's requests are paid already.
                if self._replacement() is not None:
                    raise LedgerError(
                        f"{self.paths.manifest.name} was changed after it was read, by git or by hand",
                        hint="run the same command again: it goes on from what is recorded now",
                    )
                try:
                    self._commit = self._begin()
                except OSError as error:
                    raise self._dead(_failed(self._journal, error)) from error
            return self._commit

    def _begin(self) -> GroupCommit:
        # A run that pays marks the manifest, so that a lost journal is noticed. Other commands pay nothing.
        marked = self._run is not None and self._intents > 0
        if not marked:
            self.ensure_created()
        # A run's mark changes the first file alone, and a fold the same files that the journal builds on: whatever a
        # crash leaves of several, each is known by its digest.
        split = self._header().parts or len(self._manifest.digests) > 1
        if split and (self._manifest.merged or self._manifest.dirty):
            self._write()
        header = self._header()
        first = partial(
            journal.JournalHeader,
            manifest=header.id,
            before=self._manifest.digest,
            file=str(self.paths.real),
            path="" if self.paths.shared is None else self.paths.within,
            job=header.job,
            origin=header.origin,
        )
        if marked:
            assert self._run is not None
            self._lock_journal("run")
            opened = OpenRun(id=self._run, intents=self._intents, since=self._now)
            self._manifest.header = replace(header, runs=(*header.runs, opened))
            descriptor, digests = self._pair().begin_marked(
                self._new_files(), lambda digests: first(run=opened.id, **_base(digests))
            )
            self._written(digests)
            self._moved = False
        else:
            descriptor = self._pair().begin_journal(first(**_base(self._manifest.digests)))
        self._seq = 1
        return GroupCommit(self._fs, descriptor, self._journal.name)

    def _check_writable(self) -> None:
        if self._failure is not None:
            raise LedgerError(self._failure.message, hint=self._failure.hint)
        if self._lock is None:
            raise LedgerError(f"{self.paths.manifest.name} is open for reading only")

    def _dead(self, failure: LedgerError) -> LedgerError:
        self._failure = failure
        return failure


def _base(digests: Mapping[str, str]) -> dict[str, Any]:
    """What the first record of a journal says of the manifest that it builds on."""
    return {"base": digest_of(digests), "parts": dict(digests) if len(digests) > 1 else {}}


def _binds(entry: Entry) -> bool:
    return any(
        STATE_RULES[one.state].spent or one.task_id is not None or one.cost_usd is not None for one in entry.attempts
    )


def run_open(run: OpenRun, paths: LedgerPaths) -> Diagnostic:
    """The warning about a run that the manifest calls open, and whose journal is not here."""
    name = paths.manifest.name.removesuffix(MANIFEST_SUFFIX) + ".yaml"
    job = shell_word(os.path.relpath(paths.manifest.with_name(name)))
    requests = "1 request" if run.intents == 1 else f"{run.intents:,} requests"
    return Diagnostic(
        code="run-open",
        severity="warning",
        message=f"a run that began at {iso(run.since)} may have paid up to {requests} that are not on record: its "
        "journal is not here",
        path=str(paths.manifest),
        hint=f"bring the journal from the machine or clone of that run: seedream-jobs resolve {job} --journal FILE (in "
        f"its git folder: {SHARED}/*.journal); without it: seedream-jobs resolve {job} --run --not-charged or "
        "--abandon, with --reason",
    )


def _elsewhere_note(refusal: HeldError | InDoubtError, paths: LedgerPaths) -> Diagnostic:
    return Diagnostic(
        code="journal-elsewhere",
        severity="warning",
        message=refusal.message,
        path=str(paths.manifest),
        hint=refusal.hint,
    )


def _failed(path: Path, error: OSError) -> LedgerError:
    return LedgerError(
        f"{path.name} could not be written: {error.strerror or error}",
        hint="make room or repair the disk, then run the same command again: it goes on from what was recorded",
    )


def other_origin(manifest: Path, asked: str) -> HeldError:
    """The refusal of a record that was written against another service than is asked now.

    :param asked: the origin that the operator's options or environment name, or the default one
    """
    # The record came with the tree: its address is not shown as one to send the key to.
    return HeldError(
        f"{manifest.name} was written against another service than {asked}, which is asked now",
        hint="its first line names that service: if you know it as yours, set APIMART_BASE_URL to it; if not, see who "
        f"wrote the line (git log -- {shell_word(manifest.name)}). To submit the job to {asked}, give its file "
        "another name",
    )


# Reading manifest and journal together ------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Loaded:
    """A record as it is on the disk.

    :param file: the journal that is hot: it has something that the manifest does not hold
    :param hot: what it says
    :param done: journals that hold nothing more: they are folded, or never began
    :param elsewhere: why nothing may be recorded here: the journal's manifest is at another place, or gone
    :param folded: the parts of the manifest that hold the hot journal already
    """

    manifest: Manifest
    file: Path | None = None
    hot: journal.Contents | None = None
    done: list[Path] = field(default_factory=list)
    elsewhere: HeldError | InDoubtError | None = None
    folded: frozenset[str] = frozenset()


def load(paths: LedgerPaths, fs: FileSystem, root: Path, *, apart_from: Path | None = None) -> Loaded:
    """Manifest and journal of one moment, while a run may be folding the one into the other.

    :param root: the campaign's root, out of which no recorded path may lead
    :param apart_from: a journal that is left alone
    :raises FindingsError: one of them is damaged, they do not belong together, or the journal came with a commit
    :raises UsageError: one of them can't be read
    :raises LedgerError: they keep changing
    """
    for _ in range(_LOOKS):
        record = read_files(fs, paths)
        manifest = parse_record(paths, record, root)
        files = [path for path in _journals(paths, manifest.header) if path != apart_from]
        found = [(path, hot) for path in files if (hot := read_file(fs, path))]
        if paths.shared is not None and any(path == paths.journal for path, _ in found) and is_tracked(paths.journal):
            raise FindingsError([journal.tracked(str(paths.journal))])
        # Otherwise a run folded in between: the journal just read is in the new manifest already.
        if _version(record) == _version(read_files(fs, paths)):
            return _loaded(paths, manifest, found)
    raise LedgerError(f"{paths.manifest.name} keeps changing", hint="try again in a moment")


def parse_record(paths: LedgerPaths, record: ManifestFiles | None, root: Path) -> Manifest:
    """What the manifest's bytes say.

    :raises FindingsError: it is damaged
    :raises UsageError: it can't be read
    """
    if record is None:
        return Manifest()
    try:
        return read_manifest(record, str(paths.manifest), folder=_folder(paths, root))
    except OSError as error:
        raise UsageError(f"{paths.manifest} can't be read: {error.strerror or error}") from error


def _journals(paths: LedgerPaths, header: Header | None) -> list[Path]:
    if paths.shared is None:
        return [paths.journal]
    if header is not None:
        return [paths.journal, *(paths.at(known) for known in (header.id, *header.other_ids))]
    return [paths.journal, *(path for path, header in left_behind(paths.shared) if header.path == paths.within)]


def left_behind(shared: Path) -> list[tuple[Path, journal.JournalHeader]]:
    """The journals in a repository, each with its header."""
    found = []
    for path in sorted(shared.glob("*.journal")):
        try:
            first = journal.read_header(DISK.snapshot(path))
        except OSError:  # a run has just folded it
            continue
        if first is not None:
            found.append((path, first))
    return found


def _loaded(paths: LedgerPaths, manifest: Manifest, found: list[tuple[Path, Snapshot]]) -> Loaded:
    """What the journals have that the manifest does not hold."""
    loaded, present = Loaded(manifest=manifest), manifest.digest
    for path, snapshot in found:
        try:
            contents = journal.read_journal(snapshot, str(path))
        except OSError as error:
            raise UsageError(f"{path} can't be read: {error.strerror or error}") from error
        if contents is None or (contents.folded and contents.folded[-1] == present):
            loaded.done.append(path)
            continue
        header = contents.header
        if not contents.records and present in (header.before, journal.ABSENT):
            loaded.done.append(path)  # nothing was announced in it
            continue
        if paths.shared is not None and path.parent == paths.shared:
            there = _other_place(paths, paths.shared, header, present)
            if there is not None:
                if manifest.header is not None:
                    loaded.elsewhere = _at_another_place(there, path)
                continue
        if manifest.header is None and path != paths.journal:
            # Only the journal of a first run holds all that its manifest did.
            if header.before != journal.ABSENT:
                loaded.elsewhere = _gone(paths, path)
                continue
            manifest.header = Header(id=header.manifest, job=header.job, origin=header.origin)
        ids = () if manifest.header is None else (manifest.header.id, *manifest.header.other_ids)
        folded = contents.parts_folded(manifest.digests)
        known = present in (header.base, header.before) or folded is not None
        if not (known and loaded.hot is None and header.manifest in ids):
            raise FindingsError([journal.foreign(str(path), paths.manifest.name, header.base)])
        if contents.torn:
            manifest.notes.append(journal.torn(str(path), contents))
        loaded.file, loaded.hot, loaded.folded = path, contents, folded or frozenset()
    return loaded


def _other_place(paths: LedgerPaths, shared: Path, header: journal.JournalHeader, present: str) -> Path | None:
    """Where the manifest of a journal in the git folder still is, if that is not here."""
    known = [Path(header.file)] if header.file else []
    if present != header.base and Path(header.file) != paths.real:  # the repository may have been moved since
        known += [top / header.path for top in worktrees(shared.parent)]
    for there in known:
        if there == paths.real:
            return None
        if header.manifest in ids_of(there):  # also where this whole repository is a copy of that one
            return there
    return None


def ids_of(manifest: Path) -> tuple[str, ...]:
    """The ids of a manifest on the disk; none where there is no such file."""
    try:
        return ids_in(DISK.snapshot(Path(os.path.realpath(manifest))))
    except OSError:
        return ()


def _at_another_place(there: Path, path: Path) -> HeldError:
    return HeldError(
        f"an interrupted run of this record is to be finished where it began: {there}",
        hint=f"seedream-jobs fetch {shell_word(there)}; then the same command again here. Where this is to be a record "
        f"of its own: seedream-jobs resolve JOB --journal {shell_word(path)}",
    )


def _gone(paths: LedgerPaths, path: Path) -> InDoubtError:
    return InDoubtError(
        f"{paths.manifest.name} is gone, and a run of it was interrupted: what both hold would be paid again",
        hint=f"bring the record back (`git restore {shell_word(paths.manifest.name)}`, `git stash pop`, or from the "
        f"branch that has it); without it: seedream-jobs resolve JOB --journal {shell_word(path)}",
    )


def _version(record: ManifestFiles | None) -> object:
    return None if record is None else record.version


def read_files(fs: FileSystem, paths: LedgerPaths) -> ManifestFiles | None:
    """The manifest's files as they are now, None where there is none.

    :raises UsageError: one of them can't be read
    """
    try:
        return find_files(fs, paths.real)
    except OSError as error:
        file = error.filename or paths.manifest
        raise UsageError(f"{file} can't be read: {error.strerror or error}") from error


def read_file(fs: FileSystem, path: Path) -> Snapshot | None:
    """The file as it is now, None where there is none.

    :raises UsageError: it can't be read
    """
    try:
        return fs.snapshot(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from error


def _folder(paths: LedgerPaths, root: Path) -> PurePosixPath:
    folder, top = paths.manifest.parent.resolve(), root.resolve()
    return PurePosixPath(folder.relative_to(top).as_posix()) if folder.is_relative_to(top) else PurePosixPath()


def _note_older(paths: LedgerPaths, manifest: Manifest) -> None:
    """Warn where this machine has seen the manifest written more often than it says."""
    header = manifest.header
    if header is None:
        return
    seen = max(_seen(paths.serial_of(one)) for one in (header.id, *header.other_ids))
    if manifest.written < seen:
        manifest.notes.append(
            Diagnostic(
                code="manifest-older",
                severity="warning",
                message=f"{paths.manifest.name} is an older version: it was written {manifest.written} times, "
                f"and this machine has seen it written {seen} times",
                path=str(paths.manifest),
                hint="what was paid since is not in it, and would be paid again: bring the newer one back, or merge it "
                "(another branch or stash has it, or: git log --all -- FILE)",
            )
        )


def _remember(paths: LedgerPaths, manifest: Manifest) -> None:
    """Note how often the manifest was written, for ``_note_older``. Where that fails, nothing is told later."""
    path = None if manifest.header is None else paths.serial_of(manifest.header.id)
    if path is not None and manifest.written > _seen(path):
        with contextlib.suppress(OSError):
            write_whole(path, [b"%d\n" % manifest.written])


def _seen(path: Path | None) -> int:
    try:
        said = "" if path is None else read_regular(path, 64).decode("ascii").strip()
    except (OSError, ValueError):
        return 0
    return int(said) if said.isdecimal() and len(said) < 16 else 0


def under_way(paths: LedgerPaths) -> HeldError:
    """The refusal of a reader while a run is under way whose journal builds on the manifest of before."""
    return HeldError(
        f"{paths.manifest.name} was changed, by git or by hand, while a run is under way",
        hint="wait until it has ended: it merges the two",
    )
