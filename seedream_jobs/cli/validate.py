"""``seedream-jobs validate``."""

from __future__ import annotations

from pathlib import Path

import click

from seedream_jobs.cli.options import (
    FORMATS,
    format_option,
    jobs_argument,
    limit_options,
    rule_options,
    rules,
    set_option,
    today,
)
from seedream_jobs.cli.output import show_findings
from seedream_jobs.cli.streams import talk
from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.errors import ExitCode, FindingsError
from seedream_jobs.job.yaml_reader import read_named
from seedream_jobs.plans.load import EMULATOR, looks_like_job, validate_jobs
from seedream_jobs.plans.policy import POLICY_FILE, read_policy


@click.command()
@set_option
@rule_options
@click.option("--only-jobs", is_flag=True, help="Leave out files that are neither a job file nor policy.yaml.")
@format_option(*FORMATS)
@limit_options
@jobs_argument()
def validate(
    jobs: tuple[Path, ...],
    sets: tuple[tuple[str, str], ...],
    policy: Path | None,
    ignore: tuple[str, ...],
    only_jobs: bool,
    form: str,
) -> int:
    """Report every finding in job files, at once.

    Each has file:line:col, an excerpt, a stable code (docs/diagnostics.md) and the next step. The campaign's
    policy.yaml applies; name it to check it, too. Needs no key and no network. Exit code 1 if there are errors.

    \b
    Examples:
      seedream-jobs validate garden.yaml
      seedream-jobs validate policy.yaml *.yaml --format github
    """
    files, policies = _sort_out(jobs, only_jobs=only_jobs)
    findings, valid = _check_policies(policies)
    report = validate_jobs(files, target=EMULATOR, sets=dict(sets), rules=rules(policy, ignore))
    found = in_order([*findings, *report.findings])
    show_findings(found, err=False, form=form, files=[*map(str, files), *valid])
    for shown in valid:
        talk(f"{shown}: valid policy")
    for job, requests in report.valid:
        talk(f"{job}: valid, {requests:,} request{'' if requests == 1 else 's'}")
    return ExitCode.FINDINGS if any(finding.severity == "error" for finding in found) else ExitCode.OK


def _sort_out(files: tuple[Path, ...], *, only_jobs: bool) -> tuple[list[Path], list[Path]]:
    """The job files and the policies among the files.

    :param only_jobs: leave out files that are neither: a hook is given every YAML file of a commit
    """
    policies = [file for file in files if file.name == POLICY_FILE]
    jobs = [file for file in files if file.name != POLICY_FILE]
    if only_jobs:
        jobs = [file for file in jobs if looks_like_job(read_named(file, str(file)))]
    return jobs, policies


def _check_policies(policies: list[Path]) -> tuple[list[Diagnostic], list[str]]:
    """The findings, and the policies without errors."""
    found: list[Diagnostic] = []
    valid: list[str] = []
    for file in policies:
        try:
            found.extend(read_policy(read_named(file, str(file)), str(file), today=today()).warnings)
            valid.append(str(file))
        except FindingsError as error:
            found.extend(error.diagnostics)
    return found, valid
