"""Turns a YAML parser's complaint into one finding in the words of the file's author.

libyaml and PyYAML's own parser complain in different words about the same places; both are recognised here.
"""

from __future__ import annotations

import re

from yaml.error import MarkedYAMLError

from seedream_jobs.job import yaml_texts
from seedream_jobs.job.builder import MAX_DEPTH
from seedream_jobs.job.positions import Lines
from seedream_jobs.job.unquoted import value_end
from seedream_jobs.job.yaml_complaint import Complaint, complaint_of
from seedream_jobs.job.yaml_findings import Findings

_INDENTATION_TABS = re.compile(r" *(\t+)[ \t]*")
_TABS = re.compile(r"(\t+)")


def _tab(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
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


def _bracket(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
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


def _indentation(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
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


def _list_on_line(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
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


def _directive(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
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


def _depth(complaint: Complaint, lines: Lines, findings: Findings) -> bool:
    """A parser's own limit for values within each other, which is above ours."""
    if "nesting depth" not in complaint.problem:
        return False
    findings.too_deep(complaint.at, MAX_DEPTH)
    return True


_RECOGNISERS = (
    _depth,
    yaml_texts.template,
    _tab,
    yaml_texts.open_quote,
    _bracket,
    yaml_texts.reserved_start,
    yaml_texts.second_colon,
    yaml_texts.key_without_colon,
    yaml_texts.escape,
    _indentation,
    _directive,
    yaml_texts.nameless,
    yaml_texts.block_header,
)


def explain(error: MarkedYAMLError, lines: Lines, findings: Findings) -> None:
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
