"""A hundred thousand entries in modest memory: lines as they stand in the manifest, taken apart when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from seedream_jobs.ledger.codec import Json, canonical, decode_entry, encode_entry, parse
from seedream_jobs.ledger.machine import settle_open_intent
from seedream_jobs.ledger.state import Doubt, Entry, State

_SUBMITTED = b'"submitted_at":"'

Brief = tuple[State, int]
"""State and generation."""


class Entries(Mapping[str, Entry]):
    """Entries by request key. An entry in flight is kept as it is, every other one as its line.

    Each look at an entry takes its line apart anew (about 10 µs); ``brief`` does not.
    """

    def __init__(self) -> None:
        self._lines: dict[str, bytes] = {}
        self._open: dict[str, Entry] = {}
        self._briefs: dict[str, Brief] = {}
        self._shared: dict[Brief, Brief] = {}
        self._written: dict[tuple[bytes, bytes], Brief] = {}

    def __getitem__(self, key: str) -> Entry:
        found = self.find(key)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._briefs)

    def __len__(self) -> int:
        return len(self._briefs)

    def __contains__(self, key: object) -> bool:
        return key in self._briefs

    def find(self, key: str) -> Entry | None:
        """The entry, or None for a request the ledger does not know."""
        entry = self._open.get(key)
        if entry is not None:
            return entry
        line = self._lines.get(key)
        return None if line is None else decode_entry(parse(line))

    def brief(self, key: str) -> Brief | None:
        """State and generation without taking the line apart: what a plan asks for every request."""
        return self._briefs.get(key)

    def put(self, entry: Entry) -> None:
        """Keep what is known now."""
        key = entry.key
        self._briefs[key] = self._share((entry.state, entry.generation))
        if entry.state is State.INTENT:
            self._open[key] = entry
            self._lines.pop(key, None)
        else:
            self._lines[key] = canonical(encode_entry(entry))
            self._open.pop(key, None)

    def put_line(self, line: bytes, key: str, state: bytes, generation: bytes) -> None:
        """Keep a manifest's line that was found good; state and generation as they are written in it."""
        brief = self._written.get((state, generation))
        if brief is None:
            brief = self._written[state, generation] = self._share((State(state.decode()), int(generation)))
        self._briefs[key] = brief
        self._lines[key] = line

    def line(self, key: str) -> bytes | None:
        """The line as it stands, None for an unknown request."""
        return self._lines.get(key)

    def submitted_day(self, key: str) -> str:
        """The day a request was submitted, ``YYYY-MM-DD``, empty if unknown; cheap, as ``brief`` is."""
        line = self._lines.get(key, b"")
        at = line.rfind(_SUBMITTED)  # names are sorted: the entry's own comes after those of its "earlier"
        return "" if at < 0 else line[at + len(_SUBMITTED) : at + len(_SUBMITTED) + 10].decode("ascii", "replace")

    def cells(self) -> Iterator[tuple[str, Json]]:
        """(address, cell) of every request, without making entries of them."""
        for line in self._lines.values():
            raw = parse(line)
            yield raw["address"], raw.get("cell", {})
        for entry in self._open.values():
            yield entry.address, dict(entry.cell)

    def with_field(self, *names: str) -> Iterator[Entry]:
        """The entries that have one of these fields, if only in an earlier attempt, and perhaps some more.

        The lines of the others are not taken apart: of 100,000 requests that wait for their images, none is.
        """
        written = [b'"%s":' % name.encode() for name in names]
        for line in self._lines.values():
            if any(one in line for one in written):
                yield decode_entry(parse(line))
        yield from self._open.values()

    def settle(self, doubt: Doubt) -> None:
        """Put every open intent in doubt: no run is under way any more."""
        for entry in list(self._open.values()):
            self.put(settle_open_intent(entry, doubt))

    def lines(self) -> Iterator[bytes]:
        """The manifest's lines, sorted by key, each with its newline. No intent may be open."""
        assert not self._open  # settled before anything is written
        for key in sorted(self._lines):
            yield self._lines[key] + b"\n"

    def _share(self, brief: Brief) -> Brief:
        return self._shared.setdefault(brief, brief)
