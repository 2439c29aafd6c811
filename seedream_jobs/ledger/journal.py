"""This module reads and writes the journal: one checksummed JSON line for each event of a run.

Called by the ledger and by ``resolve``. A record is ``{"crc":"xxxxxxxx",…,"seq":N}`` and a newline; ``seq`` counts from
0 without a gap. Record 0 (``JournalHeader``) binds the journal to a manifest. A ``fold`` record names the digest of the
manifest that already holds everything before it. Invariants: nobody hears that a record is durable before its fsync has
returned; of a last line without its newline, a good one is kept and a torn one is cut off and told; a bad checksum
before a newline is damage, refused with its byte offset, never guessed.
"""

from __future__ import annotations

import contextlib
import errno
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from seedream_jobs.atomic_file import FileSystem, Snapshot, write_all, write_together
from seedream_jobs.diagnostics import Diagnostic, Span, shorten
from seedream_jobs.errors import FindingsError, LedgerError
from seedream_jobs.ledger.codec import (
    Json,
    Malformed,
    canonical,
    decode,
    file_name,
    is_sealed,
    mapping,
    parse,
    seal,
    unsealed,
)
from seedream_jobs.ledger.parts import FIRST, NewFiles, digest_of, file_of
from seedream_jobs.ledger.state import Identifier

if TYPE_CHECKING:
    import anyio  # 60 ms to import, and only those who record need it

VERSION = 1

ABSENT = "none"
"""The digest of a manifest that does not exist yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalHeader:
    """Record 0: whose journal it is. A journal of an older version says no more than ``manifest`` and ``base``.

    :param manifest: the id of the manifest it belongs to
    :param base: digest of the manifest's bytes it builds on
    :param before: digest of the manifest before it said that the run is open; nothing else differs from ``base``
    :param file: the manifest's absolute path when the run began: the journal still counts once that is moved or gone
    :param path: its path in the repository
    :param job: the job file's name
    :param origin: of the service
    :param run: the id by which the manifest says that the run is open
    :param parts: of a split manifest, the digest of each of its files that ``base`` is made of
    """

    manifest: Identifier
    base: str
    before: str = ""
    file: str = ""
    path: str = ""
    job: str = ""
    origin: str = ""
    run: str = ""
    parts: Mapping[str, Any] = field(default_factory=dict)


_HEADER = tuple(one.name for one in fields(JournalHeader))
_DIGEST = re.compile("none|sha256:[0-9a-f]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a journal's bytes say.

    :param path: the file's name, for findings
    :param records: every event and plan in order, without ``crc`` and ``seq``; read again each time
    :param folded: digests of manifests that hold what came before, the last one last
    :param parts: of split ones, the digest of each file
    :param size: how many bytes are whole records
    :param torn: how many bytes after them are a torn record
    :param complete: whether the last record has its newline
    """

    path: str
    header: JournalHeader
    records: Records
    folded: tuple[str, ...]
    parts: tuple[Mapping[str, Any], ...]
    size: int
    torn: int
    complete: bool

    def parts_folded(self, present: Mapping[str, str]) -> frozenset[str] | None:
        """Of a split manifest that a crash left folded in part: the files that hold what came before.

        :param present: the digest of each file on the disk
        :return: None where a file is neither what the journal builds on nor what a fold made of it
        """
        known, after = self.header.parts, self.parts
        if not after or present.keys() != known.keys():
            return None
        folded = frozenset(name for name, digest in present.items() if any(digest == one.get(name) for one in after))
        return folded if all(name in folded or known[name] == digest for name, digest in present.items()) else None

    @property
    def next_seq(self) -> int:
        """How many records the journal holds, its header included."""
        return 1 + len(self.records) + len(self.folded)


class Records:
    """The events and plans in a journal that was found good: a run's can be larger than memory.

    :param size: how many bytes are whole records
    :param count: how many records those are, the header and ``fold`` records left out
    """

    def __init__(self, journal: Snapshot, size: int, count: int) -> None:
        self._journal, self._size, self._count = journal, size, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Json]:
        return (body for _, _, body in self.placed())

    def placed(self) -> Iterator[tuple[int, int, Json]]:
        """Each with the number of its line, from 1, and its byte offset."""
        for number, (offset, line) in enumerate(_lines(self._journal), 1):
            if offset and offset < self._size:
                body = _checked(line.removesuffix(b"\n"))
                if body is None:
                    raise OSError(errno.EIO, "the journal was changed while it was being read")
                if "fold" not in body:
                    del body["seq"]
                    yield number, offset, body


def record(seq: int, body: Json) -> bytes:
    """One line of the journal."""
    return seal(canonical({**body, "seq": seq})) + b"\n"


def header_line(header: JournalHeader) -> bytes:
    """Record 0."""
    return record(0, {"journal": VERSION, **{name: value for name in _HEADER if (value := getattr(header, name))}})


def read_header(journal: Snapshot) -> JournalHeader | None:
    """What record 0 says; None where a crash left less than that, or it is damaged."""
    for _, line in _lines(journal):
        try:
            first = _checked(line.removesuffix(b"\n"))
            return None if first is None or "manifest" not in first else _header(first)
        except Malformed:
            return None
    return None


def _header(first: Json) -> JournalHeader:
    """:raises Malformed: a field is not what it must be"""
    # Unknown fields are left alone: a later version may say more.
    known = {name: first[name] for name in _HEADER if name in first}
    header = decode(JournalHeader, known, "the journal's first record")
    for name in ("base", "before"):
        if known.get(name) and _DIGEST.fullmatch(known[name]) is None:
            raise Malformed(f"'{name}' must be 'none', or 'sha256:' and hex digits")
    if header.path and (header.path.startswith("/") or ".." in header.path.split("/")):
        raise Malformed("'path' must be a path in the repository")
    if "\0" in header.file + header.path:
        raise Malformed("a path in it is none")
    if header.job:
        file_name("job", header.job)
    return header


def read_journal(journal: bytes | Snapshot, path: str) -> Contents | None:
    """What the journal says; None where a crash left less than its header, so that nothing was ever announced in it.

    :param path: the file's name, for findings
    :raises FindingsError: damage, with its byte offset, or a journal of another version
    :raises OSError: it can't be read
    """
    snapshot = Snapshot(journal) if isinstance(journal, bytes) else journal
    first: Json = {}
    folded: list[str] = []
    parts: list[Json] = []
    count, size, complete = 0, 0, True
    for offset, line in _lines(snapshot):
        complete = line.endswith(b"\n")
        try:
            body = _checked(line[:-1] if complete else line)
            if body is None:
                # A whole record with another byte where its newline belongs is damage, not a torn end.
                if not complete and _checked(line[:-1]) is None:
                    complete = True
                    break  # torn: the beginning of a record, and nothing after it
                raise Malformed("its checksum does not match")
            if type(seq := body.pop("seq", None)) is not int or seq != count:
                raise Malformed("a record is missing before it")
            if type(body.get("fold", "")) is not str:
                raise Malformed("'fold' must be a string")
            if "fold" in body and "parts" in body:
                parts.append(mapping("parts", body["parts"]))
        except Malformed as problem:
            raise FindingsError([damaged(path, count + 1, offset, str(problem))]) from None
        first = first or body
        if "fold" in body:
            folded.append(body["fold"])
        count, size = count + 1, offset + len(line)
    if not count:
        return None
    if first.get("journal") != VERSION:
        raise _unreadable_version(path, first.get("journal"))
    try:
        header = _header(first)
    except Malformed as problem:
        raise FindingsError([damaged(path, 1, 0, str(problem))]) from None
    return Contents(
        path=path,
        header=header,
        records=Records(snapshot, size, count - 1 - len(folded)),
        folded=tuple(folded),
        parts=tuple(parts),
        size=size,
        torn=snapshot.size - size,
        complete=complete,
    )


def _lines(journal: Snapshot) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of each, with its newline; only the last one may lack that."""
    offset = 0
    for piece in journal.pieces():
        for line in BytesIO(piece):  # splits at newlines only
            yield offset, line
            offset += len(line)


def _checked(line: bytes) -> Json | None:
    """The record without its crc, or None where the checksum is not that of the line.

    :raises Malformed: somebody gave a checksum to what is no record
    """
    return parse(unsealed(line)) if is_sealed(line) else None


# What is wrong with a journal ---------------------------------------------------------------------------------------


def torn(path: str, contents: Contents) -> Diagnostic:
    """The warning that a crash tore the last record, which was therefore never announced."""
    return Diagnostic(
        code="journal-torn",
        severity="warning",
        message=f"the journal ends in {contents.torn} bytes of a torn record, which are cut off",
        path=path,
        span=Span.of_line(contents.next_seq + 1, offset=contents.size),
        hint="nothing to do: a crash came between the write and the sync, so that nothing was sent on its account",
    )


def foreign(path: str, manifest: str, base: str) -> Diagnostic:
    """The finding that the journal builds on another manifest, or on another version of it."""
    return Diagnostic(
        code="journal-foreign",
        severity="error",
        message=f"the journal of an interrupted run builds on another version of {manifest} ({base})",
        path=path,
        hint="bring that version back (`git stash`, or `git checkout` of the commit the run began on), run `fetch` to "
        f"fold the journal into it, then merge; or merge the journal into this one: resolve JOB --journal {path}",
    )


def tracked(path: str) -> Diagnostic:
    """The finding that a journal beside its manifest is in git: whoever made the commit wrote it, not a run here."""
    return Diagnostic(
        code="journal-tracked",
        severity="error",
        message="git tracks this journal: it came with a commit, and may claim or forget what was paid",
        path=path,
        hint="see who committed it (`git log -- FILE`), then git rm it; where a run of yours left it, merge it "
        f"into the record before: resolve JOB --journal {path}",
    )


def damaged(path: str, line: int, offset: int, why: str) -> Diagnostic:
    """The finding that a record is none, or has no place where it stands."""
    return Diagnostic(
        code="journal-damaged",
        severity="error",
        message=f"the journal is damaged at byte {offset} (record {line}): {why}",
        path=path,
        span=Span.of_line(line, offset=offset),
        hint="restore the file from a backup; without one, keep a copy of it, look up the task ids it holds "
        "after that byte, cut it there, and settle what is then in doubt with `resolve`",
    )


def _unreadable_version(path: str, version: object) -> FindingsError:
    return FindingsError(
        [
            Diagnostic(
                code="journal-version",
                severity="error",
                message=f"the journal has format {shorten(repr(version))}, this program reads {VERSION}",
                path=path,
                hint="finish the interrupted run with the version of seedream-jobs that began it",
            )
        ]
    )


# Writing ------------------------------------------------------------------------------------------------------------


class Pair:
    """Manifest and journal of one record. Every method raises ``OSError`` where the disk refuses; the lock is held.

    :param manifest: where its bytes are, links followed
    """

    def __init__(self, fs: FileSystem, manifest: Path, journal: Path) -> None:
        self._fs, self._manifest, self._journal = fs, manifest, journal

    def begin_journal(self, header: JournalHeader) -> int:
        """Make a new journal, durable with its header. Returns its descriptor, open for appending."""
        descriptor = self._fs.create(self._journal)
        try:
            self._append(descriptor, header_line(header))
            # Otherwise a power cut could take away the journal's name, with every record in it.
            self._fs.sync_folder(self._journal.parent)
        except OSError:
            self._fs.close(descriptor)
            raise
        return descriptor

    def begin_marked(
        self, new: NewFiles, header: Callable[[Mapping[str, str]], JournalHeader]
    ) -> tuple[int, Mapping[str, str]]:
        """Write a manifest that says that a run is open, and begin the journal that builds on it.

        :param header: from the digests of that manifest's files to the journal's record 0
        :return: the journal's descriptor, open for appending, and the digests
        """
        begun: list[int] = []
        try:
            # The journal is made before the manifest takes its name: a mark without a journal would be a lost run.
            digests = self.write_manifest(new, lambda digests: begun.append(self.begin_journal(header(digests))))
        except BaseException:
            for descriptor in begun:
                self._fs.close(descriptor)
            raise
        return begun[0], digests

    def write_manifest(
        self, new: NewFiles, announce: Callable[[Mapping[str, str]], None] = lambda digests: None
    ) -> Mapping[str, str]:
        """Write a manifest's files in the place of the old ones, each whole or not at all. Returns their digests.

        The manifest itself comes after its parts, and what is no part any more goes after that: whatever a crash
        leaves, each request's line is in some file.

        :param announce: gets the digests once the bytes are durable, before any takes an old file's name
        """
        sums = {name: sha256() for name in new.files}

        def summing(name: str) -> Iterator[bytes]:
            for chunk in new.files[name]:
                sums[name].update(chunk)
                yield chunk

        def digests() -> Mapping[str, str]:
            return {**new.kept, **{name: f"sha256:{found.hexdigest()}" for name, found in sums.items()}}

        files = {file_of(self._manifest, name): summing(name) for name in new.files}
        write_together(files, fs=self._fs, announce=lambda: announce(digests()))
        gone = [file_of(self._manifest, name) for name in new.removed]
        for file in gone:
            self._fs.remove(file)
        if gone:
            self._fs.sync_folder(gone[0].parent)
        return digests()

    def fold(self, new: NewFiles, seq: int, append: Callable[[bytes], None]) -> Mapping[str, str]:
        """Write everything known into the manifest and remove the journal. Returns the digests of its files.

        :param seq: the ``fold`` record's number in the journal
        :param append: makes a record durable in the journal
        """

        def announce(digests: Mapping[str, str]) -> None:
            parts = {} if digests.keys() <= {FIRST} else {"parts": dict(digests)}
            append(record(seq, {"fold": digest_of(digests), **parts}))

        # The fold record stands in the journal before a file has its name: whatever a crash leaves, the next command
        # sees which files hold the journal already.
        digests = self.write_manifest(new, announce)
        self.remove_journal()
        return digests

    def fold_left_behind(self, contents: Contents, new: NewFiles) -> Mapping[str, str]:
        """As ``fold``, for a journal that a crash left; its torn end is cut off."""
        descriptor = self._fs.append(self._journal)
        try:
            if contents.torn:
                self._fs.truncate(descriptor, contents.size)
            if not contents.complete:
                write_all(self._fs, descriptor, b"\n")
            return self.fold(new, contents.next_seq, lambda record: self._append(descriptor, record))
        finally:
            self._fs.close(descriptor)

    def remove_journal(self) -> None:
        """Remove a journal that is folded, or never began."""
        self._fs.remove(self._journal)
        self._fs.sync_folder(self._journal.parent)

    def _append(self, descriptor: int, record: bytes) -> None:
        write_all(self._fs, descriptor, record)
        self._fs.sync(descriptor)


Wake = Callable[[], None]


class _Batch:
    """The records that share one write and one fsync, and who waits for them."""

    __slots__ = ("done", "error", "events", "records")

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.done: threading.Event | None = None  # where somebody waits who runs on no event loop
        self.error: OSError | None = None
        self.events: dict[int, tuple[anyio.Event, Wake]] = {}


class GroupCommit:
    """Appends records to an open journal: one thread makes them durable, many wait for it.

    Whatever gathered while the last sync ran is written with one write and one fsync. Any error is final: after a
    failed fsync the kernel may have dropped the pages, so that a second fsync would confirm what is lost (PostgreSQL's
    "fsyncgate", 2018). The journal then takes nothing more, and every caller gets the error.

    :param descriptor: the journal, open for appending; closed by ``close``
    :param name: the journal's name, for messages
    """

    def __init__(self, fs: FileSystem, descriptor: int, name: str) -> None:
        self._fs = fs
        self._descriptor = descriptor
        self._name = name
        self._lock = threading.Lock()
        self._begun: SimpleQueue[None] = SimpleQueue()  # one for each batch: a condition would wake the thread twice
        self._gathering = _Batch()
        self._closing = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    async def append(self, make: Callable[[], bytes]) -> None:
        """Return once the record is durable. A cancellation waits for that too: a record is never half-announced.

        :param make: called with the journal locked, so that sequence numbers follow the order of the file
        :raises LedgerError: it could not be made durable, now or for an earlier record
        """
        import anyio

        loop, wake = _current_loop()
        with self._lock:
            batch = self._add(make)
            waiting = batch.events.get(id(loop))
            if waiting is None:  # one event for all that wait on one loop: it is woken once
                event = anyio.Event()
                batch.events[id(loop)] = (event, lambda: wake(event.set))
            else:
                event = waiting[0]
        with anyio.CancelScope(shield=True):
            await event.wait()
        self._check(batch)

    def append_sync(self, *make: Callable[[], bytes]) -> None:
        """As ``append``, for code that runs on no event loop; several records wait for one sync."""
        with self._lock:
            for one in make:
                batch = self._add(one)
            done = batch.done = batch.done or threading.Event()
        done.wait()
        self._check(batch)

    def close(self) -> None:
        """Make what was appended durable, end the thread, close the file."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._begun.put(None)
        self._thread.join()
        with contextlib.suppress(OSError):  # everything that was announced is synced
            self._fs.close(self._descriptor)

    @property
    def dead(self) -> bool:
        """Whether a write or an fsync has failed: nothing is taken any more."""
        return self._error is not None

    def _add(self, make: Callable[[], bytes]) -> _Batch:
        if self._error is not None:
            raise self._failure(self._error)
        if self._closing:
            raise LedgerError(f"{self._name} is closed")
        batch = self._gathering
        # An illegal event raises in ``make``: then nothing is appended.
        batch.records.append(make())
        if len(batch.records) == 1:
            self._begun.put(None)
        return batch

    def _check(self, batch: _Batch) -> None:
        if batch.error is not None:
            raise self._failure(batch.error) from batch.error

    def _failure(self, error: OSError) -> LedgerError:
        return LedgerError(
            f"{self._name} could not be written: {error.strerror or error}",
            hint="make room or repair the disk, then run the same command again: it goes on from what was recorded",
        )

    def _run(self) -> None:
        while True:
            self._begun.get()
            with self._lock:
                batch, self._gathering = self._gathering, _Batch()
            # Each batch has one wake-up of its own, so an empty one comes from ``close``: all is written.
            if not batch.records:
                return
            error = self._commit(batch)
            if error is None:
                self._finish(batch, None)
                continue
            with self._lock:
                self._error = error
                late, self._gathering = self._gathering, _Batch()
            self._finish(batch, error)
            self._finish(late, error)
            return

    def _commit(self, batch: _Batch) -> OSError | None:
        try:
            write_all(self._fs, self._descriptor, b"".join(batch.records))
            self._fs.sync(self._descriptor)
        except OSError as error:
            return error
        except Exception as error:  # whatever it is, those who wait must hear of it
            return OSError(f"{type(error).__name__}: {error}")
        return None

    @staticmethod
    def _finish(batch: _Batch, error: OSError | None) -> None:
        batch.error = error
        if batch.done is not None:
            batch.done.set()
        for _, wake in batch.events.values():
            with contextlib.suppress(RuntimeError):  # that event loop has ended: nobody waits there any more
                wake()


def _current_loop() -> tuple[object, Callable[[Callable[[], None]], Any]]:
    """The running event loop (asyncio's or trio's), and how another thread calls something on it."""
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        lowlevel = sys.modules["trio"].lowlevel  # under trio it is imported; the project does not depend on it
        token = lowlevel.current_trio_token()
        return token, token.run_sync_soon
    return loop, loop.call_soon_threadsafe
