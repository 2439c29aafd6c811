"""Agents propose, people approve: what AGENTS.md has an agent do submits nothing, and without a person nothing does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.canary import CANARY
from tests.service import serving

Run = Callable[[str], "subprocess.CompletedProcess[str]"]


class Agent:
    """A process without a terminal that has everything an agent should not have: the key, and a service to pay at."""

    def __init__(self, folder: Path, url: str, books: Path) -> None:
        self.folder, self._url, self._books = folder, url, books

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a line of a shell that begins with ``seedream-jobs``."""
        program, *words = shlex.split(command)
        assert program == "seedream-jobs", command
        environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        environment |= {"HOME": str(self.folder), "LANG": "C.UTF-8"}
        return subprocess.run(
            [sys.executable, "-m", "seedream_jobs", *words],
            cwd=self.folder,
            env={**environment, "APIMART_API_KEY": CANARY, "APIMART_BASE_URL": self._url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def posts(self) -> int:
        """How many requests the service has on its books: a line for each that it charged."""
        books = self._books / "books.jsonl"
        return len(books.read_bytes().splitlines()) if books.exists() else 0


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """A new campaign, in git."""
    books = tmp_path / "books"
    with serving("--state", str(books), "--delay", "0.1", "--spread", "0", "--images", "plain") as url:
        (tmp_path / "campaign").mkdir()
        made = Agent(tmp_path / "campaign", url, books)
        assert made.run("seedream-jobs init").returncode == 0
        subprocess.run(["git", "init", "-q"], cwd=made.folder, check=True)
        yield made


def steps(text: str) -> list[str]:
    """The commands in the blocks of a page, in order."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def follow(agent: Agent, text: str) -> list[subprocess.CompletedProcess[str]]:
    """Do what a page says."""
    return [agent.run(step) for step in steps(text)]


def test_the_steps_of_the_file_submit_nothing(agent: Agent) -> None:
    """Each of them works, none of them pays, though the key is at hand; the last one says the digest."""
    text = (agent.folder / "AGENTS.md").read_text(encoding="utf-8")
    assert [step.split()[1] for step in steps(text)] == ["validate", "run", "plan"]
    job = agent.folder / "garden.yaml"
    job.write_text(job.read_text(encoding="utf-8").replace("autumn", "winter"), encoding="utf-8")
    ended = follow(agent, text)
    assert [one.returncode for one in ended] == [0, 0, 0], [one.stderr for one in ended]
    assert re.search(r"^Saved\. .* --expect sha256:[0-9a-f]{64}$", ended[-1].stderr, re.MULTILINE)
    assert "At most 8 images" in ended[-1].stdout
    assert agent.posts == 0


def test_a_step_that_pays_would_be_counted(agent: Agent) -> None:
    """The seeded fault: a page that tells an agent to run with --yes."""
    text = (agent.folder / "AGENTS.md").read_text(encoding="utf-8")
    ended = follow(agent, text.replace("run . --emulator", "run . --yes"))
    assert [one.returncode for one in ended] == [0, 0, 0], [one.stderr for one in ended]
    assert agent.posts == 8


def digest(ended: subprocess.CompletedProcess[str]) -> str:
    """The digest that ``plan -o`` says."""
    return re.findall(r"--expect (sha256:[0-9a-f]{64})", ended.stderr)[0]


def test_without_a_terminal_a_run_needs_a_word_of_consent(agent: Agent) -> None:
    """Neither a job nor a saved plan runs by itself; the approved digest is enough."""
    planned = agent.run("seedream-jobs plan garden.yaml -o plan.json")
    for command in ("seedream-jobs run garden.yaml", "seedream-jobs run plan.json"):
        refused = agent.run(command)
        assert refused.returncode == 2
        assert "there is no terminal to ask at" in refused.stderr
        assert "--expect DIGEST" in refused.stderr
    other = agent.run(f"seedream-jobs run plan.json --expect sha256:{'0' * 64}")
    assert other.returncode == 7
    assert agent.posts == 0
    ran = agent.run(f"seedream-jobs run plan.json --expect {digest(planned)}")
    assert (ran.returncode, agent.posts) == (0, 8), ran.stderr


def test_the_policy_can_ask_for_the_digest(agent: Agent) -> None:
    """approval: expect: --yes is not enough, with a job or a saved plan; the next step is said, and works."""
    policy = agent.folder / "policy.yaml"
    text = policy.read_text(encoding="utf-8")
    policy.write_text(text.replace("# approval: expect", "approval: expect"), encoding="utf-8")
    assert "\napproval: expect" in policy.read_text(encoding="utf-8")
    assert agent.run("seedream-jobs validate policy.yaml").returncode == 0
    refused = agent.run("seedream-jobs run garden.yaml --yes")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-2:] == [
        "error: policy.yaml asks for an approved plan (approval: expect)",
        "  save the plan: seedream-jobs plan garden.yaml -o plan.json; have its digest approved; "
        "then: seedream-jobs run plan.json --expect DIGEST",
    ]
    assert "8 to submit" in refused.stdout, "a refusal comes with the plan that it is about"
    planned = agent.run("seedream-jobs plan garden.yaml -o plan.json")
    refused = agent.run("seedream-jobs run plan.json --yes")
    assert refused.returncode == 2
    assert "take the digest from the approval" in refused.stderr
    assert agent.posts == 0
    assert agent.run("seedream-jobs run garden.yaml --emulator").returncode == 0, "a rehearsal stays free"
    assert agent.posts == 0
    ran = agent.run(f"seedream-jobs run plan.json --expect {digest(planned)}")
    assert (ran.returncode, agent.posts) == (0, 8), ran.stderr
    again = agent.run("seedream-jobs run garden.yaml")
    assert (again.returncode, agent.posts) == (0, 8), "nothing is left to pay for, so nothing is asked for"
