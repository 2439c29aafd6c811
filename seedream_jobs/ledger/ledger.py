"""The ledger of one job: manifest, journal and lock as one thing that is read, recorded to and folded.

A reader (``Ledger.peek``) overlays a hot journal in memory and writes nothing. A writer (``Ledger.open``) holds the
lock, folds a hot journal first, appends events to a new one, and folds that when it ends (``folding``). What git or an
editor does to the manifest meanwhile is looked for before the first record, and before the fold (``replaced``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import FindingsError, HeldError, LedgerError, UsageError
from seedream_jobs.ledger import journal
from seedream_jobs.ledger.entries import Brief, Entries
from seedream_jobs.ledger.filesystem import FileSystem, RealFileSystem
from seedream_jobs.ledger.folding import Pair
from seedream_jobs.ledger.loading import digest_or_absent, load, read_file, read_together
from seedream_jobs.ledger.lock import Lock, acquire, in_use, who_holds
from seedream_jobs.ledger.manifest import Manifest
from seedream_jobs.ledger.overlay import apply, body_of
from seedream_jobs.ledger.paths import LedgerPaths, prepare
from seedream_jobs.ledger.records import Header, PlanRecord, ResolutionRecord
from seedream_jobs.ledger.replaced import hold_unchanged, take_in_replacement, under_way
from seedream_jobs.ledger.snapshot import Snapshot
from seedream_jobs.ledger.state import Earlier, Entry, Event, Intended
from seedream_jobs.ledger.steps import HEAD

if TYPE_CHECKING:
    import logging

    from seedream_jobs.ledger.commit import GroupCommit


_INFO = 20  # logging.INFO, which a plan does not import


class Ledger:
    """What is known of a job's requests. Made by ``peek`` or ``open``."""

    def __init__(
        self,
        paths: LedgerPaths,
        manifest: Manifest,
        record: Snapshot | None,
        fs: FileSystem,
        lock: Lock | None,
        root: Path,
        run: str | None = None,
    ) -> None:
        self.paths = paths
        self._run = run
        self._root = root
        self._manifest = manifest
        self._record = record
        self._base: str | None = journal.ABSENT if record is None else None  # digest of the manifest, once asked for
        self._fs, self._pair = fs, Pair(fs, paths)
        self._lock = lock
        self.held_by: str | None = None
        self._owns_lock = True
        self._log: logging.Logger | None = None
        self._moved = False  # to another origin than the one on the disk
        self._commit: GroupCommit | None = None
        self._starting = threading.Lock()
        self._seq = 0
        self._failure: LedgerError | None = None

    @classmethod
    def peek(cls, paths: LedgerPaths, *, root: Path, fs: FileSystem | None = None) -> Ledger:
        """What is known, without writing anything; also while a run is under way: ``held_by`` then names it.

        :param root: the campaign's root, out of which no recorded path may lead
        :raises FindingsError: the manifest or the journal is damaged
        :raises HeldError: the manifest was replaced under a run
        """
        disk = RealFileSystem() if fs is None else fs
        busy = in_use(paths.lock)
        record, hot = read_together(paths, disk)
        busy = busy or in_use(paths.lock)  # the run may have ended, or begun, while its files were read
        try:
            manifest, contents = load(paths, record, hot, root)
        except FindingsError as error:
            if busy and error.diagnostics[0].code == "journal-foreign":
                raise under_way(paths) from error
            raise
        if contents is not None:
            _overlay(manifest, contents.records, paths.journal)
        if busy:
            manifest.notes = [note for note in manifest.notes if note.code != "journal-torn"]  # it is being written
        else:
            manifest.entries.settle("crash")
        ledger = cls(paths, manifest, record, disk, None, root)
        ledger.held_by = who_holds(paths.lock) if busy else None
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
        lock: Lock | None = None,
        run: str | None = None,
    ) -> Ledger:
        """Take the lock, fold what a crash left, and be ready to record.

        :param job: the job file's name, for a new manifest
        :param origin: the service's origin; None for a command that speaks to none and only settles what is known
        :param new_id: makes the id of a new manifest (``m-…``)
        :param root: the campaign's root, out of which no recorded path may lead
        :param command: what to tell the one who comes second
        :param now: Unix seconds
        :param lock: a lock already held (``lock.acquire_all``); the caller releases it
        :param run: a random token, which what is submitted bears: see ``Entry.run``
        :raises HeldError: another run holds the lock, or the manifest was written against another origin
        :raises FindingsError: the manifest or the journal is damaged
        :raises LedgerError: the files can't be written
        :raises UsageError: there is no manifest and no origin to make one for
        """
        disk = RealFileSystem() if fs is None else fs
        try:
            prepare(paths)
        except OSError as error:
            raise _failed(paths.manifest, error) from error
        held = acquire(paths.lock, command=command, now=now) if lock is None else lock
        try:
            ledger = cls._opened(paths, disk, held, job=job, origin=origin, new_id=new_id, root=root, run=run)
        except BaseException:
            if lock is None:
                held.release()
            raise
        ledger._owns_lock = lock is None
        import logging  # only for those who record: a plan starts without it

        ledger._log = logging.getLogger(__name__)
        ledger._step("%s locked, %d requests on record", paths.lock, len(ledger.entries))
        return ledger

    @classmethod
    def _opened(
        cls,
        paths: LedgerPaths,
        disk: FileSystem,
        lock: Lock,
        *,
        job: str,
        origin: str | None,
        new_id: Callable[[], str],
        root: Path,
        run: str | None,
    ) -> Ledger:
        record, hot = read_file(disk, paths.manifest, apart=True), read_file(disk, paths.journal)
        manifest, contents = load(paths, record, hot, root, scratch=paths.manifest.parent)
        ledger = cls(paths, manifest, record, disk, lock, root, run)
        if manifest.header is None:
            if origin is None:
                raise UsageError(f"there is no {paths.manifest.name}", hint="nothing was submitted for this job yet")
            manifest.header = Header(id=new_id(), job=job, origin=origin)
        elif origin is not None and origin != manifest.header.origin:
            if contents is not None or ledger.tied:
                raise _other_origin(paths, manifest.header.origin, origin)
            manifest.header = replace(manifest.header, origin=origin)
            ledger._moved = True
        ledger._honour(hot, contents)
        return ledger

    def _honour(self, hot: Snapshot | None, contents: journal.Contents | None) -> None:
        """Fold what a crash left in the journal, or remove a journal that is folded or never began."""
        try:
            if contents is not None:
                apply(self._manifest, contents.records)
                self._manifest.entries.settle("crash")
                self._written(self._pair.fold_left_behind(contents, self._chunks()))
            elif hot is not None:
                self._pair.remove_journal()
            self._manifest.entries.settle("crash")
        except OSError as error:
            raise self._dead(_failed(self.paths.journal, error)) from error

    def _chunks(self) -> Iterator[bytes]:
        """The manifest as it is about to be written."""
        header = self._manifest.header
        assert header is not None  # a writer has one
        self._manifest.header = replace(header, serial=header.serial + 1)
        return self._manifest.chunks()

    def _written(self, digest: str) -> None:
        """The manifest on the disk is what is known."""
        self._base = digest
        self._manifest.merged = False

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
    def entries(self) -> Entries:
        """Everything known, by request key; live."""
        return self._manifest.entries

    def brief(self, key: str) -> Brief | None:
        """State and generation of a request, None for one the ledger does not know; cheap."""
        return self._manifest.entries.brief(key)

    @property
    def plans(self) -> Mapping[str, PlanRecord]:
        """The plans that were used, by id."""
        return self._manifest.plans

    @property
    def resolutions(self) -> tuple[ResolutionRecord, ...]:
        """What people decided, in order of time."""
        return tuple(sorted(self._manifest.resolutions, key=lambda one: (one.at, one.key, one.resolution, one.reason)))

    @property
    def notes(self) -> tuple[Diagnostic, ...]:
        """Warnings about what was read: a torn record cut off, a request paid for on two branches."""
        return tuple(self._manifest.notes)

    async def record(self, event: Event) -> None:
        """Return once the event is durable. Not cancelled half-way: once called, the event is recorded.

        :raises IllegalEvent: the event has no place in the request's state; nothing is recorded
        :raises LedgerError: it could not be made durable; the ledger takes nothing more
        """
        await self._started().append(lambda: self._next(event))
        self._tell(event)

    def record_sync(self, event: Event) -> None:
        """As ``record``, for code that runs on no event loop."""
        self._started().append_sync(lambda: self._next(event))
        self._tell(event)

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
        self._alive()
        if self._base == journal.ABSENT or self._moved:
            try:
                self._written(self._pair.write_manifest(self._chunks()))
                self._moved = False
            except OSError as error:
                raise self._dead(_failed(self.paths.manifest, error)) from error

    def fold(self) -> None:
        """Write everything known into the manifest and remove the journal; open intents are in doubt (interrupted).

        What a pull or a checkout put in the manifest's place meanwhile is known, too, and is kept.

        :raises LedgerError: it could not be written; the journal still holds everything
        """
        self._alive()
        self._manifest.entries.settle("interrupted")
        commit, self._commit = self._commit, None
        try:
            if commit is not None or self._manifest.merged:
                known = self._known_digest()
                take_in_replacement(self._fs, self.paths, known, self._manifest, root=self._root)
            if commit is not None:
                chunks = self._chunks()
                self._written(self._pair.fold(chunks, self._seq, lambda line: commit.append_sync(lambda: line)))
                self._step("%d records of the journal folded into %s", self._seq - 1, self.paths.manifest)
            elif self._manifest.merged and self._base != journal.ABSENT:
                self._written(self._pair.write_manifest(self._chunks()))
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
                self.fold()
        finally:
            if self._commit is not None:
                self._commit.close()
                self._commit = None
            if self._lock is not None and self._owns_lock:
                self._lock.release()
                self._step("%s released", self.paths.lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _step(self, words: str, *facts: object) -> None:
        if self._log is not None:
            self._log.info(words, *facts)

    def _tell(self, event: Event) -> None:
        """Log an event that is durable."""
        if self._log is not None and self._log.isEnabledFor(_INFO):
            entry = self.entries.find(event.key)
            names = ("generation", "task_id", "request_id", "doubt", "detail", "reason", "resolution", "error")
            facts = [f"{name} {value}" for name in names if (value := getattr(event, name, None))]
            address = event.key if entry is None else entry.address
            self._log.info("%s", ", ".join([f"recorded: {address} is {type(event).__name__.lower()}", *facts]))

    def _next(self, what: Event | PlanRecord) -> bytes:
        """The next record's line, called in the order of the file. An illegal event raises before anything changes."""
        if isinstance(what, Intended) and self._run is not None:
            what = replace(what, run=self._run)
        line = journal.record(self._seq, body_of(what))
        apply(self._manifest, (what,))
        self._seq += 1
        return line

    def _started(self) -> GroupCommit:
        """The journal, begun with the first record: the manifest it builds on is durable before it."""
        commit = self._commit
        if commit is not None:
            return commit
        self._alive()
        with self._starting:
            if self._commit is None:
                hold_unchanged(self._fs, self.paths, self._known_digest())
                self.ensure_created()
                try:
                    self._commit = self._begin()
                except OSError as error:
                    raise self._dead(_failed(self.paths.journal, error)) from error
            return self._commit

    def _begin(self) -> GroupCommit:
        from seedream_jobs.ledger.commit import GroupCommit  # anyio: only for those who record

        descriptor = self._pair.begin_journal(self.id, self._known_digest())
        self._seq = 1
        return GroupCommit(self._fs, descriptor, self.paths.journal.name)

    def _known_digest(self) -> str:
        """The digest of the manifest that this one was read from, or last written to."""
        if self._base is None:
            self._base = digest_or_absent(self._record)
        return self._base

    def _alive(self) -> None:
        if self._failure is not None:
            raise LedgerError(self._failure.message, hint=self._failure.hint)
        if self._lock is None:
            raise LedgerError(f"{self.paths.manifest.name} is open for reading only")

    def _dead(self, failure: LedgerError) -> LedgerError:
        self._failure = failure
        return failure


def _binds(entry: Entry) -> bool:
    submissions: tuple[Entry | Earlier, ...] = (entry, *entry.earlier)
    return any(HEAD[one.state].spent or one.task_id is not None or one.cost_usd is not None for one in submissions)


def _overlay(manifest: Manifest, records: journal.Records, path: Path) -> None:
    try:
        apply(manifest, records)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from error


def _failed(path: Path, error: OSError) -> LedgerError:
    return LedgerError(
        f"{path.name} could not be written: {error.strerror or error}",
        hint="make room or repair the disk, then run the same command again: it goes on from what was recorded",
    )


def _other_origin(paths: LedgerPaths, written: str, asked: str) -> HeldError:
    return HeldError(
        f"{paths.manifest.name} was written against {written}, not {asked}",
        hint=f"use --base-url {written}, or copy the job file under another name to submit it to {asked}",
    )
