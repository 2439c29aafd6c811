"""``expand --explain``: what made a request, or dropped it, each with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedream_jobs.cli.main import run_command
from seedream_jobs.errors import ExitCode, FindingsError, UsageError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.explain import Explanation, explain
from seedream_jobs.plans.load import EMULATOR_ORIGIN, Target, load_job
from seedream_jobs.resources import resource

JOB = """\
version: 1
vars: {camera: 35mm}
request:
  prompt: |
    {{ subject }} in a garden, {{ season }},
    {{ style.text }}, {{ camera }}
  resolution: 2K
matrix:
  subject: [a golden retriever, a tabby cat]
  season: [spring, autumn]
  style: [{id: photo, text: photography}, {id: ink, text: ink}]
  size: [16:9, 1:1]
  exclude: [{style: ink, size: 1:1}]
  include:
    - {subject: a heron, season: winter, style: photo, size: 21:9}
    - {style: ink, n: 2}
  where: "not (season == 'spring' and subject == 'a tabby cat')"
repeat: 2
"""


@pytest.fixture
def expansion(tmp_path: Path) -> Expansion:
    return _load(tmp_path / "garden.yaml", JOB)


def _load(file: Path, text: str) -> Expansion:
    file.write_text(text, encoding="utf-8")
    return load_job(file, shown=file.name, target=Target(origin=EMULATOR_ORIGIN, emulator=True), sets={}).expansion


def _said(explanation: Explanation) -> list[tuple[str, str, str]]:
    return [(one.what, one.text, one.place.removeprefix("garden.yaml:")) for one in explanation.reasons]


def test_what_made_a_request(expansion: Expansion) -> None:
    """Each axis value, each field with who set it, each line of the template with what it reads."""
    found = explain(expansion, "garden/subject=a-golden-retriever,season=autumn,style=photo,size=1-1#2")
    assert found.verdict == "made"
    assert _said(found) == [
        ("axis", "subject = a golden retriever", "9"),
        ("axis", "season = autumn", "10"),
        ("axis", "style = {id: photo, text: photography}", "11"),
        ("axis", "size = 1:1", "12"),
        ("field", "model: doubao-seedream-5-0-lite (always sent)", ""),
        ("field", "size: 1:1 (axis)", "12"),
        ("field", "resolution: 2K (request)", "7"),
        ("prompt", "a golden retriever in a garden, autumn, (reads season, subject)", "5"),
        ("prompt", "photography, 35mm (reads camera, style)", "6"),
    ]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("subject=a-tabby-cat,season=autumn,style=ink,size=1-1", ("exclude", "it matches this item", "13")),
        (
            "subject=a-tabby-cat,season=spring,style=photo,size=16-9",
            ("where", "it is false: not (season == 'spring' and subject == 'a tabby cat')", "17"),
        ),
    ],
)
def test_what_dropped_a_combination(address: str, reason: tuple[str, str, str], expansion: Expansion) -> None:
    """The first filter that it does not pass, at its place; nothing is said of a prompt that is not made."""
    found = explain(expansion, address)
    assert (found.verdict, found.request) == ("dropped", None)
    assert _said(found)[-1] == reason


def test_an_include_decorates_or_stands_alone(expansion: Expansion) -> None:
    """Both say which item it is."""
    decorated = explain(expansion, "subject=a-tabby-cat,season=autumn,style=ink,size=16-9,n=2")
    assert ("include", "adds n = 2", "16") in _said(decorated)
    assert ("field", "n: 2 (include)", "16") in _said(decorated)
    alone = explain(expansion, "garden/subject=a-heron,season=winter,style=photo,size=21-9#1")
    assert _said(alone)[0] == ("include", "it matches no combination, so it stands for one of its own", "15")


def test_a_sample_says_so(tmp_path: Path) -> None:
    """What the sample leaves is made, the rest is dropped by it."""
    job = 'version: 1\nrequest: {prompt: "{{ a }}"}\nmatrix:\n  a: [x, y, z]\n  sample: {size: 1, seed: 7}\n'
    expansion = _load(tmp_path / "garden.yaml", job)
    verdicts = [explain(expansion, f"a={value}") for value in "xyz"]
    assert sorted(found.verdict for found in verdicts) == ["dropped", "dropped", "made"]
    assert all(_said(found)[-1][0] == "sample" for found in verdicts if found.verdict == "dropped")


def test_an_equal_request_names_the_one_that_is_submitted(tmp_path: Path) -> None:
    """Two cells of one payload are one request."""
    job = 'version: 1\nrequest: {prompt: "{{ a.t }}"}\nmatrix: {a: [{id: p, t: x}, {id: q, t: x}]}\n'
    found = explain(_load(tmp_path / "garden.yaml", job), "a=q")
    assert (found.verdict, _said(found)[-1][1]) == ("merged", "the same request as garden/a=p#1: submitted once")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("colour=red", "there is no axis 'colour'"),
        ("subjekt=a", "there is no axis 'subjekt', but 'subject'"),
        ("subject=a-tabby-cat", "it says nothing of the axis 'season'"),
        ("subject=a-tabby,season=autumn,style=ink,size=1-1", "has no value 'a-tabby'; did you mean 'a-tabby-cat'?"),
        ("subject=a-tabby-cat,season=autumn,style=ink,size=1-1#3", "repeat is 2"),
        ("nonsense", "'nonsense' is not AXIS=VALUE"),
    ],
)
def test_an_address_that_is_none(address: str, why: str, expansion: Expansion) -> None:
    """One line that says which part is wrong."""
    with pytest.raises(UsageError) as error:
        explain(expansion, address)
    assert why in error.value.message


@pytest.mark.parametrize(
    ("rest", "address", "code", "place"),
    [
        (
            'request: {prompt: "{{ a }} {{ more }}"}\nmatrix: {a: [x, y], include: [{a: x, more: z}]}',
            "a=y",
            "template-value",
            "2:31",
        ),
        ('request: {prompt: "{{ a[b] }}"}\nmatrix: {a: [{id: x}], b: [t]}', "a=x,b=t", "template-value", "2:20"),
        (
            'request: {prompt: "{{ a }}"}\nmatrix: {a: ["x:y"]}\noutput: {name: "{{ a }}"}',
            "a=x-y",
            "output-name",
            "4:17",
        ),
        ('request: {prompt: "{{ a }}"}\nmatrix: {a: ["x", " "]}', "a=-", "template-value", "2:20"),
    ],
)
def test_a_combination_that_cannot_be_made_is_a_finding(
    rest: str, address: str, code: str, place: str, tmp_path: Path
) -> None:
    """At its place, as when the whole job is made."""
    expansion = _load(tmp_path / "garden.yaml", f"version: 1\n{rest}\n")
    with pytest.raises(FindingsError) as caught:
        explain(expansion, address)
    (finding,) = caught.value.diagnostics
    assert (finding.code, finding.place) == (code, f"garden.yaml:{place}")


@pytest.mark.parametrize("file", sorted(resource("examples").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_address_of_the_examples_is_explained(file: Path) -> None:
    """Each listed address leads back to its own request."""
    expansion = load_job(file, shown=file.name, target=Target(origin=EMULATOR_ORIGIN, emulator=True), sets={}).expansion
    for place in list(expansion.places())[:40]:
        request = expansion.request(place)
        found = explain(expansion, request.address)
        assert (found.verdict, found.address) == ("made", request.address)
        assert found.request == request


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each reason; an unknown address is a usage error."""
    (tmp_path / "garden.yaml").write_text(JOB, encoding="utf-8")
    job = str(tmp_path / "garden.yaml")
    address = "subject=a-tabby-cat,season=autumn,style=ink,size=1-1"
    assert run_command(["expand", job, "--explain", address]) == ExitCode.OK
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("#1 is not made")
    assert said[-1] == f"  exclude  it matches this item  [{job}:13]"
    assert run_command(["expand", job, "--explain", "x=y"]) == ExitCode.USAGE
