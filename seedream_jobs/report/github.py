"""Remarks as GitHub's workflow commands: annotations on the lines of a pull request.

Escaping is that of the runner: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from seedream_jobs.report.hostile import one_line
from seedream_jobs.report.remarks import Remark

MAX_MESSAGE = 4_000
"""Characters of one annotation's message; GitHub cuts at 64 KB."""

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def workflow_commands(remarks: Iterable[Remark]) -> Iterator[str]:
    """A line for each remark, such as ``::warning file=garden.yaml,line=3,title=unused-axis::…``."""
    for remark in remarks:
        properties = {"file": remark.path}
        if remark.span is not None:
            start, end = remark.span.start, remark.span.end
            properties |= {"line": str(start.line), "endLine": str(end.line)}
            if start.line == end.line:  # columns are only understood on one line
                properties |= {"col": str(start.column), "endColumn": str(end.column)}
        elif remark.line is not None:
            properties["line"] = str(remark.line)
        properties["title"] = remark.code
        listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        yield f"::{_LEVELS[remark.level]} {listed}::{_data(remark.text)}"


def _data(text: str) -> str:
    # One line first: an escaped line end would come back as a real one in the annotation, and in logs that echo it.
    return one_line(text, MAX_MESSAGE).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
