"""This module writes plans, findings, statuses and requests as JSON for programs.

Called by ``cli.output`` and ``report.text``. Invariant: field names are a public interface (schemas/), and money is
written as decimal strings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.state import State
from seedream_jobs.plan.plan import Plan
from seedream_jobs.plan.saved import changes, encode
from seedream_jobs.report.status import JobStatus


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON in which other scripts stay readable, without anything that a terminal or a CI runner obeys."""
    text = json.dumps(value, ensure_ascii=False, indent=indent).replace("##[", "\\u0023#[")
    if text.isascii() and "\x7f" not in text:
        return text
    # Such characters, and ##[ above, only stand inside strings, where an escape is the same value.
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)


def plan_json(plan: Plan) -> str:
    """The whole plan as one JSON document (schemas/plan.schema.json), with a newline."""
    return json_text(encode(plan), indent=2) + "\n"


def plan_jsonl(plan: Plan) -> Iterator[str]:
    """A line for each change of each job, with its line end; made one at a time."""
    return (json_text(change) + "\n" for change in changes(plan))


def findings_json(findings: Sequence[Diagnostic], files: list[str]) -> str:
    """The findings and the files that were checked, as one JSON document."""
    return json_text({"files": files, "findings": [_finding(one) for one in findings]}, indent=2) + "\n"


def findings_jsonl(findings: Sequence[Diagnostic]) -> Iterator[str]:
    """A line for each finding."""
    return (json_text(_finding(one)) + "\n" for one in findings)


def _finding(finding: Diagnostic) -> dict[str, Any]:
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


def status_json(jobs: Sequence[JobStatus]) -> str:
    """A JSON list with an object for each job."""
    return json_text([_status(one) for one in jobs], indent=2) + "\n"


def status_jsonl(jobs: Sequence[JobStatus]) -> Iterator[str]:
    """A line for each job."""
    return (json_text(_status(one)) + "\n" for one in jobs)


def _status(one: JobStatus) -> dict[str, Any]:
    return {
        "charged_usd": str(one.bill.usd),
        "counts": {str(state): one.counts[state] for state in sorted(State) if one.counts[state]},
        "failed": [{"address": address, "message": message} for address, message in one.failed],
        "first_link_dies_in_seconds": None if one.first_death is None else int(one.first_death),
        "held_by": one.held_by,
        "images": one.images,
        "in_doubt": [{"address": address, "doubt": doubt} for address, doubt in one.doubtful],
        "job": one.job,
        "origin": one.origin,
        "shared_tasks": one.shared,
        "spent_usd": str(one.spent),
    }


def request_json(request: Request) -> str:
    """A request on one line; local references stand as ``sha256:…``."""
    value = {
        "address": request.address,
        "key": request.key,
        "max_images": request.max_images,
        "output": request.output,
        "payload": dict(request.payload),
        "references": {name: reference.path for name, reference in request.references.items()},
    }
    return json.dumps(value, ensure_ascii=False)
