"""This module shows or keeps what the program's modules log: ``-v`` and ``--log-file``.

Imported by ``cli.main`` only with one of the two. Invariant: no line contains the key.
"""

from __future__ import annotations

import datetime
import logging
import os
import platform
import stat
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from seedream_jobs import __version__
from seedream_jobs.api.credentials import KEY_VARIABLE, keep_out, without_keys
from seedream_jobs.cli.streams import say, show
from seedream_jobs.errors import UsageError
from seedream_jobs.foreign_text import log_text, visible, without_credentials
from seedream_jobs.ledger.paths import check_output_name

LOG = logging.getLogger("seedream_jobs")
LOG.addHandler(logging.NullHandler())  # or an error would come out on stderr by itself where nobody listens


class LogFormatter(logging.Formatter):
    """``2026-08-02T10:11:12.345+00:00 INFO run.submit: …``: one line for each record, a traceback indented below."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        name = record.name.removeprefix("seedream_jobs.")
        text = f"{stamp} {record.levelname} {name}: {visible(record.getMessage())}"
        if record.exc_info:
            text += "\n" + textwrap.indent(log_text(self.formatException(record.exc_info)), "    ")
        return without_keys(text)


class StderrHandler(logging.Handler):
    """Prints to the standard error of this moment, which a live line may have taken over."""

    def emit(self, record: logging.LogRecord) -> None:
        show(self.format(record) + "\n", err=True)


class LogFileHandler(logging.FileHandler):
    """Appends to a file. If that can't be written any more, the log ends, not the run."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        LOG.removeHandler(self)
        reason = error.strerror if isinstance(error, OSError) else error
        say(f"warning: {self.baseFilename} could not be written ({reason}); the log ends here", err=True)

    def close(self) -> None:
        with suppress(OSError):  # what could not be written was told of
            super().close()


def start(verbose: int, file: str | None, arguments: Sequence[str]) -> None:
    """Show and keep what is logged from now on.

    :param verbose: 1 for the steps, 2 for their details, too
    :raises UsageError: the file can't be appended to
    """
    keep_out(os.environ.get(KEY_VARIABLE, "").strip())  # before a line could quote it
    if verbose:
        _listen(StderrHandler(), logging.INFO if verbose == 1 else logging.DEBUG)
    if file is not None:
        _listen(_opened(Path(file)), logging.DEBUG)
    system = f"Python {platform.python_version()}, {platform.system()}"
    LOG.info(
        "seedream-jobs %s (%s) in %s: %s", __version__, system, Path.cwd(), without_credentials(" ".join(arguments))
    )


def stop(code: int) -> None:
    """Log the exit code, and close the file."""
    LOG.info("exit code %d", code)
    for handler in LOG.handlers[:]:
        LOG.removeHandler(handler)
        handler.close()
    LOG.setLevel(logging.NOTSET)
    LOG.propagate = True


def _listen(handler: logging.Handler, level: int) -> None:
    handler.setFormatter(LogFormatter())
    handler.setLevel(level)
    LOG.addHandler(handler)
    LOG.setLevel(min(level, LOG.level or level))
    LOG.propagate = False


def _opened(file: Path) -> LogFileHandler:
    check_output_name(file)
    try:
        if file.exists() and stat.S_ISFIFO(os.stat(file).st_mode):  # noqa: PTH116  (it would wait for a reader)
            raise UsageError(f"--log-file {file} is a pipe", hint="name a file")
        return LogFileHandler(file, encoding="utf-8", errors="backslashreplace")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--log-file {file} can't be written: {reason}", hint="name another file") from None
