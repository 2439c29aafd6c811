"""A runner's world: a bare repository as the remote, a campaign cloned from it, the emulator, the script of CI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from seedream_jobs.cli.main import run_command
from seedream_jobs.scaffold import CI_SCRIPT
from tests.canary import CANARY
from tests.service import serving

BIN = Path(sys.executable).parent


@dataclass
class Ended:
    """How the script ended: exit code, what it said, what it handed to the next step."""

    code: int
    out: str
    err: str
    outputs: dict[str, str]
    summary: str


@dataclass
class Runner:
    """One machine of CI with a checkout."""

    checkout: Path
    environment: dict[str, str]
    files: Path
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def git(self, *words: str) -> str:
        ended = subprocess.run(
            ["git", *words], cwd=self.checkout, env=self.environment, check=True, capture_output=True, text=True
        )
        return ended.stdout.strip()

    def start(self, command: str, **variables: str) -> subprocess.Popen[str]:
        """The script, as a step starts it."""
        for name in ("output", "summary"):
            (self.files / name).write_text("", encoding="utf-8")
        environment = {
            **self.environment,
            "GITHUB_OUTPUT": str(self.files / "output"),
            "GITHUB_STEP_SUMMARY": str(self.files / "summary"),
            **variables,
        }
        child = subprocess.Popen(
            ["bash", str(CI_SCRIPT), command],
            cwd=self.checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.children.append(child)
        return child

    def end(self, child: subprocess.Popen[str]) -> Ended:
        """Wait for it, and read what it left."""
        out, err = child.communicate(timeout=120)
        outputs = dict(
            line.split("=", 1) for line in (self.files / "output").read_text(encoding="utf-8").splitlines() if line
        )
        summary = (self.files / "summary").read_text(encoding="utf-8")
        return Ended(code=child.returncode, out=out, err=err, outputs=outputs, summary=summary)

    def step(self, command: str, **variables: str) -> Ended:
        """One step, to its end."""
        return self.end(self.start(command, **variables))


def _environment(home: Path) -> dict[str, str]:
    """What a runner has, and nothing of this machine's settings."""
    identity = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in _NAMES}
    return {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        **identity,
    }


_NAMES = (("NAME", "Test"), ("EMAIL", "test@example.com"))


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[str]:
    """The URL of an emulator in a process of its own."""
    with serving("--state", str(tmp_path / "books")) as url:
        yield url


@pytest.fixture
def runner(tmp_path: Path, emulator: str, capfd: pytest.CaptureFixture[str]) -> Iterator[Runner]:
    """A checkout of a campaign's main branch, with a change on top of ``base`` that is merged already."""
    if subprocess.run(["bash", "-c", "((BASH_VERSINFO[0] >= 5))"]).returncode:
        pytest.skip("bash is older than 5: runners of the forges have a newer one")
    home = tmp_path / "home"
    home.mkdir()
    environment = {**_environment(home), "APIMART_BASE_URL": emulator, "APIMART_API_KEY": CANARY}
    made = Runner(checkout=tmp_path / "checkout", environment=environment, files=tmp_path)
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(tmp_path / "remote")], check=True)
    subprocess.run(
        ["git", "clone", "-q", str(tmp_path / "remote"), str(made.checkout)],
        check=True,
        capture_output=True,
        env=environment,
    )
    assert run_command(["init", str(made.checkout)]) == 0
    made.git("checkout", "-q", "-B", "main")
    job = made.checkout / "garden.yaml"
    whole = job.read_text(encoding="utf-8")
    job.write_text(whole.replace("season: [spring, autumn]", "season: [spring]"), encoding="utf-8")
    made.git("add", ".")
    made.git("commit", "-q", "-m", "base")
    made.git("tag", "base")
    job.write_text(whole, encoding="utf-8")
    made.git("commit", "-q", "-a", "-m", "change")
    made.git("push", "-q", "origin", "main")
    capfd.readouterr()
    yield made
    for child in made.children:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def variables(runner: Runner) -> Mapping[str, str]:
    """What the run step is given after an approval."""
    planned = runner.step("plan", SJ_BASE="base")
    assert planned.code == 0, planned.err
    return {
        "SJ_EXPECT": planned.outputs["digest"],
        "SJ_BRANCH": "main",
        "SJ_RUN_URL": "https://ci.example/1",
        "SJ_ARGS": "--detach",
    }
