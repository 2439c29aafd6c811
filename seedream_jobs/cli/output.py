"""This module prints plans, findings and statuses.

Called by the commands. Data goes to stdout, everything else to stderr; colours appear only on a terminal. In GitHub
Actions the Markdown is also added to the summary of the workflow's step. Invariant: ``validate`` imports it, so that
only what is rendered in another format than text imports ``report.formats``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seedream_jobs.cli.streams import (
    COLOURS,
    COMMANDS,
    data_on_stdout,
    fitting,
    has_colours,
    quiet,
    show,
    show_own,
    talk,
)
from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.errors import UsageError
from seedream_jobs.inside import OutsideRoot
from seedream_jobs.job.files import WorkTree, place_of
from seedream_jobs.report.findings import coloured_marks, render_findings

if TYPE_CHECKING:  # ``validate`` needs no ledger
    from seedream_jobs.ledger.ledger import Ledger
    from seedream_jobs.plans.plan import Plan
    from seedream_jobs.report.status import JobStatus

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
EXCERPT_FROM = 64 * 1024 * 1024
"""Bytes. No line is shown of a larger file, or of what is not a regular file."""


def show_plan(plan: Plan, form: str, *, concise: bool) -> None:
    """Print a plan; with ``github`` the Markdown is added to the step's summary, if there is one."""
    from seedream_jobs.report import formats

    _print(formats.render_plan(plan, form, concise=concise), form)
    if form == "github":
        add_summary("".join(formats.render_plan(plan, "markdown")))


def show_status(jobs: list[JobStatus], form: str) -> None:
    """Print the status of jobs."""
    from seedream_jobs.report import formats

    _print(formats.render_status(jobs, form), form)


def show_marked(text: str) -> None:
    """Print a plan or a status as text: on a terminal within its width, and with colours where it shows them."""
    text = fitting(text, sys.stdout)
    show_own(coloured_marks(text) if has_colours(sys.stdout) else text, COLOURS)
    sys.stdout.flush()  # so that it stands before what stderr says next


def show_findings(
    findings: Sequence[Diagnostic],
    *,
    err: bool,
    form: str = "text",
    files: list[str] | None = None,
    read: Mapping[str, str] | None = None,
) -> None:
    """Print findings; with ``github`` the Markdown is added to the step's summary, if there is one.

    :param err: on stderr; for text only
    :param files: all files that were checked, also those without findings
    :param read: the texts that were read, if they are not those on disk
    """
    if err and quiet():
        findings = [finding for finding in findings if finding.severity == "error"]
    findings, more = _shown(findings)
    if form == "text":
        if findings:
            _print_excerpts(findings, err=err, read=read or {})
        show_notes([f"and {more:,} more"] if more else [])
        return
    from seedream_jobs.report import formats

    _print(formats.render_found(findings, files or [], form), form)
    show_notes([f"and {more:,} more"] if more else [])
    if form == "github" and findings:
        add_summary("".join(formats.render_found(findings, files or [], "markdown")))


MAX_SHOWN = 200
"""Findings that are shown: errors before warnings, where there are more."""


def _shown(findings: Sequence[Diagnostic]) -> tuple[Sequence[Diagnostic], int]:
    """The findings that are shown, and how many others there are."""
    found = in_order(findings)
    if len(found) <= MAX_SHOWN:
        return findings, 0
    chosen = sorted(found, key=lambda finding: finding.severity != "error")[:MAX_SHOWN]
    return in_order(chosen), len(found) - MAX_SHOWN


def _print(pieces: Iterable[str], form: str) -> None:
    if form == "text":
        show_marked("".join(pieces))
        return
    data_on_stdout()
    for piece in pieces:
        if form == "github":
            show_own(piece, COMMANDS)
        else:
            show(piece)
    sys.stdout.flush()  # so that it stands before what stderr says next


def _print_excerpts(findings: Sequence[Diagnostic], *, err: bool, read: Mapping[str, str]) -> None:
    texts: dict[str, str] = dict(read)
    for name in {finding.path for finding in findings} | {one.path for found in findings for one in found.related}:
        if name in texts:
            continue
        try:
            root, path = place_of(Path(name))  # nothing is shown of what no job may read
            content = WorkTree(root).read(path, limit=EXCERPT_FROM + 1)  # one byte more tells that a file is too large
        except (OSError, OutsideRoot):
            continue
        if len(content) <= EXCERPT_FROM:
            texts[name] = content.decode("utf-8-sig", errors="replace")
    stream = sys.stderr if err else sys.stdout
    show_own(render_findings(findings, texts, color=has_colours(stream)), COLOURS, err=err)
    if stream.isatty():
        codes = {finding.code for finding in findings}
        code = min(codes) if len(codes) == 1 else "CODE"
        show(f"For more about {'it' if len(findings) == 1 else 'them'}: seedream-jobs explain {code}\n", err=err)
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
        talk(note)


def show_in_use(shown: str, ledger: Ledger) -> None:
    """Say that another process works on a job, so that what was read of it may change."""
    if ledger.held_by is not None:
        talk(f"{shown}: in use by {ledger.held_by}; this is its state now")
