"""``seedream-jobs plan``."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath

import click

from seedream_jobs import pipeline
from seedream_jobs.cli.options import only_jobs, request_options, target, target_options, view_options
from seedream_jobs.cli.output import show_findings, show_found, show_in_use, show_plan
from seedream_jobs.cli.rules import rule_options, rules
from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import ExitCode, FindingsError
from seedream_jobs.plan.load import Target, load_jobs
from seedream_jobs.plan.options import PlanOptions
from seedream_jobs.plan.plan import Plan, check_budgets
from seedream_jobs.plan.review import Revisions
from seedream_jobs.plan.revisions import repository_of
from seedream_jobs.plan.saved import check_place, save
from seedream_jobs.records import with_manifests


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
    where = target(emulator=emulator, base_url=base_url)
    if head is not None and base is None:
        raise click.UsageError("--head needs --base")
    if output is not None:
        if wanted.replay is not None:
            raise click.UsageError("-o and --replay exclude each other: run JOB --replay shows its plan and asks")

        check_place(output)
    with ExitStack() as stack:
        try:
            if base is None:
                document = _planned(jobs, where, wanted, policy, ignore)
            else:
                revisions = _revisions(jobs, where, wanted, base=base, head=head, stack=stack)
                document = _between(revisions, jobs, where, wanted, policy, ignore, allow_manifest_additions)
        except FindingsError as error:
            if form == "text":
                raise
            show_found(error.diagnostics, list(map(str, jobs)), form)  # a reviewer's tool is shown them, too
            return ExitCode.FINDINGS
        if output is not None:
            document = _saved(document, output, where)
        show_plan(document, form, concise=concise)
        if document.warnings:
            read = {one.shown: one.job.expansion.spec.document.text for one in document.jobs if one.job is not None}
            show_findings(document.warnings, err=True, read=read)
        for one in document.jobs:
            if one.ledger is not None:
                show_in_use(one.shown, one.ledger)
        check_budgets(document)
    return ExitCode.CHANGES if detailed_exitcode and document.submit else ExitCode.OK


def _planned(
    jobs: tuple[Path, ...], where: Target, wanted: PlanOptions, policy: Path | None, ignore: tuple[str, ...]
) -> Plan:
    loaded = load_jobs(jobs, target=where, sets=wanted.sets, rules=rules(policy, ignore))
    return pipeline.plan(loaded, target=where, options=wanted)


def _revisions(
    jobs: tuple[Path, ...], where: Target, wanted: PlanOptions, *, base: str, head: str | None, stack: ExitStack
) -> Revisions:
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
) -> Plan:
    edits = revisions.manifest_edits(allow_additions=allow_manifest_additions)
    if any(finding.severity == "error" for finding in edits):
        raise FindingsError(edits)
    held = rules(policy, ignore, base=revisions.policy_of)
    found = pipeline.review(revisions, jobs, target=where, options=wanted, rules=held)
    return _with_edits(found, edits, revisions)


def _with_edits(document: Plan, edits: tuple[Diagnostic, ...], revisions: Revisions) -> Plan:
    """The claims of payment that were allowed, beside each job's other warnings; those of no job are told apart."""
    of_job: dict[str, list[Diagnostic]] = {}
    for finding in edits:
        of_job.setdefault(finding.path, []).append(finding)
    records = {job.path: revisions.shown(PurePosixPath(job.record)) for job in document.jobs}
    jobs = tuple(replace(job, warnings=(*job.warnings, *of_job.pop(records[job.path], ()))) for job in document.jobs)
    rest = [finding for findings in of_job.values() for finding in findings]
    if rest:
        show_findings(rest, err=True)
    return replace(document, jobs=jobs)


def _saved(document: Plan, file: Path, where: Target) -> Plan:
    """Save the plan, and say how to run it."""
    now = int(time.time())
    saved = save(with_manifests(document, target=where, now=now), file, made_at=now)
    option = " --emulator" if where.emulator else ""
    click.echo(f"Saved. After approval: seedream-jobs run {file}{option} --expect {saved.digest}", err=True)
    return saved
