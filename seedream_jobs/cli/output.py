"""This module prints plans, findings and statuses in the format that ``--format`` names.

Called by the commands. Data goes to stdout, everything else to stderr; colours appear only on a terminal. In GitHub
Actions the Markdown is also added to the summary of the workflow's step.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import click

from seedream_jobs.cli.streams import data_on_stdout
from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.errors import UsageError
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.plan.plan import Plan
from seedream_jobs.plan.saved import changes, encode
from seedream_jobs.report import json as as_json
from seedream_jobs.report.ci_formats import (
    remarks_on_findings,
    remarks_on_plan,
    remarks_on_status,
    render_remarks,
)
from seedream_jobs.report.findings import render_findings
from seedream_jobs.report.markdown import findings_comment, plan_markdown, status_markdown
from seedream_jobs.report.status import JobStatus, status_text
from seedream_jobs.report.text import plan_concise, plan_text

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
EXCERPT_FROM = 64 * 1024 * 1024
"""Bytes. No line is shown of a larger file, or of what is not a regular file."""


def render_plan(plan: Plan, form: str, *, concise: bool = False) -> Iterator[str]:
    """The plan in one of the formats, in pieces that end their lines.

    :param concise: a line for each job, where the format is text
    """
    match form:
        case "text":
            yield plan_concise(plan) if concise else plan_text(plan)
        case "json":
            yield as_json.document(encode(plan))
        case "jsonl":
            yield from as_json.lines(changes(plan))
        case "markdown":
            yield plan_markdown(plan)
        case _:
            yield from render_remarks(remarks_on_plan(plan), [job.path for job in plan.jobs], form)


def render_found(findings: Sequence[Diagnostic], files: list[str], form: str) -> Iterator[str]:
    """Findings in one of the formats other than text.

    :param files: all files that were checked, also those without findings
    """
    found = in_order(findings)
    match form:
        case "json":
            yield as_json.document({"files": files, "findings": [as_json.finding_fields(one) for one in found]})
        case "jsonl":
            yield from as_json.lines(map(as_json.finding_fields, found))
        case "markdown":
            yield findings_comment(found)
        case _:
            yield from render_remarks(remarks_on_findings(found), files, form)


def render_status(jobs: list[JobStatus], form: str) -> Iterator[str]:
    """The status of jobs in one of the formats."""
    match form:
        case "text":
            yield status_text(jobs)
        case "json":
            yield as_json.document([as_json.status_fields(one) for one in jobs])
        case "jsonl":
            yield from as_json.lines(map(as_json.status_fields, jobs))
        case "markdown":
            yield status_markdown(jobs)
        case _:
            remarks = [remark for one in jobs for remark in remarks_on_status(one)]
            yield from render_remarks(remarks, [one.job for one in jobs], form)


def show_plan(document: Plan, form: str, *, concise: bool) -> None:
    """Print a plan; with ``github`` the Markdown is added to the step's summary, where there is one."""
    _print(render_plan(document, form, concise=concise), form)
    if form == "github":
        add_summary(plan_markdown(document))


def show_found(findings: Sequence[Diagnostic], files: list[str], form: str) -> None:
    """Print findings in a format other than text; with ``github`` also into the step's summary.

    :param files: all files that were checked, also those without findings
    """
    _print(render_found(findings, files, form), form)
    if form == "github" and findings:
        add_summary(findings_comment(findings))


def show_status(jobs: list[JobStatus], form: str) -> None:
    """Print the status of jobs."""
    _print(render_status(jobs, form), form)


def _print(pieces: Iterable[str], form: str) -> None:
    if form != "text":
        data_on_stdout()
    for piece in pieces:
        click.echo(piece, nl=False)
    sys.stdout.flush()  # so that it stands before what stderr says next


def show_findings(diagnostics: Iterable[Diagnostic], *, err: bool, read: Mapping[str, str] | None = None) -> None:
    """Print findings as text, with excerpts of the files and a line of summary.

    :param read: the texts that were read, where they are not those on disk
    """
    found = list(diagnostics)
    texts: dict[str, str] = dict(read or {})
    for name in {diagnostic.path for diagnostic in found} | {one.path for d in found for one in d.related}:
        if name in texts:
            continue
        try:
            file = Path(name)
            if file.is_file() and file.stat().st_size <= EXCERPT_FROM:
                texts[name] = file.read_text(encoding="utf-8-sig", errors="replace")
        except OSError:
            continue
    stream = sys.stderr if err else sys.stdout
    color = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    click.echo(render_findings(found, texts, color=color), err=err, nl=False)
    sys.stdout.flush()


def add_summary(markdown: str) -> None:
    """Add to the page of the workflow's run.

    :raises UsageError: the runner named a file that can't be written
    """
    named = os.environ.get(SUMMARY_VARIABLE)
    if not named:
        return
    try:
        with Path(named).open("a", encoding="utf-8") as file:
            file.write(markdown)
    except OSError as error:
        raise UsageError(f"{SUMMARY_VARIABLE} {named} can't be written: {error.strerror or error}") from None


def show_notes(notes: Iterable[str]) -> None:
    """Print sentences on stderr, a line each."""
    for note in notes:
        click.echo(note, err=True)


def show_in_use(shown: str, ledger: Ledger) -> None:
    """Say that another process works on a job, so that what was read of it may change."""
    if ledger.held_by is not None:
        click.echo(f"{shown}: in use by {ledger.held_by}; this is its state now", err=True)
