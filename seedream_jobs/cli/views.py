"""``--format`` and ``--concise``: a plan in one of its views, in GitHub Actions also as the step's summary."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seedream_jobs.cli.listeners import data_on_stdout

if TYPE_CHECKING:
    from seedream_jobs.diagnostics import Diagnostic
    from seedream_jobs.plan.document import PlanDocument

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("text", "json", "jsonl", "markdown", "github", "gitlab", "sarif", "junit")
"""As ``report.views`` has them; importing that takes longer than showing the help."""
SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"


def format_option(function: F) -> F:
    """``--format``."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default="text",
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)}.  [default: text]",
    )(function)


def view_options(function: F) -> F:
    """``--format`` and ``--concise``."""
    return format_option(click.option("--concise", is_flag=True, help="A line for each job.")(function))


def show_plan(document: PlanDocument, form: str, *, concise: bool) -> None:
    """Print a plan; with ``github`` the Markdown view is added to the step's summary, where there is one."""
    from seedream_jobs.cli.talk import flush_stdout
    from seedream_jobs.report.views import render_plan

    if form != "text":
        data_on_stdout()
    for piece in render_plan(document, form, concise=concise):
        click.echo(piece, nl=False)
    flush_stdout()
    if form == "github":
        from seedream_jobs.report.markdown import plan_markdown

        add_summary(plan_markdown(document))


def show_found(findings: Sequence[Diagnostic], files: list[str], form: str) -> None:
    """Print findings in a format other than text; with ``github`` also into the step's summary.

    :param files: all that were looked at, also those without findings
    """
    from seedream_jobs.cli.talk import flush_stdout
    from seedream_jobs.report.found import found_markdown, render_found

    data_on_stdout()
    for piece in render_found(findings, files, form):
        click.echo(piece, nl=False)
    flush_stdout()
    if form == "github" and findings:
        add_summary(found_markdown(findings))


def add_summary(markdown: str) -> None:
    """Add to the page of the workflow's run.

    :raises UsageError: the runner named a file that can't be written
    """
    from seedream_jobs.errors import UsageError

    named = os.environ.get(SUMMARY_VARIABLE)
    if not named:
        return
    try:
        with Path(named).open("a", encoding="utf-8") as file:
            file.write(markdown)
    except OSError as error:
        raise UsageError(f"{SUMMARY_VARIABLE} {named} can't be written: {error.strerror or error}") from None
