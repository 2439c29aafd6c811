"""What fetching into a store costs beside a bare GET, sha256 and put with the same clients: 10 MB bodies."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from anyio import to_thread

from bench.fetch import Counts, Measured, Silent, beside, entries_of
from bench.result import Result
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


async def bare(base: str, folder: Path, count: int, workers: int) -> None:
    """The loop that anyone would write."""
    import obstore

    numbers, client = iter(range(count)), open_objects(place(), seconds=60)
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


async def ours(base: str, folder: Path, count: int, workers: int) -> None:
    counts = Counts()
    async with Downloads(base, user_agent="bench", connections=workers) as downloads:
        fetcher = Fetcher(
            downloads=downloads,
            service=Silent(),
            ledger=counts,
            steps=Kept(ImageStore(Objects(place(), seconds=60))),
            profile=profiles()[DEFAULT_MODEL],
            folder=folder,
            root=folder,
            now=time.time,
            concurrency=workers,
        )
        done = await fetcher.run(entries_of(base, count))
    assert done.images == counts.events == count, done


def place() -> str:
    """A place of its own in the store."""
    return f"s3://claims/{secrets.token_hex(4)}"


def run(quick: bool) -> Result:
    """Into moto's S3 server, a process of its own."""
    sys.path.insert(0, str(ROOT))
    from tests import stores

    with stores.s3_server() as endpoint:
        os.environ.update(stores.s3_environment(endpoint))
        return beside(
            bare,
            ours,
            stage="store",
            title=TITLE,
            names=("bare GET, sha256 and put", "fetch into a store"),
            goal=1.2,
            count=4 if quick else 12,
            rounds=1 if quick else 5,
            parent=real_folder(),
            note="into moto's S3 server; ours adds the temporary file, the checks, the read back of that file and "
            "the record.",
        )
