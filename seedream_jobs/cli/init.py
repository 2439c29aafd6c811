"""``seedream-jobs init``."""

from __future__ import annotations

from pathlib import Path

import click

from seedream_jobs.cli.streams import say
from seedream_jobs.errors import UsageError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.scaffold import pieces


@click.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]")
def init(folder: Path) -> None:
    """Begin a campaign: a job that runs at once, a policy, a workflow, a hook.

    Writes into DIR (default: here) what is not there yet; a file that exists stays as it is. Needs no key and no
    network.

    \b
    Examples:
      seedream-jobs init
      seedream-jobs init garden-campaign
    """
    kept: list[str] = []
    try:
        for piece in pieces():
            file = folder / piece.path
            file.parent.mkdir(parents=True, exist_ok=True)
            if _write_new(file, piece.text):
                say(f"  new   {file}")
            else:
                kept.append(str(file))
    except OSError as error:
        raise UsageError(
            f"{error.filename or folder} can't be written: {error.strerror}", hint="name another folder"
        ) from None
    for name in kept:
        say(f"  kept  {name}")
    job = folder / "garden.yaml"
    say()
    say("Next:")
    if not any((place / ".git").exists() for place in (folder.absolute(), *folder.absolute().parents)):
        say(f"  git init {shell_word(folder)}")
    say(f"  seedream-jobs plan {shell_word(job)}")
    say(f"  seedream-jobs run {shell_word(job)} --emulator    # a rehearsal: no key, nothing is paid")


def _write_new(file: Path, text: str) -> bool:
    """Write a file that does not exist; False, and nothing, if it does (also as a link that leads nowhere)."""
    try:
        with file.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except FileExistsError:
        return False
    return True
