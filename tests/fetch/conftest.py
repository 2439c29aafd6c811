"""A real image host on the loopback, requests to fetch from it, and a record that remembers."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image as Pillow

from seedream_jobs.api.downloads import Downloads
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.ledger.state import Entry, Event, Image, State
from seedream_jobs.model_profile import DEFAULT_MODEL, Profile, profiles
from seedream_jobs.results.thumbnails import decode
from seedream_jobs.run.fetch import Fetched, Fetcher
from seedream_jobs.run.images import Examined, ImageSteps

NOW = 1_700_000_000


@dataclass
class Reply:
    """What the host answers: with ``cut`` only so many bytes of the body leave before the connection is closed."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    pause: float = 0.0


class ImageHost:
    """Serves the replies it was given by path; a list is used up one by one, its last one stays."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.asked: list[str] = []
        self.saw_key = False
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append(self.path)
                host.saw_key |= "authorization" in self.headers
                host.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def serves(self, path: str, *replies: Reply | bytes) -> str:
        self.replies[path] = [Reply(reply) if isinstance(reply, bytes) else reply for reply in replies]
        return self.url + path

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        queue = self.replies.get(handler.path, [Reply(b"no such image", 404)])
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        body = reply.body if reply.cut is None else reply.body[: reply.cut]
        try:
            for start in range(0, len(body), 65536):
                handler.wfile.write(body[start : start + 65536])
                if reply.pause:
                    handler.wfile.flush()
                    threading.Event().wait(reply.pause)
        except OSError:
            pass
        handler.close_connection = True

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Remembers:
    """A record in memory, in the order in which events were made durable."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def record(self, event: Event) -> None:
        self.events.append(event)


class Service:
    """Answers in turn what a task is asked: its images, ``()`` where it is gone, None where nothing is said."""

    def __init__(self, *answers: tuple[Image, ...] | None) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def task(self, task_id: str) -> TaskReport:
        self.asked.append(task_id)
        await anyio.sleep(0.02)  # so that a second image comes to ask meanwhile
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if answer is None:
            return TaskReport(status="unavailable")
        return TaskReport(status="completed" if answer else "gone", images=answer)


class DecodesHere(ImageSteps):
    """Decodes in the process of the tests."""

    def examine(self, temp: Path, sha256: str) -> Examined:
        return decode(temp, None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def host() -> Iterator[ImageHost]:
    served = ImageHost()
    yield served
    served.close()


@pytest.fixture
def profile() -> Profile:
    return profiles()[DEFAULT_MODEL]


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def record() -> Remembers:
    return Remembers()


@pytest.fixture
def http(host: ImageHost) -> Callable[[], Downloads]:
    """The product's downloads, for an API on this machine."""
    return lambda: Downloads(host.url, user_agent="tests")


def _picture(
    size: tuple[int, int] = (2048, 2048), format: str = "JPEG", seed: int = 1, noise: bool = False, **options: Any
) -> bytes:
    out = io.BytesIO()
    if noise:
        Pillow.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1])).save(out, format, **options)
        return out.getvalue()
    small = Pillow.new("RGB", (8, 8))
    small.putdata([((seed * 37 + i * 5) % 256, (i * seed * 3) % 256, (i * 11) % 256) for i in range(64)])
    small.resize(size).save(out, format, **options)
    return out.getvalue()


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """A whole image: of the default request's 2048×2048 pixels and jpeg format unless told otherwise."""
    known: dict[str, bytes] = {}

    def made(*args: Any, **options: Any) -> bytes:
        key = repr((args, sorted(options.items(), key=lambda item: item[0])))
        if key not in known:
            known[key] = _picture(*args, **options)
        return known[key]

    return made


@pytest.fixture
def entry() -> Callable[..., Entry]:
    """A completed request whose images have these links."""

    def made(*urls: str | Image, name: str = "heron", max_images: int = 1, **changes: Any) -> Entry:
        request = changes.pop("request", {"model": DEFAULT_MODEL, "prompt": "a heron"})
        expires_at = changes.pop("expires_at", NOW + 3600)
        images = tuple(url if isinstance(url, Image) else Image(url=url, expires_at=expires_at) for url in urls)
        made = Entry(
            key=f"v1:{name.encode().hex().ljust(64, '0')}",
            address=f"garden/subject={name}#1",
            cell={"subject": name},
            request=request,
            repeat=1,
            output=f"out/{name}",
            max_images=max_images,
            generation=1,
            state=State.COMPLETED,
            task_id=f"task_{name}",
            images=images,
            submitted_at=NOW - 60,
        )
        return replace(made, **changes)

    return made


@pytest.fixture
def run(http: Any, record: Any, profile: Any, tmp_path: Path) -> Callable[..., Any]:
    """A ``Fetcher`` with this test's folder and record, and no waiting between attempts."""

    async def go(work: Any, **options: Any) -> Fetched:
        options = {"waits": (0.0, 0.0), "now": lambda: NOW, "concurrency": 2, "steps": DecodesHere()} | options
        async with http() as downloads:
            options = {"downloads": downloads, "ledger": record, "service": Service(None)} | options
            return await Fetcher(folder=tmp_path, root=tmp_path, profile=profile, **options).run(work)

    return go


@pytest.fixture
def files() -> Callable[[Path], dict[str, bytes]]:
    return _files


@pytest.fixture
def sequence() -> Callable[..., tuple[Service, list[str]]]:
    """A service that answers the questions after fresh links in turn, and the task ids it was asked for."""

    def made(*answers: tuple[Image, ...] | None) -> tuple[Service, list[str]]:
        service = Service(*answers)
        return service, service.asked

    return made


def _files(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``, by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
