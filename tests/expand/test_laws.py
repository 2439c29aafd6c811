# ruff: noqa: E501, UP031  (jobs are easier to read on one line, and their braces are the templates')
"""Laws of the core, over random jobs: the quick ways agree with the plain ones, and keys mean what they should."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from seedream_jobs.errors import FindingsError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.identity import canonical_payload, key_of, max_images, settled
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.expand.request_builder import FIELD_ORDER
from seedream_jobs.job import schema, yaml_reader
from seedream_jobs.job.files import WorkTree
from seedream_jobs.job.spec import load_spec
from seedream_jobs.job.template import TemplateProblem, compile_template, environment
from tests.lanes import examples

SOME = settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(SOME, max_examples=examples(80))

WORDS = st.sampled_from(
    [
        "fox",
        "fox\n",
        "owl\r\nby\rnight\r",
        "end\\n",
        "\n",
        "Owl",
        'a "b"',
        "{{ x }}",
        "ä€\u2028",
        "back\\slash",
        "tab\t",
        "",
        "   ",
        "16:9",
        "yes",
        "{prompt}",
        "鹭",
    ]
)
AROUND = st.sampled_from(["%s{{ extra_word }}", "p %s{{ extra_word }}", "p %s", "p %s\n", "p %s\\n\n\n"])
"""What stands around the pieces of a prompt; no prompt is blank."""
MAPPINGS = st.builds(
    lambda number, text, on: {"id": f"m{number}", "text": text, "on": on, "items": number},
    st.integers(0, 3),
    WORDS,
    st.booleans(),
)
FREE_AXIS = st.one_of(
    st.lists(WORDS, min_size=1, max_size=4),
    st.lists(st.one_of(st.integers(-2, 4), st.booleans(), st.sampled_from([0.5, 1.0])), min_size=1, max_size=4),
    st.lists(MAPPINGS, min_size=1, max_size=3, unique_by=lambda value: value["id"]),
)
PARAMETERS: dict[str, st.SearchStrategy[list[Any]]] = {
    "size": st.lists(st.sampled_from(["1:1", "16:9", "3:2"]), min_size=1, max_size=3),
    "n": st.lists(st.integers(1, 4), min_size=1, max_size=2),
    "watermark": st.lists(st.booleans(), min_size=1, max_size=2),
    "model": st.just(["doubao-seedream-5-0-lite", "doubao-seedream-5.0-lite"]),
    "image_urls": st.just(["https://x/1.png", ["https://x/2.png", "https://x/1.png"]]),
}


def segment_of(name: str, values: list[Any]) -> st.SearchStrategy[str]:
    at = f"{name}.text" if isinstance(values[0], dict) else name
    return st.sampled_from(
        [
            f"{{{{ {at} }}}}",
            f"{{{{ {at} | string | upper }}}}",
            f"{{% if {at} %}}yes {{{{ {at} }}}}{{% else %}}no{{% endif %}}",
            f"{{% set s = {at} %}}[{{{{ s }}}}]",
            f"{{% for i in range(2) %}}{{{{ {at} }}}}{{{{ loop.index }}}}{{% endfor %}}",
            f"{{{{ {at} | string | replace('{{prompt}}', v) }}}}",
        ]
    )


@st.composite
def jobs(draw: st.DrawFn, *, includes: bool = True, sample: bool = True) -> dict[str, Any]:
    """A job with up to three free axes, one of them perhaps zipped, parameter axes, filters, includes, repeats."""
    free = {name: draw(FREE_AXIS) for name in draw(st.sampled_from(["a", "ab", "abc"]))}
    zipped = {}
    if draw(st.booleans()):
        zipped = {"z1": draw(st.lists(WORDS, min_size=2, max_size=3)), "z2": [1, 2, 3]}
        zipped["z2"] = zipped["z2"][: len(zipped["z1"])]
    fields = {
        name: draw(PARAMETERS[name])
        for name in draw(st.lists(st.sampled_from(sorted(PARAMETERS)), unique=True, max_size=2))
    }
    names = {**free, **zipped}
    pieces = [draw(segment_of(name, values)) for name, values in names.items() if draw(st.integers(0, 3))]
    if draw(st.booleans()) and len(names) > 1:
        first, second = list(names)[:2]
        pieces.append(f"{{{{ {first} == {second} }}}}{{{{ {first} is string and {second} is string }}}}")
    matrix: dict[str, Any] = {**free, **fields}
    if zipped:
        matrix["zip"] = zipped
    matrix = dict(draw(st.permutations(list(matrix.items()))))
    if draw(st.booleans()):
        matrix["exclude"] = [
            {
                name: pattern(draw(st.sampled_from(names[name])))
                for name in draw(st.lists(st.sampled_from(sorted(names)), min_size=1, max_size=2, unique=True))
            }
        ]
    if draw(st.booleans()):
        matrix["where"] = draw(
            st.sampled_from(
                [f"{name} is not none" for name in names] + ["a is not string or a | length > 3", "v == 'vv'"]
            )
        )
    if includes and draw(st.booleans()):
        matrix["include"] = draw(st.lists(include_of(names, fields), min_size=1, max_size=3))
    if sample and draw(st.integers(0, 3)) == 0:
        matrix["sample"] = draw(st.sampled_from([{"size": 3, "seed": 1}, {"strategy": "pairwise"}]))
    return {
        "version": 1,
        "vars": {"v": "vv", "extra_word": "plain"},
        "request": {"prompt": draw(AROUND) % " ".join(draw(st.permutations(pieces)))},
        "matrix": matrix,
        "repeat": draw(st.integers(1, 2)),
        "output": {"name": "{{ v }}-" + "-".join("{{ %s | string | slug }}" % name for name in names) + "{{ extra_word }}"},
    }  # fmt: skip


def pattern(value: Any) -> Any:
    return value["id"] if isinstance(value, dict) else value


def include_of(names: dict[str, list[Any]], fields: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    match = st.sampled_from(sorted(names)).flatmap(
        lambda name: st.sampled_from(names[name]).map(lambda value: {name: pattern(value)})
    )
    adds = st.sampled_from(
        [{"extra_word": "rich"}, {"resolution": "4K"}, {"resolution": "3K", "extra_word": "{{ v }}"}]
    )
    return st.builds(lambda one, two: {**one, **two}, match, adds)


def expansion_of(job: Any, *, name: str = "job.yaml", flow: bool | None = None) -> Expansion:
    text = (
        job
        if isinstance(job, str)
        else yaml.safe_dump(job, sort_keys=False, allow_unicode=True, default_flow_style=flow)
    )
    document = yaml_reader.parse(text.encode(), name)
    assert schema.check(document) == [], text
    root = Path("/nonexistent")
    return Expansion(load_spec(document, WorkTree(root), root=root, folder=PurePosixPath(), sets={}))


def loaded(job: dict[str, Any]) -> Expansion:
    try:
        return expansion_of(job)
    except FindingsError as error:  # such as an exclude of two values that a zip never has together
        assume({d.code for d in error.diagnostics if d.severity == "error"} <= {"exclude-matches-nothing"} and False)
        raise


# -- templates -----------------------------------------------------------------------------------------------------


@SOME
@given(jobs(includes=False))
def test_segments_equal_jinja(job: dict[str, Any]) -> None:
    """The text of a template's segments is what Jinja's own render makes of the whole."""
    expansion = loaded(job)
    whole = environment().from_string(job["request"]["prompt"])
    template = compile_template(job["request"]["prompt"])
    for choice in itertools.islice(expansion.matrix.survivors(), 10):
        context = expansion.matrix.bindings(Cell(choice, ()))
        assert template.render(context) == whole.render(context)


def test_nothing_is_left_behind() -> None:
    """What one cell set does not show in the next."""
    template = compile_template("{% if a %}{% set s = a %}{% endif %}{{ s is defined }}{% set a = 1 %}")
    assert [template.render({"a": value}) for value in ("x", "", "x", "")] == ["true", "false", "true", "false"]
    namespaced = compile_template(
        "{% set n = namespace(x=0) %}{% for i in range(3) %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}{{ a }}"
    )
    assert [namespaced.render({"a": value}) for value in ("x", "y")] == ["3x", "3y"]


def test_data_can_not_be_changed() -> None:
    """A template that appends to an axis' list would change the next request."""
    with pytest.raises(TemplateProblem, match="calls no methods"):
        compile_template("{{ a.append(1) }}")


# -- keys ----------------------------------------------------------------------------------------------------------


@MANY
@given(jobs())
def test_a_request_is_what_its_payload_says(job: dict[str, Any]) -> None:
    """The prompt is what Jinja makes of the whole template, and the key is the digest of the payload, made plainly."""
    expansion = loaded(job)
    builder, spec = expansion.builder, expansion.spec
    for cell in itertools.islice(expansion.matrix.cells(), 30):
        try:
            keys = builder.keys(cell)
            requests = [builder.request(cell, repeat, key) for repeat, (key, _) in enumerate(keys, 1)]
        except TemplateProblem:
            continue
        for repeat, ((key, images), request) in enumerate(zip(keys, requests, strict=True), 1):
            if spec.prompt is not None and "prompt" not in expansion.matrix.given(cell):
                whole = environment().from_string(spec.prompt.source)
                assert request.payload["prompt"] == settled(whole.render(expansion.matrix.bindings(cell)))
            assert request.key == key == key_of(request.payload, spec.profile.id, repeat)
            assert request.max_images == images == max_images(request.payload)
            assert [name for name in FIELD_ORDER if name in request.payload] == list(request.payload)
            assert request.output.endswith(f"-r{repeat}" if spec.repeat > 1 else "")
            assert builder.request(cell, repeat, key) == request  # now from parts that are there


@SOME
@given(jobs(sample=False), st.randoms(use_true_random=False))
def test_keys_ignore_what_is_not_sent(job: dict[str, Any], random: Any) -> None:
    """Keys ignore the order of axes, their names, the YAML layout and the job's name."""
    expansion = loaded(job)
    try:
        keys = {place.key for place in expansion.places()}
    except FindingsError:
        assume(False)
    moved = list(job["matrix"].items())
    random.shuffle(moved)
    text = yaml.safe_dump(
        {**job, "matrix": dict(moved), "name": "renamed"}, sort_keys=True, allow_unicode=True, width=40
    )
    for old in sorted(expansion.spec.axis_of(name) and name for name in ("z1", "z2") if expansion.spec.axis_of(name)):
        text = text.replace(old, f"{old}_renamed")
    assert {place.key for place in expansion_of(text, name="other.yaml").places()} == keys


def test_golden_keys() -> None:
    """Frozen keys of form v1, computed here with json and hashlib alone: none of them may ever change."""
    cases = json.loads((Path(__file__).parent / "golden_keys.json").read_text(encoding="utf-8"))
    assert len(cases) >= 25
    for case in cases:
        written = json.dumps({"payload": case["form"], "repeat": case["repeat"]}, sort_keys=True, separators=(",", ":"))
        assert case["key"] == "v1:" + hashlib.sha256(written.encode()).hexdigest()
        assert canonical_payload(case["payload"], "doubao-seedream-5-0-lite") == case["form"]
        assert key_of(case["payload"], "doubao-seedream-5-0-lite", case["repeat"]) == case["key"]


# -- the matrix ----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
@SOME
def test_nth_equals_the_products_nth(sizes: list[int]) -> None:
    """The n-th combination is the product's n-th."""
    expansion = expansion_of(
        {
            "version": 1,
            "request": {"prompt": "p"},
            "matrix": {f"a{i}": list(range(size)) for i, size in enumerate(sizes)},
        }
    )
    wanted = list(itertools.product(*map(range, sizes)))
    assert list(expansion.matrix.survivors()) == wanted


@SOME
@given(jobs(includes=False, sample=False))
def test_pruning_equals_filtering(job: dict[str, Any]) -> None:
    """Walking the tree of choices leaves what filtering the whole product leaves, and the count is the same."""
    matrix = loaded(job).matrix
    kept = []
    for choice in itertools.product(*map(range, matrix.sizes)):
        excluded = any(all(choice[axis] in fit for axis, fit in item.fits) for item in matrix.spec.exclude)
        if not excluded and (matrix.spec.where is None or matrix.spec.where(matrix.bindings(Cell(choice, ())))):
            kept.append(choice)
    assert list(matrix.survivors()) == kept
    assert matrix.surviving() == len(kept)
    for axes in ((), (0,), tuple(range(len(matrix.sizes)))):
        shown = list(matrix.survivors(axes))
        assert len(set(shown)) == len(shown)
        assert {tuple(choice[axis] for axis in axes) for choice in shown} == {
            tuple(choice[axis] for axis in axes) for choice in kept
        }
    assert [set(column) for column in matrix.living] == (
        [set(column) for column in zip(*kept, strict=True)] or [set()] * len(matrix.sizes)
    )


def github(
    axes: dict[str, list[Any]], exclude: list[dict[str, Any]], include: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """GitHub Actions' rules for a matrix, as its documentation tells them."""
    if not axes:
        return [dict(item) for item in include]
    originals = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    originals = [
        combo for combo in originals if not any(all(combo.get(k) == v for k, v in item.items()) for item in exclude)
    ]
    results = [dict(combo) for combo in originals]
    added = []
    for item in include:
        matched = False
        for combo, result in zip(originals, results, strict=True):
            if all(combo[key] == value for key, value in item.items() if key in axes):
                result.update(item)
                matched = True
        if not matched:
            added.append(dict(item))
    return results + added


VALUES = st.integers(0, 2)
ITEM = st.dictionaries(st.sampled_from("abcxy"), VALUES, min_size=1, max_size=3)


@MANY
@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(VALUES, min_size=1, max_size=3, unique=True), max_size=3),
    st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, min_size=1, max_size=2), max_size=2),
    st.lists(ITEM, max_size=4),
)
def test_include_and_exclude_as_github(
    axes: dict[str, list[int]], exclude: list[dict[str, int]], include: list[dict[str, int]]
) -> None:
    """include and exclude do what GitHub Actions does."""
    exclude = [item for item in exclude if all(name in axes and value in axes[name] for name, value in item.items())]
    assume(axes or include)
    prompt = "".join(f"{{{{ {name} | default('-') }}}}" for name in "abcxy")
    known = {name for item in include for name in item} | set(axes)
    job = {
        "version": 1,
        "vars": {name: "-" for name in "abcxy" if name not in known},
        "request": {"prompt": prompt + "!"},
        "matrix": {**axes, "exclude": exclude, "include": include},
    }
    matrix = expansion_of(job).matrix
    found = [{k: v for k, v in matrix.bindings(cell).items() if v != "-"} for cell in matrix.cells()]
    assert found == github(axes, exclude, include)


# -- samples -------------------------------------------------------------------------------------------------------


def sampled(axes: dict[str, list[Any]], **sample: Any) -> list[dict[str, Any]]:
    expansion = expansion_of({"version": 1, "request": {"prompt": "p"}, "matrix": {**axes, "sample": sample}})
    return [expansion.matrix.bindings(cell) for cell in expansion.matrix.cells()]


@SOME
@given(st.integers(0, 99), st.integers(1, 30))
def test_sample_changes_only_its_share(seed: int, size: int) -> None:
    """A new axis value puts in only combinations that have it; what else was taken is a part of what was taken before."""
    axes = {"a": list(range(6)), "b": ["x", "y", "z"], "c": [True, False]}
    before = sampled(axes, size=size, seed=seed)
    after = sampled({"c": axes["c"], "a": [*axes["a"], 99], "b": axes["b"]}, size=size, seed=seed)
    assert len(before) == len(after) == min(size, 36)
    kept = [combination for combination in after if combination["a"] != 99]
    assert all(combination in before for combination in kept)


def feasible(axes: dict[str, list[Any]], combinations: Iterator[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {(m, row[m], n, row[n]) for row in combinations for m, n in itertools.combinations(sorted(axes), 2)}


@SOME
@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(0, 9), st.booleans())
def test_pairwise_covers_every_feasible_pair(sizes: list[int], seed: int, filtered: bool) -> None:
    """Every pair of values that some combination has is in one that is taken; and hardly more than needed are."""
    axes = {f"a{index}": list(range(size)) for index, size in enumerate(sizes)}
    extra = {"where": "a0 != a1 or a0 == 0"} if filtered else {}
    rows = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    rows = [row for row in rows if not filtered or row["a0"] != row["a1"] or row["a0"] == 0]
    taken = sampled({**axes, **extra}, strategy="pairwise", seed=seed)
    assert feasible(axes, iter(taken)) == feasible(axes, iter(rows))
    assert len(taken) <= max(1, 2 * sorted(sizes)[-1] * sorted(sizes)[-2])
