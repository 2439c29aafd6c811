"""The compiled yes or no is the schema's: two other validators, reading the schema itself, never disagree with it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from seedream_jobs.job import _valid, compile_schema
from seedream_jobs.job.schema_explain import explain
from tests.lanes import examples

PAYLOADS: list[dict[str, Any]] = [
    {"model": "doubao-seedream-5-0-lite", "prompt": "a dog"},
    {
        "model": "doubao-seedream-5-0-lite",
        "prompt": "a dog",
        "size": "auto",
        "resolution": "4K",
        "n": 3,
        "image_urls": ["https://example.com/a.png", "data:image/png;base64,iVBORw0KGgo="],
        "output_format": "png",
        "sequential_image_generation": "auto",
        "sequential_image_generation_options": {"max_images": 3},
        "watermark": False,
    },
]
JOBS: list[dict[str, Any]] = [
    {"version": 1, "request": {"prompt": "a dog"}},
    {
        "version": 1,
        "name": "garden",
        "x-look": {"camera": "35mm"},
        "vars": {"camera": "35mm"},
        "request": {"prompt": "{{ subject }}", "image_urls": ["refs/dog.png"], "extra": {"new": 1}},
        "matrix": {
            "subject": ["dog", {"id": "cat", "text": "a cat"}, 3, True, ["a", "b"]],
            "n": [1, 2],
            "prompt": ["a dog"],
            "image_urls": ["refs/a.png", ["refs/a.png", "https://example.com/a.png"]],
            "sequential_image_generation_options": [{"max_images": 2}],
            "size": ["16:9"],
            "p": {"from": "p.tsv", "column": "Prompt", "where": "row.x", "limit": 3, "types": {"n": "integer"}},
            "g": {"glob": "refs/*.png"},
            "r": {"range": [1, 9, 2]},
            "look": {"zip": {"style": ["ink"], "palette": ["grey"]}},
            "zip": {"watermark": [True], "b": [1]},
            "include": [{"subject": "a heron", "n": 1, "image_urls": ["refs/a.png"], "prompt": "x", "id": {"id": 1}}],
            "exclude": [{"subject": "dog", "n": 2}],
            "where": "subject != 'x'",
            "sample": {"strategy": "pairwise", "seed": 7},
        },
        "repeat": 2,
        "limits": {"max_requests": 3, "budget_usd": 5.5},
        "output": {"dir": "out", "name": "{{ subject }}"},
    },
    {"version": 1, "request": {**PAYLOADS[1]}, "matrix": {"a": [1], "sample": {"size": 3, "seed": 7}}},
]
ODD = [
    *(
        None,
        True,
        False,
        0,
        1,
        2,
        15,
        16,
        -1,
        1.0,
        1.5,
        "",
        " ",
        "1",
        "auto",
        "9:21",
        "1K",
        "{{ x }}",
        "x\n",
        "ftp://x",
    ),
    *([], [[]], {}, {"id": "x"}, ["a"] * 15, {"from": "a"}, {"from": "a", "glob": "b"}, {"zip": {}}, {"size": 1}),
]
NAMES = [
    "n",
    "size",
    "prompt",
    "seed",
    "row",
    "a-b",
    "x-y",
    "zip",
    "from",
    "id",
    "max_images",
    "extra",
    "1",
    "花",
    "glob",
    "limit",
    "range",
]


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _changed(copy[path[0]], path[1:], change)
    return copy


@st.composite
def mutated(draw: st.DrawFn, seeds: list[dict[str, Any]]) -> Any:
    """A good file or payload with up to three values replaced, removed or added."""
    value: Any = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(_places(value))))
        odd = draw(st.sampled_from(ODD))
        name = draw(st.sampled_from(NAMES))
        kind = draw(st.sampled_from(["replace", "remove", "add"]))

        def change(old: Any, kind: str = kind, odd: Any = odd, name: str = name) -> Any:
            if kind == "replace":
                return odd
            if isinstance(old, dict):
                return {**old, name: odd} if kind == "add" else dict(list(old.items())[1:])
            if isinstance(old, list):
                return [*old, odd] if kind == "add" else old[1:]
            return odd

        value = _changed(value, path, change)
    return value


def _has_integral_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_integral_float, value.values()))
    if isinstance(value, list):
        return any(map(_has_integral_float, value))
    return isinstance(value, float) and value.is_integer()


def test_the_generated_module_is_up_to_date() -> None:
    """_valid.py is what the compiler makes of the schemas; run the compiler after changing one."""
    assert compile_schema.TARGET.read_text(encoding="utf-8") == compile_schema.generate()


def test_a_pattern_for_ascii_says_what_the_pattern_says() -> None:
    """Every short text of ASCII, alone and behind or before a letter, and the words a name may not be."""
    patterns = {text for text in vars(_valid).values() if isinstance(text, str) and not text.isascii()}
    assert patterns
    characters = [chr(code) for code in range(128)]
    texts = [
        "",
        *characters,
        *map("".join, product(characters, repeat=2)),
        "a-b",
        "row",
        "rows",
        "range",
        "None\n",
        "a1_",
    ]
    for pattern in patterns:
        plain = compile_schema.ascii_pattern(pattern)
        assert plain.isascii()
        assert [text for text in texts if re.search(plain, text)] == [
            text for text in texts if re.search(pattern, text)
        ]


@pytest.mark.parametrize("pattern", ["é", "[^é]", "[あ-ん]"])
def test_a_pattern_that_is_not_understood_is_refused(pattern: str) -> None:
    """Rather than narrowed wrongly."""
    with pytest.raises(NotImplementedError):
        compile_schema.ascii_pattern(pattern)


def _agree(schema: dict[str, Any], file: str, verdict: Callable[[Any], bool], data: Any, strictly: Any) -> None:
    answer = verdict(data)
    assert answer == strictly(schema).is_valid(data)
    assert answer == (explain(file, data) == [])
    if not _has_integral_float(data):  # draft-07 takes 1.0 for an integer, and we do not
        assert answer == jsonschema_rs.Draft7Validator(schema).is_valid(data)


@given(data=mutated(JOBS))
@settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
def test_jobs(data: Any, job_schema: dict[str, Any], strictly: Any) -> None:
    """For any change to a job, the compiled answer, jsonschema's and jsonschema-rs' are one, and a no is explained."""
    _agree(job_schema, "job.schema.json", _valid.job, data, strictly)


@given(data=mutated(PAYLOADS))
@settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
def test_payloads(data: Any, request_schema: dict[str, Any], strictly: Any) -> None:
    """The same for payloads."""
    _agree(request_schema, "request.schema.json", _valid.payload, data, strictly)


@given(data=mutated(JOBS))
@settings(max_examples=examples(100), deadline=None, suppress_health_check=list(HealthCheck))
def test_findings_are_short_and_apart(data: Any) -> None:
    """Findings never share a place, and never print more than a short piece of a value."""
    assume(not _valid.job(data))
    found = explain("job.schema.json", data)
    places = [(each.path, each.key, each.code == "missing-field", each.message) for each in found]
    assert len(places) == len(set(places))
    assert all(len(each.message) < 300 and len(each.hint or "") < 300 for each in found)
    assert all(not each.message.endswith(".") for each in found)


def _neighbours(seed: dict[str, Any]) -> Iterator[Any]:
    """Everything one change away: each value replaced by each odd one, each key removed, odd ones added."""
    for path in _places(seed):
        for odd in ODD:
            yield _changed(seed, path, lambda _, odd=odd: odd)
        yield _changed(
            seed,
            path,
            lambda old: (
                {**old, "x y": 1} if isinstance(old, dict) else [*old, None] if isinstance(old, list) else [old]
            ),
        )
        if path:
            *parent, last = path
            yield _changed(seed, tuple(parent), lambda old, last=last: _without(old, last))
        for name, odd in product(NAMES, [1, "a", [1], {"a": [1]}]):
            yield _changed(
                seed, path, lambda old, name=name, odd=odd: {**old, name: odd} if isinstance(old, dict) else old
            )


def _without(old: Any, last: Any) -> Any:
    if isinstance(old, dict):
        return {key: value for key, value in old.items() if key != last}
    return [*old[:last], *old[last + 1 :]]


def test_all_neighbours_of_good_data(
    job_schema: dict[str, Any], request_schema: dict[str, Any], strictly: Callable[[dict[str, Any]], Any]
) -> None:
    """After any single change to a good job or payload, the compiled code and a reader of the schema say the same."""
    for seeds, verdict, schema in ((JOBS, _valid.job, job_schema), (PAYLOADS, _valid.payload, request_schema)):
        quick, strict = jsonschema_rs.Draft7Validator(schema), strictly(schema)
        for data in (each for seed in seeds for each in _neighbours(seed)):
            reader = strict if _has_integral_float(data) else quick
            assert verdict(data) == reader.is_valid(data), data


def test_the_seeds_are_good() -> None:
    """What the mutations start from is valid, or they would compare nothing but refusals."""
    assert all(map(_valid.job, JOBS))
    assert all(map(_valid.payload, PAYLOADS))


@pytest.mark.parametrize("schema", [{"type": "array", "contains": True}, {"enum": [1, "a"]}, {"const": None}])
def test_the_compiler_refuses_what_it_does_not_know(schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyword the compiler cannot do stops it, instead of being passed over."""
    with pytest.raises(NotImplementedError):
        compile_schema._Compiler(schema, "x").text()


def test_a_good_file_needs_no_jsonschema() -> None:
    """jsonschema, the dearest import of validate, is only needed to explain a refusal."""
    program = (
        "import sys\n"
        "from seedream_jobs.job.schema import check, check_payload\n"
        "from types import SimpleNamespace as S\n"
        "assert check(S(data={'version': 1, 'request': {'prompt': 'x'}})) == []\n"
        "assert check_payload({'model': 'doubao-seedream-5-0-lite', 'prompt': 'x'}) == []\n"
        "heavy = {'jsonschema', 'yaml', 'jinja2', 'httpx', 'json'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert check_payload({'prompt': 'x'}) and 'jsonschema' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
