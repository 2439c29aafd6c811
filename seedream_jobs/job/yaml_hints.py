"""This module says what is wrong with a YAML document in the words of its author: one code, one next step a mistake.

Called by ``job.yaml_reader`` for what it meets itself, and with the error of a parser. Invariant: libyaml and PyYAML's
own parser complain in different words about the same places, and both lead to the same finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from yaml.error import MarkedYAMLError

from seedream_jobs.diagnostics import Diagnostic, Related, Severity, shorten
from seedream_jobs.job.document import Lines

MAX_DEPTH = 100
"""Mappings and lists within each other."""

MAX_ERRORS = 200
"""Errors after which reading stops: they have one cause, or the file is not meant for us."""
MAX_WARNINGS = 100
"""Warnings that are listed one by one."""

_COMMENT = re.compile(r"[ \t]#")
_TEMPLATE_AS_KEY = re.compile(r"\{\{[^{}]*\}\}(?=:(?:\s|$))")
_FLOW_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}(?:[^,\[\]{}#:]|:(?!\s))*")
_LINE_WITH_TEMPLATE = re.compile(r"[ \t]*+(?:- ++)*+(?:[^\s#'\"{}\[\]][^#'\"{}\[\]]*?:[ \t]+)?(?=\{[{%])")
_LONGEST_FIX = 100
_INDENTATION_TABS = re.compile(r" *(\t+)[ \t]*")
_TABS = re.compile(r"(\t+)")
_BAD_ESCAPE = re.compile(r"\\(?:[uU][0-9a-fA-F]*|x[0-9a-fA-F]*|[\s\S])")
# ``\uD800`` to ``\uDFFF`` are halves of a character, and refused, also as ``\U0000D800``.
_GOOD_ESCAPE = re.compile(
    r"\\(?:u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|U00(?:0(?!0[dD][89a-fA-F])[0-9a-fA-F]|10)[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}"
    r"|[0abtnvfre \"/\\N_LP\t]|\r?\n)"
)
_KEY = re.compile(r"[ \t]*(?:- +)*(?P<key>[^\s#'\"{}\[\]&*!|>%@`][^#]*?):(?=\s|$)")
# Not before a slash: ``https://…`` is a text.
_MISSING_SPACE = re.compile(r"([^\s:'\"{}\[\],#]+):(?=[^\s:/])(?!.*:\s)")


class StopReading(Exception):
    """Reading can't go on; the reason is among the findings."""


class YamlFindings:
    """The findings of one document, each with its place."""

    __slots__ = ("errors", "items", "lines", "path", "warnings")

    def __init__(self, path: str, lines: Lines) -> None:
        self.path: str = path
        self.lines: Lines = lines
        self.items: list[Diagnostic] = []
        self.errors: int = 0
        self.warnings: int = 0

    def add(
        self,
        code: str,
        message: str,
        start: int,
        end: int,
        *,
        hint: str | None = None,
        severity: Severity = "error",
        related: tuple[Related, ...] = (),
    ) -> None:
        """One more finding, on the text between two offsets.

        :raises StopReading: if it is an error too many
        """
        if severity == "error":
            self.errors += 1
        else:
            self.warnings += 1
        if self.errors > MAX_ERRORS:
            message = f"more than {MAX_ERRORS} errors; the rest is not read"
            code, hint, related = "too-many-errors", None, ()
        span = self.lines.span(start, end)
        self.items.append(
            Diagnostic(
                code=code, severity=severity, message=message, path=self.path, span=span, hint=hint, related=related
            )
        )
        if self.errors > MAX_ERRORS:
            raise StopReading

    def related(self, message: str, start: int, end: int) -> Related:
        """A second place in this document."""
        return Related(message=message, path=self.path, span=self.lines.span(start, end))

    def too_deep(self, start: int) -> None:
        self.add("too-deep", f"more than {MAX_DEPTH} mappings and lists within each other", start, start + 1)

    def ambiguous(self, text: str, otherwise: str, start: int, end: int) -> None:
        # A file of ten thousand dates is legal: the warnings must not bury what else is said of it.
        if self.warnings > MAX_WARNINGS:
            return
        if self.warnings == MAX_WARNINGS:
            more = "more values like the ones above are read as text; they are not listed"
            self.add("ambiguous-scalar", more, start, end, severity="warning")
            return
        quoted = f'"{text}"'
        hint = f"quote it to say that it is text: {quoted}"
        if otherwise == "a boolean":
            plain = "true" if text.casefold() in ("yes", "on", "true") else "false"
            hint = f"write {plain} for the boolean, or {quoted} for the text"
        elif otherwise == "null":
            hint = f"write null for no value, or {quoted} for the text"
        message = f"'{shorten(text)}' is read as text; other YAML readers take it for {otherwise}"
        self.add("ambiguous-scalar", message, start, end, hint=hint, severity="warning")

    def bad_escape(self, start: int, end: int) -> None:
        self.add("bad-escape", "this escape is not a character", start, end, hint="write the character itself")

    def missing_key(self, start: int, end: int) -> None:
        self.add("bad-key", "a key is missing here", start, end, hint="write the key, or quotes around an empty one")

    def tag(self, tag: str, start: int, end: int) -> None:
        core = tag.removeprefix("tag:yaml.org,2002:")
        short = tag if core == tag else f"!!{core}"
        first = self.lines.text[start:end].split(maxsplit=1)[:1]
        stop = start + len(first[0]) if first else end
        hint = "remove it; if the '!' belongs to a text, quote the text"
        self.add("tag", f"the tag '{shorten(short)}' is not allowed", start, stop, hint=hint)

    def unquoted_template(self, start: int, *, in_flow: bool) -> None:
        """A template without quotes, which YAML takes for a mapping; the hint shows its line as it should be.

        :param in_flow: it stands within ``[]`` or ``{}``; else the value goes on to the end of its line
        """
        text = self.lines.text
        if in_flow:
            item = _FLOW_TEMPLATE.match(text, start, self.lines.around(start)[1])
            end = start + len(item.group().rstrip()) if item else min(start + 2, len(text))
            closed = item is not None
        elif key := _TEMPLATE_AS_KEY.match(text, start):
            end, closed = key.end(), True
        else:
            end = value_end(self.lines, start)
            closed = "}}" in text[start:end] or "%}" in text[start:end]
        hint = quote_hint(self.lines, start, end) if closed else _QUOTE
        self.add("unquoted-template", "a value that begins with a template needs quotes", start, end, hint=hint)


# -- values that need quotes -------------------------------------------------------------------------------------------


_QUOTE = "quote the value"


def quote(text: str) -> str:
    """``text`` as a quoted YAML scalar on one line."""
    if '"' not in text and "\\" not in text:  # only in double quotes a backslash begins an escape
        return f'"{text}"'
    return "'" + text.replace("'", "''") + "'"


def quote_hint(lines: Lines, start: int, end: int) -> str:
    """The next step for a value that needs quotes, with its line as it should be where that is short enough."""
    line_start, line_end = lines.around(start)
    text = lines.text
    fixed = text[line_start:start].lstrip() + quote(text[start:end]) + _without_comment(text[end:line_end])
    return f"{_QUOTE}: {fixed}" if len(fixed) <= _LONGEST_FIX else _QUOTE


def _without_comment(line: str) -> str:
    comment = _COMMENT.search(line)
    return (line[: comment.start()] if comment else line).rstrip()


def value_end(lines: Lines, start: int) -> int:
    """The offset at which a plain value that begins at ``start`` ends: the line's end or its comment."""
    end = lines.around(start)[1]
    return start + len(_without_comment(lines.text[start:end]))


# -- what a parser complains of ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the parser said, in lower case, and where; ``since`` is where the thing it was reading began."""

    problem: str
    at: int
    since: int
    findings: YamlFindings

    @property
    def lines(self) -> Lines:
        return self.findings.lines

    @property
    def text(self) -> str:
        return self.findings.lines.text

    def add(self, code: str, message: str, start: int, end: int | None = None, hint: str | None = None) -> bool:
        """One finding, of one character where no end is given. Always true: the complaint is dealt with."""
        self.findings.add(code, message, start, start + 1 if end is None else end, hint=hint)
        return True


def explain(error: MarkedYAMLError, findings: YamlFindings) -> None:
    """Adds the one finding that stands for ``error``, unless a finding on its line already says what is wrong."""
    lines = findings.lines

    def offset(mark: Any, default: int) -> int:
        return default if mark is None else min(int(mark.index), len(lines.text))

    at = offset(error.problem_mark, len(lines.text))
    problem = " ".join(part for part in (error.problem, error.context) if part).lower()
    complaint = Complaint(problem, at, min(offset(error.context_mark, at), at), findings)
    # An unquoted template was met before the parser stumbled over what follows it: once is enough.
    known = {item.span.start.line for item in findings.items if item.span and item.code == "unquoted-template"}
    first, last = lines.pos(complaint.since).line, lines.pos(at).line
    if known & set(range(first, last + 1)) and last - first < 3:
        return
    if not any(re.search(pattern, problem) and recognise(complaint) for pattern, recognise in _RECOGNISERS):
        words = re.sub(r"\s*(?:while (?:scanning|parsing)|\(|, but).*", "", problem)
        words = words.replace("did not find expected", "expected")
        complaint.add("syntax-error", f"this is not YAML: {words}", at)


def _template(complaint: Complaint) -> bool:
    """``prompt: {{ x }} and more``, ``{{ a['b'] }}``, ``{% if x %}``."""
    lines = complaint.lines
    for number in dict.fromkeys((lines.pos(complaint.at).line, lines.pos(complaint.since).line)):
        match = _LINE_WITH_TEMPLATE.match(lines.text, *lines.bounds(number))
        if match:
            complaint.findings.unquoted_template(match.end(), in_flow=False)
            return True
    return False


def _tab(complaint: Complaint) -> bool:
    """A tab where spaces make the indentation."""
    start, end = complaint.lines.around(complaint.at)
    tabs = _INDENTATION_TABS.match(complaint.text, start, end)
    if tabs is None or complaint.at > tabs.end():
        tabs = _TABS.match(complaint.text, complaint.at, end)
    hint = "replace each tab by two spaces, and set your editor to spaces for YAML"
    return tabs is not None and complaint.add(
        "tab-indentation", "a tab in the indentation; YAML indents with spaces", *tabs.span(1), hint=hint
    )


def _open_quote(complaint: Complaint) -> bool:
    mark = complaint.text[complaint.since : complaint.since + 1]
    hint = f"close it with {mark}, or take it away" if mark in "'\"" else None
    return complaint.add("unclosed-quote", "the quote that opens here is never closed", complaint.since, hint=hint)


def _bracket(complaint: Complaint) -> bool:
    """A bracket or brace that is never closed, or a comma that is missing in it."""
    lines, at, since = complaint.lines, complaint.at, complaint.since
    opened = lines.text[since : since + 1]
    closing = "]" if opened == "[" else "}"
    rest = lines.text[at : lines.around(at)[1]].strip()
    if lines.pos(at).line == lines.pos(since).line and rest and not rest.startswith(("]", "}")):
        complaint.findings.add(
            "missing-comma",
            f"a comma or '{closing}' is missing here",
            at,
            at + 1,
            hint="separate items with commas, and quote a text that has quotes or brackets in it",
            related=(complaint.findings.related(f"'{opened}' opens here", since, since + 1),),
        )
        return True
    hint = f"'{closing}' was still missing at line {lines.pos(at).line}"
    return complaint.add("unclosed-bracket", f"'{opened}' is not closed by '{closing}'", since, hint=hint)


def _reserved_start(complaint: Complaint) -> bool:
    at = complaint.at
    hint = quote_hint(complaint.lines, at, value_end(complaint.lines, at))
    message = f"a value can't begin with '{complaint.text[at : at + 1]}' without quotes"
    return complaint.add("reserved-character", message, at, hint=hint)


def _second_colon(complaint: Complaint) -> bool:
    """A second colon in a line, or a key below a value."""
    lines, at = complaint.lines, complaint.at
    start, end = lines.around(at)
    key = _KEY.match(lines.text, start, end)
    if key is not None and key.end() <= at:  # ``prompt: a fox: red``
        value = end - len(lines.text[key.end() : end].lstrip())
        stop = value_end(lines, value)
        hint = quote_hint(lines, value, stop)
        return complaint.add("unquoted-colon", "a text with ': ' in it needs quotes", value, stop, hint=hint)
    # ``name:garden`` in the line above is a text, where a key was meant.
    above, end = lines.bounds(lines.pos(start).line - 1)
    above = end - len(lines.text[above:end].lstrip(" "))
    if above < start and _missing_space(complaint, above, value_end(lines, above)):
        return True
    message = "a key can't stand here; the line before it already has a value"
    hint = "move it to the column of the keys it belongs to"
    return complaint.add("bad-indentation", message, key.start("key") if key else at, at, hint=hint)


def _missing_space(complaint: Complaint, start: int, end: int) -> bool:
    squeezed = _MISSING_SPACE.match(complaint.text, start, end)
    if squeezed is None:
        return False
    fixed = complaint.text[start : squeezed.end()] + " " + complaint.text[squeezed.end() : end]
    return complaint.add("missing-space", "a space is missing after ':'", start, end, hint=f"write {fixed}")


def _key_without_colon(complaint: Complaint) -> bool:
    start, end = complaint.since, value_end(complaint.lines, complaint.since)
    hint = "write 'key: value'; a longer text goes in quotes or below '|'"
    return _missing_space(complaint, start, end) or complaint.add(
        "missing-colon", "a key without ':'", start, end, hint=hint
    )


def _escape(complaint: Complaint) -> bool:
    """A backslash in double quotes that means nothing."""
    position, text = complaint.since + 1, complaint.text
    if text[complaint.since - 2 : complaint.since] == "\\U":  # where the parser in Python stops
        position = complaint.since - 2
    while (position := text.find("\\", position)) >= 0:
        good = _GOOD_ESCAPE.match(text, position)
        if good is None:
            break
        position = good.end()
    bad = _BAD_ESCAPE.match(text, max(position, 0))
    start, end = bad.span() if bad else (complaint.at, complaint.at + 1)
    if text[start : start + 2] in ("\\u", "\\U") and end - start >= 6:
        complaint.findings.bad_escape(start, end)
        return True
    hint = "write \\\\ for a backslash, or use single quotes"
    return complaint.add("bad-escape", "unknown escape in double quotes", start, end, hint=hint)


def _indentation(complaint: Complaint) -> bool:
    """A line at a column that fits nothing above it, or text behind a finished value."""
    at, stop = complaint.at, value_end(complaint.lines, complaint.at)
    if complaint.text.startswith(":", at):
        complaint.findings.missing_key(at, at + 1)
        return True
    start, end = complaint.lines.around(at)
    if complaint.text[start:at].strip(" -"):
        message = "the value before this is already complete"
        hint = "quote the whole value, or look for a quote that closes too early"
        return complaint.add("text-after-value", message, at, max(stop, at + 1), hint=hint)
    message = "this line's indentation fits none of the lines above it"
    hint = "keys of one mapping, and the dashes of one list, stand in one column"
    return complaint.add("bad-indentation", message, at, max(stop, min(at + 1, end)), hint=hint)


def _directive(complaint: Complaint) -> bool:
    place = complaint.lines.around(complaint.at)
    return complaint.add("directive", "this directive is not understood", *place, hint="remove it: a file needs none")


def _nameless(complaint: Complaint) -> bool:
    """``*.png`` and ``&co``: an alias or an anchor without a name; a broken tag."""
    start = complaint.since
    end = max(value_end(complaint.lines, start), start + 1)
    text = complaint.text[start:end]
    kind = next((f"an {word}" for word in ("alias", "anchor") if f"an {word}" in complaint.problem), "a tag")
    message = f"a value that begins with '{text[:1]}' is {kind} in YAML, and this is not one"
    return complaint.add("reserved-character", message, start, end, hint=f"quote the value: {quote(text)}")


def _said(code: str, message: str, hint: str | None = None, *, since: bool = False) -> Callable[[Complaint], bool]:
    """A finding whose words are always the same, where the parser stopped or (``since``) where it began."""
    return lambda complaint: complaint.add(code, message, complaint.since if since else complaint.at, hint=hint)


# The first row whose pattern is in what the parser said, and whose function deals with it, makes the finding. Templates
# and tabs come first: parsers say all sorts of things about them.
_RECOGNISERS: tuple[tuple[str, Callable[[Complaint], bool]], ...] = (
    ("", _template),
    ("", _tab),
    ("found unexpected.*quoted scalar", _open_quote),
    (r"expected ',' or '[\]}]'", _bracket),
    ("cannot start any token", _reserved_start),
    ("mapping values are not allowed", _second_colon),
    ("could not find expected ':'", _key_without_colon),
    ("unknown escape|hexadecimal|hexdecimal|invalid unicode character escape code", _escape),
    (r"expected (<block end>|key|'-' indicator)|expected '?<document start>", _indentation),
    (
        "sequence entries are not allowed",
        _said(
            "bad-indentation",
            "a list can't begin here",
            "begin the list on its own line, or quote a text that begins with '-'",
        ),
    ),
    (
        "mapping keys are not allowed",
        _said(
            "reserved-character",
            "a '?' and a space begin a key in YAML, and none can stand here",
            "quote a text that begins with '?'",
        ),
    ),
    ("expected (the )?node content", _said("missing-value", "a value is missing before this")),
    ("directive|incompatible yaml|tag handle", _directive),
    ("an alias|an anchor|[a%] tag", _nameless),
    (
        "block scalar",
        _said(
            "block-scalar",
            "the block of text that begins here is not well formed",
            "nothing but a comment may follow '|' or '>'; the text begins on the next line, indented by spaces",
            since=True,
        ),
    ),
)
