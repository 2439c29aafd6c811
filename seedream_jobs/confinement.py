"""This module runs a command in a worker process under limits, and says where it was when a limit ended it.

``cli.main`` splits the process before the module of a command that reads strangers' files is imported; the worker sets
its limits with the command's options, and whoever reads a file marks its place. Invariant: where nothing was split (a
test, Windows, a command with a key) every function here does nothing, and the bounds of each stage hold alone.

The worker writes into memory that both processes see, since a process that the kernel ends says nothing any more.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

try:
    import mmap
    import resource
except ImportError:  # Windows
    POSSIBLE = False
else:
    POSSIBLE = hasattr(os, "fork")

CPU_SECONDS = 5
"""Processor time of a command, in seconds, beside what its requests and its large files cost."""
MEMORY_MIB = 512
"""Memory of a command, in MiB, beside what its requests and its large files take."""
OPEN_FILES = 1024

SMALL_FILE = 1 << 20
"""Bytes of a file that need no further allowance; each byte beyond them raises the limits."""
MOST_REQUESTS = 2_000_000
"""Requests of one command that raise its limits: the million that docs/performance.md has goals for, as they are
checked and as they are made. A job's or a policy's own word for more is a stranger's; ``--max-cpu`` is the operator's.
"""
_SECONDS_PER_REQUEST, _BYTES_PER_REQUEST = 20e-6, 200
_SECONDS_PER_BYTE, _BYTES_PER_BYTE = 0.3e-6, 20

_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP")
_BOARD, _SLOT = 64 << 10, 32 << 10
_SETTINGS, _PLACE = 8, 8 + _SLOT - 16  # where the two texts on the board begin; the first byte says that memory ran out


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a worker ended.

    :param code: its exit code, negative for the signal that ended it
    :param cause: ``cpu``, ``memory`` or ``crash`` where it did not end by itself; else None
    :param limit: of that cause, in seconds or MiB
    :param form: the ``--format`` of the command
    :param doing: what it was about, such as ``rendering this template``; ``path``, ``line`` and ``column`` where
    """

    code: int
    cause: str | None
    limit: int = 0
    form: str = "text"
    err: bool = True
    doing: str = ""
    path: str = ""
    line: int = 0
    column: int = 0


class _Worker:
    """The limits of this process, and the memory that the waiting process reads after its end."""

    def __init__(self, board: Any) -> None:
        self.board = board
        self.form, self.err = "text", True
        self.seconds: float = 0
        self.bytes = self.requests = 0

    def write(self, at: int, *words: object) -> None:
        said = "\0".join(map(str, words)).encode("utf-8", "surrogateescape")
        # A path that is too long for its slot is left out; the finding then stands at the mark before it.
        if len(said) < _SLOT - 64:
            # Whoever is ended in the midst of it leaves a slot that counts as empty, not half a text.
            self.board[at : at + 4] = bytes(4)
            self.board[at + 4 : at + 4 + len(said)] = said
            self.board[at : at + 4] = len(said).to_bytes(4, "little")

    def apply(self) -> None:
        seconds = lower(resource.RLIMIT_CPU, int(self.seconds + 0.999))
        memory = lower(resource.RLIMIT_DATA, self.bytes)
        whole = resource.getrlimit(resource.RLIMIT_AS)[0]  # of a shell's ``ulimit -v``: what is said must be what held
        if whole != resource.RLIM_INFINITY:
            memory = min(memory, whole)
        self.write(_SETTINGS, self.form, int(self.err), seconds, memory >> 20)


_worker: _Worker | None = None


def lower(kind: int, wanted: int) -> int:
    """Set a soft limit, and return it; the hard one, which whoever started this process chose, is never passed."""
    hard = resource.getrlimit(kind)[1]
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (soft, hard))
    return soft


# -- the worker --------------------------------------------------------------------------------------------------------


def set_limits(cpu_seconds: int, mebibytes: int, *, form: str, err: bool) -> None:
    """Limit this worker, before it reads its first file.

    :param form: the ``--format`` in which a finding is shown, ``err`` whether on stderr
    """
    if _worker is None:
        return
    _worker.form, _worker.err = form, err
    _worker.seconds, _worker.bytes = cpu_seconds, mebibytes << 20
    for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, OPEN_FILES)):
        soft, hard = resource.getrlimit(kind)
        if soft == resource.RLIM_INFINITY or soft > most:
            resource.setrlimit(kind, (most, hard))
    _worker.apply()


def allow_requests(count: int) -> None:
    """Raise the limits by more than so many requests cost (docs/performance.md), up to ``MOST_REQUESTS`` in all."""
    if _worker is not None and _worker.seconds:
        count = min(count, MOST_REQUESTS - _worker.requests)
        _worker.requests += count
        _allow(count * _SECONDS_PER_REQUEST, count * _BYTES_PER_REQUEST)


def allow_bytes(count: int) -> None:
    """Raise the limits by what a file costs that has more than ``SMALL_FILE`` bytes."""
    if count > SMALL_FILE:
        _allow((count - SMALL_FILE) * _SECONDS_PER_BYTE, (count - SMALL_FILE) * _BYTES_PER_BYTE)


def allow_images(count: int, size: int) -> None:
    """Raise the processor time by what reading, checking and copying so many images costs.

    :param size: their bytes, all together
    """
    _allow(count * 2e-3 + size * 50e-9, count * 4096)


def allow_cluster() -> None:
    """Raise the limits by what the client of a cluster takes: its libraries, and its threads while it waits."""
    _allow(60, 1 << 30)


def _allow(seconds: float, memory: int) -> None:
    if _worker is not None and _worker.seconds:
        _worker.seconds += seconds
        _worker.bytes += memory
        _worker.apply()


def lift() -> None:
    """Take the limits off again, before another program is started that is to outlive this one."""
    if _worker is None:
        return
    for kind in (resource.RLIMIT_CPU, resource.RLIMIT_DATA):
        resource.setrlimit(kind, (resource.getrlimit(kind)[1],) * 2)


def mark(doing: str, path: str, line: int = 0, column: int = 0) -> None:
    """Say what is done now, and for which place of which file: the finding stands there if a limit ends it.

    :param doing: such as ``rendering this template``
    """
    if _worker is not None:
        _worker.write(_PLACE, doing, path, line, column)


def say_memory_ran_out() -> bool:
    """Tell the other process, which shows the finding; False where there is none."""
    if _worker is None:
        return False
    _worker.board[0] = 1
    # To end takes memory too, as modules are imported and buffers written.
    resource.setrlimit(resource.RLIMIT_DATA, (resource.getrlimit(resource.RLIMIT_DATA)[1],) * 2)
    return True


# -- the process that waits --------------------------------------------------------------------------------------------


def split(dropped: tuple[str, ...]) -> Ended | None:
    """Go on as a worker (None), and in this process wait for its end.

    Signals that end a command are handed on; one that ends the worker ends this process too.

    :param dropped: variables that the worker does not get, such as the key's
    """
    board = mmap.mmap(-1, _BOARD)
    numbers = [number for name in _FORWARDED if signal.getsignal(number := getattr(signal, name)) != signal.SIG_IGN]
    # What is still in a buffer would be written by both processes.
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # none may come between the two processes
    child = os.fork()
    if child == 0:
        _begin(board, dropped)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None

    ended = False

    def hand_on(number: int, frame: FrameType | None) -> None:
        if not ended:  # once it was waited for, its number may be another process'
            with suppress(ProcessLookupError):
                os.kill(child, number)

    for number in numbers:
        signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _, status, used = os.wait4(child, 0)
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
    code = os.waitstatus_to_exitcode(status)
    if -code in numbers:
        os.kill(os.getpid(), -code)
    return _read(board, code, used.ru_utime + used.ru_stime)


def _begin(board: Any, dropped: tuple[str, ...]) -> None:
    global _worker
    _worker = _Worker(board)
    for name in dropped:
        os.environ.pop(name, None)
    # Under pyarrow lies NumPy, whose OpenBLAS takes memory for each processor as it is loaded, or ends the process.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"

    def interrupt(number: int, frame: FrameType | None) -> None:
        # A terminal's Ctrl-C reaches both processes, so that this one is told twice.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)

    def show_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
        # A generator that is closed while memory runs out raises once more; the finding says what there is to say.
        if not isinstance(unraisable.exc_value, MemoryError):
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = show_unraisable


_SIGXCPU: Final = getattr(signal, "SIGXCPU", 24)


def _read(board: Any, code: int, used: float) -> Ended:
    if code >= 0 and not board[0]:
        return Ended(code=code, cause=None)
    (form, err), (seconds, memory) = _words(board, _SETTINGS) or (("text", "1"), (CPU_SECONDS, MEMORY_MIB))
    (doing, path), (line, column) = _words(board, _PLACE) or (("", ""), (0, 0))
    ran_out = code == -_SIGXCPU or used > seconds - 0.5  # a hard limit kills at about that time
    cause = "memory" if board[0] else "cpu" if ran_out else "crash"
    return Ended(
        code=code,
        cause=cause,
        limit=memory if cause == "memory" else seconds,
        form=form,
        err=err == "1",
        doing=doing,
        path=path,
        line=line,
        column=column,
    )


def _words(board: Any, at: int) -> tuple[tuple[str, str], tuple[int, int]] | None:
    """The two texts and the two numbers of a slot; None for what no whole ``write`` left there."""
    size = int.from_bytes(board[at : at + 4], "little")
    words = bytes(board[at + 4 : at + 4 + size]).decode("utf-8", "surrogateescape").split("\0")
    if len(words) != 4 or not all(word.isascii() and word.isdigit() for word in words[2:]):
        return None
    return (words[0], words[1]), (int(words[2]), int(words[3]))
