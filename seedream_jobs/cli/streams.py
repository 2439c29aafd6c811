"""When nobody listens any more (``run … | head -1``): a command that spends money goes on, unheard.

A pipe whose reader has left fails every write. For a listing that is the end; for a run, whose record must be
completed whatever its audience does, it is none.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeVar, cast

import click

if TYPE_CHECKING:
    from seedream_jobs.report.progress import Mode

F = TypeVar("F", bound=Callable[..., Any])


class _Stream:
    """A text stream that turns to nowhere at the first write that nobody reads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            return self._turn_away(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._turn_away("")

    def _turn_away(self, text: str) -> int:
        _turn_to_nowhere(self._stream.fileno())
        return len(text)


def open_standard_streams() -> None:
    """Give a standard stream that the caller has closed (``>&-``) to /dev/null.

    Else the next file that is opened, such as the journal, gets its number, and what a child process prints with it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    if sys.stdout.errors == "strict":  # text for people: what the terminal's encoding lacks is no reason to fail
        _reconfigure(errors="replace")


def data_on_stdout() -> None:
    """What comes is data for programs: UTF-8, whatever the terminal's encoding.

    Half a surrogate pair, which YAML can spell, is written as its escape: in JSON that is what it was.
    """
    _reconfigure(encoding="utf-8", errors="backslashreplace")


def flush_at_last(name: Literal["stdout", "stderr"]) -> None:
    """Write what a stream has buffered, and drop what can't be written: Python would try again at exit, and fail."""
    stream = getattr(sys, name)
    try:
        stream.flush()
    except OSError:
        _turn_to_nowhere(stream.fileno())
        with suppress(OSError):
            stream.flush()


def _turn_to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)  # what is buffered goes there too
    os.close(nowhere)


def _reconfigure(**options: str) -> None:
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(**options)


@contextmanager
def unheard(name: Literal["stdout", "stderr"]) -> Iterator[None]:
    """Within the block, ``sys.stdout`` or ``sys.stderr`` may lose its reader without ending anything."""
    before = getattr(sys, name)
    setattr(sys, name, cast(TextIO, _Stream(before)))
    try:
        yield
    finally:
        setattr(sys, name, before)


def goes_on_unheard(function: F) -> F:
    """For a command that must come to its own end, whoever reads what it prints."""

    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> Any:
        with unheard("stdout"):
            return function(*arguments, **options)

    return cast(F, command)


def progress_mode(as_json: bool) -> Mode:
    """A live line for a person at a terminal, JSON Lines on demand, else, and with -v, a line now and then."""
    if as_json:
        return "json"
    verbose = click.get_current_context().find_root().params.get("verbose")
    return "live" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not verbose else "lines"
