"""``seedream-jobs validate``."""

from __future__ import annotations

from pathlib import Path

import click

from seedream_jobs.cli.options import format_option, jobs_argument, set_option
from seedream_jobs.cli.rules import rule_options


@click.command()
@jobs_argument
@set_option
@rule_options
@click.option("--only-jobs", is_flag=True, help="Leave out files that are neither a job file nor policy.yaml.")
@format_option
def validate(
    jobs: tuple[Path, ...],
    sets: tuple[tuple[str, str], ...],
    policy: Path | None,
    ignore: tuple[str, ...],
    only_jobs: bool,
    form: str,
) -> int:
    """Report every finding in job files, at once.

    Each stands with file:line:col, an excerpt, a stable code (docs/diagnostics.md) and the next step. The campaign's
    policy.yaml holds, and is checked itself where it is named. Needs no key and no network. Exit code 1 if there are
    errors.
    """
    from seedream_jobs.cli.output import show_findings, show_found
    from seedream_jobs.cli.rules import policies_among, rules
    from seedream_jobs.diagnostics import in_order
    from seedream_jobs.errors import ExitCode
    from seedream_jobs.plan.load import EMULATOR_ORIGIN, Target, validate_jobs

    files, found, valid = policies_among(jobs, only_jobs=only_jobs)
    held = rules(policy, ignore)
    report = validate_jobs(files, target=Target(origin=EMULATOR_ORIGIN, emulator=True), sets=dict(sets), rules=held)
    findings = in_order([*found, *report.findings])
    if form != "text":
        show_found(findings, [*map(str, files), *valid], form)
    elif findings:
        show_findings(findings, err=False)
    for shown in valid:
        click.echo(f"{shown}: valid policy", err=True)
    for job, requests in report.valid:
        click.echo(f"{job}: valid, {requests:,} request{'' if requests == 1 else 's'}", err=True)
    return ExitCode.FINDINGS if any(finding.severity == "error" for finding in findings) else ExitCode.OK
