"""What is kept of a fetched image, end to end: file, sidecar, thumbnail, metadata; and what survives a kill."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from seedream_jobs.api.outcomes import Flight, Outcome
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.ledger.state import Entry, Image, State, Stored
from seedream_jobs.results.image_metadata import AiLabels
from seedream_jobs.results.image_steps import CampaignImageSteps
from seedream_jobs.results.sidecar import Provenance, find_stored_image, read_sidecar, sidecar, write_sidecar
from seedream_jobs.results.thumbnails import Decoders, thumbnail_path
from seedream_jobs.run.fetch import Fetched, Fetcher

pytestmark = pytest.mark.anyio
NOW = 1_700_000_000


class Silent:
    """A service that can't be asked for fresh links."""

    async def submit(self, worker: int, body: bytes, *, idempotency_key: str, flight: Flight) -> Outcome:
        raise NotImplementedError

    async def task(self, task_id: str) -> TaskReport:
        return TaskReport(status="unavailable")


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    with Decoders(2) as pool:
        yield pool


@pytest.fixture
def run(http: Any, record: Any, profile: Any, tmp_path: Path, decoders: Decoders) -> Callable[..., Any]:
    """``fetch`` with all that belongs to a campaign in this test's folder."""

    async def go(work: Any, **options: Any) -> Fetched:
        steps = CampaignImageSteps(
            decoders=decoders,
            folder=tmp_path,
            root=tmp_path,
            cache=tmp_path / ".seedream/thumbnails",
            now=lambda: NOW,
            provenance=Provenance(job="garden.yaml", template="a {{ subject }}", commit="c" * 40),
            **options,
        )
        async with http() as downloads:
            fetcher = Fetcher(
                downloads=downloads,
                service=Silent(),
                ledger=record,
                steps=steps,
                profile=profile,
                folder=tmp_path,
                root=tmp_path,
                now=lambda: NOW,
                waits=(0.0,),
            )
            return await fetcher.run(work)

    return go


async def test_image_sidecar_and_thumbnail_stand_side_by_side(run, host, entry, picture, record, tmp_path):
    """The bytes are untouched; the sidecar says where they come from; the thumbnail is found by their hash."""
    await run([entry(host.serves("/a", picture()), request_id="r-1")])
    (image,) = record.events[0].images
    assert (tmp_path / image.file).read_bytes() == picture()
    assert thumbnail_path(tmp_path / ".seedream/thumbnails", image.sha256).is_file()
    content = json.loads((tmp_path / "out/heron.json").read_bytes())
    assert content == {
        "format": "seedream-jobs/sidecar/1",
        "address": "garden/subject=heron#1",
        "cell": {"subject": "heron"},
        "commit": "c" * 40,
        "generation": 1,
        "job": "garden.yaml",
        "key": entry().key,
        "model": "doubao-seedream-5-0-lite",
        "repeat": 1,
        "request": {"model": "doubao-seedream-5-0-lite", "prompt": "a heron"},
        "request_id": "r-1",
        "stored_at": "2023-11-14T22:13:20Z",
        "submitted_at": "2023-11-14T22:12:20Z",
        "task_id": "task_heron",
        "template": "a {{ subject }}",
        "ai_labels": {"c2pa": False},
        "image": {
            "bytes": len(picture()),
            "expires_at": NOW + 3600,
            "file": "heron.jpeg",
            "format": "jpeg",
            "height": 2048,
            "number": 1,
            "sha256": hashlib.sha256(picture()).hexdigest(),
            "warnings": [],
            "width": 2048,
        },
    }


async def test_a_whole_image_of_a_partly_failed_request_is_not_downloaded_again(
    run, host, entry, picture, reply, record
):
    """The sidecar of the first attempt stands for it: only the missing image is asked for."""
    work = entry(host.serves("/1", picture()), host.serves("/2", reply(b"", 503)), max_images=2)
    await run([work])
    assert record.events == []
    host.asked.clear()
    host.serves("/2", picture(seed=2))
    await run([work])
    assert host.asked == ["/2"]
    (event,) = record.events
    assert [image.file for image in event.images] == ["out/heron-i1.jpeg", "out/heron-i2.jpeg"]
    assert all(image.sha256 and image.width for image in event.images)


async def test_more_images_than_asked_for_are_all_kept(run, host, entry, picture, record, tmp_path):
    """One was asked for and three came, two of them the same picture: each has a file and a sidecar of its own."""
    urls = [host.serves("/1", picture()), host.serves("/2", picture()), host.serves("/3", picture(seed=2))]
    work = entry(*urls)
    await run([work])
    (event,) = record.events
    assert [image.file for image in event.images] == [f"out/heron-i{n}.jpeg" for n in (1, 2, 3)]
    numbers = [json.loads((tmp_path / f"out/heron-i{n}.json").read_bytes())["image"]["number"] for n in (1, 2, 3)]
    assert numbers == [1, 2, 3]
    host.asked.clear()
    await run([work])  # as after a crash before the record
    assert host.asked == []


async def test_one_picture_of_two_requests_is_adopted(run, host, entry, picture, record, tmp_path):
    """Both are stored, whoever comes first; what is written on the way is each one's own."""
    same = picture()
    work = [entry(host.serves(f"/{n}", same), name=f"n{n}", output="out/heron") for n in range(8)]
    done = await run(work)
    assert (done.requests, done.unfinished) == (8, [])
    assert {event.images[0].file for event in record.events} == {"out/heron.jpeg"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["heron.jpeg", "heron.json"]


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
async def test_embedded_metadata_is_on_record(run, host, entry, picture, record, tmp_path, format):
    """The record's hash is that of the file on disk; the sidecar keeps that of the download; pixels are the same."""
    body = picture((2048, 2048), format)
    request = {"model": "doubao-seedream-5-0-lite", "prompt": "a heron", "output_format": format.lower()}
    await run([entry(host.serves("/a", body), request=request)], embed_metadata=True)
    (image,) = record.events[0].images
    kept = (tmp_path / image.file).read_bytes()
    assert hashlib.sha256(kept).hexdigest() == image.sha256 != hashlib.sha256(body).hexdigest()
    assert image.bytes == len(kept)
    assert [one.stem for one in (tmp_path / ".seedream").rglob("*.webp")] == [image.sha256]
    with Pillow.open(io.BytesIO(kept)) as after, Pillow.open(io.BytesIO(body)) as before:
        assert after.tobytes() == before.tobytes()
    content = json.loads((tmp_path / "out/heron.json").read_bytes())
    assert content["image"]["downloaded_sha256"] == hashlib.sha256(body).hexdigest()
    assert content["ai_labels"]["iptc_source_type"] == "trainedAlgorithmicMedia"
    await run([entry(host.serves("/a", body), request=request)], embed_metadata=True)
    assert record.events[1] == record.events[0], "and doing it again gives the same file"


async def test_a_foreign_file_is_not_taken_for_a_sidecar(run, host, entry, picture, record, tmp_path):
    """``heron.json`` was there and is somebody's: it stays, and the image is recorded with a warning."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/heron.json").write_text('{"mine": true}')
    await run([entry(host.serves("/a", picture()))])
    assert (tmp_path / "out/heron.json").read_text() == '{"mine": true}'
    assert "no sidecar" in record.events[0].images[0].warnings[0]


def made(entry: Any, tmp_path: Path) -> tuple[Entry, Image, bytes]:
    """A stored image with its sidecar's bytes."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/heron.png").write_bytes(b"bytes")
    image = Image(file="out/heron.png", sha256=hashlib.sha256(b"bytes").hexdigest(), format="png", warnings=("w",))
    work = entry("http://x/a")
    content = sidecar(
        work, 0, image, provenance=Provenance(), labels=AiLabels(), came_sha256=image.sha256 or "", stored_at=NOW
    )
    return work, image, content


def test_a_sidecar_is_deterministic_and_read_back(entry, tmp_path):
    """The same values give the same bytes, and an interrupted fetch finds its image by them."""
    work, image, content = made(entry, tmp_path)
    assert write_sidecar(tmp_path / "out/heron.png", content, work.key, tmp_path / "out/.p") == ()
    assert write_sidecar(tmp_path / "out/heron.png", content, work.key, tmp_path / "out/.p") == ()
    assert (tmp_path / "out/heron.json").read_bytes() == content
    assert find_stored_image(work, 0, tmp_path, tmp_path) == image
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["heron.json", "heron.png"]


@pytest.mark.parametrize(
    "change",
    [
        {"key": "v1:other"},
        {"generation": 2},
        {"task_id": "task_other"},
        {"format": "else"},
        {"image": []},
        {"image": {"file": "../heron.png", "number": 1, "format": "png"}},
        {"image": {"file": "heron.png", "number": 1, "format": []}},
        {"image": {"file": ".", "number": 1, "format": "png"}},
        {"image": {"file": 7, "number": 1, "format": "png"}},
        {"image": {"file": "heron.png", "number": 1, "format": "png", "sha256": "0"}},
        {"image": {"file": "heron.png", "number": 1, "format": "png", "width": "x"}},
        {"image": {"file": "gone.png", "number": 1, "format": "png"}},
    ],
)
def test_a_sidecar_of_something_else_proves_nothing(entry, tmp_path, change):
    """Another request's, an earlier generation's, an edited or a hostile sidecar: the image is downloaded."""
    work, _, content = made(entry, tmp_path)
    (tmp_path / "out/heron.json").write_text(json.dumps(json.loads(content) | change))
    assert find_stored_image(work, 0, tmp_path, tmp_path) is None
    (tmp_path / "out/heron.json").write_bytes(content[:40])
    assert find_stored_image(work, 0, tmp_path, tmp_path) is None
    assert read_sidecar(tmp_path / "out/heron.json") is None


PROGRAM = """
import json, sys
from functools import partial
from pathlib import Path
import anyio
from seedream_jobs.api.downloads import Downloads
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.ledger.state import Entry, Image, State
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles
from seedream_jobs.results.image_steps import CampaignImageSteps
from seedream_jobs.results.thumbnails import Decoders
from seedream_jobs.run.fetch import Fetcher

base, folder, work = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])

class Journal:
    async def record(self, event):
        with open(folder / "journal", "a") as file:
            file.write(event.key + "\\n")

class Service:
    async def task(self, task_id):
        return TaskReport(status="unavailable")

async def main():
    done = (folder / "journal").read_text().split() if (folder / "journal").exists() else []
    entries = [
        Entry(key=key, address=key, cell={}, request={"model": DEFAULT_MODEL}, repeat=1, output="out/" + key[3:],
              max_images=len(urls), generation=1, state=State.COMPLETED, task_id="t",
              images=tuple(Image(url=url, expires_at=2_000_000_000) for url in urls))
        for key, urls in work.items() if key not in done
    ]
    with Decoders(2) as decoders:
        steps = CampaignImageSteps(decoders=decoders, folder=folder, root=folder, cache=folder / "cache", now=lambda: 0)
        async with Downloads(base, user_agent="tests") as downloads:
            fetcher = Fetcher(
                downloads=downloads, service=Service(), ledger=Journal(), steps=steps,
                profile=profiles()[DEFAULT_MODEL], folder=folder, root=folder, now=lambda: 1_700_000_000, concurrency=3,
                on_image=lambda event: print(event.kind, flush=True),
            )
            await fetcher.run(entries)

anyio.run(main)
"""


def test_kill_9_leaves_no_half_image_and_the_next_call_fetches_the_rest(host, picture, reply, tmp_path):
    """Killed after each number of stored images: every file with a name is whole, and no image is fetched twice in
    vain: the next process downloads what has no sidecar yet, and ends with everything recorded once."""
    bodies = {f"/{n}": picture((500, 500), quality=60 + n, noise=True) for n in range(8)}
    urls = [host.serves(path, reply(body, pause=0.004)) for path, body in bodies.items()]
    work = {f"v1:{n}": urls[2 * n : 2 * n + 2] for n in range(4)}
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), host.url, str(tmp_path), json.dumps(work)]
    for stored in (1, 2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = iter(process.stdout)
        for _ in range(stored):
            next((line for line in lines if line.strip() == "stored"), None)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for file in tmp_path.glob("out/[!.]*.jpeg"):
            assert file.read_bytes() in bodies.values()
    described = len(list(tmp_path.glob("out/*.json")))
    host.asked.clear()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert described > 0
    assert len(host.asked) <= 8 - described
    assert sorted((tmp_path / "journal").read_text().split()) == sorted(work)
    assert sorted(path.read_bytes() for path in tmp_path.glob("out/*.jpeg")) == sorted(bodies.values())
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("many", [20, pytest.param(200, marks=pytest.mark.slow)])
async def test_memory_does_not_grow_with_the_number_of_images(http, host, entry, profile, tmp_path, many):
    """Many bodies of a megabyte take no more than ten do: the peak of traced memory is compared."""
    import tracemalloc

    from seedream_jobs.run.images import Examined, ImageSteps

    class Undecoded(ImageSteps):
        def examine(self, temp: Path, sha256: str) -> Examined:
            return Examined(width=2048, height=2048)

    class Counts:
        stored = 0

        async def record(self, event: object) -> None:
            self.stored += isinstance(event, Stored)

    body = b"\xff\xd8\xff" + os.urandom(1024 * 1024)
    urls = [host.serves(f"/{n}", body) for n in range(10 + many)]
    peaks = []
    for numbers in (range(10), range(10, 10 + many)):
        count = Counts()
        work = [entry(urls[n], name=f"n{n}") for n in numbers]
        async with http() as downloads:
            tracemalloc.start()
            fetcher = Fetcher(
                downloads=downloads,
                service=Silent(),
                ledger=count,
                steps=Undecoded(),
                profile=profile,
                folder=tmp_path,
                root=tmp_path,
                now=lambda: NOW,
                concurrency=4,
            )
            await fetcher.run(work)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert count.stored == len(numbers)
    assert peaks[1] < 1.5 * peaks[0] + 2_000_000, peaks


def test_links_are_watched_by_the_clock(entry, profile):
    """24 h by the reply, 72 h by the profile where the reply said nothing, and accepted tasks by their submission."""
    from seedream_jobs.run.images import time_left

    soon = entry("http://x/a", expires_at=NOW + 3600)
    silent = entry(Image(url="http://x/a"), name="silent", since=NOW - 71 * 3600)
    fresh = entry("http://x/a", name="fresh", expires_at=NOW + 24 * 3600)
    running = replace(entry(name="running"), state=State.ACCEPTED, submitted_at=NOW - 72 * 3600)
    stored = replace(soon, state=State.STORED)
    assert [time_left(e, NOW, profile) for e in (soon, silent, fresh, running, stored)] == [3600, 3600, 86400, 0, None]


async def test_bytes_that_can_not_be_decoded_are_kept_as_they_came(run, host, entry, picture, record, tmp_path):
    """Metadata is put only into what was decoded: whoever looks at the rest wants the bytes that were sent."""
    body = picture((2048, 2048), "JPEG")
    body = body[: len(body) // 2]
    request = {"model": "doubao-seedream-5-0-lite", "prompt": "a heron"}
    await run([entry(host.serves("/a", body), request=request)], embed_metadata=True)
    assert (tmp_path / "out/heron.damaged").read_bytes() == body


async def test_an_image_under_another_name_is_not_downloaded_again(run, host, entry, picture, record, tmp_path):
    """``heron.jpeg`` was somebody else's, so it lies at ``heron-2.jpeg``; its record was lost in a crash."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/heron.jpeg").write_bytes(b"mine")
    work = entry(host.serves("/a", picture()))
    for _ in range(2):
        await run([work])
    assert len(host.asked) == 1
    assert [event.images[0].file for event in record.events] == ["out/heron-2.jpeg"] * 2
