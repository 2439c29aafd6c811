"""The locks hold what pyproject.toml asks for. Where one of these fails: ``python3 dev.py lock``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
LOCK = (ROOT / "uv.lock").read_text()
PACKAGES: list[dict[str, Any]] = tomllib.loads(LOCK)["package"]
OURS = next(package for package in PACKAGES if package["name"] == PROJECT["name"])
AGAIN = "pyproject.toml has changed: python3 dev.py lock"

Asked = tuple[str, frozenset[str], frozenset[str], str]


def asked(text: str, extra: str = "") -> Asked:
    """A requirement of pyproject.toml: its name, extras, versions, and markers."""
    found = Requirement(text)
    markers = [str(found.marker)] * (found.marker is not None) + [f"extra == '{extra}'"] * bool(extra)
    versions = frozenset(str(found.specifier).split(",")) - {""}
    return canonicalize_name(found.name), frozenset(found.extras), versions, " and ".join(markers).replace('"', "'")


def group(name: str) -> Iterator[str]:
    """The requirements of a dependency group, those of the groups that it includes among them."""
    for entry in PYPROJECT["dependency-groups"][name]:
        yield from [entry] if isinstance(entry, str) else group(entry["include-group"])


def locked(entry: dict[str, Any]) -> Asked:
    """A requirement as the lock repeats it."""
    versions = frozenset(entry.get("specifier", "").split(",")) - {""}
    return entry["name"], frozenset(entry.get("extras", ())), versions, entry.get("marker", "")


def test_the_lock_was_made_for_these_requirements() -> None:
    """Every requirement, extra and group, with its versions, and Python's own."""
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    wanted = {asked(text) for text in PROJECT["dependencies"]}
    wanted |= {asked(text, extra) for extra, texts in extras.items() for text in texts}
    assert {locked(entry) for entry in OURS["metadata"]["requires-dist"]} == wanted, AGAIN
    groups = {name: {locked(entry) for entry in entries} for name, entries in OURS["metadata"]["requires-dev"].items()}
    assert groups == {name: set(map(asked, group(name))) for name in PYPROJECT["dependency-groups"]}, AGAIN
    assert tomllib.loads(LOCK)["requires-python"] == PROJECT["requires-python"], AGAIN


def reached(entries: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """The name and version of every package that these dependencies lead to, on any system."""
    found: set[tuple[str, str]] = set()
    todo = [(entry["name"], entry.get("version"), frozenset(entry.get("extra", ()))) for entry in entries]
    seen = set()
    while todo:
        name, version, extras = step = todo.pop()
        if step in seen:
            continue
        seen.add(step)
        for package in PACKAGES:
            if package["name"] != name or version not in (None, package["version"]):
                continue
            found.add((name, package["version"]))
            more = [*package.get("dependencies", ())]
            more += [entry for extra in extras for entry in package["optional-dependencies"][extra]]
            todo += [(entry["name"], entry.get("version"), frozenset(entry.get("extra", ()))) for entry in more]
    return found


def pinned(file: Path) -> Iterator[tuple[str, str, set[str]]]:
    """The packages of a requirements file: name, version, hashes."""
    for line in file.read_text().replace("\\\n", " ").splitlines():
        if not line.startswith("#"):
            name, version = re.match(r"(\S+)==(\S+)", line).groups()  # type: ignore[union-attr]
            yield name, version, set(re.findall(r"--hash=(\S+)", line))


KINDS = [file.stem for file in sorted((ROOT / "requirements").glob("*.txt"))]


@pytest.mark.parametrize("kind", KINDS)
def test_what_pip_installs_is_what_uv_installs(kind: str) -> None:
    """The same packages, versions and files, none without its hash; and what builds the project is among them."""
    groups, extras = OURS["dev-dependencies"], OURS["optional-dependencies"]
    chosen = groups["build"] + extras.get(kind, []) + (groups["docs"] if kind in ("docs", "dev") else [])
    found = {(name, version): hashes for name, version, hashes in pinned(ROOT / "requirements" / f"{kind}.txt")}
    assert set(found) == reached([*OURS["dependencies"], *chosen]), AGAIN
    for package in PACKAGES:
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
        hashes = found.get((package["name"], package.get("version")), set())
        assert hashes <= {file["hash"] for file in files}, package["name"]
    assert all(found.values())
    for text in PYPROJECT["build-system"]["requires"]:
        wanted = Requirement(text)
        assert any(name == wanted.name and version in wanted.specifier for name, version in found), AGAIN


def test_the_locks_name_the_public_index_alone() -> None:
    """Not the mirror of whoever made them."""
    assert set(re.findall(r"\w+://[^/\"]+", LOCK)) == {"https://pypi.org", "https://files.pythonhosted.org"}
    assert {package["source"].get("registry") for package in PACKAGES} == {"https://pypi.org/simple", None}
    for kind in KINDS:
        text = (ROOT / "requirements" / f"{kind}.txt").read_text()
        assert "://" not in text
        assert set(re.findall(r"^\s*(--[a-z-]+)", text, re.M)) == {"--hash"}  # no index of any kind


def test_uv_run_installs_what_users_need() -> None:
    """No group by default: the tests' is asked for, ``uv run --group dev pytest``."""
    assert PYPROJECT["tool"]["uv"]["default-groups"] == []
