"""Remarks as SARIF 2.1.0, for code scanning: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from seedream_jobs.report.hostile import one_line
from seedream_jobs.report.json import json_text
from seedream_jobs.report.remarks import Remark, fingerprint

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LINK = re.compile(r"\[(?=[^\]]*\]\()")
_PLACEHOLDER = re.compile(r"\{(\d+)\}")


def sarif(remarks: Sequence[Remark], *, version: str) -> str:
    """One run with all remarks.

    :param version: the program's
    """
    rules = sorted({remark.code for remark in remarks})
    seen: Counter[str] = Counter()
    run: dict[str, Any] = {
        "columnKind": "unicodeCodePoints",
        "results": [_result(remark, rules, seen) for remark in remarks],
        "tool": {
            "driver": {
                "name": "seedream-jobs",
                "rules": [{"id": rule, "shortDescription": {"text": rule.replace("-", " ")}} for rule in rules],
                "semanticVersion": version,
            }
        },
    }
    return json_text({"$schema": _SCHEMA, "runs": [run], "version": "2.1.0"}, indent=2) + "\n"


def _result(remark: Remark, rules: list[str], seen: Counter[str]) -> dict[str, Any]:
    identity = "\n".join((remark.path, remark.code, remark.message))
    seen[identity] += 1
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(remark.path)}}
    if remark.span is not None:
        start, end = remark.span.start, remark.span.end
        location["region"] = {
            "endColumn": max(end.column, 1),
            "endLine": end.line,
            "startColumn": start.column,
            "startLine": start.line,
        }
    elif remark.line is not None:
        location["region"] = {"startLine": remark.line}
    return {
        "level": remark.level,
        "locations": [{"physicalLocation": location}],
        "message": {"text": _message(remark.text)},
        "partialFingerprints": {"remark/v1": fingerprint(identity, seen[identity])},
        "ruleId": remark.code,
        "ruleIndex": rules.index(remark.code),
    }


def _message(text: str) -> str:
    """Plain text: neither an embedded link (section 3.11.6) nor a placeholder (3.11.5)."""
    shown = one_line(text, 4_000)
    return _PLACEHOLDER.sub(r"{{\1}}", _LINK.sub(r"\\[", shown))


def _uri(path: str) -> str:
    """A relative reference; ``./`` keeps a colon in the first part from being read as a scheme."""
    quoted = quote(path.encode("utf-8", "surrogatepass"), safe="/-._~+,=@")
    return f"./{quoted}" if path.startswith("//") else quoted
