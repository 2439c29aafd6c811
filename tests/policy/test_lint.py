# ruff: noqa: E501  (jobs and what is found in them on one line)
"""Advice about jobs: what each rule finds, where, and what it leaves alone, in every script."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from seedream_jobs.characters import INVISIBLE
from seedream_jobs.diagnostics import LINT_CODES
from seedream_jobs.expand.lint import contradiction, faults, unseen
from seedream_jobs.model_profile import DEFAULT_MODEL, AdvisedPrompt, profiles
from seedream_jobs.plans.load import EMULATOR_ORIGIN, Rules, Target, load_job, validate_jobs
from seedream_jobs.resources import resource
from tests.policy.conftest import EMULATOR

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
    "a value that no combination has need not fit the template": (
        'request: {prompt: "{{ a.t }} cat"}\nmatrix: {a: [{id: x, t: y}, {id: z}], exclude: [{a: z}]}',
        [],
    ),
    "a value that where drops need not fit the template": (
        "request: {prompt: \"{{ a.t }} cat\"}\nmatrix: {a: [{id: x, t: y}, {id: z}], where: a.id == 'x'}",
        [],
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
    profile = profiles()[DEFAULT_MODEL]
    assert [*faults("word " * 600, profile)] == []
    assert [*faults("word " * 601, profile)] == ["long-prompt"]
    assert [*faults("花" * 300 + " word" * 100, profile)] == []
    assert [fault.message for fault in faults("花" * 301, profile).values()] == [
        "a prompt has 301 Chinese characters: the model's maker advises at most 300 characters or 600 words"
    ]
    assert [*faults("word " * 601, replace(profile, advised_prompt=AdvisedPrompt(words=700, han=10)))] == []
    assert [*faults("word " * 601, replace(profile, advised_prompt=None))] == []


def test_max_images_below_n_is_a_contradiction() -> None:
    """n is charged in advance, so a lower max_images saves nothing."""
    assert contradiction({"n": 4, "sequential_image_generation_options": {"max_images": 2}}) is not None
    assert contradiction({"n": 4, "sequential_image_generation_options": {"max_images": 4}}) is None
    assert contradiction({"n": 4}) is None


def test_what_auto_may_make_is_less_the_references() -> None:
    """The service's sum: references and images are 15 together."""
    auto = {"n": 1, "sequential_image_generation": "auto"}
    assert "up to 15 images are" in (contradiction(auto) or "")
    assert "up to 1 image are" in (contradiction({**auto, "image_urls": ["https://a.example/b.png"] * 14}) or "")


def test_what_is_escaped_where_it_is_shown_is_found_in_a_prompt() -> None:
    """One list of the characters that nobody sees."""
    assert [
        one for one in map(chr, range(0x20, 0xE1000)) if re.match(f"[{INVISIBLE}]", one) and not [*unseen(f"a{one}b")]
    ] == []


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


# -- texts ---------------------------------------------------------------------------------------------------------------


ORDINARY = [
    "👩‍👩‍👧‍👦 a family 👩🏽‍🚀 ❤️ 🏳️‍🌈 1️⃣ #️⃣ ☎︎ ✈️, ❤️‍🔥 🧑‍⚕️ ©️ ‼️",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿 a flag",
    "می‌خواهم یک روباه، خانه‌ها",  # Persian: joiners apart
    "۱۳۵۷ ه‍.ش",
    "क्‍ष and क्‌ष, രാജ്യം അവന്‍",  # Devanagari, Malayalam
    "שלום \u200fC++\u200f לכולם",
    "مرحبا \u2067C#\u2069 \u200e(2024)\u200e",
    "ខ្ញុំ\u200bស្រឡាញ់\u200bអ្នក",  # Khmer: where a line may break
    "สวัสดี\u200bครับ",
    "葛\U000e0100飾区, 〖\ufe00",
    "ᠮᠣᠩᠭᠣᠯ\u180b",
    "春天，一只猫。“你好”",
    "a fox\n\tby the lake",
    "naïve – 花园 😀 Ünï",
    "⠓⠑⠇⠇⠕\u2800⠺⠕⠗⠇⠙",  # Braille with its blank
    "בְּ\u034fָ",
]

ODD = [
    ("a\x00b", 1),
    ("a\x1bb", 1),
    ("a\x7fb", 1),
    ("a\x85b", 1),
    ("f\xadox", 1),
    ("fox\u200b", 3),
    ("a\u200cb", 1),
    ("a\u200db", 1),
    ("🦊\u200d", 1),
    ("fox\u200e", 3),
    ("\u202efox", 0),
    ("שלום \u202eabc", 5),
    ("\u2060fox", 0),
    ("a\u2028b", 1),
    ("a\ufeffb", 1),
    ("fox\ufe0f", 3),
    (" \ufe0f", 1),
    ("❤\ufe0f\ufe0f", 2),
    ("🦊\U000e0100", 1),
    ("a\U000e0041\U000e007f", 1),
    ("\u3164", 0),
]


@pytest.mark.parametrize("text", ORDINARY)
def test_what_a_script_needs_is_left_alone(text: str, lint: Lint) -> None:
    """Ordinary prompts of other scripts, and emoji of several characters, in the template and as a value."""
    assert list(unseen(text)) == []
    job = f'version: 1\nrequest: {{prompt: "{{{{ a }}}} end"}}\nmatrix: {{a: [{json.dumps(text, ensure_ascii=False)}, b]}}\n'
    assert lint(job) == []


@pytest.mark.parametrize(("text", "at"), ODD)
def test_what_nobody_sees_is_found(text: str, at: int) -> None:
    """Where nothing needs it."""
    assert next(unseen(text)) == at


def test_marks_of_a_value_belong_to_the_prompt(lint: Lint) -> None:
    """A direction mark in a Latin value is needed where the template is written from the right."""
    job = 'version: 1\nrequest: {prompt: "PROMPT {{ a }}"}\nmatrix: {a: ["C#\u200e", b]}\n'
    assert lint(job.replace("PROMPT", "שלום")) == []
    assert [code for code, _ in lint(job)] == ["invisible-character"]


def test_where_it_stands(tmp_path: Path, lint: Lint, capsys: pytest.CaptureFixture[str]) -> None:
    """In the template, a variable, a list, an include: the character itself; in a file: its line."""
    job = (
        'version: 1\nvars: {v: "a\u200bb", unread: "\u200b"}\nrequest: {prompt: "a fox\xad {{ v }} {{ a }} {{ p.t }}"}\n'
        'matrix:\n  a: ["x\u200e", y]\n  p: {from: p.csv}\n  include: [{a: y, v: "\u2060i"}]\n'
    )
    (tmp_path / "p.csv").write_text("n,t\n1,fine\n2,f\x00ox\n3,fo\x1b[31mx\n", encoding="utf-8")
    found = lint(job)
    assert [one for one in found if one[0] == "invisible-character"] == [
        ("invisible-character", "\u200b"),
        ("invisible-character", "\xad"),
        ("invisible-character", "\u200e"),
        ("invisible-character", "p.csv"),
        ("invisible-character", "p.csv"),
    ]
    assert lint(job.replace("\u200b", "").replace("\u200e", ""))[-1] == ("invisible-character", "\u2060")
    assert lint(job, ignore=("invisible-character",)) == [one for one in found if one[0] != "invisible-character"]


def test_breaks_in_mid_sentence(tmp_path: Path, lint: Lint) -> None:
    """A value that ends with a break before more text; not at the end, before a break, or where it is trimmed."""
    job = "version: 1\nrequest:\n  prompt: |\n    PROMPT\nmatrix:\n  x:\n  - |\n    a heron\n  - a fox\n"
    for prompt, codes in (
        ("{{ x }} by the sea", ["line-break"]),
        ("{{ x }}, {{ x }}", ["line-break"]),
        ("by the sea: {{ x }}", []),
        ("{{ x }}\n    by the sea", []),
        ("{{ x | trim }} by the sea", []),
        ("{{ x | oneline }} by the sea", []),
    ):
        assert [code for code, _ in lint(job.replace("PROMPT", prompt))] == codes, prompt
    (tmp_path / "p.csv").write_text('t\n"a heron\r\n"\na fox\n', encoding="utf-8", newline="")
    table = 'version: 1\nrequest: {prompt: "{{ p.t }} by the sea"}\nmatrix: {p: {from: p.csv}}\n'
    assert lint(table) == [("line-break", "p.csv")]


def test_numbers_that_look_otherwise(tmp_path: Path, lint: Lint) -> None:
    """Told where a prompt shows them so: in the job file, and in files with types; not where they are formatted."""
    job = (
        "version: 1\nvars: {v: 2.40, w: 1.0}\nrequest: {prompt: \"{{ v }} {{ w }} {{ a }} {{ m.x }} {{ '%.2f' | format(f) }}\"}\n"
        "matrix:\n  a: [3.10, 1e3, -0, 12.0, 7, 10000000000000000000, yes, 0x10, 1_000]\n"
        "  m: [{id: a, x: 1.50, y: 2.50}]\n  f: [1.10, 2.20]\n"
    )
    assert [text for code, text in lint(job) if code == "ambiguous-scalar"] == [
        "2.40", "3.10", "1e3", "-0", "yes", "0x10", "1_000", "1.50",
    ]  # fmt: skip
    files = {
        "p.json": '[{"x": 1.50, "y": 1.50}, {"x": 2, "y": 3.0}]',
        "p.jsonl": '{"x": 1.5, "y": 0}\n{"x": 1E3, "y": 0}\n',
        "p.yaml": "- {x: 3.10, y: 3.10}\n- {x: 4.5, y: 2}\n",
        "p.csv": "x,y\n3.10,1\n4,1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        typed = ", types: {x: number}" if name == "p.csv" else ""
        table = (
            f'version: 1\nrequest: {{prompt: "{{{{ p.x }}}} {{{{ p.x }}}}"}}\nmatrix: {{p: {{from: {name}{typed}}}}}\n'
        )
        assert lint(table) == [("ambiguous-scalar", name)], name


def test_an_input_methods_marks(lint: Lint) -> None:
    """Colons, commas and quotes that YAML takes for letters; not in texts, where they are ordinary."""
    head = "version: 1\nrequest:\n  prompt: a {{ x }}\n"
    matrix = "matrix: {x: [b, c]}\n"
    assert lint(f"{head}  resolution：2K\n{matrix}") == [("fullwidth-colon", "：")]
    assert lint(f"{matrix}version: 1\nrequest:\n  size：1:1\n  prompt: a\n") == [("fullwidth-colon", "：")]
    assert lint("version：1\nrequest：\n  prompt：x\n") == [("fullwidth-colon", "：")] * 3
    assert lint(f"{head}matrix: {{x: [春天，秋天、冬天]}}\n") == [("fullwidth-comma", "春天，秋天、冬天")]
    assert lint(f"{head}matrix: {{x: [“b”, „c“, ‘d’]}}\n") == [
        ("smart-quotes", "“b”"),
        ("smart-quotes", "„c“"),
        ("smart-quotes", "‘d’"),
    ]
    for fine in ('["“b”", c]', "[春天，秋天, c]", '["春天，秋天"]', "[他说“你好”, c]", "[「b」, c]"):
        assert lint(f"{head}matrix: {{x: {fine}}}\n") == [], fine
    assert lint('version: 1\nrequest:\n  prompt: |\n    size：16:9 {{ "“x”" }}\n') == []


def test_an_empty_cell_is_told_with_its_line(tmp_path: Path) -> None:
    """As a prompt it is an error, as a part of one that shows nothing a warning; a row without content is no row."""
    (tmp_path / "p.csv").write_text("n,t\na,\nb,an owl\n,\nc, \n", encoding="utf-8")
    (tmp_path / ".git").mkdir()
    for request, code in (
        ('{size: "1:1"}', "template-value"),
        ('{prompt: "{{ prompt }}!", size: "1:1"}', "value-not-shown"),
    ):
        name = "prompt" if code == "template-value" else "p"
        job = tmp_path / "job.yaml"
        job.write_text(
            f"version: 1\nrequest: {request.replace('{{ prompt', '{{ p')}\nmatrix: {{{name}: {{from: p.csv, column: t}}}}\n"
        )
        report = validate_jobs([job], target=EMULATOR, sets={}, rules=Rules(policy_of=lambda _: None))
        assert [(one.code, one.message[:9]) for one in report.findings] == [(code, "p.csv:2: "), (code, "p.csv:5: ")]


def test_numbers_given_on_the_command_line(tmp_path: Path) -> None:
    """A variable that is a number takes its value from ``--set``, not its look."""
    job = tmp_path / "job.yaml"
    job.write_text('version: 1\nvars: {v: 1, w: 1.5}\nrequest: {prompt: "{{ v }} {{ w }}"}\n')
    report = validate_jobs([job], target=EMULATOR, sets={"v": "-0", "w": "2.40"}, rules=Rules(policy_of=lambda _: None))
    assert [one.message for one in report.findings] == [
        "--set v=-0: the number is 0 in the prompt",
        "--set w=2.40: the number is 2.4 in the prompt",
    ]
