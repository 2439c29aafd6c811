"""This module keeps the record of one shard, a share of a job's requests that one of several machines fetches.

Called by ``fetch --shard``, which writes ``K-of-N.jsonl``, and by ``collect``, which merges such files into the
manifest. A file has a first line that names record and shard, a manifest's line for each request each time it changes,
and a last line once the shard came to its end; a torn end is cut off. Invariant: the manifest is only read here, and a
shard's record adds no request and no submission to it: only what became of those that it has, by the rule for branches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

from seedream_jobs.atomic_file import DISK, Snapshot, refusal, write_all
from seedream_jobs.diagnostics import Diagnostic, error_at
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.inside import OutsideRoot, check_no_link
from seedream_jobs.ledger.codec import Malformed, canonical, decode, encode, parse_checked, seal
from seedream_jobs.ledger.journal import GroupCommit
from seedream_jobs.ledger.ledger import Ledger, other_origin
from seedream_jobs.ledger.lock import FileLock, lock_file
from seedream_jobs.ledger.manifest import Entries, Manifest, apply, read_entry
from seedream_jobs.ledger.merge import join
from seedream_jobs.ledger.paths import LedgerPaths, check_link, prepare
from seedream_jobs.ledger.state import Attempt, Count, Entry, Event, Identifier, PlanRecord, State

MOST_SHARDS = 100_000
_SHARD = re.compile(r"([0-9]{1,6}|auto)(?:/([0-9]{1,6}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Shard:
    """A share of a job's requests, by their keys: the same ones on every machine and at every time.

    :param number: from 1
    :param count: how many there are
    """

    count: Count
    number: Count

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def file_name(self) -> str:
        """The name of its record."""
        return f"{self.number}-of-{self.count}.jsonl"

    def has(self, key: str) -> bool:
        """Whether a request is in this share."""
        return int(key.rpartition(":")[2][:15], 16) % self.count == self.number - 1


# -- which shard this is -----------------------------------------------------------------------------------------------


def find_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """Read ``K/N``; or ``auto``, as the system says that started this process; or ``auto/N`` where it says only K.

    :raises UsageError: for anything else, and where the environment does not say it
    """
    match = _SHARD.fullmatch(text.strip())
    if match is None or (match[1] != "auto" and match[2] is None):
        raise UsageError(f"'{text}' is not a shard", hint="write K/N with K from 1 to N, such as 2/8, or auto")
    count = None if match[2] is None else int(match[2])
    number = int(match[1]) if match[1] != "auto" else 0
    if match[1] == "auto":
        number, said = _of_system(environment)
        if said is not None and count not in (None, said):
            raise UsageError(
                f"the environment counts {said} shards, and --shard {text} says {count}",
                hint="to repeat one of them, name it: --shard K/N",
            )
        count = count or said
    if count is None:
        raise UsageError(
            "Kubernetes does not say how many shards there are", hint="name their number: --shard auto/N (completions)"
        )
    if not 1 <= number <= count <= MOST_SHARDS:
        raise UsageError(f"there is no shard {number}/{count}", hint=f"K goes from 1 to N, and N to {MOST_SHARDS:,}")
    return Shard(number=number, count=count)


def _of_system(environment: Mapping[str, str]) -> tuple[int, int | None]:
    """This shard's number from 1, and how many there are, where the system says so."""
    systems = [name for name in ("JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID", "CI_NODE_INDEX") if name in environment]
    if len(systems) != 1:
        which = " and ".join(systems) if systems else "none of JOB_COMPLETION_INDEX, SLURM_ARRAY_TASK_ID, CI_NODE_INDEX"
        raise UsageError(f"--shard auto: {which} is set", hint="name the shard: --shard K/N")

    def number(name: str) -> int:
        text = environment.get(name, "")
        if not text.isdecimal() or len(text) > 9:
            raise UsageError(f"--shard auto: {name} is no number", hint="name the shard: --shard K/N")
        return int(text)

    match systems[0]:
        case "JOB_COMPLETION_INDEX":  # Kubernetes counts from 0
            return number("JOB_COMPLETION_INDEX") + 1, None
        case "CI_NODE_INDEX":  # GitLab counts from 1
            return number("CI_NODE_INDEX"), number("CI_NODE_TOTAL")
    # Slurm counts as --array says.
    first, last, count = (number(f"SLURM_ARRAY_TASK_{name}") for name in ("MIN", "MAX", "COUNT"))
    step = (last - first) // (count - 1) if count > 1 else 1
    at = number("SLURM_ARRAY_TASK_ID") - first
    if step < 1 or first + step * (count - 1) != last or at < 0 or at % step:
        raise UsageError("--shard auto: the array has gaps", hint="name the shard: --shard K/N")
    return at // step + 1, count


# -- its record --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardHeader:
    """The first line: whose record it is.

    :param manifest: the id of the manifest
    :param base: digest of the manifest's bytes that it builds on
    """

    manifest: Identifier
    origin: str
    base: str
    shard: Count
    of: Count


@dataclass(slots=True, kw_only=True)
class ShardRecord:
    """What the bytes of a shard's record say.

    :param lines: of requests, each with its number in the file
    :param size: how many bytes are whole lines, the last one (``ended``) left out
    """

    path: str
    shard: Shard
    header: ShardHeader
    lines: list[tuple[int, bytes]] = field(default_factory=list)
    size: int = 0
    ended: bool = False


def read_shard(file: Path) -> ShardRecord | None:
    """What a shard's record says, its lines not decoded yet; None where a crash left less than its first line.

    :raises FindingsError: it is damaged, or none
    :raises UsageError: it can't be read
    """
    found: ShardRecord | None = None
    for number, line, end in _lines(_snapshot(file)):
        try:
            raw, sealed = parse_checked(line)
            if not sealed:
                raise Malformed("it has no checksum")
            if found is None:
                header = decode(ShardHeader, raw, "the first line")
                shard = Shard(number=header.shard, count=header.of)
                if not header.shard <= header.of <= MOST_SHARDS:
                    raise Malformed(f"there is no shard {shard}")
                found = ShardRecord(path=str(file), shard=shard, header=header, size=end)
                continue
            found.ended = "lines" in raw
            if not found.ended:
                found.lines.append((number, line))
                found.size = end
            elif raw["lines"] != len(found.lines):
                raise Malformed("lines are missing before it")
        except Malformed as problem:
            raise FindingsError([_damaged(str(file), number, str(problem))]) from None
    return found


def _snapshot(file: Path) -> Snapshot:
    try:
        return DISK.snapshot(file)
    except OSError as error:
        hint = "name the files that fetch --shard wrote, or their folder"
        raise UsageError(f"{file} can't be read: {error.strerror or error}", hint=hint) from error


def _lines(snapshot: Snapshot) -> Iterator[tuple[int, bytes, int]]:
    """Number, text and end of each whole line."""
    number = end = 0
    for piece in snapshot.pieces():
        for line in BytesIO(piece):  # splits at newlines only
            number, end = number + 1, end + len(line)
            if line.endswith(b"\n"):
                yield number, line[:-1], end


class ShardLedger(Ledger):
    """What one shard knows of a record: its own requests. What is recorded is appended to the shard's file.

    Others may fetch further shards of the record meanwhile; a run, or a fetch of all of it, may not begin.
    """

    def __init__(self, paths: LedgerPaths, manifest: Manifest, root: Path, lock: FileLock) -> None:
        super().__init__(paths, manifest, DISK, lock, root)
        self._own_lock: FileLock | None = None
        self._file = paths.manifest
        self._count = 0

    @property
    def file(self) -> Path:
        return self._file

    @classmethod
    def open_shard(
        cls, paths: LedgerPaths, shard: Shard, folder: Path, *, root: Path, origin: str, command: str, now: int
    ) -> ShardLedger:
        """Read the record, and go on with the shard's file, or begin it.

        :param folder: of the shards' records
        :param origin: the service's
        :param now: Unix seconds
        :raises HeldError: a run or another fetch works on the record, or on this shard; or it is another service's
        :raises UsageError: another record's file is in the way
        :raises LedgerError: the files can't be written
        """
        check_link(paths)
        file = folder / shard.file_name
        try:
            prepare(paths)
            check_no_link(folder)
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise refusal(error, folder) from error
        lock = lock_file(paths.lock, command=command, now=now, shared=True)
        try:
            seen = Ledger.peek(paths, root=root)
            if seen.header is not None and seen.header.origin != origin:
                raise other_origin(paths.manifest, origin)
            ledger = cls(paths, seen._manifest, root, lock)
            ledger.entries.keep(shard.has)
            ledger._own_lock = lock_file(file.with_suffix(".lock"), command=command, now=now)
            try:
                ledger._begin_shard(shard, file)
            except BaseException:
                ledger._own_lock.release()
                raise
        except BaseException:
            lock.release()
            raise
        return ledger

    def _begin_shard(self, shard: Shard, file: Path) -> None:
        self._file, header = file, self._header()
        first = ShardHeader(
            manifest=header.id,
            origin=header.origin,
            base=self._manifest.digest,
            shard=shard.number,
            of=shard.count,
        )
        try:
            left = read_shard(file) if file.exists() or file.is_symlink() else None
            if left is not None and (left.header.manifest, left.shard) != (header.id, shard):
                raise UsageError(
                    f"{file} is the record of shard {left.shard} of another job",
                    hint="remove it, or name another folder: --records DIR",
                )
            # On a manifest that was written since, the file would say what is known already, or no longer true.
            if left is not None and left.header.base != first.base:
                left = None
            for entry in () if left is None else _checked(left, self):
                self.entries.put(join(self.entries[entry.key], entry))
        except FindingsError as error:
            raise UsageError(
                f"{file} is no whole record of a shard: {error.diagnostics[0].message}",
                hint="remove it: the shard is fetched again, and images that are there already are kept",
            ) from error
        try:
            if left is not None:
                descriptor = DISK.append(file)
                DISK.truncate(descriptor, left.size)
                self._count = len(left.lines)
            else:
                descriptor = DISK.create(file)
                write_all(DISK, descriptor, seal(canonical(encode(first))) + b"\n")
                DISK.sync(descriptor)
                DISK.sync_folder(file.parent)
        except OSError as error:
            raise refusal(error, file) from error
        self._commit = GroupCommit(DISK, descriptor, file.name)

    def _next(self, what: Event | PlanRecord) -> bytes:
        assert isinstance(what, Event)  # no plan is applied by a fetch
        apply(self._manifest, what)
        self._count += 1
        line = self.entries.line(what.key)
        assert line is not None  # no intent is recorded either
        return line + b"\n"

    def end(self) -> None:
        """Record that the shard came to its end."""
        self._started().append_sync(lambda: seal(canonical({"lines": self._count})) + b"\n")

    def close(self) -> None:
        """Release the shard; the manifest is left as it is."""
        if self._commit is not None:
            self._commit.close()
            self._commit = None
        for lock in (self._own_lock, self._lock):
            if lock is not None:
                lock.release()
        self._lock = self._own_lock = None


# -- the way back ------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Collected:
    """What became of the records of shards.

    :param records: how many there were
    :param states: how many requests are in another state, or have other images, than before; by the state
    :param missing: warnings: a shard has no record, or its record ends early
    """

    records: int = 0
    states: dict[State, int] = field(default_factory=dict)
    missing: list[Diagnostic] = field(default_factory=list)


def collect(ledger: Ledger, files: Sequence[Path], *, job: str, option: str = "") -> Collected:
    """Merge the records of shards into a record: any number of times, in any order.

    :param ledger: locked
    :param job: as the user named it, and ``option`` that a further command needs, for hints
    :raises FindingsError: a record is damaged, another job's, or says what no fetch does; nothing is merged then
    :raises UsageError: a file can't be read
    """
    records: list[ShardRecord] = []
    findings: list[Diagnostic] = []
    for file in files:
        try:
            if (found := read_shard(file)) is not None:
                records.append(found)
        except FindingsError as error:
            findings += error.diagnostics
    made = Entries()
    for found in records:
        try:
            _check_header(found, records[0], ledger)
            for entry in _checked(found, ledger):
                known = made.find(entry.key) or ledger.entries[entry.key]
                labelled = replace(entry, address=known.address, cell=known.cell, output=known.output)
                made.put(join(known, labelled))
        except FindingsError as error:
            findings += error.diagnostics
    if findings:
        raise FindingsError(findings)
    collected = Collected(records=len(records), missing=list(_missing(records, job, option)))
    made.keep(lambda key: made.line(key) != ledger.entries.line(key))
    for key in made:
        state = made[key].state
        collected.states[state] = collected.states.get(state, 0) + 1
    if made:
        ledger.take_in(Manifest(entries=made))
    return collected


_LOOK = "see where the file comes from; a shard that is fetched again writes a new one"
_FETCHED = (State.COMPLETED, State.STORED, State.FAILED, State.EXPIRED)
"""What a fetch makes of a request that was accepted."""


def _checked(found: ShardRecord, ledger: Ledger) -> Iterator[Entry]:
    """The requests in a shard's record; the last line of each counts.

    :raises FindingsError: a line is none, or says what no fetch of this shard can have found
    """
    for number, line in found.lines:
        try:
            raw, _ = parse_checked(line)
            # Whoever wrote the file can have computed its checksums: no line is trusted.
            entry = read_entry(raw, ledger.folder, sealed=False)
            why = _claim(entry, ledger.entries.find(entry.key), found.shard)
        except Malformed as problem:
            raise FindingsError([_damaged(found.path, number, str(problem))]) from None
        except OutsideRoot as problem:
            why = f"the path {str(problem)!r} leads out of the campaign's root"
        if why is not None:
            raise FindingsError([error_at("shard-claim", why, found.path, number, _LOOK)])
        yield entry


def _check_header(found: ShardRecord, first: ShardRecord, ledger: Ledger) -> None:
    header = ledger.header
    assert header is not None  # a writer has one
    if found.header.manifest not in (header.id, *header.other_ids) or found.header.origin != header.origin:
        message, hint = f"it is of another record than {ledger.paths.manifest.name}", "name the job that it is of"
    elif found.shard.count != first.shard.count:
        message = f"it is shard {found.shard}, and {first.path} is shard {first.shard}"
        hint = "collect the shards of one division at a time"
    else:
        return
    raise FindingsError([error_at("shard-foreign", message, found.path, 1, hint)])


def _claim(entry: Entry, known: Entry | None, shard: Shard) -> str | None:
    """What a line says that no fetch of this shard can have found; None where it says nothing of the kind."""
    if not shard.has(entry.key):
        return f"{entry.address} is not in shard {shard}"
    if known is None:
        return f"{entry.address} is not on record"
    if entry.max_images != known.max_images:
        return f"{entry.address} could have {entry.max_images} images, and has {known.max_images} on record"
    before = {_submission(attempt): attempt.state for attempt in known.attempts}
    for attempt in entry.attempts:
        state = before.get(_submission(attempt))
        if state is None:
            return f"a submission of {entry.address} is not on record ({attempt.task_id or 'no task id'})"
        if attempt.state is not state and not (attempt.state in _FETCHED and state in (State.ACCEPTED, *_FETCHED)):
            return f"{entry.address} was {state} and is said to be {attempt.state}"
    return None


def _submission(attempt: Attempt) -> tuple[object, ...]:
    return (
        attempt.generation,
        attempt.submitted_at,
        attempt.run,
        attempt.task_ids,
        attempt.idempotency_key,
        attempt.max_cost_usd,
    )


def _missing(records: Iterable[ShardRecord], job: str, option: str) -> Iterator[Diagnostic]:
    """The warnings that a shard has no record, or one that ends early."""
    known: dict[Shard, bool] = {}
    for found in records:
        known[found.shard] = known.get(found.shard, False) or found.ended
    for count in {shard.count for shard in known}:
        for number in range(1, count + 1):
            shard = Shard(number=number, count=count)
            if not known.get(shard):
                early = "ends early: it was interrupted, or is still being written" if shard in known else "is missing"
                yield Diagnostic(
                    code="shard-missing",
                    severity="warning",
                    message=f"the record of shard {shard} {early}",
                    path=shard.file_name,
                    hint=f"seedream-jobs fetch {shell_word(job)}{option} --shard {shard}, then collect again",
                )


def _damaged(path: str, number: int, why: str) -> Diagnostic:
    hint = "remove the file and fetch the shard again: images that are there already are kept"
    return error_at("shard-damaged", f"line {number} is damaged: {why}", path, number, hint)
