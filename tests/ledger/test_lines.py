"""Lines that are read back from where they lie: the very same, or a refusal; and how little of them is in memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.errors import LedgerError
from seedream_jobs.ledger import lines as module
from seedream_jobs.ledger.entries import Entries
from seedream_jobs.ledger.filesystem import PIECE, OpenSnapshot, Snapshot, take
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.lines import Lines
from seedream_jobs.ledger.manifest import read_manifest
from seedream_jobs.ledger.paths import LedgerPaths
from seedream_jobs.ledger.state import State

HEADER = b'{"format":1,"id":"m-1","job":"garden.yaml","origin":"https://api.example"}\n'
MOST_BYTES = 350
"""Memory of one entry: its key (128 bytes), a number (48), and its share of a dictionary (up to 105)."""


def large(make: Any, count: int = 4000) -> bytes:
    """A manifest of more than a piece."""
    entries = Entries()
    for number in range(count):
        entries.put(make.entry(number, "p" * 300))
    written = HEADER + b"".join(entries.lines())
    assert len(written) > PIECE
    return written


@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"") * 200), max_size=20), st.booleans())
@settings(deadline=None)
def test_a_line_is_read_back_as_it_was_added(added: list[bytes], last_newline: bool) -> None:
    """Before and after it was written out, behind a record whose last line may lack its newline."""
    record = b"first\nsecond" + b"\n" * last_newline
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "PIECE", 3000)
        lines = Lines(Snapshot(record))
        places = [lines.add(line) for line in added]
        assert [lines.read(*place) for place in places] == added
        assert lines.read(6, module.crc32(b"second\n")) == b"second"


def test_lines_beyond_a_piece_are_in_a_file_without_a_name(tmp_path: Path) -> None:
    lines = Lines(Snapshot(), tmp_path)
    tracemalloc.start()
    places = [lines.add(b"%07d" % number + b"x" * 1000) for number in range(10_000)]
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 4 * PIECE
    assert list(tmp_path.iterdir()) == []
    assert all(lines.read(*places[number])[:7] == b"%07d" % number for number in (0, 1, 5000, 9998, 9999))


def test_where_the_disk_takes_nothing_lines_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[int] = []

    def full(descriptor: int, data: bytearray) -> None:
        refused.append(os.write(descriptor, data[:100]))  # a disk may take some before it is full
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "append", full)
    lines = Lines(Snapshot(), tmp_path)
    places = [lines.add(b"%07d" % number + b"x" * 1000) for number in range(3000)]
    assert len(refused) == 1
    assert [lines.read(*place)[:7] for place in places] == [b"%07d" % number for number in range(3000)]


def test_a_line_that_is_not_the_same_any_more_is_refused(tmp_path: Path, make: Any) -> None:
    """Whatever became of the file: another byte, a line less, an end that came sooner."""
    path = tmp_path / "garden.manifest.jsonl"
    whole = large(make)
    for damaged in (whole.replace(b'"prompt":"ppp', b'"prompt":"pqp'), whole.partition(b"\n")[2], b"", whole[:-3]):
        path.write_bytes(whole)
        entries = read_manifest(take(path, apart=False), "m").entries
        assert entries[make.key(3999)].output == "out/3999"
        with path.open("r+b") as file:
            file.write(damaged)
            file.truncate()
        with pytest.raises(LedgerError, match="read back"):
            entries[make.key(3999)]


def test_a_file_that_was_replaced_is_read_as_it_was(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "garden.manifest.jsonl"
    path.write_bytes(large(make))
    found = take(path, apart=False)
    path.with_name("new").write_bytes(HEADER)
    path.with_name("new").rename(path)
    entries = read_manifest(found, "m").entries
    assert len(entries) == 4000
    assert entries[make.key(17)].output == "out/17"
    assert found.version != take(path, apart=False).version


def test_a_run_works_on_a_copy_that_nobody_else_can_change(
    open_ledger: Callable[..., Ledger], paths: LedgerPaths, make: Any
) -> None:
    """A manifest that is emptied in place under a run is whole again when that ends."""
    paths.manifest.write_bytes(large(make))
    with open_ledger() as ledger:
        ledger.record_sync(make.intended(9999))
        os.truncate(paths.manifest, 0)
        assert ledger.entries[make.key(3)].output == "out/3"
        ledger.record_sync(make.accepted(9999))
    with open_ledger() as ledger:
        assert len(ledger.entries) == 4001
        assert ledger.entries[make.key(9999)].state is State.ACCEPTED


def test_a_copy_is_kept_in_memory_where_the_disk_has_no_room(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path | None) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seedream_jobs.ledger.filesystem.unnamed", full)
    path = tmp_path / "garden.manifest.jsonl"
    path.write_bytes(large(make))
    found = take(path, apart=True)
    os.truncate(path, 0)
    assert not isinstance(found, OpenSnapshot)
    assert len(read_manifest(found, "m").entries) == 4000


@pytest.mark.parametrize("piece", [1, 7, 100, PIECE])
def test_pieces_are_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr("seedream_jobs.ledger.filesystem.PIECE", piece)
    monkeypatch.setattr("seedream_jobs.ledger.filesystem._AT_ONCE", piece)
    path = tmp_path / "lines"
    for data in (b"", b"\n", b"a", b"a\n\nbc\n", b"a\r\x0b" * 50 + b"\n" + b"b" * 120, b"x\n" * 200):
        path.write_bytes(data)
        found = list(take(path, apart=False).pieces())
        assert b"".join(found) == data
        assert all(one.endswith(b"\n") for one in found[:-1])
        assert all(found)


def test_an_entry_takes_little_memory_read_or_recorded(tmp_path: Path, make: Any) -> None:
    """Its key and a number: not its line, not its prompt; and reading or writing it all needs a few pieces more."""
    count = 20_000
    path = tmp_path / "garden.manifest.jsonl"
    path.write_bytes(large(make, count))
    tracemalloc.start()
    manifest = read_manifest(take(path, apart=True), "m")
    kept, peak = tracemalloc.get_traced_memory()
    assert kept / count < MOST_BYTES
    assert peak - kept < 8 * PIECE
    tracemalloc.reset_peak()
    for number in range(count):
        manifest.entries.put(make.entry(number + count, "q" * 300))
    assert sum(len(chunk) for chunk in manifest.chunks()) > 2 * path.stat().st_size * 0.9
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept / (2 * count) < MOST_BYTES
    assert peak - kept < 8 * PIECE
