"""Remarks as a GitLab code quality report: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from seedream_jobs.report.hostile import one_line
from seedream_jobs.report.json import json_text
from seedream_jobs.report.remarks import Remark, fingerprint

_SEVERITIES = {"error": "critical", "warning": "minor", "note": "info"}


def code_quality(remarks: Iterable[Remark]) -> str:
    """A JSON list; each remark's fingerprint stays the same while its line moves, and is unique in the report."""
    seen: Counter[str] = Counter()
    found: list[dict[str, object]] = []
    for remark in remarks:
        identity = "\n".join((remark.path, remark.code, remark.message))
        seen[identity] += 1
        found.append(
            {
                "check_name": remark.code,
                "description": one_line(remark.text, 1_000),
                "fingerprint": fingerprint(identity, seen[identity]),
                "location": {"lines": {"begin": remark.at_line or 1}, "path": one_line(remark.path)},
                "severity": _SEVERITIES[remark.level],
            }
        )
    return json_text(found, indent=2) + "\n"
