"""The schema files themselves: well-formed, described, good in editors, and true to the model's profile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from jsonschema import Draft7Validator

from seedream_jobs.job import schema as job_schema_module
from seedream_jobs.job.schema import explain
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles
from seedream_jobs.resources import resource

FILES = ["job.schema.json", "request.schema.json", "model.schema.json", "policy.schema.json"]
CONDITIONS = {"if", "then", "else"}
DOCS = Path(__file__).parents[2] / "docs" / "diagnostics" / "fields.md"


@pytest.fixture(params=FILES)
def schema(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(resource("schemas", request.param).read_text(encoding="utf-8"))
    return found


def _nodes(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every schema in a schema, with the keywords that lead to it."""
    if not isinstance(node, dict):
        return
    yield path, node
    for keyword in ("properties", "definitions", "patternProperties"):
        for name, inner in node.get(keyword, {}).items():
            yield from _nodes(inner, (*path, keyword, name))
    for keyword in ("if", "then", "else", "not", "items", "additionalProperties", "propertyNames"):
        yield from _nodes(node.get(keyword), (*path, keyword))
    for keyword in ("allOf", "anyOf", "oneOf"):
        for index, inner in enumerate(node.get(keyword, [])):
            yield from _nodes(inner, (*path, keyword, str(index)))


def _resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["definitions"][node["$ref"].removeprefix("#/definitions/")]
    return node


def test_it_is_draft_07(schema: dict[str, Any]) -> None:
    """The schema is valid by the draft it names, the one that editors check."""
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(schema)


def test_every_property_is_described_by_words_and_examples(schema: dict[str, Any]) -> None:
    """Each property that a person may write has a description and an example; conditions only repeat them."""
    for path, node in _nodes(schema):
        if CONDITIONS & set(path) and "definitions" not in path:
            continue
        for name, inner in node.get("properties", {}).items():
            if CONDITIONS & set(path):
                continue
            found = _resolved(schema, inner)
            assert found.get("description", "").endswith("."), (path, name)
            assert found.get("examples"), (path, name)


def test_every_example_and_default_is_good(schema: dict[str, Any]) -> None:
    """No example teaches a mistake."""
    for path, node in _nodes(schema):
        check = jsonschema_rs.Draft7Validator({**node, "definitions": schema.get("definitions", {})})
        for example in [*node.get("examples", []), *([node["default"]] if "default" in node else [])]:
            assert check.is_valid(example), (path, example)


def test_sentences_fit_editors(schema: dict[str, Any]) -> None:
    """errorMessage is one sentence without a full stop, and a string: the YAML language server takes nothing else."""
    for path, node in _nodes(schema):
        sentence = node.get("errorMessage", "a")
        assert isinstance(sentence, str), path
        assert not sentence.endswith("."), path


def test_alternatives_stand_only_in_conditions(schema: dict[str, Any]) -> None:
    """oneOf nowhere, anyOf only below if: a refusal never lists branches, and a completion offers one thing."""
    for path, node in _nodes(schema):
        assert "oneOf" not in node, path
        assert "anyOf" not in node or "if" in path, path


def test_the_rules_of_the_sum_look_at_no_reference(request_schema: dict[str, Any]) -> None:
    """No condition counts references, but for "is there any": the sums are conditions on n and max_images."""
    for path, node in _nodes(request_schema):
        if path and path[-1] == "if" and "image_urls" in json.dumps(node):
            assert node == {"required": ["image_urls"], "properties": {"image_urls": {"minItems": 1}}}
    bounds = [
        node["properties"]["image_urls"]["maxItems"]
        for path, node in _nodes(request_schema)
        if path[-1:] == ("then",) and "image_urls" in node.get("properties", {})
    ]
    assert sorted(bounds) == sorted([14, *range(15), *range(15)])


def test_the_payload_s_enumerations_are_the_profile_s(request_schema: dict[str, Any]) -> None:
    """What the schema lists is what the default profile's data lists."""
    profile, fields = profiles()[DEFAULT_MODEL], request_schema["properties"]
    assert fields["model"]["enum"] == [profile.id, *profile.aliases]
    assert fields["size"]["else"]["enum"] == fields["size"]["then"]["enum"] == list(profile.sizes)
    assert fields["resolution"]["else"]["enum"] == fields["resolution"]["then"]["enum"] == list(profile.resolutions)
    assert fields["output_format"]["enum"] == list(profile.output_formats)
    assert fields["n"]["enum"] == list(range(1, profile.max_images + 1))
    most = fields["sequential_image_generation_options"]["properties"]["max_images"]["enum"]
    assert most == list(range(1, profile.references.max_references_and_images + 1))
    assert {name: field["default"] for name, field in fields.items() if "default" in field} == {
        "model": profile.id,
        **profile.defaults,
    }


def test_a_job_s_fields_are_the_payload_s(job_schema: dict[str, Any], request_schema: dict[str, Any]) -> None:
    """A field means the same in a job's request, as an axis, in include and in the payload."""
    fields = request_schema["properties"]
    templates = {"prompt", "image_urls"}
    for name in fields.keys() - templates:
        assert job_schema["definitions"][name] == fields[name]
        assert job_schema["properties"]["request"]["properties"][name] == {"$ref": f"#/definitions/{name}"}
        assert job_schema["definitions"][f"{name}Axis"]["items"] == {"$ref": f"#/definitions/{name}"}
        assert job_schema["definitions"]["addition"]["properties"][name] == {"$ref": f"#/definitions/{name}"}
    for place in (job_schema["properties"]["matrix"], job_schema["definitions"]["zipColumns"]):
        assert {f"{name}Axis" for name in fields} == {
            ref["$ref"].removeprefix("#/definitions/")
            for ref in place["properties"].values()
            if ref.get("$ref", "").endswith("Axis") and "free" not in ref["$ref"]
        }
    assert job_schema["properties"]["request"]["properties"].keys() == {*fields, "extra"}
    sums = [rule for rule in request_schema["allOf"] if "maxItems" in json.dumps(rule)]
    assert [rule for rule in job_schema["properties"]["request"]["allOf"] if "if" in rule] == sums


def test_names_can_be_used_in_templates(job_schema: dict[str, Any]) -> None:
    """Each letter that may begin or continue a name makes an identifier; words of the language don't pass."""
    accepts = re.compile(job_schema["properties"]["matrix"]["propertyNames"]["pattern"]).search
    for code in range(0x3000 + 0xB000):
        letter = chr(code)
        assert not accepts(letter) or letter.isidentifier()
        assert not accepts("a" + letter) or ("a" + letter).isidentifier()
    assert all(map(accepts, ["subject", "a1", "image_urls", "主题", "стиль", "スタイル", "Ärger"]))
    assert not any(map(accepts, ["", "1a", "_a", "a-b", "a b", "row", "not", "True", "loop", "style\n"]))


@pytest.mark.parametrize("file", sorted(resource("schemas", "models").glob("*.json")), ids=lambda file: file.stem)
def test_every_shipped_profile_is_good(file: Path, model_schema: dict[str, Any]) -> None:
    """A profile is valid, its names agree with each other, and its file is named by its id."""
    profile = json.loads(file.read_text(encoding="utf-8"))
    assert list(Draft7Validator(model_schema).iter_errors(profile)) == []
    assert file.stem == profile["id"]
    assert list(profile["pixels"]) == profile["resolutions"]
    for row in profile["pixels"].values():
        assert list(row) == [size for size in profile["sizes"] if size != "auto"]
        for size, (width, height) in row.items():
            across, down = map(int, size.split(":"))
            assert abs(width / height - across / down) < 0.02 * across / down
    assert profile["defaults"]["size"] in profile["sizes"]
    assert profile["defaults"]["resolution"] in profile["resolutions"]


def test_the_pixels_are_the_page_s() -> None:
    """The 24 entries of the page's table, written down a second time."""
    table = """
        2K 2048×2048 2304×1728 1728×2304 2848×1600 1600×2848 2496×1664 1664×2496 3136×1344
        3K 3072×3072 3456×2592 2592×3456 4096×2304 2304×4096 3744×2496 2496×3744 4704×2016
        4K 4096×4096 4704×3520 3520×4704 5504×3040 3040×5504 4992×3328 3328×4992 6240×2656
    """
    ratios = ["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9"]
    expected = {}
    for line in table.split("\n")[1:-1]:
        resolution, *cells = line.split()
        sizes = [tuple(map(int, cell.split("×"))) for cell in cells]
        expected[resolution] = dict(zip(ratios, sizes, strict=True))
    assert profiles()[DEFAULT_MODEL].pixels == expected


def test_an_alias_is_the_same_model() -> None:
    """The id and both aliases lead to one profile."""
    ids = ["doubao-seedream-5-0-lite", "doubao-seedream-5.0-lite", "Doubao-Seedream-5.0-lite"]
    assert {profiles()[name].id for name in ids} == {DEFAULT_MODEL}


def test_every_code_is_explained() -> None:
    """Each code that the check can say has its section in the documentation, and no section is left over."""
    said = set(re.findall(r'"((?:[a-z]+-)+[a-z]+)"', Path(job_schema_module.__file__).read_text(encoding="utf-8")))
    for file in ("job.schema.json", "request.schema.json"):
        text = resource("schemas", file).read_text(encoding="utf-8")
        said |= set(re.findall(r'"errorCode": "([^"]+)"', text))
    assert set(re.findall(r"^### `?([a-z-]+)`?$", DOCS.read_text(encoding="utf-8"), re.M)) == said


def test_explanations_name_no_schema_word() -> None:
    """What a person reads is never a validator's sentence."""
    found = explain("job.schema.json", {"version": 2, "request": [], "matrix": {"a": {}, "b": 1}, "repeat": -1})
    assert len(found) == 5
    for each in found:
        assert not re.search(r"is not (of type|one of|valid)|schema|does not match|required property", each.message)
