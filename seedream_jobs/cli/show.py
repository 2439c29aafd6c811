"""``seedream-jobs show``."""

from __future__ import annotations

from pathlib import Path

import click

from seedream_jobs.cli.options import view_options


@click.command()
@click.argument("plan", type=click.Path(path_type=Path), metavar="PLAN")
@view_options
def show(plan: Path, form: str, concise: bool) -> int:
    """Show a saved plan (plan -o) again, in any format.

    Reads nothing but that file. Exit code 7 if it was edited after it was saved.
    """
    from seedream_jobs.cli.output import show_plan
    from seedream_jobs.errors import ExitCode
    from seedream_jobs.plan.saved import read

    show_plan(read(plan), form, concise=concise)
    return ExitCode.OK
