"""Findings in every format but a terminal's text: for programs, for a comment, for code scanning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.report.findings import summary
from seedream_jobs.report.json import json_text
from seedream_jobs.report.markdown import MARKER, MAX_CHARACTERS, findings_markdown
from seedream_jobs.report.remarks import remarks_on_findings
from seedream_jobs.report.views import render_remarks


def render_found(findings: Sequence[Diagnostic], files: list[str], form: str) -> Iterator[str]:
    """Findings as ``json``, ``jsonl``, ``markdown``, ``github``, ``gitlab``, ``sarif`` or ``junit``.

    :param files: all that were looked at, also those without findings
    """
    found = in_order(findings)
    match form:
        case "json":
            yield json_text({"files": files, "findings": [_json(one) for one in found]}, indent=2) + "\n"
        case "jsonl":
            yield from (json_text(_json(one)) + "\n" for one in found)
        case "markdown":
            yield found_markdown(found)
        case _:
            yield from render_remarks(remarks_on_findings(found), files, form)


def found_markdown(findings: Sequence[Diagnostic]) -> str:
    """A comment on a pull request, found again by the same marker as a plan's."""
    lines = [MARKER, f"### {summary(findings)}", ""]
    size = sum(len(line) + 1 for line in lines)
    for number, line in enumerate(findings_markdown(findings)):
        size += len(line) + 1
        if size > MAX_CHARACTERS - 100:
            lines.append(f"- and {len(findings) - number:,} more")
            break
        lines.append(line)
    return "\n".join(lines) + "\n"


def _json(finding: Diagnostic) -> dict[str, Any]:
    line: dict[str, Any] = {
        "code": finding.code,
        "hint": finding.hint,
        "message": finding.message,
        "path": finding.path,
        "severity": finding.severity,
    }
    if finding.span is not None:
        start, end = finding.span.start, finding.span.end
        line |= {"column": start.column, "end_column": end.column, "end_line": end.line, "line": start.line}
    if finding.related:
        line["related"] = [
            {"line": None if one.span is None else one.span.start.line, "message": one.message, "path": one.path}
            for one in finding.related
        ]
    return line
