# ruff: noqa: E501  (job files and the sentences they hold are easier to read on one line)
"""What is said of job files, sentence by sentence: each test's docstring quotes the sentence it holds."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.job import spec
from seedream_jobs.model_profile import profiles
from seedream_jobs.plans.load import check_count

Refused = Callable[[str], list[str]]
P = 'request: {prompt: "{{ a }}"}\n'


def codes(found: list[str]) -> list[str]:
    return [re.match(r"\[([^\]]+)\]", line)[1] for line in found]  # type: ignore[index]


def warnings(expansion: Any) -> list[str]:
    return [finding.code for finding in expansion.check()]


# -- the file ------------------------------------------------------------------------------------------------------


def test_name_defaults_to_stem(folder: Any) -> None:
    """name: default: the file's stem."""
    assert folder.requests(P + "matrix: {a: [x]}", name="garden.yaml")[0].address == "garden/a=x#1"


def test_vars_are_constants(folder: Any) -> None:
    """vars: constants for templates."""
    assert folder.prompts('vars: {c: 35mm}\nrequest: {prompt: "on {{ c }}"}') == ["on 35mm"]


def test_any_field_of_the_api(folder: Any) -> None:
    """request: any field of the API."""
    job = "request: {prompt: p, size: 16:9, resolution: 4K, n: 2, output_format: png, watermark: true}"
    request = folder.requests(job)[0]
    assert request.payload == {
        "model": "doubao-seedream-5-0-lite",
        "prompt": "p",
        "size": "16:9",
        "resolution": "4K",
        "n": 2,
        "output_format": "png",
        "watermark": True,
    }


def test_templates_in_three_places(folder: Any) -> None:
    """prompt, image_urls and output.name are templates."""
    job = 'request: {prompt: "{{ a }}!", image_urls: ["https://x/{{ a }}.png"]}\nmatrix: {a: [x]}\noutput: {name: "n-{{ a }}"}'
    request = folder.requests(job)[0]
    assert (request.payload["prompt"], request.payload["image_urls"], request.output) == (
        "x!",
        ["https://x/x.png"],
        "out/job/n-x",
    )


def test_mapping_value_named_by_id(folder: Any) -> None:
    """A value may be a mapping; id names it in addresses and file names."""
    request = folder.requests('request: {prompt: "{{ a.t }}"}\nmatrix: {a: [{id: ink, t: ink painting}]}')[0]
    assert (request.address, request.payload["prompt"]) == ("job/a=ink#1", "ink painting")
    assert request.output.startswith("out/job/a-ink-")


def test_axis_named_like_a_field(folder: Any) -> None:
    """An axis named like a request field sets that field, typed."""
    found = folder.requests("request: {prompt: p}\nmatrix: {n: [1, 3], watermark: [true]}")
    assert [(r.payload["n"], r.payload["watermark"]) for r in found] == [(1, True), (3, True)]


def test_repeat_is_not_n(folder: Any) -> None:
    """Independent requests per combination; not the same as n."""
    found = folder.requests(P + "matrix: {a: [x, y]}\nrepeat: 2")
    assert [r.address for r in found] == ["job/a=x#1", "job/a=x#2", "job/a=y#1", "job/a=y#2"]
    assert len({r.key for r in found}) == 4
    assert all("n" not in r.payload for r in found)


def test_limits(folder: Any) -> None:
    """limits: {max_requests: 200, budget_usd: 5.00}; default 1,000."""
    spec = folder.expand("request: {prompt: p}\nlimits: {max_requests: 200, budget_usd: 5.10}").spec
    assert (spec.max_requests, spec.budget_usd) == (200, Decimal("5.1"))
    assert folder.expand("request: {prompt: p}").spec.max_requests == 1000


# -- axes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "axis", "wanted"),
    [
        ("a.txt", "one\n\n two \n", "{from: a.txt}", ["one", "two"]),
        (
            "a.txt",
            "one\u2028still one\r\ntwo\x0cstill two",
            "{from: a.txt}",
            ["one\u2028still one", "two\x0cstill two"],
        ),
        ("a.csv", 'P,n\n"a, b",01\n', "{from: a.csv, column: P}", ["a, b"]),
        ("a.csv", 'P,n\n"a\nb",01\n', "{from: a.csv, column: n}", ["01"]),
        ("a.tsv", 'P\tn\n"quoted" start\t1\n', "{from: a.tsv, column: P}", ['"quoted" start']),
        ("a.json", '["x", 2]', "{from: a.json}", ["x", "2"]),
        ("a.jsonl", '{"P": "x"}\n\n{"P": "y"}\n', "{from: a.jsonl, column: P}", ["x", "y"]),
        ("a.yaml", "- 16:9\n- yes\n", "{from: a.yaml}", ["16:9", "yes"]),
        ("a.txt", "a\nb\nc\n", "{from: a.txt, limit: 2}", ["a", "b"]),
        ("a.csv", "P,n\nx,1\ny,2\nz,2\n", "{from: a.csv, column: P, where: row.n == '2', limit: 1}", ["y"]),
        ("a.csv", "P,n\nx,1\ny,2\n", "{from: a.csv, column: P, types: {n: integer}, where: row.n > 1}", ["y"]),
    ],
)
def test_files(folder: Any, name: str, text: str, axis: str, wanted: list[str]) -> None:
    """{from, column, where, limit, types}: txt one per line, csv, tsv, json, jsonl, yaml."""
    folder.write(name, text.encode())
    assert folder.prompts(P + f"matrix: {{a: {axis}}}") == wanted


def test_cells_are_strings_unless_typed(folder: Any) -> None:
    """Cells are strings unless types says otherwise."""
    folder.write("a.csv", "i,f,b,s\n1,2.5,TRUE, 03 \n")
    job = 'request: {prompt: "{{ a.i is number }} {{ a.f + 1 }} {{ a.b is boolean }} [{{ a.s }}]"}\nmatrix: {a: {from: a.csv, types: %s}}'
    assert folder.prompts(job % "{i: integer, f: number, b: boolean, s: string}") == ["true 3.5 true [ 03 ]"]
    assert folder.prompts('request: {prompt: "{{ a.i is string }}"}\nmatrix: {a: {from: a.csv}}') == ["true"]


def test_glob_is_sorted(folder: Any) -> None:
    """{glob: refs/*.png} (sorted)."""
    for name in ("refs/b.png", "refs/a.png", "refs/.hidden.png", "refs/c.txt", "refs/deep/d.png"):
        folder.write(name, "x")
    assert folder.prompts(P + 'matrix: {a: {glob: "refs/*.png"}}') == ["refs/a.png", "refs/b.png"]
    assert folder.prompts(P + 'matrix: {a: {glob: "**/*.png"}}') == ["refs/a.png", "refs/b.png", "refs/deep/d.png"]
    assert folder.prompts(P + 'matrix: {a: {glob: "refs/.h*"}}') == ["refs/.hidden.png"]


@pytest.mark.parametrize(
    ("bounds", "wanted"),
    [("[1, 5]", "1 2 3 4 5"), ("[5, 1, -2]", "5 3 1"), ("[0, 1, 0.25]", "0.0 0.25 0.5 0.75 1.0"), ("[2, 2]", "2")],
)
def test_range_is_inclusive(folder: Any, bounds: str, wanted: str) -> None:
    """{range: [1, 5]} (inclusive; a third number is the step)."""
    assert folder.prompts(P + f"matrix: {{a: {{range: {bounds}}}}}") == wanted.split()


@pytest.mark.parametrize("form", ["zip: {a: [1, 2], b: [x, y]}", "both: {zip: {a: [1, 2], b: [x, y]}}"])
def test_zip_is_one_axis(folder: Any, form: str) -> None:
    """One unnamed axis whose inner names are variables and can be matched."""
    job = f'request: {{prompt: "{{{{ a }}}}{{{{ b }}}}"}}\nmatrix:\n  {form}\n  exclude: [{{b: x}}]'
    assert folder.prompts(job) == ["2y"]


def test_zip_of_unequal_lengths(refused: Refused) -> None:
    """Unequal lengths are an error that names both."""
    found = refused('version: 1\nrequest: {prompt: "{{ a }}{{ b }}"}\nmatrix: {zip: {a: [1, 2], b: [x]}}')
    assert found == ["[zip-lengths] job.yaml:3:27 a zip's lists differ in length: 'a' has 2, 'b' has 1 | "]


def test_row_is_a_mapping(folder: Any) -> None:
    """Without column a row is a mapping: {{ p.Prompt }}."""
    folder.write("p.csv", "Prompt,items\nhello,3\n")
    assert folder.prompts('request: {prompt: "{{ p.Prompt }} {{ p.items }}"}\nmatrix: {p: {from: p.csv}}') == [
        "hello 3"
    ]


def test_first_axis_slowest(folder: Any) -> None:
    """First axis varies slowest."""
    assert folder.prompts('request: {prompt: "{{ b }}{{ a }}"}\nmatrix: {b: [x, y], a: [1, 2]}') == [
        "x1",
        "x2",
        "y1",
        "y2",
    ]


@pytest.mark.parametrize(
    ("job", "code"),
    [
        ("request: {prompt: p}\nmatrix: {a: []}", "empty-axis"),
        ("request: {prompt: p, size: 1:1}\nmatrix: {size: [1:1]}", "axis-and-field"),
        ("request: {prompt: p}\nvars: {a: 1}\nmatrix: {a: [1]}", "name-twice"),
        ("request: {prompt: p}\nmatrix: {a: [1], zip: {a: [2]}}", "name-twice"),
    ],
)
def test_axis_errors(refused: Refused, job: str, code: str) -> None:
    """An empty axis, an axis and a request field both set, a name used twice: errors."""
    assert codes(refused("version: 1\n" + job)) == [code]


def test_no_matrix_is_one_request(folder: Any) -> None:
    """No matrix: one request."""
    assert [r.address for r in folder.requests("request: {prompt: p}")] == ["job/#1"]


# -- include, exclude, where, sample -------------------------------------------------------------------------------


def test_partial_match(folder: Any) -> None:
    """include / exclude as GitHub Actions defines them (partial match)."""
    assert folder.prompts('request: {prompt: "{{ a }}{{ b }}"}\nmatrix: {a: [1, 2], b: [x, y], exclude: [{a: 1}]}') == [
        "2x",
        "2y",
    ]


def test_include_after_exclude(folder: Any) -> None:
    """Include after exclude: what was excluded can be added again."""
    job = 'request: {prompt: "{{ a }}{{ b }}"}\nmatrix: {a: [1], b: [x, y], exclude: [{b: y}], include: [{a: 1, b: y}]}'
    assert folder.prompts(job) == ["1x", "1y"]


def test_include_decorates_or_adds(folder: Any) -> None:
    """An include may decorate existing combinations or add one."""
    job = """
        request: {prompt: "{{ a }}"}
        matrix: {a: [1, 2], include: [{a: 2, size: 3:2}, {a: 3}]}
        """
    assert [(r.payload["prompt"], r.payload.get("size")) for r in folder.requests(job)] == [
        ("1", None),
        ("2", "3:2"),
        ("3", None),
    ]


def test_include_brings_only_used_names(folder: Any, refused: Refused) -> None:
    """It may bring a new name only if a template or request field uses it."""
    assert codes(refused("version: 1\n" + P + "matrix: {a: [1], include: [{a: 1, colour: red}]}")) == [
        "include-unused-name"
    ]


def test_then_every_combination_has_it(folder: Any, refused: Refused) -> None:
    """And then every combination must have it or a vars default."""
    job = 'request: {prompt: "{{ a }} {{ c }}"}\nmatrix: {a: [1, 2], include: [{a: 1, c: red}]}'
    found = refused("version: 1\n" + job)
    assert codes(found) == ["template-value"]
    assert "'c' is undefined (at job/a=2#1)" in found[0]
    assert folder.prompts("vars: {c: blue}\n" + job) == ["1 red", "2 blue"]


def test_exclude_that_matches_nothing(refused: Refused) -> None:
    """An exclude that matches nothing is an error, also for two values that a zip never has together."""
    assert codes(refused("version: 1\n" + P + "matrix: {a: [1], exclude: [{a: 2}]}")) == ["exclude-matches-nothing"]
    zipped = 'request: {prompt: "{{ a }}{{ b }}"}\nmatrix: {zip: {a: [1, 2], b: [x, y]}, exclude: [{a: 1, b: y}]}'
    assert codes(refused("version: 1\n" + zipped)) == ["exclude-matches-nothing"]


def test_includes_that_overwrite(folder: Any) -> None:
    """Two includes that overwrite each other are a warning; the later one holds."""
    job = 'request: {prompt: "{{ a }} {{ c }}"}\nmatrix: {a: [1], include: [{a: 1, c: red}, {c: blue}]}'
    assert warnings(folder.expand(job)) == ["include-overwrites"]
    assert folder.prompts(job) == ["1 blue"]


def test_mapping_named_by_id_everywhere(folder: Any) -> None:
    """A mapping value is named by its id in include, exclude, addresses; templates and where see the mapping."""
    job = """
        request: {prompt: "{{ s.t }} {{ c }}"}
        vars: {c: plain}
        matrix:
          s: [{id: ink, t: i, wet: true}, {id: oil, t: o, wet: false}, {id: pen, t: p, wet: true}]
          exclude: [{s: pen}]
          include: [{s: oil, c: rich}]
          where: s.wet or s.id == 'oil'
        """
    assert folder.prompts(job) == ["i plain", "o rich"]


def test_pattern_by_fields_decorates_each(folder: Any) -> None:
    """A partial match of a mapping by some of its fields decorates each combination, and changes none of its values."""
    job = """
        request: {prompt: "{{ s.id }} {{ c }}"}
        vars: {c: plain}
        matrix: {s: [{id: a, k: 1}, {id: b, k: 1}, {id: c, k: 2}], include: [{s: {k: 1}, c: red}]}
        """
    assert folder.prompts(job) == ["a red", "b red", "c plain"]


def test_where_is_an_expression(folder: Any) -> None:
    """where is a Jinja expression over the cell."""
    assert folder.prompts(P + "matrix: {a: [1, 2, 3], where: a is odd}") == ["1", "3"]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("a == 1", "a mapping is compared with a number by == (at a=x)"),
        ("b == 1", "a string is compared with a number by == (at b=1)"),
        ('"b in [1, 2]"', "a string is looked up in a list of numbers (at b=1)"),
    ],
)
def test_where_unlike_things(refused: Refused, where: str, said: str) -> None:
    """Comparing a mapping or a string with a number is an error with its place."""
    found = refused(f"version: 1\nrequest: {{prompt: p}}\nmatrix: {{a: [{{id: x}}], b: ['1'], where: {where}}}")
    assert len(found) == 1
    column = 42 if where.startswith('"') else 41
    assert found[0].startswith(f"[where-type] job.yaml:3:{column} {said}")


def test_where_without_effect(folder: Any) -> None:
    """One that drops nothing or everything is a warning."""
    assert warnings(folder.expand(P + "matrix: {a: [1, 2], where: a > 0}")) == ["where-drops-nothing"]
    assert warnings(folder.expand(P + "matrix: {a: [1, 2], where: a > 2}")) == ["where-drops-everything"]
    assert folder.prompts("vars: {go: false}\n" + P + "matrix: {a: [1, 2], where: go}") == []


def test_sample_is_stable(folder: Any) -> None:
    """A combination's rank is sha256(seed, its values) and the smallest are taken."""
    job = P + "matrix: {a: {range: [1, 40]}, sample: {size: 10, seed: %s}}"
    first = folder.prompts(job % 7)
    assert len(first) == 10
    assert folder.prompts(job % 7) == first
    assert folder.prompts(job % 8) != first


def test_order_of_the_stages(folder: Any) -> None:
    """Order: product, exclude, where, sample, include, repeat."""
    job = (
        P
        + "matrix: {a: {range: [1, 9]}, exclude: [{a: 9}], where: a > 4, sample: {size: 9}, include: [{a: 9}]}\nrepeat: 2"
    )
    assert folder.prompts(job) == [text for number in (5, 6, 7, 8, 9) for text in (str(number),) * 2]


def test_values_of_no_combination_are_not_rendered(folder: Any) -> None:
    """A value that every combination drops need not suit the template."""
    job = 'request: {prompt: "{{ a.t }}"}\nmatrix: {a: [{id: x, t: hi}, {id: y}], where: a.t is defined}'
    assert folder.prompts(job) == ["hi"]


# -- data, names, counting -----------------------------------------------------------------------------------------


def test_data_is_never_rendered(folder: Any) -> None:
    """Axis values, CSV cells and file lines reach the template as values; a {{ inside them stays text."""
    folder.write("p.csv", 'P\n"{{ 7 * 7 }} {% raw %}{prompt}"\n')
    assert folder.prompts(P + "matrix: {a: {from: p.csv, column: P}}") == ["{{ 7 * 7 }} {% raw %}{prompt}"]
    assert folder.prompts("request: {size: 1:1}\nmatrix: {prompt: ['{{ x }}']}") == ["{{ x }}"]
    assert folder.prompts(P + "vars: {v: '{{ b }}'}\nmatrix: {a: ['{{ v }}']}") == ["{{ v }}"]


@pytest.mark.parametrize(
    ("job", "code", "hint"),
    [
        ("request: {promt: p}", "unknown-field", "prompt"),
        ('request: {prompt: "{{ subjct }}"}\nmatrix: {subject: [1]}', "undefined-name", "subject"),
        ("request: {prompt: p}\nmatrix: {style: [1], exclude: [{stile: 1}]}", "unknown-axis", "style"),
        ("request: {prompt: p}\nmatrix: {style: [1], where: stlye == 1}", "undefined-name", "style"),
    ],
)
def test_unknown_names(refused: Refused, job: str, code: str, hint: str) -> None:
    """Unknown names (fields, template variables, axes) are errors with a suggestion, found before anything is expanded."""
    found = refused("version: 1\n" + job)
    assert code in codes(found)
    assert any(f"did you mean '{hint}'" in line or f"did you mean {hint}" in line for line in found)


def test_extra(folder: Any) -> None:
    """request.extra lets a field through that the service has and we don't know, with a warning."""
    expansion = folder.expand("request: {prompt: p, extra: {novelty: [1, {b: 2}]}}")
    assert warnings(expansion) == ["extra-field"]
    assert expansion.request(next(expansion.places())).payload["novelty"] == [1, {"b": 2}]


def test_raw_combinations_are_bounded(refused: Refused) -> None:
    """An upper bound by arithmetic, refused above 10 million raw combinations."""
    axes = ", ".join(f"{name}: {{range: [1, 60]}}" for name in "abcd")
    found = refused("version: 1\nrequest: {prompt: p}\nmatrix: {" + axes + "}")
    assert codes(found) == ["too-many-combinations"]
    assert "12,960,000" in found[0]
    found = refused("version: 1\nrequest: {prompt: p}\nmatrix: {a: {range: [1, 99999999999]}}")
    assert "at most 1,000,000" in found[0]


def test_pairwise_is_bounded(refused: Refused) -> None:
    """A cover of all pairs looks at every combination, so their number is bounded, and refused at its place."""
    axes = ", ".join(f"{name}: {{range: [1, 25]}}" for name in "abcd")
    found = refused(
        "version: 1\nrequest: {prompt: p}\nmatrix:\n  sample: {strategy: pairwise}\n  "
        + axes.replace(", b", "\n  b").replace(", c", "\n  c").replace(", d", "\n  d")
    )
    assert found[0].startswith("[too-many-combinations] job.yaml:4:11 pairwise would choose among 390,625 combinations")


def test_a_small_sample_of_many(folder: Any) -> None:
    """A sample of a few among millions is held, and counted, as the few it is."""
    expansion = folder.expand(P + "matrix: {a: {range: [1, 300]}, b: {range: [1, 300]}, sample: {size: 3}}")
    list(expansion.places())
    assert expansion.made + expansion.merged == 3


def test_count_is_exact(folder: Any) -> None:
    """limits.max_requests is held against the exact count and refused with the number and the ways out."""
    job = folder.load("version: 1\n" + P + "matrix: {a: [1, 1, 2, 3]}\nlimits: {max_requests: 2}")
    count = sum(1 for _ in job.expansion.places())
    with pytest.raises(FindingsError) as caught:
        check_count(job, count)
    (finding,) = caught.value.diagnostics
    assert finding.message == "the job makes 3 requests: limits.max_requests is 2"
    assert finding.hint == "raise it to 3, write sample: {size: 2} in the matrix, or limit: on an axis file"
    assert finding.place == "job.yaml:4:10"


def test_equal_requests_are_one(folder: Any) -> None:
    """Equal requests in one job are one request, submitted once, with a warning that names the cells."""
    expansion = folder.expand('request: {prompt: "{{ a | lower }}"}\nmatrix: {a: [X, y, x]}')
    assert len(list(expansion.places())) == 2
    (warning,) = expansion.merge_warnings()
    assert "job/a=x~2#1 equals job/a=x#1" in warning.message
    assert (warning.code, warning.severity) == ("equal-requests", "warning")


def test_the_equal_requests_that_are_not_named_are_counted(folder: Any) -> None:
    """What is named and what is counted make the sum."""
    values = ", ".join(f"{word}, {word.upper()}" for word in "abcdefgh")
    expansion = folder.expand(f'request: {{prompt: "{{{{ a | lower }}}}"}}\nmatrix: {{a: [{values}]}}')
    assert len(list(expansion.places())) == 8
    (warning,) = expansion.merge_warnings()
    assert (warning.message.count(" equals "), warning.message[:20]) == (3, "8 requests equal an ")
    assert warning.message.endswith(" and 5 more")


def test_a_job_has_one_model(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its price and the limits of its references are one model's; names of one model are no two."""
    known = dict(profiles())
    job = P + "matrix: {a: [x], model: [doubao-seedream-5-0-lite, doubao-seedream-5.0-lite]}"
    assert folder.load("version: 1\n" + job).expansion.spec.profile.id == "doubao-seedream-5-0-lite"
    other = dataclasses.replace(known["doubao-seedream-5-0-lite"], id="doubao-seedream-5.0-lite")
    monkeypatch.setattr(spec, "profiles", lambda: {**known, other.id: other})
    assert (
        folder.load("version: 1\n" + P + "matrix: {a: [x], model: [doubao-seedream-5.0-lite]}").expansion.spec.profile
        == other
    )
    for two in (job, P + "matrix: {a: [x, y], include: [{a: x, model: doubao-seedream-5.0-lite}]}"):
        with pytest.raises(FindingsError) as caught:
            folder.load("version: 1\n" + two)
        (finding,) = caught.value.diagnostics
        assert (finding.code, finding.hint) == ("several-models", "write a job file for each model")
        assert finding.span is not None
        assert finding.message == "'doubao-seedream-5.0-lite' is another model than 'doubao-seedream-5-0-lite'"


# -- paths and references ------------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_job(folder: Any) -> None:
    """Paths are relative to the job file and stay inside the campaign's root: the git top level."""
    (folder.path / ".git").mkdir()
    folder.write("shared/words.txt", "one\n")
    found = folder.requests(P + "matrix: {a: {from: ../shared/words.txt}}", name="jobs/job.yaml")
    assert found[0].payload["prompt"] == "one"


def test_root_without_git(refused: Refused, folder: Any) -> None:
    """Else the job file's folder: what lies above it is refused."""
    (folder.path.parent / "outside.txt").write_text("one\n")
    found = refused("version: 1\n" + P + "matrix: {a: {from: ../outside.txt}}")
    assert codes(found) == ["axis-data"]
    assert "outside the campaign's folder" in found[0]
    found = refused("version: 1\nrequest: {prompt: p}\noutput: {dir: ../elsewhere}")
    assert codes(found) == ["output-dir"]


def test_local_reference(folder: Any) -> None:
    """image_urls: [refs/dog.png] is checked when planning and sent as data URI; its key is that of the inline image."""
    Image.new("RGB", (32, 20), "teal").save(folder.path / "dog.png")
    data = (folder.path / "dog.png").read_bytes()
    file = folder.requests("request: {prompt: p, image_urls: [dog.png]}")[0]
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    inline = folder.requests(f"request: {{prompt: p, image_urls: ['{uri}']}}")[0]
    assert file.payload["image_urls"] == list(file.references)
    assert file.key == inline.key


@pytest.mark.parametrize(
    ("fields", "images"),
    [
        ("", 1),
        ("n: 4", 4),
        ("n: 2, sequential_image_generation_options: {max_images: 5}", 5),
        ("n: 6, sequential_image_generation_options: {max_images: 5}", 6),
        ("sequential_image_generation: auto", 15),
        ("sequential_image_generation: auto, image_urls: ['https://x/a.png', 'https://x/b.png']", 13),
        ("sequential_image_generation: auto, n: 3", 3),
        ("sequential_image_generation: disabled", 1),
    ],
)
def test_maximum_images(folder: Any, fields: str, images: int) -> None:
    """max(n, max_images) where max_images is given; else n when n > 1; else, with auto, 15 − references; else 1."""
    assert folder.requests(f"request: {{prompt: p, {fields}}}")[0].max_images == images


def test_output_names(folder: Any) -> None:
    """Output names default to {address-slug}-{key[:8]}; -rN is appended where repeat exceeds 1."""
    one, two = folder.requests(P + "matrix: {a: [A heron!]}\nrepeat: 2")
    assert one.output == f"out/job/a-a-heron-{one.key[3:11]}-r1"
    assert two.output == f"out/job/a-a-heron-{two.key[3:11]}-r2"


def test_long_default_names_fit(folder: Any) -> None:
    """A default name of many-byte letters is cut so that a file system takes it."""
    axes = ", ".join(f"{name}: ['{'鹭' * 60}']" for name in "abcdef")
    request = folder.requests(f'request: {{prompt: "{{{{ a }}}}"}}\nmatrix: {{{axes}}}')[0]
    assert len(Path(request.output).name.encode()) < 200


@pytest.mark.parametrize("values", ["[Ä, ä]", "['x', 'X']"])
def test_name_collisions(folder: Any, values: str) -> None:
    """Collisions (case folded) are an error at validation."""
    expansion = folder.expand(P + f'matrix: {{a: {values}}}\noutput: {{name: "n{{{{ a }}}}"}}')
    list(expansion.places())
    (finding,) = expansion.name_collisions()
    assert finding.code == "output-collision"
    assert "job/a=" in finding.message
    assert finding.message.count("job/a=") == 2


def test_name_collisions_behind_a_bad_name(folder: Any) -> None:
    """A combination whose name is none hides no collision, and is no bug, where the first of a name is looked for."""
    job = 'request: {prompt: "{{ a }}, {{ b }}"}\nmatrix: {a: [y/, x], b: [1, 2]}\noutput: {name: "{{ a }}"}'
    expansion = folder.expand(job)
    list(expansion.places())
    found = expansion.name_collisions()
    assert [finding.code for finding in found] == ["output-name", "output-name", "output-collision"]
    assert found[-1].message == "two requests would write 'x': job/a=x,b=1#1 and job/a=x,b=2#1"


def test_equal_requests_do_not_collide(folder: Any) -> None:
    """What is submitted once writes one file."""
    expansion = folder.expand('request: {prompt: p}\nmatrix: {a: [1, 2]}\noutput: {name: "n"}')
    list(expansion.places())
    assert expansion.merged == 1
    assert expansion.name_collisions() == []


# -- identity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        "request: {prompt: x, size: 1:1, resolution: 2K, n: 1, output_format: jpeg, watermark: false}",
        "request: {prompt: x, sequential_image_generation: disabled}",
        "request: {prompt: x, model: Doubao-Seedream-5.0-lite}",
        "request: {prompt: x, image_urls: []}",
        "name: other\nrequest: {resolution: 2K,   prompt: 'x'}",
        "request: {prompt: '{{ whatever }}'}\nmatrix: {whatever: [x]}",
        "request: {size: 1:1}\nmatrix: {prompt: [x]}",
        "request: {prompt: '{{ a }}'}\nmatrix: {include: [{a: x}]}",
    ],
)
def test_identity_ignores(folder: Any, other: str) -> None:
    """Defaults filled in, model alias normalised, empty list = absent; not the layout, the axes' names, the job's name."""
    assert folder.keys(other) == folder.keys("request: {prompt: x}")


def test_n_implies_auto(folder: Any) -> None:
    """n > 1 implying auto."""
    assert folder.keys("request: {prompt: x, n: 2}") == folder.keys(
        "request: {prompt: x, n: 2, sequential_image_generation: auto}"
    )


def test_remote_references_by_url(folder: Any) -> None:
    """Remote ones by their URL."""
    first, second = (folder.keys(f"request: {{prompt: x, image_urls: ['https://x/{n}.png']}}") for n in "ab")
    assert first != second


def test_integral_floats_are_refused(refused: Refused) -> None:
    """Integral floats in integer fields are refused, also out of a file's column."""
    assert refused("version: 1\nrequest: {prompt: x, n: 2.0}")[0].startswith("[")


def test_wire_carries_what_was_set(folder: Any) -> None:
    """The wire carries only what the user set, plus model."""
    assert folder.requests("request: {prompt: x, size: 16:9}")[0].payload == {
        "model": "doubao-seedream-5-0-lite",
        "prompt": "x",
        "size": "16:9",
    }


def test_set_replaces_a_variable(folder: Any) -> None:
    """--set VAR=VALUE, with the variable's type; an unknown one is refused with a suggestion."""
    job = 'vars: {n_: 1, camera: x, big: true}\nrequest: {prompt: "{{ n_ + 1 }} {{ camera }} {{ big }}"}'
    expansion = folder.expand(job, sets={"n_": "4", "camera": "007", "big": "false"})
    assert [expansion.builder.prompt(cell) for cell in expansion.matrix.cells()] == ["5 007 false"]
    for sets, said in (
        ({"camra": "x"}, "no such variable"),
        ({"n_": "1.5"}, "whole number"),
        ({"big": "yes"}, "true or"),
    ):
        with pytest.raises(UsageError, match=said):
            folder.expand(job, sets=sets)


WRITTEN = (
    "| lower",
    "| slug",
    "| string",
    "| trim",
    "| oneline",
    "| article",
    "| replace('a', 'b')",
    "| title",
    "~ ''",
)


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize(
    ("value", "said"),
    [("{id: ink, text: ink}", "the value is a mapping"), ("[[x]]", "the value is a list"), ("[null]", "is null")],
)
def test_no_python_in_a_paid_prompt(refused: Refused, written: str, value: str, said: str) -> None:
    """A null, and a whole mapping or list where text is wanted are errors that name the value; so behind a filter."""
    rows = value if value.startswith("[") else f"[{value}]"
    job = f'version: 1\nrequest: {{prompt: "{{{{ rows[0] {written} }}}}"}}\nvars: {{rows: {rows}}}'
    assert any(said in line for line in refused(job)), refused(job)


def test_no_python_between_the_items_of_a_list(folder: Any, refused: Refused) -> None:
    """The same of the items that are joined; a field of each may be joined instead."""
    rows = "vars: {rows: [{text: ink}, {text: oil}], flags: [true, 1]}\n"
    assert folder.prompts(rows + "request: {prompt: \"{{ rows | join(', ', 'text') }} {{ flags | join_and }}\"}") == [
        "ink, oil true and 1"
    ]
    assert any(
        "the value is a mapping" in line
        for line in refused("version: 1\n" + rows + 'request: {prompt: "{{ rows | join }}"}')
    )


@pytest.mark.parametrize("written", ["", "| string", "| trim", "| lower", "~ ''"])
def test_true_is_written_as_yaml_does(folder: Any, written: str) -> None:
    """`true` and `false` are written as YAML writes them."""
    assert folder.prompts(f'vars: {{on: true}}\nrequest: {{prompt: "{{{{ on {written} }}}}"}}') == ["true"]
