"""``seedream-jobs plan``."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from seedream_jobs.cli.options import only_jobs, request_options, target, target_options, view_options
from seedream_jobs.cli.rules import rule_options

if TYPE_CHECKING:
    from seedream_jobs.diagnostics import Diagnostic
    from seedream_jobs.pipeline import PlanOptions, Target
    from seedream_jobs.plan.document import PlanDocument
    from seedream_jobs.plan.jobs import JobsPlan
    from seedream_jobs.review import Revisions


@click.command()
@click.argument("jobs", nargs=-1, type=click.Path(path_type=Path), metavar="JOB…", callback=only_jobs)
@request_options
@rule_options
@target_options
@click.option(
    "--base",
    metavar="REV",
    help="Compare with this git revision, under its policy; without JOB, every job it concerns.",
)
@click.option("--head", metavar="REV", help="With --base: plan this revision.  [default: the work tree]")
@click.option(
    "--allow-manifest-additions", is_flag=True, help="With --base: manifests may claim payments the base does not know."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Save the plan for run: a .json file.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit code 3 if there is something to submit.")
@view_options
def plan(
    jobs: tuple[Path, ...],
    wanted: PlanOptions,
    policy: Path | None,
    ignore: tuple[str, ...],
    emulator: bool,
    base_url: str | None,
    base: str | None,
    head: str | None,
    allow_manifest_additions: bool,
    output: Path | None,
    detailed_exitcode: bool,
    form: str,
    concise: bool,
) -> int:
    """Show what would be submitted, why, and for how much.

    Needs no key and no network. Writes nothing, unless -o saves the plan: that also gives a job its manifest, whose
    id stands in the plan. Exit code 5 if a budget does not allow it.
    """
    from seedream_jobs.cli.output import show_findings, show_found, show_plan
    from seedream_jobs.cli.records import tell_in_use
    from seedream_jobs.errors import ExitCode, FindingsError

    where = target(emulator=emulator, base_url=base_url)
    if head is not None and base is None:
        raise click.UsageError("--head needs --base")
    if output is not None:
        from seedream_jobs.plan.saved import hold_place

        if wanted.replay is not None:
            raise click.UsageError("-o and --replay exclude each other: run JOB --replay shows its plan and asks")

        hold_place(output)
    with ExitStack() as stack:
        planned: JobsPlan | None
        try:
            if base is None:
                planned, document = _planned(jobs, where, wanted, policy, ignore)
            else:
                revisions = _revisions(jobs, where, wanted, base=base, head=head, stack=stack)
                planned, document = _between(revisions, jobs, where, wanted, policy, ignore, allow_manifest_additions)
        except FindingsError as error:
            if form == "text":
                raise
            show_found(error.diagnostics, list(map(str, jobs)), form)  # a reviewer's tool is shown them, too
            return ExitCode.FINDINGS
        if output is not None:
            document = _saved(document, planned, output, where)
        show_plan(document, form, concise=concise)
        if document.warnings:
            read = {part.job.shown: part.job.expansion.spec.document.text for part in (planned.jobs if planned else ())}
            show_findings(document.warnings, err=True, read=read)
        for part in planned.jobs if planned else ():
            tell_in_use(part.job.shown, part.ledger)
        document.hold_budgets()
    return ExitCode.CHANGES if detailed_exitcode and document.submit else ExitCode.OK


def _planned(
    jobs: tuple[Path, ...], where: Target, wanted: PlanOptions, policy: Path | None, ignore: tuple[str, ...]
) -> tuple[JobsPlan, PlanDocument]:
    from seedream_jobs import pipeline
    from seedream_jobs.cli.rules import rules
    from seedream_jobs.plan.drafting import document_of

    loaded = pipeline.load_all(jobs, target=where, sets=wanted.sets, rules=rules(policy, ignore))
    planned = pipeline.plan(loaded, target=where, asked=wanted)
    return planned, document_of(planned, origin=where.origin, options=wanted.recorded)


def _revisions(
    jobs: tuple[Path, ...], where: Target, wanted: PlanOptions, *, base: str, head: str | None, stack: ExitStack
) -> Revisions:
    from seedream_jobs.review import Revisions, repository_of

    repository = stack.enter_context(repository_of(jobs, here=Path.cwd(), environment=os.environ))
    return Revisions(repository, base=base, head=head, target=where, sets=wanted.sets, here=Path.cwd())


def _between(
    revisions: Revisions,
    jobs: tuple[Path, ...],
    where: Target,
    wanted: PlanOptions,
    policy: Path | None,
    ignore: tuple[str, ...],
    allow_manifest_additions: bool,
) -> tuple[JobsPlan | None, PlanDocument]:
    from seedream_jobs.cli.rules import rules
    from seedream_jobs.errors import FindingsError
    from seedream_jobs.review import review

    edits = revisions.manifest_edits(allow_additions=allow_manifest_additions)
    if any(finding.severity == "error" for finding in edits):
        raise FindingsError(edits)
    held = rules(policy, ignore, base=revisions.policy_of)
    found = review(revisions, jobs, target=where, asked=wanted, rules=held)
    return found.planned, _with_edits(found.document, edits, revisions)


def _with_edits(document: PlanDocument, edits: tuple[Diagnostic, ...], revisions: Revisions) -> PlanDocument:
    """The claims of payment that were allowed, beside each job's other warnings; those of no job are told apart."""
    from seedream_jobs.cli.output import show_findings

    of_job: dict[str, list[Diagnostic]] = {}
    for finding in edits:
        of_job.setdefault(finding.path, []).append(finding)
    records = {job.path: revisions.shown(PurePosixPath(job.record)) for job in document.jobs}
    jobs = tuple(replace(job, warnings=(*job.warnings, *of_job.pop(records[job.path], ()))) for job in document.jobs)
    rest = [finding for findings in of_job.values() for finding in findings]
    if rest:
        show_findings(rest, err=True)
    return replace(document, jobs=jobs)


def _saved(document: PlanDocument, planned: JobsPlan | None, file: Path, where: Target) -> PlanDocument:
    """Save the plan, and say how to run it."""
    from seedream_jobs.apply import with_manifests
    from seedream_jobs.plan.saved import save

    now = int(time.time())
    named = document if planned is None else with_manifests(document, planned, target=where, now=now)
    saved = save(named, file, made_at=now)
    option = " --emulator" if where.emulator else ""
    click.echo(f"Saved. After approval: seedream-jobs run {file}{option} --expect {saved.digest}", err=True)
    return saved
