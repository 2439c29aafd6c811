"""Advice about prompts: what each rule finds, where, and what it leaves alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from seedream_jobs.diagnostics import LINT_CODES
from seedream_jobs.expand.lint import contradiction, faults
from seedream_jobs.resources import resource

Lint = Callable[..., list[tuple[str, str]]]

CLEAN = """
version: 1
request: {prompt: "{{ subject }} in {{ style.text }}"}
matrix:
  subject: [a cat, a heron]
  style: [{id: ink, text: ink}, {id: oil, text: oil}]
  size: [16:9, 1:1]
output: {name: "{{ subject | slug }}-{{ style.id }}-{{ size | slug }}"}
"""


def test_a_clean_job_has_no_findings(lint: Lint) -> None:
    """An axis that sets a field is used, and the same prompt in two sizes is no repetition."""
    assert lint(CLEAN) == []


@pytest.mark.parametrize("file", sorted(resource("examples").glob("*.yaml")), ids=lambda file: file.stem)
def test_examples_teach_no_lint(file: Path) -> None:
    """No example of the documentation is advised against."""
    from seedream_jobs.plan.load import EMULATOR_ORIGIN, Rules, Target, load_job

    rules = Rules(policy_of=lambda root: None)
    job = load_job(file, shown=file.name, target=Target(origin=EMULATOR_ORIGIN, emulator=True), sets={}, rules=rules)
    assert [finding.message for finding in job.warnings if finding.code in LINT_CODES] == []


CASES = {
    "an axis that nothing reads": (
        'request: {prompt: "{{ a }}"}\nmatrix: {a: [x, y], b: [1, 2]}',
        [("unused-axis", "b")],
    ),
    "an axis that only the output name reads": (
        'request: {prompt: "{{ a }}"}\nmatrix: {a: [x, y], b: [1, 2]}\noutput: {name: "{{ a }}-{{ b }}"}',
        [("unused-axis", "b")],
    ),
    "a name of a zip that only the output name reads is used": (
        'request: {prompt: "{{ a }}"}\nmatrix: {zip: {a: [x, y], b: [1, 2]}}\noutput: {name: "{{ b }}"}',
        [],
    ),
    "a name of a zip that nothing reads": (
        'request: {prompt: "{{ a }}"}\nmatrix: {zip: {a: [x, y], b: [1, 2]}}',
        [("unused-axis", "b")],
    ),
    "a branch is missing": (
        "request: {prompt: \"cat{% if a == 'x' %}, x{% elif a == 'y' %}, y{% endif %}\"}\nmatrix: {a: [x, y, z]}",
        [("value-not-shown", "z")],
    ),
    "two values that render the same prompt": (
        'request: {prompt: "{{ a.t }}"}\nmatrix: {a: [{id: p, t: same}, {id: q, t: same}]}',
        [("identical-prompts", "{id: q, t: same}")],
    ),
    "braces in a value": (
        'request: {prompt: "{{ a }}"}\nmatrix: {a: [x, "y {{ b }}"]}',
        [("leftover-braces", "{{")],
    ),
    "doubled spaces in the template": (
        'request: {prompt: "a  {{ a }}"}\nmatrix: {a: [x, y]}',
        [("doubled-spaces", "  ")],
    ),
    "doubled spaces in a value": (
        'request: {prompt: "{{ a }}"}\nmatrix: {a: [x, the  y]}',
        [("doubled-spaces", "  ")],
    ),
    "doubled spaces around an empty value": (
        'request: {prompt: "a {{ a }} b"}\nmatrix: {a: [x, ""]}',
        [("doubled-spaces", '"a {{ a }} b"'), ("value-not-shown", '""')],
    ),
    "doubled spaces at the start of a line are indentation": (
        "request:\n  prompt: |\n    {{ a }}\n      more\nmatrix: {a: [x, y]}",
        [],
    ),
    "n with disabled": (
        'request: {prompt: "x", n: 3, sequential_image_generation: disabled}',
        [("n-against-sequential", "disabled")],
    ),
    "n as an axis, with disabled": (
        'request: {prompt: "x", sequential_image_generation: disabled}\nmatrix: {n: [1, 2]}',
        [("n-against-sequential", "2")],
    ),
    "one image, but auto without a bound": (
        'request: {prompt: "x", n: 1, sequential_image_generation: auto}',
        [("n-against-sequential", "auto")],
    ),
    "auto with a bound": (
        "request:\n  prompt: x\n  sequential_image_generation: auto\n"
        "  sequential_image_generation_options: {max_images: 4}",
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_found_and_where(name: str, lint: Lint) -> None:
    """Each rule finds its case, underlines the cause and nothing else."""
    job, expected = CASES[name]
    assert lint(f"version: 1\n{job}\n") == expected


def test_a_long_prompt_is_counted_in_words_or_in_characters() -> None:
    """600 English words and 300 Chinese characters are allowed, one more is not."""
    assert [*faults("word " * 600)] == []
    assert [*faults("word " * 601)] == ["long-prompt"]
    assert [*faults("花" * 300 + " word" * 100)] == []
    assert [fault.message for fault in faults("花" * 301).values()] == [
        "a prompt has 301 Chinese characters: the model's maker advises at most 300 characters or 600 words"
    ]


def test_max_images_below_n_is_a_contradiction() -> None:
    """n is charged in advance, so a lower max_images saves nothing."""
    assert contradiction({"n": 4, "sequential_image_generation_options": {"max_images": 2}}) is not None
    assert contradiction({"n": 4, "sequential_image_generation_options": {"max_images": 4}}) is None
    assert contradiction({"n": 4}) is None


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][1]])
def test_each_code_can_be_silenced(name: str, lint: Lint) -> None:
    """By the option, and by the job file itself."""
    job, expected = CASES[name]
    codes = sorted({code for code, _ in expected})
    assert lint(f"version: 1\n{job}\n", ignore=tuple(codes)) == []
    assert lint(f"version: 1\nlint: {{ignore: [{', '.join(codes)}]}}\n{job}\n") == []


def test_only_lint_codes_can_be_silenced(lint: Lint) -> None:
    """An error can't be wished away."""
    found = lint('version: 1\nlint: {ignore: [undefined-name]}\nrequest: {prompt: "{{ x }}"}\n')
    assert [code for code, _ in found] == ["not-allowed-value"]


def test_many_findings_of_one_kind_are_few(lint: Lint) -> None:
    """A thousand doubled spaces are said five times."""
    values = ", ".join(f"a{number}  b" for number in range(100))
    found = lint(f'version: 1\nrequest: {{prompt: "{{{{ a }}}}"}}\nmatrix: {{a: [{values}]}}\n')
    assert [code for code, _ in found] == ["doubled-spaces"] * 5


def test_codes_stand_in_the_schema_and_the_documentation() -> None:
    """The list of the program, of the job schema and of the documentation is one list."""
    schema = resource("schemas", "job.schema.json").read_text(encoding="utf-8")
    listed = re.search(r'"enum": \[([^]]*)\],\s*"examples": \["doubled-spaces"\]', schema)
    assert listed is not None
    assert tuple(re.findall(r'"([a-z-]+)"', listed[1])) == LINT_CODES
    docs = Path(__file__).parents[2] / "docs" / "diagnostics" / "lint.md"
    assert tuple(sorted(re.findall(r"^### ([a-z-]+)$", docs.read_text(encoding="utf-8"), re.M))) == LINT_CODES


def test_a_mode_in_an_include_is_looked_at(lint: Lint) -> None:
    """At the include, which is what a person wrote last."""
    job = 'version: 1\nrequest: {prompt: "{{ a }}", sequential_image_generation: disabled}\n'
    job += "matrix:\n  a: [x, y]\n  include: [{a: x, n: 4}]\n"
    assert lint(job) == [("n-against-sequential", "{a: x, n: 4}")]
