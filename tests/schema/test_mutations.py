"""A value has findings exactly where the schema refuses it: another implementation of draft-07 never disagrees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from seedream_jobs.job.schema import explain
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


def _agree(schema: dict[str, Any], file: str, data: Any) -> None:
    """A value has findings exactly where another implementation of draft-07 refuses it."""
    if not _has_integral_float(data):  # draft-07 takes 1.0 for an integer, and we do not
        assert (explain(file, data) == []) == jsonschema_rs.Draft7Validator(schema).is_valid(data)


@given(data=mutated(JOBS))
@settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
def test_jobs(data: Any, job_schema: dict[str, Any]) -> None:
    """For any change to a job, our answer and jsonschema-rs' are one, and a no is explained."""
    _agree(job_schema, "job.schema.json", data)


@given(data=mutated(PAYLOADS))
@settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
def test_payloads(data: Any, request_schema: dict[str, Any]) -> None:
    """The same for payloads."""
    _agree(request_schema, "request.schema.json", data)


@given(data=mutated(JOBS))
@settings(max_examples=examples(100), deadline=None, suppress_health_check=list(HealthCheck))
def test_findings_are_short_and_apart(data: Any) -> None:
    """Findings never share a place, and never print more than a short piece of a value."""
    found = explain("job.schema.json", data)
    assume(found)
    places = [(each.path, each.key, each.code == "missing-field", each.message) for each in found]
    assert len(places) == len(set(places))
    assert all(len(each.message) < 300 and len(each.hint or "") < 300 for each in found)
    assert all(not each.message.endswith(".") for each in found)


def test_the_seeds_are_good() -> None:
    """What the mutations start from is valid, or they would compare nothing but refusals."""
    assert not any(explain("job.schema.json", job) for job in JOBS)
    assert not any(explain("request.schema.json", payload) for payload in PAYLOADS)
