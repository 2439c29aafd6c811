"""This module keeps what is known of each request as the line that stands for it, taken apart when somebody asks.

Called by the manifest and the ledger. Invariant: of an entry in flight the entry itself is kept, of every other one its
line as it stands in the manifest, with its state and generation. A line that bears its checksum was written by this
program: its fields are trusted, but no path in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import PurePosixPath

from seedream_jobs.errors import LedgerError
from seedream_jobs.expand.identity import key_of, settled
from seedream_jobs.job.files import within
from seedream_jobs.ledger.codec import (
    ENTRY_FIELDS,
    NEEDED_FIELDS,
    SEAL,
    STATES,
    Json,
    Malformed,
    canonical,
    decode_entry,
    encode,
    iso,
    parse,
    seal,
)
from seedream_jobs.ledger.state import Doubt, Entry, State
from seedream_jobs.ledger.state_rules import STATE_RULES, image_price
from seedream_jobs.ledger.transitions import settle_open_intent
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles

_BYTE_ORDER_MARK = "\ufeff".encode()
_UNSETTLED = (b'\\n"', b"\\r", b"\\ufeff", _BYTE_ORDER_MARK)
"""One of these stands in the line of a prompt that ends with a line break, or holds a carriage return or a byte order
mark."""
_SUBMITTED = b'"submitted_at":"'
_TASKS = re.compile(rb'"task_ids?":("[^"]*"|\[[^]]*\])')
_NAMES = re.compile(rb'[^",[\]]+')
_COST = re.compile(rb'"cost_usd":"([0-9.]+)"')
_ONE_IMAGE = b',"max_images":1,"output":"'
_TRUSTED = ENTRY_FIELDS - {"earlier"}

EntrySummary = tuple[State, int]
"""State and generation."""


class Entries(Mapping[str, Entry]):
    """Entries by request key.

    Each look at an entry takes its line apart anew (about 10 µs); ``brief`` does not. Who goes through them sees the
    keys there were at the start: a run records new requests meanwhile.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[bytes, EntrySummary]] = {}
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
        return None if known is None else _entry(known[0])

    def brief(self, key: str) -> EntrySummary | None:
        """State and generation without taking the line apart: what a plan asks for every request."""
        known = self._known.get(key)
        return None if known is None else known[1]

    def put(self, entry: Entry) -> None:
        """Keep what is known now."""
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
        key, generation, state = raw.get("key"), raw.get("generation"), STATES.get(raw.get("state", ""))
        if not (fields <= _TRUSTED and fields >= NEEDED_FIELDS) or state is None or key in self._known:
            return False
        if type(key) is not str or type(generation) is not int or generation < 1:
            return False
        if b".." in line or b"\\" in line or b':"/' in line:  # without those no path leads out of a folder
            return False
        self._keep(key, line, state, generation)
        return True

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
        spent is told.
        """
        if self._former is None:
            found: dict[str, str] = {}
            for line in filter(None, map(self.line, sorted(self._escaped))):
                if any(mark in line for mark in _UNSETTLED):
                    entry = _entry(line)
                    today = _settled_key(entry)
                    if today is not None and (today not in found or STATE_RULES[entry.state].spent):
                        found[today] = entry.key
            self._former = found
        return self._former

    def standing(self, key: str) -> Entry | None:
        """The entry of a request, under its key or under its former one."""
        found = self.find(key)
        return self.find(self.former[key]) if found is None and key in self.former else found

    def line(self, key: str) -> bytes | None:
        """The line as it stands, None for an unknown request, and for one in flight."""
        known = self._known.get(key)
        return known[0] or None if known is not None else None

    def submitted_day(self, key: str) -> str:
        """The day a request was submitted, ``YYYY-MM-DD``, empty if unknown; cheaper than the entry."""
        line = self.line(key) or b""
        at = line.rfind(_SUBMITTED)  # names are sorted: the entry's own comes after those of its "earlier"
        return "" if at < 0 else line[at + len(_SUBMITTED) : at + len(_SUBMITTED) + 10].decode("ascii", "replace")

    def cells(self) -> Iterator[tuple[str, Json]]:
        """(address, cell) of every request, without making entries of them."""
        for line in self._lines():
            raw = parse(line)
            yield raw["address"], raw.get("cell", {})
        for entry in list(self._open.values()):
            yield entry.address, dict(entry.cell)

    def with_field(self, *names: str) -> Iterator[Entry]:
        """The entries that have one of these fields, if only in an earlier attempt, and perhaps some more.

        The lines of the others are not taken apart: of 100,000 requests that wait for their images, none is.
        """
        written = [b'"%s":' % name.encode() for name in names]
        for line in self._lines():
            if any(one in line for one in written):
                yield _entry(line)
        yield from list(self._open.values())

    def shared_tasks(self) -> dict[str, list[str]]:
        """The addresses of requests that have one task, by its id: the service gave it to several submissions.

        An address stands twice where it was to two submissions of that request.
        """
        first: dict[bytes, str] = {}
        shared: dict[str, list[str]] = {}
        for key in self:
            for found in _TASKS.findall(self.line(key) or b""):
                for task in _NAMES.findall(found):
                    if task in first:
                        shared.setdefault(task.decode(), [first[task]]).append(key)
                    else:
                        first[task] = key
        return {task: [self[key].address for key in keys] for task, keys in shared.items()}

    def prices(self) -> Iterator[tuple[str, Decimal]]:
        """(day of the submission, USD per image) of all that the service named a cost for.

        The usual line, of one image and one submission, is not taken apart.
        """
        for line in self._lines():
            named = _COST.search(line)
            if named is None:
                continue
            at = line.rfind(_SUBMITTED) + len(_SUBMITTED)
            if _ONE_IMAGE in line and b'"earlier":' not in line and at >= len(_SUBMITTED) and float(named[1]):
                yield line[at : at + 10].decode("ascii", "replace"), Decimal(named[1].decode())
                continue
            entry = _entry(line)
            for attempt in entry.attempts:
                usd = image_price(attempt, entry.max_images)
                if usd is not None:
                    yield "" if attempt.submitted_at is None else iso(attempt.submitted_at)[:10], usd

    def settle(self, doubt: Doubt) -> None:
        """Put every open intent in doubt: no run is under way any more."""
        for entry in list(self._open.values()):
            self.put(settle_open_intent(entry, doubt))

    def lines(self) -> Iterator[bytes]:
        """The manifest's lines, sorted by key, each with its newline. No intent may be open."""
        assert not self._open  # settled before anything is written
        for key in sorted(self._known):
            line = self._known[key][0]
            yield (line if line.startswith(SEAL) else seal(line)) + b"\n"  # older versions wrote no checksums

    def _lines(self) -> Iterator[bytes]:
        """The lines of all that are not in flight."""
        for key in self:
            if line := self.line(key):
                yield line


def read_entry(raw: Json, folder: PurePosixPath, *, sealed: bool) -> Entry:
    """The entry in a manifest's line, decoded in full.

    :param folder: of the manifest, relative to the campaign's root: no path may lead out of that
    :param sealed: it bears its checksum, so that its key was the digest of its request when it was written
    :raises Malformed: it is none
    :raises OutsideRoot: a path in it leads out of the campaign's root
    """
    entry = decode_entry(raw)
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
    model = str(request.get("model", ""))
    profile = profiles().get(model)
    try:
        expected = key_of(request, model if profile is None else profile.id, repeat)
    except (TypeError, ValueError):  # such as a text where a number of images belongs
        expected = ""
    if key != expected:
        raise Malformed("its key is not that of its request: one of the two was changed")


def _entry(line: bytes) -> Entry:
    """The entry in a line that was checked when it was read.

    :raises LedgerError: its checksum is good, and yet it is no entry: this program did not write it
    """
    raw = parse(line)
    raw.pop("crc", None)
    try:
        return decode_entry(raw)
    except Malformed as error:
        raise LedgerError(
            f"the record's line of {raw.get('address', 'a request')!r} is damaged: {error}",
            hint="restore the manifest from git (`git checkout -- FILE`, or `git log -- FILE` for an older version)",
        ) from error


def _settled_key(entry: Entry) -> str | None:
    """The key that an entry's request has today, where its prompt was not settled when it was sent; else None."""
    prompt = entry.request.get("prompt")
    if not isinstance(prompt, str) or (today := settled(prompt.replace("\ufeff", ""))) == prompt or not today:
        return None
    model = str(entry.request.get("model", DEFAULT_MODEL))
    profile = profiles().get(model)
    try:
        return key_of({**entry.request, "prompt": today}, model if profile is None else profile.id, entry.repeat)
    except (TypeError, ValueError):  # a record that was made by hand
        return None
