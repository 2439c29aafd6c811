"""A campaign in a real git repository, commands run in it, and documents made of hostile words."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from seedream_jobs.cli.main import run_command

GARDEN = """\
version: 1
request: {prompt: "{{ subject }} in a garden, {{ style.text }}", resolution: 2K}
matrix:
  subject: [a heron, a tabby cat]
  style:
    - {id: photo, text: photography}
    - {id: ink, text: ink painting}
output: {dir: out/garden}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Campaign:
    """A git repository with one job, ``garden.yaml``, of four requests, committed on ``main``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def git(self, *words: str) -> str:
        """Run git in it, as nobody in particular."""
        ended = subprocess.run(
            ["git", "-c", "user.name=someone", "-c", "user.email=someone@example.org", *words],
            cwd=self.folder,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
            capture_output=True,
            text=True,
            check=True,
        )
        return ended.stdout.strip()

    def write(self, path: str, text: str | bytes) -> Path:
        """Write a file, folders included."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace words in a file; they must be there."""
        text = (self.folder / path).read_text(encoding="utf-8")
        assert old in text
        self.write(path, text.replace(old, new))

    def commit(self, message: str = "change") -> str:
        """Commit everything; the commit's id."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """See ``Campaign``; it is also the current folder."""
    folder = tmp_path / "campaign"
    folder.mkdir()
    made = Campaign(folder)
    made.git("init", "-q", "-b", "main")
    made.write("garden.yaml", GARDEN)
    made.commit("a garden")
    monkeypatch.chdir(folder)
    for name in ("APIMART_API_KEY", "APIMART_BASE_URL", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run ``seedream-jobs`` in this process; no ending may be a mistake of ours."""

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        with contextlib.suppress(SystemExit):
            code = int(run_command(list(arguments)))
        out, err = capfd.readouterr()
        assert code != 70, err
        return Ended(code=code, out=out, err=err)

    return run


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Draws a small PNG: width and height in pixels."""
    return draw_png


def draw_png(width: int = 64, height: int = 64) -> bytes:
    """A small PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + bytes(3 * width) for _ in range(height))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
