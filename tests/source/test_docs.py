"""Every code that reading YAML can give is explained, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

from seedream_jobs.job import yaml_reader
from seedream_jobs.job.yaml_reader import parse

PACKAGE = Path(yaml_reader.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"
MODULES = ("yaml_reader", "yaml_hints")


def codes_in_the_program() -> set[str]:
    text = "\n".join((PACKAGE / f"{name}.py").read_text(encoding="utf-8") for name in MODULES)
    given = re.findall(r"\b(?:add|_said)\(\s*\"([a-z0-9-]+)\"", text)
    return {*given, *re.findall(r"code, hint, related = \"([a-z0-9-]+)\"", text)}


def codes_explained() -> set[str]:
    text = (DOCS / "diagnostics" / "yaml.md").read_text(encoding="utf-8")
    return set(re.findall(r"^### (.+)$", text, re.MULTILINE))


def test_every_code_is_explained() -> None:
    """One section for each."""
    assert len(codes_in_the_program()) > 25
    assert codes_in_the_program() == codes_explained()


def test_every_code_has_a_case() -> None:
    """But those that need a large file: they are in test_source.py."""
    shown = "".join(file.read_text(encoding="utf-8") for file in (Path(__file__).parent / "cases").glob("*.txt"))
    without = {code for code in codes_in_the_program() if f"[{code}]" not in shown}
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
