"""The one door to the terminal: whatever a command prints passes here, on its way to stdout or stderr.

Called by ``cli.main``, which puts the doors in place, and by everything in ``cli`` that prints. What is written to a
door is text, whoever wrote it: a terminal obeys nothing in it, and no CI takes a line of it for a command. Only what
``show_own`` is told to keep goes through as it is: the program's colours, and its own workflow commands.

A pipe whose reader has left (``run … | head -1``) fails every write. For a listing that is the end; for a run, whose
record must be completed whatever its audience does, it is none.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeVar, cast

import click

from seedream_jobs.foreign_text import log_text, show_character, visible, width, wrapped

if TYPE_CHECKING:
    from seedream_jobs.report.progress import Mode

F = TypeVar("F", bound=Callable[..., Any])

COLOURS = re.compile("(\033\\[(?:0|1|2|3[1-6]|1;31|1;33)m)")
"""The colours of ``report.findings`` and ``report.text``."""
COMMANDS = re.compile("(^::(?:error|warning|notice) (?=file=))", re.MULTILINE)
"""The beginnings of the workflow commands of ``report.ci_formats``."""

LOGS = "seedream_jobs.cli.logs"
"""Imported only with ``-v`` or ``--log-file``: ``logging`` would slow every command down."""

_WIPE = "\r\033[J"


class Door:
    """A text stream of a process: what is written to it is shown, and never obeyed.

    :param unheard: turn to nowhere at the first write that nobody reads
    """

    live = ""
    """The lines that are drawn on stderr and drawn again below whatever is printed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.unheard = stream, False
        self._begun = ""

    def __getattr__(self, name: str) -> Any:
        # What libraries ask a stream for (``isatty``, ``encoding``, ``buffer``) is the real one's.
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what may have come from anybody."""
        self._put(log_text(text, self._begun))
        return len(text)

    def write_own(self, text: str, own: re.Pattern[str]) -> None:
        """Write the program's words, in which what ``own`` matches in its one group stays as it is."""
        for number, part in enumerate(own.split(text)):
            if number % 2:
                self._put(part)
                self._begun = "x"  # what follows does not begin the line
            else:
                self._put(log_text(part, self._begun))

    def draw(self, lines: str) -> None:
        """Draw lines over those that were drawn before; the empty text wipes them."""
        Door.live = lines
        shown = list(map(_fitting, lines.split("\n")))
        # The cursor waits on the first of them: wherever a terminal that is resized puts them, they are below it.
        back = f"\033[{len(shown) - 1}A\r" if len(shown) > 1 else "\r"
        self._raw(_WIPE + "\n".join(shown) + (back if lines else ""))
        self.flush()

    def flush(self) -> None:
        """Hand on what is buffered."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            if not self.unheard:
                raise
            _turn_to_nowhere(self._stream.fileno())

    def _put(self, shown: str) -> None:
        line = (self._begun + shown).rpartition("\n")[2]
        # Enough to know what a next part would go on with: blanks only, or the last few characters.
        self._begun = line if len(line) < 64 else (" " if line.isspace() else "x") + line[-32:]
        # The lines that move are wiped first, or the text would be written into them.
        below = Door.live
        if below:
            draw("")
        self._raw(shown)
        if below and shown.endswith("\n"):
            self.flush()
            draw(below)

    def _raw(self, shown: str) -> None:
        try:
            self._stream.write(shown)
        except BrokenPipeError:
            if not self.unheard:
                raise
            _turn_to_nowhere(self._stream.fileno())


def _fitting(line: str) -> str:
    """As much of a line as fits into one of the terminal's: it may be narrower than when the line was put together."""
    left, line = shutil.get_terminal_size().columns - 1, visible(line)
    if width(line) <= left:
        return line
    shown = ""
    for one in map(show_character, line):
        left -= one.columns
        if left < 1:
            break
        shown += one.shown
    return shown + "…"


@contextmanager
def doors() -> Iterator[None]:
    """Within the block, ``sys.stdout`` and ``sys.stderr`` are doors."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = cast(TextIO, _door(sys.stdout)), cast(TextIO, _door(sys.stderr))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _door(stream: TextIO) -> Door:
    return stream if isinstance(stream, Door) else Door(stream)


def say(line: str = "", *, err: bool = False) -> None:
    """Print one line: whatever names it holds, they can't begin another. A narrow terminal gets it in several."""
    stream = _stream(err=err)
    stream.write(fitting(f"{visible(line)}\n", cast(TextIO, stream)))
    stream.flush()


def fitting(text: str, stream: TextIO) -> str:
    """``text`` as it is, but for a terminal: in its width, with no word broken."""
    return wrapped(text, shutil.get_terminal_size().columns) if stream.isatty() else text


def talk(line: str) -> None:
    """Print one line on stderr that is neither an error nor the result: ``--quiet`` leaves it out."""
    if not quiet():
        say(line, err=True)


_QUIET = "seedream_jobs.quiet"


def be_quiet(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    """The callback of ``--quiet``, which stands before the command or behind it."""
    if value:
        ctx.meta[_QUIET] = True
    return value


def quiet() -> bool:
    """Whether only errors and the result are to be shown."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


def show(text: str, *, err: bool = False) -> None:
    """Print text that has lines of its own, each with its end."""
    _stream(err=err).write(text)


def show_own(text: str, own: re.Pattern[str], *, err: bool = False) -> None:
    """Print what the program made, with its colours or commands."""
    _stream(err=err).write_own(text, own)


def draw(lines: str) -> None:
    """Draw the lines that move, on a terminal; the empty text wipes them."""
    _stream(err=True).draw(lines)


def has_colours(stream: TextIO) -> bool:
    """Whether a stream shows colours: a terminal, if ``NO_COLOR`` or ``FORCE_COLOR`` does not say otherwise."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _stream(*, err: bool) -> Door:
    return _door(sys.stderr if err else sys.stdout)


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
    door = getattr(sys, name)
    before, door.unheard = door.unheard, True
    try:
        yield
    finally:
        door.unheard = before


def goes_on_unheard(function: F) -> F:
    """For a command that must come to its own end, whoever reads what it prints."""

    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> Any:
        with unheard("stdout"):
            return function(*arguments, **options)

    return cast(F, command)


_ENDINGS = "seedream_jobs.endings"


def at_end(tell: Callable[[int], None]) -> None:
    """Have ``tell`` called with the exit code, once nothing more is said; also where a refusal ends the command."""
    click.get_current_context().meta.setdefault(_ENDINGS, []).append(tell)


def tell_end(ctx: click.Context, code: int) -> None:
    """Call what ``at_end`` was given."""
    for tell in ctx.meta.pop(_ENDINGS, ()):
        tell(code)


def progress_mode(as_json: bool) -> Mode:
    """A live line for a person at a terminal, JSON Lines on demand, else, and with -v, a line now and then."""
    if as_json:
        return "json"
    if quiet():
        return "quiet"
    verbose = click.get_current_context().find_root().params.get("verbose")
    return "live" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not verbose else "lines"
