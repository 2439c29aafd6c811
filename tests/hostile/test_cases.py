"""What a pull request may bring, and what the command says of it: one pair of files in ``cases/`` for each.

``NAME.yaml`` is the tree and the command, ``NAME.txt`` what it prints and how it ends; ``--snapshot-update`` writes the
second anew, to be reviewed as a diff. Whatever the case, no command crashes, outlives its limits or shows the key.

    why: one sentence
    tree: {NAME: TEXT or {link: …} …}     # the base, committed (see tests/hostile/tree.py)
    change: {…}                           # the pull request, committed on top
    outside: {…}                          # what lies beside the checkout
    untracked: {…}                        # the operator's own files, in no commit
    git: [[config, core.fsmonitor, …]]    # further git commands, after the commits
    run: validate a.yaml                  # one command, or a list of them; words are split as a shell would
    key: true                             # the operator's key is in the environment
    absent: [PATH, …]                     # what must not be there afterwards
    kept: {PATH: TEXT}                    # what must be there as it was
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.canary import CANARY, own, spellings
from tests.hostile.tree import Ended, Server, build, git

CASES = Path(__file__).parent / "cases"
_LONGEST = 4000  # characters of an output that are kept in a case


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One process that commands are forked from."""
    made = Server()
    yield made
    made.close()


def make(where: Path, case: dict[str, Any]) -> tuple[Path, dict[str, str]]:
    """The checkout of a case, and the environment its commands run in."""
    repository = where / "repo"
    repository.mkdir(parents=True)
    git(repository, "init", "-q", "-b", "main", ".")
    build(where, case.get("outside", {}))
    for part in ("tree", "change"):
        if part in case:
            build(repository, case[part])
            git(repository, "add", "-A", "-f")
            git(repository, "commit", "-q", "--allow-empty", "-m", part)
    build(repository, case.get("untracked", {}))
    for words in case.get("git", []):
        git(repository, *words)
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(where),
        "LANG": "C.UTF-8",
        "COLUMNS": "120",
        "NO_COLOR": "1",
    }
    if case.get("key"):
        environment["APIMART_API_KEY"] = CANARY
    return repository, environment


def find_breaches(ended: Ended) -> list[str]:
    """What no command may do, whatever it was given."""
    found = []
    if ended.code < 0:
        found.append(f"was ended by signal {-ended.code}")
    if ended.code == 70 or "Traceback" in ended.text:
        found.append("ended with an error of the program's own")
    found += [f"shows the key as {spelled}" for spelled in spellings(CANARY) if spelled in ended.text]
    return found


def given_away(case: dict[str, Any], where: Path) -> list[Path]:
    """Files that hold the key in any spelling and that the case did not make with it."""
    own = {name for part in ("tree", "change", "outside", "untracked") for name in case.get(part, {})}
    found = []
    for path in where.rglob("*"):
        if path.is_symlink() or not path.is_file() or ".git" in path.parts:
            continue
        if str(path.relative_to(where)) in own or str(path.relative_to(where)).removeprefix("repo/") in own:
            continue
        content = path.read_bytes()
        if any(spelled.encode() in content for spelled in spellings(CANARY)):
            found.append(path)
    return found


@pytest.mark.parametrize("file", sorted(CASES.glob("*.yaml")), ids=lambda file: file.stem)
def test_case(file: Path, server: Server, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The command says what the case's text holds, within its limits, and keeps the key."""
    case = yaml.safe_load(file.read_text("utf-8"))
    repository, environment = make(tmp_path, case)
    own(tmp_path)  # a case plants the key in files and names of its own: ``given_away`` knows which
    told = []
    commands = [case["run"]] if isinstance(case["run"], str) else case["run"]
    for command in commands:
        ended = server.run(shlex.split(command), repository, environment=environment)
        assert not find_breaches(ended), (command, find_breaches(ended), ended.text[-3000:])
        text = "".join(part if len(part) < _LONGEST else part[:_LONGEST] + "…\n" for part in (ended.out, ended.err))
        text = re.sub("sha256:[0-9a-f]{64}", "sha256:…", text.replace(str(tmp_path), "WORK"))
        told.append(f"$ {command}\n{text}exit {ended.code}\n")
    assert not given_away(case, tmp_path)
    for name in case.get("absent", []):
        assert not os.path.lexists(repository / name), name
    for name, text in case.get("kept", {}).items():
        assert (repository / name).read_text("utf-8") == text, name
    wanted = file.with_suffix(".txt")
    if pytestconfig.getoption("--snapshot-update"):
        wanted.write_text("".join(told), "utf-8")
    assert wanted.is_file(), f"no {wanted.name}: --snapshot-update writes it"
    assert "".join(told) == wanted.read_text("utf-8")


def test_every_breach_is_seen() -> None:
    """The checks of this harness catch what they are for."""

    def ended(code: int = 0, text: str = "") -> Ended:
        return Ended(code=code, out=text, err="", cpu=0, memory=0)

    assert not find_breaches(ended())
    assert find_breaches(ended(-9))
    assert find_breaches(ended(70))
    assert find_breaches(ended(1, "Traceback (most recent call last):"))
    for spelled in spellings(CANARY):
        assert find_breaches(ended(3, f"error: {spelled} is no prompt"))


@pytest.mark.parametrize("script", ["while True: pass", "print(len(bytes(600 << 20)))", "print('a' * (600 << 20))"])
def test_limits_hold(server: Server, tmp_path: Path, script: str) -> None:
    """What takes more processor time or memory than allowed does not end well here."""
    repository, environment = make(tmp_path, {})
    (tmp_path / "script.py").write_text(script)
    ended = server.run([], repository, environment=environment, script=tmp_path / "script.py")
    assert find_breaches(ended) or "MemoryError" in ended.text
