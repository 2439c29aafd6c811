"""Turns a YAML parser's complaint into one finding in the words of the file's author.

libyaml and PyYAML's own parser complain in different words about the same places; both are recognised here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from yaml.error import MarkedYAMLError

from seedream_jobs.job.positions import Lines
from seedream_jobs.job.unquoted import fixed_line, quote, template_on_line, value_end
from seedream_jobs.job.yaml_events import BAD_CODE_POINT
from seedream_jobs.job.yaml_findings import Findings

_INDENTATION_TABS = re.compile(r" *(\t+)[ \t]*")
_TABS = re.compile(r"(\t+)")
_BAD_ESCAPE = re.compile(r"\\(?:[uU][0-9a-fA-F]*|x[0-9a-fA-F]*|[\s\S])")
_GOOD_ESCAPE = re.compile(
    r"\\(?:u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|U00(?:0(?!000[dD][89a-fA-F])|10)[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}"
    r"|[0abtnvfre \"/\\N_LP\t]|\r?\n)"
)
_KEY = re.compile(r"[ \t]*(?:- +)*(?P<key>[^\s#'\"{}\[\]&*!|>%@`][^#]*?):(?=\s|$)")
_MISSING_SPACE = re.compile(r"([^\s:'\"{}\[\],#]+):(?=[^\s:/])(?!.*:\s)")


@dataclass(frozen=True, slots=True)
class _Complaint:
    """What the parser said, in lower case, and where; ``since`` is where the thing it was reading began."""

    problem: str
    at: int
    since: int


def explain(error: MarkedYAMLError, lines: Lines, findings: Findings) -> None:
    """Adds the one finding that stands for ``error``, unless a finding on its line already says what is wrong."""
    complaint = _complaint(error, len(lines.text))
    known = {item.span.start.line for item in findings.items if item.span and item.code == "unquoted-template"}
    first, last = lines.pos(complaint.since).line, lines.pos(complaint.at).line
    if known & set(range(first, last + 1)) and last - first < 3:
        return
    for recognise in (
        _template,
        _tab,
        _quote,
        _bracket,
        _start,
        _colon,
        _key,
        _escape,
        _indentation,
        _directive,
        _name,
        _block,
    ):
        if recognise(complaint, lines, findings):
            return
    findings.add("syntax-error", f"this is not YAML: {_plain_words(complaint.problem)}", complaint.at, complaint.at + 1)


def _complaint(error: MarkedYAMLError, length: int) -> _Complaint:
    def offset(mark: Any, default: int) -> int:
        return default if mark is None else min(int(mark.index), length)

    at = offset(error.problem_mark, length)
    problem = " ".join(part for part in (error.problem, error.context) if part)
    return _Complaint(problem.lower(), at, min(offset(error.context_mark, at), at))


def _plain_words(problem: str) -> str:
    return re.sub(r"\s*(?:while (?:scanning|parsing)|\(|, but).*", "", problem).replace(
        "did not find expected", "expected"
    )


def _template(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
    """``prompt: {{ x }} and more``, ``{{ a['b'] }}``, ``{% if x %}``."""
    for number in dict.fromkeys((lines.pos(complaint.at).line, lines.pos(complaint.since).line)):
        found = template_on_line(lines, number)
        if found is not None:
            findings.report_template(found)
            return True
    return False


def _tab(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
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


def _quote(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
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


def _bracket(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
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


def _start(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
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


def _colon(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
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


def _squeezed_above(start: int, lines: Lines, findings: Findings) -> bool:
    """``name:garden`` in the line that ends before offset ``start``: a text, where a key was meant."""
    above, end = lines.bounds(lines.pos(start).line - 1)
    above += len(lines.text[above:end]) - len(lines.text[above:end].lstrip(" "))
    return above < start and _missing_space(above, value_end(lines, above), lines, findings)


def _missing_space(start: int, end: int, lines: Lines, findings: Findings) -> bool:
    squeezed = _MISSING_SPACE.match(lines.text, start, end)
    if squeezed is None:
        return False
    fixed = lines.text[start : squeezed.end()] + " " + lines.text[squeezed.end() : end]
    findings.add("missing-space", "a space is missing after ':'", start, end, hint=f"write {fixed}")
    return True


def _key(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
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


def _escape(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
    """A backslash in double quotes that means nothing."""
    words = ("unknown escape", "hexadecimal", "hexdecimal", BAD_CODE_POINT.lower())
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


def _indentation(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
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


def _list_on_line(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
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


def _directive(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
    """A line before ``---`` that begins with ``%``."""
    if not re.search(r"directive|incompatible yaml|tag handle", complaint.problem):
        return False
    start, end = lines.around(complaint.at)
    findings.add("directive", "this directive is not understood", start, end, hint="remove it: a file needs none")
    return True


def _name(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
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


def _block(complaint: _Complaint, lines: Lines, findings: Findings) -> bool:
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
