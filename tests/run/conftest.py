"""The simulation: the submitter and a service that misbehaves by seed, on a virtual clock and a seeded scheduler.

``simulate(seed)`` plays one seed and checks every invariant; it raises ``Violation`` naming the first that broke. All
chance comes from the seed, the scheduler's too, so that the same seed gives the same trace.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from seedream_jobs.api.outcomes import Flight, Observation, Outcome, Sent, judge
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.errors import LedgerError
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.state import (
    Accepted,
    Completed,
    Entry,
    Event,
    Image,
    InDoubt,
    Intended,
    NotSent,
    Rejected,
    State,
    spent_usd,
)
from seedream_jobs.ledger.transitions import evolve, settle_open_intent
from seedream_jobs.run.budget import Budget, ObservedPrice, Spend
from seedream_jobs.run.options import Rate
from seedream_jobs.run.rate_limiter import RateLimiter
from seedream_jobs.run.retry import RetryBudget
from seedream_jobs.run.shutdown import Shutdown
from seedream_jobs.run.submit import Submission, Submitted, Submitter

COST = Decimal("0.0228")
EPOCH = 1_780_000_000.0
DOUBTED = int(EPOCH) - 3600

MIXES: dict[str, dict[str, float]] = {
    "calm": {"ok": 95, "told": 1, "drop": 1, "rejected": 3},
    "storm": {"ok": 40, "told": 40, "limited": 20},
    "flaky": {"ok": 50, "unreachable": 15, "drop": 15, "drop_uncharged": 10, "channel": 10},
    "dropping": {"ok": 40, "drop": 50, "unreadable": 5, "token": 5},
    "broken": {"ok": 60, "charged_500": 20, "uncharged_502": 20},
    "refusing": {"ok": 5, "rejected": 60, "alike": 35},
    "strict": {"alike": 100},
    "hostile": {
        "ok": 50,
        "unauthorised": 2,
        "unpaid": 2,
        "redirect": 1,
        "pause": 2,
        "told": 10,
        "drop": 20,
        "token": 13,
    },
    "limited": {"limited": 70, "told": 30},
    "swamped": {"ok": 60, "drop_uncharged": 20, "limited": 20},
    "dead": {"unreachable": 100},
}


class Violation(AssertionError):
    """An invariant that did not hold."""


def must(holds: bool, law: str) -> None:
    if not holds:
        raise Violation(law)


@dataclass
class Plan:
    """What a seed decides before anything runs."""

    seed: int
    random: Random
    mix: str
    concurrency: int
    requests: int
    budget: Decimal | None
    rate: Rate | None
    honours: bool
    retry_server_errors: bool
    signals: list[tuple[float, signal.Signals]]
    cancelled_at: float | None
    ledger_fails_at: int | None
    slow_disk: bool
    rises_at: float | None
    factor: int
    doubts: int

    @classmethod
    def of(cls, seed: int) -> Plan:
        random = Random(seed)
        requests = random.choice([1, 3, 8, 14, 24])
        first = random.uniform(0.0, 8.0)
        signals = [(first, random.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))]
        if random.random() < 0.4:
            signals.append((first + random.choice([0.2, 0.7, 2.5]), signal.SIGINT))
        market = Random(seed + 4)
        return cls(
            seed=seed,
            random=random,
            mix=random.choice(list(MIXES)),
            concurrency=random.choice([1, 2, 4, 8]),
            requests=requests,
            budget=COST * random.randint(1, requests) if random.random() < 0.5 else None,
            rate=Rate(count=random.choice([1, 5, 30]), seconds=1.0) if random.random() < 0.2 else None,
            honours=random.random() < 0.4,
            retry_server_errors=random.random() < 0.2,
            signals=signals if random.random() < 0.35 else [],
            cancelled_at=random.uniform(0.0, 8.0) if random.random() < 0.1 else None,
            ledger_fails_at=random.randint(1, 2 * requests + 1) if random.random() < 0.1 else None,
            slow_disk=random.random() < 0.4,
            doubts=random.randint(1, min(3, requests)) if random.random() < 0.4 else 0,
            rises_at=market.uniform(0.0, 6.0) if market.random() < 0.4 else None,
            factor=market.choice([2, 4]),
        )

    def price(self, now: float) -> Decimal:
        """USD that the service charges for an image at this moment."""
        return COST if self.rises_at is None or now < self.rises_at else COST * self.factor


class SimulatedLedger:
    """Durable after a while, in order for each caller; the real machine decides what is legal. Fail-stop on demand."""

    def __init__(self, plan: Plan, trace: list[tuple[Any, ...]]) -> None:
        self.entries: dict[str, Entry] = {}
        self.last: dict[str, Event] = {}
        self.dead = False
        self.price = COST  # the highest that was seen to be charged
        self.settled: dict[str, Decimal] = {}
        self._announced: set[str] = set()
        self._budget = plan.budget
        self._left = plan.ledger_fails_at
        self._random = Random(plan.seed + 1)
        self._waits = [0.0, 0.003, 0.4] if plan.slow_disk else [0.0, 0.0, 0.003]
        self._trace = trace

    async def record(self, event: Event) -> None:
        if not self.dead and self._left is not None:
            self._left -= 1
            self.dead = self._left <= 0
        if self.dead:
            raise LedgerError("no space left on device")
        known = self.entries.get(event.key)
        replay = known is not None and known.state is State.IN_DOUBT  # the service's side looks at those
        if isinstance(event, Intended) and event.key not in self._announced and not replay:
            self._announced.add(event.key)
            committed = sum(self.settled.get(key, self.price) for key in self._announced)
            law = "the budget holds" if self.price == COST else "the price that was seen is counted"
            must(self._budget is None or committed <= self._budget, law)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self._random.choice(self._waits))
        if isinstance(event, NotSent | Rejected) and self.entries[event.key].state is State.INTENT:
            self._announced.discard(event.key)
        if self.dead:
            raise LedgerError("no space left on device")
        self.entries[event.key] = evolve(self.entries.get(event.key), event)
        self.last[event.key] = event
        self._trace.append((round(anyio.current_time(), 6), type(event).__name__, event.key, event.at))


@dataclass
class Post:
    """What the service knows of one POST; ``answer`` is what it meant to the client, None while it runs."""

    key: str
    started: float
    charged: bool = False
    answer: Outcome | None = None


class SimulatedService:
    """Charges at acceptance, before it replies, and checks the laws that can be checked when a POST arrives."""

    def __init__(self, plan: Plan, ledger: SimulatedLedger, shutdown: Shutdown, trace: list[tuple[Any, ...]]) -> None:
        self.posts: list[Post] = []
        self.by_key: dict[str, list[Post]] = {}
        self.acknowledged: dict[str, str] = {}
        self.charges: Counter[str] = Counter()
        self.paid: dict[str, list[Decimal]] = {}
        self.in_flight: int | None = None
        self.retries = 0
        self.not_before = 0.0
        self.halted = False
        self.busy: set[int] = set()
        self.replayed: set[str] = set()
        self._tasks: dict[str, str] = {}
        self._plan = plan
        self._ledger = ledger
        self._stopper = shutdown
        self._random = Random(plan.seed + 2)
        self._trace = trace

    async def submit(self, worker: int, body: bytes, *, idempotency_key: str, flight: Flight) -> Outcome:
        key = json.loads(body)["key"]
        post = Post(key=key, started=anyio.current_time())
        self._check(worker, post)
        self.busy.add(worker)
        self.posts.append(post)
        self.by_key.setdefault(key, []).append(post)
        try:
            seen = await self._play(post, idempotency_key, flight)
        finally:
            self.busy.discard(worker)
            self._trace.append((round(anyio.current_time(), 6), "post", key, worker, post.charged))
        outcome = post.answer = judge(seen)
        if outcome.task_id and outcome.verdict == "accepted":
            self.acknowledged[key] = outcome.task_id
        if outcome.retry_after is not None:
            self.not_before = max(self.not_before, anyio.current_time() + int(seen.headers["retry-after"]))
        self.halted = self.halted or outcome.stop is not None
        return outcome

    def leave_in_doubt(self, submission: Submission) -> None:
        """An earlier run left this one, and the plan says that it is replayed. It may have been charged."""
        key = submission.request.key
        self.replayed.add(key)
        for event in (submission.intent(DOUBTED), InDoubt(key=key, at=DOUBTED, doubt="crash")):
            self._ledger.entries[key] = evolve(self._ledger.entries.get(key), event)
        if self._random.random() < 0.5:
            self.charges[key] += 1
            task_id = f"task_{len(self._tasks):026d}"
            self._tasks[submission.idempotency_key if self._plan.honours else task_id] = task_id

    async def task(self, task_id: str) -> TaskReport:
        await anyio.sleep(self._random.choice([0.01, 0.3]))
        known = task_id in self._tasks.values()
        return TaskReport(status=self._random.choice(["running", "unavailable"]) if known else "gone")

    def _check(self, worker: int, post: Post) -> None:
        now = anyio.current_time()
        must(isinstance(self._ledger.last.get(post.key), Intended), "no POST before its intent is durable")
        must(now >= self.not_before, "never earlier than told")
        must(self._stopper.code is None, "no POST begins after a signal")
        must(not self.halted, "no POST begins once the run was refused")
        must(not self._ledger.dead, "no POST begins after the ledger has failed")
        must(worker not in self.busy and len(self.busy) < self._plan.concurrency, "no more in flight than allowed")
        earlier = self.by_key.get(post.key, [])
        unsafe = [one for one in earlier if _may_be_charged(one)]
        if unsafe and post.key not in self.replayed:
            rows = {one.answer.row if one.answer else None for one in unsafe}
            opted = rows <= {19} or (self._plan.retry_server_errors and rows <= {16, 19})
            must(opted, "nothing in doubt is sent again unless the plan says so")
        self._check_pace(post, earlier)
        if self._plan.budget is not None:
            open_posts = [one.key for one in self.posts if _may_be_charged(one) and not self._is_of_earlier_run(one)]
            if self._plan.honours:
                found = {one.key for one in self.posts if one.answer and one.answer.replayed} & self.replayed
                open_posts = list(set(open_posts) - found - {post.key})
            own = Decimal(0) if self._is_of_earlier_run(post) else COST
            committed = sum((self._ledger.settled.get(key, COST) for key in open_posts), start=own)
            must(committed <= self._plan.budget, "the budget holds")

    def _is_of_earlier_run(self, post: Post) -> bool:
        """Row 19, now or before: the service is at work on the POST of an earlier run, which that run has paid for."""
        known = [one for one in (*self.by_key.get(post.key, []), post) if one.started <= post.started]
        pending = any(one.answer is not None and one.answer.row == 19 for one in known)
        return post.key in self.replayed and pending and not post.charged

    def _check_pace(self, post: Post, earlier: list[Post]) -> None:
        plan, now = self._plan, anyio.current_time()
        if plan.rate is not None:
            recent = sum(1 for one in self.posts if now - one.started < plan.rate.seconds)
            must(recent < plan.rate.count + plan.rate.burst + plan.concurrency, "the rate holds")
        asked_for = post.key in self.replayed or (plan.honours and any(_may_be_charged(one) for one in earlier))
        if earlier and not asked_for:
            self.retries += 1
            again = sum(1 for one in earlier if one.answer and one.answer.verdict in ("not_sent", "in_doubt"))
            must(again <= 5, "at most five retries of one request")
            must(self.retries <= 10 + len(self.acknowledged) // 10, "retries stay within their budget")

    async def _play(self, post: Post, idempotency_key: str, flight: Flight) -> Observation:
        kind = self._random.choices(list(MIXES[self._plan.mix]), list(MIXES[self._plan.mix].values()))[0]
        await anyio.sleep(self._random.choice([0.0, 0.01, 0.5]))
        if kind == "unreachable":
            return Observation(sent=Sent.NO, failure="connect", detail="refused")
        flight.sent = Sent.STARTED
        await anyio.sleep(self._random.choice([0.01, 0.05, 0.3]))
        if self._plan.honours and idempotency_key in self._tasks:
            if self._random.random() < 0.2:
                return _reply(409, _error("idempotency_in_progress"), {"retry-after": "3"})
            return _accepted(self._tasks[idempotency_key], {"idempotency-replayed": "true"})
        if kind in CHARGED:
            self.charges[post.key] += 1
            self.paid.setdefault(post.key, []).append(self._plan.price(anyio.current_time()))
            post.charged = True
            task_id = f"task_{len(self._tasks):026d}"
            self._tasks[idempotency_key if self._plan.honours else task_id] = task_id
        await anyio.sleep(self._random.choice([0.01, 0.2, 3.0, 20.0] if kind != "told" else [0.01]))
        if kind == "ok":
            return _accepted(task_id, {})
        if kind == "token":
            return _reply(200, f'<html>"{task_id}"'.encode(), {})
        return self._answer(kind)

    def _answer(self, kind: str) -> Observation:
        match kind:
            case "drop" | "drop_uncharged":
                return Observation(sent=Sent.STARTED, failure="read", detail="reset")
            case "told":
                return _reply(429, _error("rate_limit_error"), {"retry-after": str(self._random.choice([1, 5, 30]))})
            case "pause":
                return _reply(429, _error("rate_limit_error"), {"retry-after": "3600"})
            case "rejected":
                return _reply(400, _error(f"bad {self._random.randint(0, 3)}"), {})
            case "unreadable":
                return _reply(200, b"<html>hello", {})
            case _:
                status, code = PLAIN[kind]
                return _reply(status, _error(code), {})


CHARGED = {"ok", "drop", "unreadable", "token", "charged_500"}
PLAIN = {
    "limited": (429, "rate_limit_error"),
    "channel": (400, "get_channel_failed"),
    "alike": (400, "invalid_request_error"),
    "charged_500": (500, "server_error"),
    "uncharged_502": (502, "bad_gateway"),
    "unauthorised": (401, "authentication_error"),
    "unpaid": (402, "payment_required"),
    "redirect": (307, ""),
}


def _may_be_charged(post: Post) -> bool:
    return post.answer is None or post.answer.verdict in ("accepted", "in_doubt")


def _error(code: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": "不行"}}).encode()


def _accepted(task_id: str, headers: dict[str, str]) -> Observation:
    return _reply(200, json.dumps({"code": 200, "data": [{"task_id": task_id}]}).encode(), headers)


def _reply(status: int, body: bytes, headers: dict[str, str]) -> Observation:
    return Observation(sent=Sent.STARTED, status=status, body=body, headers=headers)


@dataclass
class Played:
    """What came of one seed."""

    plan: Plan
    finished: Submitted | None
    service: SimulatedService
    ledger: SimulatedLedger
    untouched: set[str]
    trace: list[tuple[Any, ...]] = field(default_factory=list)


def submission(number: int, cost: Decimal | None = COST) -> Submission:
    key = f"v1:{number:064x}"
    request = Request(
        key=key,
        address=f"sim/{number}#1",
        payload={"model": "doubao-seedream-5-0-lite", "prompt": "a heron"},
        references={},
        cell={},
        repeat=1,
        max_images=1,
        output=f"out/{number}",
    )
    body = json.dumps({"key": key}).encode()
    return Submission(
        request=request, generation=1, idempotency_key=f"idem-{number}", max_cost_usd=cost, body=lambda: body
    )


async def _play(plan: Plan) -> Played:
    trace: list[tuple[Any, ...]] = []
    ledger = SimulatedLedger(plan, trace)
    shutdown = Shutdown()
    service = SimulatedService(plan, ledger, shutdown, trace)
    budgets = [Budget("--budget", plan.budget)] if plan.budget is not None else []
    random, price = Random(plan.seed + 3), ObservedPrice()
    spend = Spend(budgets, price)
    submitter = Submitter(
        service=service,
        ledger=ledger,
        limiter=RateLimiter(concurrency=plan.concurrency, random=random, rate=plan.rate),
        retries=RetryBudget(),
        spend=spend,
        shutdown=shutdown,
        random=random,
        now=lambda: EPOCH + anyio.current_time(),
        concurrency=plan.concurrency,
        retry_server_errors=plan.retry_server_errors,
    )
    finished: Submitted | None = None
    pulled: set[str] = set()
    for number in range(plan.doubts):
        service.leave_in_doubt(submission(number))

    def work() -> Iterator[Submission]:
        for number in range(plan.requests):
            taken = submission(number)
            pulled.add(taken.request.key)
            yield replace(taken, in_doubt_since=DOUBTED) if number < plan.doubts else taken

    async def interrupt() -> None:
        for at, received in plan.signals:
            await anyio.sleep_until(at)
            shutdown.interrupt(received)

    async def complete() -> None:
        """Tasks come to their end while others are still sent: what they cost is settled, and the price is learned."""
        chance = Random(plan.seed + 5)
        while not ledger.dead:
            await anyio.sleep(1.0)
            for key in [key for key, entry in ledger.entries.items() if entry.state is State.ACCEPTED]:
                if chance.random() < 0.5 or not service.paid.get(key):
                    continue
                cost = service.paid[key][-1]
                done = Completed(key=key, at=1, images=(Image(url="https://img.example/a"),), cost_usd=cost)
                try:
                    await ledger.record(done)
                except LedgerError:
                    return
                spend.settle(key, None, cost)
                ledger.settled[key], ledger.price = cost, max(cost, ledger.price)
                if price.learn(ledger.entries[key]) and service.in_flight is None:
                    service.in_flight = unsettled()

    def unsettled() -> int:
        """Requests that are announced and not settled; one more for each worker may have its money already."""
        waiting = {State.INTENT, State.IN_DOUBT, State.ACCEPTED}
        return sum(len(service.paid.get(key, [0])) for key, one in ledger.entries.items() if one.state in waiting)

    with anyio.CancelScope(deadline=plan.cancelled_at if plan.cancelled_at is not None else float("inf")):
        async with anyio.create_task_group() as group:
            group.start_soon(interrupt)
            if plan.rises_at is not None:
                group.start_soon(complete)
            finished = await submitter.run(work())
            ended = anyio.current_time()
            group.cancel_scope.cancel()
    if plan.signals and finished is not None and shutdown.code is not None:
        slack = 1.3  # seconds: three records on a slow disk
        first, received = plan.signals[0]
        grace = 2.0 if received is signal.SIGTERM else 6.0
        must(ended <= first + grace + slack, "what is under way drains within its grace")
        if len(plan.signals) > 1 and plan.signals[1][0] - first > 0.5:
            must(ended <= plan.signals[1][0] + slack, "a second signal ends it at once")
    if plan.budget is not None and plan.rises_at is not None:
        charged = sum(sum(amounts, Decimal(0)) for amounts in service.paid.values())
        under_way = unsettled() if service.in_flight is None else service.in_flight
        rise = COST * (plan.factor - 1) * (under_way + plan.concurrency + 1)  # the first to tell was under way as well
        must(charged <= plan.budget + rise, "the budget holds but for what was under way when the price rose")
    if plan.budget is not None and plan.rises_at is None:
        # Of each doubt that is replayed one charge is the earlier run's, which has reserved the money for it.
        charged = sum(charges - (key in service.replayed) for key, charges in service.charges.items() if charges)
        must(COST * charged <= plan.budget, "every charge fits the budget")
    untouched = service.replayed - pulled
    return Played(plan=plan, finished=finished, service=service, ledger=ledger, untouched=untouched, trace=trace)


def _check_books(played: Played) -> None:
    plan, service, ledger, finished = played.plan, played.service, played.ledger, played.finished
    states = {key: settle_open_intent(entry, "crash").state for key, entry in ledger.entries.items()}
    safe = {State.ACCEPTED, State.IN_DOUBT, State.COMPLETED}
    for key, charges in service.charges.items():
        agreed = plan.retry_server_errors or (key in service.replayed and not plan.honours)
        must(charges <= 1 or agreed, "one charge per request and generation")
        must(states[key] in safe or ledger.dead, "nothing that was charged is new, rejected or failed")
    for key, charges in service.charges.items():
        kept = spent_usd(ledger.entries[key], COST)
        must(kept >= COST * charges or ledger.dead, "every charge is on record")
    lost = {event.key: event for event in finished.lost} if finished else {}
    for key, task_id in service.acknowledged.items():
        told = lost.get(key)
        kept = ledger.entries[key].task_id == task_id or (isinstance(told, Accepted) and told.task_id == task_id)
        must(kept or (ledger.dead and finished is None), "no acknowledged id is lost")
    doubted = {post.key for post in service.posts if post.answer is not None and post.answer.verdict == "in_doubt"}
    in_doubt = {key for key, state in states.items() if state is State.IN_DOUBT}
    must(
        len(in_doubt - doubted - service.replayed) <= plan.concurrency,
        "an interruption leaves at most one in doubt per worker",
    )
    if finished is not None and not ledger.dead:
        _check_counts(finished, {key: state for key, state in states.items() if key not in played.untouched})


def _check_counts(finished: Submitted, states: dict[str, State]) -> None:
    counted = Counter(states.values())
    must(finished.accepted == counted[State.ACCEPTED] + counted[State.COMPLETED], "accepted is what the ledger says")
    must(finished.rejected == counted[State.REJECTED], "rejected is what the ledger says")
    must(finished.in_doubt == counted[State.IN_DOUBT], "all that is in doubt is told")
    must(finished.not_sent >= counted[State.NEW], "what was not sent is told")
    must(not finished.lost, "nothing is lost while the ledger works")


def _simulate(seed: int) -> Played:
    trio._core._run._r.seed(seed)
    clock = trio.testing.MockClock(autojump_threshold=0)
    plan = Plan.of(seed)
    try:
        played = trio.run(_play, plan, clock=clock)
    except BaseExceptionGroup as group:
        found = _first_violation(group)
        if found is not None:
            raise found from None
        raise
    _check_books(played)
    return played


def _first_violation(group: BaseExceptionGroup[Any]) -> Violation | None:
    for error in group.exceptions:
        found = _first_violation(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, Violation):
            return found
    return None


@pytest.fixture
def seeded_scheduler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trio shuffles runnable tasks by its own random generator, and by nothing else."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    state = trio._core._run._r.getstate()
    yield
    trio._core._run._r.setstate(state)


@pytest.fixture
def simulate(seeded_scheduler: None) -> Callable[[int], Played]:
    """Play one seed; ``Violation`` if an invariant broke."""
    return _simulate


@pytest.fixture
def virtual() -> Callable[..., Any]:
    """Run an async function on trio's virtual clock."""

    def run(function: Callable[..., Any], *args: Any) -> Any:
        return trio.run(function, *args, clock=trio.testing.MockClock(autojump_threshold=0))

    return run


@pytest.fixture
def make_submission() -> Callable[..., Submission]:
    return submission
