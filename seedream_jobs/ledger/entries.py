"""A hundred thousand entries in modest memory: of each the place of its line, which is taken apart when asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from zlib import crc32

from seedream_jobs.expand.identity import key_of, settled
from seedream_jobs.ledger.check import hold_key, look
from seedream_jobs.ledger.codec import (
    SEAL,
    Json,
    Malformed,
    canonical,
    decode_entry,
    encode_entry,
    is_sealed,
    iso,
    parse,
    seal,
)
from seedream_jobs.ledger.filesystem import Snapshot
from seedream_jobs.ledger.lines import Lines
from seedream_jobs.ledger.state import Doubt, Earlier, Entry, State
from seedream_jobs.ledger.state_rules import STATE_RULES, image_price
from seedream_jobs.ledger.transitions import settle_open_intent
from seedream_jobs.profile import DEFAULT_MODEL, profiles

_UNSETTLED = (b'\\n"', b"\\r", b"\\ufeff", "\ufeff".encode())
"""One of these stands in the line of a prompt that ends with a line break, or holds a carriage return or a byte order
mark."""
_SUBMITTED = b'"submitted_at":"'
_TASKS = re.compile(rb'"task_ids?":("[^"]*"|\[[^]]*\])')
_NAMES = re.compile(rb'[^",[\]]+')
_COST = re.compile(rb'"cost_usd":"([0-9.]+)"')
_ONE_IMAGE = b',"max_images":1,"output":"'
_BRIEF, _PLACE = 24, 44  # bits
_BRIEFS, _PLACES = (1 << _BRIEF) - 1, (1 << _PLACE) - 1

Brief = tuple[State, int]
"""State and generation."""


class Entries(Mapping[str, Entry]):
    """Entries by request key. An entry in flight is kept as it is, of every other one the place of its line.

    Each look at an entry reads its line and takes it apart anew (about 10 µs); ``brief`` does not. Who goes through
    them sees the keys there were at the start: a run records new requests meanwhile.

    :param record: the manifest they were read from
    :param folder: where the lines of further ones are kept once they are many; None for the system's temporary folder
    """

    def __init__(self, record: Snapshot | None = None, folder: Path | None = None) -> None:
        self._lines = Lines(Snapshot() if record is None else record, folder)
        self._index: dict[str, int] = {}  # checksum, place, number of the brief: one integer is the smallest object
        self._open: dict[str, Entry] = {}
        self._briefs: list[Brief] = []
        self._numbers: dict[Brief, int] = {}
        self._written: dict[tuple[bytes, bytes], int] = {}
        self._unsettled = False
        self._former: dict[str, str] | None = None

    def __getitem__(self, key: str) -> Entry:
        found = self.find(key)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._index))

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def find(self, key: str) -> Entry | None:
        """The entry, or None for a request the ledger does not know."""
        entry = self._open.get(key)
        if entry is not None:
            return entry
        line = self.line(key)
        return None if line is None else _entry(line)

    def brief(self, key: str) -> Brief | None:
        """State and generation without taking the line apart: what a plan asks for every request."""
        known = self._index.get(key)
        return None if known is None else self._briefs[known & _BRIEFS]

    def put(self, entry: Entry) -> None:
        """Keep what is known now."""
        key, number = entry.key, self._number((entry.state, entry.generation))
        if _settled(entry) is not None:
            self._unsettled, self._former = True, None
        if entry.state is State.INTENT:
            self._open[key] = entry
            self._index[key] = number
        else:
            place, checksum = self._lines.add(seal(canonical(encode_entry(entry))))
            self._index[key] = (checksum << _PLACE | place) << _BRIEF | number
            self._open.pop(key, None)

    def read(self, pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """Keep the lines of the manifest that are surely entries; the others, with their numbers, are the caller's.

        Those are also the further lines of a request that has one already. Empty ones are left out.
        """
        index, numbers = self._index, self._written
        number, place = 0, 0
        for piece in pieces:
            self._unsettled = self._unsettled or any(mark in piece for mark in _UNSETTLED)
            for found in look(piece if piece.endswith(b"\n") else piece + b"\n"):
                number += 1
                generation, key, state, other = found.groups()
                line = found[0]
                if other is None and not _vouched_for(line):
                    other = line[:-1]
                if other is None:
                    brief = numbers.get((state, generation))
                    if brief is None:
                        brief = self._number((State(state.decode()), int(generation)))
                        numbers[state, generation] = brief
                    value = (crc32(line) << _PLACE | place + found.start()) << _BRIEF | brief
                    if index.setdefault(key.decode(), value) is value:
                        continue
                    other = line[:-1]
                if other:
                    yield number, other
            place += len(piece)

    @property
    def former(self) -> Mapping[str, str]:
        """Of requests whose prompt was once sent with its line breaks as they were: today's key to the one on record.

        What was paid under such a key must not be paid again. Where several lead to one request, one that counts as
        spent is told.
        """
        if self._former is None:
            self._former = {}
            for line in self._settled() if self._unsettled else ():
                if any(mark in line for mark in _UNSETTLED):
                    entry = _entry(line)
                    today = _settled(entry)
                    if today is not None and (today not in self._former or STATE_RULES[entry.state].spent):
                        self._former[today] = entry.key
        return self._former

    def standing(self, key: str) -> Entry | None:
        """The entry of a request, under its key or under its former one."""
        found = self.find(key)
        return self.find(self.former[key]) if found is None and key in self.former else found

    def line(self, key: str) -> bytes | None:
        """The line as it stands, None for an unknown request, and for one in flight.

        :raises LedgerError: it can't be read back
        """
        known = self._index.get(key)
        if known is None or key in self._open:
            return None
        return self._lines.read(known >> _BRIEF & _PLACES, known >> _BRIEF + _PLACE)

    def submitted_day(self, key: str) -> str:
        """The day a request was submitted, ``YYYY-MM-DD``, empty if unknown; cheaper than the entry."""
        line = self.line(key) or b""
        at = line.rfind(_SUBMITTED)  # names are sorted: the entry's own comes after those of its "earlier"
        return "" if at < 0 else line[at + len(_SUBMITTED) : at + len(_SUBMITTED) + 10].decode("ascii", "replace")

    def cells(self) -> Iterator[tuple[str, Json]]:
        """(address, cell) of every request, without making entries of them."""
        for line in self._settled():
            raw = parse(line)
            yield raw["address"], raw.get("cell", {})
        for entry in list(self._open.values()):
            yield entry.address, dict(entry.cell)

    def with_field(self, *names: str) -> Iterator[Entry]:
        """The entries that have one of these fields, if only in an earlier attempt, and perhaps some more.

        The lines of the others are not taken apart: of 100,000 requests that wait for their images, none is.
        """
        written = [b'"%s":' % name.encode() for name in names]
        for line in self._settled():
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
        for line in self._settled():
            named = _COST.search(line)
            if named is None:
                continue
            at = line.rfind(_SUBMITTED) + len(_SUBMITTED)
            if _ONE_IMAGE in line and b'"earlier":' not in line and at >= len(_SUBMITTED) and float(named[1]):
                yield line[at : at + 10].decode("ascii", "replace"), Decimal(named[1].decode())
                continue
            entry = _entry(line)
            attempts: tuple[Entry | Earlier, ...] = (entry, *entry.earlier)
            for attempt in attempts:
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
        for key in sorted(self._index):
            line = self.line(key)
            assert line is not None
            yield (line if line.startswith(SEAL) else seal(line)) + b"\n"  # older versions wrote no checksums

    def _settled(self) -> Iterator[bytes]:
        """The lines of all that are not in flight."""
        for key in self:
            line = self.line(key)
            if line is not None:
                yield line

    def _number(self, brief: Brief) -> int:
        number = self._numbers.get(brief)
        if number is None:
            number = self._numbers[brief] = len(self._briefs)
            self._briefs.append(brief)
        return number


def _entry(line: bytes) -> Entry:
    """The entry in a line that was checked when it was read."""
    raw = parse(line)
    raw.pop("crc", None)
    return decode_entry(raw)


def _vouched_for(line: bytes) -> bool:
    """Whether a line, with its newline, is as it was written: by its checksum, or in an older one by its key."""
    if line.startswith(SEAL):
        return is_sealed(line[:-1])
    raw = parse(line[:-1])
    try:
        hold_key(raw["key"], raw["request"], raw["repeat"])
    except Malformed:
        return False
    return True


def _settled(entry: Entry) -> str | None:
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
