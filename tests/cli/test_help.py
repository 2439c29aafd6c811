"""What the command line says about itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
import pytest

from seedream_jobs import __version__
from seedream_jobs.cli.main import COMMANDS, group
from seedream_jobs.cli.schema import NAMES


def test_every_command_helps(quick: Callable[..., Any]) -> None:
    """The overview names each command with a sentence, on stdout."""
    ended = quick("--help")
    assert (ended.code, ended.err) == (0, "")
    for name, (_, sentence) in COMMANDS.items():
        assert name in ended.out
        assert sentence.endswith((".", "…"))
        assert sentence in " ".join(ended.out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    """Each command has a first sentence, and each of its options a help text."""
    with click.Context(group) as ctx:
        found = group.get_command(ctx, name)
        assert found is not None
        with click.Context(found, parent=ctx, info_name=name) as inner:
            assert found.get_short_help_str(200).endswith(".")
            assert found.get_help(inner).startswith("Usage:")
    commands = found.commands.values() if isinstance(found, click.Group) else [found]
    for one in commands:
        for option in one.params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.opts}"
                assert option.help.endswith((".", "]")), option.help


@pytest.mark.parametrize("name", ["manifest", "ratings", "shared"])
def test_the_overview_of_a_group_breaks_nothing_off(quick: Callable[..., Any], name: str) -> None:
    ended = quick(name, "--help")
    commands = ended.out.partition("Commands:")[2]
    assert (ended.code, bool(commands), "..." in commands) == (0, True, False), ended.out


def test_the_overview_says_what_the_commands_say() -> None:
    """The line in the overview is the first sentence of the command's own help, or the same in fewer words."""
    with click.Context(group) as ctx:
        for name, (_, sentence) in COMMANDS.items():
            found = group.get_command(ctx, name)
            assert found is not None
            first_word = sentence.split()[0]
            assert first_word in (found.help or ""), name


def test_version(quick: Callable[..., Any]) -> None:
    ended = quick("--version")
    assert (ended.code, ended.out) == (0, f"seedream-jobs, version {__version__}\n")


def test_no_command_shows_the_overview(quick: Callable[..., Any]) -> None:
    """A newcomer types the bare name: the help, as a usage error, without a second word about it."""
    ended = quick()
    assert ended.code == 2
    assert ended.err.startswith("Usage: seedream-jobs")
    assert ended.err.count("--help") == 1


def test_a_misspelt_command_is_recognised(quick: Callable[..., Any]) -> None:
    ended = quick("valdate", "garden.yaml")
    assert ended.code == 2
    assert "did you mean 'validate'?" in ended.err


def test_a_misspelt_option_is_recognised(quick: Callable[..., Any]) -> None:
    ended = quick("plan", "garden.yaml", "--budgets", "5")
    assert ended.code == 2
    assert "--budget" in ended.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(quick: Callable[..., Any], shell: str) -> None:
    """Each shell's script calls back into the program."""
    ended = quick("completion", shell)
    assert ended.code == 0
    assert "_SEEDREAM_JOBS_COMPLETE" in ended.out


def test_completion_completes(command: Callable[..., Any]) -> None:
    """As bash asks for it: commands, then a command's options."""
    names = command(COMP_WORDS="seedream-jobs va", COMP_CWORD="1", _SEEDREAM_JOBS_COMPLETE="bash_complete")
    assert names.out == "plain,validate\n"
    options = command(COMP_WORDS="seedream-jobs plan --bu", COMP_CWORD="2", _SEEDREAM_JOBS_COMPLETE="bash_complete")
    assert options.out == "plain,--budget\n"


def test_every_schema_is_printed(quick: Callable[..., Any]) -> None:
    """By its name; each is draft-07 JSON."""
    for name in NAMES:
        ended = quick("schema", name)
        assert (ended.code, json.loads(ended.out)["$schema"]) == (0, "http://json-schema.org/draft-07/schema#")
