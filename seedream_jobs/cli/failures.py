"""This module turns whatever ended a command into an exit code and one clear line with the next step.

Called by ``cli.main``. Findings, refusals, failures of the disk and bugs are four things, and each ends here.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback

import click

from seedream_jobs import __version__
from seedream_jobs.api.credentials import KEY_VARIABLE, keep_out, without_keys
from seedream_jobs.cli.output import show_findings
from seedream_jobs.cli.streams import LOGS, say, show
from seedream_jobs.confinement import Ended
from seedream_jobs.diagnostics import Diagnostic, Span, plural
from seedream_jobs.errors import ExitCode, FindingsError, SeedreamError

_LONGEST_PATH = 4096
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""What a disk says when it takes no more: nobody's mistake."""


def show_failure(error: BaseException, arguments: list[str]) -> ExitCode:
    """Print what ended a command, and return its exit code.

    :param arguments: the command line
    """
    # The order matters: NoArgsIsHelpError is a UsageError, a UsageError is a ClickException.
    match error:
        case click.Abort():
            say("Aborted.", err=True)
            return ExitCode.SIGINT
        case KeyboardInterrupt():
            say("Interrupted.", err=True)
            return ExitCode.SIGINT
        case click.exceptions.NoArgsIsHelpError():
            show(error.format_message() + "\n", err=True)
            return ExitCode.USAGE
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "seedream-jobs"
            _show(error.format_message(), f"{command} --help")
            return ExitCode.USAGE
        case click.ClickException():
            _show(error.format_message())
            return ExitCode.USAGE
        case FindingsError():
            show_findings(error.diagnostics, err=True)
            return ExitCode.FINDINGS
        case SeedreamError():
            if LOGS in sys.modules:
                sys.modules[LOGS].LOG.error("%s", error.message)
            _show(error.message, error.hint)
            if sys.stderr.isatty():
                say(f"  exit code {error.exit_code}: seedream-jobs explain {error.exit_code}", err=True)
            return error.exit_code
        case OSError(errno=errno.ENOENT) if _current_folder_is_gone():
            _show("the current folder is gone", "change to a folder that is there")
            return ExitCode.USAGE
        case OSError(errno=errno.ENAMETOOLONG):
            _show(f"{error.filename or 'a name'}: the name is too long", "check the path")
            return ExitCode.USAGE
        case OSError(errno=number) if number in _DISK:
            _show(
                f"{error.filename or 'the output'} could not be written: {error.strerror}",
                "free disk space, then run the same command again",
            )
            return ExitCode.LEDGER
        case _:
            _show_bug(error, arguments)
            return ExitCode.BUG


def show_exhausted(ended: Ended) -> ExitCode:
    """Print the finding for a worker that a limit ended, where it was at that time."""
    message, hint = _EXHAUSTED[ended.cause or "crash"]
    said = message.format(limit=ended.limit, seconds=plural(ended.limit, "second"), code=-ended.code)
    finding = Diagnostic(
        code="too-expensive",
        severity="error",
        message=f"{ended.doing or 'this command'} {said}",
        path=ended.path or "seedream-jobs",
        span=Span.of_line(ended.line, column=ended.column) if ended.line else None,
        hint=hint.format(more=ended.limit * 4),
    )
    show_findings([finding], err=ended.err, form=ended.form, files=[finding.path])
    return ExitCode.FINDINGS


_EXHAUSTED = {
    "cpu": (
        "takes more than {seconds} of processor time",
        "make it smaller; if the file is to be trusted: --max-cpu {more}",
    ),
    "memory": (
        "takes more than {limit} MiB of memory",
        "make it smaller; if the file is to be trusted: --max-memory {more}",
    ),
    "crash": ("ended the process that read it (signal {code})", "make it smaller or simpler"),
}


def show_memory_ran_out() -> ExitCode:
    """What there is to say once memory ran out, where no other process waits that says it."""
    _show("there is not enough memory", "use smaller files, or a machine with more")
    return ExitCode.FINDINGS


def _show(message: str, hint: str | None = None) -> None:
    say(f"error: {_shorten_words(message)}", err=True)
    if hint:
        say(f"  {_shorten_words(hint)}", err=True)


def _shorten_words(text: str) -> str:
    # A word that is longer than any path is somebody's slip, such as a whole file as an argument.
    if len(text) <= _LONGEST_PATH:
        return text
    return re.sub(rf"\S{{{_LONGEST_PATH},}}", lambda word: f"{word[0][:80]}…{word[0][-20:]}", text)


def _current_folder_is_gone() -> bool:
    try:
        os.getcwd()  # noqa: PTH109  (Path.cwd is the same call)
    except FileNotFoundError:
        return True
    return False


def _show_bug(error: BaseException, arguments: list[str]) -> None:
    """One line; the traceback only with ``-vv`` and in the log. No line shows the key."""
    keep_out(os.environ.get(KEY_VARIABLE, "").strip())  # the bug may have come before the key was taken
    if LOGS in sys.modules:
        sys.modules[LOGS].LOG.error("a mistake in seedream-jobs", exc_info=error)
    if any(argument.startswith("-vv") for argument in arguments) or arguments.count("-v") > 1:
        show(without_keys("".join(traceback.format_exception(error))), err=True)
    name = type(error).__name__
    say(without_keys(f"error: internal error in seedream-jobs {__version__}: {name}: {error}"), err=True)
    for note in getattr(error, "__notes__", ()):
        say(without_keys(f"  {note}"), err=True)
    say("  Please report it with the output of `seedream-jobs -vv …`. The record of what was sent is safe.", err=True)
