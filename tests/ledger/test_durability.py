"""No acknowledged event is lost: power cuts, kills and failing disks at every operation."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from seedream_jobs.atomic_file import Folders, place, write_whole
from seedream_jobs.errors import FindingsError, LedgerError
from seedream_jobs.ledger import journal
from seedream_jobs.ledger.codec import decode_event
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.paths import LedgerPaths
from seedream_jobs.ledger.state import Event, State

Session = Callable[..., list[Event]]
Losses = Callable[[Any, list[Event]], list[str]]


def crash_everywhere(
    new_disk: type[Any], session: Session, losses: Losses, *, seeds: int, fault: str = ""
) -> list[str]:
    """Two sessions with a power cut at each operation of theirs; what of the acknowledged events is gone afterwards."""
    whole = new_disk()
    session(whole, 0, 2)
    session(whole, 10, 2)
    found: list[str] = []
    for cut in range(1, len(whole.operations) + 1):
        disk = new_disk()
        disk.forgets_sync = fault == "no fsync"
        disk.dead_at = cut
        acknowledged = session(disk, 0, 2) + session(disk, 10, 2)
        disk.dead_at = None
        for survivor in (disk.after_kill(), *(disk.after_power_cut(seed) for seed in range(seeds))):
            found += [f"cut before operation {cut}: {loss}" for loss in losses(survivor, acknowledged)]
    return found


def test_a_power_cut_at_any_operation_loses_nothing_acknowledged(
    new_disk: type[Any], session: Session, losses: Losses
) -> None:
    assert crash_everywhere(new_disk, session, losses, seeds=4) == []


@pytest.mark.slow
def test_a_power_cut_at_any_operation_loses_nothing_in_many_ways_of_forgetting(
    new_disk: type[Any], session: Session, losses: Losses
) -> None:
    assert crash_everywhere(new_disk, session, losses, seeds=60) == []


def test_the_power_cut_harness_catches_a_missing_fsync(new_disk: type[Any], session: Session, losses: Losses) -> None:
    try:
        found = crash_everywhere(new_disk, session, losses, seeds=4, fault="no fsync")
    except FindingsError:
        found = ["a manifest without its content"]
    assert found


def test_a_second_crash_while_folding_the_first_loses_nothing(
    new_disk: type[Any], session: Session, losses: Losses
) -> None:
    first = new_disk()
    session(first, 0, 3)
    end = len(first.operations)
    for left in range(1, 12):  # the operations of the fold at the end, from its last to its first
        for second in range(1, 12):
            disk = new_disk()
            disk.dead_at = end - left
            acknowledged = session(disk, 0, 3)
            disk = disk.after_power_cut(second)
            disk.dead_at = second
            session(disk, 20, 0)
            assert losses(disk.after_power_cut(left), acknowledged) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_an_error_at_any_operation_stops_the_ledger_and_nothing_after_it_is_acknowledged(
    new_disk: type[Any], session: Session, losses: Losses, code: int
) -> None:
    whole = new_disk()
    session(whole, 0, 3)
    for broken in range(len(whole.operations)):
        disk = new_disk()

        def fault(operation: str, count: int, broken: int = broken) -> int | None:
            if count == broken:
                raise OSError(code, os.strerror(code))
            return None

        disk.fault = fault
        acknowledged = session(disk, 0, 3)
        if disk.operations[broken] in ("write", "sync") and broken > 6:
            after = [name for name in disk.operations[broken + 1 :] if name in ("write", "sync")]
            assert len(after) == 0, "a failed journal was written to again"
        disk.fault = lambda operation, count: None
        assert losses(disk.after_kill(), acknowledged) == []
        assert losses(disk.after_power_cut(broken), acknowledged) == []


def test_a_dead_ledger_refuses_everything_that_follows(
    new_disk: type[Any], open_ledger: Callable[..., Ledger], make: Any
) -> None:
    disk = new_disk()
    with open_ledger(fs=disk) as ledger:
        ledger.record_sync(make.intended(1))

        def fault(operation: str, count: int) -> int | None:
            if operation == "sync":
                raise OSError(errno.EIO, "Input/output error")
            return None

        disk.fault = fault
        with pytest.raises(LedgerError, match="Input/output error"):
            ledger.record_sync(make.accepted(1))
        disk.fault = lambda operation, count: None
        for _ in range(2):
            with pytest.raises(LedgerError):
                ledger.record_sync(make.intended(2))
    with open_ledger(fs=disk) as ledger:
        assert make.key(2) not in ledger.entries


def test_a_disk_that_takes_one_byte_at_a_time_is_slow_but_right(
    new_disk: type[Any], session: Session, losses: Losses
) -> None:
    disk = new_disk()
    disk.fault = lambda operation, count: 1 if operation == "write" else None
    acknowledged = session(disk, 0, 2)
    assert len(acknowledged) == 5
    assert losses(disk.after_kill(), acknowledged) == []


def test_a_disk_that_takes_nothing_is_full(new_disk: type[Any], session: Session) -> None:
    disk = new_disk()
    disk.fault = lambda operation, count: 0 if operation == "write" else None
    assert session(disk, 0, 2) == []


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_records_that_are_ready_together_share_a_sync(
    new_disk: type[Any], open_ledger: Callable[..., Ledger], make: Any
) -> None:
    disk = new_disk()
    first_sync = threading.Event()
    with open_ledger(fs=disk) as ledger:
        ledger.record_sync(make.intended(0))
        before = disk.operations.count("sync")

        def fault(operation: str, count: int) -> int | None:
            if operation == "sync":
                first_sync.wait(10)  # the first sync takes until the others have gathered
            return None

        disk.fault = fault
        async with anyio.create_task_group() as group:
            for number in range(1, 65):
                group.start_soon(ledger.record, make.intended(number))
            await anyio.wait_all_tasks_blocked()
            first_sync.set()
        syncs = disk.operations.count("sync") - before
        assert syncs <= 2
        assert all(ledger.entries.summary(make.key(number)) == (State.INTENT, 1) for number in range(65))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_cancelled_record_is_recorded_all_the_same(open_ledger: Callable[..., Ledger], make: Any) -> None:
    with open_ledger() as ledger:
        await ledger.record(make.intended(1))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ledger.record(make.accepted(1))
        assert ledger.entries[make.key(1)].task_id == "task_1"
        hot = journal.read_journal(ledger.paths.journal.read_bytes(), "j")
        assert hot is not None
        assert [decode_event(record) for record in hot.records] == [make.intended(1), make.accepted(1)]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_every_waiter_hears_of_a_failed_sync(
    new_disk: type[Any], open_ledger: Callable[..., Ledger], make: Any
) -> None:
    disk = new_disk()
    heard = []
    with open_ledger(fs=disk) as ledger:
        await ledger.record(make.intended(0))

        def fault(operation: str, count: int) -> int | None:
            if operation == "sync":
                raise OSError(errno.ENOSPC, "No space left on device")
            return None

        disk.fault = fault

        async def record(number: int) -> None:
            try:
                await ledger.record(make.intended(number))
            except LedgerError as error:
                heard.append(error.exit_code)

        async with anyio.create_task_group() as group:
            for number in range(1, 20):
                group.start_soon(record, number)
    assert heard == [74] * 19


_WRITER = """
import sys
from pathlib import Path
from decimal import Decimal
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.paths import paths_for
from seedream_jobs.ledger.state import Accepted, Intended

folder = Path(sys.argv[1])
with Ledger.open(paths_for(folder / "garden.yaml"), job="garden.yaml", origin="https://api.example",
                 new_id=lambda: "m-1", root=folder, command="run", now=1) as ledger:
    for number in range(int(sys.argv[2]), 100000):
        key = f"v1:{number:064x}"
        ledger.record_sync(Intended(key=key, at=1, generation=1, address="a", cell={}, request={}, repeat=1,
                                    output="o", max_images=1, max_cost_usd=Decimal(1), idempotency_key="k"))
        ledger.record_sync(Accepted(key=key, at=1, task_id=f"task_{number}"))
        print(number, flush=True)
"""


def test_kill_9_loses_no_acknowledged_task(tmp_path: Path, open_ledger: Callable[..., Ledger], make: Any) -> None:
    acknowledged: list[int] = []
    for _round in range(3):
        first = len(acknowledged) + 1000 * _round
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_WRITER), str(tmp_path), str(first)],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            for _ in range(20 + _round):
                acknowledged.append(int(writer.stdout.readline()))
            writer.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    with open_ledger() as ledger:
        for number in acknowledged:
            assert ledger.entries[make.key(number)].task_id == f"task_{number}"
        doubtful = [entry for entry in ledger.entries.values() if entry.state is not State.ACCEPTED]
        assert len(doubtful) <= 3
        assert all(entry.state is State.IN_DOUBT and entry.doubt == "crash" for entry in doubtful)


def test_a_look_overlays_a_hot_journal_and_writes_nothing(
    new_disk: type[Any], paths: LedgerPaths, session: Session, peek: Callable[..., Ledger], make: Any
) -> None:
    disk = new_disk()
    disk.dead_at = 11
    session(disk, 0, 3)
    disk = disk.after_kill()
    before = {path: bytes(file.data) for path, file in disk.names.items()}
    assert paths.journal in before
    ledger = peek(fs=disk)
    assert ledger.entries.summary(make.key(0)) is not None
    assert not [entry for entry in ledger.entries.values() if entry.state is State.INTENT]
    assert disk.operations == []
    assert {path: bytes(file.data) for path, file in disk.names.items()} == before
    with pytest.raises(LedgerError, match="reading only"):
        ledger.record_sync(make.intended(7))


def test_a_look_during_a_run_shows_what_is_in_flight(
    open_ledger: Callable[..., Ledger], peek: Callable[..., Ledger], make: Any
) -> None:
    with open_ledger() as ledger:
        ledger.record_sync(make.intended(1))
        assert peek().entries.summary(make.key(1)) == (State.INTENT, 1)
    assert peek().entries.summary(make.key(1)) == (State.IN_DOUBT, 1)
    assert peek().entries[make.key(1)].doubt == "interrupted"


def test_a_torn_record_is_cut_off_and_told(
    paths: LedgerPaths, open_ledger: Callable[..., Ledger], peek: Callable[..., Ledger], make: Any
) -> None:
    with open_ledger() as ledger:
        ledger.record_sync(make.intended(1))
        hot, cold = paths.journal.read_bytes(), paths.manifest.read_bytes()
    torn = journal.record(2, {"event": "expired", "key": "v1:1", "at": 1})[:-9]
    paths.manifest.write_bytes(cold)
    paths.journal.write_bytes(hot + torn)
    paths.journal.with_suffix(".serial").unlink()  # a crash comes before the fold, which notes that it wrote once more
    assert [note.code for note in peek().notes] == ["journal-torn"]
    with open_ledger() as ledger:
        assert [note.code for note in ledger.notes] == ["journal-torn"]
        assert ledger.entries[make.key(1)].doubt == "crash"
    assert not paths.journal.exists()
    assert peek().notes == ()


def test_a_journal_of_another_manifest_is_never_applied(
    paths: LedgerPaths, open_ledger: Callable[..., Ledger], peek: Callable[..., Ledger], make: Any
) -> None:
    with open_ledger() as ledger:
        ledger.record_sync(make.intended(1))
        hot = paths.journal.read_bytes()
    paths.journal.write_bytes(hot.replace(b"m-1", b"m-2"))
    with pytest.raises(FindingsError):
        peek()
    paths.journal.write_bytes(hot)  # it builds on the empty manifest, not on the one it was folded into
    for look in (peek, open_ledger):
        with pytest.raises(FindingsError) as caught:
            look()
        assert caught.value.diagnostics[0].code == "journal-foreign"
    assert paths.journal.read_bytes() == hot


def test_on_macos_every_sync_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``fsync`` there ends in the drive's cache: of files, of folders' names and of images alike."""
    synced: list[int] = []

    def full(descriptor: int, command: int) -> None:
        assert command == 51
        synced.append(descriptor)

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("fcntl.F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr("fcntl.fcntl", full)
    monkeypatch.setattr("os.fsync", lambda descriptor: pytest.fail("fsync"))
    write_whole(tmp_path / "record", [b"x"])
    Folders(tmp_path, tmp_path).hold("out/a")
    (tmp_path / "out" / "part").write_bytes(b"y")
    place(tmp_path / "out" / "part", tmp_path / "out" / "a", ".png", "")
    assert len(synced) >= 6
