"""This module shows findings, plans and statuses in the formats of CI systems: GitHub, GitLab, SARIF and JUnit.

Called by ``report.formats``. Each of the three becomes a list of ``Remark``, and each format shows such a list.

- GitHub: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
- GitLab: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
- SARIF 2.1.0: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
- JUnit XML, which every CI shows
"""

from __future__ import annotations

import hashlib
import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from seedream_jobs import __version__
from seedream_jobs.diagnostics import Diagnostic, Span, in_order, plural
from seedream_jobs.errors import MoneyError
from seedream_jobs.foreign_text import one_line, shell_word, visible, without_commands
from seedream_jobs.ledger.service_errors import in_words
from seedream_jobs.ledger.state import State
from seedream_jobs.plans.diff import Action
from seedream_jobs.plans.plan import Plan, PlannedJob, check_job_budget
from seedream_jobs.report.json import document
from seedream_jobs.report.status import JobStatus, deadline

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One remark on a file.

    :param path: POSIX, relative to the campaign's root where that is known
    :param span: None where the file as a whole is meant, or only the ``line`` (from 1) is known
    """

    level: Level
    code: str
    message: str
    path: str
    span: Span | None = None
    line: int | None = None
    hint: str | None = None

    @property
    def at_line(self) -> int | None:
        """The line, counted from 1."""
        return self.span.start.line if self.span is not None else self.line

    @property
    def text(self) -> str:
        """The message with its hint."""
        return self.message if self.hint is None else f"{self.message} ({self.hint})"


def remarks_on_findings(findings: Iterable[Diagnostic]) -> list[Remark]:
    """Findings as remarks, in order."""
    return [_finding(finding, finding.path) for finding in in_order(findings)]


def _finding(finding: Diagnostic, path: str) -> Remark:
    return Remark(
        level=finding.severity,
        code=finding.code,
        message=finding.message,
        path=path,
        span=finding.span,
        hint=finding.hint,
    )


def remarks_on_plan(plan: Plan) -> list[Remark]:
    """A plan's budgets that are too small, warnings, doubts, and why there is something new."""
    return [remark for job in plan.jobs for remark in _job(plan, job)]


def _job(plan: Plan, job: PlannedJob) -> Iterator[Remark]:
    try:
        check_job_budget(plan, job)
    except MoneyError as error:
        yield Remark(level="error", code="over-budget", message=error.message, path=job.path, hint=error.hint)
    for warning in job.warnings:
        # A forge wants the path from the campaign's root; a finding has it as the user typed it.
        yield _finding(warning, job.path if warning.path == job.shown else warning.path)
    if doubts := job.count(Action.IN_DOUBT, Action.REPLAY):
        replays = job.count(Action.REPLAY)
        message = f"{plural(doubts, 'submission')} of unknown outcome"
        message += f", of which {replays:,} will be replayed" if replays else ""
        hint = f"seedream-jobs resolve {shell_word(job.shown)}{plan.option}"
        yield Remark(level="warning", code="in-doubt", message=message, path=job.path, hint=hint)
    against = job.against
    for note in job.notes:
        yield Remark(level="note", code="base", message=note, path=job.path)
    for cause in job.all_causes:
        message = f"{plural(cause.requests, 'request')} to submit: {cause.text}"
        yield Remark(level="note", code="plan", message=message, path=job.path, line=_line(cause.place))
    if job.submit:
        message = (
            f"{plural(job.submit, 'request')} to submit, at most {plural(job.submit_images, 'image')}, "
            f"{plan.money(plan.tariff.cost(job.submit_images))}"
        )
        yield Remark(level="note", code="plan", message=message, path=job.path)
    if against is not None and against.removed:
        message = f"{plural(against.removed, 'request')} removed, {against.removed_paid:,} of them in the manifest"
        yield Remark(level="note", code="plan", message=message, path=job.path)


def remarks_on_status(one: JobStatus) -> Iterator[Remark]:
    """What a person must look at: all that ``exit_code`` counts, links about to die, who works on it now."""
    resolve = f"seedream-jobs resolve {shell_word(one.job)}{one.option}"
    if one.held_by is not None:
        yield Remark(level="note", code="in-use", message=f"in use by {one.held_by}", path=one.job)
    for address, doubt in one.doubtful:
        yield Remark(level="warning", code="in-doubt", message=f"{address}: {doubt}", path=one.job, hint=resolve)
    for said in one.lost:
        yield Remark(level="warning", code="run-open", message=said, path=one.job)
    for said in one.shared:
        yield Remark(level="warning", code="shared-task", message=said, path=one.job)
    for address, error in one.failed:
        message = f"{address}: {in_words(error) if error else ''}"
        yield Remark(level="error", code="failed", message=message, path=one.job)
    for address in one.expired:
        message = f"{address}: its links' life is over"
        yield Remark(level="error", code="expired", message=message, path=one.job, hint=resolve)
    for group, why in one.unchosen:
        yield Remark(level="error", code="not-chosen", message=f"{group}: {why}", path=one.job)
    waiting = one.counts[State.COMPLETED]
    if waiting and one.first_death is not None:
        message = f"{plural(waiting, 'request')} not fetched, {deadline(one.first_death)}"
        hint = f"seedream-jobs fetch {shell_word(one.job)}{one.option}"
        yield Remark(level="warning", code="links-dying", message=message, path=one.job, hint=hint)


def _fingerprints(remarks: Iterable[Remark]) -> Iterator[tuple[Remark, str]]:
    """Each remark with a fingerprint that stays the same while its line moves, and is unique among the remarks."""
    seen: Counter[str] = Counter()
    for remark in remarks:
        identity = "\n".join((remark.path, remark.code, remark.message))
        seen[identity] += 1
        text = f"{identity}\n{seen[identity]}"
        # A path on disk need not be UTF-8; Python holds such bytes as surrogates.
        yield remark, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _line(place: str) -> int | None:
    number = place.rpartition(":")[2]
    return int(number) if number.isdecimal() else None


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
        # GitHub's own escapes: a comma would begin the next property, and :: would end them all.
        escaped = ((name, _data(value).replace(":", "%3A").replace(",", "%2C")) for name, value in properties.items())
        listed = ",".join(f"{name}={value}" for name, value in escaped)
        yield f"::{_LEVELS[remark.level]} {listed}::{_data(remark.text)}"


def _data(text: str) -> str:
    # Line ends go first: an escaped one would come back as a real one in the annotation, and in logs that echo it.
    return one_line(text, MAX_MESSAGE).replace("%", "%25")


_SEVERITIES = {"error": "critical", "warning": "minor", "note": "info"}


def code_quality(remarks: Iterable[Remark]) -> str:
    """GitLab's list of issues."""
    found = [
        {
            "check_name": remark.code,
            "description": one_line(remark.text, 1_000),
            "fingerprint": fingerprint,
            # GitLab requires a line: a remark on the whole file stands at its first.
            "location": {"lines": {"begin": remark.at_line or 1}, "path": one_line(remark.path)},
            "severity": _SEVERITIES[remark.level],
        }
        for remark, fingerprint in _fingerprints(remarks)
    ]
    return document(found)


_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LINK = re.compile(r"\[(?=[^\]]*\]\()")
_PLACEHOLDER = re.compile(r"\{(\d+)\}")


def sarif(remarks: Sequence[Remark]) -> str:
    """One run with all remarks."""
    rules = sorted({remark.code for remark in remarks})
    run: dict[str, Any] = {
        "columnKind": "unicodeCodePoints",
        "results": [_result(remark, fingerprint, rules) for remark, fingerprint in _fingerprints(remarks)],
        "tool": {
            "driver": {
                "name": "seedream-jobs",
                "rules": [{"id": rule, "shortDescription": {"text": rule.replace("-", " ")}} for rule in rules],
                "semanticVersion": __version__,
            }
        },
    }
    return document({"$schema": _SCHEMA, "runs": [run], "version": "2.1.0"})


def _result(remark: Remark, fingerprint: str, rules: list[str]) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(remark.path)}}
    if remark.span is not None:
        start, end = remark.span.start, remark.span.end
        location["region"] = {
            "endColumn": end.column,
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
        "partialFingerprints": {"remark/v1": fingerprint},
        "ruleId": remark.code,
        "ruleIndex": rules.index(remark.code),
    }


def _message(text: str) -> str:
    # A viewer would make a link of [text](target) (section 3.11.6) and look up {0} as a placeholder (3.11.5).
    shown = one_line(text, 4_000)
    return _PLACEHOLDER.sub(r"{{\1}}", _LINK.sub(r"\\[", shown))


def _uri(path: str) -> str:
    """A relative reference."""
    # A path that begins with // would be read as a host.
    quoted = quote(path.encode("utf-8", "surrogatepass"), safe="/-._~+,=@")
    return f"./{quoted}" if path.startswith("//") else quoted


def xml(text: str) -> str:
    """``text`` for XML, as content or attribute; what XML can't hold is shown as an escape."""
    escaped = html.escape("\n".join(visible(line) for line in text.split("\n")), quote=True)
    # Last, because ``html.escape`` would escape the & of these references.
    return without_commands(escaped, lambda found: found.group().replace("##", "&#35;#").replace(":", "&#58;"))


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


def render_remarks(remarks: list[Remark], files: list[str], form: str) -> Iterator[str]:
    """Remarks as ``github``, ``gitlab``, ``sarif`` or ``junit``, in pieces that end their lines.

    :param files: all files that were checked, also those without a remark
    """
    match form:
        case "github":
            yield from (line + "\n" for line in workflow_commands(remarks))
        case "gitlab":
            yield code_quality(remarks)
        case "sarif":
            yield sarif(remarks)
        case "junit":
            paths = dict.fromkeys([*files, *(remark.path for remark in remarks)])
            yield junit({path: [one for one in remarks if one.path == path] for path in paths})
        case _:
            raise ValueError(form)
