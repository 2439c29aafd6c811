"""What fetching into a store costs beside a bare GET, sha256 and put with the same clients: 10 MB bodies."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from anyio import to_thread

from bench.fetch import BYTES, SERVER, Counts, Measured, Silent, entries_of, ten_megabytes
from bench.result import Goal, Result, Row, ratios
from bench.timing import ROOT, real_folder
from seedream_jobs.api.downloads import Downloads
from seedream_jobs.ledger.state import Image
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles
from seedream_jobs.object_store import Objects, open_objects
from seedream_jobs.results.image_store import ImageStore
from seedream_jobs.run.fetch import Fetcher

TITLE = "Fetching into a store: 10 MB bodies, hashed and put"


@dataclass
class Kept(Measured):
    """The steps of a fetch that leaves nothing on this disk."""

    store: ImageStore
    local = False

    def keep(self, temp: Path, image: Image) -> str | None:
        # One server sends one body: by its own name each is put.
        return self.store.keep(temp, replace(image, sha256=secrets.token_hex(32)))


async def bare(base: str, url: str, folder: Path, count: int, workers: int) -> None:
    """The loop that anyone would write."""
    import obstore

    numbers, client = iter(range(count)), open_objects(url, seconds=60)
    async with Downloads(base, user_agent="bench", connections=workers) as downloads:

        async def work() -> None:
            for number in numbers:
                hashed, body = hashlib.sha256(), bytearray()

                def write(data: bytes, body=body, hashed=hashed) -> None:  # type: ignore[no-untyped-def]
                    body.extend(data)
                    hashed.update(data)

                await downloads.get(f"{base}/{number}", write, max_bytes=64 * 1024 * 1024)
                name = f"{hashed.hexdigest()}-{secrets.token_hex(4)}"

                def put(name: str = name, body: bytearray = body) -> None:
                    obstore.put(client, name, bytes(body), mode="create", use_multipart=False)

                await to_thread.run_sync(put)

        async with anyio.create_task_group() as tasks:
            for _ in range(workers):
                tasks.start_soon(work)


async def ours(base: str, url: str, folder: Path, count: int, workers: int) -> None:
    counts = Counts()
    async with Downloads(base, user_agent="bench", connections=workers) as downloads:
        fetcher = Fetcher(
            downloads=downloads,
            service=Silent(),
            ledger=counts,
            steps=Kept(ImageStore(Objects(url, seconds=60))),
            profile=profiles()[DEFAULT_MODEL],
            folder=folder,
            root=folder,
            now=time.time,
            concurrency=workers,
        )
        done = await fetcher.run(entries_of(base, count))
    assert done.images == counts.events == count, done


def timed(which: object, base: str, parent: Path, count: int, workers: int) -> tuple[float, float]:
    """CPU and wall seconds of one run, into a place of its own."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        url = f"s3://claims/{secrets.token_hex(4)}"
        cpu, wall = time.process_time(), time.perf_counter()
        anyio.run(which, base, url, Path(folder), count, workers)  # type: ignore[arg-type]
        return time.process_time() - cpu, time.perf_counter() - wall


def run(quick: bool) -> Result:
    """Interleaved; the image host and moto's S3 server are processes of their own."""
    sys.path.insert(0, str(ROOT))
    from tests import stores

    count, workers, rounds = (4, 4, 1) if quick else (12, 4, 5)
    parent = real_folder()
    with stores.s3_server() as endpoint, tempfile.TemporaryDirectory() as scratch:
        os.environ.update(stores.s3_environment(endpoint))
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
    return Result(
        stage="store",
        title=TITLE,
        rows=(
            Row(what="bare GET, sha256 and put, CPU", values=tuple(one[0] for one in theirs), unit="s", base=True),
            Row(what="fetch, CPU", values=tuple(one[0] for one in mine), unit="s"),
            Row(what="bare GET, sha256 and put, wall", values=tuple(one[1] for one in theirs), unit="s"),
            Row(what="fetch, wall", values=tuple(one[1] for one in mine), unit="s"),
        ),
        goals=(
            Goal(
                what="fetch into a store / bare GET, sha256 and put, CPU",
                ratios=ratios([one[0] for one in mine], [one[0] for one in theirs]),
                goal=1.2,
            ),
        ),
        notes=(
            f"{count} bodies of {BYTES // 10**6} MB, {workers} at a time, into moto's S3 server; ours adds the "
            "temporary file, the checks, the read back of that file and the record.",
        ),
    )
