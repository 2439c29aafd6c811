"""This module shows findings in a terminal: the place, the sentence, and the line with what is meant underlined.

    garden.yaml:13:3: error[unknown-field]: unknown field 'resolutoin'
       13 |   resolutoin: 2K
          |   ^^^^^^^^^^ did you mean 'resolution'?

Called by ``cli.output``. Invariant: the text of a file is not trusted; what would steer a terminal is an escape here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from seedream_jobs.diagnostics import Diagnostic, Span, in_order, plural
from seedream_jobs.foreign_text import ShownCharacter, masked, show_character, visible, width
from seedream_jobs.job.document import Lines

EXCERPT_COLUMNS = 96
"""The widest excerpt of a line, in terminal columns."""
_NEAR = 4 * EXCERPT_COLUMNS
"""The characters on each side of the place that are looked at."""
_LEAD = 32
"""The columns kept in front of the underlined part where a line is cut."""
_HINT_COLUMNS = 100
"""A hint that would end beyond this column has a line of its own."""
_ELLIPSIS = "…"
_GUTTER = 5

_RED, _YELLOW, _BLUE, _BOLD, _RESET = "\033[1;31m", "\033[1;33m", "\033[34m", "\033[1m", "\033[0m"


_MARKED = re.compile(r"^  ([-+~=!?>v.*]) [\d,]+(?= )|(?: [-+~=!?>v.]\d+)+$", re.MULTILINE)
_COLOUR = {
    "+": "32",
    "~": "33",
    "-": "31",
    "!": "1;31",
    "?": "1;33",
    "=": "2",
    ".": "2",
    ">": "36",
    "v": "36",
    "*": "33",
}


def coloured_marks(text: str) -> str:
    """A plan or a status with each mark and its count in the mark's colour, for a terminal that shows colours."""

    def paint(found: re.Match[str]) -> str:
        words = found.group().split(" ")
        # ``  + 12`` is one mark and its count; `` +12 ~3`` are several.
        pieces = [" ".join(words[2:])] if found[1] else words[1:]
        shown = " ".join(f"\033[{_COLOUR[piece[0]]}m{piece}\033[0m" for piece in pieces)
        return f"  {shown}" if found[1] else f" {shown}"

    return _MARKED.sub(paint, text)


Paint = Callable[[str, str], str]
"""Puts words in a colour, or leaves them as they are."""


def _paint(code: str, words: str) -> str:
    return f"{code}{words}{_RESET}" if words else words


def _leave(code: str, words: str) -> str:
    return words


def render_findings(diagnostics: Iterable[Diagnostic], texts: Mapping[str, str], *, color: bool) -> str:
    """The findings as text for a terminal, in order, each once, with a summary line at the end.

    :param texts: the text of each file by the path that findings name it by; without it there is no excerpt
    :param color: with ANSI colours
    :returns: lines with a final line end; the empty string for no findings
    """
    found = in_order(diagnostics)
    if not found:
        return ""
    lines = {path: Lines(text) for path, text in texts.items()}  # each file is split once, for all its findings
    blocks = ["\n".join(_block(diagnostic, lines, _paint if color else _leave)) for diagnostic in found]
    return "\n\n".join([*blocks, summary(found)]) + "\n"


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """How many errors and warnings, such as ``2 errors, 1 warning``."""
    found = Counter(diagnostic.severity for diagnostic in diagnostics)
    return ", ".join(plural(found[word], word) for word in ("error", "warning") if found[word]) or "no findings"


def _block(diagnostic: Diagnostic, lines: Mapping[str, Lines], paint: Paint) -> Iterator[str]:
    mark = _RED if diagnostic.severity == "error" else _YELLOW
    label = f"{diagnostic.severity}[{diagnostic.code}]"
    yield f"{paint(_BOLD, visible(diagnostic.place))}: {paint(mark, label)}: {visible(diagnostic.message)}"
    hint = None if diagnostic.hint is None else visible(diagnostic.hint)
    source = lines.get(diagnostic.path)
    if source is None or diagnostic.span is None:
        if hint:
            yield _note(hint, paint)
    else:
        yield from _excerpt(source, diagnostic.span, "^", mark, hint, paint)
    for related in diagnostic.related:
        place = Diagnostic(code="", severity="error", message="", path=related.path, span=related.span).place
        yield f"  {paint(_BOLD, visible(place))}: {visible(related.message)}"
        source = lines.get(related.path)
        if source is not None and related.span is not None:
            yield from _excerpt(source, related.span, "-", _BLUE, None, paint)


def _note(words: str, paint: Paint) -> str:
    return f"{' ' * (_GUTTER + 1)}{paint(_BLUE, '=')} {words}"


def _excerpt(source: Lines, span: Span, stroke: str, mark: str, hint: str | None, paint: Paint) -> Iterator[str]:
    text = masked(source.line(span.start.line))
    if text.strip():
        first = min(span.start.column - 1, len(text))  # the file may have changed since it was read
        last = len(text) if span.end.line > span.start.line else min(span.end.column - 1, len(text))
        shown, indent, strokes = _window(text, first, last)
        yield f"{paint(_BLUE, f'{span.start.line:>{_GUTTER}} |')} {shown}".rstrip()
        under = f"{paint(_BLUE, f'{chr(32) * _GUTTER} |')} {' ' * indent}{paint(mark, stroke * strokes)}"
        if hint is not None and indent + strokes + width(hint) <= _HINT_COLUMNS:
            yield f"{under} {hint}"
            return
        yield under
    if hint is not None:
        yield _note(hint, paint)


def _window(text: str, first: int, last: int) -> tuple[str, int, int]:
    """The part of a line that fits around the characters ``first`` to ``last``.

    :returns: the text, the columns in front of the underline, and its columns (at least one)
    """
    # A line may have a million characters: only those near the underline are looked at.
    left, right = max(0, first - _NEAR), min(len(text), first + _NEAR)
    row = list(map(show_character, text[left:right]))
    first, last = first - left, last - left
    begin, stop = 0, len(row)
    if sum(one.columns for one in row) > EXCERPT_COLUMNS:
        begin = _back(row, first, _LEAD)
        stop = _forth(row, begin, EXCERPT_COLUMNS)
        if stop == len(row):
            begin = min(begin, _back(row, stop, EXCERPT_COLUMNS))
    head = _ELLIPSIS if left + begin > 0 else ""
    tail = _ELLIPSIS if left + stop < len(text) else ""
    shown = head + "".join(one.shown for one in row[begin:stop]) + tail
    indent = len(head) + sum(one.columns for one in row[begin : max(first, begin)])
    strokes = sum(one.columns for one in row[first : min(last, stop)])
    return shown, indent, max(strokes, 1)


def _back(row: list[ShownCharacter], index: int, columns: int) -> int:
    """The index of the first of the characters that fill ``columns`` columns in front of ``index``."""
    while index > 0 and columns >= row[index - 1].columns:
        index -= 1
        columns -= row[index].columns
    return index


def _forth(row: list[ShownCharacter], index: int, columns: int) -> int:
    """The index behind the characters that fill ``columns`` columns from ``index`` on."""
    while index < len(row) and columns >= row[index].columns:
        columns -= row[index].columns
        index += 1
    return index
