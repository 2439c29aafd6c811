"""Interruptions: the first asks the run to drain, a second one more than half a second later makes it leave at once.

``Stopper`` is the state that everything under way watches; ``listen`` feeds it from the operating system's signals,
tests feed it by calling ``interrupt``.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from math import inf

import anyio
from anyio.abc import TaskStatus

from seedream_jobs.errors import ExitCode

_log = logging.getLogger(__name__)
DRAIN_SECONDS = 6.0
DRAIN_SECONDS_SIGTERM = 2.0  # whoever sends SIGTERM often sends SIGKILL soon after
SAME_PRESS_SECONDS = 0.5  # a second signal within this time is the first one's echo

_CODES = {signal.SIGINT: ExitCode.SIGINT, signal.SIGTERM: ExitCode.SIGTERM}
if hasattr(signal, "SIGHUP"):
    _CODES[signal.SIGHUP] = ExitCode.SIGHUP


class Stopper:
    """Whether the run was asked to stop, and how urgently.

    :param clock: monotonic seconds; the event loop's own clock by default
    """

    def __init__(self, clock: Callable[[], float] = anyio.current_time) -> None:
        self._clock = clock
        self._first_at = inf
        self._stopping = anyio.Event()
        self._leaving = anyio.Event()
        self.code: ExitCode | None = None
        self.grace = DRAIN_SECONDS

    def interrupt(self, received: signal.Signals) -> None:
        """Take a signal into account: drain at the first, leave at the second."""
        _log.info("%s received", received.name)
        if self.code is None:
            self.code = _CODES[received]
            self.grace = DRAIN_SECONDS_SIGTERM if received == signal.SIGTERM else DRAIN_SECONDS
            self._first_at = self._clock()
            self._stopping.set()
        elif self._clock() - self._first_at > SAME_PRESS_SECONDS:
            self._leaving.set()

    @property
    def stopping(self) -> bool:
        """Nothing new may begin."""
        return self.code is not None

    @property
    def leaving(self) -> bool:
        """What is under way is given up."""
        return self._leaving.is_set()

    async def stopped(self) -> None:
        """Wait for the first signal."""
        await self._stopping.wait()

    async def left(self) -> None:
        """Wait for the second signal."""
        await self._leaving.wait()


async def listen(stopper: Stopper, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Feed the stopper from SIGINT, SIGTERM and SIGHUP until cancelled; to be started in a task group."""
    with anyio.open_signal_receiver(*_CODES) as signals:
        task_status.started()
        async for received in signals:
            stopper.interrupt(received)
