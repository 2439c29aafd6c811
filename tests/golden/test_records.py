"""Records that an earlier version wrote are read and written byte for byte: manifests, journals, what both make.

The files in ``records/`` were written once and never change. They hold every state, every kind of event and every
field: ``before`` is a manifest, ``run`` a journal that a crash left beside it, ``after`` what the two are folded into,
``union`` what git makes of two branches' manifests, ``joined`` what is read from that.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from seedream_jobs.ledger import journal
from seedream_jobs.ledger.codec import (
    canonical,
    decode,
    decode_event,
    encode,
    parse,
    seal,
    unsealed,
)
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.manifest import read_manifest
from seedream_jobs.ledger.paths import paths_for
from seedream_jobs.ledger.state import Entry, Event, State

RECORDS = Path(__file__).parent / "records"
MANIFESTS = ("before", "after", "joined")


def lines_of(name: str) -> list[bytes]:
    return (RECORDS / name).read_bytes().splitlines()


@pytest.mark.parametrize("name", ["before", "joined"])
def test_a_manifest_is_written_as_it_was(name: str) -> None:
    record = (RECORDS / f"{name}.manifest.jsonl").read_bytes()
    assert b"".join(read_manifest(record, name).chunks()) == record


@pytest.mark.parametrize("name", [*MANIFESTS, "union"])
def test_every_entry_is_encoded_as_it_was(name: str) -> None:
    for line in lines_of(f"{name}.manifest.jsonl"):
        plain = parse(unsealed(line))
        if "state" in plain:
            assert seal(canonical(encode(decode(Entry, plain)))) == line


def test_every_event_is_encoded_as_it_was() -> None:
    kinds = set()
    for number, line in enumerate(lines_of("run.journal")):
        plain = parse(unsealed(line))
        if "event" in plain:
            kinds.add(plain["event"])
            del plain["seq"]
            assert journal.record(number, encode(decode_event(plain))) == line + b"\n"
    assert len(kinds) == len({kind.__name__ for kind in Event.__subclasses__()})


def test_the_records_hold_every_state_that_is_written() -> None:
    written = b"".join((RECORDS / f"{name}.manifest.jsonl").read_bytes() for name in MANIFESTS)
    assert all(b'"state":"%s"' % state.value.encode() in written for state in State if state is not State.INTENT)


def test_a_journal_left_by_a_crash_is_folded_as_it_was(tmp_path: Path) -> None:
    paths = paths_for(tmp_path / "garden.yaml")
    shutil.copy(RECORDS / "before.manifest.jsonl", paths.manifest)
    shutil.copy(RECORDS / "run.journal", paths.journal)
    opened = Ledger.open(
        paths,
        job="garden.yaml",
        origin="https://api.example/v1",
        new_id=lambda: "m-new",
        root=tmp_path,
        command="fetch garden.yaml",
        now=1_785_700_000,
    )
    opened.close()
    assert not paths.journal.exists()
    assert paths.manifest.read_bytes() == (RECORDS / "after.manifest.jsonl").read_bytes()


def test_the_union_of_two_branches_is_joined_as_it_was() -> None:
    union = (RECORDS / "union.manifest.jsonl").read_bytes()
    assert b"".join(read_manifest(union, "union").chunks()) == (RECORDS / "joined.manifest.jsonl").read_bytes()
