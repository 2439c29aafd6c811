"""A manifest of any size: read a piece at a time, and little more in memory than its lines."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.atomic_file import DISK, PIECE
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.manifest import Entries, read_manifest
from seedream_jobs.ledger.paths import LedgerPaths
from seedream_jobs.ledger.state import State

HEADER = b'{"format":1,"id":"m-1","job":"garden.yaml","origin":"https://api.example"}\n'
MOST_BYTES = 400
"""Memory of one entry beside its line: its key (128 bytes), the objects (105), and its share of a dictionary."""


def large(make: Any, count: int = 4000) -> bytes:
    """A manifest of more than a piece."""
    entries = Entries()
    for number in range(count):
        entries.put(make.entry(number, "p" * 300))
    written = HEADER + b"".join(entries.lines())
    assert len(written) > PIECE
    return written


def test_a_file_that_was_replaced_is_read_as_it_was(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "garden.manifest.jsonl"
    path.write_bytes(large(make))
    found = DISK.snapshot(path)
    path.with_name("new").write_bytes(HEADER)
    path.with_name("new").rename(path)
    entries = read_manifest(found, "m").entries
    assert len(entries) == 4000
    assert entries[make.key(17)].output == "out/17"
    assert found.version != DISK.snapshot(path).version


def test_a_manifest_that_is_emptied_in_place_under_a_run_is_whole_again_when_that_ends(
    open_ledger: Callable[..., Ledger], paths: LedgerPaths, make: Any
) -> None:
    paths.manifest.write_bytes(large(make))
    with open_ledger() as ledger:
        ledger.record_sync(make.intended(9999))
        os.truncate(paths.manifest, 0)
        assert ledger.entries[make.key(3)].output == "out/3"
        ledger.record_sync(make.accepted(9999))
    with open_ledger() as ledger:
        assert len(ledger.entries) == 4001
        assert ledger.entries[make.key(9999)].state is State.ACCEPTED


@pytest.mark.parametrize("piece", [1, 7, 100, PIECE])
def test_pieces_are_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr("seedream_jobs.atomic_file.PIECE", piece)
    monkeypatch.setattr("seedream_jobs.atomic_file._AT_ONCE", piece)
    path = tmp_path / "lines"
    for data in (b"", b"\n", b"a", b"a\n\nbc\n", b"a\r\x0b" * 50 + b"\n" + b"b" * 120, b"x\n" * 200):
        path.write_bytes(data)
        found = list(DISK.snapshot(path).pieces())
        assert b"".join(found) == data
        assert all(one.endswith(b"\n") for one in found[:-1])
        assert all(found)


def test_an_entry_takes_little_more_memory_than_its_line(tmp_path: Path, make: Any) -> None:
    """Read or recorded; and writing it all needs a few pieces more."""
    count = 20_000
    path = tmp_path / "garden.manifest.jsonl"
    path.write_bytes(large(make, count))
    most = path.stat().st_size / count + MOST_BYTES
    tracemalloc.start()
    manifest = read_manifest(DISK.snapshot(path), "m")
    kept, peak = tracemalloc.get_traced_memory()
    assert kept / count < most
    assert peak - kept < 8 * PIECE
    tracemalloc.reset_peak()
    for number in range(count):
        manifest.entries.put(make.entry(number + count, "q" * 300))
    assert sum(len(chunk) for chunk in manifest.chunks()) > 2 * path.stat().st_size * 0.9
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept / (2 * count) < most
    assert peak - kept < 8 * PIECE
