"""The journal: records made durable by 64 callers, without a sync, with one fsync each, and by group commit."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.result import Goal, Result, Row, ratios
from bench.timing import file_system, real_folder

TITLE = "The journal: records a second, 64 callers that each wait for their record"
CALLERS = 64
RECORD = b'{"crc":"00000000","event":"accepted",' + b"x" * 460 + b"}\n"


def plainly(sync: Callable[[int], None] | None, folder: Path, count: int) -> float:
    """Write on the event loop, and sync there or not at all."""

    async def main(descriptor: int) -> None:
        numbers = iter(range(count))

        async def work() -> None:
            for _ in numbers:
                os.write(descriptor, RECORD)
                if sync is not None:
                    sync(descriptor)
                await asyncio.sleep(0)

        await asyncio.gather(*(work() for _ in range(CALLERS)))

    descriptor = os.open(folder / "journal", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        start = time.perf_counter()
        asyncio.run(main(descriptor))
        return count / (time.perf_counter() - start)
    finally:
        os.close(descriptor)


def grouped(folder: Path, count: int) -> float:
    """Through the ledger's group commit."""
    from seedream_jobs.atomic_file import DISK
    from seedream_jobs.ledger.journal import GroupCommit

    async def main(commit: GroupCommit) -> None:
        numbers = iter(range(count))

        async def work() -> None:
            for _ in numbers:
                await commit.append(lambda: RECORD)

        await asyncio.gather(*(work() for _ in range(CALLERS)))

    disk = DISK
    commit = GroupCommit(disk, disk.create(folder / "journal"), "journal")
    try:
        start = time.perf_counter()
        asyncio.run(main(commit))
        return count / (time.perf_counter() - start)
    finally:
        commit.close()


def run(quick: bool) -> Result:
    """Interleaved, on a real file system."""
    count, rounds = (500, 1) if quick else (5000, 5)
    found: dict[str, list[float]] = {"no sync": [], "one fsync per record, on the loop": [], "group commit": []}
    parent = real_folder()
    for _ in range(rounds):
        for what, figures in found.items():
            with tempfile.TemporaryDirectory(dir=parent) as name:
                folder = Path(name)
                if what == "group commit":
                    figures.append(grouped(folder, count))
                else:
                    figures.append(plainly(None if what == "no sync" else os.fsync, folder, count))
    inline = found["one fsync per record, on the loop"]
    return Result(
        stage="journal",
        title=TITLE,
        rows=tuple(
            Row(what=what, values=tuple(figures), unit="/s", base=what.startswith("one"))
            for what, figures in found.items()
        ),
        goals=(
            Goal(
                what="group commit / one fsync per record",
                ratios=ratios(found["group commit"], inline),
                goal=1.0,
                at_least=True,
                why="this disk's fsync is quicker than a change of threads",
            ),
        ),
        notes=(
            f"{count:,} records of {len(RECORD)} bytes on {file_system(parent)}. A run at 64 workers and 50 ms makes "
            "2,560 records a second; an fsync on the event loop would also hold up every POST that is under way.",
        ),
    )
