"""The container's recipe: linted, and what it copies is all that the wheel is built from. No image is built here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def lint(text: str) -> str:
    """What hadolint says of a Dockerfile."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    return subprocess.run([hadolint, "--no-color", "-"], input=text, capture_output=True, text=True).stdout


def test_the_linter_finds_nothing() -> None:
    """And the base, an argument that it does not look into, is slim and has the tag of a version."""
    assert lint(DOCKERFILE) == ""
    assert re.search(r"^ARG BASE=python:3\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize(
    ("good", "bad", "rule"),
    [
        ("USER 1000:1000\n", "USER root\n", "DL3002"),
        (" --no-cache-dir", "", "DL3042"),
        ("git=1:2.39.*", "git", "DL3008"),
        ("FROM ${BASE}\n", "FROM python\n", "DL3006"),
    ],
)
def test_the_linter_finds_a_seeded_fault(good: str, bad: str, rule: str) -> None:
    """Each of what the recipe promises: a base with its tag, no root, no cache, versions."""
    assert good in DOCKERFILE
    assert rule in lint(DOCKERFILE.replace(good, bad))


def test_what_is_installed_is_locked() -> None:
    """By its hashes, and then the project alone."""
    installs = re.findall(r"pip install (.*)$", DOCKERFILE, re.MULTILINE)
    assert [sorted(words.split()) for words in installs] == [
        ["--no-cache-dir", "--require-hashes", "-r", "requirements/base.txt"],
        ["--no-build-isolation", "--no-cache-dir", "--no-deps", "."],
    ]


def context(folder: Path) -> None:
    """Copy what ``.dockerignore`` lets through: only the names after ``!``, less the patterns that follow."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = [rule[1:] for rule in rules if rule.startswith("!")]
    dropped = [rule.removeprefix("**/") for rule in rules[1:] if not rule.startswith("!")]
    assert all((ROOT / name).exists() for name in kept)
    for name in kept:
        (folder / name).parent.mkdir(exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(*dropped))
        else:
            shutil.copy(ROOT / name, folder / name)
    assert not any(fnmatch(file.name, ".env*") for file in folder.rglob("*"))


def test_the_context_builds_the_same_wheel(tmp_path: Path) -> None:
    """With the names that the image's build sees, file by file."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    copied = tmp_path / "context"
    copied.mkdir()
    context(copied)
    names = []
    for source in (copied, ROOT):
        script = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
        target = tmp_path / source.name
        ended = subprocess.run(
            [sys.executable, "-c", script, str(target)], cwd=source, capture_output=True, text=True, check=True
        )
        names.append(sorted(zipfile.ZipFile(target / ended.stdout.split()[-1]).namelist()))
    assert names[0] == names[1]


def test_the_dev_container_installs_by_the_command_of_the_project() -> None:
    """Its settings are JSON, and what it calls is there."""
    settings = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert settings["postCreateCommand"] == "python3 dev.py check"
    assert re.search(r":\d+-3\.11-", settings["image"])
