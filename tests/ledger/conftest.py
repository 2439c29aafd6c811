"""Requests to record, a ledger on a real folder, and a disk that forgets or fails on demand."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from seedream_jobs.atomic_file import Snapshot
from seedream_jobs.errors import LedgerError
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.paths import LedgerPaths, paths_for
from seedream_jobs.ledger.state import Accepted, Completed, Entry, Event, Image, Intended, State

NOW = 1_800_000_000


class Make:
    """Events of numbered requests."""

    now = NOW

    @staticmethod
    def key(number: int) -> str:
        return f"v1:{number:064x}"

    def intended(self, number: int, *, generation: int = 1, at: int = NOW) -> Intended:
        return Intended(
            key=self.key(number),
            at=at,
            generation=generation,
            address=f"garden/subject=heron-{number}#1",
            cell={"subject": f"heron {number}"},
            request={"model": "doubao-seedream-5-0-lite", "prompt": f"鹭 {number}"},
            repeat=1,
            output=f"out/garden/heron-{number}",
            max_images=1,
            max_cost_usd=Decimal("0.0228"),
            idempotency_key=f"{number:x}-{generation}",
        )

    def entry(self, number: int, prompt: str = "") -> Entry:
        return Entry(
            key=self.key(number),
            address=f"garden/subject=heron-{number}#1",
            cell={"subject": f"heron {number}"},
            request={"prompt": prompt},
            repeat=1,
            output=f"out/{number}",
            max_images=1,
            generation=1,
            state=State.ACCEPTED,
        )

    def accepted(self, number: int, task_id: str | None = None) -> Accepted:
        return Accepted(key=self.key(number), at=NOW + 1, task_id=task_id or f"task_{number}", request_id=f"r{number}")

    def completed(self, number: int) -> Completed:
        image = Image(url=f"https://img/{number}", expires_at=NOW + 3600)
        return Completed(key=self.key(number), at=NOW + 2, images=(image,), cost_usd=Decimal("0.0228"))

    def lives(self, count: int) -> list[Event]:
        """Every request intended and accepted, every second one completed."""
        events: list[Event] = []
        for number in range(count):
            events += [self.intended(number), self.accepted(number)]
            if number % 2:
                events.append(self.completed(number))
        return events


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def paths(tmp_path: Path) -> LedgerPaths:
    return paths_for(tmp_path / "garden.yaml")


@pytest.fixture
def open_ledger(paths: LedgerPaths, tmp_path: Path) -> Callable[..., Ledger]:
    def opened(**changes: object) -> Ledger:
        settings: dict[str, object] = {
            "job": "garden.yaml",
            "origin": "https://api.example",
            "new_id": lambda: "m-1",
            "root": tmp_path,
            "command": "run garden.yaml",
            "now": NOW,
        }
        return Ledger.open(paths, **(settings | changes))  # type: ignore[arg-type]

    return opened


@pytest.fixture
def peek(paths: LedgerPaths, tmp_path: Path) -> Callable[..., Ledger]:
    return lambda **changes: Ledger.peek(paths, root=tmp_path, **changes)


class _File:
    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.synced = len(data)


class Disk:
    """A disk in memory that tells what a power cut leaves.

    Synced bytes stay; of bytes not synced a power cut keeps any beginning. Names changed since the folder was last
    synced stay up to any point of their order. ``fault(operation, count)`` is asked before each operation: it may raise
    ``OSError``, or say how many bytes a write takes.
    """

    has_runs = True

    def __init__(self) -> None:
        self.names: dict[Path, _File] = {}
        self.durable_names: dict[Path, _File] = {}
        self.pending: list[dict[Path, _File]] = []
        self.open: dict[int, _File] = {}
        self.operations: list[str] = []
        self.dead_at: int | None = None
        self.fault: Callable[[str, int], int | None] = lambda operation, count: None
        self.forgets_sync = False
        self._next = 3

    def _step(self, operation: str) -> int | None:
        count = len(self.operations)
        self.operations.append(operation)
        if self.dead_at is not None and count >= self.dead_at:
            raise OSError(errno.EIO, "power cut")
        return self.fault(operation, count)

    def read(self, path: Path) -> bytes:
        if path not in self.names:
            raise FileNotFoundError(path)
        return bytes(self.names[path].data)

    def snapshot(self, path: Path) -> Snapshot:
        return Snapshot(self.read(path))

    def list_folder(self, folder: Path) -> list[str]:
        return [path.name for path in self.names if path.parent == folder]

    def create(self, path: Path, mode: int = 0o644) -> int:
        self._step("create")
        file = _File()
        self.names[path] = file
        self.pending.append(dict(self.names))
        return self._opened(file)

    def append(self, path: Path) -> int:
        self._step("append")
        return self._opened(self.names[path])

    def _opened(self, file: _File) -> int:
        self._next += 1
        self.open[self._next] = file
        return self._next

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        taken = self._step("write")
        some = bytes(data)[:taken]
        self.open[descriptor].data += some
        return len(some)

    def truncate(self, descriptor: int, size: int) -> None:
        self._step("truncate")
        file = self.open[descriptor]
        del file.data[size:]
        file.synced = min(file.synced, size)

    def sync(self, descriptor: int) -> None:
        self._step("sync")
        if not self.forgets_sync:
            self.open[descriptor].synced = len(self.open[descriptor].data)

    def close(self, descriptor: int) -> None:
        del self.open[descriptor]

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename")
        self.names[target] = self.names.pop(source)
        self.pending.append(dict(self.names))

    def remove(self, path: Path) -> None:
        self._step("remove")
        if self.names.pop(path, None) is not None:
            self.pending.append(dict(self.names))

    def sync_folder(self, folder: Path) -> None:
        self._step("sync_folder")
        self.durable_names, self.pending = dict(self.names), []

    def after_power_cut(self, seed: int) -> Disk:
        chance = random.Random(seed)
        names = chance.choice([self.durable_names, *self.pending])
        survivor = Disk()
        for path, file in names.items():
            kept = chance.choice([file.synced, len(file.data), chance.randint(file.synced, len(file.data))])
            survivor.names[path] = _File(bytes(file.data[:kept]))
        survivor.durable_names = dict(survivor.names)
        return survivor

    def after_kill(self) -> Disk:
        """What a killed process leaves: the kernel's pages outlive it."""
        survivor = Disk()
        survivor.names = {path: _File(bytes(file.data)) for path, file in self.names.items()}
        survivor.durable_names = dict(survivor.names)
        return survivor


@pytest.fixture
def new_disk() -> type[Disk]:
    return Disk


@pytest.fixture
def session(open_ledger: Callable[..., Ledger], make: Make) -> Callable[..., list[Event]]:
    """Record the lives of some requests on a disk, as far as it lets: returns what was acknowledged."""

    def run(disk: Disk, first: int, count: int) -> list[Event]:
        acknowledged: list[Event] = []
        try:
            with open_ledger(fs=disk) as ledger:
                for number in range(first, first + count):
                    for event in (make.intended(number), make.accepted(number)):
                        ledger.record_sync(event)
                        acknowledged.append(event)
                ledger.record_sync(make.intended(first + count))
                acknowledged.append(make.intended(first + count))
        except LedgerError:
            pass
        return acknowledged

    return run


@pytest.fixture
def losses(open_ledger: Callable[..., Ledger]) -> Callable[[Disk, list[Event]], list[str]]:
    """What of the acknowledged events a next command does not find."""

    def missing(disk: Disk, acknowledged: list[Event]) -> list[str]:
        lost = []
        with open_ledger(fs=disk) as ledger:
            for event in acknowledged:
                entry = ledger.entries.find(event.key)
                if entry is None:
                    lost.append(f"{event.key} unknown")
                elif isinstance(event, Accepted) and entry.task_id != event.task_id:
                    lost.append(f"{event.key} lost {event.task_id}: {entry.state}")
                elif isinstance(event, Intended) and entry.state.value not in ("in_doubt", "accepted"):
                    lost.append(f"{event.key} is {entry.state}")
        return lost

    return missing
