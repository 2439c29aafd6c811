"""The pages of fields are drawn from the schemas: ``UPDATE_DOCS=1 python3 dev.py test tests/docs`` writes them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = {"job-fields.md": "job.schema.json", "policy-fields.md": "policy.schema.json"}
HEADS = {
    "job-fields.md": """\
# Job file fields

Drawn from the schema, which `seedream-jobs schema job` prints. [The job file](job-file.md) explains them.
""",
    "policy-fields.md": """\
# Policy fields

Drawn from the schema, which `seedream-jobs schema policy` prints. [Policy](policy.md) explains whose policy counts.
""",
}
AXIS = "matrix.AXIS"
REPEATED = {("matrix", "include"), ("matrix", "zip")}
"""Mappings whose fields are those of the request, or axes."""


class Schema:
    """A schema as the tables of its fields."""

    def __init__(self, name: str) -> None:
        self.root: dict[str, Any] = json.loads((ROOT / "schemas" / name).read_text(encoding="utf-8"))

    def whole(self, node: dict[str, Any]) -> dict[str, Any]:
        """A node with what its ``$ref`` and ``allOf`` say in place; its own words win."""
        found: dict[str, Any] = {}
        if "$ref" in node:
            found |= self.whole(self.root["definitions"][node["$ref"].rpartition("/")[2]])
        for part in node.get("allOf", ()):
            found = {**self.whole(part), **found}
        return {**found, **node}

    def tables(self, node: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The mapping itself, then each that its fields lead to, as (path, node)."""
        node = self.whole(node)
        yield name, node
        for key, inner in node.get("properties", {}).items():
            if is_field_axis(inner) or (name, key) in REPEATED:
                continue
            inner, path = self.whole(inner), f"{name}.{key}" if name else key
            if inner.get("properties"):
                yield from self.tables(inner, path)
            elif self.whole(inner.get("items", {})).get("properties"):
                yield from self.tables(inner["items"], f"{path}[]")
        if name == "matrix":
            yield AXIS, self.whole(self.root["definitions"]["axis"])
            yield f"{AXIS}[]", self.whole(self.root["definitions"]["axisValue"])

    def rows(self, node: dict[str, Any]) -> Iterator[str]:
        """A row for each field."""
        for key, inner in node["properties"].items():
            if is_field_axis(inner):
                continue
            inner = self.whole(inner)
            given = code(inner["default"]) if "default" in inner else ""
            default = "required" if key in node.get("required", ()) else given
            said = cell(inner.get("markdownDescription", inner["description"]))
            yield f"| `{key}` | {cell(kind(inner))} | {default} | {said} | {code(inner['examples'][0])} |"


def is_field_axis(node: dict[str, Any]) -> bool:
    """Whether this is one of the axes that are named like a field of the request."""
    return str(node.get("$ref", "")).endswith("Axis")


def kind(node: dict[str, Any]) -> str:
    """What a value is: its choices, or its type and bounds."""
    if "enum" in node:
        choices = node["enum"]
        if len(choices) > 4 and isinstance(choices[0], int):
            return f"{choices[0]} to {choices[-1]}"
        return " ".join(map(code, choices))
    if (
        "if" in node and node.get("type") == "string"
    ):  # the choices depend on the model; the examples are all of the default one's
        return " ".join(map(code, node["examples"]))
    if "const" in node:
        return code(node["const"])
    types = node.get("type", "object" if "properties" in node else "")
    words = {"object": "mapping", "array": "list", "string": "text", "boolean": "true or false", "number": "number"}
    words |= {"integer": "whole number"}
    said = " or ".join(words[one] for one in ([types] if isinstance(types, str) else types) if one)
    low, high = node.get("minimum"), node.get("maximum")
    bounds = f"{low:,} to {high:,}" if None not in (low, high) else f"at least {low:,}" if low is not None else ""
    return ", ".join(filter(None, (said, bounds)))


def code(value: Any) -> str:
    """A value as YAML on one line, in a code span."""
    if isinstance(value, str) and re.fullmatch(r"[\w:./-]+", value):
        return f"`{value}`"
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return f"`{cell(text.removesuffix(chr(10)).removesuffix('...').strip())}`"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def drawn(page: str) -> str:
    """The whole page."""
    schema = Schema(PAGES[page])
    lines = [HEADS[page]]
    for path, node in schema.tables(schema.root, ""):
        lines += [f"## {path or 'The file'}", "", cell(node.get("markdownDescription", node["description"])), ""]
        lines += ["| field | value | default | what it is | example |", "| --- | --- | --- | --- | --- |"]
        lines += [*schema.rows(node), ""]
    return "\n".join(lines).rstrip() + "\n"


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_of_fields_are_current(name: str) -> None:
    """Each says what the schema says."""
    page = ROOT / "docs" / name
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(drawn(name), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == drawn(name)


@pytest.mark.parametrize("name", PAGES)
def test_no_field_is_left_out(name: str) -> None:
    """Every property that stands anywhere in the schema has a row."""

    def named(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from node.get("properties", {}) if isinstance(node.get("properties"), dict) else ()
            for inner in node.values():
                yield from named(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from named(inner)

    schema = json.loads((ROOT / "schemas" / PAGES[name]).read_text(encoding="utf-8"))
    rows = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / name).read_text(encoding="utf-8"), re.MULTILINE))
    assert set(named(schema)) - rows == set()
