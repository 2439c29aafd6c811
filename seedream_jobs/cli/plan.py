"""``seedream-jobs plan``, and ``show``, which shows a saved plan again."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath

import click

from seedream_jobs import pipeline
from seedream_jobs.cli.options import jobs_argument, limit_options, rule_options, rules, view_options
from seedream_jobs.cli.output import show_findings, show_in_use, show_notes, show_plan
from seedream_jobs.cli.service_options import request_options, target, target_options
from seedream_jobs.cli.streams import say
from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import ExitCode, FindingsError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.plans.load import Target, load_jobs
from seedream_jobs.plans.options import PlanOptions
from seedream_jobs.plans.plan import Plan, check_budgets
from seedream_jobs.plans.review import Revisions
from seedream_jobs.plans.revisions import repository_of
from seedream_jobs.plans.saved import check_place, read, save
from seedream_jobs.records import only_rehearsed, with_manifests


@click.command()
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
@click.option("--shared", is_flag=True, help="Ask the policy's shared: stores what others have claimed or paid.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit code 3 if there is something to submit.")
@view_options
@limit_options
@jobs_argument(required=False)
def plan(
    jobs: tuple[Path, ...],
    plan_options: PlanOptions,
    policy: Path | None,
    ignore: tuple[str, ...],
    emulator: bool,
    base_url: str | None,
    base: str | None,
    head: str | None,
    allow_manifest_additions: bool,
    output: Path | None,
    shared: bool,
    detailed_exitcode: bool,
    form: str,
    concise: bool,
) -> int:
    """Show what would be submitted, why, and for how much.

    Needs no key, and no network without --shared (or check: always in the policy's shared:). Writes nothing, unless -o
    saves the plan: that also gives a job its manifest, whose id stands in the plan. Exit code 5 if a budget does not
    allow it.

    \b
    Examples:
      seedream-jobs plan garden.yaml
      seedream-jobs plan garden.yaml -o plan.json
      seedream-jobs plan --base main
    """
    service = target(emulator=emulator, base_url=base_url)
    if head is not None and base is None:
        raise click.UsageError("--head needs --base")
    if output is not None:
        if plan_options.replay is not None:
            raise click.UsageError("-o and --replay exclude each other: run JOB --replay shows its plan and asks")
        check_place(output)
    with ExitStack() as stack:
        try:
            if base is None:
                checked = rules(policy, ignore)
                loaded = load_jobs(jobs, target=service, sets=plan_options.sets, rules=checked)
                made = pipeline.plan(loaded, target=service, options=plan_options, shared=shared)
            else:
                repository = stack.enter_context(repository_of(jobs, here=Path.cwd()))
                sets, here = plan_options.sets, Path.cwd()
                revisions = Revisions(repository, base=base, head=head, target=service, sets=sets, here=here)
                edits = revisions.record_edits(allow_additions=allow_manifest_additions)
                if any(finding.severity == "error" for finding in edits):
                    raise FindingsError(edits)
                checked = rules(policy, ignore, base=revisions.policy_of)
                made = pipeline.review(
                    revisions, jobs, target=service, options=plan_options, rules=checked, shared=shared
                )
                made = _with_edits(made, edits, revisions)
        except FindingsError as error:
            if form == "text":  # ``cli.failures`` shows it; any other format is a document on stdout
                raise
            show_findings(error.diagnostics, err=False, form=form, files=list(map(str, jobs)))
            return ExitCode.FINDINGS
        if output is not None:
            made = _save(made, output, service)
        show_plan(made, form, concise=concise)
        read_texts = {one.shown: one.job.expansion.spec.document.text for one in made.jobs if one.job is not None}
        show_findings(made.warnings, err=True, read=read_texts)
        show_notes(only_rehearsed(made))
        for one in made.jobs:
            if one.ledger is not None:
                show_in_use(one.shown, one.ledger)
        check_budgets(made)  # last: a plan that no budget allows is shown all the same
    return ExitCode.CHANGES if detailed_exitcode and made.submit else ExitCode.OK


def _with_edits(plan: Plan, edits: tuple[Diagnostic, ...], revisions: Revisions) -> Plan:
    """The plan with the claims of payment that were allowed, as warnings of their jobs; prints those of no job."""
    of_job: dict[str, list[Diagnostic]] = {}
    for finding in edits:
        of_job.setdefault(finding.path, []).append(finding)
    records = {job.path: revisions.shown(PurePosixPath(job.record)) for job in plan.jobs}
    jobs = tuple(replace(job, warnings=(*job.warnings, *of_job.pop(records[job.path], ()))) for job in plan.jobs)
    rest = [finding for findings in of_job.values() for finding in findings]
    if rest:
        show_findings(rest, err=True)
    return replace(plan, jobs=jobs)


def _save(plan: Plan, file: Path, target: Target) -> Plan:
    now = int(time.time())
    saved = save(with_manifests(plan, target=target, now=now), file, made_at=now)
    option = " --emulator" if target.emulator else ""
    say(f"Saved. After approval: seedream-jobs run {shell_word(file)}{option} --expect {saved.digest}", err=True)
    return saved


@click.command()
@click.argument("plan", type=click.Path(path_type=Path), metavar="PLAN")
@view_options
@limit_options
def show(plan: Path, form: str, concise: bool) -> int:
    """Show a saved plan (plan -o) again, in any format.

    Reads nothing but that file. Exit code 7 if it was edited after it was saved.

    \b
    Examples:
      seedream-jobs show plan.json
      seedream-jobs show plan.json --format markdown
    """
    show_plan(read(plan), form, concise=concise)
    return ExitCode.OK
