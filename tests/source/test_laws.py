"""Laws of reading YAML, held against whatever hypothesis makes up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from seedream_jobs.errors import FindingsError
from seedream_jobs.job.document import Document
from seedream_jobs.job.yaml_reader import decode, parse
from seedream_jobs.report.findings import render_findings
from tests.lanes import examples

PRINTABLE = st.characters(
    blacklist_categories=("Cs", "Cc", "Cn"), blacklist_characters="\u2028\u2029\ufeff", max_codepoint=0x1FAFF
)
TEXTS = st.text(PRINTABLE | st.sampled_from("\t\n:'\"{}[]#&*!|>%@`,-? \\"), max_size=30)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from(["16:9", "yes", "012", "2026-01-01", "<<", "null", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=15,
)

# Lines that are nearly YAML: words, indicators and breaks in every order.
PIECES = st.sampled_from([
    "a", "b", "key", "16:9", "yes", "012", "1.5", ": ", ":", "\n", "\n  ", "\n    ", "\n- ", "- ", "? ", "[", "]", "{",
    "}", ", ", "{{ x }}", "{% if %}", "&x ", "*x", "<<: ", "*x\n", "!!str ", "!t ", "|\n", "|2-\n", ">-\n  ", "'", '"',
    "# c", " #c\n", "---\n", "...\n", "%YAML 1.1\n", "@", "`", "\t", "\\n", "\\ud83d", "é", "花", "😀", "\r\n", "\r",
])  # fmt: skip
NEARLY_YAML = st.lists(PIECES, max_size=14).map("".join)


def paths(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(data, dict):
        for key, value in data.items():
            yield from paths(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from paths(value, (*path, index))


def outcome(text: str, libyaml: bool) -> Document | tuple[Any, ...]:
    try:
        return parse(text.encode(), "job.yaml", root="any", libyaml=libyaml)
    except FindingsError as error:
        return error.diagnostics


def check_spans(found: Document) -> None:
    for path in paths(found.data):
        for key in (False, True):
            span = found.span(path, key=key)
            assert 0 <= span.start.offset <= span.end.offset <= len(found.text)
            for pos in (span.start, span.end):
                before = found.text[: pos.offset].replace("\r\n", "\n ").replace("\r", "\n")
                assert pos.line == before.count("\n") + 1


@given(JSON)
@settings(max_examples=examples(150), deadline=None)
def test_json_reads_as_itself(data: Any) -> None:
    """JSON is YAML: in one line and indented, every value comes back with its type."""
    assume(data is not None)
    for indent in (None, 2):
        text = json.dumps(data, ensure_ascii=False, indent=indent)
        assume("\x7f" not in text)
        found = parse(text.encode(), "job.yaml", root="any")
        assert json.dumps(found.data) == json.dumps(data)
        assert not found.warnings
        check_spans(found)


@given(JSON)
@settings(max_examples=examples(100), deadline=None)
def test_a_json_value_stands_where_its_own_text_is(data: Any) -> None:
    """What a span covers, read alone, is the value it belongs to."""
    assume(data is not None)
    found = parse(json.dumps(data, ensure_ascii=False).encode(), "job.yaml", root="any")
    for path in paths(found.data):
        value = found.data
        for part in path:
            value = value[part]
        span = found.span(path)
        assert json.loads(found.text[span.start.offset : span.end.offset]) == value


@given(NEARLY_YAML)
@example("prompt: {{ x }} and more")
@example("a: [16:9, 1:1]\nb: {size: 16:9}")
@settings(max_examples=examples(600), deadline=None)
def test_both_parsers_read_alike(text: str) -> None:
    """The same data, places and warnings, or findings on both sides; of tabs PyYAML's own parser refuses more."""
    pytest.importorskip("yaml._yaml")
    assume("\t" not in text and "\\" not in text)
    first, second = outcome(text, True), outcome(text, False)
    assert isinstance(first, Document) == isinstance(second, Document), (first, second)
    if isinstance(first, Document) and isinstance(second, Document):
        assert first.data == second.data
        assert first.warnings == second.warnings
        for path in paths(first.data):
            assert first.span(path) == second.span(path)
            assert first.span(path, key=True) == second.span(path, key=True)


@given(NEARLY_YAML)
@settings(max_examples=examples(400), deadline=None)
def test_whatever_is_wrong_is_a_finding_inside_the_text(text: str) -> None:
    """Never another exception, never a place outside; and it can be shown."""
    found = outcome(text, True)
    if isinstance(found, Document):
        check_spans(found)
        found = found.warnings
    for item in found:
        for span in (item.span, *(related.span for related in item.related)):
            assert span is not None
            assert 0 <= span.start.offset <= span.end.offset <= len(text)
    shown = render_findings(found, {"job.yaml": text}, color=False)
    assert all(line.isprintable() for line in shown.split("\n"))


@given(st.binary(max_size=60))
@settings(max_examples=examples(300), deadline=None)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """Findings about bytes that are no text point into what is shown of them."""
    try:
        parse(raw, "job.yaml")
    except FindingsError as error:
        text = decode(raw)
        for item in error.diagnostics:
            assert item.span is not None
            assert item.span.end.offset <= len(text)
        render_findings(error.diagnostics, {"job.yaml": text}, color=True)


@given(NEARLY_YAML)
@settings(max_examples=examples(200), deadline=None)
def test_text_positions_are_exact_or_absent(text: str) -> None:
    """Where a place is given, the file has that character there."""
    found = outcome(text, True)
    if not isinstance(found, Document):
        return
    for path in paths(found.data):
        value = found.data
        for part in path:
            value = value[part]
        if isinstance(value, str):
            for offset, character in enumerate(value):
                place = found.text_position(path, offset)
                if place is not None:
                    there = found.text[place.offset]
                    assert there == character or (character == "\n" and there == "\r")
