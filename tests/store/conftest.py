"""Campaigns whose requests are paid and not fetched yet, a real service behind them, and a store of each kind."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.cli.main import run_command
from tests import stores
from tests.gallery.conftest import chromium as chromium
from tests.gallery.conftest import page as page
from tests.service import serving

JOB = """\
version: 1
request: {prompt: a heron in a garden, resolution: 2K}
matrix: {size: ["1:1", "16:9"]}
output: {dir: out/garden}
"""
KEEPS = ("PATH", "LANG", "TMPDIR", "SYSTEMROOT")


@dataclass(slots=True, kw_only=True)
class Campaign:
    """A campaign's folder, and the environment in which its commands run."""

    folder: Path
    environment: dict[str, str]
    url: str
    capfd: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch
    out: str = ""
    err: str = ""

    def call(self, *words: str) -> int:
        """A command in this process: its exit code; what it printed is kept."""
        with self.patch.context() as patch:
            patch.chdir(self.folder)
            for name in list(os.environ):
                if name not in KEEPS:
                    patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            self.capfd.readouterr()
            code = run_command(list(words))
        self.out, self.err = self.capfd.readouterr()
        assert "Traceback" not in self.out + self.err
        assert code != 70, self.err
        return code

    def line(self, *words: str) -> dict[str, Any]:
        """What ``subprocess`` needs for the same in a process of its own."""
        keeps = {name: os.environ[name] for name in KEEPS if name in os.environ}
        return {"args": words, "cwd": self.folder, "env": keeps | self.environment}

    def images(self) -> dict[str, dict[str, Any]]:
        """The first image of each request on record, by its address."""
        lines = map(json.loads, (self.folder / "garden.manifest.jsonl").read_text().splitlines())
        return {one["address"]: one["images"][0] for one in lines if one.get("images")}

    def local(self) -> dict[str, bytes]:
        """The images on disk, by their name."""
        return {file.name: file.read_bytes() for file in self.folder.glob("out/garden/*.jpeg")}

    def elsewhere(self, name: str) -> Campaign:
        """Another clone, of which only what git has arrives: the job, the policy, the record."""
        folder = self.folder.with_name(name)
        folder.mkdir()
        for file in self.folder.iterdir():
            if file.is_file():
                shutil.copy(file, folder)
        return Campaign(folder=folder, environment=self.environment, url=self.url, capfd=self.capfd, patch=self.patch)


class Stored:
    """The objects of a store, read by another client than ours."""

    def __init__(self, url: str, endpoint: str | None) -> None:
        self.url, self._endpoint = url, endpoint

    def all(self) -> dict[str, bytes]:
        if self._endpoint is None:
            folder = Path(self.url.removeprefix("file://"))
            return {
                path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
            }
        bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        listed = stores.s3_request(self._endpoint, "GET", f"/{bucket}?list-type=2&prefix={prefix}").decode()
        keys = re.findall("<Key>([^<]+)</Key>", listed)
        return {
            key.removeprefix(prefix + "/"): stores.s3_request(self._endpoint, "GET", f"/{bucket}/{key}") for key in keys
        }

    def put(self, name: str, body: bytes) -> None:
        if self._endpoint is None:
            path = Path(self.url.removeprefix("file://"), name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        else:
            stores.s3_request(self._endpoint, "PUT", f"/{self.url.removeprefix('s3://')}/{name}", body)

    def images(self) -> dict[str, bytes]:
        return {name: body for name, body in self.all().items() if name.endswith(".jpeg")}


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    with stores.s3_server() as endpoint:
        yield endpoint


@pytest.fixture(params=["file", "s3"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Stored:
    """An empty store."""
    stores.need("obstore")
    if request.param == "file":
        (tmp_path / "store").mkdir()
        return Stored(f"file://{tmp_path}/store", None)
    return Stored(f"s3://claims/{secrets.token_hex(4)}", request.getfixturevalue("s3"))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = str(tmp_path_factory.mktemp("service"))
    with serving("--state", state, "--delay", "0", "--spread", "0", "--images", "plain") as url:
        yield url


@pytest.fixture(scope="session")
def paid(service: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign's folder after ``run --detach``: nothing is fetched."""
    folder = tmp_path_factory.mktemp("paid") / "campaign"
    folder.mkdir()
    (folder / "garden.yaml").write_text(JOB)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("APIMART_API_KEY", "sk-of-a-test")
        assert run_command(["run", "garden.yaml", "--base-url", service, "--yes", "--detach"]) == 0
    return folder


@pytest.fixture
def new(
    service: str, tmp_path: Path, stored: Stored, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Campaign]:
    """A campaign whose policy names the store, nothing paid."""

    def make(name: str) -> Campaign:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "garden.yaml").write_text(JOB)
        (folder / "policy.yaml").write_text(f'version: 1\nshared: {{images: "{stored.url}"}}\n')
        environment = {"APIMART_API_KEY": "sk-of-a-test", "APIMART_BASE_URL": service, "HOME": str(tmp_path)}
        if stored._endpoint is not None:
            environment |= stores.s3_environment(stored._endpoint)
        return Campaign(folder=folder, environment=environment, url=service, capfd=capfd, patch=monkeypatch)

    return make


@pytest.fixture
def campaign(new: Callable[[str], Campaign], paid: Path) -> Campaign:
    """A campaign whose policy names the store: paid, and not fetched."""
    made = new("campaign")
    shutil.copy(paid / "garden.manifest.jsonl", made.folder)
    return made


@pytest.fixture
def check_objects() -> Callable[[Stored, Campaign], None]:
    """That each image on record is in the store once, under its own digest, and nothing else is."""

    def check(stored: Stored, campaign: Campaign) -> None:
        found = stored.images()
        for name, body in found.items():
            assert name == f"images/{(digest := hashlib.sha256(body).hexdigest())[:2]}/{digest}.jpeg"
        assert sorted(found) == sorted(image["object"] for image in campaign.images().values())
        assert all(image["sha256"] in image["object"] for image in campaign.images().values())

    return check
