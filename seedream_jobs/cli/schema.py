"""``seedream-jobs schema``."""

from __future__ import annotations

import click

from seedream_jobs.cli.streams import data_on_stdout, show
from seedream_jobs.errors import UsageError
from seedream_jobs.resources import resource

NAMES = ("job", "request", "manifest", "plan", "model", "ratings", "policy")


@click.command()
@click.argument("name", type=click.Choice(NAMES), default="job")
def schema(name: str) -> None:
    """Print a JSON Schema (draft-07).

    For an editor, begin a job file with the line
    `# yaml-language-server: $schema=PATH/job.schema.json`.

    \b
    Examples:
      seedream-jobs schema
      seedream-jobs schema policy
    """
    try:
        data_on_stdout()
        show(resource("schemas", f"{name}.schema.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"this installation has no schema {name!r}", hint="install seedream-jobs again") from None
