"""The emulator in a process of its own, forked from one that has imported it: a start costs little."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["seedream_jobs.emulator.__main__", "seedream_jobs.emulator.server"])


class ServiceProcess:
    """``python -m seedream_jobs.emulator`` with these options; ``url`` is its base URL.

    :raises RuntimeError: if it does not start
    """

    def __init__(self, *options: str) -> None:
        ours, theirs = _SERVER.Pipe(duplex=False)
        self._process: Any = _SERVER.Process(target=_serve, args=(theirs, options), daemon=True)
        self._process.start()
        theirs.close()
        with ours:
            try:
                self.url = str(ours.recv())
            except EOFError:
                raise RuntimeError("the emulator has not started") from None

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self._process.pid, number)

    def end(self) -> None:
        """Kill it, and wait for its end."""
        self._process.kill()
        self._process.join()
        self._process.close()


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """The base URL of a service that ends with the block."""
    service = ServiceProcess(*options)
    try:
        yield service.url
    finally:
        service.end()


def _serve(told: Connection, options: tuple[str, ...]) -> None:
    """The process: as ``python -m seedream_jobs.emulator``, its first line goes to ``told``."""
    from seedream_jobs.emulator.__main__ import emulator

    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)

    class Said:
        """stdout: one line, then nobody listens."""

        def write(self, text: str) -> None:
            if not isinstance(text, str):  # click tries bytes, to see which of the two it may write
                raise TypeError
            if not told.closed and text.strip():
                told.send(text.strip())
                told.close()

        def flush(self) -> None:
            pass

    sys.stdout = Said()  # type: ignore[assignment]
    emulator(list(options))
