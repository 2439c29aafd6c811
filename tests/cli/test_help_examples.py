"""The examples in ``--help``: each command has some, and they are what a person can type."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from seedream_jobs.cli.main import group
from tests import stores

Command = Callable[..., Any]

NOT_RUN = {
    "demo": "tests/cli/test_whole_way.py runs it",
    "emulator --port 8000": "serves until Ctrl-C",
    "emulator --fault 429:0.1 --latency 200": "serves until Ctrl-C",
    "resolve garden.yaml ADDRESS --not-charged --reason 'not in the console'": "nothing is in doubt",
    "resolve garden.yaml --all --abandon --reason 'the console is gone'": "nothing is in doubt",
    "run garden.yaml --emulator": "meadow.yaml is run so, and garden.yaml by the plan",
    "run garden.yaml --budget 5.00": "asks, and nobody is there to answer",
    "pull garden.yaml": "tests/store/test_images.py: needs a store of images",
    "pull garden.yaml --chosen": "tests/store/test_images.py: needs a store of images",
    "doctor --emulator": "starts another service",
}
"""Only parsed, and why."""


def commands(of: click.Group = group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command and group with the words that call it, in the order of the overview."""
    with click.Context(of) as ctx:
        for name in of.list_commands(ctx):
            found = of.get_command(ctx, name)
            assert found is not None
            yield f"{path}{name}", found
            if isinstance(found, click.Group):
                yield from commands(found, f"{path}{name} ")


def examples(command: click.Command) -> list[str]:
    """The command lines below "Examples:", without the name of the program and what a shell does with the output."""
    with click.Context(command, info_name="x") as ctx:
        _, _, block = command.get_help(ctx).partition("\n  Examples:\n")
    lines = block.partition("\n\n")[0].splitlines()
    assert all(line.startswith("    seedream-jobs ") for line in lines), lines
    return [line.removeprefix("    seedream-jobs ").partition(" >")[0] for line in lines]


@pytest.mark.parametrize(("path", "command"), [pytest.param(*one, id=one[0]) for one in commands()])
def test_every_command_has_examples(path: str, command: click.Command) -> None:
    """One to three lines that fit into a terminal, of this command, without an option that it does not have."""
    found = examples(command)
    assert 1 <= len(found) <= 3
    for line in found:
        assert line.startswith(path)
        assert len(line) < 95
        parse(line)


def parse(line: str) -> None:
    """Read a command line as the program does, and do nothing.

    :raises UsageError: it can't be read
    """
    words, command = shlex.split(line), group
    with click.Context(group, info_name="seedream-jobs") as ctx:
        while isinstance(command, click.Group):
            found = command.get_command(ctx, words.pop(0))
            assert found is not None
            command = found
        command.make_context("x", words, parent=ctx)


def test_a_misspelt_example_is_noticed() -> None:
    """The check above can fail."""
    with pytest.raises(click.UsageError):
        parse("plan garden.yaml --bass main")


@pytest.fixture
def repository(campaign: Path, tmp_path: Path) -> Path:
    """The campaign under git, with a second job, a policy that names a store, and a remote."""
    (campaign / "meadow.yaml").write_text((campaign / "garden.yaml").read_text().replace("garden", "meadow"))
    (tmp_path / "store").mkdir()
    (campaign / "policy.yaml").write_text(f"version: 1\nshared: {{claims: 'file://{tmp_path}/store'}}\n")
    (campaign / ".gitignore").write_text(".seedream/\nout/\n")
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "origin.git")], check=True)
    for words in (
        ("init", "-q", "-b", "main"),
        ("config", "user.name", "Robot"),
        ("config", "user.email", "robot@example.org"),
        ("remote", "add", "origin", str(tmp_path / "origin.git")),
    ):
        subprocess.run(["git", *words], cwd=campaign, check=True)
    return campaign


def test_every_example_works(repository: Path, quick: Command) -> None:
    """One campaign goes through all of them, in the order of the overview, as a rehearsal."""
    stores.need("obstore")
    pytest.importorskip("pyarrow")
    rehearsal = {"SEEDREAM_JOBS_EMULATOR": "1", "BROWSER": "true"}
    done = [quick(*words, **rehearsal).code for words in (("shared", "init"), ("run", "meadow.yaml"))]
    assert done == [0, 0]
    for git in (("add", "."), ("commit", "-qm", "begin"), ("checkout", "-qb", "change")):
        subprocess.run(["git", *git], cwd=repository, check=True)
    wanted = [line for name, command in commands() if name in LEAVES for line in examples(command)]
    assert set(NOT_RUN) <= set(wanted)
    for line in wanted:
        if line in NOT_RUN:
            continue
        if line == "status garden.yaml":
            (repository / "ratings.json").write_text(json.dumps(ratings(repository)))
        if line.startswith("collect"):  # another machine has fetched its half
            assert quick("fetch", "garden.yaml", "--shard", "2/2", **rehearsal).code == 0
        words = shlex.split(line.replace("*.yaml", "garden.yaml meadow.yaml"))
        if "DIGEST" in words:
            words[words.index("DIGEST")] = json.loads((repository / "plan.json").read_text())["digest"]
        if words[0] == "manifest":  # a command below a group takes no option from the environment
            words.append("--emulator")
        ended = quick(*words, **rehearsal)
        assert ended.code == 0, f"{line}: {ended.code}\n{ended.out}\n{ended.err}"


LEAVES = [name for name, command in commands() if not isinstance(command, click.Group)]


def ratings(folder: Path) -> dict[str, Any]:
    """What a reviewer exports from the page: the first image is chosen, and rated 4."""
    lines = map(json.loads, (folder / ".seedream/emulator/garden.manifest.jsonl").read_text().splitlines())
    found = [(one["address"], one["key"], one["images"][0]["sha256"]) for one in lines if one.get("images")]
    address, key, sha256 = found[0]
    image = {"address": address, "key": key, "index": 1, "sha256": sha256}
    choices = [{**image, "verdict": "chosen"}]
    return {"format": 2, "job": "garden", "reviewer": "Mara", "ratings": [{**image, "rating": 4}], "choices": choices}
