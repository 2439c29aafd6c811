"""This module reads and writes the manifest, the record that is committed.

Called by the ledger and by reviews of two revisions. JSON Lines: a header, one line per request sorted by key, then
plans and resolutions; the requests of a large one lie in ``parts``. What git's ``merge=union`` makes of two of them (a
key twice, two headers, lines out of order) is read by the rule in ``merge``. Invariants: reading is strict, nothing is
guessed; one history gives the same bytes.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import sha256
from itertools import accumulate, chain, islice
from pathlib import PurePosixPath
from typing import TypeVar
from zlib import crc32

from seedream_jobs.atomic_file import Snapshot
from seedream_jobs.diagnostics import Diagnostic, Related, Span, error_at, shorten
from seedream_jobs.errors import FindingsError, LedgerError
from seedream_jobs.expand.identity import key_of, settled
from seedream_jobs.inside import OutsideRoot
from seedream_jobs.job.files import LFS_POINTER, within
from seedream_jobs.ledger.codec import (
    AFTER_SEAL,
    ENTRY_FIELDS,
    NEEDED_FIELDS,
    OPENED,
    SEAL,
    STATES,
    Json,
    Malformed,
    amount,
    canonical,
    check_raw,
    decode,
    decode_event,
    encode,
    is_sealed,
    iso,
    parse,
    parse_checked,
    seal,
)
from seedream_jobs.ledger.journal import Contents, damaged
from seedream_jobs.ledger.merge import in_order, join, join_headers, join_plans
from seedream_jobs.ledger.parts import FIRST, ManifestFiles, NewFiles, digest_of, part_names, part_of, shown_part
from seedream_jobs.ledger.state import (
    STATE_RULES,
    Completed,
    Doubt,
    Entry,
    Event,
    Header,
    Intended,
    OpenRun,
    PartHeader,
    PlanRecord,
    ResolutionRecord,
    Resolved,
    State,
    Stored,
    paid_twice,
    price_per_image,
)
from seedream_jobs.ledger.transitions import IllegalEvent, evolve, settle_open_intent
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles

T = TypeVar("T")

_BYTE_ORDER_MARK = "\ufeff".encode()
_UNSETTLED = (b'\\n"', b"\\r", b"\\ufeff", _BYTE_ORDER_MARK)
"""One of these stands in the line of a prompt that ends with a line break, or holds a carriage return or a byte order
mark."""
_SUBMITTED = b'"submitted_at":"'
_TRUSTED = ENTRY_FIELDS - {"earlier"}

EntrySummary = tuple[State, int]
"""State and generation."""

LARGE = 64 << 20
"""Bytes of a manifest from which its lines stay on the disk: a million of them take a gibibyte of memory."""
_INDEX = 20
"""Bits of a line's place that say which summary it has."""
_INDEX_MASK = (1 << _INDEX) - 1
_AT_ONCE = 1 << 18
"""Bytes that are read together of lines that are looked at in their order."""
_KEY_AT, _GENERATION_AT, _STATE_AT = b'"key":"v1:', b'"generation":', b'"state":"'
_KEY_SIZE = len("v1:") + 64
_QUOTE = ord('"')
_NOT_PLAIN = (b"..", b"\\", b':"/', b'"earlier":')
"""What a line has none of whose key and state may be read without taking it apart."""
_BRIEF = re.compile(rb'"generation":([1-9]\d?),.*"state":"([a-z_]+)","submitted_at":"(\d{4}-\d\d-\d\d)')


def _are_plain(lines: bytes, count: int, key: bytes) -> bool:
    if lines.count(key) != count or any(mark in lines for mark in _NOT_PLAIN):
        return False
    return b"\xef" not in lines or _BYTE_ORDER_MARK not in lines  # one byte is found much faster than three


class Entries(Mapping[str, Entry]):
    """What is known of each request, by its key.

    An entry in flight is kept as it is, every other one as its line in the manifest with its state and generation: each
    look takes the line apart anew (about 30 µs). Of a large manifest the line's place is kept in its stead, as a
    number. A line that bears its checksum was written by this program: its fields are trusted, but no path in it. Who
    goes through the entries sees the keys there were at the start: a run records new requests meanwhile.
    """

    def __init__(
        self,
        path: str = "",
        place_of: Callable[[str], tuple[str, int]] | None = None,
        record: ManifestFiles | None = None,
    ) -> None:
        """
        :param path: of the manifest, for findings
        :param place_of: the path and the line that name a key
        :param record: where lines stay that are only kept by their place
        """
        self._path, self._place_of = path, place_of
        self._files = [] if record is None else list(record.files.values())
        self.starts: list[int] = [0, *accumulate(file.size for file in self._files)]  # of each file, as if all were one
        self._window = (0, b"")  # where it begins, and the bytes that were read last
        self.changed: set[str] = set[str]()
        """The parts, named by two digits, of the requests that were put since the manifest was read or written."""
        self._known: dict[str, tuple[bytes, EntrySummary] | int] = {}
        self._briefs: list[tuple[EntrySummary, str]] = []  # with the day of the submission
        self._brief_of: dict[object, int] = {}
        self._open: dict[str, Entry] = {}
        self._summaries: dict[EntrySummary, EntrySummary] = {}  # a hundred thousand entries share a few
        self._escaped: set[str] = set()  # keys of lines in which a prompt may hold what is settled today
        self._former: dict[str, str] | None = None

    def __getitem__(self, key: str) -> Entry:
        found = self.find(key)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._known))

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: object) -> bool:
        return key in self._known

    def find(self, key: str) -> Entry | None:
        """The entry, or None for a request the ledger does not know."""
        entry = self._open.get(key)
        if entry is not None:
            return entry
        known = self._known.get(key)
        return None if known is None else self.entry_in(self._line(key, known))

    def summary(self, key: str) -> EntrySummary | None:
        """State and generation without taking the line apart: what a plan asks for every request."""
        known = self._known.get(key)
        if isinstance(known, int):  # a plan asks for every request
            return self._briefs[known & _INDEX_MASK][0]
        return None if known is None else known[1]

    def _summary(self, known: tuple[bytes, EntrySummary] | int) -> EntrySummary:
        return self._briefs[known & _INDEX_MASK][0] if isinstance(known, int) else known[1]

    def _line(self, key: str, known: tuple[bytes, EntrySummary] | int) -> bytes:
        """:raises LedgerError: somebody wrote into the file that it stands in"""
        if not isinstance(known, int):
            return known[0]
        line = self._line_at(known >> _INDEX)
        if not is_sealed(line) or b'"key":"%s"' % key.encode() not in line:
            raise LedgerError(
                f"{self._path} was written over while it was in use",
                hint="bring back the manifest that the command began with (git checkout), then run the same command "
                "again: what was recorded is in the journal",
            )
        return line

    def _line_at(self, place: int) -> bytes:
        begin, window = self._window
        at = place - begin
        end = window.find(b"\n", at) if 0 <= at < len(window) else -1
        if end < 0:
            # Who goes through a file in its order gets much at once, who looks a line up little.
            size, number = _AT_ONCE if 0 < at <= len(window) else 4096, bisect_right(self.starts, place) - 1
            while True:
                window, at = self._files[number].read(place - self.starts[number], size), 0
                end = window.find(b"\n")
                if end >= 0 or len(window) < size:
                    break
                size *= 4
            self._window = (place, window)
        return window[at : len(window) if end < 0 else end]

    def keys_in(self, *states: State) -> list[str]:
        """The keys of the requests in one of these states; no line is taken apart."""
        # Most states are those of no request: a million are not looked through for them.
        if not any(state in states for state, _ in (*self._summaries, *(summary for summary, _ in self._briefs))):
            return []
        return [key for key, known in list(self._known.items()) if self._summary(known)[0] in states]

    def put(self, entry: Entry) -> None:
        """Keep what is known now."""
        self.changed.add(part_of(entry.key, 2))
        if entry.state is State.INTENT:
            self._open[entry.key] = entry
            self._keep(entry.key, b"", entry.state, entry.generation)
        else:
            self._keep(entry.key, seal(canonical(encode(entry))), entry.state, entry.generation)
            self._open.pop(entry.key, None)

    def put_line(self, line: bytes, raw: Json) -> bool:
        """Keep a line whose checksum is good, if that is all it takes.

        :param raw: the line taken apart
        :return: False for a line that has to be decoded: of a request that is known already, one with a history, one
            with a path that may lead out of the campaign, or one whose fields are not those of an entry
        """
        fields = raw.keys()
        key, generation, named = raw.get("key"), raw.get("generation"), raw.get("state")
        if not (fields <= _TRUSTED and fields >= NEEDED_FIELDS) or type(key) is not str or type(named) is not str:
            return False
        state = STATES.get(named)
        if state is None or key in self._known or type(generation) is not int or generation < 1:
            return False
        if b".." in line or b"\\" in line or b':"/' in line:  # without those no path leads out of a folder
            return False
        self._keep(key, line, state, generation)
        return True

    def put_places(self, piece: bytes, place: int, part: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Keep the places of those lines that have a good checksum and are read without taking them apart.

        :param part: how the digits of their keys must begin
        :return: number from 0, place and text of each line that may be read otherwise, or has a path that may lead out
            of the campaign
        """
        # What stands once in a line is the entry's own: in texts quotes have a backslash before them. Behind the key
        # comes no other state than the entry's, and between its generation and the key no other generation. This
        # loop is a third of the time in which a million requests are planned, so it calls no function of ours.
        lines = piece.removesuffix(b"\n").split(b"\n")
        keys = [line.find(_KEY_AT) for line in lines]
        key = _KEY_AT + part
        plain = -1 not in keys and _are_plain(piece, len(lines), key)  # each has one, so none has two
        known, briefs = self._known, self._brief_of
        for number, (line, at) in enumerate(zip(lines, keys, strict=True)):
            written, state = line.rfind(_GENERATION_AT, 0, at), line.rfind(_STATE_AT)
            brief = line[written : written + 16] + line[state : line.find(b"T", state)]
            index = briefs.get(brief)
            if index is None:
                index = self._brief(brief)
            name = line[at + 7 : at + 7 + _KEY_SIZE].decode("latin-1")
            if (
                (plain or _are_plain(line, 1, key))
                and 0 <= written < at < state
                and index <= _INDEX_MASK
                # ``is_sealed``
                and line[len(SEAL) : AFTER_SEAL] == b'%08x",' % crc32(line[AFTER_SEAL:], OPENED)
                and line.startswith(SEAL)
                and line[at + 7 + _KEY_SIZE] == _QUOTE
                and name not in known
            ):
                known[name] = place << _INDEX | index
            elif line:
                yield number, place, line
            place += len(line) + 1

    def _brief(self, brief: bytes) -> int:
        """The index of a state with its generation and its day; one that is too large where they are not as usual."""
        found = _BRIEF.fullmatch(brief)
        state = None if found is None else STATES.get(found[2].decode())
        if found is None or state is None:
            return 1 << _INDEX
        index = self._brief_of[brief] = self._index((state, int(found[1])), found[3].decode())
        return index

    def put_long(self, entry: Entry, line: bytes, place: int) -> None:
        """Keep the place of a line that was decoded, and holds what ``put_place`` does not look at."""
        index = self._index(
            (entry.state, entry.generation), (iso(entry.submitted_at or 0)) if entry.submitted_at else ""
        )
        if index >> _INDEX or entry.earlier or not is_sealed(line):
            self.put(entry)
            return
        self._known[entry.key] = place << _INDEX | index
        if b"\\" in line or _BYTE_ORDER_MARK in line:
            self._escaped.add(entry.key)

    def _index(self, summary: EntrySummary, day: str) -> int:
        brief = (summary, day[:10])
        found = self._brief_of.setdefault(brief, len(self._briefs))
        if found == len(self._briefs):
            self._briefs.append(brief)
        return found

    def _keep(self, key: str, line: bytes, state: State, generation: int) -> None:
        summary = (state, generation)
        self._known[key] = (line, self._summaries.setdefault(summary, summary))
        if b"\\" in line or _BYTE_ORDER_MARK in line:
            self._escaped.add(key)
            self._former = None

    @property
    def former(self) -> Mapping[str, str]:
        """Of requests whose prompt was once sent with its line breaks as they were: today's key to the one on record.

        What was paid under such a key must not be paid again. Where several lead to one request, one that counts as
        spent is taken.
        """
        if self._former is None:
            found: dict[str, str] = {}
            # Sorted: which of several is taken must not depend on the order of the file.
            for line in filter(None, map(self.line, sorted(self._escaped))):
                if any(mark in line for mark in _UNSETTLED):
                    entry = self.entry_in(line)
                    today = _settled_key(entry)
                    if today is not None and (today not in found or STATE_RULES[entry.state].spent):
                        found[today] = entry.key
            self._former = found
        return self._former

    def entry_of(self, key: str) -> Entry | None:
        """The entry of a request, under its key or under its former one."""
        found = self.find(key)
        return self.find(self.former[key]) if found is None and key in self.former else found

    def line(self, key: str) -> bytes | None:
        """The line as it stands, None for an unknown request, and for one in flight."""
        known = self._known.get(key)
        return self._line(key, known) or None if known is not None else None

    def raw(self) -> Iterator[Json]:
        """Every entry as JSON, in a fifth of the time that decoding takes; those in flight come last."""
        for key in self:
            if line := self.line(key):
                raw = parse(line)
                try:
                    check_raw(raw)
                except Malformed:
                    self.entry_in(line)  # says what is wrong with a line that somebody else gave its checksum
                    raise
                yield raw
        # A copy: a run puts entries in flight and settles them meanwhile.
        yield from map(encode, list(self._open.values()))

    def submitted_day(self, key: str) -> str:
        """The day a request was submitted, ``YYYY-MM-DD``, empty if unknown."""
        # A plan asks it of every request that is done; parsing the line instead makes such a plan 17 % slower.
        known = self._known.get(key, (b"",))
        if isinstance(known, int):
            return self._briefs[known & _INDEX_MASK][1]
        line = known[0]
        at = line.rfind(_SUBMITTED)  # names are sorted: the entry's own comes after those of its "earlier"
        return "" if at < 0 else line[at + len(_SUBMITTED) : at + len(_SUBMITTED) + 10].decode("ascii", "replace")

    def shared_tasks(self) -> dict[str, list[str]]:
        """The addresses of requests that have one task, by its id: the service gave it to several submissions.

        An address stands twice where it was to two submissions of that request.
        """

        addresses = defaultdict[str, list[str]](list)
        for task, _, address in self.tasks():
            addresses[task].append(address)
        return {task: found for task, found in addresses.items() if len(found) > 1}

    def tasks(self) -> Iterator[tuple[str, str, str]]:
        """(task id, key, address) of every submission that has a task."""
        for raw in self.raw():
            for one in (raw, *raw.get("earlier", ())):
                for task in one.get("task_ids") or [one.get("task_id")]:
                    if task:
                        yield task, raw["key"], raw["address"]

    def prices(self) -> Iterator[tuple[str, Decimal]]:
        """(day of the submission, USD per image) of all that the service named a cost for."""
        for raw in self.raw():
            for one in (raw, *raw.get("earlier", ())):
                if "cost_usd" in one:
                    delivered = sum(1 for image in one.get("images", ()) if "error" not in image)
                    usd = price_per_image(amount("cost_usd", one["cost_usd"]), delivered, raw["max_images"])
                    if usd is not None:
                        yield one.get("submitted_at", "")[:10], usd

    def entry_in(self, line: bytes) -> Entry:
        """The entry in a line that was checked when it was read.

        :raises FindingsError: its checksum is good, and yet it is no entry: this program did not write it
        """
        raw = parse(line)
        raw.pop("crc", None)
        try:
            return decode(Entry, raw)
        except Malformed as problem:
            path, number = (self._path, 1) if self._place_of is None else self._place_of(str(raw.get("key")))
            message = f"line {number} is damaged: {problem}"
            raise FindingsError([error_at("manifest-damaged", message, path, number, _RESTORE)]) from None

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Forget all requests but some, by their keys."""
        for key in [key for key in self._known if not wanted(key)]:
            del self._known[key]
            self._open.pop(key, None)
            self._escaped.discard(key)
        self._former = None

    def settle(self, doubt: Doubt) -> None:
        """Put every open intent in doubt: no run is under way any more."""
        for entry in list(self._open.values()):
            self.put(settle_open_intent(entry, doubt))

    def keys_of(self, parts: Sequence[str]) -> dict[str, list[str]]:
        """The keys of the requests in each of some parts, sorted."""
        found: dict[str, list[str]] = {name: [] for name in parts}
        digits = len(parts[0]) if parts else 0
        for key in sorted(self._known) if parts else ():
            if (keys := found.get(part_of(key, digits))) is not None:
                keys.append(key)
        return found

    def lines(self, keys: Collection[str] | None = None) -> Iterator[bytes]:
        """The manifest's lines, sorted by key, each with its newline. No intent may be open.

        :param keys: of those that are asked for, sorted; all by default
        """
        assert not self._open  # settled before anything is written
        for key in sorted(self._known) if keys is None else keys:
            line = self._line(key, self._known[key])
            yield (line if line.startswith(SEAL) else seal(line)) + b"\n"  # older versions wrote no checksums


def read_entry(raw: Json, folder: PurePosixPath, *, sealed: bool) -> Entry:
    """The entry in a manifest's line, decoded in full.

    :param folder: of the manifest, relative to the campaign's root: no path may lead out of that
    :param sealed: it bears its checksum, so that its key was the digest of its request when it was written
    :raises Malformed: it is none
    :raises OutsideRoot: a path in it leads out of the campaign's root
    """
    entry = decode(Entry, raw)
    within(folder, entry.output)
    for attempt in entry.attempts:
        for image in attempt.images:
            if image.file is not None:
                within(folder, image.file)
    if not sealed:
        check_key(entry.key, entry.request, entry.repeat)
    return entry


def check_key(key: str, request: Mapping[str, object], repeat: int) -> None:
    """See that a key is the digest of its request: with another one the request would count as new, or another as paid.

    :raises Malformed: it is not
    """
    if key != _key_of(request, repeat, str(request.get("model", ""))):
        raise Malformed("its key is not that of its request: one of the two was changed")


def _settled_key(entry: Entry) -> str | None:
    """The key that an entry's request has today, where its prompt was not settled when it was sent; else None."""
    prompt = entry.request.get("prompt")
    if not isinstance(prompt, str) or (today := settled(prompt.replace("\ufeff", ""))) == prompt or not today:
        return None
    model = str(entry.request.get("model", DEFAULT_MODEL))
    return _key_of({**entry.request, "prompt": today}, entry.repeat, model)


def _key_of(request: Mapping[str, object], repeat: int, model: str) -> str | None:
    profile = profiles().get(model)
    try:
        return key_of(request, model if profile is None else profile.id, repeat)
    except (TypeError, ValueError):  # made by hand: such as a text where a number of images belongs
        return None


BOTH_FORMS = "manifest-both-forms"
_MARKERS = (b"<<<<<<< ", b"||||||| ", b"=======", b">>>>>>> ")
_MOST_FINDINGS = 20
_TOP = PurePosixPath()


@dataclass(slots=True, kw_only=True)
class Manifest:
    """What a manifest says.

    :param header: None only for one that does not exist yet
    :param digests: of the files it was read from, by part
    :param serials: how often each part was written
    :param merged: whether it held a key or a header twice, or elsewhere than it belongs, so that its canonical form
        differs from its bytes
    :param notes: warnings, such as a request paid for on two branches
    """

    header: Header | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    serials: dict[str, int] = field(default_factory=dict)
    entries: Entries = field(default_factory=Entries)
    plans: dict[str, PlanRecord] = field(default_factory=dict)
    resolutions: set[ResolutionRecord] = field(default_factory=set)
    merged: bool = False
    notes: list[Diagnostic] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Of the bytes it was read from, as a journal names them."""
        return digest_of(self.digests)

    @property
    def written(self) -> int:
        """How often it was written, its parts counted one by one: a part of before makes it less."""
        return 0 if self.header is None else self.header.serial + sum(self.serials.values())

    def close_run(self, run: str) -> None:
        """The header no longer says that this run is open: what it paid is on record."""
        if self.header is not None and run:
            runs = tuple(one for one in self.header.runs if one.id != run)
            closed = tuple(sorted({*self.header.closed, run})) if self.header.parts else ()
            self.header = replace(self.header, runs=runs, closed=closed)

    def reshape(self, parts: int) -> None:
        """Let it be written in so many parts, or in one file (0)."""
        assert self.header is not None
        runs = self.open_runs()
        # Until now a submission on record showed that its run is folded. In parts one of them can be, and another not.
        known = {*self.runs_on_record(), *self.header.closed} - {run.id for run in runs} if parts else set[str]()
        serial = self.written  # no part is counted any more
        self.header = replace(self.header, parts=parts, runs=runs, closed=tuple(sorted(known)), serial=serial)
        self.serials, self.merged = {}, True

    def put_plan(self, plan: PlanRecord) -> None:
        known = self.plans.get(plan.plan)
        self.plans[plan.plan] = plan if known is None else join_plans(known, plan)

    def open_runs(self) -> tuple[OpenRun, ...]:
        """The runs that may have paid what is not on record.

        Where something of a run is on record, all of it is: a journal is folded whole. Git may have merged the header
        of before.
        """
        if self.header is None or not self.header.runs:
            return ()
        if self.header.parts:  # a crash may have left some parts folded, and some not: those that are closed are named
            return self.header.runs
        on_record = self.runs_on_record()
        return tuple(run for run in self.header.runs if run.id not in on_record)

    def runs_on_record(self) -> set[str]:
        """The runs of which a submission is on record."""
        on_record = set[str]()
        for raw in self.entries.raw():
            if raw["state"] != State.INTENT.value:
                on_record.update(attempt["run"] for attempt in (raw, *raw.get("earlier", ())) if "run" in attempt)
        return on_record

    def take_in(self, other: Manifest) -> None:
        """What another manifest of this job knows, by the rule for two branches (``merge``).

        :raises FindingsError: it was written against another origin
        """
        if self.header is not None and other.header is not None:
            header = join_headers(self.header, other.header)
            if header is None:
                message = f"its origin is {other.header.origin}, not {self.header.origin}"
                raise FindingsError([error_at("manifest-origin", message, other.header.job, 1, _SEPARATE)])
            self.header = header
        for name, serial in other.serials.items():
            self.serials[name] = max(serial, self.serials.get(name, 0))
        for key in other.entries:
            # Equal lines are equal entries: most of two versions are, and none of those is decoded.
            if other.entries.line(key) != self.entries.line(key):
                entry, known = other.entries[key], self.entries.find(key)
                self.entries.put(entry if known is None else join(known, entry))
        for plan in other.plans.values():
            self.put_plan(plan)
        self.resolutions |= other.resolutions

    @property
    def dirty(self) -> tuple[str, ...]:
        """The parts that are not on the disk as they would be written."""
        assert self.header is not None  # a manifest without an id is never written
        names = part_names(self.header.parts) if self.header.parts else ()
        changed = {part[: len(names[0])] for part in self.entries.changed} if names else set[str]()
        return tuple(name for name in names if self.merged or name not in self.digests or name in changed)

    def new_files(self) -> NewFiles:
        """Its canonical bytes, written once more; of its parts those in which something changed."""
        assert self.header is not None
        names = part_names(self.header.parts) if self.header.parts else ()
        dirty = self.dirty
        gone = sum(serial for name, serial in self.serials.items() if name not in names)  # ``written`` never falls
        self.header = replace(self.header, serial=self.header.serial + 1 + gone)
        self.serials = {name: self.serials.get(name, 0) + (name in dirty) for name in names}
        files = {name: self._part(name, keys) for name, keys in self.entries.keys_of(dirty).items()}
        return NewFiles(
            files={**files, FIRST: self.chunks()},
            kept={name: self.digests[name] for name in names if name not in files},
            removed=[name for name in self.digests if name != FIRST and name not in names],
        )

    def _part(self, name: str, keys: Collection[str]) -> Iterator[bytes]:
        assert self.header is not None
        header = PartHeader(part=name, id=self.header.id, serial=self.serials[name])
        return _pieces(chain([_line(header)], self.entries.lines(keys)))

    def chunks(self) -> Iterator[bytes]:
        """The canonical bytes of its first file, in pieces of about a mebibyte."""
        return _pieces(self._lines())

    def _lines(self) -> Iterator[bytes]:
        assert self.header is not None
        yield _line(self.header)
        if not self.header.parts:
            yield from self.entries.lines()
        # Sorted like the entries, so that one history gives the same bytes.
        yield from map(_line, sorted(self.plans.values(), key=lambda plan: (plan.used_at, plan.plan)))
        yield from (line for _, line in sorted((one.at, _line(one)) for one in self.resolutions))


def _pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    while piece := b"".join(islice(lines, 1500)):
        yield piece


def _line(record: Header | PartHeader | PlanRecord | ResolutionRecord) -> bytes:
    return seal(canonical(encode(record))) + b"\n"


def read_manifest(
    record: bytes | Snapshot | ManifestFiles,
    path: str,
    *,
    folder: PurePosixPath = _TOP,
    trusted: Callable[[bytes], bool] | None = None,
) -> Manifest:
    """What a manifest says.

    :param record: its bytes
    :param path: its name, for findings
    :param folder: its folder, relative to the campaign's root: no path in it may lead out of that
    :param trusted: which requests' lines are those that this program wrote; by default those with their checksum. A
        forger can compute a checksum too
    :raises FindingsError: each damaged line with its number; nothing is guessed
    :raises OSError: it can't be read
    """
    if not isinstance(record, ManifestFiles):
        record = ManifestFiles({FIRST: Snapshot(record) if isinstance(record, bytes) else record})
    reader, digests = _Reader(record, path, folder, trusted), dict[str, str]()
    for (name, snapshot), start in zip(record.files.items(), reader.manifest.entries.starts, strict=False):
        summed, lines_before = sha256(), 0
        reader.begin(name)
        for piece in snapshot.pieces():
            summed.update(piece)
            if reader.by_place:
                for number, place, line in reader.manifest.entries.put_places(piece, start, name.encode()):
                    reader.read(lines_before + number + 1, line, place)
                lines_before += piece.count(b"\n")
                start += len(piece)
            else:
                lines = piece.removesuffix(b"\n").split(b"\n")
                for number, line in enumerate(lines, lines_before + 1):
                    if line:
                        reader.read(number, line)
                lines_before += len(lines)
            # A file that is no manifest would have a finding for each of its lines.
            if len(reader.findings) >= _MOST_FINDINGS:
                break
        digests[name] = f"sha256:{summed.hexdigest()}"
    reader.manifest.digests = digests
    return reader.finished()


_HEADER = re.compile(rb'"format"\s*:\s*[^"\s]')
"""Stands in a header; an image's line has its format as a text."""


def ids_in(record: Snapshot) -> tuple[str, ...]:
    """The ids in a manifest's headers, which may stand anywhere after a merge by git. A damaged line has none.

    :raises OSError: it can't be read
    """
    found: list[str] = []
    for piece in record.pieces():
        if not _HEADER.search(piece):  # this spares nearly all lines the parsing
            continue
        for line in filter(_HEADER.search, piece.split(b"\n")):
            with suppress(Malformed):
                raw, _ = parse_checked(line)
                if "state" not in raw:
                    header = decode(Header, raw)
                    found += (header.id, *header.other_ids)
    return tuple(dict.fromkeys(found))


_RESTORE = (
    "restore it from git (`git checkout -- FILE`, or `git log -- FILE` for an older version); never retype a line"
)


_KEY = re.compile(rb'"key":"([^"]*)"')


def _first_places(record: ManifestFiles, shown: str, keys: Collection[str]) -> dict[str, tuple[str, int]]:
    """The file and the number of the first line that names each key, found in one pass; line 1 where none does."""
    left = {key.encode("utf-8", "replace"): key for key in keys}
    found = dict.fromkeys(keys, (shown, 1))
    for name, snapshot in record.files.items():
        lines = 1
        for piece in snapshot.pieces():
            at = 0
            for match in _KEY.finditer(piece):
                key = left.pop(match[1], None)
                if key is not None:
                    lines += piece.count(b"\n", at, match.start())
                    at, found[key] = match.start(), (shown_part(shown, name), lines)
            lines += piece.count(b"\n", at)
    return found


class _Reader:
    """Reads line after line; a finding does not keep the next line from being read."""

    def __init__(
        self,
        record: ManifestFiles,
        path: str,
        folder: PurePosixPath,
        trusted: Callable[[bytes], bool] | None,
    ) -> None:
        entries = Entries(path, lambda key: _first_places(record, path, [key])[key], record)
        self.manifest = Manifest(entries=entries)
        self.by_place = trusted is None and record.size > LARGE
        self.findings: list[Diagnostic] = []
        # Joined once at the end: a stranger may repeat a line as often as the file holds.
        self._headers: dict[Header, None] = {}
        self._again: dict[
            str, tuple[str, int, list[bytes]]
        ] = {}  # by key: file and number of the last line, and all but the first
        self._pointer = False
        self._shown = path
        self._path = path
        self._part = FIRST
        self._parts: dict[str, list[tuple[int, PartHeader]]] = {}
        self._astray: str | None = None  # where a request's line stands in the manifest itself
        self._folder = folder
        self._record = record
        self._trusted = trusted

    def begin(self, name: str) -> None:
        """Read this part from now on."""
        self._part, self._path = name, shown_part(self._shown, name)
        if name != FIRST:
            self._parts[name] = []

    def read(self, number: int, line: bytes, place: int | None = None) -> None:
        try:
            raw, sealed = parse_checked(line)
            if "state" in raw:
                sealed = sealed and (self._trusted is None or self._trusted(line))
                if place is not None or not sealed or not self.manifest.entries.put_line(line, raw):
                    self._entry(number, line, read_entry(raw, self._folder, sealed=sealed), place)
                self._check_part(number, str(raw["key"]))
            else:
                self._other(number, raw)
        except Malformed as problem:
            self._report(number, line, str(problem))
        except OutsideRoot as problem:
            message = f"the path {str(problem)!r} leads out of the campaign's root"
            self.findings.append(error_at("manifest-path", message, self._path, number, _RESTORE))

    def _check_part(self, number: int, key: str) -> None:
        if self._part == FIRST:
            self._astray = self._astray or key
        elif part_of(key, len(self._part)) != self._part:
            message = f"line {number} is of a request that belongs in another part"
            self.findings.append(error_at("manifest-part", message, self._path, number, _RESTORE))

    def finished(self) -> Manifest:
        """:raises FindingsError: there are findings, or no header"""
        if self.manifest.header is None and not self.findings:
            self.findings.append(error_at("manifest-damaged", "the manifest has no header", self._shown, 1, _RESTORE))
        header = None if self.findings else join_headers(*self._headers)
        if header is not None:
            self._check_parts(header)
        if self.findings:
            raise FindingsError(self.findings[:_MOST_FINDINGS])
        self.manifest.header = header
        self.manifest.entries.changed.clear()
        self._join_lines()
        return self.manifest

    def _check_parts(self, header: Header) -> None:
        """Find parts that are missing, foreign or cut, and note those that are none of the header's."""
        wanted = part_names(header.parts) if header.parts else ()
        for name in wanted:
            if name not in self._parts:
                message = "this part of the manifest is missing: what it holds would be paid again"
                self.findings.append(_part_finding(message, shown_part(self._shown, name)))
        for name, headers in self._parts.items():
            path = shown_part(self._shown, name)
            if not headers:
                self.findings.append(_part_finding("this part has no header: it was emptied, or cut", path))
            for number, one in headers:
                if one.part != name:
                    self.findings.append(_part_finding(f"this part was written as {one.part}.jsonl", path, number))
                elif one.id not in (header.id, *header.other_ids):
                    self.findings.append(_part_finding(f"this part is of another manifest ({one.id})", path, number))
            self.manifest.serials[name] = max((one.serial for _, one in headers), default=0)
        strays = [name for name in self._parts if name not in wanted]
        if strays or (wanted and self._astray is not None):
            self.manifest.merged = True
            path = shown_part(self._shown, strays[0] if strays else FIRST)
            self.manifest.notes.append(
                Diagnostic(
                    code=BOTH_FORMS,
                    severity="warning",
                    message="the manifest is there in two forms: a merge, or a crash while it was split, left both; "
                    "all of their lines count",
                    path=path,
                    hint="the next run, fetch or resolve writes it in one form; commit that",
                )
            )

    def _entry(self, number: int, line: bytes, entry: Entry, place: int | None) -> None:
        entries, key = self.manifest.entries, entry.key
        if key not in entries:
            if place is not None and not entry.earlier:
                entries.put_long(entry, line, place)
                return
            ordered = in_order(entry) if entry.earlier else entry
            entries.put(ordered)
            if paid_twice(ordered):
                self._again[key] = (self._path, number, [])
        elif entries.line(key) != line:
            self.manifest.merged = True
            _, _, lines = self._again.get(key, (self._path, number, []))
            lines.append(line)  # as it stands: as an entry it takes many times the memory
            self._again[key] = (self._path, number, lines)

    def _join_lines(self) -> None:
        """Make one entry of the lines of each request that has several, and note those that were paid for twice."""
        entries, paid = self.manifest.entries, dict[str, tuple[str, int]]()
        for key, (path, number, lines) in self._again.items():
            entry = entries[key]
            if lines:
                entry = join(entry, *map(entries.entry_in, lines))
                entries.put(entry)
            if paid_twice(entry):
                paid[key] = (path, number)
        first = _first_places(self._record, self._shown, paid) if paid else {}
        for key, place in paid.items():
            self._note_double_payment(place, entries[key], first[key])

    def _note_double_payment(self, place: tuple[str, int], entry: Entry, first: tuple[str, int]) -> None:
        ids = [one for one in (entry.task_id, *entry.other_task_ids) if one is not None]
        some = shorten(", ".join(ids), 200)
        message = f"{entry.address} was submitted twice ({some}), probably on two branches; both are kept"
        hint = "let one branch at a time submit, or protect the branch that does"
        if len(ids) < 2:  # the other one's id was never seen
            message = f"{entry.address} may have been charged twice: it was sent again while it was in doubt"
            hint = "the service's console shows what was charged; until then both count"
        known = Related(message="first known from here", path=first[0], span=Span.of_line(first[1]))
        self.manifest.notes.append(
            Diagnostic(
                code="manifest-paid-twice",
                severity="warning",
                message=message,
                path=place[0],
                span=Span.of_line(place[1]),
                hint=hint,
                related=(known,),
            )
        )

    def _other(self, number: int, raw: Json) -> None:
        manifest = self.manifest
        if self._part != FIRST:
            self._parts[self._part].append((number, decode(PartHeader, raw)))
        elif "format" in raw:
            self._header(number, decode(Header, raw))
        elif "resolution" in raw:
            manifest.resolutions.add(decode(ResolutionRecord, raw))
        elif "plan" in raw:
            manifest.put_plan(decode(PlanRecord, raw))
        else:
            raise Malformed("neither a header nor a request, a plan or a resolution")

    def _header(self, number: int, header: Header) -> None:
        known = self.manifest.header
        if known is None:
            known = self.manifest.header = header
        self._headers[header] = None
        self.manifest.merged = len(self._headers) > 1 or self.manifest.merged
        if known.origin != header.origin:
            message = f"two manifests of different origins were merged: {known.origin} and {header.origin}"
            self.findings.append(error_at("manifest-origin", message, self._path, number, _SEPARATE))

    def _report(self, number: int, line: bytes, why: str) -> None:
        if line.startswith(_MARKERS):
            message = "a merge conflict is not resolved"
            self.findings.append(error_at("manifest-conflict", message, self._path, number, _KEEP_BOTH))
            return
        if self._pointer or line.startswith(LFS_POINTER):
            if self._pointer:
                return  # its other lines say nothing more
            self._pointer = True
            message = "a Git LFS pointer stands here, not the record: what was paid is not known"
            self.findings.append(error_at("manifest-damaged", message, self._path, number, _NOT_IN_LFS))
            return
        if why.startswith("format "):
            self.findings.append(error_at("manifest-format", f"line {number}: {why}", self._path, number, _NEWER))
            return
        message = f"line {number} is damaged: {why}"
        self.findings.append(error_at("manifest-damaged", message, self._path, number, _RESTORE))


_KEEP_BOTH = (
    "delete only the marker lines (<<<<<<<, |||||||, =======, >>>>>>>) and keep the lines of both sides: they are "
    "merged when the manifest is read; `*.manifest.jsonl merge=union` in .gitattributes does it for you"
)
_NEWER = "use the version of seedream-jobs that wrote it: an earlier manifest lacks what was paid since"
_NOT_IN_LFS = "git lfs pull; and keep records out of Git LFS, or they can't be merged: see .gitattributes"
_SEPARATE = "keep the lines of one origin here, and the others in a manifest of their own"


def _part_finding(message: str, path: str, number: int = 1) -> Diagnostic:
    return error_at("manifest-part", message, path, number, _RESTORE)


def read_event(record: Json, folder: PurePosixPath) -> Event | PlanRecord:
    """What a journal's record says, read as strictly as a manifest's line.

    :param folder: of the manifest, relative to the campaign's root
    :raises Malformed: it is no record
    :raises OutsideRoot: a path in it leads out of the campaign's root
    """
    if "plan" in record:
        return decode(PlanRecord, record)
    event = decode_event(record)
    match event:
        case Intended():
            within(folder, event.output)
        case Completed() | Stored():
            for image in event.images:
                if image.file is not None:
                    within(folder, image.file)
        case _:
            pass
    return event


def apply(manifest: Manifest, what: Event | PlanRecord) -> None:
    """Fold one record into what is known.

    :raises IllegalEvent: an event that has no place in its request's state
    """
    if isinstance(what, PlanRecord):
        manifest.put_plan(what)
        return
    manifest.entries.put(evolve(manifest.entries.find(what.key), what))
    _put_resolution(manifest, what)


def _put_resolution(manifest: Manifest, what: Event) -> None:
    """Keep a person's decision."""
    # The entry only has the outcome; the person's reason is kept beside it.
    if isinstance(what, Resolved):
        manifest.resolutions.add(
            ResolutionRecord(
                key=what.key, resolution=what.resolution, reason=what.reason, at=what.at, task_id=what.task_id
            )
        )


def _events(
    left: Contents, folder: PurePosixPath
) -> Iterator[tuple[Event | PlanRecord, Callable[[str], FindingsError]]]:
    """What a journal says, each with how a refusal of it names its place."""
    for number, offset, record in left.records.placed():

        def refusal(why: str, number: int = number, offset: int = offset) -> FindingsError:
            return FindingsError([damaged(left.path, number, offset, why)])

        try:
            what = read_event(record, folder)
        except Malformed as problem:
            raise refusal(str(problem)) from None
        except OutsideRoot as problem:
            raise refusal(f"the path {str(problem)!r} leads out of the campaign's root") from None
        yield what, refusal


def apply_journal(
    manifest: Manifest, left: Contents, folder: PurePosixPath, folded: Collection[str] = frozenset()
) -> None:
    """Fold a journal that was left behind into what is known, in order.

    :param folder: of the manifest, relative to the campaign's root
    :param folded: the parts that hold what it says already
    :raises FindingsError: a record that is none, or has no place in its request's state
    """
    digits = max(map(len, folded), default=0)
    for what, refusal in _events(left, folder):
        try:
            if digits and isinstance(what, Event) and part_of(what.key, digits) in folded:
                _put_resolution(manifest, what)  # the first file is folded last
            else:
                apply(manifest, what)
        except IllegalEvent as problem:
            raise refusal(str(problem)) from None


def alone(left: Contents, known: Manifest | None = None, folder: PurePosixPath = _TOP) -> Manifest:
    """What a journal says without the manifest that it builds on: every request that it announces is whole in it.

    :param known: where to look for a request that it says more about without announcing it; else that is left out
    :param folder: of the manifest, relative to the campaign's root
    :raises FindingsError: a record that is none
    """
    made = Manifest()
    for what, _ in _events(left, folder):
        if isinstance(what, Event) and what.key not in made.entries and not isinstance(what, Intended):
            entry = None if known is None else known.entries.find(what.key)
            if entry is None:
                continue
            made.entries.put(entry)
        try:
            apply(made, what)
        except IllegalEvent:  # the other manifest knows more by now
            continue
    made.entries.settle("crash")
    return made
