"""The command as people run it: a process of its own, in a folder of its own, with an environment that we know."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.service import serving

GARDEN = """\
version: 1
request: {prompt: "{{ subject }} in a garden", resolution: 2K}
matrix:
  subject: [a heron, a tabby cat]
  size: [16:9, 1:1]
output: {dir: out/garden}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended: its exit code and what it wrote."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A folder with one job of four requests, ``garden.yaml``."""
    folder = tmp_path / "campaign"
    folder.mkdir()
    (folder / "garden.yaml").write_text(GARDEN, encoding="utf-8")
    return folder


@pytest.fixture
def command(campaign: Path) -> Command:
    """Run ``seedream-jobs`` in the campaign's folder; no ending may show a traceback or a mistake of ours."""

    def run(*arguments: str, cwd: Path = campaign, timeout: float = 60, **environment: str) -> Ended:
        ended = subprocess.run(
            [sys.executable, "-m", "seedream_jobs", *arguments],
            cwd=cwd,
            env=_environment(cwd) | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        out, err = ended.stdout.decode(), ended.stderr.decode()
        assert "Traceback" not in out + err, out + err
        assert ended.returncode != 70, err
        return Ended(code=ended.returncode, out=out, err=err)

    return run


@pytest.fixture
def quick(campaign: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The same in this process: for what ends before a socket is opened, a hundred times as fast."""

    def run(*arguments: str, **environment: str) -> Ended:
        from seedream_jobs.cli.main import run_command

        with monkeypatch.context() as patch:
            patch.chdir(campaign)
            for name in list(os.environ):
                patch.delenv(name)
            for name, value in (_environment(campaign) | environment).items():
                patch.setenv(name, value)
            capfd.readouterr()
            code = run_command(list(arguments))
            sys.stdout.flush()
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert code != 70, err
        return Ended(code=code, out=out, err=err)

    return run


@pytest.fixture
def modules_after(campaign: Path) -> Callable[..., set[str]]:
    """The modules that a command line, or several in one process (``THEN`` between them), has imported by the end."""

    def run(*arguments: str, **environment: str) -> set[str]:
        script = (
            "import itertools, sys\n"
            "from seedream_jobs.cli.main import run_command\n"
            "lines = itertools.groupby(sys.argv[1:], lambda word: word == 'THEN')\n"
            "code = max(run_command(list(words)) for then, words in lines if not then)\n"
            "print('\\n'.join(sys.modules), file=sys.__stderr__)\n"
            "sys.exit(code)\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=campaign,
            env=_environment(campaign) | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr.decode()
        return set(ended.stderr.decode().split())

    return run


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of an emulator in a process of its own: the real client's other end."""
    state = tmp_path_factory.mktemp("service")
    options = ("--delay", "0.2", "--spread", "0", "--images", "plain")
    with serving("--state", str(state), *options) as url:
        yield url


def _environment(home: Path) -> dict[str, str]:
    """No key, no options, no colours of the one who runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), "LANG": "C.UTF-8", "GIT_CEILING_DIRECTORIES": str(home.parent)}
