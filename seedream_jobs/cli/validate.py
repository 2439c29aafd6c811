"""``seedream-jobs validate``."""

from __future__ import annotations

from pathlib import Path

import click

from seedream_jobs.cli.options import jobs_argument, set_option


@click.command()
@jobs_argument
@set_option
def validate(jobs: tuple[Path, ...], sets: tuple[tuple[str, str], ...]) -> int:
    """Report every finding in job files, at once.

    Each stands with file:line:col, an excerpt, a stable code (docs/diagnostics.md) and the next step. Needs no key
    and no network. Exit code 1 if there are errors.
    """
    from seedream_jobs.cli.talk import flush_stdout, show_findings
    from seedream_jobs.errors import ExitCode
    from seedream_jobs.pipeline import EMULATOR_ORIGIN, Target, validate_all

    report = validate_all(jobs, target=Target(origin=EMULATOR_ORIGIN, emulator=True), sets=dict(sets))
    if report.findings:
        show_findings(report.findings, err=False)
        flush_stdout()
    for job, requests in report.valid:
        click.echo(f"{job}: valid, {requests:,} request{'' if requests == 1 else 's'}", err=True)
    return ExitCode.FINDINGS if report.errors else ExitCode.OK
