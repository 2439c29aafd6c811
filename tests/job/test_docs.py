"""The pages about job files and YAML are true: their YAML loads, their lists are those of the program."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from seedream_jobs.job.axes import PARAMETERS
from seedream_jobs.job.template import FILTERS, SAFE_TESTS, environment
from seedream_jobs.job.template_rules import SAFE_GLOBALS
from seedream_jobs.job.yaml_reader import parse
from seedream_jobs.plans.load import Target, load_job

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TARGET = Target(origin="https://api.example", emulator=False)
OWN = ("job/spec", "job/axes", "job/axis_files", "expand/expansion", "plans/load")
YAML = ("yaml_reader", "yaml_hints")
SCHEMA = {"empty-axis", "missing-id", "missing-prompt"}  # explained with the schema, which finds them, too


def blocks(page: str) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", [*blocks("job-file.md"), *blocks("templates.md")], ids=lambda block: block[-30:])
def test_every_block_loads(block: str, tmp_path: Path) -> None:
    """Each block is a job, or all of one but its version, that loads without a warning and makes requests."""
    for folder in ("data", "refs"):
        shutil.copytree(ROOT / "examples" / folder, tmp_path / folder)
    file = tmp_path / "job.yaml"
    file.write_text(block if "version:" in block else f"version: 1\n{block}", encoding="utf-8")
    job = load_job(file, shown="job.yaml", target=TARGET, sets={})
    assert job.warnings == ()
    assert list(job.expansion.places())
    assert job.expansion.merged == 0


def section(page: str, title: str) -> str:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.split(r"^## ", text.split(f"\n## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_filters_and_tests_are_listed() -> None:
    """Every filter, test and function of the sandbox is on the page, and nothing else is."""
    filters = section("templates.md", "Filters")
    named = set(re.search(r"`(abs [^`]+)`", filters)[1].split()) | set(
        re.findall(r"^\| `(\w+)` ", filters, re.MULTILINE)
    )  # type: ignore[index]
    assert named == set(environment().filters) == set(FILTERS)
    tests = set(re.sub(r"[`,.()]", " ", section("templates.md", "Tests")).split())
    assert {name for name in SAFE_TESTS if name not in tests} == set()
    assert all(f"`{name}`" in section("templates.md", "Sandbox and limits") for name in SAFE_GLOBALS)


def test_request_fields_are_listed() -> None:
    """Every field of the request has its row on the page that is drawn from the schema."""
    listed = set(re.findall(r"^\| `(\w+)` \|", section("job-fields.md", "request"), re.MULTILINE))
    assert listed == {*PARAMETERS, "prompt", "extra"}


def test_every_code_is_explained() -> None:
    """One section for each code of these modules, and for nothing else."""
    given: set[str] = set()
    for name in OWN:
        text = (ROOT / "seedream_jobs" / f"{name}.py").read_text(encoding="utf-8")
        calls = r"(?:(?:finding|_report\w*)\(\s*(?:[\w.]*document, )?\s*|\bcode(?:: str = |=))"
        given |= set(re.findall(calls + r"\"([a-z]+(?:-[a-z]+)+)\"", text))
    page = (DOCS / "diagnostics" / "job.md").read_text(encoding="utf-8")
    assert given - SCHEMA == set(re.findall(r"^### (.+)$", page, re.MULTILINE))


def yaml_codes() -> set[str]:
    text = "\n".join(((ROOT / "seedream_jobs" / "job") / f"{name}.py").read_text(encoding="utf-8") for name in YAML)
    given = re.findall(r"\b(?:add|_said)\(\s*\"([a-z0-9-]+)\"", text)
    return {*given, *re.findall(r"code, hint, related = \"([a-z0-9-]+)\"", text)}


def test_every_yaml_code_is_explained() -> None:
    """One section for each code that reading YAML can give, and for nothing else."""
    page = (DOCS / "diagnostics" / "yaml.md").read_text(encoding="utf-8")
    assert len(yaml_codes()) > 25
    assert yaml_codes() == set(re.findall(r"^### (.+)$", page, re.MULTILINE))


def test_every_yaml_code_has_a_case() -> None:
    """But those that need a large file: they are in tests/source/test_source.py."""
    shown = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "source" / "cases").glob("*.txt"))
    without = {code for code in yaml_codes() if f"[{code}]" not in shown}
    assert without == {"file-too-large", "too-many-errors"} | ({"syntax-error"} & without)


def test_the_table_of_values_is_true() -> None:
    """What docs/yaml.md calls text with a warning is that, and the job in it is read."""
    text = (DOCS / "yaml.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if "`ambiguous-scalar`" in line)
    words = re.findall(r"`([^`]+)`", row.split("|")[1])
    assert len(words) > 10
    for word in words:
        found = parse(f"a: {word}".encode(), "job.yaml")
        assert (found.data["a"], len(found.warnings)) == (word, 1)
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    data = parse(block.group(1).encode(), "job.yaml").data
    assert data["request"] == {"prompt": "{{ subject }}, {{ light }}", "resolution": "2K"}
    assert data["matrix"]["size"] == ["16:9", "1:1"]
