"""What a reviewer's tool is told line by line: findings, and of a plan the causes of what would be submitted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from seedream_jobs.diagnostics import Diagnostic, Span, in_order
from seedream_jobs.errors import MoneyError
from seedream_jobs.plan.cost import money
from seedream_jobs.plan.diff import Action
from seedream_jobs.plan.document import JobDocument, PlanDocument
from seedream_jobs.report.text import plural

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One remark on a file.

    :param path: POSIX, relative to the campaign's root where that is known
    :param span: None where the file as a whole is meant
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


def remarks_on_plan(plan: PlanDocument) -> list[Remark]:
    """What a plan says of its files: budgets that do not bear it, warnings, doubts, and why there is something new."""
    return [remark for job in plan.jobs for remark in _job(plan, job)]


def _job(plan: PlanDocument, job: JobDocument) -> Iterator[Remark]:
    try:
        plan.hold_budgets(job)
    except MoneyError as error:
        yield Remark(level="error", code="over-budget", message=error.message, path=job.path, hint=error.hint)
    for warning in job.warnings:
        yield _finding(warning, job.path if warning.path == job.shown else warning.path)
    doubts, replays = job.count(Action.IN_DOUBT), job.count(Action.REPLAY)
    if doubts or replays:
        message = f"{plural(doubts + replays, 'submission')} of unknown outcome"
        message += f", of which {replays:,} will be replayed" if replays else ""
        hint = f"seedream-jobs resolve {job.shown}{plan.option}"
        yield Remark(level="warning", code="in-doubt", message=message, path=job.path, hint=hint)
    against = job.against
    for note in () if against is None else against.notes:
        yield Remark(level="note", code="base", message=note, path=job.path)
    for cause in job.causes if against is None else (*against.causes, *against.changed_causes):
        message = f"{plural(cause.requests, 'request')} to submit: {cause.text}"
        yield Remark(level="note", code="plan", message=message, path=job.path, line=_line(cause.place))
    if job.submit:
        message = (
            f"{plural(job.submit, 'request')} to submit, at most {plural(job.submit_images, 'image')}, "
            f"{money(plan.tariff.cost(job.submit_images))}"
        )
        yield Remark(level="note", code="plan", message=message, path=job.path)
    if against is not None and against.removed:
        message = f"{plural(against.removed, 'request')} removed, {against.removed_paid:,} of them in the manifest"
        yield Remark(level="note", code="plan", message=message, path=job.path)


def fingerprint(identity: str, number: int) -> str:
    """What a remark is known again by when its line has moved.

    :param number: which of several remarks of one identity it is, from 1
    """
    return hashlib.sha256(f"{identity}\n{number}".encode("utf-8", "surrogatepass")).hexdigest()


def _line(place: str) -> int | None:
    number = place.rpartition(":")[2]
    return int(number) if number.isdecimal() else None
