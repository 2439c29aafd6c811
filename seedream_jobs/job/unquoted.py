"""Finds values that need quotes, and writes the line as it should be."""

from __future__ import annotations

import re

from seedream_jobs.frozen import frozen
from seedream_jobs.job.positions import Lines

_COMMENT = re.compile(r"[ \t]#")
_TEMPLATE_AS_KEY = re.compile(r"\{\{[^{}]*\}\}(?=:(?:\s|$))")
_FLOW_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}(?:[^,\[\]{}#:]|:(?!\s))*")
_LINE_WITH_TEMPLATE = re.compile(r"[ \t]*+(?:- ++)*+(?:[^\s#'\"{}\[\]][^#'\"{}\[\]]*?:[ \t]+)?(?=\{[{%])")
_LONGEST_FIX = 100


@frozen
class Template:
    """A template without quotes: its offsets, and its line with them (None where that is too long to show)."""

    start: int
    end: int
    fixed: str | None


def quote(text: str) -> str:
    """``text`` as a quoted YAML scalar on one line."""
    if '"' not in text and "\\" not in text:
        return f'"{text}"'
    return "'" + text.replace("'", "''") + "'"


def fixed_line(lines: Lines, start: int, end: int) -> str | None:
    """The line around two offsets, with what is between them quoted; None if it is too long to show."""
    line_start, line_end = lines.around(start)
    text = lines.text
    rest = _without_comment(text[end:line_end])
    fixed = text[line_start:start].lstrip() + quote(text[start:end]) + rest
    return fixed if len(fixed) <= _LONGEST_FIX else None


def _without_comment(line: str) -> str:
    comment = _COMMENT.search(line)
    return (line[: comment.start()] if comment else line).rstrip()


def value_end(lines: Lines, start: int) -> int:
    """The offset at which a plain value that begins at ``start`` ends: the line's end or its comment."""
    end = lines.around(start)[1]
    return start + len(_without_comment(lines.text[start:end]))


def template_in_block(lines: Lines, start: int) -> Template:
    """The template that a block's value begins with; the value goes on to the end of its line."""
    key = _TEMPLATE_AS_KEY.match(lines.text, start)
    if key is not None:
        return Template(start=start, end=key.end(), fixed=fixed_line(lines, start, key.end()))
    end = value_end(lines, start)
    closed = "}}" in lines.text[start:end] or "%}" in lines.text[start:end]
    return Template(start=start, end=end, fixed=fixed_line(lines, start, end) if closed else None)


def template_in_flow(lines: Lines, start: int) -> Template:
    """The template that an item in ``[]`` or ``{}`` begins with."""
    match = _FLOW_TEMPLATE.match(lines.text, start, lines.around(start)[1])
    if match is None:
        return Template(start=start, end=min(start + 2, len(lines.text)), fixed=None)
    end = start + len(match.group().rstrip())
    return Template(start=start, end=end, fixed=fixed_line(lines, start, end))


def template_on_line(lines: Lines, number: int) -> Template | None:
    """The template without quotes that the value on line ``number`` begins with."""
    start, end = lines.bounds(number)
    match = _LINE_WITH_TEMPLATE.match(lines.text, start, end)
    return template_in_block(lines, match.end()) if match else None
