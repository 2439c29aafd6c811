"""What is installed: the wheel has the program with its schemas, examples and pages, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout, built by the project's own build backend."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    target = tmp_path_factory.mktemp("wheel")
    script = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    ended = subprocess.run(
        [sys.executable, "-c", script, str(target)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return zipfile.ZipFile(target / ended.stdout.split()[-1])


def test_everything_that_runs_is_in_it(wheel: zipfile.ZipFile) -> None:
    """Modules, schemas, model profiles, examples, the gallery's page, the emulator, the typing mark."""
    names = set(wheel.namelist())
    for module in (ROOT / "seedream_jobs").rglob("*.py"):
        assert module.relative_to(ROOT).as_posix() in names
    for folder in ("schemas", "examples", "docs/diagnostics"):
        for file in (ROOT / folder).rglob("*"):
            if file.is_file():
                assert f"seedream_jobs/{file.relative_to(ROOT).as_posix()}" in names
    for asset in (ROOT / "seedream_jobs/results/gallery/assets").iterdir():
        assert f"seedream_jobs/results/gallery/assets/{asset.name}" in names
    assert {"seedream_jobs/py.typed", "seedream_jobs/docs/exit-codes.md"} <= names


def test_nothing_else_is_in_it(wheel: zipfile.ZipFile) -> None:
    """No tests, no benches, no caches, no manifests of somebody's campaign."""
    for name in wheel.namelist():
        top, _, rest = name.partition("/")
        assert top == "seedream_jobs" or top.endswith(".dist-info"), name
        assert "__pycache__" not in rest
        assert not name.endswith((".manifest.jsonl", ".lock", ".journal", ".pyc"))


def test_the_command_and_the_licence_are_declared(wheel: zipfile.ZipFile) -> None:
    """``seedream-jobs`` is its entry point."""
    by_name = {name.rsplit("/", 1)[-1]: name for name in wheel.namelist() if ".dist-info/" in name}
    assert b"seedream-jobs = seedream_jobs.cli.main:main" in wheel.read(by_name["entry_points.txt"])
    assert b"Requires-Python: >=3.11" in wheel.read(by_name["METADATA"])
    assert "LICENSE" in by_name


def test_the_description_leads_nowhere_that_is_not_there(wheel: zipfile.ZipFile) -> None:
    """On PyPI a relative link or picture is broken: the README's become text, and what stands around them stays."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    _, _, shown = wheel.read(name).decode().partition("\n\n")
    links = re.findall(r"\]\(([^)]*)\)|(?:src|href)=\"([^\"]*)\"", shown)
    assert [link for link in map("".join, links) if not link.startswith(("https://", "#"))] == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"\]\((?!https?:)", readme)) > 10  # there is something to replace
    assert re.findall(r"^#+ .*", shown, re.MULTILINE) == re.findall(r"^#+ .*", readme, re.MULTILINE)
