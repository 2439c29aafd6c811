"""Recognises syntax errors that a text causes: quotes that are missing, unclosed, or have a broken escape in them.

Each function looks at a complaint, adds a finding if it knows the cause, and says whether it did.
"""

from __future__ import annotations

import re

from seedream_jobs.job.positions import Lines
from seedream_jobs.job.unquoted import fixed_line, quote, template_on_line, value_end
from seedream_jobs.job.yaml_complaint import Complaint
from seedream_jobs.job.yaml_events import BAD_CODE_POINT
from seedream_jobs.job.yaml_findings import Findings

_BAD_ESCAPE = re.compile(r"\\(?:[uU][0-9a-fA-F]*|x[0-9a-fA-F]*|[\s\S])")
_GOOD_ESCAPE = re.compile(
    r"\\(?:u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|U00(?:0(?!000[dD][89a-fA-F])|10)[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}"
    r"|[0abtnvfre \"/\\N_LP\t]|\r?\n)"
)
_KEY = re.compile(r"[ \t]*(?:- +)*(?P<key>[^\s#'\"{}\[\]&*!|>%@`][^#]*?):(?=\s|$)")
_MISSING_SPACE = re.compile(r"([^\s:'\"{}\[\],#]+):(?=[^\s:/])(?!.*:\s)")


def template(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
    """``prompt: {{ x }} and more``, ``{{ a['b'] }}``, ``{% if x %}``."""
    for number in dict.fromkeys((lines.pos(complaint.at).line, lines.pos(complaint.since).line)):
        found = template_on_line(lines, number)
        if found is not None:
            findings.report_template(found)
            return True
    return False


def open_quote(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
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


def reserved_start(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
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


def second_colon(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
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


def key_without_colon(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
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


def escape(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
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


def nameless(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
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


def block_header(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
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
