"""A store that is full, slow to tell, or has other bytes; and the same checks against faults that were put in."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.atomic_file import free_name
from seedream_jobs.errors import CredentialsError, SeedreamError, UnfinishedError
from seedream_jobs.ledger.state import Image
from seedream_jobs.object_store import Objects
from seedream_jobs.results.image_steps import CampaignImageSteps
from seedream_jobs.results.image_store import ImageStore, bring_back, object_name
from tests import stores
from tests.store.conftest import Campaign, Stored

BODY = b"\xff\xd8\xff picture" * 200
DIGEST = hashlib.sha256(BODY).hexdigest()
NAME = object_name(DIGEST, ".jpeg")
IMAGE = Image(file="a.jpeg", object=NAME, sha256=DIGEST, bytes=len(BODY), format="jpeg")


class Bucket(BaseHTTPRequestHandler):
    """S3's objects in memory; at each PUT one fault: the status it says, and whether it does it all the same."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    faults: list[tuple[int, bool]]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status, done = self.faults.pop(0) if self.faults else (200, True)
        taken = self.path in self.objects and self.headers.get("if-none-match") == "*"
        if done and not taken:
            self.objects[self.path] = body
        if status:
            self._say(412 if taken and status == 200 else status)
        else:  # the reply is lost
            self.close_connection = True

    def do_GET(self) -> None:
        self._say(200 if self.path in self.objects else 404, self.objects.get(self.path, b""))

    def _say(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"x"')
        self.send_header("Last-Modified", "Thu, 26 Nov 2026 12:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Bucket]]:
    stores.need("obstore")
    kind = type("Own", (Bucket,), {"objects": {}, "faults": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    for name, value in stores.s3_environment(f"http://127.0.0.1:{server.server_address[1]}").items():
        monkeypatch.setenv(name, value)
    yield kind
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(bucket: type[Bucket]) -> ImageStore:
    return ImageStore(Objects("s3://claims/images", seconds=10))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "a.part"
    made.write_bytes(BODY)
    return made


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([(503, False)] * 4, id="unavailable at first"),
        pytest.param([(503, True)], id="unavailable, and done all the same"),
        pytest.param([(0, True)], id="the reply is lost"),
        pytest.param([(0, False), (0, True)], id="lost, then done and lost"),
        pytest.param([(409, False)] * 2, id="conflicts with nothing"),
        pytest.param([(412, False)], id="says that it is there, and it is not"),
    ],
)
def test_what_passes_is_waited_for(
    store: ImageStore, bucket: type[Bucket], file: Path, faults: list[tuple[int, bool]]
) -> None:
    """Whatever was said, the image is there afterwards."""
    bucket.faults[:] = faults
    assert store.keep(file, IMAGE) == NAME
    assert list(bucket.objects.values()) == [BODY]
    assert store.keep(file, IMAGE) == NAME  # another fetcher, or the same one after its death


@pytest.mark.parametrize("status", [503, 507, 409, 412, 404])
def test_what_stays_is_a_refusal(
    store: ImageStore, bucket: type[Bucket], file: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full store, one that says "exists" of nothing, a bucket that is gone: nothing is believed to be kept."""
    monkeypatch.setattr("seedream_jobs.object_store._TRIES", 2)
    bucket.faults[:] = [(status, False)] * 40
    with pytest.raises(UnfinishedError, match="can't be reached"):
        store.keep(file, IMAGE)
    assert not bucket.objects


def test_a_refused_key_is_told(store: ImageStore, bucket: type[Bucket], file: Path) -> None:
    bucket.faults[:] = [(403, False)] * 40
    with pytest.raises(CredentialsError, match="refuses"):
        store.keep(file, IMAGE)


def test_what_a_record_says_bounds_nothing(store: ImageStore, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither how much is read nor how long a worker may take; and a name that leads elsewhere is not taken."""
    store.keep(file, IMAGE)
    asked: list[int] = []
    get = Objects.get
    monkeypatch.setattr(Objects, "get", lambda self, path, *, most: asked.append(most) or get(self, path, most=most))
    monkeypatch.setattr("seedream_jobs.results.image_store.allow_images", lambda count, size: asked.append(size))
    assert store.read(replace(IMAGE, bytes=1 << 50)) == BODY
    assert asked == [128 << 20, len(BODY)]
    (file.parent / "a.jpeg").symlink_to(file)
    assert free_name(file, file.parent / "a", ".jpeg", DIGEST).name == "a-2.jpeg"


def check_other_bytes(stored: Stored, store: ImageStore, file: Path, folder: Path) -> None:
    """Bytes that lie under another's digest are refused, left, and never brought."""
    stored.put(NAME, b"somebody else's")
    with pytest.raises(UnfinishedError, match="another sha256"):
        store.keep(file, IMAGE)
    assert stored.all()[NAME] == b"somebody else's"
    with pytest.raises(SeedreamError):
        bring_back(store, IMAGE, folder / "a.jpeg", "v1:0")
    assert not (folder / "a.jpeg").exists()


@pytest.fixture
def opened(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> ImageStore:
    if stored._endpoint is not None:
        for name, value in stores.s3_environment(stored._endpoint).items():
            monkeypatch.setenv(name, value)
    return ImageStore(Objects(stored.url, seconds=10))


def test_other_bytes_under_a_digest(stored: Stored, opened: ImageStore, file: Path, tmp_path: Path) -> None:
    check_other_bytes(stored, opened, file, tmp_path)


def _overwrites(self: Objects, path: str, body: bytes) -> bool:
    import obstore

    obstore.put(self._store(), path, body)
    return True


def _believes(self: Objects, path: str, body: bytes) -> bool:
    import obstore
    from obstore.exceptions import AlreadyExistsError

    with contextlib.suppress(AlreadyExistsError):
        obstore.put(self._store(), path, body, mode="create")
    return True


def _reads(self: ImageStore, image: Image) -> bytes:
    return self.objects.get(image.object or "", most=1 << 20) or b""


@pytest.mark.parametrize("stored", ["file"], indirect=True)
@pytest.mark.parametrize(
    ("fault", "where"),
    [(_overwrites, "Objects.create"), (_believes, "Objects.create"), (_reads, "ImageStore.read")],
)
def test_the_check_sees_a_fault(
    stored: Stored,
    opened: ImageStore,
    file: Path,
    tmp_path: Path,
    fault: Callable[..., Any],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A precondition that is left out, an answer that is believed, bytes that are not checked."""
    monkeypatch.setattr(Objects if where.startswith("Objects") else ImageStore, where.partition(".")[2], fault)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_other_bytes(stored, opened, file, tmp_path)


@pytest.mark.parametrize("stored", ["file"], indirect=True)
def test_the_check_sees_a_record_before_its_image(
    campaign: Campaign, stored: Stored, check_objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that says that it has kept an image, and has not."""
    monkeypatch.setattr(CampaignImageSteps, "keep", lambda self, temp, image: object_name(str(image.sha256), ".jpeg"))
    assert campaign.call("fetch", "garden.yaml", "--no-gallery") == 0
    with pytest.raises(AssertionError):
        check_objects(stored, campaign)
    assert campaign.call("fetch", "garden.yaml", "--verify", "--no-gallery") == 0  # ``monkeypatch`` still says so
    monkeypatch.undo()
    assert campaign.call("fetch", "garden.yaml", "--verify", "--no-gallery") == 0
    check_objects(stored, campaign)  # from the disk: no link was asked again
