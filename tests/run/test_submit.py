"""The submitter, one promise at a time: a scripted service, a ledger in memory, a virtual clock or a real loop."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random
from signal import SIGINT, SIGTERM
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from seedream_jobs.api.outcomes import Flight, Observation, Outcome, Sent, judge
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.errors import ExitCode, LedgerError, UsageError
from seedream_jobs.expand.references import Reference
from seedream_jobs.ledger.state import Accepted, Completed, Entry, Event, InDoubt, Intended, NotSent, State, spent_usd
from seedream_jobs.ledger.transitions import evolve
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles
from seedream_jobs.run.budget import Budget, Spend
from seedream_jobs.run.fetch import Fetcher
from seedream_jobs.run.images import ImageSteps
from seedream_jobs.run.job_run import JobRun
from seedream_jobs.run.options import RunOptions
from seedream_jobs.run.rate_limiter import RateLimiter
from seedream_jobs.run.retry import Halt, RetryBudget
from seedream_jobs.run.session import Session
from seedream_jobs.run.shutdown import Shutdown
from seedream_jobs.run.submit import Submission, Submitted, Submitter, Weights

COST = Decimal("0.0228")
Answer = Callable[["Service", Flight], Any]


def stop_of(ended: Submitted) -> ExitCode | None:
    """The exit code with which it stopped before its end."""
    return ended.halt.stop if ended.halt is not None else None


class Ledger:
    """Durable at once; the real machine. ``fail_on`` names the kind of event that the disk refuses."""

    def __init__(self, fail_on: type[Event] | None = None) -> None:
        self.entries: dict[str, Entry] = {}
        self.events: list[Event] = []
        self.fail_on = fail_on
        self.dead = False

    async def record(self, event: Event) -> None:
        self.dead = self.dead or type(event) is self.fail_on
        if self.dead:
            raise LedgerError("no space left on device")
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
        self.entries[event.key] = evolve(self.entries.get(event.key), event)
        self.events.append(event)

    def states(self) -> Counter[State]:
        return Counter(entry.state for entry in self.entries.values())


class Service:
    """Answers by a script: ``script(n)`` gives the answer to the n-th POST."""

    def __init__(self, script: Callable[[int], Any], latency: float = 0.05) -> None:
        self.script = script
        self.latency = latency
        self.posts: list[tuple[float, str, bytes]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.verdicts: list[str] = []
        self.tasks: dict[str, TaskReport] = {}

    async def submit(self, worker: int, body: bytes, *, idempotency_key: str, flight: Flight) -> Outcome:
        self.posts.append((anyio.current_time(), idempotency_key, body))
        number = len(self.posts)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = self.script(number)
            if isinstance(answer, Exception):
                raise answer
            if answer == "stuck before":
                await anyio.sleep_forever()
            flight.sent = Sent.STARTED
            await anyio.sleep(self.latency)
            if answer == "stuck":
                await anyio.sleep_forever()
            outcome = judge(answer)
            self.verdicts.append(outcome.verdict)
            return outcome
        finally:
            self.in_flight -= 1

    async def task(self, task_id: str) -> TaskReport:
        return self.tasks.get(task_id, TaskReport(status="gone"))


def ok(number: int, **headers: str) -> Observation:
    body = json.dumps({"code": 200, "data": [{"status": "submitted", "task_id": f"task_{number:026d}"}]})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Observation(sent=Sent.STARTED, status=200, body=body.encode(), headers=named)


def error(status: int, code: str = "some_error", **headers: str) -> Observation:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"error": {"code": code, "message": "不行"}}).encode()
    return Observation(sent=Sent.STARTED, status=status, body=body, headers=named)


DROP = Observation(sent=Sent.STARTED, failure="read", detail="reset")
REFUSED = Observation(sent=Sent.NO, failure="connect", detail="refused")


def submitter(service: Service, ledger: Ledger, *, concurrency: int = 1, **changes: Any) -> Submitter:
    random = Random(1)
    given: dict[str, Any] = {
        "service": service,
        "ledger": ledger,
        "limiter": RateLimiter(concurrency=concurrency, random=random),
        "retries": RetryBudget(),
        "spend": Spend(),
        "shutdown": Shutdown(),
        "random": random,
        "now": lambda: 1_780_000_000.0 + anyio.current_time(),
        "concurrency": concurrency,
    }
    return Submitter(**(given | changes))


@pytest.fixture
def play(virtual: Callable[..., Any], make_submission: Callable[..., Submission]) -> Callable[..., Submitted]:
    """Submit ``requests`` requests to a scripted service on the virtual clock."""

    def run(service: Service, ledger: Ledger, *, requests: int | list[Submission] = 1, **changes: Any) -> Submitted:
        async def main() -> Submitted:
            work = (
                [make_submission(number, COST) for number in range(requests)] if isinstance(requests, int) else requests
            )
            return await submitter(service, ledger, **changes).run(iter(work))

        finished = virtual(main)
        assert isinstance(finished, Submitted)
        return finished

    return run


def test_work_is_pulled_as_workers_come_free(virtual: Any, make_submission: Any) -> None:
    """A million requests are not a list: at any time at most one per worker is taken and not yet done."""
    ledger, service = Ledger(), Service(ok)
    pulled = 0

    def work() -> Iterator[Submission]:
        nonlocal pulled
        for number in range(200):
            pulled += 1
            done = sum(1 for event in ledger.events if isinstance(event, Accepted))
            assert pulled - done <= 4
            yield make_submission(number, COST)

    finished = virtual(lambda: submitter(service, ledger, concurrency=4).run(work()))
    assert finished == Submitted(accepted=200)
    assert service.most_in_flight == 4
    assert ledger.states() == {State.ACCEPTED: 200}


@pytest.mark.parametrize("told", ["45", "1", None])
@pytest.mark.parametrize("accepted_every", [0, 3])
def test_eight_workers_at_429_for_ten_minutes(
    play: Callable[..., Submitted], told: str | None, accepted_every: int
) -> None:
    """Nobody is early, the retries stay in their budget, and the run ends resumable, with the rest new."""
    headers = {"retry_after": told} if told else {}
    closed: list[float] = []

    def script(number: int) -> Observation:
        now = anyio.current_time()
        if accepted_every and number % accepted_every == 0:
            return ok(number)
        closed.append(now + service.latency + float(told or 0))
        return error(429, **headers) if now < 600 else ok(number)

    service, ledger = Service(script), Ledger()
    finished = play(service, ledger, requests=400, concurrency=8)
    for at, _, _ in service.posts:
        assert not any(until - float(told or 0) <= at < until for until in closed)
    assert finished.retries <= 10 + finished.accepted // 10
    assert stop_of(finished) is ExitCode.UNFINISHED
    assert set(ledger.states()) <= {State.ACCEPTED, State.NEW}
    assert len(service.posts) <= 8 + 10 + finished.accepted * 2


def test_an_unreachable_host_costs_the_retry_budget_and_no_doubt(play: Callable[..., Submitted]) -> None:
    """Row 3: provably not sent; once the service was reached, retried with growing pauses, then left new, resumable."""
    service, ledger = Service(lambda number: REFUSED if number > 8 else ok(number)), Ledger()
    finished = play(service, ledger, requests=50, concurrency=8)
    assert stop_of(finished) is ExitCode.UNFINISHED
    assert len(service.posts) == 8 + 8 + 10
    assert ledger.states() == {State.ACCEPTED: 8, State.NEW: 8}
    assert finished.not_sent == 8


@pytest.mark.parametrize("concurrency", [1, 8])
def test_an_address_where_nobody_is_stops_the_run_at_once(play: Callable[..., Submitted], concurrency: int) -> None:
    """Before the first connection there is nothing to wait for: three that fail stop the run, and say where to."""
    service, ledger = Service(lambda number: REFUSED), Ledger()
    finished = play(service, ledger, requests=50, concurrency=concurrency)
    assert stop_of(finished) is ExitCode.UNFINISHED
    assert len(service.posts) == max(3, concurrency)
    assert set(ledger.states()) == {State.NEW}
    assert finished.halt is not None
    assert finished.halt.reason == "the service can't be reached: connect: refused"


def test_a_request_that_is_never_let_through_is_left_after_five_retries(play: Callable[..., Submitted]) -> None:
    """Row 13: the others go on; the exit code says that work remains."""
    key_of = "idem-0"

    def script(number: int) -> Observation:
        return error(400, "get_channel_failed") if service.posts[-1][1] == key_of else ok(number)

    service, ledger = Service(script), Ledger()
    finished = play(service, ledger, requests=30, concurrency=2)
    assert (finished.accepted, finished.not_sent, stop_of(finished)) == (29, 1, ExitCode.UNFINISHED)
    assert sum(1 for _, key, _ in service.posts if key == key_of) == 6


def test_a_dropped_reply_is_in_doubt_and_never_sent_again(play: Callable[..., Submitted]) -> None:
    """Row 6: without a proven key there is no second POST."""
    service, ledger = Service(lambda number: DROP if number == 2 else ok(number)), Ledger()
    finished = play(service, ledger, requests=4)
    assert (finished.accepted, finished.in_doubt, stop_of(finished)) == (3, 1, None)
    assert len(service.posts) == 4


@pytest.mark.parametrize("concurrency", [1, 8])
def test_three_silences_stop_the_run_with_what_is_in_flight_in_doubt(
    play: Callable[..., Submitted], concurrency: int
) -> None:
    """Row 6: a proxy that swallows every reply costs three requests and those under way, not the whole run."""
    service, ledger = Service(lambda number: ok(number) if number < 3 else DROP), Ledger()
    finished = play(service, ledger, requests=120, concurrency=concurrency)
    assert (finished.accepted, stop_of(finished)) == (2, ExitCode.UNFINISHED)
    verdicts = service.verdicts
    third = next(end for end in range(3, len(verdicts) + 1) if verdicts[end - 3 : end] == ["in_doubt"] * 3)
    assert len(verdicts) - third <= concurrency - 1  # replies of one moment come in any order: an acceptance resets
    assert ledger.states() == {State.ACCEPTED: 2, State.IN_DOUBT: finished.in_doubt}


@pytest.mark.parametrize("status", ["running", "gone"])
@pytest.mark.parametrize("code", [400, 402, 429, 500])
def test_an_error_that_names_a_task_id_is_never_sent_again(
    play: Callable[..., Submitted], code: int, status: Any
) -> None:
    """Row 8a: the id is confirmed by a GET, and then it is accepted; else the request is in doubt and keeps it."""
    named = Observation(
        sent=Sent.STARTED,
        status=code,
        body=json.dumps({"error": {"code": code}, "data": [{"task_id": "task_00000000000000000000000000"}]}).encode(),
    )
    service, ledger = Service(lambda number: named), Ledger()
    service.tasks["task_00000000000000000000000000"] = TaskReport(status=status)
    finished = play(service, ledger, retry_server_errors=True)
    (entry,) = ledger.entries.values()
    assert len(service.posts) == 1
    assert entry.task_id == "task_00000000000000000000000000"
    assert entry.state is (State.ACCEPTED if status == "running" else State.IN_DOUBT)
    assert stop_of(finished) is (ExitCode.MONEY if code == 402 else None)


@pytest.mark.parametrize(
    ("answer", "stop", "after"),
    [
        (error(401), ExitCode.CREDENTIALS, State.NEW),
        (error(403), ExitCode.CREDENTIALS, State.NEW),
        (error(402), ExitCode.MONEY, State.NEW),
        (error(307), ExitCode.USAGE, State.NEW),
        (error(429, retry_after="901"), ExitCode.UNFINISHED, State.NEW),
        (error(409, "idempotency_key_reused"), ExitCode.BUG, State.REJECTED),
        (Observation(sent=Sent.NO, failure="certificate"), ExitCode.USAGE, State.NEW),
        (Observation(sent=Sent.NO, failure="refused-before-sending"), ExitCode.USAGE, State.NEW),
    ],
)
def test_a_refusal_of_the_run_stops_submitting(
    play: Callable[..., Submitted], answer: Observation, stop: ExitCode, after: State
) -> None:
    """The first answer ends it: one POST, one state, everything else untouched."""
    service, ledger = Service(lambda number: answer), Ledger()
    finished = play(service, ledger, requests=20)
    assert (stop_of(finished), len(service.posts)) == (stop, 1)
    assert finished.halt is not None
    assert finished.halt.reason
    assert ledger.states() == {after: 1}


def test_posts_under_way_come_to_their_own_end_after_a_refusal(play: Callable[..., Submitted]) -> None:
    """They are paid for; a 401 to one of them is no reason to give the others up."""

    def script(number: int) -> Observation:
        service.latency = 0.1 if number == 3 else 50.0
        return error(401) if number == 3 else ok(number)

    service, ledger = Service(script), Ledger()
    finished = play(service, ledger, requests=20, concurrency=4)
    assert (finished.accepted, finished.not_sent, stop_of(finished)) == (3, 1, ExitCode.CREDENTIALS)
    assert len(service.posts) == 4


def test_ten_equal_refusals_stop_and_all_of_their_kind_are_new_again(play: Callable[..., Submitted]) -> None:
    """Row 12: it was the run that was refused; what is in flight then comes back alike and is new too."""
    service, ledger = Service(lambda number: error(400)), Ledger()
    finished = play(service, ledger, requests=100, concurrency=4)
    assert stop_of(finished) is ExitCode.FINDINGS
    assert len(service.posts) <= 13
    assert ledger.states() == {State.NEW: len(service.posts)}
    assert (finished.rejected, finished.not_sent) == (0, len(service.posts))


def test_no_intent_is_written_while_waiting_at_the_gate(play: Callable[..., Submitted]) -> None:
    """An interruption during a long Retry-After leaves nothing in doubt."""
    shutdown = Shutdown()
    service, ledger = Service(lambda number: error(429, retry_after="600")), Ledger()

    def interrupting(number: int) -> Observation:
        if number == 1:
            shutdown.interrupt(SIGINT)
        return error(429, retry_after="600")

    service.script = interrupting
    finished = play(service, ledger, requests=9, concurrency=3, shutdown=shutdown)
    assert stop_of(finished) is ExitCode.SIGINT
    assert set(ledger.states()) == {State.NEW}


@pytest.mark.parametrize("kind", [Intended, Accepted])
def test_a_ledger_that_fails_stops_everything_and_loses_no_id(
    play: Callable[..., Submitted], kind: type[Event]
) -> None:
    """Rows 1 and 21: no POST without its intent; an id that can't be written is handed back."""
    service, ledger = Service(ok), Ledger(fail_on=kind)
    finished = play(service, ledger, requests=20, concurrency=4)
    assert stop_of(finished) is ExitCode.LEDGER
    if kind is Intended:
        assert service.posts == []
        assert finished.lost == ()
    else:
        assert len(service.posts) <= 4
        ids = {event.task_id for event in finished.lost if isinstance(event, Accepted)}
        assert ids == {f"task_{number:026d}" for number in range(1, len(service.posts) + 1)}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(("answer", "state"), [("stuck", State.IN_DOUBT), ("stuck before", State.NEW)])
def test_a_cancelled_run_records_what_was_in_flight(
    backend: str, answer: str, state: State, make_submission: Any
) -> None:
    """Row 7: in doubt if the headers had started, not sent if not; on both event loops."""
    ledger, service = Ledger(), Service(lambda number: answer)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(
                submitter(service, ledger, concurrency=3).run, iter([make_submission(n) for n in range(9)])
            )
            while service.in_flight < 3:
                await anyio.sleep(0.001)
            await anyio.sleep(0.1)
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert ledger.states() == {state: 3}


@pytest.mark.parametrize(("signals", "ends"), [([SIGINT], 6.1), ([SIGTERM], 2.1), ([SIGINT, SIGINT], 1.1)])
def test_an_interruption_drains_for_its_grace_and_a_second_one_ends_it(
    virtual: Any, make_submission: Any, signals: list[Any], ends: float
) -> None:
    """What still comes in time is accepted; what doesn't is in doubt; nothing new begins."""
    ledger, shutdown = Ledger(), Shutdown()
    service = Service(lambda number: "stuck" if number % 2 else ok(number), latency=0.5)

    async def main() -> tuple[Submitted, float]:
        async with anyio.create_task_group() as group:

            async def interrupt() -> None:
                await anyio.sleep(0.1)
                shutdown.interrupt(signals[0])
                shutdown.interrupt(signals[0])  # the same press, heard twice
                for received in signals[1:]:
                    await anyio.sleep(1.0)
                    shutdown.interrupt(received)

            group.start_soon(interrupt)
            work = (make_submission(number) for number in range(50))
            finished = await submitter(service, ledger, concurrency=4, shutdown=shutdown).run(work)
            return finished, anyio.current_time()

    finished, ended = virtual(main)
    assert ended == pytest.approx(ends)
    assert len(service.posts) == 4
    assert (finished.accepted, finished.in_doubt) == (2, 2)
    assert stop_of(finished) == 128 + signals[0]
    assert {event.doubt for event in ledger.events if isinstance(event, InDoubt)} == {"interrupted"}


def test_a_bug_is_raised_as_it_is_once_the_others_are_recorded(virtual: Any, make_submission: Any) -> None:
    """No exception group, no POST without a recorded outcome."""
    ledger = Ledger()
    service = Service(lambda number: ZeroDivisionError("a bug") if number == 3 else ok(number), latency=30.0)
    work = [make_submission(number) for number in range(9)]
    with pytest.raises(ZeroDivisionError):
        virtual(lambda: submitter(service, ledger, concurrency=3).run(iter(work)))
    assert ledger.states() == {State.ACCEPTED: 2, State.NEW: 1}


def test_a_refusal_while_making_a_body_stops_the_run(play: Callable[..., Submitted], make_submission: Any) -> None:
    """A reference image that changed since the plan: nothing is announced for it, its exit code is the run's."""

    def changed() -> bytes:
        raise UsageError("refs/dog.png has changed since the plan", hint="plan again")

    first = make_submission(0)
    broken = Submission(request=first.request, generation=1, idempotency_key="i", max_cost_usd=COST, body=changed)
    service, ledger = Service(ok), Ledger()
    finished = play(service, ledger, requests=[broken])
    assert finished.halt == Halt(
        stop=ExitCode.USAGE, reason="refs/dog.png has changed since the plan", hint="plan again"
    )
    assert ledger.events == []


def test_bodies_in_flight_are_capped(virtual: Any, make_submission: Any) -> None:
    """Large reference images are made and held only as far as the memory goes, whatever the concurrency."""
    service, ledger = Service(ok), Ledger()
    reference = Reference(path="refs/a.png", sha256="0" * 64, format="png", bytes=300_000, width=9, height=9)

    def large(number: int) -> Submission:
        plain = make_submission(number)
        request = type(plain.request)(
            **{name: getattr(plain.request, name) for name in plain.request.__slots__}
            | {"references": {"sha256:0": reference}}
        )
        return Submission(
            request=request, generation=1, idempotency_key=str(number), max_cost_usd=COST, body=plain.body
        )

    work = (large(number) for number in range(12))
    run = submitter(service, ledger, concurrency=8, memory=Weights(1_000_000))
    assert virtual(lambda: run.run(work)).accepted == 12
    assert service.most_in_flight == 2


@pytest.mark.parametrize("status", ["running", "completed", "gone", "unavailable"])
def test_a_salvaged_id_counts_once_the_service_knows_it(play: Callable[..., Submitted], status: Any) -> None:
    """Row 9: a token out of a broken reply is confirmed by a GET, else it stays a doubt with its token recorded."""
    broken = Observation(sent=Sent.STARTED, status=200, body=b'<html>"task_00000000000000000000000000"')
    service, ledger = Service(lambda number: broken), Ledger()
    service.tasks["task_00000000000000000000000000"] = TaskReport(status=status)
    finished = play(service, ledger)
    (entry,) = ledger.entries.values()
    assert entry.task_id == "task_00000000000000000000000000"
    known = status in ("running", "completed")
    assert entry.state is (State.ACCEPTED if known else State.IN_DOUBT)
    assert (finished.accepted, finished.in_doubt) == ((1, 0) if known else (0, 1))


def test_in_progress_is_asked_again_with_the_same_key_and_body(play: Callable[..., Submitted]) -> None:
    """Row 19: as told, until the first POST's answer is there."""
    pending = error(409, "idempotency_in_progress", retry_after="20")
    service, ledger = Service(lambda number: pending if number < 4 else ok(number)), Ledger()
    finished = play(service, ledger)
    assert (finished.accepted, finished.in_doubt, len(service.posts)) == (1, 0, 4)
    assert len({post[1:] for post in service.posts}) == 1


def test_in_progress_for_more_than_ten_minutes_is_in_doubt(play: Callable[..., Submitted]) -> None:
    """Row 19 ends, and says "pending"."""
    service, ledger = Service(lambda number: error(409, "idempotency_in_progress", retry_after="50")), Ledger()
    assert play(service, ledger).in_doubt == 1
    assert service.posts[-1][0] <= 600.1
    assert next(iter(ledger.entries.values())).doubt == "pending"


def doubtful(make_submission: Any, ledger: Ledger, *, age: int = 3600, number: int = 0) -> Submission:
    """A submission that an earlier run left in doubt and that the plan says is replayed."""
    plain = make_submission(number, COST)
    begun = 1_780_000_000 - age
    for event in (plain.intent(begun), InDoubt(key=plain.request.key, at=begun, doubt="crash")):
        ledger.entries[event.key] = evolve(ledger.entries.get(event.key), event)
    return replace(plain, in_doubt_since=begun)


def test_a_replay_is_tried_three_times_under_the_same_key(play: Callable[..., Submitted], make_submission: Any) -> None:
    """Same key, same body; each may have been charged, and counts."""
    ledger, service = Ledger(), Service(lambda number: error(504))
    finished = play(service, ledger, requests=[doubtful(make_submission, ledger)])
    assert (finished.accepted, finished.in_doubt) == (0, 1)
    assert [key for _, key, _ in service.posts] == ["idem-0"] * 3
    (entry,) = ledger.entries.values()
    assert (entry.replays, spent_usd(entry)) == (3, 4 * COST)


def test_a_doubt_of_this_very_run_is_not_replayed(play: Callable[..., Submitted]) -> None:
    """Nobody has agreed to it: not even where a reply is marked as replayed."""
    service = Service(lambda number: DROP if number == 2 else ok(number, idempotency_replayed="true"))
    ledger = Ledger()
    finished = play(service, ledger, requests=3)
    assert (finished.accepted, finished.in_doubt, len(service.posts)) == (2, 1, 3)


@pytest.mark.parametrize(
    ("answers", "charges"),
    [
        ([ok(1)], 2),
        ([ok(1, idempotency_replayed="true")], 1),
        ([DROP, ok(1)], 3),
        ([DROP, ok(1, idempotency_replayed="true")], 1),
        ([error(429), ok(1)], 2),
        ([error(409, "idempotency_in_progress"), ok(1)], 1),
        ([error(409, "idempotency_in_progress"), error(409, "idempotency_in_progress")], 1),
    ],
)
def test_a_replay_that_may_have_been_charged_is_on_record(
    play: Callable[..., Submitted], make_submission: Any, answers: list[Observation], charges: int
) -> None:
    """Unless its answer shows that it is the first one's, it is a submission of its own, in every budget as well."""
    ledger, service = Ledger(), Service(lambda number: answers[min(number, len(answers)) - 1])
    budget = Budget("--budget", 9 * COST)
    finished = play(service, ledger, requests=[doubtful(make_submission, ledger)], spend=Spend([budget]))
    (entry,) = ledger.entries.values()
    accepted = answers[-1].status == 200
    assert (finished.accepted, finished.in_doubt) == ((1, 0) if accepted else (0, 1))
    assert entry.state is (State.ACCEPTED if accepted else State.IN_DOUBT)
    assert spent_usd(entry) == charges * COST
    assert budget.spent == (charges - 1) * COST  # the first one's was reserved by the run before
    assert [one.state for one in entry.earlier] == ([State.ABANDONED] if accepted and charges > 1 else [])


def test_a_mark_that_first_answers_carry_proves_nothing(play: Callable[..., Submitted], make_submission: Any) -> None:
    """A header that is always there: a replay's answer is another submission."""
    ledger, service = Ledger(), Service(lambda number: ok(number, idempotency_replayed="true"))
    play(service, ledger, requests=[make_submission(1, COST), doubtful(make_submission, ledger)])
    assert {number: spent_usd(entry) for number, entry in enumerate(ledger.entries.values())} == {0: 2 * COST, 1: COST}


def test_a_later_not_now_leaves_the_first_post_in_doubt(play: Callable[..., Submitted], make_submission: Any) -> None:
    """A 429 to a replay says nothing about what was sent before it."""
    answers = [error(429), error(400), error(503)]
    ledger, service = Ledger(), Service(lambda number: answers[number - 1])
    finished = play(service, ledger, requests=[doubtful(make_submission, ledger)])
    assert (finished.in_doubt, finished.not_sent, finished.rejected) == (1, 0, 0)
    assert ledger.states() == {State.IN_DOUBT: 1}
    assert spent_usd(next(iter(ledger.entries.values()))) == 2 * COST


def test_a_replay_needs_the_money_once_more(play: Callable[..., Submitted], make_submission: Any) -> None:
    """Every budget has to bear it."""
    ledger, service = Ledger(), Service(ok)
    finished = play(
        service, ledger, requests=[doubtful(make_submission, ledger)], spend=Spend([Budget("--budget", COST / 2)])
    )
    assert (finished.in_doubt, len(service.posts)) == (1, 0)


@pytest.mark.parametrize(("age", "posts"), [(3600, 1), (23 * 3600 + 60, 0)])
def test_an_earlier_doubt_is_replayed_only_while_the_key_is_kept(
    play: Callable[..., Submitted], make_submission: Any, age: int, posts: int
) -> None:
    """Within 23 h; else it is left alone, without a new intent."""
    ledger, service = Ledger(), Service(ok)
    finished = play(service, ledger, requests=[doubtful(make_submission, ledger, age=age)])
    assert len(service.posts) == posts
    assert (finished.accepted, finished.in_doubt) == (posts, 1 - posts)


@pytest.mark.parametrize(("opted", "posts"), [(False, 1), (True, 2)])
def test_server_errors_are_sent_again_only_where_the_operator_accepts_it(
    play: Callable[..., Submitted], opted: bool, posts: int
) -> None:
    """--retry-server-errors, row 16."""
    service, ledger = Service(lambda number: error(500) if number == 1 else ok(number)), Ledger()
    assert play(service, ledger, retry_server_errors=opted).accepted == posts - 1
    assert len(service.posts) == posts
    assert spent_usd(next(iter(ledger.entries.values()))) == posts * COST


def test_a_server_error_that_is_sent_again_needs_the_money_twice(play: Callable[..., Submitted]) -> None:
    """The first POST may have been charged; a budget for one is not a budget for two."""
    service, ledger = Service(lambda number: error(500)), Ledger()
    finished = play(service, ledger, retry_server_errors=True, spend=Spend([Budget("--budget", COST)]))
    assert (len(service.posts), finished.in_doubt) == (1, 1)


def test_the_budget_holds_with_everything_in_flight(play: Callable[..., Submitted]) -> None:
    """Eight workers, money for five: five POSTs, exit 5, the rest untouched."""
    service, ledger = Service(ok), Ledger()
    budget = Budget("--budget", COST * 5)
    finished = play(service, ledger, requests=20, concurrency=8, spend=Spend([budget]))
    assert (finished.accepted, stop_of(finished), len(service.posts)) == (5, ExitCode.MONEY, 5)
    assert budget.left == 0


def test_the_observer_hears_of_each_event_once_it_is_durable(play: Callable[..., Submitted]) -> None:
    """Progress never runs ahead of the record."""
    heard: list[Event] = []

    class Observer:
        def on_event(self, event: Event, outcome: Outcome | None) -> None:
            assert event in ledger.events
            assert (outcome is None) == isinstance(event, Intended)
            heard.append(event)

    answers = {1: error(429), 2: DROP, 3: error(400)}
    service, ledger = Service(lambda number: answers.get(number) or ok(number)), Ledger()
    play(service, ledger, requests=6, concurrency=2, observer=Observer())
    assert sorted(map(id, heard)) == sorted(map(id, ledger.events))
    assert {type(event) for event in heard} >= {Intended, Accepted, NotSent, InDoubt}


def test_weights_above_the_capacity_count_as_all_of_it() -> None:
    """A body larger than the cap is still sent, alone."""
    weights = Weights(100)
    assert weights.acquire_nowait(1000)
    assert not weights.acquire_nowait(1)
    weights.release(1000)
    assert weights.acquire_nowait(100)


def test_a_wait_for_memory_that_is_called_off_takes_nothing(virtual: Any) -> None:
    """Whoever is cancelled while waiting leaves the place to the next."""

    async def main() -> None:
        weights = Weights(100)
        assert weights.acquire_nowait(100)
        with anyio.move_on_after(1.0):
            await weights.acquire(60)
        async with anyio.create_task_group() as group:
            group.start_soon(weights.acquire, 70)
            group.start_soon(weights.acquire, 30)
            await anyio.sleep(1.0)
            weights.release(100)
        assert not weights.acquire_nowait(1)
        weights.release(30)
        assert weights.acquire_nowait(30)

    virtual(main)


class Quiet:
    """A watcher that nothing is shown to."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def session(service: Service, **changes: Any) -> Session:
    given: dict[str, Any] = {"service": service, "downloads": None, "shutdown": Shutdown(), "watcher": Quiet()}
    return Session(**(given | {"options": RunOptions(concurrency=1, deadline=60.0)} | changes))


def job_of(submissions: Iterable[Submission], ledger: Any = None, **parts: Any) -> JobRun:
    profile = profiles()[DEFAULT_MODEL]
    given: dict[str, Any] = {
        "shown": "a.yaml",
        "ledger": ledger or Ledger(),
        "submissions": iter(submissions),
        "root": Path(),
    }
    return JobRun(**(given | {"profile": profile, "poll": False} | parts))


def test_a_request_that_is_left_after_five_retries_stops_no_other_job(virtual: Any, make_submission: Any) -> None:
    """One unlucky request of the first job: the second one is submitted all the same."""
    service = Service(lambda number: error(400, "get_channel_failed") if number <= 6 else ok(number))
    jobs = [job_of([make_submission(0, COST)]), job_of([make_submission(1, COST)])]
    ended = [result.submitted for result in virtual(lambda: session(service).run(jobs))]
    assert sorted((one.accepted, one.not_sent, stop_of(one)) for one in ended) == [
        (0, 1, ExitCode.UNFINISHED),
        (1, 0, None),
    ]


def test_what_stops_the_first_job_stops_the_second(virtual: Any, make_submission: Any) -> None:
    """Money is missing for all alike; the reason is told once."""
    service = Service(lambda number: error(402))
    jobs = [job_of([make_submission(0, COST)]), job_of([make_submission(1, COST)])]
    ended = [result.submitted for result in virtual(lambda: session(service).run(jobs))]
    assert [stop_of(one) for one in ended] == [ExitCode.MONEY] * 2
    assert sorted(bool(one.halt.reason) for one in ended) == [False, True]
    assert len(service.posts) == 1


class KeysIn(dict[str, Any]):
    """Entries of which none waits to be fetched."""

    def keys_in(self, *states: State) -> tuple[str, ...]:
        return ()


@pytest.mark.slow
def test_no_number_of_tasks_is_too_many_for_the_fetcher(
    virtual: Any, make_submission: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them complete than a million while nothing is fetched: the observer can't wait, and none is refused."""
    seen: list[Any] = []

    class Poller:
        def __init__(self) -> None:
            self._closed = anyio.Event()
            self.close, self.run = self._closed.set, self._closed.wait

    class Deaf(Fetcher):
        async def run(self, work: Any) -> Any:
            raise UsageError("the folder can't be written")

    monkeypatch.setattr("seedream_jobs.run.session.Fetcher", Deaf)
    monkeypatch.setattr(Session, "_poller", lambda self, job, observer: seen.append(observer) or Poller())
    entries = KeysIn({"v1:0": SimpleNamespace(max_cost_usd=None)})
    ledger = SimpleNamespace(entries=entries, paths=SimpleNamespace(manifest=Path("a.manifest.jsonl")))
    done = Completed(key="v1:0", at=0, images=())

    def submissions() -> Iterator[Submission]:
        for _ in range(1_000_001):
            seen[0].on_event(done, None)
        yield from ()

    (ended,) = virtual(lambda: session(Service(ok)).run([job_of(submissions(), ledger, steps=ImageSteps())]))
    assert ended.submitted.halt is None
    assert ended.refusal is not None
