"""This module asks for tasks until they are done: rarely, each at its own time, with a few workers.

Called by ``session``. ``Cadence`` is the pure arithmetic of when to ask: a 40 s task costs three or four GETs. The
times are kept in a heap, so that a GET costs O(log n) of the number of tasks. Invariant: nothing can be lost while
polling; a signal ends it at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from heapq import heappop, heappush
from math import inf
from random import Random

import anyio

from seedream_jobs.api.replies import LONGEST_RETRY_AFTER
from seedream_jobs.api.tasks import TaskReport, joined
from seedream_jobs.errors import ExitCode, LedgerError
from seedream_jobs.ledger.service_errors import with_meaning
from seedream_jobs.ledger.state import Completed, Event, Expired, Failed, ServiceError
from seedream_jobs.run.images import without_data
from seedream_jobs.run.options import DEADLINE_SECONDS
from seedream_jobs.run.retry import Halt, full_jitter, no_earlier
from seedream_jobs.run.shutdown import Shutdown
from seedream_jobs.run.submit import LedgerPort, Observer, TaskService

_log = logging.getLogger(__name__)
FIRST_ASK = (10.0, 20.0)  # seconds of age, where nothing is known of how long tasks take
PAUSE = (3.0, 5.0)  # seconds, at least
LONGEST_WAIT = 30.0  # seconds between two GETs of one task
WORTH_HALVING = 20.0  # seconds; where less is expected to be left, the next GET is at the expected end


class Cadence:
    """When to ask for a task, in seconds since it was accepted; learns how long tasks take.

    :param pace: all waits are this many times as long as the service advises; below 1 for an emulator on this machine
    """

    def __init__(self, random: Random, *, pace: float = 1.0) -> None:
        self._random = random
        self._pace = pace
        self._typical: float | None = None

    def first(self) -> float:
        """Age of a task, in seconds, at which it is asked for the first time."""
        default = self._random.uniform(*FIRST_ASK) * self._pace
        return default if self._typical is None else max(default, self._typical * self._random.uniform(1.0, 1.1))

    def pause(self) -> float:
        """Seconds between two GETs of one task, at least."""
        return self._random.uniform(*PAUSE) * self._pace

    def next(self, age: float, estimated: float | None) -> float:
        """Seconds until the next GET of a task that is still running at that age.

        :param estimated: seconds from creation to completion, as the service expects
        """
        if estimated is None:
            wait = age / 2.0
        elif age >= estimated:
            wait = age / 4.0
        else:
            rest = estimated - age
            wait = rest / 2.0 if rest > WORTH_HALVING else rest
        return max(self.pause(), min(wait, LONGEST_WAIT * self._pace))

    def took(self, seconds: float) -> None:
        """A task has taken this long, by the service's own stamps."""
        if seconds > 0:
            self._typical = seconds if self._typical is None else 0.8 * self._typical + 0.2 * seconds


FIRST_LOOK_SECONDS = 60.0  # a pause may outlive a task's deadline by so much, if it was never asked for
ASK_AGAIN = 3  # times, where a task is done without images, or unknown
NO_IMAGES = ServiceError(status=None, code="no_images", message="the task completed without an image")
LATE = "tasks not finished by the deadline"
RESUME = "run 'seedream-jobs status' or 'fetch' later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One task to be asked for.

    :param accepted_at: Unix seconds
    """

    key: str
    task_ids: tuple[str, ...]
    accepted_at: float


@dataclass(slots=True, kw_only=True)
class _Open:
    """A task that is being polled; ``deadline`` is on the event loop's clock."""

    watch: Watch
    deadline: float
    estimated: float | None = None
    odd_answers: int = 0
    done: dict[str, TaskReport] = field(default_factory=dict)
    asked: bool = False
    cost_usd: Decimal | None = None  # the last that the service named for it, once it was done

    @property
    def patience(self) -> float:
        """Until when a pause is waited for: past the deadline only before the first GET, and not long."""
        return self.deadline if self.asked else self.deadline + FIRST_LOOK_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """How polling ended.

    :param unfinished: tasks that were still open, those that the service did not know among them
    :param gets: GETs that were made
    :param halt: why polling stopped before its end, None where every task came to its end
    """

    completed: int = 0
    failed: int = 0
    expired: int = 0
    unfinished: int = 0
    gets: int = 0
    halt: Halt | None = None
    lost: tuple[Event, ...] = ()


class Poller:
    """Polls what is added, until ``close`` was called and every task came to its end.

    :param deadline: seconds after which a task is no longer asked for, counted from when it was added; each is asked
        for at least once, so that 0 means one look at every task, unless the service asks for a pause
    :param link_life: seconds that a model's links live: before that, a task that can't be found is not given up
    :param now: Unix seconds
    :param pace: as of ``Cadence``
    """

    def __init__(
        self,
        *,
        service: TaskService,
        ledger: LedgerPort,
        shutdown: Shutdown,
        random: Random,
        now: Callable[[], float],
        link_life: float,
        concurrency: int = 8,
        deadline: float = DEADLINE_SECONDS,
        observer: Observer | None = None,
        pace: float = 1.0,
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._shutdown = shutdown
        self._random = random
        self._now = now
        self._link_life = link_life
        self._concurrency = concurrency
        self._deadline = deadline
        self._observer = observer or Observer()
        self._cadence = Cadence(random, pace=pace)
        self._due: list[tuple[float, int, _Open]] = []
        self._order = 0
        self._open = 0
        self._closed = False
        self._changed = anyio.Event()
        self._not_before = -inf
        self._unanswered = 0
        self._halt: Halt | None = None
        self._counts = {"completed": 0, "failed": 0, "expired": 0, "late": 0, "unknown": 0, "gets": 0}
        self._lost: list[Event] = []
        self._scope = anyio.CancelScope()
        self._crash: BaseException | None = None

    def add(self, watch: Watch) -> None:
        """Take on a task; may be called while polling, such as by the observer of an acceptance."""
        now = anyio.current_time()
        age = max(0.0, self._now() - watch.accepted_at)
        wait = max(0.0, self._cadence.first() - age)
        self._open += 1
        self._push(now + min(wait, self._deadline), _Open(watch=watch, deadline=now + self._deadline))

    def close(self) -> None:
        """No more tasks will be added."""
        self._closed = True
        self._changed.set()

    async def run(self) -> Polled:
        """Poll until everything is done, the deadline, a refusal or a signal. A failing ledger is in the result."""
        with self._scope:
            async with anyio.create_task_group() as group:
                group.start_soon(self._end_on_signal)
                async with anyio.create_task_group() as workers:
                    turn = anyio.Lock()
                    for _ in range(self._concurrency):
                        workers.start_soon(self._work, turn)
                group.cancel_scope.cancel()
        if self._crash is not None:
            raise self._crash
        return self._polled()

    async def _end_on_signal(self) -> None:
        await self._shutdown.wait_interrupted()
        self._stop(Halt(stop=self._shutdown.code or ExitCode.SIGINT, reason="interrupted", hint=RESUME))

    def _stop(self, halt: Halt) -> None:
        self._halt = self._halt or halt
        self._scope.cancel()

    async def _work(self, turn: anyio.Lock) -> None:
        try:
            while (task := await self._next(turn)) is not None:
                task.asked = True
                await self._take(task, await self._report(task))
        except Exception as error:  # a bug: raised as it is, not inside a group
            self._crash = self._crash or error
            self._scope.cancel()

    async def _report(self, task: _Open) -> TaskReport:
        """Ask the tasks of a request, but not those that are done; what they say together."""
        reports = []
        for task_id in task.watch.task_ids:
            report = task.done.get(task_id)
            if report is None:
                self._counts["gets"] += 1
                report = await self._service.task(task_id)
            # Not what completed without images: they may come late.
            if report.status == "failed" or any(image.url for image in report.images):
                task.done[task_id] = report
            reports.append(report)
        return joined(reports, settle=task.odd_answers >= ASK_AGAIN)

    async def _next(self, turn: anyio.Lock) -> _Open | None:
        """The next task that is due; None once all are done. Only the first of the workers looks at the clock."""
        async with turn:
            while self._open or not self._closed:
                now, ready_at = anyio.current_time(), inf
                if self._due:
                    ready_at, _, first = self._due[0]
                    if self._not_before > now:
                        ready_at = max(ready_at, min(self._not_before, first.patience))
                    if ready_at <= now:
                        heappop(self._due)
                        if self._not_before <= now:
                            return first
                        self._end("late")  # the pause outlives its deadline
                        continue
                self._changed = anyio.Event()
                with anyio.CancelScope(deadline=ready_at):
                    await self._changed.wait()
        return None

    async def _take(self, task: _Open, report: TaskReport) -> None:
        if report.status != "unavailable" and self._unanswered:
            self._unanswered = 0
            self._observer.on_trouble("")
        if report.status in ("completed", "failed") and report.cost_usd is not None:
            task.cost_usd = report.cost_usd
        key, at = task.watch.key, int(self._now())
        match report.status:
            case "running":
                task.estimated = report.estimated_time or task.estimated
                self._pause(report)
                self._ask_again(task, self._cadence.next(self._age(task), task.estimated))
            case "completed" if any(image.url for image in report.images):
                if report.created is not None and report.completed is not None:
                    self._cadence.took(float(report.completed - report.created))
                images = without_data(report.images)
                await self._done("completed", Completed(key=key, at=at, images=images, cost_usd=task.cost_usd))
            case "completed":
                if not self._is_asked_again(task):
                    await self._done("failed", Failed(key=key, at=at, error=_no_images(report), cost_usd=task.cost_usd))
            case "failed":
                error = report.problem or ServiceError(status=None, code="failed", message="")
                await self._done("failed", Failed(key=key, at=at, error=error, cost_usd=task.cost_usd))
            case "gone":
                if self._is_asked_again(task):
                    return
                if self._age(task) < self._link_life:  # as with another account's key: the task stays open
                    self._end("unknown")
                else:
                    await self._done("expired", Expired(key=key, at=at, cost_usd=task.cost_usd))
            case "unavailable":
                self._back_off(task, report)
            case "refused":
                reason = _words(report.problem) or "refused"
                self._stop(Halt(stop=report.stop or ExitCode.CREDENTIALS, reason=reason, hint=RESUME))

    def _is_asked_again(self, task: _Open) -> bool:
        """Ask again after an answer that may not be the last word; False once it was given several times."""
        task.odd_answers += 1
        if task.odd_answers > ASK_AGAIN or anyio.current_time() >= task.deadline:
            return False
        self._ask_again(task, self._cadence.pause() * task.odd_answers)
        return True

    def _back_off(self, task: _Open, report: TaskReport) -> None:
        if report.retry_after is None:  # nobody asks for a while
            wait = full_jitter(self._unanswered, self._random)
            self._not_before = max(self._not_before, anyio.current_time() + wait)
        self._unanswered += 1
        words = _words(report.problem) or "no usable answer"
        _log.info("%s did not answer: %s", task.watch.task_ids[0], words)
        self._observer.on_trouble(words)
        self._pause(report)
        self._ask_again(task, self._cadence.pause())

    def _pause(self, report: TaskReport) -> None:
        """Wait as a reply told, with the GETs of all tasks."""
        if report.retry_after is not None:
            wait = no_earlier(report.retry_after, self._random)
            self._not_before = max(self._not_before, anyio.current_time() + wait)
            if report.retry_after > LONGEST_RETRY_AFTER:
                halt = Halt(stop=ExitCode.UNFINISHED, reason="the service asked for a long pause", hint=RESUME)
                self._stop(halt)

    def _ask_again(self, task: _Open, wait: float) -> None:
        """Put the task back, or give it up for this time if its deadline has passed."""
        now = anyio.current_time()
        if now >= task.deadline:
            self._end("late")
        else:
            self._push(min(now + wait, task.deadline), task)

    async def _done(self, kind: str, event: Event) -> None:
        try:
            # What the service said of money is recorded, also where a signal ends polling.
            with anyio.CancelScope(shield=True):
                await self._ledger.record(event)
        except LedgerError as error:
            self._lost.append(event)
            self._stop(Halt(stop=error.exit_code, reason=error.message, hint=error.hint))
            return
        self._end(kind)
        self._observer.on_event(event, None)

    def _push(self, at: float, task: _Open) -> None:
        self._order += 1  # settles ties in the heap, which can't compare tasks
        heappush(self._due, (at, self._order, task))
        self._changed.set()

    def _end(self, kind: str) -> None:
        """Ask for a task no more: it came to its end, or stays open for this time."""
        self._counts[kind] += 1
        self._open -= 1
        self._changed.set()

    def _age(self, task: _Open) -> float:
        return max(0.0, self._now() - task.watch.accepted_at)

    def _polled(self) -> Polled:
        unknown = self._counts["unknown"]
        unfinished = self._open + self._counts["late"] + unknown
        halt = self._halt
        if halt is None and unfinished:
            late = [f"{LATE}: {unfinished - unknown}"] if unfinished > unknown else []
            said = [f"tasks the service does not know: {unknown}; is the key of another account?"] if unknown else []
            halt = Halt(stop=ExitCode.UNFINISHED, reason="; ".join(said + late), hint=RESUME)
        return Polled(
            completed=self._counts["completed"],
            failed=self._counts["failed"],
            expired=self._counts["expired"],
            unfinished=unfinished,
            gets=self._counts["gets"],
            halt=halt,
            lost=tuple(self._lost),
        )


def _words(problem: ServiceError | None) -> str:
    """What the service said, and what it means: for people."""
    return with_meaning(f"{problem.code} {problem.message}".strip(), problem, step=False) if problem else ""


def _no_images(report: TaskReport) -> ServiceError:
    """Why a task that completed has no image: what the service said of its images, if anything."""
    words = next((image.error for image in report.images if image.error), None)
    return ServiceError(status=None, code=NO_IMAGES.code, message=words) if words else NO_IMAGES
