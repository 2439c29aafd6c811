"""This module renders plans, findings and statuses in the format that ``--format`` names.

Called by ``cli.output``. Invariant: each piece of text ends its line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.plans.plan import Plan
from seedream_jobs.plans.saved import changes, encode
from seedream_jobs.report import json as as_json
from seedream_jobs.report.ci_formats import (
    Remark,
    remarks_on_findings,
    remarks_on_plan,
    remarks_on_status,
    render_remarks,
)
from seedream_jobs.report.markdown import findings_comment, plan_markdown, status_markdown
from seedream_jobs.report.status import JobStatus, status_text
from seedream_jobs.report.text import plan_concise, plan_text


def render_plan(plan: Plan, form: str, *, concise: bool = False) -> Iterator[str]:
    """A plan.

    :param concise: a line for each job, if the format is text
    """
    return _render(
        form,
        text=lambda: plan_concise(plan) if concise else plan_text(plan),
        json=lambda: as_json.document(encode(plan)),
        jsonl=lambda: as_json.lines(changes(plan)),
        markdown=lambda: plan_markdown(plan),
        remarks=lambda: remarks_on_plan(plan),
        files=[job.path for job in plan.jobs],
    )


def render_found(findings: Sequence[Diagnostic], files: list[str], form: str) -> Iterator[str]:
    """Findings, in a format other than text.

    :param files: all files that were checked, also those without findings
    """
    found = in_order(findings)
    return _render(
        form,
        json=lambda: as_json.document({"files": files, "findings": list(map(as_json.finding_fields, found))}),
        jsonl=lambda: as_json.lines(map(as_json.finding_fields, found)),
        markdown=lambda: findings_comment(found),
        remarks=lambda: remarks_on_findings(found),
        files=files,
    )


def render_status(jobs: list[JobStatus], form: str) -> Iterator[str]:
    """The status of jobs."""
    return _render(
        form,
        text=lambda: status_text(jobs),
        json=lambda: as_json.document(list(map(as_json.status_fields, jobs))),
        jsonl=lambda: as_json.lines(map(as_json.status_fields, jobs)),
        markdown=lambda: status_markdown(jobs),
        remarks=lambda: [remark for job in jobs for remark in remarks_on_status(job)],
        files=[job.job for job in jobs],
    )


def _render(
    form: str,
    *,
    text: Callable[[], str] = str,  # none for findings: ``report.findings`` shows them, with their files' lines
    json: Callable[[], str],
    jsonl: Callable[[], Iterable[str]],
    markdown: Callable[[], str],
    remarks: Callable[[], list[Remark]],
    files: list[str],
) -> Iterator[str]:
    """The one switch: only what the format needs is made, since a plan may have a million requests."""
    match form:
        case "text":
            yield text()
        case "json":
            yield json()
        case "jsonl":
            yield from jsonl()
        case "markdown":
            yield markdown()
        case _:
            yield from render_remarks(remarks(), files, form)
