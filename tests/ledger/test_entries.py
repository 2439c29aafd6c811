"""Entries are kept as lines: what can be told of them, and that a manifest of any size needs little more memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.atomic_file import DISK, PIECE
from seedream_jobs.errors import FindingsError
from seedream_jobs.ledger.codec import canonical, encode, seal
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.manifest import Entries, read_manifest
from seedream_jobs.ledger.paths import LedgerPaths
from seedream_jobs.ledger.state import Attempt, Entry, Image, State


def entry(name: str, **fields: object) -> Entry:
    plain = {"key": f"v1:{name}", "address": name, "cell": {}, "request": {"prompt": '{"images": 1}'}}
    known = {"repeat": 1, "output": name, "max_images": 1, "generation": 1, "state": State.ACCEPTED}
    return Entry(**{**plain, **known, **fields})  # type: ignore[arg-type]


def test_one_task_of_several_submissions_is_found() -> None:
    """Of two requests, or of two generations of one; a prompt that quotes an id is no task."""
    entries = Entries()
    earlier = Attempt(generation=1, state=State.FAILED, task_id="task_2")
    for one in (
        entry("a", task_id="task_1", request={"prompt": '"task_id":"task_3"'}),
        entry("b", task_id="task_1"),
        entry("c", generation=2, task_id="task_2", earlier=(earlier,)),
        entry("d", task_id="task_3"),
    ):
        entries.put(one)
    assert entries.shared_tasks() == {"task_1": ["a", "b"], "task_2": ["c", "c"]}


def test_the_price_of_an_image_is_told_of_every_submission() -> None:
    """A group is billed by the images that were delivered; a submission without a cost tells no price."""
    entries = Entries()
    earlier = Attempt(generation=1, state=State.FAILED, cost_usd=Decimal("0.02"), submitted_at=86_400)
    images = (Image(url="https://a"), Image(url="https://b"), Image(error="refused"))
    for one in (
        entry("a", submitted_at=0, cost_usd=Decimal("0.06"), max_images=3, images=images),
        entry("b", generation=2, earlier=(earlier,)),
        entry("c", cost_usd=Decimal(0)),
    ):
        entries.put(one)
    assert sorted(entries.prices()) == [("1970-01-01", Decimal("0.03")), ("1970-01-02", Decimal("0.02"))]


@pytest.mark.parametrize("changed", [{"cost_usd": 5}, {"cost_usd": "0.02", "images": 7}, {"cost_usd": "much"}])
def test_a_forged_line_is_refused_by_whoever_looks(changed: dict[str, Any]) -> None:
    """Whoever changes a record on purpose can make a checksum, too."""
    forged = encode(entry("a", request={"prompt": "p"})) | changed
    entries = Entries()
    assert entries.put_line(seal(canonical(forged)), forged)
    with pytest.raises(FindingsError) as caught:
        list(entries.prices())
    assert "damaged" in caught.value.diagnostics[0].message


def test_entries_may_come_and_go_while_they_are_looked_through() -> None:
    """A run records new requests while others are fetched: who began before sees those that were there."""
    entries = Entries()
    for name in "abcd":
        entries.put(entry(name, state=State.INTENT if name in "cd" else State.STORED))
    before = ["v1:a", "v1:b", "v1:c", "v1:d"]
    for number, walk in enumerate((iter(entries), entries.raw(), entries.items())):
        seen = []
        for step, one in enumerate(walk):
            seen.append(one)
            entries.put(entry(f"new{number}-{step}", state=State.INTENT))
            entries.put(entry("c", state=State.STORED))
        assert len(seen) >= 1
        if number == 0:
            assert seen == before


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
