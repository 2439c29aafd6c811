"""This module is the command line: it finds the command, imports its module, and ends the process with its exit code.

Called by ``python -m seedream_jobs`` and by the installed script. Invariant: ``--help`` and the tab key import
click and nothing else; a command's own imports are at the top of its file.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
from contextlib import suppress

import click
from click.shell_completion import CompletionItem, add_completion_class, get_completion_class, shell_complete

from seedream_jobs import __version__
from seedream_jobs.cli.streams import (
    LOGS,
    be_quiet,
    doors,
    flush_at_last,
    open_standard_streams,
    say,
    show,
    tell_end,
    unheard,
)
from seedream_jobs.errors import ExitCode, gravest

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("cli.init:init", "Begin a campaign: a job that runs at once, a policy, a workflow, a hook."),
    "demo": ("cli.demo:demo", "Run the packaged quickstart on the emulator: no key, no network."),
    "validate": ("cli.validate:validate", "Report every finding in job files, at once, with file:line:col."),
    "expand": ("cli.expand:expand", "List the requests a job file makes."),
    "plan": ("cli.plan:plan", "Show what would be submitted, why, and for how much."),
    "show": ("cli.plan:show", "Show a saved plan again, in any format."),
    "run": ("cli.run:run", "Submit, poll, download and build the gallery."),
    "status": ("cli.status:status", "Poll open tasks once, and show the state of every request."),
    "fetch": ("cli.fetch:fetch", "Poll open tasks and download what is done."),
    "collect": ("cli.collect:collect", "Merge the records of shards, which several machines fetched."),
    "resolve": ("cli.resolve:resolve", "Settle submissions whose outcome nobody knows."),
    "manifest": ("cli.manifest:manifest", "Split a job's record into several files, or join them."),
    "pull": ("cli.pull:pull", "Bring images back from the store that the policy names."),
    "gallery": ("cli.gallery:gallery", "Build the page of a job's images."),
    "compare": ("cli.compare:compare", "Show what a change does to the images, for a pull request."),
    "cost": ("cli.cost:cost", "Show what a campaign has cost, by job, axis value, month or model."),
    "export": ("cli.export:export", "Write a job's images as a table or a data set."),
    "choose": ("cli.choose:choose", "Merge which images were chosen and rejected, for review."),
    "ratings": ("cli.ratings:ratings", "Take ratings from the gallery into the campaign."),
    "emulator": ("emulator.__main__:emulator", "The service's twin on a loopback port, with faults on demand."),
    "schema": ("cli.schema:schema", "Print a JSON Schema: job, request, manifest, model …"),
    "explain": ("cli.explain:explain", "Print what a finding or an exit code means, and what to do."),
    "doctor": ("cli.doctor:doctor", "Check key, endpoint, campaign and installation."),
    "shared": ("cli.shared:shared", "Prepare the store in which runners share what they claim, or take a lock."),
    "completion": ("cli.main:completion", "Print the completion script for a shell."),
}
"""Command name to (module and function, one line for the overview), in the order of the work."""

NEVER_FROM_ENVIRONMENT = (
    "yes",
    "budget",
    "help",
    "base-url",
    "again",
    "rejected",
    "replay",
    "not-charged",
    "abandon",
    "accepted",
    "import",
)
"""Options that have no variable ``SEEDREAM_JOBS_<OPTION>``: consent must be given each time. A budget in the
environment applies in addition to ``--budget``; the base URL's variable is ``APIMART_BASE_URL``."""

KEYS = ("APIMART_API_KEY", "APIMART_API_KEY_FILE")
"""Variables that a worker does not get. Spelled out here: ``api.credentials`` is not imported for ``--help``."""

COMPLETE_VARIABLE = "_SEEDREAM_JOBS_COMPLETE"
"""Set by a shell that completes a command line; click's name for it."""


CONFINED = frozenset(
    {
        "validate",
        "expand",
        "plan",
        "show",
        "pull",
        "gallery",
        "compare",
        "cost",
        "export",
        "choose",
        "ratings",
        "collect",
    }
)
"""The commands that need no key: where the process is theirs, they run in a worker under limits."""

_PROCESS = "seedream_jobs.process"
"""In a context's ``meta``: the process was started for this command line, so that it may be split."""


class LazyGroup(click.Group):
    """A group whose commands' modules are imported only when one of them is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        module, name = found[0].split(":")
        command: click.Command = getattr(importlib.import_module(f"seedream_jobs.{module}"), name)
        return _with_variables(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from seedream_jobs.diagnostics import did_you_mean

            hint = did_you_mean(args[0], COMMANDS, "seedream-jobs --help lists the commands")
            raise click.UsageError(f"no such command: {args[0]!r}; {hint}", ctx=ctx)
        if ctx.meta.get(_PROCESS) and args and args[0] in CONFINED and not {"--help", "-h"} & set(args):
            _confine()  # before the command's modules are imported: what is forked is small, and so is what waits
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing and not {"--help", "-h"} & set(rest):
            _check_variables(command)
            _check_arguments(command, rest)
        return name, command, rest

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names from the table: a shell asks at every press of the key, and no command need be imported for it."""
        if not incomplete or incomplete[:1].isalpha():
            return [
                CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)
            ]
        return super().shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _confine() -> None:
    """Go on in a worker; in the process that waits for it, end as it ended.

    :raises Exit: in the process that waits
    """
    from seedream_jobs import confinement

    if not confinement.POSSIBLE:
        return
    ended = confinement.split(KEYS)
    if ended is None:
        return
    if ended.cause is not None:
        from seedream_jobs.cli.failures import show_exhausted

        raise click.exceptions.Exit(show_exhausted(ended))
    raise click.exceptions.Exit(ended.code)


def _check_variables(command: click.Command) -> None:
    # In CI an undefined variable arrives empty. A limit, a budget or an approval digest that is empty must not be none.
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or parameter.is_flag or parameter.count:
            continue
        variable = "SEEDREAM_JOBS_BUDGET" if "--budget" in parameter.opts else parameter.envvar
        if isinstance(variable, str) and not os.environ.get(variable, "set").strip():
            raise click.UsageError(f"{variable} is empty: give it a value, or unset it")


def _check_arguments(command: click.Command, arguments: list[str]) -> None:
    # As a path the empty text is the current folder: `run "$JOB" --yes` would pay for all jobs in it.
    valued = {name for option in command.params if not getattr(option, "is_flag", True) for name in option.opts}
    before = ["", *arguments]
    if any(not argument and before[n] not in valued for n, argument in enumerate(arguments)):
        raise click.UsageError("an argument is empty: is a variable of the shell not set?")


def _with_variables(command: click.Command) -> click.Command:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.envvar:
            flag = max(parameter.opts, key=len).lstrip("-")
            if flag not in NEVER_FROM_ENVIRONMENT:
                parameter.envvar = f"SEEDREAM_JOBS_{flag.upper().replace('-', '_')}"
    return command


def _change_folder(ctx: click.Context, param: click.Parameter, folders: tuple[str, ...]) -> None:
    for folder in folders:  # each as seen from the one before, as git does it
        try:
            os.chdir(folder)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no folder has such a name"
            raise click.UsageError(f"-C {folder}: {reason}", ctx=ctx) from None


# Eager: before any other option or argument is looked at, also where a shell completes the line.
@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-C",
    "--directory",
    multiple=True,
    is_eager=True,
    expose_value=False,
    type=click.Path(file_okay=False),
    callback=_change_folder,
    metavar="DIR",
    help="Work as if started in DIR: every path is seen from there.",
)
@click.version_option(__version__, prog_name="seedream-jobs")
@click.option("-q", "--quiet", is_flag=True, callback=be_quiet, help="Show only errors and the result.")
@click.option("-v", "--verbose", count=True, help="Show each step with its time; twice, its details, too.")
@click.option("--log-file", metavar="FILE", help="Append each step with its time, and its details, to a file.")
@click.pass_context
def group(ctx: click.Context, quiet: bool, verbose: int, log_file: str | None) -> None:
    """YAML job files become paid, asynchronous image requests, each submitted once and kept on record.

    Begin with `seedream-jobs demo`: it needs no key and no network.
    """
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other")
    if verbose or log_file is not None:
        logs = importlib.import_module(LOGS)
        logs.start(verbose, log_file, ctx.obj)


def _ended_by(error: BaseException, arguments: list[str]) -> int:
    from seedream_jobs import confinement  # loaded already where there is a worker: its memory may be at an end

    if _is_of_memory(error):
        error.__traceback__ = None  # its frames hold what filled the memory
        if confinement.say_memory_ran_out():
            return ExitCode.FINDINGS
    from seedream_jobs.cli import failures  # most commands end well, and need none of it

    return failures.show_memory_ran_out() if _is_of_memory(error) else failures.show_failure(error, arguments)


def _is_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; not all code that asks for it says so by ``MemoryError``."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    of_system = isinstance(error, RuntimeError | ImportError) and any(word in str(error) for word in _OF_MEMORY)
    return of_system or isinstance(error, MemoryError)


_OF_MEMORY = ("can't start new thread", "Cannot allocate memory", "cannot map", "failed to map")
"""Parts of what Python says of a thread, and the dynamic linker of a library, for which there is no memory."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    For bash: `seedream-jobs completion bash >> ~/.bashrc`.

    \b
    Examples:
      seedream-jobs completion bash >> ~/.bashrc
      seedream-jobs completion fish > ~/.config/fish/completions/seedream-jobs.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    show(kind(group, {}, "seedream-jobs", COMPLETE_VARIABLE).source() + "\n")


def _complete_files_from_here(shell: str) -> None:
    """Have files completed as ``-C`` names them: by itself a shell looks into its own folder."""
    kind = get_completion_class(shell)
    if kind is None:
        return
    begun = os.getcwd()  # noqa: PTH109  (pathlib would be the first to import what it imports)

    class FromHere(kind):  # type: ignore[valid-type, misc]
        def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
            found: list[CompletionItem] = super().get_completions(args, incomplete)
            if os.getcwd() == begun:  # noqa: PTH109
                return found
            of_files = {"file": False, "dir": True}
            return [
                one
                for item in found
                for one in (_names(incomplete, of_files[item.type]) if item.type in of_files else [item])
            ]

    add_completion_class(FromHere, shell)


def _names(begun: str, only_folders: bool) -> list[CompletionItem]:
    """The files and folders whose path begins so; what is in a single folder, as a shell would end the word at it."""
    folder, name = os.path.split(begun)
    try:
        entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
    except OSError:
        return []
    found = [
        f"{folder}{'/' if folder.strip('/') else ''}{entry.name}" + ("/" if entry.is_dir() else "")
        for entry in entries
        if entry.name.startswith(name) and (name or not entry.name.startswith("."))
        if entry.is_dir() or not only_folders
    ]
    if len(found) == 1 and found[0].endswith("/"):
        return _names(found[0], only_folders) or [CompletionItem(found[0])]
    return [CompletionItem(path) for path in found]


YOUNG = 50_000
"""Objects made between two looks for garbage. Python's own 700 makes it look two dozen times while modules are
imported, which leave none: a tenth of what ``--help`` costs."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command line, or answer the shell that completes one.

    :return: the exit code, once everything printed is written
    """
    gc.set_threshold(YOUNG)
    open_standard_streams()
    completing = os.environ.get(COMPLETE_VARIABLE)
    code: int
    with doors(), unheard("stderr"):
        try:
            if completing:
                _complete_files_from_here(completing.partition("_")[0])
                code = shell_complete(group, {}, "seedream-jobs", COMPLETE_VARIABLE, completing)
            else:
                code = run_command(sys.argv[1:] if arguments is None else arguments, process=arguments is None)
        except OSError:  # not even the complaint could be written
            code = ExitCode.LEDGER
        flush_at_last("stderr")
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            flush_at_last("stdout")  # whoever read it has left
        except OSError as error:
            with suppress(OSError):
                say(f"error: the output could not be written: {error.strerror}", err=True)
            flush_at_last("stdout")
            code = gravest([ExitCode(code), ExitCode.LEDGER])
            flush_at_last("stderr")
    # As it ends, Python looks for garbage among all that was imported, several times. What is frozen it does not look
    # at: a quarter of what ``validate`` costs.
    gc.freeze()
    return code


def run_command(arguments: list[str], *, process: bool = False) -> int:
    """Run one command line; every ending becomes an exit code, and a refusal one line with the next step.

    :param process: this process was started for it, and may be split into a worker and one that waits
    """
    with doors():
        return _run(arguments, process=process)


def _run(arguments: list[str], *, process: bool) -> int:
    ctx: click.Context | None = None
    try:
        with group.make_context("seedream-jobs", list(arguments), obj=tuple(arguments)) as ctx:
            ctx.meta[_PROCESS] = process
            result = group.invoke(ctx)
            code = int(result) if isinstance(result, int) else 0
    except click.exceptions.Exit as ending:
        code = ending.exit_code
    except BrokenPipeError:
        code = ExitCode.OK
    except (Exception, KeyboardInterrupt) as error:
        code = _ended_by(error, arguments)
    if ctx is not None:
        tell_end(ctx, code)
    if LOGS in sys.modules:
        sys.modules[LOGS].stop(code)
    return code
