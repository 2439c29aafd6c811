"""Every view of a plan by its name: what ``--format`` chooses from."""

from __future__ import annotations

from collections.abc import Iterator

from seedream_jobs import __version__
from seedream_jobs.plan.document import PlanDocument
from seedream_jobs.report.remarks import Remark, remarks_on_plan

FORMATS = ("text", "json", "jsonl", "markdown", "github", "gitlab", "sarif", "junit")


def render_plan(plan: PlanDocument, form: str, *, concise: bool = False) -> Iterator[str]:
    """The plan in one of ``FORMATS``, in pieces that end their lines.

    :param concise: a line for each job, where the form is text
    """
    match form:
        case "text" if concise:
            from seedream_jobs.report.concise import plan_concise

            yield plan_concise(plan)
        case "text":
            from seedream_jobs.report.text import plan_text

            yield plan_text(plan)
        case "json":
            from seedream_jobs.report.json import plan_json

            yield plan_json(plan)
        case "jsonl":
            from seedream_jobs.report.json import plan_jsonl

            yield from (line + "\n" for line in plan_jsonl(plan))
        case "markdown":
            from seedream_jobs.report.markdown import plan_markdown

            yield plan_markdown(plan)
        case _:
            yield from render_remarks(remarks_on_plan(plan), [job.path for job in plan.jobs], form)


def render_remarks(remarks: list[Remark], files: list[str], form: str) -> Iterator[str]:
    """Remarks as ``github``, ``gitlab``, ``sarif`` or ``junit``.

    :param files: all that were looked at, also those without a remark
    """
    from seedream_jobs.report import github, gitlab, junit, sarif

    match form:
        case "github":
            yield from (line + "\n" for line in github.workflow_commands(remarks))
        case "gitlab":
            yield gitlab.code_quality(remarks)
        case "sarif":
            yield sarif.sarif(remarks, version=__version__)
        case "junit":
            paths = dict.fromkeys([*files, *(remark.path for remark in remarks)])
            yield junit.junit({path: [one for one in remarks if one.path == path] for path in paths})
        case _:
            raise ValueError(form)
