"""The command line: commands are imported when they are called, and every ending becomes an exit code and one line."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from seedream_jobs import __version__
from seedream_jobs.cli.streams import open_standard_streams, unheard
from seedream_jobs.errors import ExitCode, FindingsError, SeedreamError, gravest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init:init", "Begin a campaign: a job that runs at once, a policy, a workflow, a hook."),
    "demo": ("demo:demo", "Run the packaged quickstart on the emulator: no key, no network."),
    "validate": ("validate:validate", "Report every finding in job files, at once, with file:line:col."),
    "expand": ("expand:expand", "List the requests a job file makes."),
    "plan": ("plan:plan", "Show what would be submitted, why, and for how much."),
    "show": ("show:show", "Show a saved plan again, in any format."),
    "run": ("run:run", "Submit, poll, download and build the gallery."),
    "status": ("status:status", "Poll open tasks once, and show where every request stands."),
    "fetch": ("fetch:fetch", "Poll open tasks and download what is done."),
    "resolve": ("resolve:resolve", "Settle submissions whose outcome nobody knows."),
    "gallery": ("gallery:gallery", "Build the page of a job's images."),
    "export": ("export:export", "Write a job's images as a table or a data set."),
    "ratings": ("ratings:ratings", "Take ratings from the gallery into the campaign."),
    "emulator": ("emulator:emulator", "The service's twin on a loopback port, with faults on demand."),
    "schema": ("schema:schema", "Print a JSON Schema: job, request, manifest, model …"),
    "doctor": ("doctor:doctor", "Check key, endpoint, campaign and installation."),
    "completion": ("completion:completion", "Print the completion script for a shell."),
}
"""Command name to (module below ``cli`` and function, one line for the overview), in the order of the work."""


NEVER_FROM_ENVIRONMENT = (
    "yes",
    "budget",
    "help",
    "base-url",
    "again",
    "replay",
    "not-charged",
    "abandon",
    "accepted",
    "import",
)
"""Options that only a command line gives. A budget in the environment holds beside ``--budget`` (``cli.options`` reads
it); the base URL's variable is ``APIMART_BASE_URL``."""

COMPLETE_VARIABLE = "_SEEDREAM_JOBS_COMPLETE"
"""Set by a shell that completes a command line; click's name for it."""


class LazyGroup(click.Group):
    """A group whose commands' modules are imported only when one of them is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        module, name = found[0].split(":")
        command: click.Command = getattr(importlib.import_module(f"seedream_jobs.cli.{module}"), name)
        return _from_environment(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from seedream_jobs.diagnostics import closest

            near = closest(args[0], COMMANDS)
            hint = f"did you mean {near!r}?" if near else "seedream-jobs --help lists the commands"
            raise click.UsageError(f"no such command: {args[0]!r}; {hint}", ctx=ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing and not {"--help", "-h"} & set(rest):
            _hold_variables(command)
        return name, command, rest

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names from the table: a shell asks at every press of the key, and no command need be imported for it."""
        from click.shell_completion import CompletionItem

        if not incomplete or incomplete[:1].isalpha():
            return [
                CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)
            ]
        return super().shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _hold_variables(command: click.Command) -> None:
    """Refuse a blank variable where a blank option is refused: in CI an undefined one arrives so, and a limit, a
    budget or an approval digest that is set and empty must not be none.

    :raises UsageError: naming the variable
    """
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or parameter.is_flag or parameter.count:
            continue
        variable = "SEEDREAM_JOBS_BUDGET" if "--budget" in parameter.opts else parameter.envvar
        if isinstance(variable, str) and not os.environ.get(variable, "set").strip():
            raise click.UsageError(f"{variable} is empty: give it a value, or unset it")


def _from_environment(command: click.Command) -> click.Command:
    """Options also come from ``SEEDREAM_JOBS_<OPTION>``, but for consent, and for what holds *beside* the option."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.envvar:
            flag = max(parameter.opts, key=len).lstrip("-")
            if flag not in NEVER_FROM_ENVIRONMENT:
                parameter.envvar = f"SEEDREAM_JOBS_{flag.upper().replace('-', '_')}"
    return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="seedream-jobs")
@click.option("-v", "--verbose", count=True, help="Show each step with its time; twice, its details, too.")
@click.option("--log-file", metavar="FILE", help="Append each step with its time, and its details, to a file.")
@click.pass_context
def group(ctx: click.Context, verbose: int, log_file: str | None) -> None:
    """YAML job files become paid, asynchronous image requests, each submitted once and kept on record.

    Begin with `seedream-jobs demo`: it needs no key and no network.
    """
    if verbose or log_file is not None:
        from seedream_jobs.cli.logs import start

        start(verbose, log_file, ctx.obj)


def main(arguments: list[str]) -> int:
    """Run one command line, or answer the shell that completes one; its exit code, once everything said is written."""
    open_standard_streams()
    asked = os.environ.get(COMPLETE_VARIABLE)
    with unheard("stderr"):
        try:
            code = _complete(asked) if asked else run_command(arguments)
        except OSError:  # not even the complaint could be written
            code = ExitCode.LEDGER
        with suppress(OSError):
            sys.stderr.flush()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # whoever read it has left
    except OSError as error:
        with suppress(OSError):
            _failed(error)
        code = gravest([ExitCode(code), ExitCode.LEDGER])
    return code


def _complete(instruction: str) -> int:
    """Answer a shell that completes a command line (the script of ``seedream-jobs completion`` asks)."""
    from click.shell_completion import shell_complete

    return shell_complete(group, {}, "seedream-jobs", COMPLETE_VARIABLE, instruction)


def run_command(arguments: list[str]) -> int:
    """Run one command line; every ending becomes an exit code, and a refusal one line with the next step."""
    code = _ended(arguments)
    if LOGS in sys.modules:
        sys.modules[LOGS].stop(code)
    return code


LOGS = "seedream_jobs.cli.logs"
"""Imported where ``-v`` or ``--log-file`` is given, and only there: without them there is nothing to end."""


def _ended(arguments: list[str]) -> int:
    try:
        with group.make_context("seedream-jobs", list(arguments), obj=tuple(arguments)) as ctx:
            result = group.invoke(ctx)
            return int(result) if isinstance(result, int) else 0
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.Abort:
        click.echo("Aborted.", err=True)
        return ExitCode.SIGINT
    except click.UsageError as error:
        _usage(error)
        return ExitCode.USAGE
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        return ExitCode.USAGE
    except FindingsError as error:
        from seedream_jobs.cli.output import show_findings

        show_findings(error.diagnostics, err=True)
        return ExitCode.FINDINGS
    except SeedreamError as error:
        _refusal(error)
        return error.exit_code
    except BrokenPipeError:
        return ExitCode.OK
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        return ExitCode.SIGINT
    except OSError as error:
        if error.errno == errno.ENOENT and _homeless():
            click.echo("error: the current folder is gone", err=True)
            click.echo("  change to a folder that is there", err=True)
            return ExitCode.USAGE
        if error.errno == errno.ENAMETOOLONG:
            click.echo(f"error: {_cut(str(error.filename or 'a name'))}: the name is too long", err=True)
            click.echo("  check the path", err=True)
            return ExitCode.USAGE
        return _failed(error) if error.errno in _DISK else _bug(error, arguments)
    except Exception as error:  # a mistake of ours: one line, the traceback only where it is asked for
        return _bug(error, arguments)


def _homeless() -> bool:
    try:
        os.getcwd()  # noqa: PTH109  (Path.cwd is the same call)
    except FileNotFoundError:
        return True
    return False


def _usage(error: click.UsageError) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return
    command = error.ctx.command_path if error.ctx else "seedream-jobs"
    click.echo(f"error: {_cut(error.format_message())}", err=True)
    click.echo(f"  {command} --help", err=True)


def _refusal(error: SeedreamError) -> None:
    if LOGS in sys.modules:
        sys.modules[LOGS].LOG.error("%s", error.message)
    click.echo(f"error: {_cut(error.message)}", err=True)
    if error.hint:
        click.echo(f"  {_cut(error.hint)}", err=True)


def _cut(text: str) -> str:
    """A message with a word in it that no path can be is somebody's slip: its beginning and end say which."""
    if len(text) <= _LONGEST_PATH:
        return text
    import re

    return re.sub(rf"\S{{{_LONGEST_PATH},}}", lambda word: f"{word[0][:80]}…{word[0][-20:]}", text)


_LONGEST_PATH = 4096


_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""What a disk says when it takes no more: nobody's mistake."""


def _failed(error: OSError) -> ExitCode:
    click.echo(f"error: {error.filename or 'the output'} could not be written: {error.strerror}", err=True)
    click.echo("  make room, then run the same command again", err=True)
    return ExitCode.LEDGER


def _bug(error: Exception, arguments: list[str]) -> ExitCode:
    import traceback

    from seedream_jobs.api.credentials import KEY_VARIABLE, keep_out, without_keys

    keep_out(os.environ.get(KEY_VARIABLE, "").strip())
    text = without_keys("".join(traceback.format_exception(error)))
    if LOGS in sys.modules:
        sys.modules[LOGS].LOG.error("a mistake in seedream-jobs", exc_info=error)
    if any(argument.startswith("-vv") for argument in arguments) or arguments.count("-v") > 1:
        click.echo(text, err=True)
    click.echo(
        without_keys(f"error: a mistake in seedream-jobs {__version__}: {type(error).__name__}: {error}"), err=True
    )
    for note in getattr(error, "__notes__", ()):
        click.echo(without_keys(f"  {note}"), err=True)
    click.echo(
        "  Please report it with what `seedream-jobs -vv …` prints. The record of what was sent is safe.", err=True
    )
    return ExitCode.BUG
