"""Polling: few GETs, everything ends, nothing is believed too early, a signal ends it at once."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from random import Random
from signal import SIGINT
from statistics import median
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_jobs.api.outcomes import Flight, Outcome, Sent
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.errors import ExitCode, LedgerError
from seedream_jobs.ledger.state import Accepted, Completed, Event, Expired, Failed, Image, ServiceError
from seedream_jobs.run.budget import Spend
from seedream_jobs.run.poll import Cadence, Polled, Poller, Watch
from seedream_jobs.run.rate_limiter import RateLimiter
from seedream_jobs.run.retry import RetryBudget
from seedream_jobs.run.shutdown import Shutdown
from seedream_jobs.run.submit import Observer, Submitter

EPOCH = 1_780_000_000.0
LIFE = 72 * 3600.0
IMAGE = Image(url="https://img.example/a.jpeg")
DONE = TaskReport(status="completed", images=(IMAGE,), cost_usd=Decimal("0.0228"))
RUNNING = TaskReport(status="running")


def now() -> float:
    return EPOCH + anyio.current_time()


def stop_of(ended: Polled) -> ExitCode | None:
    """The exit code with which it stopped before its end."""
    return ended.halt.stop if ended.halt is not None else None


class Tasks:
    """Answers each GET by ``report(task_id, age in seconds, how often it was asked)``."""

    def __init__(self, report: Callable[[str, float, int], TaskReport], latency: float = 0.05) -> None:
        self.report = report
        self.latency = latency
        self.gets: dict[str, list[float]] = {}
        self.in_flight = 0
        self.most_in_flight = 0

    async def task(self, task_id: str) -> TaskReport:
        asked = self.gets.setdefault(task_id, [])
        asked.append(anyio.current_time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await anyio.sleep(self.latency)
        self.in_flight -= 1
        return self.report(task_id, anyio.current_time(), len(asked))


class Ledger:
    def __init__(self, *, dead: bool = False) -> None:
        self.events: list[Event] = []
        self.dead = dead

    async def record(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        if self.dead:
            raise LedgerError("no space left on device")
        self.events.append(event)


@pytest.fixture
def poll(virtual: Callable[..., Any]) -> Callable[..., Polled]:
    """Poll ``number`` tasks accepted ``age`` seconds ago, on the virtual clock."""

    def run(tasks: Tasks, ledger: Ledger, *, number: int = 1, age: float = 0.0, **changes: Any) -> Polled:
        async def main() -> Polled:
            given = {
                "service": tasks,
                "ledger": ledger,
                "shutdown": Shutdown(),
                "random": Random(1),
                "now": now,
                "link_life": LIFE,
            }
            poller = Poller(**(given | changes))
            for one in range(number):
                poller.add(Watch(key=f"v1:{one}", task_ids=(f"task_{one}",), accepted_at=now() - age))
            poller.close()
            return await poller.run()

        polled = virtual(main)
        assert isinstance(polled, Polled)
        return polled

    return run


@pytest.mark.parametrize("estimated", [None, 30.0, 60.0])
@pytest.mark.parametrize("stamped", [True, False])
def test_a_task_of_forty_seconds_costs_at_most_four_gets(
    poll: Callable[..., Polled], estimated: float | None, stamped: bool
) -> None:
    """The median of three hundred tasks, whatever the service says of its estimate and its stamps."""
    stamps = {"created": 1000, "completed": 1040} if stamped else {}

    def report(task_id: str, age: float, asked: int) -> TaskReport:
        if age < 40:
            return TaskReport(status="running", estimated_time=estimated)
        return TaskReport(status="completed", images=(IMAGE,), **stamps)

    tasks, ledger = Tasks(report), Ledger()
    polled = poll(tasks, ledger, number=300)
    assert (polled.completed, stop_of(polled)) == (300, None)
    assert median(len(gets) for gets in tasks.gets.values()) <= 4
    assert max(gets[-1] for gets in tasks.gets.values()) < 75
    assert tasks.most_in_flight <= 8


def test_what_tasks_have_taken_says_when_to_ask_for_the_next(virtual: Any) -> None:
    """Once durations are known, a task costs one or two GETs."""
    tasks, ledger = Tasks(lambda *_: RUNNING), Ledger()

    def report(task_id: str, age: float, asked: int) -> TaskReport:
        done = age - 50.0 * int(task_id[5:]) >= 40
        return TaskReport(status="completed", images=(IMAGE,), created=1000, completed=1040) if done else RUNNING

    tasks.report = report

    async def main() -> Polled:
        poller = Poller(service=tasks, ledger=ledger, shutdown=Shutdown(), random=Random(1), now=now, link_life=LIFE)
        async with anyio.create_task_group() as group:

            async def submit() -> None:
                for number in range(50):
                    poller.add(Watch(key=f"v1:{number}", task_ids=(f"task_{number}",), accepted_at=now()))
                    await anyio.sleep(50.0)
                poller.close()

            group.start_soon(submit)
            polled = await poller.run()
        return polled

    assert virtual(main).completed == 50
    assert median(len(gets) for gets in tasks.gets.values()) == 1


@given(st.integers(0, 2**32), st.floats(0, 10**6), st.one_of(st.none(), st.floats(0, 10**6)))
def test_the_cadence_is_three_to_thirty_seconds(seed: int, age: float, estimated: float | None) -> None:
    """No task is asked for in a hurry, none is forgotten."""
    assert 3.0 <= Cadence(Random(seed)).next(age, estimated) <= 30.0


def test_an_emulator_on_this_machine_is_asked_sooner(poll: Callable[..., Polled]) -> None:
    """A demo doesn't wait ten seconds for a task that takes one."""
    tasks = Tasks(lambda task_id, age, asked: DONE if age >= 1.0 else RUNNING)
    poll(tasks, Ledger(), pace=0.05)
    assert tasks.gets["task_0"][-1] < 1.5


def test_events_carry_what_the_service_said(poll: Callable[..., Polled]) -> None:
    """Links and cost of a completed task, the words of a failed one."""
    problem = ServiceError(status=None, code="moderation", message="内容违规")
    reports = {"task_0": DONE, "task_1": TaskReport(status="failed", problem=problem)}
    tasks, ledger = Tasks(lambda task_id, age, asked: reports[task_id]), Ledger()
    polled = poll(tasks, ledger, number=2)
    assert (polled.completed, polled.failed, polled.gets) == (1, 1, 2)
    completed = next(event for event in ledger.events if isinstance(event, Completed))
    failed = next(event for event in ledger.events if isinstance(event, Failed))
    assert (completed.images, completed.cost_usd, failed.error) == ((IMAGE,), Decimal("0.0228"), problem)


def test_completed_without_images_is_asked_again_then_a_failure_of_its_own(poll: Callable[..., Polled]) -> None:
    """The images may come late; if they don't, the record says so and not "moderation"."""
    empty = TaskReport(status="completed")
    late = Tasks(lambda task_id, age, asked: DONE if asked == 3 else empty)
    assert poll(late, Ledger()).completed == 1
    never, ledger = Tasks(lambda *_: empty), Ledger()
    assert poll(never, ledger).failed == 1
    assert isinstance(ledger.events[0], Failed)
    assert ledger.events[0].error.code == "no_images"
    assert len(never.gets["task_0"]) == 4


def test_the_cost_of_a_task_without_images_is_kept_also_where_the_last_answer_is_silent(
    poll: Callable[..., Polled],
) -> None:
    """Completed without images, and failed: what the service once named is spent, whatever it says or leaves out."""
    charged = TaskReport(status="completed", cost_usd=Decimal("0.0228"))
    silent = TaskReport(status="completed")
    failed = TaskReport(status="failed", cost_usd=Decimal("0.05"))

    def report(task_id: str, age: float, asked: int) -> TaskReport:
        if task_id == "task_1":
            return failed
        return charged if asked == 1 else silent

    ledger = Ledger()
    poll(Tasks(report), ledger, number=2)
    costs = {event.key: event.cost_usd for event in ledger.events if isinstance(event, Failed)}
    assert costs == {"v1:0": Decimal("0.0228"), "v1:1": Decimal("0.05")}


def test_an_unknown_task_stays_open_until_its_links_life_is_over(poll: Callable[..., Polled]) -> None:
    """It may be unknown for a moment, or asked for with another account's key: only time makes it expired."""
    gone = TaskReport(status="gone")
    assert poll(Tasks(lambda task_id, age, asked: gone if asked < 3 else DONE), Ledger()).completed == 1
    ledger = Ledger()
    polled = poll(Tasks(lambda *_: gone), ledger, number=3, age=LIFE - 600)
    assert (polled.unfinished, stop_of(polled), ledger.events) == (3, ExitCode.UNFINISHED, [])
    assert polled.halt is not None
    assert polled.halt.reason == "tasks the service does not know: 3; is the key of another account?"
    assert poll(Tasks(lambda *_: gone), ledger, age=LIFE + 1).expired == 1
    assert isinstance(ledger.events[0], Expired)


def test_the_deadline_leaves_tasks_open_and_says_so(poll: Callable[..., Polled]) -> None:
    """Exit 8; nothing is recorded, nothing is lost."""
    tasks, ledger = Tasks(lambda *_: RUNNING), Ledger()
    polled = poll(tasks, ledger, number=3, deadline=120.0)
    assert (polled.unfinished, stop_of(polled)) == (3, ExitCode.UNFINISHED)
    assert ledger.events == []
    assert all(gets[-1] <= 125 for gets in tasks.gets.values())


def test_a_deadline_of_nothing_is_one_look_at_each(poll: Callable[..., Polled]) -> None:
    """What ``status`` wants: also for a task that was accepted this moment."""
    tasks = Tasks(lambda *_: RUNNING)
    polled = poll(tasks, Ledger(), number=20, deadline=0.0)
    assert (polled.unfinished, polled.gets) == (20, 20)


def test_an_old_task_is_asked_for_at_once(poll: Callable[..., Polled]) -> None:
    """Resuming after days doesn't begin with a wait."""
    tasks = Tasks(lambda *_: DONE)
    poll(tasks, Ledger(), age=100_000.0)
    assert tasks.gets["task_0"] == [0.0]


def test_without_an_answer_everyone_backs_off(poll: Callable[..., Polled]) -> None:
    """An outage of five minutes costs a few GETs, not one per task and second; then all complete."""
    outage = TaskReport(status="unavailable")
    tasks = Tasks(lambda task_id, age, asked: outage if age < 300 else DONE)
    polled = poll(tasks, Ledger(), number=50)
    assert polled.completed == 50
    assert polled.gets < 50 + 8 * 20


def test_an_outage_is_told_once_it_begins_and_once_it_is_over(poll: Callable[..., Polled]) -> None:
    """Whoever draws the progress can say why nothing moves."""

    class Watching(Observer):
        def __init__(self) -> None:
            self.told: list[str] = []

        def on_trouble(self, reason: str) -> None:
            self.told.append(reason)

    gone = TaskReport(status="unavailable", problem=ServiceError(status=None, code="connect", message="refused"))
    watching = Watching()
    poll(Tasks(lambda task_id, age, asked: gone if asked < 4 else DONE), Ledger(), observer=watching)
    assert watching.told == ["connect refused"] * 3 + [""]


def test_a_pause_that_one_was_told_holds_for_all(poll: Callable[..., Polled]) -> None:
    """Retry-After on a GET: nobody asks earlier, beyond those already asking."""
    told = TaskReport(status="unavailable", retry_after=60.0)
    first: list[float] = []

    def report(task_id: str, age: float, asked: int) -> TaskReport:
        if not first:
            first.append(age)
            return told
        return DONE

    tasks = Tasks(report)
    poll(tasks, Ledger(), number=30, concurrency=2)
    gets = [at for asked in tasks.gets.values() for at in asked]
    assert sum(1 for at in gets if at < first[0] + 60.0) <= 2


@pytest.mark.parametrize("status", ["running", "unavailable"])
@pytest.mark.parametrize(("told", "latest"), [(999_999_999.0, 1.0), (800.0, 91.0)])
def test_no_pause_outlives_the_deadline(virtual: Any, status: Any, told: float, latest: float) -> None:
    """Told to wait for ever it stops at once; told to wait longer than the deadline nobody asks early or waits on."""
    tasks = Tasks(lambda *_: TaskReport(status=status, retry_after=told))

    async def main() -> tuple[Polled, float]:
        poller = Poller(
            service=tasks,
            ledger=Ledger(),
            shutdown=Shutdown(),
            random=Random(1),
            now=now,
            link_life=LIFE,
            deadline=30.0,
            concurrency=2,
        )
        for one in range(20):
            poller.add(Watch(key=f"v1:{one}", task_ids=(f"task_{one}",), accepted_at=now() - 100))
        poller.close()
        return await poller.run(), anyio.current_time()

    polled, ended = virtual(main)
    assert (stop_of(polled), polled.unfinished) == (ExitCode.UNFINISHED, 20)
    assert polled.gets <= 2
    assert ended <= latest


@pytest.mark.parametrize("stop", [ExitCode.CREDENTIALS, ExitCode.MONEY, ExitCode.USAGE])
def test_a_refusal_stops_polling(poll: Callable[..., Polled], stop: ExitCode) -> None:
    """401 would be the same for every task; they stay open."""
    refused = TaskReport(status="refused", stop=stop, problem=ServiceError(status=401, code="x", message="不行"))
    tasks = Tasks(lambda *_: refused)
    polled = poll(tasks, Ledger(), number=100, concurrency=4)
    assert (stop_of(polled), polled.unfinished) == (stop, 100)
    assert polled.gets <= 4


def test_a_signal_ends_it_at_once(virtual: Any) -> None:
    """Nothing can be lost while polling."""

    async def main() -> tuple[Polled, float]:
        shutdown = Shutdown()
        poller = Poller(
            service=Tasks(lambda *_: RUNNING, latency=50.0),
            ledger=Ledger(),
            shutdown=shutdown,
            random=Random(1),
            now=now,
            link_life=LIFE,
        )
        poller.add(Watch(key="v1:0", task_ids=("task_0",), accepted_at=now()))
        async with anyio.create_task_group() as group:

            async def interrupt() -> None:
                await anyio.sleep(30.0)
                shutdown.interrupt(SIGINT)

            group.start_soon(interrupt)
            polled = await poller.run()
        return polled, anyio.current_time()

    polled, ended = virtual(main)
    assert (stop_of(polled), polled.unfinished, ended) == (ExitCode.SIGINT, 1, 30.0)


def test_a_ledger_that_fails_ends_it_and_hands_the_event_back(poll: Callable[..., Polled]) -> None:
    """Exit 74; the links it had are not forgotten."""
    polled = poll(Tasks(lambda *_: DONE), Ledger(dead=True))
    assert stop_of(polled) is ExitCode.LEDGER
    assert isinstance(polled.lost[0], Completed)


def test_a_bug_is_raised_as_it_is(poll: Callable[..., Polled]) -> None:
    """No exception group."""

    def broken(task_id: str, age: float, asked: int) -> TaskReport:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        poll(Tasks(broken), Ledger())


def test_what_is_accepted_is_polled_while_the_rest_is_submitted(
    virtual: Callable[..., Any], make_submission: Callable[..., Any]
) -> None:
    """The first images are there long before the last request is sent, and every request completes."""
    begun: dict[str, float] = {}
    sent_at_first_image: list[int] = []
    ledger = Ledger()

    class Service(Tasks):
        async def submit(self, worker: int, body: bytes, *, idempotency_key: str, flight: Flight) -> Outcome:
            flight.sent = Sent.STARTED
            await anyio.sleep(2.0)
            task_id = f"task_{len(begun)}"
            begun[task_id] = anyio.current_time()
            return Outcome(row=8, verdict="accepted", task_id=task_id)

    def report(task_id: str, age: float, asked: int) -> TaskReport:
        if anyio.current_time() - begun[task_id] < 40:
            return TaskReport(status="running", estimated_time=60.0)
        sent_at_first_image.append(len(begun))
        return DONE

    async def main() -> None:
        random, shutdown, service = Random(1), Shutdown(), Service(report)
        shared: dict[str, Any] = {"ledger": ledger, "shutdown": shutdown, "random": random, "now": now}
        poller = Poller(service=service, link_life=LIFE, **shared)

        class Feed(Observer):
            def on_event(self, event: Event, outcome: Outcome | None) -> None:
                if isinstance(event, Accepted):
                    poller.add(Watch(key=event.key, task_ids=(event.task_id,), accepted_at=event.at))

        submitter = Submitter(
            service=service,
            limiter=RateLimiter(concurrency=4, random=random),
            retries=RetryBudget(),
            spend=Spend(),
            concurrency=4,
            observer=Feed(),
            **shared,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(poller.run)
            assert (await submitter.run(make_submission(number) for number in range(200))).accepted == 200
            poller.close()

    virtual(main)
    assert sum(isinstance(event, Completed) for event in ledger.events) == 200
    assert sent_at_first_image[0] < 150
