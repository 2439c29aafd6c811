"""This module writes plans, findings, statuses and requests as JSON for programs.

Called by ``cli.output`` and ``report.text``. Invariant: field names are a public interface (schemas/), and money is
written as decimal strings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.foreign_text import escaped_json
from seedream_jobs.ledger.service_errors import meaning_fields
from seedream_jobs.ledger.state import State
from seedream_jobs.report.status import JobStatus


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON in which other scripts stay readable, without anything that a terminal or a CI runner obeys."""
    return escaped_json(json.dumps(value, ensure_ascii=False, indent=indent))


def document(value: Any) -> str:
    """One JSON document, with its line end."""
    return json_text(value, indent=2) + "\n"


def lines(values: Iterable[Any]) -> Iterator[str]:
    """A line for each value, with its line end; made one at a time."""
    return (json_text(value) + "\n" for value in values)


def finding_fields(finding: Diagnostic) -> dict[str, Any]:
    """A finding's fields."""
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


def status_fields(one: JobStatus) -> dict[str, Any]:
    """The fields of a job's status."""
    unchosen = [{"group": group, "why": why} for group, why in one.unchosen]
    return {
        "charged_usd": str(one.bill.usd),
        **({"claimed_elsewhere": dict(one.elsewhere)} if one.elsewhere else {}),
        "counts": {str(state): one.counts[state] for state in sorted(State) if one.counts[state]},
        "expired": one.expired,
        "failed": [
            {"address": address, "message": error.message if error else "", "meaning": meaning_fields(error)}
            for address, error in one.failed
        ],
        "first_link_dies_in_seconds": None if one.first_death is None else int(one.first_death),
        "held_by": one.held_by,
        "images": one.images,
        "in_store": one.in_store,
        **({"in_doubt_elsewhere": dict(one.doubted)} if one.doubted else {}),
        "in_doubt": [{"address": address, "doubt": doubt} for address, doubt in one.doubtful],
        "job": one.job,
        "open_runs": one.lost,
        "origin": one.origin,
        "shared_tasks": one.shared,
        "spent_usd": str(one.spent),
        **({"to_choose": unchosen} if unchosen else {}),
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
    return json_text(value)
