"""How a run is brought to a stop: signals, the reason, waits that end at once, POSTs that get their grace.

The first signal asks the run to drain, a second one more than half a second later makes it leave at once. ``listen``
feeds ``Shutdown`` from the operating system's signals; tests call ``interrupt``. Called by ``session``, ``submit`` and
``poll``. Invariant: once submitting stops, nothing new is announced or sent.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
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
        self.grace = DRAIN_SECONDS
        self.crash: BaseException | None = None
        self._clock = clock
        self._first_at = inf
        self._interrupted = anyio.Event()
        self._leaving = anyio.Event()
        self._urgent = anyio.Event()
        self._halt: Halt | None = None
        self._withdraws = False
        self._waits_ended = False
        self._waits: dict[anyio.CancelScope, None] = {}  # in order: a seeded scheduler replays it
        self._posts: dict[int, anyio.CancelScope] = {}

    def interrupt(self, received: signal.Signals) -> None:
        """Take a signal into account: drain at the first, leave at the second."""
        _log.info("%s received", received.name)
        if self.code is None:
            self.code = _CODES[received]
            self.grace = DRAIN_SECONDS_SIGTERM if received == signal.SIGTERM else DRAIN_SECONDS
            self._first_at = self._clock()
            self._interrupted.set()
        elif self._clock() - self._first_at > SAME_PRESS_SECONDS:
            self._leaving.set()

    @property
    def interrupted(self) -> bool:
        """A signal came: nothing new may begin."""
        return self.code is not None

    @property
    def leaving(self) -> bool:
        """A second signal came: what is under way is given up."""
        return self._leaving.is_set()

    async def wait_interrupted(self) -> None:
        """Wait for the first signal."""
        await self._interrupted.wait()

    @property
    def halted(self) -> bool:
        """Nothing new may be announced or sent."""
        return self._halt is not None or self.interrupted

    @property
    def withdraws(self) -> bool:
        """What is announced and not yet sent must not be sent either."""
        return self._withdraws or self.interrupted

    @property
    def hurried(self) -> bool:
        """A signal, or a ledger that fails: what is under way has its grace, and nothing is begun."""
        return self.interrupted or self._urgent.is_set()

    @property
    def halt(self) -> Halt | None:
        """The gravest reason so far; of equal ones the first."""
        if self.code is not None:
            self.stop(Halt(stop=self.code, reason="interrupted", hint=RESUME))
        return self._halt

    def stop(self, halt: Halt, *, withdraw: bool = True) -> None:
        """Take no more work, announce nothing new; without ``withdraw``, what is announced may still be sent."""
        _log.warning("submitting stops with exit code %d: %s", halt.stop, halt.reason)
        self._withdraws = self._withdraws or withdraw
        if self._halt is None or (halt.stop != self._halt.stop and gravest((halt.stop, self._halt.stop)) == halt.stop):
            self._halt = halt
        self.end_waits()

    def fail(self, error: Exception) -> None:
        """A refusal, a ledger or a bug of ours because of which submitting can't go on."""
        if isinstance(error, SeedreamError):
            self.stop(Halt(stop=error.exit_code, reason=error.message, hint=error.hint))
        else:
            self.crash = self.crash or error
            self.stop(Halt(stop=ExitCode.BUG, reason=repr(error)))
        if isinstance(error, LedgerError):
            self._urgent.set()

    async def wait(self, wait: Callable[[], Awaitable[object]]) -> bool:
        """Wait while nothing is at stake; False if submitting stopped before the wait was over."""
        if self._waits_ended:
            return False
        with anyio.CancelScope() as scope:
            self._waits[scope] = None
            try:
                await wait()
            finally:
                del self._waits[scope]
        return not scope.cancelled_caught

    def end_waits(self) -> None:
        """Call off every ``wait``, and every later one."""
        self._waits_ended = True
        for scope in list(self._waits):
            scope.cancel()

    @property
    def waits_ended(self) -> bool:
        """Nothing is waited for any more."""
        return self._waits_ended

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
        """Wait for something urgent, then give what is under way its grace; to be cancelled when the run is over."""
        async with anyio.create_task_group() as either:

            async def first(event: anyio.Event) -> None:
                await event.wait()
                either.cancel_scope.cancel()

            either.start_soon(first, self._interrupted)
            either.start_soon(first, self._urgent)
        self.end_waits()
        with anyio.move_on_after(self.grace if self.interrupted else DRAIN_SECONDS):
            await self._leaving.wait()
        for scope in list(self._posts.values()):
            scope.cancel()


async def listen(shutdown: Shutdown, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Pass on SIGINT, SIGTERM and SIGHUP until cancelled; to be started in a task group."""
    with anyio.open_signal_receiver(*_CODES) as signals:
        task_status.started()
        async for received in signals:
            shutdown.interrupt(received)
