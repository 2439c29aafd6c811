"""In CI nothing of the checkout is imported, and only the run has the key."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from seedream_jobs.scaffold import FOLDER
from tests.canary import gives_away

ROOT = Path(__file__).parents[2]
FILES = [
    ROOT / "action.yml",
    ROOT / ".github" / "workflows" / "campaign.yml",
    ROOT / "templates" / "seedream.yml",
    FOLDER / "campaign" / "workflow.yml",
]
MODULES = ("json", "re", "os", "sitecustomize", "usercustomize", "pip", "venv", "seedream_jobs", "click", "yaml")
TELL = "import sys\nsys.__stdout__.write('')\nopen({path!r}, 'a').write(__name__ + chr(10))\n"


def scripts(data: Any) -> Iterator[str]:
    """Every text below a ``run`` or a ``script``."""
    if isinstance(data, dict):
        for name, value in data.items():
            if name in ("run", "script") and isinstance(value, str):
                yield value
            elif name == "script" and isinstance(value, list):
                yield "\n".join(value)
            else:
                yield from scripts(value)
    elif isinstance(data, list):
        for value in data:
            yield from scripts(value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_every_python_is_isolated_and_lives_outside_the_checkout(file: Path) -> None:
    """``-I`` leaves out the current folder, the user's packages and every variable; pip asks for hashes."""
    found = 0
    for document in yaml.safe_load_all(file.read_text("utf-8")):
        for script in scripts(document):
            for line in script.splitlines():
                for match in re.finditer(r"python3?\"? (\S+)", line):
                    assert match[1] == "-I", line
                    found += 1
                if "pip install" in line:
                    assert "--require-hashes" in line or "--no-deps" in line, line
    assert found >= 3
    text = file.read_text("utf-8")
    assert "--require-hashes" in text
    assert "RUNNER_TEMP" in text or "mktemp" in text


def test_the_package_carries_the_lock_of_its_dependencies() -> None:
    """CI installs them from there: nothing of the campaign says what is installed."""
    words = [sys.executable, "-I", "-m", "seedream_jobs.scaffold"]
    lock = Path(subprocess.run([*words, "--lock"], capture_output=True, text=True, check=True).stdout.strip())
    lines = lock.read_text("utf-8").splitlines()
    assert any(line.startswith("click==") for line in lines)
    assert all("==" in line for line in lines if line[:1].isalnum())
    assert sum("--hash=sha256:" in line for line in lines) > 20
    script = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(script).name == "ci.sh"


def test_modules_of_the_checkout_are_not_imported_and_children_have_no_key(runner: Any, tmp_path: Path) -> None:
    """The whole way, plan and run, in a repository that has a module for every name that is imported."""
    ran = tmp_path / "ran"
    tell = TELL.format(path=str(ran))
    for name in MODULES:
        (runner.checkout / name).mkdir()
        (runner.checkout / name / "__init__.py").write_text(tell)
        (runner.checkout / name / "__main__.py").write_text(tell)
    for name in ("json.py", "random.py", "anyio.py"):
        (runner.checkout / name).write_text(tell)
    (runner.checkout / "git").write_text("#!/bin/sh\ntouch ran\n")
    runner.git("add", "-A")
    runner.git("commit", "-q", "-m", "modules")
    runner.git("push", "-q", "origin", "main")
    places = tmp_path / "bin"
    places.mkdir()
    for name in ("git", "sed", "head", "find", "cat"):
        real = shutil.which(name)
        (places / name).write_text(f'#!/bin/sh\nenv >> "{tmp_path}/children"\nexec {real} "$@"\n')
        (places / name).chmod(0o755)
    path = f"{places}{os.pathsep}{runner.environment['PATH']}"
    planned = runner.step("plan", SJ_BASE="base", PATH=path)
    assert planned.code == 0, planned.err
    ended = runner.step("run", SJ_EXPECT=planned.outputs["digest"], SJ_BRANCH="main", PATH=path)
    assert ended.code == 0, ended.err
    assert not ran.exists(), ran.read_text()
    assert not (runner.checkout / "ran").exists()
    children = (tmp_path / "children").read_text()
    assert children.count("PATH=") > 10
    assert gives_away(children.encode()) is None
    assert json.loads((runner.checkout / "seedream-plan.json").read_text())["requests_to_submit"] > 0
