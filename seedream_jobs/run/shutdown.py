"""How submitting is brought to a stop: signals, the reason, idle waits that end at once, POSTs that get their grace.

The first signal asks the run to drain, a second one more than half a second later makes it leave at once. Called by
``submit``, ``poll``, ``session`` and the commands. Invariant: once the run stops nothing new is announced or sent.
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


_log.addHandler(logging.NullHandler())  # where nobody listens a warning would come out on stderr
RESUME = "run the same command later; it submits only what was not sent"


class Idle:
    """Waits during which nothing is at stake: all of them end at once when the run stops submitting."""

    def __init__(self) -> None:
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._ended = False

    @property
    def ended(self) -> bool:
        """Nothing is waited for any more."""
        return self._ended

    async def until(self, wait: Callable[[], Awaitable[object]]) -> bool:
        """Wait; False if it was called off before it was over."""
        if self._ended:
            return False
        with anyio.CancelScope() as scope:
            self._scopes[id(scope)] = scope
            try:
                await wait()
            finally:
                del self._scopes[id(scope)]
        return not scope.cancelled_caught

    def end(self) -> None:
        """Call off every wait, and every later one."""
        self._ended = True
        for scope in list(self._scopes.values()):
            scope.cancel()


class Halting:
    """Whether, why and how fast one run of submitting stops.

    A breaker, a budget, a refusal or a bug lets POSTs under way come to their own end (the client has its timeouts):
    they are paid for. A signal and a ledger that fails give them a grace, in seconds; a second signal none.
    """

    def __init__(self, stopper: Stopper) -> None:
        self.idle = Idle()
        self.crash: BaseException | None = None
        self._halt: Halt | None = None
        self._withdraws = False
        self._stopper = stopper
        self._posts: dict[int, anyio.CancelScope] = {}
        self._urgent = anyio.Event()

    @property
    def halted(self) -> bool:
        """Nothing new may be announced or sent."""
        return self._halt is not None or self._stopper.stopping

    @property
    def withdraws(self) -> bool:
        """What is announced and not yet sent must not be sent either."""
        return self._withdraws or self._stopper.stopping

    @property
    def hurried(self) -> bool:
        """A signal, or a ledger that fails: what is under way has its grace, and nothing is begun."""
        return self._stopper.stopping or self._urgent.is_set()

    @property
    def halt(self) -> Halt | None:
        """The gravest reason so far; of equal ones the first."""
        if self._stopper.code is not None:
            self.stop(Halt(stop=self._stopper.code, reason="interrupted", hint=RESUME))
        return self._halt

    def stop(self, halt: Halt, *, withdraw: bool = True) -> None:
        """Take no more work, announce nothing new; without ``withdraw``, what is announced may still be sent."""
        _log.warning("submitting stops with exit code %d: %s", halt.stop, halt.reason)
        self._withdraws = self._withdraws or withdraw
        if self._halt is None or (halt.stop != self._halt.stop and gravest((halt.stop, self._halt.stop)) == halt.stop):
            self._halt = halt
        self.idle.end()

    def fail(self, error: Exception) -> None:
        """A refusal, a ledger or a bug of ours because of which the run can't go on."""
        if isinstance(error, SeedreamError):
            self.stop(Halt(stop=error.exit_code, reason=error.message, hint=error.hint))
        else:
            self.crash = self.crash or error
            self.stop(Halt(stop=ExitCode.BUG, reason=repr(error)))
        if isinstance(error, LedgerError):
            self._urgent.set()

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

            async def first(wait: Callable[[], Awaitable[None]]) -> None:
                await wait()
                either.cancel_scope.cancel()

            either.start_soon(first, self._stopper.stopped)
            either.start_soon(first, self._urgent.wait)
        self.idle.end()
        with anyio.move_on_after(self._stopper.grace if self._stopper.stopping else DRAIN_SECONDS):
            await self._stopper.left()
        for scope in list(self._posts.values()):
            scope.cancel()
