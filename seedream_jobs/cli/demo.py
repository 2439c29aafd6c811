"""``seedream-jobs demo``: the packaged quickstart, run twice on the emulator."""

from __future__ import annotations

from pathlib import Path

import click

from seedream_jobs.cli.run import run
from seedream_jobs.cli.streams import say
from seedream_jobs.errors import UsageError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.resources import resource


@click.command()
@click.argument("folder", default="seedream-demo", type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]")
@click.pass_context
def demo(ctx: click.Context, folder: Path) -> int:
    """Run the packaged quickstart on the emulator: no key, no network, nothing is paid.

    Copies a job file to DIR (default seedream-demo), submits it, fetches the images, builds the gallery; then runs it
    again to show that nothing is left to submit.

    \b
    Examples:
      seedream-jobs demo
    """
    job = folder / "quickstart.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not job.exists():
            text = resource("examples", "quickstart.yaml").read_text(encoding="utf-8")
            schema = resource("schemas", "job.schema.json").as_uri()  # so that an editor helps in this folder, too
            job.write_text(text.replace("../schemas/job.schema.json", schema), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} can't be used: {error.strerror}", hint="name another folder") from None
    _step(f"seedream-jobs run {shell_word(job)} --emulator")
    first = ctx.invoke(run, jobs=(job,), emulator=True)
    _step(f"seedream-jobs run {shell_word(job)} --emulator   (again: what was submitted is not submitted twice)")
    second = ctx.invoke(run, jobs=(job,), emulator=True)
    say()
    say(f"Change {job} and run it again. With a key: export APIMART_API_KEY=…, then without --emulator.")
    return max(int(first or 0), int(second or 0))


def _step(command: str) -> None:
    say()
    say(f"$ {command}")
