"""Counting from the parts: wherever it answers, streaming counts the same; and it answers for the jobs people write."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_jobs.errors import FindingsError
from seedream_jobs.expand import counting
from seedream_jobs.expand.counting import Count
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.fragments import Fragments
from seedream_jobs.expand.output_names import OutputNames
from tests.expand.test_laws import MANY, expansion_of, jobs, loaded

CONFUSABLE = st.sampled_from(["", "a", "b", "ab", "ba", "aa", "aba", " ", "-", "a-", "A", "é", "e\u0301", "a/b"])
BETWEEN = st.sampled_from(["", "", "a", "-", " ", "b-", "/", "a/"])


def streamed(expansion: Expansion) -> tuple[Count, int]:
    """What streaming counts: the requests and their images, and how many were merged."""
    images = sum(place.max_images for place in expansion.places())
    return Count(expansion.made, images), expansion.merged


def hold(expansion: Expansion) -> Count | None:
    """Hold both proofs against the streams: a proof that is wrong anywhere fails here."""
    found = expansion.counted()
    if found is not None:
        assert (expansion.made, expansion.merged) == (found.requests, 0)
        assert streamed(expansion) == (found, 0)
        if counting.names_differ(expansion.spec, expansion.matrix):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("seedream_jobs.expand.expansion.names_differ", lambda *_: False)
                assert expansion.name_collisions() == []
    return found


@MANY
@given(jobs())
def test_agrees_with_the_stream(job: dict[str, Any]) -> None:
    """Over random jobs with filters, includes, samples, zips, repeats and parameters."""
    expansion = loaded(job)
    try:
        expansion.check()
    except FindingsError:
        return
    hold(expansion)


@st.composite
def confusable(draw: st.DrawFn) -> dict[str, Any]:
    """Up to three axes of texts that run into one another, in any order, some twice, some left out."""
    axes = {name: draw(st.lists(CONFUSABLE, min_size=1, max_size=4, unique=True)) for name in "abc"}

    def template() -> str:
        order = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=5))
        return "".join(f"{{{{ {name} }}}}{draw(BETWEEN)}" for name in order)

    matrix: dict[str, Any] = dict(axes)
    if draw(st.booleans()):
        matrix["size"] = ["1:1", "16:9"]
    if draw(st.booleans()):
        matrix["where"] = "a != b"
    return {
        "version": 1,
        "request": {"prompt": draw(BETWEEN) + template()},
        "matrix": matrix,
        "repeat": draw(st.integers(1, 2)),
        "output": {"name": draw(BETWEEN) + template()},
    }


@MANY
@given(confusable())
def test_is_not_taken_in(job: dict[str, Any]) -> None:
    """Texts made to be mistaken for one another: where two are equal, nothing is claimed."""
    try:
        expansion = expansion_of(job)
        expansion.check()
    except FindingsError:
        return
    hold(expansion)


def job(axes: dict[str, list[Any]], prompt: str, name: str = "", **matrix: Any) -> Expansion:
    """A job of axes whose prompt reads them."""
    output = {"output": {"name": name}} if name else {}
    expansion = expansion_of({"version": 1, "request": {"prompt": prompt}, "matrix": {**axes, **matrix}, **output})
    expansion.check()
    return expansion


AB = {"a": ["x", "xy"], "b": ["yz", "z"]}


@pytest.mark.parametrize(
    ("axes", "prompt", "matrix", "wanted"),
    [
        ({"a": ["cat", "dog"], "b": ["day", "night"]}, "{{ a }} by {{ b }}", {}, 4),
        ({"a": ["cat", "dog"], "b": ["day", "night"]}, "{{ b }}{{ a }}", {}, 4),
        ({"a": ["x", "xx"], "b": ["y", "z"]}, "{{ a }}{{ b }}", {}, 4),  # from the right
        ({"a": ["x", "xx"], "b": ["y", "yy"]}, "{{ a }}{{ b }}", {}, None),  # neither end tells, though all differ
        (AB, "{{ a }}{{ b }}", {}, None),  # x + yz == xy + z
        (AB, "{{ a }}, {{ b }}", {}, 4),
        (AB, "{{ a }}{{ b }}{{ a }}", {}, 4),  # the last piece tells a, then the rest b
        ({"a": ["p", "q"]}, "{{ a }} {{ a }}", {}, 2),
        ({"a": ["p", "q"], "b": ["r", "s"]}, "{{ a }}", {}, None),  # b is not in the prompt: its requests are equal
        ({"a": ["p", "q"], "b": ["r"]}, "{{ a }}", {}, 2),  # but it has one value
        ({"a": ["p", "q"], "size": ["1:1", "16:9"]}, "{{ a }}", {}, 4),  # the parameters tell
        ({"a": ["p", "q"], "size": ["1:1", "16:9"]}, "{{ a }} {{ size }}", {"exclude": [{"a": "p", "size": "1:1"}]}, 3),
        ({"a": ["p", "q"], "b": [1, 2, 3]}, "{{ a }} {{ b }}", {"where": "a == 'p' or b > 1"}, 5),
        ({"a": ["p", "q"], "model": ["doubao-seedream-5-0-lite", "doubao-seedream-5.0-lite"]}, "{{ a }}", {}, None),
        ({"a": ["p", "q"], "b": ["r", "s"]}, "{{ a ~ b }}", {}, None),  # one expression that reads both
        ({"a": ["p", "q"]}, "{{ a }}", {"sample": {"size": 1}}, None),
        ({"a": ["p", "q"]}, "{{ a }}", {"include": [{"a": "r"}]}, None),
        ({"a": ["p", "P"]}, "{{ a }}", {}, 2),
        ({"a": ["x", "xx"], "c": ["x", "y"], "b": ["y", "zy"]}, "{{ a }}{{ c }}-{{ b }}", {}, 8),  # -y or -zy
        ({"a": ["x", "xx"], "b": ["y", "yy"]}, "{{ a }}{{ b }}", {"exclude": [{"a": "xx"}]}, 2),  # xx: no combination
        ({"a": ["x", " "]}, "{{ a }}", {}, None),  # one prompt is blank
        ({"a": ["x", " "], "b": ["\t", "y"]}, "{{ a }}, {{ b }}", {}, 4),
        ({"a": ["x", " "], "b": ["\t", "y"]}, "{{ a }} {{ b }}", {}, None),
        ({"a": ["x", "x\n"]}, "{{ a }}", {}, None),  # a break at the end is not sent
        ({"a": ["x", "x\n"], "b": ["", " "]}, "{{ a }}{{ b }}", {}, None),
        ({"a": ['"', "\\"], "b": ["n", "\n"]}, "x{{ a }}{{ b }}.", {}, 4),
    ],
)  # fmt: skip
def test_what_is_told(axes: dict[str, list[Any]], prompt: str, matrix: dict[str, Any], wanted: int | None) -> None:
    """The shapes it answers for, and those it leaves to the stream."""
    found = hold(job(axes, prompt, **matrix))
    assert (found and found.requests) == wanted


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("{{ a }}-{{ b }}", True),
        ("{{ b }}/{{ a }}", True),
        ("out/{{ a }}/{{ b }}", True),
        ("{{ a }}{{ b }}", False),
        ("{{ a }}", False),
        ("{{ a }}-{{ b | upper }}", True),
        ("{{ a }}.{{ b }}", False),  # perhaps a good name; the stream looks
        ("{{ a }}-{{ b }}/", False),
        ("-{{ a }}-{{ b }}", False),
        ("n" * 199 + "{{ a }}-{{ b }}", False),
    ],
)
def test_names(name: str, wanted: bool) -> None:
    """Which output names are known to differ, and to be good, from their parts."""
    expansion = job(AB, "{{ a }}, {{ b }}", name)
    hold(expansion)
    assert counting.names_differ(expansion.spec, expansion.matrix) is wanted


def test_names_that_differ_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the parts tell, no cell is looked at; where they don't, each is."""
    looked: list[Any] = []
    monkeypatch.setattr(OutputNames, "__call__", lambda _, cell: looked.append(cell) or str(len(looked)))
    assert job(AB, "{{ a }}, {{ b }}", "{{ a }}-{{ b }}").name_collisions() == []
    assert not looked
    assert job(AB, "{{ a }}, {{ b }}", "{{ a }}.{{ b }}").name_collisions() == []
    assert len(looked) == 4


@pytest.mark.parametrize("value", ["", ".", "..", "y/..", "y/z", "/y", "y:z", "y ", "-y", "é", "y" * 201])
def test_each_value_makes_a_good_name(value: str) -> None:
    """One value that makes none, or that might, leaves the names to the stream."""
    for values in (["x", value], [value, "x"]):
        expansion = job({"a": values, "b": ["1", "2"]}, "{{ a }}, {{ b }}", "{{ a }}/{{ b }}")
        hold(expansion)
        assert not counting.names_differ(expansion.spec, expansion.matrix)


def test_case_is_ignored() -> None:
    """Two names that a file system may take for one."""
    expansion = job({"a": ["p", "P"]}, "{{ a }}", "n-{{ a }}")
    assert not counting.names_differ(expansion.spec, expansion.matrix)
    assert [finding.code for finding in expansion.name_collisions()] == ["output-collision"]


def test_an_include_is_looked_at() -> None:
    """A combination that only an include brings may take the name of another."""
    expansion = job({"a": ["p", "q"]}, "{{ a }}", "n-{{ a }}", include=[{"a": "P"}])
    assert not counting.names_differ(expansion.spec, expansion.matrix)
    assert expansion.total() == 3
    assert [finding.code for finding in expansion.name_collisions()] == ["output-collision"]


@pytest.mark.parametrize("times", [1, 70])
def test_what_case_makes_plain_is_not_plain(times: int) -> None:
    """The sign of kelvin, which is ASCII once its case is ignored, and three bytes where it stands in a name."""
    expansion = job({"a": ["\u212a" * times, "b"]}, "{{ a }}", "{{ a }}")
    hold(expansion)
    assert not counting.names_differ(expansion.spec, expansion.matrix)
    assert [finding.code for finding in expansion.name_collisions()] == ["output-name"] * (times > 66)


def test_images_and_repeats() -> None:
    """Each set of parameters has its own most images."""
    expansion = expansion_of(
        {
            "version": 1,
            "request": {"prompt": "{{ a }}"},
            "matrix": {"a": ["p", "q", "r"], "n": [1, 4], "exclude": [{"a": "p", "n": 4}]},
            "repeat": 3,
        }
    )
    assert hold(expansion) == Count(15, 3 * (3 * 1 + 2 * 4))


def test_no_more_frames_than_may_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job with more distinct sets of parameters is streamed, in bounded memory; each was made once until then."""
    axes = {"a": ["p", "q"], "n": [1, 2, 3], "size": ["1:1", "16:9"]}
    monkeypatch.setattr(counting, "MAX_FRAMES", 6)
    assert hold(job(axes, "{{ a }}")) == Count(12, 24)
    monkeypatch.setattr(counting, "MAX_FRAMES", 5)
    expansion = job(axes, "{{ a }}")
    made: list[Any] = []
    frame = Fragments.frame
    monkeypatch.setattr(Fragments, "frame", lambda self, choice: made.append(choice) or frame(self, choice))
    assert hold(expansion) is None
    assert len(made) == 5
    assert expansion.total() == 12


def test_a_seeded_fault_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof that takes any texts for a code claims what the stream refutes: ``hold`` fails on it."""
    monkeypatch.setattr(counting, "_none_begins_another", lambda words: len(set(words)) == len(list(words)))
    with pytest.raises(AssertionError):
        hold(job(AB, "{{ a }}{{ b }}"))
