"""``seedream-jobs completion``."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    For bash: `seedream-jobs completion bash >> ~/.bashrc`.
    """
    from click.shell_completion import get_completion_class

    from seedream_jobs.cli import COMPLETE_VARIABLE, group

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(group, {}, "seedream-jobs", COMPLETE_VARIABLE).source())
