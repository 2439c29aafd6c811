"""Campaigns whose images are ready to be fetched, and the real command beside the emulator."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.engines.machines import Machine
from tests.service import serving

GARDEN = """\
version: 1
request: {prompt: "{{ subject }} {{ number }} in a garden"}
matrix:
  subject: [a heron, a tabby cat]
  number: {range: [1, 12]}
output: {dir: out/garden}
"""


@pytest.fixture(scope="session")
def detached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A campaign of 24 requests that are done, and of which no image was fetched."""
    folder = tmp_path_factory.mktemp("detached") / "campaign"
    folder.mkdir()
    (folder / "garden.yaml").write_text(GARDEN, encoding="utf-8")
    books = tmp_path_factory.mktemp("service")
    with serving("--state", str(books), "--delay", "0", "--spread", "0", "--images", "plain") as url:
        machine = Machine(folder, url)
        machine.run("run", "garden.yaml", "--detach", "--yes", "--budget", "5")
        a_minute_later(machine.manifest)
        yield machine


def a_minute_later(manifest: Path) -> None:
    """As if the tasks had been accepted a minute earlier: nobody has to wait until they are worth asking for."""
    earlier = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = re.sub(r'"submitted_at":"[^"]*"', f'"submitted_at":"{earlier}"', manifest.read_text(encoding="utf-8"))
    manifest.write_text(re.sub(r'"crc":"[0-9a-f]{8}",', "", text), encoding="utf-8")


@pytest.fixture
def machine(detached: Machine, tmp_path: Path) -> Callable[[str], Machine]:
    """A further machine with a checkout of its own."""

    def make(name: str) -> Machine:
        shutil.copytree(detached.folder, tmp_path / name / "campaign", ignore=shutil.ignore_patterns("*.lock"))
        return Machine(tmp_path / name / "campaign", detached.url)

    return make


@pytest.fixture
def images() -> Callable[[Path], dict[str, bytes]]:
    def found(folder: Path) -> dict[str, bytes]:
        return {
            str(file.relative_to(folder)): file.read_bytes()
            for file in sorted((folder / "out").rglob("*.jpeg"))
            if "gallery" not in file.parts
        }

    return found
