"""What fetching costs beside a bare loop with the same client: CPU seconds for 10 MB bodies, hashed and written."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from bench.result import Goal, Result, Row, ratios
from bench.timing import file_system, real_folder
from seedream_jobs.api.downloads import Downloads
from seedream_jobs.api.outcomes import Flight, Outcome
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.ledger.state import Entry, Event, Image, State
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles
from seedream_jobs.results.thumbnails import open_image
from seedream_jobs.run.fetch import Fetcher
from seedream_jobs.run.images import Examined, ImageSteps

TITLE = "Fetching: 10 MB bodies, hashed and written"
BYTES = 10 * 1000 * 1000
SERVER = """
import asyncio, sys
body = open(sys.argv[1], "rb").read()
head = b"HTTP/1.1 200 OK\\r\\nContent-Type: image/png\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
async def serve(reader, writer):
    try:
        while await reader.readuntil(b"\\r\\n\\r\\n"):
            writer.write(head + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Measured(ImageSteps):
    """Looks at the header only: decoding is another bench's."""

    def examine(self, temp: Path, sha256: str) -> Examined:
        with open_image(temp) as image:
            return Examined(width=image.size[0], height=image.size[1])


class Counts:
    def __init__(self) -> None:
        self.events = 0

    async def record(self, event: Event) -> None:
        self.events += 1


class Silent:
    """A service that nobody asks: every link is fresh."""

    async def submit(self, worker: int, body: bytes, *, idempotency_key: str, flight: Flight) -> Outcome:
        raise NotImplementedError

    async def task(self, task_id: str) -> TaskReport:
        raise NotImplementedError


def ten_megabytes(file: Path) -> None:
    """A PNG whose one chunk of noise makes it exactly that long; nobody decodes it here."""
    from seedream_jobs.results.image_metadata import PNG_START, png_chunk

    header = (2048).to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    head, tail = PNG_START + png_chunk("IHDR", header), png_chunk("IEND", b"")
    file.write_bytes(head + png_chunk("IDAT", os.urandom(BYTES - len(head) - len(tail) - 12)) + tail)


async def bare(base: str, folder: Path, count: int, workers: int) -> None:
    """The loop that anyone would write."""
    numbers = iter(range(count))
    async with Downloads(base, user_agent="bench", connections=workers) as downloads:

        async def work() -> None:
            for number in numbers:
                hashed = hashlib.sha256()
                with open(folder / f"{number}.png", "wb", buffering=1024 * 1024) as file:

                    def write(data: bytes, file=file, hashed=hashed) -> None:  # type: ignore[no-untyped-def]
                        file.write(data)
                        hashed.update(data)

                    await downloads.get(f"{base}/{number}", write, max_bytes=64 * 1024 * 1024)
                hashed.hexdigest()

        async with anyio.create_task_group() as tasks:
            for _ in range(workers):
                tasks.start_soon(work)


def entries_of(base: str, count: int) -> list[Entry]:
    """Completed requests with one image each."""
    return [
        Entry(
            key=f"v1:{number:016x}{0:048x}",
            address=f"{number}",
            cell={},
            request={"model": DEFAULT_MODEL, "output_format": "png"},
            repeat=1,
            output=f"{number}",
            max_images=1,
            generation=1,
            state=State.COMPLETED,
            images=(Image(url=f"{base}/{number}", expires_at=4_000_000_000),),
        )
        for number in range(count)
    ]


async def ours(base: str, folder: Path, count: int, workers: int) -> None:
    counts = Counts()
    async with Downloads(base, user_agent="bench", connections=workers) as downloads:
        fetcher = Fetcher(
            downloads=downloads,
            service=Silent(),
            ledger=counts,
            steps=Measured(),
            profile=profiles()[DEFAULT_MODEL],
            folder=folder,
            root=folder,
            now=time.time,
            concurrency=workers,
        )
        done = await fetcher.run(entries_of(base, count))
    assert done.images == counts.events == count, done


Side = Callable[[str, Path, int, int], Awaitable[None]]
"""Fetches from a base URL into a folder: so many images, by so many workers."""


def timed(which: Side, base: str, parent: Path, count: int, workers: int) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        cpu, wall = time.process_time(), time.perf_counter()
        anyio.run(which, base, Path(folder), count, workers)
        return time.process_time() - cpu, time.perf_counter() - wall


def beside(
    bare: Side, ours: Side, *, stage: str, title: str, names: tuple[str, str], goal: float, count: int, rounds: int,
    parent: Path, note: str,
) -> Result:  # fmt: skip
    """Both sides interleaved, four at a time; both download what one server, a process of its own, sends.

    :param names: of the bare side, and of ours in the goal
    """
    workers = 4
    with tempfile.TemporaryDirectory() as scratch:
        body = Path(scratch) / "body"
        ten_megabytes(body)
        with subprocess.Popen([sys.executable, "-c", SERVER, str(body)], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                base = f"http://127.0.0.1:{int(server.stdout.readline())}"
                runs = [
                    [timed(which, base, parent, count, workers) for which in (bare, ours)] for _ in range(rounds + 1)
                ]
            finally:
                server.kill()
    theirs, mine = ([pair[side] for pair in runs[1:]] for side in (0, 1))  # the first round warms the imports up
    plain, fetch = names
    return Result(
        stage=stage,
        title=title,
        rows=(
            Row(what=f"{plain}, CPU", values=tuple(one[0] for one in theirs), unit="s", base=True),
            Row(what="fetch, CPU", values=tuple(one[0] for one in mine), unit="s"),
            Row(what=f"{plain}, wall", values=tuple(one[1] for one in theirs), unit="s"),
            Row(what="fetch, wall", values=tuple(one[1] for one in mine), unit="s"),
        ),
        goals=(
            Goal(
                what=f"{fetch} / {plain}, CPU",
                ratios=ratios([one[0] for one in mine], [one[0] for one in theirs]),
                goal=goal,
            ),
        ),
        notes=(f"{count} bodies of {BYTES // 10**6} MB, {workers} at a time, {note}",),
    )


def run(quick: bool) -> Result:
    """Onto this disk."""
    parent = real_folder()
    return beside(
        bare,
        ours,
        stage="fetch",
        title=TITLE,
        names=("bare loop", "fetch"),
        goal=1.3,
        count=4 if quick else 20,
        rounds=1 if quick else 5,
        parent=parent,
        note=f"onto {file_system(parent)}; ours adds the temporary name, the checks, fsync, the final name and the "
        "record. Decoding is the next stage's.",
    )
