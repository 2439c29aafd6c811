"""This module brings a run to a stop: signals, the reason, waits that end at once, POSTs that get their grace.

The first signal asks the run to drain, a second one more than half a second later makes it leave at once. ``listen``
feeds ``Shutdown`` from the operating system's signals; tests call ``interrupt``. Called by ``session``, ``submit`` and
``poll``. Invariant: once submitting stops, nothing new is announced or sent.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

import anyio
from anyio.abc import TaskStatus

from seedream_jobs.errors import ExitCode, LedgerError, SeedreamError, gravest
from seedream_jobs.run.retry import Halt

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())  # where nobody listens a warning would come out on stderr
RESUME = "run the same command later; it submits only what was not sent"
DRAIN_SECONDS = 6.0
DRAIN_SECONDS_SIGTERM = 2.0  # whoever sends SIGTERM often sends SIGKILL soon after
SAME_PRESS_SECONDS = 0.5  # a second signal within this time is the first one's echo

_CODES = {signal.SIGINT: ExitCode.SIGINT, signal.SIGTERM: ExitCode.SIGTERM}
if hasattr(signal, "SIGHUP"):
    _CODES[signal.SIGHUP] = ExitCode.SIGHUP


class Shutdown:
    """Whether, why and how fast the run stops.

    A breaker, a budget, a refusal or a bug stops submitting, and lets POSTs under way come to their own end (the client
    has its timeouts): they are paid for. A signal and a ledger that fails give them a grace, in seconds; a second
    signal none. A signal also ends polling and fetching.

    :param clock: monotonic seconds; the event loop's own clock by default
    """

    def __init__(self, clock: Callable[[], float] = anyio.current_time) -> None:
        self.code: ExitCode | None = None  # of the first signal
        self.halt: Halt | None = None  # the gravest reason so far; of equal ones the first
        self.withdraws: bool = False  # what is announced and not yet sent must not be sent either
        self.waits_ended: bool = False
        self.crash: BaseException | None = None
        self.give_up_at: float = inf  # by the clock: when POSTs that are still under way are given up
        self._clock = clock
        self._first_at = inf
        self._interrupted = anyio.Event()
        self._hurry = anyio.Event()
        self._waits: dict[anyio.CancelScope, None] = {}  # in order: a seeded scheduler replays it
        self._posts: dict[int, anyio.CancelScope] = {}

    def interrupt(self, received: signal.Signals) -> None:
        """Take a signal into account: drain at the first, leave at the second."""
        _log.info("%s received", received.name)
        now = self._clock()
        if self.code is None:
            self.code = _CODES[received]
            self._first_at = now
            self._interrupted.set()
            self.stop(Halt(stop=self.code, reason="interrupted", hint=RESUME))
            self._give_up(now + (DRAIN_SECONDS_SIGTERM if received == signal.SIGTERM else DRAIN_SECONDS))
        elif now - self._first_at > SAME_PRESS_SECONDS:
            self._give_up(now)

    @property
    def halted(self) -> bool:
        """Nothing new may be announced or sent."""
        return self.halt is not None

    @property
    def hurried(self) -> bool:
        """A signal, or a ledger that fails: what is under way has its grace, and nothing is begun."""
        return self.give_up_at < inf

    async def wait_interrupted(self) -> None:
        """Wait for the first signal."""
        await self._interrupted.wait()

    def stop(self, halt: Halt, *, withdraw: bool = True) -> None:
        """Take no more work, announce nothing new; without ``withdraw``, what is announced may still be sent."""
        _log.warning("submitting stops with exit code %d: %s", halt.stop, halt.reason)
        self.withdraws = self.withdraws or withdraw
        if self.halt is None or (halt.stop != self.halt.stop and gravest((halt.stop, self.halt.stop)) == halt.stop):
            self.halt = halt
        self.waits_ended = True
        for scope in list(self._waits):
            scope.cancel()

    def fail(self, error: Exception) -> None:
        """A refusal, a ledger or a bug of ours because of which submitting can't go on."""
        if isinstance(error, SeedreamError):
            self.stop(Halt(stop=error.exit_code, reason=error.message, hint=error.hint))
        else:
            self.crash = self.crash or error
            self.stop(Halt(stop=ExitCode.BUG, reason=repr(error)))
        if isinstance(error, LedgerError):
            self._give_up(self._clock() + DRAIN_SECONDS)

    @contextmanager
    def waiting(self) -> Iterator[anyio.CancelScope]:
        """Around a wait while nothing is at stake: it is cancelled, and the block left, when submitting stops."""
        with anyio.CancelScope() as scope:
            if self.waits_ended:
                scope.cancel()
            self._waits[scope] = None
            try:
                yield scope
            finally:
                del self._waits[scope]

    async def sleep(self, seconds: float) -> bool:
        """Sleep; False if submitting stopped before the time was over."""
        with self.waiting() as wait:
            await anyio.sleep(seconds)
        return not wait.cancelled_caught

    @contextmanager
    def post(self, worker: int) -> Iterator[None]:
        """Around a worker's exchange: it is cancelled, and the block left, when its grace is over."""
        with anyio.CancelScope() as scope:
            self._posts[worker] = scope
            try:
                yield
            finally:
                del self._posts[worker]

    async def watch(self) -> None:
        """Give up what is under way once its grace is over; to be cancelled when the run is over."""
        while self._clock() < self.give_up_at:
            self._hurry = anyio.Event()
            with anyio.CancelScope(deadline=self.give_up_at):
                await self._hurry.wait()
        for scope in list(self._posts.values()):
            scope.cancel()

    def _give_up(self, at: float) -> None:
        """A grace that is running already is never made longer: SIGTERM shortens that of a failing ledger."""
        self.give_up_at = min(self.give_up_at, at)
        self._hurry.set()


async def listen(shutdown: Shutdown, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Pass on SIGINT, SIGTERM and SIGHUP until cancelled; to be started in a task group."""
    with anyio.open_signal_receiver(*_CODES) as signals:
        task_status.started()
        async for received in signals:
            shutdown.interrupt(received)
