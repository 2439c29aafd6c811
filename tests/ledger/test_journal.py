"""The journal's bytes: cut at every place, flipped at every place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from seedream_jobs.errors import FindingsError
from seedream_jobs.ledger import journal
from seedream_jobs.ledger.codec import decode_event, encode
from seedream_jobs.ledger.state import (
    Event,
    Expired,
    Failed,
    Image,
    InDoubt,
    NotSent,
    Rejected,
    Resolved,
    ServiceError,
    Stored,
)


def journal_of(events: Iterable[Event]) -> bytes:
    lines = [journal.header_line(journal.JournalHeader(manifest="m-1", base="sha256:00"))]
    lines += [journal.record(seq, encode(event)) for seq, event in enumerate(events, 1)]
    return b"".join(lines)


def read_events(data: bytes) -> list[Event] | None:
    contents = journal.read_journal(data, "j")
    return None if contents is None else [decode_event(record) for record in contents.records]


def check_cut(data: bytes, events: list[Event], length: int) -> None:
    """A cut journal gives every whole record, and says how much of the next it cut off."""
    cut = data[:length]
    contents = journal.read_journal(cut, "j")
    whole = cut.count(b"\n") + (data[length : length + 1] == b"\n")  # only the newline may be missing
    if whole == 0:
        assert contents is None
        return
    assert contents is not None
    assert [decode_event(record) for record in contents.records] == events[: whole - 1]
    assert contents.size + contents.torn == length
    assert contents.complete or contents.torn == 0


def check_flip(data: bytes, events: list[Event], place: int, mask: int) -> None:
    """A flipped byte is found, or changes nothing."""
    flipped = bytearray(data)
    flipped[place] ^= mask
    finding = None
    try:
        found = read_events(bytes(flipped))
    except FindingsError as error:
        finding = error.diagnostics[0]
    if finding is None:
        assert found == events, f"byte {place} ^ {mask:#x} went unnoticed"
    else:
        assert finding.code == "journal-damaged"
        assert finding.span is not None
        assert finding.span.start.offset <= place + 1


def test_every_sampled_cut_is_recovered(make: Any) -> None:
    events = make.lives(20)
    data = journal_of(events)
    for length in [*range(1000), *range(1000, len(data), 97), *range(len(data) - 400, len(data) + 1)]:
        check_cut(data, events, length)


def test_every_sampled_flip_is_found(make: Any) -> None:
    events = make.lives(10)
    data = journal_of(events)
    for place in [*range(600), *range(600, len(data) - 300, 11), *range(len(data) - 300, len(data))]:
        check_flip(data, events, place, 1 << (place % 8))


@pytest.mark.slow
def test_every_cut_of_200_records_is_recovered(make: Any) -> None:
    events = make.lives(80)
    assert len(events) == 200
    data = journal_of(events)
    for length in range(len(data) + 1):
        check_cut(data, events, length)


@pytest.mark.slow
def test_every_flip_of_200_records_is_found(make: Any) -> None:
    events = make.lives(80)
    data = journal_of(events)
    for place in range(len(data)):
        check_flip(data, events, place, 1 << (place % 8))


def test_the_flip_harness_catches_an_ignored_checksum(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    def trusting(line: bytes) -> dict[str, Any] | None:
        try:
            body = json.loads(line)
        except ValueError:
            return None
        body.pop("crc", None)
        return body  # type: ignore[no-any-return]

    monkeypatch.setattr(journal, "_checked", trusting)
    events = make.lives(2)
    data = journal_of(events)
    place = data.index(b"task_1") + 5
    with pytest.raises(AssertionError, match="unnoticed"):
        check_flip(data, events, place, 1)


def test_a_record_that_is_missing_or_repeated_is_damage(make: Any) -> None:
    lines = journal_of(make.lives(3)).splitlines(keepends=True)
    for broken in (lines[:2] + lines[3:], [*lines[:3], lines[2], *lines[3:]], lines[1:]):
        with pytest.raises(FindingsError) as caught:
            journal.read_journal(b"".join(broken), "j")
        assert "missing before it" in caught.value.diagnostics[0].message


def test_a_whole_record_with_another_byte_for_its_newline_is_damage_not_torn(make: Any) -> None:
    data = journal_of(make.lives(3))
    with pytest.raises(FindingsError):
        journal.read_journal(data[:-1] + b"\x0b", "j")


def test_a_journal_of_another_version_says_so() -> None:
    data = journal.record(0, {"journal": 2, "manifest": "m-1", "base": "x"})
    with pytest.raises(FindingsError) as caught:
        journal.read_journal(data, "j")
    assert caught.value.diagnostics[0].code == "journal-version"


def test_every_kind_of_event_comes_back_as_it_went(make: Any) -> None:
    problem = ServiceError(status=None, code="x", message="坏 \ud800 \u2028")
    key = make.key(1)
    image = Image(file="out/a.jpeg", sha256="0" * 64, bytes=3, width=2, height=1, format="jpeg", warnings=("w",))
    events: list[Event] = [
        make.intended(1),
        make.accepted(1),
        make.completed(1),
        Rejected(key=key, at=1, error=problem),
        NotSent(key=key, at=1, reason="dns"),
        InDoubt(key=key, at=1, doubt="unreadable", detail="?", request_id="r", task_id="task_9"),
        Failed(key=key, at=1, error=problem),
        Stored(key=key, at=1, images=(image, Image(error="decode"))),
        Expired(key=key, at=1),
        Resolved(key=key, at=1, resolution="accepted", reason="seen", task_id="task_9"),
    ]
    assert read_events(journal_of(events)) == events


def test_the_reader_of_a_cut_is_held_to_its_law(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that drops one whole record more is caught."""
    events = make.lives(3)
    data = journal_of(events)
    reader: Callable[..., Any] = journal.read_journal
    monkeypatch.setattr(journal, "read_journal", lambda cut, path: reader(cut[: cut.rfind(b"\n", 0, -1) + 1], path))
    with pytest.raises(AssertionError):
        check_cut(data, events, len(data))
