"""What each command prints for each example, and what its files hold: as it was before the last change of the inside.

``--snapshot-update`` writes them anew; the change is then reviewed as a diff.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from seedream_jobs.cli.main import run_command

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMANDS = (
    "validate",
    "validate --format json",
    "validate --format github",
    "validate --format sarif",
    "validate --format junit",
    "expand",
    "expand --format jsonl",
    "expand --format curl",
    "plan",
    "plan --format json",
    "plan --format markdown",
    "plan --format github",
    "plan --format gitlab",
    "status",
    "export --format csv",
)

Run = Callable[..., str]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples, in a folder whose path is in no output."""
    folder = tmp_path_factory.mktemp("golden") / "campaign"
    shutil.copytree(EXAMPLES, folder)
    return folder


@pytest.fixture
def run(campaign: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run one command in this process: its exit code, stdout and stderr as one text."""

    def run(*arguments: str) -> str:
        monkeypatch.chdir(campaign)
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setenv("NO_COLOR", "1")
        capfd.readouterr()
        code = run_command(list(arguments))
        out, err = capfd.readouterr()
        return f"$ seedream-jobs {' '.join(arguments)}\n{out}{err}exit {code}\n".replace(str(campaign), "CAMPAIGN")

    return run


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
def test_every_command_prints_what_it_printed(example: str, run: Run, snapshot: SnapshotAssertion) -> None:
    """Byte for byte, for findings, requests, plans and every format."""
    printed = []
    for command in COMMANDS:
        name, *options = command.split()
        printed.append(run(name, example, *options))
    assert "\n".join(printed) == snapshot
