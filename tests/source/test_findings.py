"""How findings look in a terminal, also where the file is hostile."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.diagnostics import Diagnostic, Related, Severity, Span
from seedream_jobs.foreign_text import visible, width
from seedream_jobs.job.document import Lines
from seedream_jobs.report.findings import EXCERPT_COLUMNS, render_findings, summary
from tests.lanes import examples


def finding(
    text: str,
    start: int,
    end: int,
    *,
    message: str = "unknown field 'resolutoin'",
    severity: Severity = "error",
    hint: str | None = None,
    related: tuple[Related, ...] = (),
) -> Diagnostic:
    return Diagnostic(
        code="unknown-field",
        severity=severity,
        message=message,
        path="garden.yaml",
        span=Lines(text).span(start, end),
        hint=hint,
        related=related,
    )


def show(text: str, *found: Diagnostic, color: bool = False) -> str:
    return render_findings(found, {"garden.yaml": text}, color=color)


TEXT = "request:\n  resolutoin: 2K\n"


def test_the_shape_of_a_finding() -> None:
    """The place, the sentence, the line, the underline and the hint beside it."""
    found = finding(TEXT, 11, 21, hint="did you mean 'resolution'?")
    assert show(TEXT, found) == (
        "garden.yaml:2:3: error[unknown-field]: unknown field 'resolutoin'\n"
        "    2 |   resolutoin: 2K\n"
        "      |   ^^^^^^^^^^ did you mean 'resolution'?\n"
        "\n"
        "1 error\n"
    )


def test_a_long_hint_has_its_own_line() -> None:
    """It would run out of the window beside the underline."""
    assert "\n      = hint hint" in show(TEXT, finding(TEXT, 11, 21, hint="hint " * 20))


def test_related_places_follow() -> None:
    """Each with its own excerpt, also from a file whose text is not at hand."""
    span: Span = Lines(TEXT).span(0, 7)
    related = (
        Related(message="belongs to this", path="garden.yaml", span=span),
        Related(message="and to this", path="other.yaml", span=span),
        Related(message="and that", path="third.yaml"),
    )
    assert show(TEXT, finding(TEXT, 11, 21, related=related)).splitlines()[3:8] == [
        "  garden.yaml:1:1: belongs to this",
        "    1 | request:",
        "      | -------",
        "  other.yaml:1:1: and to this",
        "  third.yaml: and that",
    ]


def test_a_finding_without_text_or_span_has_no_excerpt() -> None:
    """The hint still stands below."""
    whole = Diagnostic(code="a", severity="warning", message="m", path="x.yaml", hint="h")
    assert render_findings([whole], {}, color=True).startswith("\033[1mx.yaml\033[0m: \033[1;33mwarning[a]\033[0m: m\n")
    assert render_findings([whole], {"x.yaml": "a"}, color=False) == "x.yaml: warning[a]: m\n      = h\n\n1 warning\n"


def test_findings_are_ordered_and_shown_once() -> None:
    """By place, whatever the order in which they were found."""
    first, second = finding(TEXT, 0, 7), finding(TEXT, 11, 21, severity="warning")
    shown = show(TEXT, second, first, second)
    assert shown.index(":1:1:") < shown.index(":2:3:")
    assert shown.endswith("\n1 error, 1 warning\n")
    assert render_findings([], {}, color=False) == ""
    assert summary([]) == "no findings"
    assert summary([first, first, second, second]) == "2 errors, 2 warnings"


def test_color_changes_nothing_but_color() -> None:
    """Without the codes, the same text."""
    found = finding(
        TEXT, 11, 21, hint="h", related=(Related(message="r", path="garden.yaml", span=Lines(TEXT).span(0, 7)),)
    )
    colored = show(TEXT, found, color=True)
    assert "\033[" in colored
    assert re.sub(r"\033\[[0-9;]*m", "", colored) == show(TEXT, found)


@pytest.mark.parametrize(
    ("text", "start", "end", "indent", "strokes"),
    [
        ("主题: 花园 x", 4, 6, 6, 4),
        ("a\tb: x", 2, 3, 5, 1),
        ("e\u0301: x", 4, 5, 3, 1),
        ("a\x1b[31m: x", 7, 8, 10, 1),
        ("\u202egpj.x: y", 7, 8, 12, 1),
        ("a: ", 3, 3, 3, 1),
        ("ab\r\ncd", 0, 2, 0, 2),
        ("abc\nde", 1, 6, 1, 2),
    ],
)
def test_the_underline_stands_below_what_it_means(text: str, start: int, end: int, indent: int, strokes: int) -> None:
    """Counted in columns of the terminal, not in characters."""
    line = show(text, finding(text, start, end)).splitlines()[2]
    assert line == "      | " + " " * indent + "^" * strokes


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\r\n", "\x9b31m", "\u202e", "\u2066", "\x00", "\ud800", "\u200b"])
def test_nothing_in_a_file_steers_the_terminal(hostile: str) -> None:
    """Message, hint, path, related and excerpt are all shown as escapes."""
    text = f"a{hostile}b: 1"
    span = Lines(text).span(0, 1)
    related = (Related(message=hostile, path=hostile, span=span),)
    found = Diagnostic(
        code="x", severity="error", message=hostile, path=f"a{hostile}", span=span, hint=hostile, related=related
    )
    shown = render_findings([found], {f"a{hostile}": text, hostile: text}, color=False)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert not any(unicodedata.category(character) in ("Cf", "Cs") for character in shown)


def test_a_long_line_is_cut_around_the_underline() -> None:
    """What is meant stays in view, with a mark where the line goes on."""
    text = "x" * 500 + "HERE" + "y" * 500
    line, under = show(text, finding(text, 500, 504)).splitlines()[1:3]
    assert line[8] == line[-1] == "…"
    assert line[under.index("^") : under.rindex("^") + 1] == "HERE"
    near_end = show(text, finding(text, 1003, 1004)).splitlines()[1]
    assert len(near_end) == 8 + 1 + EXCERPT_COLUMNS


@given(st.text(max_size=300), st.data())
@settings(max_examples=examples(200), deadline=None)
def test_any_text_can_be_shown(text: str, data: st.DataObject) -> None:
    """No text and no place in it break the shape: printable lines, bounded width, an underline below the line."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    rows = show(text, finding(text, start, end)).split("\n")
    assert all(row.isprintable() for row in rows)
    if len(rows) > 4:
        assert width(rows[1]) <= 8 + EXCERPT_COLUMNS + 2
        assert rows[2].strip(" |").strip("^") == ""
        assert len(rows[2]) <= 8 + EXCERPT_COLUMNS + 2


@given(st.text())
def test_visible_is_one_printable_line(text: str) -> None:
    """Whatever it is given."""
    assert visible(text).isprintable()
