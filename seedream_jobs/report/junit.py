"""Remarks as JUnit XML, which every CI shows: a suite for each file, a failure for each error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from seedream_jobs.report.hostile import xml
from seedream_jobs.report.remarks import Remark


def junit(suites: Mapping[str, Sequence[Remark]]) -> str:
    """The report.

    :param suites: the remarks by file, also for the files without any: those passed
    """
    errors = sum(remark.level == "error" for remarks in suites.values() for remark in remarks)
    tests = sum(len(remarks) or 1 for remarks in suites.values())
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="seedream-jobs" tests="{tests}" failures="{errors}" errors="0">',
    ]
    for path, remarks in suites.items():
        lines.extend(_suite(path, remarks))
    return "\n".join([*lines, "</testsuites>"]) + "\n"


def _suite(path: str, remarks: Sequence[Remark]) -> Iterator[str]:
    failures = sum(remark.level == "error" for remark in remarks)
    name = xml(path)
    counts = f'tests="{len(remarks) or 1}" failures="{failures}" errors="0" skipped="0"'
    yield f'  <testsuite name="{name}" {counts}>'
    if not remarks:
        yield f'    <testcase classname="{name}" name="no findings"/>'
    for remark in remarks:
        place = "" if remark.at_line is None else f' line="{remark.at_line}"'
        yield f'    <testcase classname="{name}" name="{xml(remark.code)}" file="{xml(remark.path)}"{place}>'
        if remark.level == "error":
            yield f'      <failure type="{xml(remark.code)}" message="{xml(remark.text)}"/>'
        else:
            yield f"      <system-out>{xml(remark.text)}</system-out>"
        yield "    </testcase>"
    yield "  </testsuite>"
