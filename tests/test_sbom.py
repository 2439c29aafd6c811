"""The bill of materials is the lock, in CycloneDX."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def sbom() -> dict[str, Any]:
    """What ``dev.py sbom`` prints."""
    ended = subprocess.run([sys.executable, "dev.py", "sbom"], cwd=ROOT, capture_output=True, text=True, check=True)
    made: dict[str, Any] = json.loads(ended.stdout)
    return made


def test_it_has_what_the_lock_installs(sbom: dict[str, Any]) -> None:
    """Each package once, by its version, with every file and hash that the lock allows."""
    lock = (ROOT / "requirements" / "base.txt").read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lock, re.M))
    assert {one["name"]: one["version"] for one in sbom["components"]} == locked
    hashes = {
        one["content"] for part in sbom["components"] for file in part["externalReferences"] for one in file["hashes"]
    }
    assert set(re.findall(r"--hash=sha256:([0-9a-f]{64})", lock)) <= hashes
    for part in sbom["components"]:
        assert part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}"


def test_every_reference_leads_to_a_component(sbom: dict[str, Any]) -> None:
    """And everything is reached from the program itself, but for what only builds it."""
    own = sbom["metadata"]["component"]["bom-ref"]
    edges = {one["ref"]: one["dependsOn"] for one in sbom["dependencies"]}
    known = {own, *(one["bom-ref"] for one in sbom["components"])}
    assert edges.keys() == known
    reached, todo = set[str](), [own]
    while todo:
        one = todo.pop()
        if one not in reached:
            reached.add(one)
            todo += edges[one]
    assert reached <= known
    builds = {ref.split("/")[1].split("@")[0] for ref in known - reached}
    tools = {
        "editables",
        "hatch-fancy-pypi-readme",
        "hatchling",
        "packaging",
        "pathspec",
        "pluggy",
        "tomlkit",
        "trove-classifiers",
    }
    assert builds <= tools, builds


def test_the_same_lock_makes_the_same_document(sbom: dict[str, Any]) -> None:
    """No time, no chance."""
    again = subprocess.run([sys.executable, "dev.py", "sbom"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout) == sbom


VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
sys.exit(0 if found is None else str(found))
"""


@pytest.mark.slow
def test_it_is_valid_by_the_schema(sbom: dict[str, Any], tmp_path: Path) -> None:
    """By the schema that CycloneDX's own library carries."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "tools")], check=True)
    python = str(tmp_path / "tools" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "cyclonedx-python-lib[json-validation]==11.12.0"]
    if subprocess.run(install, capture_output=True).returncode:
        pytest.skip("cyclonedx-python-lib can't be installed here: no PyPI")
    given = json.dumps(sbom)
    ended = subprocess.run([python, "-I", "-c", VALIDATE], input=given, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
