"""What can be wrong with a YAML document, in the words of its author: one code and one next step for each mistake.

Called by ``job.yaml_reader``, which knows what it meets, and by ``explain`` for what a parser refuses: libyaml and
PyYAML's own parser complain in different words about the same places, and both are recognised here.
"""

from __future__ import annotations

import re
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
_GOOD_ESCAPE = re.compile(
    r"\\(?:u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|U00(?:0(?!000[dD][89a-fA-F])|10)[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}"
    r"|[0abtnvfre \"/\\N_LP\t]|\r?\n)"
)
_KEY = re.compile(r"[ \t]*(?:- +)*(?P<key>[^\s#'\"{}\[\]&*!|>%@`][^#]*?):(?=\s|$)")
_MISSING_SPACE = re.compile(r"([^\s:'\"{}\[\],#]+):(?=[^\s:/])(?!.*:\s)")


class StopReading(Exception):
    """Reading can't go on; the reason is among the findings."""


class YamlFindings:
    """The findings of one document, each with its place."""

    __slots__ = ("errors", "items", "lines", "path", "warnings")

    def __init__(self, path: str, lines: Lines) -> None:
        self.path, self.lines = path, lines
        self.items: list[Diagnostic] = []
        self.errors = self.warnings = 0

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
        self.add(
            "ambiguous-scalar",
            f"'{shorten(text)}' is read as text; other YAML readers take it for {otherwise}",
            start,
            end,
            hint=hint,
            severity="warning",
        )

    def bad_escape(self, start: int, end: int) -> None:
        self.add("bad-escape", "this escape is not a character", start, end, hint="write the character itself")

    def tag(self, tag: str, start: int, end: int) -> None:
        short = "!!" + tag.removeprefix("tag:yaml.org,2002:") if tag.startswith("tag:yaml.org,2002:") else tag
        first = self.lines.text[start:end].split(maxsplit=1)[:1]
        self.add(
            "tag",
            f"the tag '{shorten(short)}' is not allowed",
            start,
            start + len(first[0]) if first else end,
            hint="remove it; if the '!' belongs to a text, quote the text",
        )

    def unquoted_template(self, start: int, in_flow: bool) -> bool:
        """Reports a mapping that begins with ``{{``: a template whose quotes are missing. Says whether it is one."""
        if not self.lines.text.startswith("{{", start):
            return False
        self.report_template((template_in_flow if in_flow else template_in_block)(self.lines, start))
        return True

    def report_template(self, found: UnquotedTemplate) -> None:
        """One finding for a template without quotes, with the line as it should be."""
        message, hint = "a value that begins with a template needs quotes", _quote_hint(found.fixed)
        self.add("unquoted-template", message, found.start, found.end, hint=hint)

    def missing_key(self, start: int, end: int) -> None:
        self.add("bad-key", "a key is missing here", start, end, hint="write the key, or quotes around an empty one")

    def undefined_alias(self, name: str, start: int, end: int, guess: str | None) -> None:
        hint = "define it before its use with '&', or quote the value if it is text"
        self.add(
            "undefined-alias",
            f"no anchor named '{shorten(name)}' above this line",
            start,
            end,
            hint=hint if guess is None else f"did you mean '*{guess}'?",
        )


# -- values that need quotes -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UnquotedTemplate:
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


def _quote_hint(fixed: str | None) -> str:
    """The next step for a value that needs quotes, with its line as it should be where that is short enough."""
    return "quote the value" if fixed is None else f"quote the value: {fixed}"


def _without_comment(line: str) -> str:
    comment = _COMMENT.search(line)
    return (line[: comment.start()] if comment else line).rstrip()


def value_end(lines: Lines, start: int) -> int:
    """The offset at which a plain value that begins at ``start`` ends: the line's end or its comment."""
    end = lines.around(start)[1]
    return start + len(_without_comment(lines.text[start:end]))


def template_in_block(lines: Lines, start: int) -> UnquotedTemplate:
    """The template that a block's value begins with; the value goes on to the end of its line."""
    key = _TEMPLATE_AS_KEY.match(lines.text, start)
    if key is not None:
        return UnquotedTemplate(start=start, end=key.end(), fixed=fixed_line(lines, start, key.end()))
    end = value_end(lines, start)
    closed = "}}" in lines.text[start:end] or "%}" in lines.text[start:end]
    return UnquotedTemplate(start=start, end=end, fixed=fixed_line(lines, start, end) if closed else None)


def template_in_flow(lines: Lines, start: int) -> UnquotedTemplate:
    """The template that an item in ``[]`` or ``{}`` begins with."""
    match = _FLOW_TEMPLATE.match(lines.text, start, lines.around(start)[1])
    if match is None:
        return UnquotedTemplate(start=start, end=min(start + 2, len(lines.text)), fixed=None)
    end = start + len(match.group().rstrip())
    return UnquotedTemplate(start=start, end=end, fixed=fixed_line(lines, start, end))


# -- what a parser complains of ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the parser said, in lower case, and where; ``since`` is where the thing it was reading began."""

    problem: str
    at: int
    since: int
    lines: Lines
    findings: YamlFindings

    @property
    def text(self) -> str:
        return self.lines.text

    def says(self, pattern: str) -> bool:
        return re.search(pattern, self.problem) is not None

    def add(self, code: str, message: str, start: int, end: int | None = None, hint: str | None = None) -> bool:
        """One finding, of one character where no end is given. Always true: the complaint is dealt with."""
        self.findings.add(code, message, start, start + 1 if end is None else end, hint=hint)
        return True


def explain(error: MarkedYAMLError, lines: Lines, findings: YamlFindings) -> None:
    """Adds the one finding that stands for ``error``, unless a finding on its line already says what is wrong."""

    def offset(mark: Any, default: int) -> int:
        return default if mark is None else min(int(mark.index), len(lines.text))

    at = offset(error.problem_mark, len(lines.text))
    problem = " ".join(part for part in (error.problem, error.context) if part).lower()
    complaint = Complaint(problem, at, min(offset(error.context_mark, at), at), lines, findings)
    known = {item.span.start.line for item in findings.items if item.span and item.code == "unquoted-template"}
    first, last = lines.pos(complaint.since).line, lines.pos(at).line
    if known & set(range(first, last + 1)) and last - first < 3:
        return
    if not any(recognise(complaint) for recognise in _RECOGNISERS):
        words = re.sub(r"\s*(?:while (?:scanning|parsing)|\(|, but).*", "", problem)
        words = words.replace("did not find expected", "expected")
        complaint.add("syntax-error", f"this is not YAML: {words}", at)


def _depth(complaint: Complaint) -> bool:
    """A parser's own limit for values within each other, which is above ours."""
    if not complaint.says("nesting depth"):
        return False
    complaint.findings.too_deep(complaint.at)
    return True


def _template(complaint: Complaint) -> bool:
    """``prompt: {{ x }} and more``, ``{{ a['b'] }}``, ``{% if x %}``."""
    lines = complaint.lines
    for number in dict.fromkeys((lines.pos(complaint.at).line, lines.pos(complaint.since).line)):
        start, end = lines.bounds(number)
        match = _LINE_WITH_TEMPLATE.match(lines.text, start, end)
        if match:
            complaint.findings.report_template(template_in_block(lines, match.end()))
            return True
    return False


def _tab(complaint: Complaint) -> bool:
    """A tab where spaces make the indentation."""
    start, end = complaint.lines.around(complaint.at)
    tabs = _INDENTATION_TABS.match(complaint.text, start, end)
    if tabs is None or complaint.at > tabs.end():
        tabs = _TABS.match(complaint.text, complaint.at, end)
    return tabs is not None and complaint.add(
        "tab-indentation",
        "a tab in the indentation; YAML indents with spaces",
        tabs.start(1),
        tabs.end(1),
        hint="replace each tab by two spaces, and set your editor to spaces for YAML",
    )


def _open_quote(complaint: Complaint) -> bool:
    """A quote that is never closed."""
    if not complaint.says("quoted scalar") or not complaint.says("found unexpected"):
        return False
    mark = complaint.text[complaint.since : complaint.since + 1]
    hint = f"close it with {mark}, or take it away" if mark in "'\"" else None
    return complaint.add("unclosed-quote", "the quote that opens here is never closed", complaint.since, hint=hint)


def _bracket(complaint: Complaint) -> bool:
    """A bracket or brace that is never closed, or a comma that is missing in it."""
    if not complaint.says(r"expected ',' or '[\]}]'"):
        return False
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
    """A value that begins with a character YAML keeps for itself."""
    if not complaint.says("cannot start any token"):
        return False
    character = complaint.text[complaint.at : complaint.at + 1]
    return complaint.add(
        "reserved-character",
        f"a value can't begin with '{character}' without quotes",
        complaint.at,
        hint=_quote_hint(fixed_line(complaint.lines, complaint.at, value_end(complaint.lines, complaint.at))),
    )


def _second_colon(complaint: Complaint) -> bool:
    """A second colon in a line, or a key below a value."""
    if not complaint.says("mapping values are not allowed"):
        return False
    lines, at = complaint.lines, complaint.at
    start, end = lines.around(at)
    key = _KEY.match(lines.text, start, end)
    if key is None or key.end() > at:
        return _squeezed_above(complaint, start) or complaint.add(
            "bad-indentation",
            "a key can't stand here; the line before it already has a value",
            key.start("key") if key else at,
            at,
            hint="move it to the column of the keys it belongs to",
        )
    value = end - len(lines.text[key.end() : end].lstrip())
    value_stop = value_end(lines, value)
    hint = _quote_hint(fixed_line(lines, value, value_stop))
    return complaint.add("unquoted-colon", "a text with ': ' in it needs quotes", value, value_stop, hint=hint)


def _squeezed_above(complaint: Complaint, start: int) -> bool:
    """``name:garden`` in the line that ends before offset ``start``: a text, where a key was meant."""
    lines = complaint.lines
    above, end = lines.bounds(lines.pos(start).line - 1)
    above = end - len(lines.text[above:end].lstrip(" "))
    return above < start and _missing_space(complaint, above, value_end(lines, above))


def _missing_space(complaint: Complaint, start: int, end: int) -> bool:
    squeezed = _MISSING_SPACE.match(complaint.text, start, end)
    if squeezed is None:
        return False
    fixed = complaint.text[start : squeezed.end()] + " " + complaint.text[squeezed.end() : end]
    return complaint.add("missing-space", "a space is missing after ':'", start, end, hint=f"write {fixed}")


def _key_without_colon(complaint: Complaint) -> bool:
    """A line among keys that has no colon, or no space after it."""
    if not complaint.says("could not find expected ':'"):
        return False
    start, end = complaint.since, value_end(complaint.lines, complaint.since)
    hint = "write 'key: value'; a longer text goes in quotes or below '|'"
    return _missing_space(complaint, start, end) or complaint.add(
        "missing-colon", "a key without ':'", start, end, hint=hint
    )


def _escape(complaint: Complaint) -> bool:
    """A backslash in double quotes that means nothing."""
    if not complaint.says("unknown escape|hexadecimal|hexdecimal|invalid unicode character escape code"):
        return False
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
    if not complaint.says(r"expected (<block end>|key|'-' indicator)|expected '?<document start>"):
        return False
    at, stop = complaint.at, value_end(complaint.lines, complaint.at)
    if complaint.text.startswith(":", at):
        complaint.findings.missing_key(at, at + 1)
        return True
    start, end = complaint.lines.around(at)
    if complaint.text[start:at].strip(" -"):
        hint = "quote the whole value, or look for a quote that closes too early"
        message = "the value before this is already complete"
        return complaint.add("text-after-value", message, at, max(stop, at + 1), hint=hint)
    return complaint.add(
        "bad-indentation",
        "this line's indentation fits none of the lines above it",
        at,
        max(stop, min(at + 1, end)),
        hint="keys of one mapping, and the dashes of one list, stand in one column",
    )


def _misplaced(complaint: Complaint) -> bool:
    """A dash, a ``?`` or nothing at all where a value should begin."""
    at = complaint.at
    if complaint.says("sequence entries are not allowed"):
        hint = "begin the list on its own line, or quote a text that begins with '-'"
        return complaint.add("bad-indentation", "a list can't begin here", at, hint=hint)
    if complaint.says("mapping keys are not allowed"):
        message = "a '?' and a space begin a key in YAML, and none can stand here"
        return complaint.add("reserved-character", message, at, hint="quote a text that begins with '?'")
    return complaint.says("expected (the )?node content") and complaint.add(
        "missing-value", "a value is missing before this", at
    )


def _directive(complaint: Complaint) -> bool:
    """A line before ``---`` that begins with ``%``."""
    hint = "remove it: a file needs none"
    return complaint.says(r"directive|incompatible yaml|tag handle") and complaint.add(
        "directive", "this directive is not understood", *complaint.lines.around(complaint.at), hint=hint
    )


def _nameless(complaint: Complaint) -> bool:
    """``*.png`` and ``&co``: an alias or an anchor without a name; a broken tag."""
    word = next((word for word in ("alias", "anchor", "tag") if complaint.says(rf"(?:an?|%) {word}")), None)
    if word is None:
        return False
    start = complaint.since
    end = max(value_end(complaint.lines, start), start + 1)
    text = complaint.text[start:end]
    kind = "a tag" if word == "tag" else f"an {word}"
    message = f"a value that begins with '{text[:1]}' is {kind} in YAML, and this is not one"
    return complaint.add("reserved-character", message, start, end, hint=f"quote the value: {quote(text)}")


def _block_header(complaint: Complaint) -> bool:
    """Text behind ``|`` or ``>``, or a block whose first lines are indented more than the rest."""
    return complaint.says("block scalar") and complaint.add(
        "block-scalar",
        "the block of text that begins here is not well formed",
        complaint.since,
        hint="nothing but a comment may follow '|' or '>'; the text begins on the next line, indented by spaces",
    )


_RECOGNISERS = (
    _depth,
    _template,
    _tab,
    _open_quote,
    _bracket,
    _reserved_start,
    _second_colon,
    _key_without_colon,
    _escape,
    _indentation,
    _misplaced,
    _directive,
    _nameless,
    _block_header,
)
