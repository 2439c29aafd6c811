"""What can be wrong with a YAML document, in the words of its author: one code and one next step for each mistake.

Called by ``job.yaml_reader``, which knows what it meets, and by ``explain`` for what a parser refuses: libyaml and
PyYAML's own parser complain in different words about the same places, and both are recognised here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from yaml.error import MarkedYAMLError

from seedream_jobs.diagnostics import Diagnostic, Related, Severity
from seedream_jobs.job.document import Lines

MAX_DEPTH = 100
"""Mappings and lists within each other."""

SHOWN = 60
"""Characters of the file's own words that a message repeats."""


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


class Stop(Exception):
    """Reading can't go on; the reason is among the findings."""


def shorten(text: str) -> str:
    """``text`` for a message: not longer than ``SHOWN`` characters."""
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


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

        :raises Stop: if it is an error too many
        """
        if severity == "error":
            self.errors += 1
        else:
            self.warnings += 1
        if self.errors > MAX_ERRORS:
            code, message, hint, related = (
                "too-many-errors",
                f"more than {MAX_ERRORS} errors; the rest is not read",
                None,
                (),
            )
        self.items.append(
            Diagnostic(
                code=code,
                severity=severity,
                message=message,
                path=self.path,
                span=self.lines.span(start, end),
                hint=hint,
                related=related,
            )
        )
        if self.errors > MAX_ERRORS:
            raise Stop

    def related(self, message: str, start: int, end: int) -> Related:
        """A second place in this document."""
        return Related(message=message, path=self.path, span=self.lines.span(start, end))

    # The document

    def second_document(self, start: int, end: int) -> None:
        self.add(
            "second-document",
            "a second document begins here; a file holds one",
            start,
            end,
            hint="move it to a file of its own, or remove the '---'",
        )

    def too_deep(self, start: int) -> None:
        self.add("too-deep", f"more than {MAX_DEPTH} mappings and lists within each other", start, start + 1)

    # Values

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

    def out_of_range(self, text: str, start: int, end: int) -> None:
        self.add(
            "number-out-of-range",
            f"the number {shorten(text)} is too large to be kept exactly",
            start,
            end,
            hint="quote it if it is text; integers have at most 64 bits, other numbers the range of a double",
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

    def report_template(self, found: Template) -> None:
        """One finding for a template without quotes, with the line as it should be."""
        hint = "quote the value" if found.fixed is None else f"quote the value: {found.fixed}"
        self.add(
            "unquoted-template", "a value that begins with a template needs quotes", found.start, found.end, hint=hint
        )

    # Keys

    def duplicate_key(self, key: str, first: tuple[int, int], second: tuple[int, int]) -> None:
        self.add(
            "duplicate-key",
            f"the key '{shorten(key)}' is given twice",
            *second,
            hint="keep one of the two",
            related=(self.related(f"'{shorten(key)}' is given here first", *first),),
        )

    def complex_key(self, start: int, end: int) -> None:
        self.add("bad-key", "a key is a text, not a mapping or a list", start, end)

    def missing_key(self, start: int, end: int) -> None:
        self.add("bad-key", "a key is missing here", start, end, hint="write the key, or quotes around an empty one")

    def alias_as_key(self, start: int, end: int) -> None:
        self.add("bad-key", "a key can't be an alias", start, end, hint="write the key itself")

    # Anchors

    def undefined_alias(self, name: str, start: int, end: int, guess: str | None) -> None:
        hint = "define it before its use with '&', or quote the value if it is text"
        self.add(
            "undefined-alias",
            f"no anchor named '{shorten(name)}' above this line",
            start,
            end,
            hint=hint if guess is None else f"did you mean '*{guess}'?",
        )

    def cyclic_alias(self, name: str, start: int, end: int) -> None:
        self.add("cyclic-alias", f"'*{shorten(name)}' stands inside the value it stands for", start, end)

    def expands_too_far(self, name: str, start: int, end: int) -> None:
        self.add(
            "alias-expansion",
            f"with '*{shorten(name)}' written out, the file grows beyond what is read",
            start,
            end,
            hint="use fewer aliases of large values, or move the values to a file of their own",
        )

    def bad_merge(self, start: int, end: int) -> None:
        self.add("bad-merge", "'<<' takes a mapping or a list of mappings", start, end, hint="such as '<<: *defaults'")


# -- values that need quotes -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
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


# -- what a parser complains of ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the parser said, in lower case, and where; ``since`` is where the thing it was reading began."""

    problem: str
    at: int
    since: int


def complaint_of(error: MarkedYAMLError, length: int) -> Complaint:
    """What ``error`` says about a text of ``length`` characters."""

    def offset(mark: Any, default: int) -> int:
        return default if mark is None else min(int(mark.index), length)

    at = offset(error.problem_mark, length)
    problem = " ".join(part for part in (error.problem, error.context) if part)
    return Complaint(problem.lower(), at, min(offset(error.context_mark, at), at))


def _tab(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """A tab where spaces make the indentation."""
    start, end = lines.around(complaint.at)
    tabs = _INDENTATION_TABS.match(lines.text, start, end)
    if tabs is None or complaint.at > tabs.end():
        tabs = _TABS.match(lines.text, complaint.at, end)
    if tabs is None:
        return False
    findings.add(
        "tab-indentation",
        "a tab in the indentation; YAML indents with spaces",
        tabs.start(1),
        tabs.end(1),
        hint="replace each tab by two spaces, and set your editor to spaces for YAML",
    )
    return True


def _bracket(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """A bracket or brace that is never closed, or a comma that is missing in it."""
    if not re.search(r"expected ',' or '[\]}]'", complaint.problem):
        return False
    opened = lines.text[complaint.since : complaint.since + 1]
    closing = "]" if opened == "[" else "}"
    same_line = lines.pos(complaint.at).line == lines.pos(complaint.since).line
    rest = lines.text[complaint.at : lines.around(complaint.at)[1]].strip()
    if same_line and rest and not rest.startswith(("]", "}")):
        findings.add(
            "missing-comma",
            f"a comma or '{closing}' is missing here",
            complaint.at,
            complaint.at + 1,
            hint="separate items with commas, and quote a text that has quotes or brackets in it",
            related=(findings.related(f"'{opened}' opens here", complaint.since, complaint.since + 1),),
        )
        return True
    findings.add(
        "unclosed-bracket",
        f"'{opened}' is not closed by '{closing}'",
        complaint.since,
        complaint.since + 1,
        hint=f"'{closing}' was still missing at line {lines.pos(complaint.at).line}",
    )
    return True


def _indentation(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """A line at a column that fits nothing above it, or text behind a finished value."""
    problem = complaint.problem
    if not re.search(r"expected (<block end>|key|'-' indicator)|expected '?<document start>", problem):
        return _list_on_line(complaint, lines, findings)
    if lines.text.startswith(":", complaint.at):
        findings.missing_key(complaint.at, complaint.at + 1)
        return True
    start, end = lines.around(complaint.at)
    before = lines.text[start : complaint.at]
    if before.strip(" -"):
        stop = max(value_end(lines, complaint.at), complaint.at + 1)
        findings.add(
            "text-after-value",
            "the value before this is already complete",
            complaint.at,
            stop,
            hint="quote the whole value, or look for a quote that closes too early",
        )
        return True
    findings.add(
        "bad-indentation",
        "this line's indentation fits none of the lines above it",
        complaint.at,
        max(value_end(lines, complaint.at), min(complaint.at + 1, end)),
        hint="keys of one mapping, and the dashes of one list, stand in one column",
    )
    return True


def _list_on_line(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    if "sequence entries are not allowed" in complaint.problem:
        findings.add(
            "bad-indentation",
            "a list can't begin here",
            complaint.at,
            complaint.at + 1,
            hint="begin the list on its own line, or quote a text that begins with '-'",
        )
        return True
    if "mapping keys are not allowed" in complaint.problem:
        findings.add(
            "reserved-character",
            "a '?' and a space begin a key in YAML, and none can stand here",
            complaint.at,
            complaint.at + 1,
            hint="quote a text that begins with '?'",
        )
        return True
    if "expected the node content" in complaint.problem or "expected node content" in complaint.problem:
        findings.add("missing-value", "a value is missing before this", complaint.at, complaint.at + 1)
        return True
    return False


def _directive(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """A line before ``---`` that begins with ``%``."""
    if not re.search(r"directive|incompatible yaml|tag handle", complaint.problem):
        return False
    start, end = lines.around(complaint.at)
    findings.add("directive", "this directive is not understood", start, end, hint="remove it: a file needs none")
    return True


def _plain_words(problem: str) -> str:
    return re.sub(r"\s*(?:while (?:scanning|parsing)|\(|, but).*", "", problem).replace(
        "did not find expected", "expected"
    )


def _depth(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """A parser's own limit for values within each other, which is above ours."""
    if "nesting depth" not in complaint.problem:
        return False
    findings.too_deep(complaint.at)
    return True


def _template(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """``prompt: {{ x }} and more``, ``{{ a['b'] }}``, ``{% if x %}``."""
    for number in dict.fromkeys((lines.pos(complaint.at).line, lines.pos(complaint.since).line)):
        found = template_on_line(lines, number)
        if found is not None:
            findings.report_template(found)
            return True
    return False


def _open_quote(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """A quote that is never closed."""
    if "quoted scalar" not in complaint.problem or "found unexpected" not in complaint.problem:
        return False
    mark = lines.text[complaint.since : complaint.since + 1]
    findings.add(
        "unclosed-quote",
        "the quote that opens here is never closed",
        complaint.since,
        complaint.since + 1,
        hint=f"close it with {mark}, or take it away" if mark in "'\"" else None,
    )
    return True


def _reserved_start(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """A value that begins with a character YAML keeps for itself."""
    if "cannot start any token" not in complaint.problem:
        return False
    character = lines.text[complaint.at : complaint.at + 1]
    end = value_end(lines, complaint.at)
    fixed = fixed_line(lines, complaint.at, end)
    findings.add(
        "reserved-character",
        f"a value can't begin with '{character}' without quotes",
        complaint.at,
        complaint.at + 1,
        hint="quote the value" if fixed is None else f"quote the value: {fixed}",
    )
    return True


def _second_colon(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """A second colon in a line, or a key below a value."""
    if "mapping values are not allowed" not in complaint.problem:
        return False
    start, end = lines.around(complaint.at)
    key = _KEY.match(lines.text, start, end)
    if (key is None or key.end() > complaint.at) and _squeezed_above(start, lines, findings):
        return True
    if key is None or key.end() > complaint.at:
        findings.add(
            "bad-indentation",
            "a key can't stand here; the line before it already has a value",
            key.start("key") if key else complaint.at,
            complaint.at,
            hint="move it to the column of the keys it belongs to",
        )
        return True
    value = key.end() + len(lines.text[key.end() : end]) - len(lines.text[key.end() : end].lstrip())
    value_stop = value_end(lines, value)
    fixed = fixed_line(lines, value, value_stop)
    findings.add(
        "unquoted-colon",
        "a text with ': ' in it needs quotes",
        value,
        value_stop,
        hint="quote the value" if fixed is None else f"quote the value: {fixed}",
    )
    return True


def _squeezed_above(start: int, lines: Lines, findings: YamlFindings) -> bool:
    """``name:garden`` in the line that ends before offset ``start``: a text, where a key was meant."""
    above, end = lines.bounds(lines.pos(start).line - 1)
    above += len(lines.text[above:end]) - len(lines.text[above:end].lstrip(" "))
    return above < start and _missing_space(above, value_end(lines, above), lines, findings)


def _missing_space(start: int, end: int, lines: Lines, findings: YamlFindings) -> bool:
    squeezed = _MISSING_SPACE.match(lines.text, start, end)
    if squeezed is None:
        return False
    fixed = lines.text[start : squeezed.end()] + " " + lines.text[squeezed.end() : end]
    findings.add("missing-space", "a space is missing after ':'", start, end, hint=f"write {fixed}")
    return True


def _key_without_colon(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """A line among keys that has no colon, or no space after it."""
    if "could not find expected ':'" not in complaint.problem:
        return False
    start = complaint.since
    end = value_end(lines, start)
    if _missing_space(start, end, lines, findings):
        return True
    findings.add(
        "missing-colon",
        "a key without ':'",
        start,
        end,
        hint="write 'key: value'; a longer text goes in quotes or below '|'",
    )
    return True


def _escape(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """A backslash in double quotes that means nothing."""
    words = ("unknown escape", "hexadecimal", "hexdecimal", "invalid unicode character escape code")
    if not any(word in complaint.problem for word in words):
        return False
    position, text = complaint.since + 1, lines.text
    if text[complaint.since - 2 : complaint.since] == "\\U":  # where the parser in Python stops
        position = complaint.since - 2
    while (position := text.find("\\", position)) >= 0:
        good = _GOOD_ESCAPE.match(text, position)
        if good is None:
            break
        position = good.end()
    bad = _BAD_ESCAPE.match(text, max(position, 0))
    start, end = (bad.start(), bad.end()) if bad else (complaint.at, complaint.at + 1)
    half = text[start : start + 2] in ("\\u", "\\U") and len(text[start:end]) >= 6
    findings.add(
        "bad-escape",
        "this escape is not a character" if half else "unknown escape in double quotes",
        start,
        end,
        hint="write the character itself" if half else "write \\\\ for a backslash, or use single quotes",
    )
    return True


def _nameless(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """``*.png`` and ``&co``: an alias or an anchor without a name; a broken tag."""
    word = next(
        (word for word in ("alias", "anchor", "tag") if re.search(rf"(?:an?|%) {word}", complaint.problem)), None
    )
    if word is None:
        return False
    start = complaint.since
    end = max(value_end(lines, start), start + 1)
    character = lines.text[start : start + 1]
    meaning = {"alias": "an alias", "anchor": "an anchor", "tag": "a tag"}[word]
    findings.add(
        "reserved-character",
        f"a value that begins with '{character}' is {meaning} in YAML, and this is not one",
        start,
        end,
        hint=f"quote the value: {quote(lines.text[start:end])}",
    )
    return True


def _block_header(complaint: Complaint, lines: Lines, findings: YamlFindings) -> bool:
    """Text behind ``|`` or ``>``, or a block whose first lines are indented more than the rest."""
    if "block scalar" not in complaint.problem:
        return False
    findings.add(
        "block-scalar",
        "the block of text that begins here is not well formed",
        complaint.since,
        complaint.since + 1,
        hint="nothing but a comment may follow '|' or '>'; the text begins on the next line, indented by spaces",
    )
    return True


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
    _directive,
    _nameless,
    _block_header,
)


def explain(error: MarkedYAMLError, lines: Lines, findings: YamlFindings) -> None:
    """Adds the one finding that stands for ``error``, unless a finding on its line already says what is wrong."""
    complaint = complaint_of(error, len(lines.text))
    known = {item.span.start.line for item in findings.items if item.span and item.code == "unquoted-template"}
    first, last = lines.pos(complaint.since).line, lines.pos(complaint.at).line
    if known & set(range(first, last + 1)) and last - first < 3:
        return
    for recognise in _RECOGNISERS:
        if recognise(complaint, lines, findings):
            return
    findings.add("syntax-error", f"this is not YAML: {_plain_words(complaint.problem)}", complaint.at, complaint.at + 1)
