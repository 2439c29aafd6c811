"""Runners of one campaign on a virtual clock, killed by seed, with a store that fails by seed: nobody pays twice.

Submitter, claims and the object store's file are the real ones; the service, the ledgers and the store's client are
simulated. All chance comes from the seed, so that a seed that breaks a law can be played again.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from seedream_jobs.api.outcomes import Flight, Outcome, Sent
from seedream_jobs.claims import create_only, objects, store
from seedream_jobs.claims.objects import ObjectClaims
from seedream_jobs.claims.store import Account, Claim, read_claim
from seedream_jobs.errors import ExitCode
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.state import Entry, Event, Holder, Intended, ServiceError, State, counts_as_spent
from seedream_jobs.ledger.transitions import evolve, settle_open_intent
from seedream_jobs.run import claims as run_claims
from seedream_jobs.run.budget import Spend
from seedream_jobs.run.claims import SharedBudget, SharedClaims
from seedream_jobs.run.job_run import _spent_by_ended
from seedream_jobs.run.rate_limiter import RateLimiter
from seedream_jobs.run.retry import RetryBudget
from seedream_jobs.run.shutdown import Shutdown
from seedream_jobs.run.submit import Submission, Submitter
from seedream_jobs.sharing import _untold
from tests.lanes import check_caught

obstore = pytest.importorskip("obstore")
exceptions = obstore.exceptions

FAST, SLOW = 60, 10_000
COST = Decimal("0.0228")
EPOCH = 1_780_000_000
FAULTS = (
    "reply lost", "request lost", "409 for absent", "retried by the client",
    "read fails", "outage", "slow", "late listing",
)  # fmt: skip


class Violation(AssertionError):
    """A law that did not hold."""


def must(holds: bool, law: str) -> None:
    if not holds:
        raise Violation(law)


@dataclass
class World:
    """What a seed decides, and what has happened."""

    seed: int
    random: Random = field(init=False)
    objects: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    charges: Counter[str] = field(default_factory=Counter)
    rejected: set[str] = field(default_factory=set)
    runners: list[Runner] = field(default_factory=list)
    active: Runner | None = None
    healthy: bool = False
    ended: set[str] = field(default_factory=set)  # the runs that were neither killed nor left by the store
    refused: set[str] = field(default_factory=set)  # the runs that the budget ended

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.requests = self.random.choice([3, 8, 14])
        self.faults = frozenset(one for one in FAULTS if self.random.random() < 0.35)
        self.outage = (self.random.uniform(0, 3), self.random.uniform(3, 6)) if "outage" in self.faults else (1e9, 1e9)
        self.share = self.random.choice([0.05, 0.3])
        self.limit = COST * self.random.randint(1, self.requests) if self.random.random() < 0.3 else None

    def happens(self, fault: str) -> bool:
        return not self.healthy and fault in self.faults and self.random.random() < self.share

    @property
    def out(self) -> bool:
        return not self.healthy and self.outage[0] <= anyio.current_time() < self.outage[1]


class Client:
    """What ``claims.create_only`` asks of obstore."""

    exceptions = exceptions

    def __init__(self, world: World) -> None:
        self.world = world

    def put(self, _: Any, path: str, body: bytes, mode: str = "overwrite") -> None:
        world = self.world
        if world.out or world.happens("request lost"):
            raise exceptions.GenericError("connection refused")
        there = path in world.objects
        if not there and world.happens("409 for absent"):
            raise exceptions.AlreadyExistsError("409 Conflict")
        if there and mode == "create" and self.honours(path):
            raise exceptions.AlreadyExistsError("it exists")
        self.created(path, body)
        world.objects[path] = (body, anyio.current_time())
        if world.happens("retried by the client"):
            raise exceptions.AlreadyExistsError("it exists, says the second try of the first put")
        if world.happens("reply lost"):
            raise exceptions.GenericError("connection reset")

    def honours(self, path: str) -> bool:
        return True

    def created(self, path: str, body: bytes) -> None:
        if "/claims/" in path and self.world.active is not None:
            claim = read_claim(body)
            entry = self.world.active.ledger.entries.get(claim.key)
            # What it asks for at its end, to free it, was announced before.
            must(entry is not None, "a claim is made only of what is on record")

    def get(self, _: Any, path: str) -> Any:
        if self.world.out or self.world.happens("read fails"):
            raise exceptions.GenericError("connection reset")
        if path not in self.world.objects:
            raise FileNotFoundError(path)
        body = self.world.objects[path][0]
        return SimpleNamespace(bytes=lambda: body)

    def list(self, _: Any, prefix: str, offset: str | None = None) -> Iterator[list[dict[str, Any]]]:
        if self.world.out:
            raise exceptions.GenericError("connection refused")
        late = anyio.current_time() - 5 if self.world.happens("late listing") and "/budgets/" not in prefix else 1e12
        found = [path for path in sorted(self.world.objects) if path.startswith(prefix) and path > (offset or "")]
        shown = [path for path in found if self.world.objects[path][1] <= late]
        yield [{"path": path, "last_modified": self._time(path)} for path in shown]

    def _time(self, path: str) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(EPOCH + self.world.objects[path][1], datetime.UTC)


class Ledger:
    """A record in memory that outlives its run; nothing is recorded any more once the run is killed."""

    def __init__(self, runner: Runner) -> None:
        self.entries: dict[str, Entry] = {}
        self.runner = runner

    async def record(self, event: Event) -> None:
        if self.runner.killed:
            return
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self.runner.world.random.choice([0.0, 0.003]))
        if isinstance(event, Intended):
            event = replace(event, run=self.runner.run)
        self.entries[event.key] = evolve(self.entries.get(event.key), event)

    def find(self, key: str) -> Entry | None:
        return self.entries.get(key)


class Service:
    """Charges before it replies, and checks what must hold when a POST arrives."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    async def submit(self, worker: int, body: bytes, *, idempotency_key: str, flight: Flight) -> Outcome:
        world, key = self.runner.world, json.loads(body)["key"]
        entry = self.runner.ledger.entries.get(key)
        must(entry is not None and entry.state is State.INTENT, "no POST before its intent is durable")
        must(self._is_held(key), "no POST before its claim is made")
        await anyio.sleep(world.random.choice([0.01, 0.3, 2.0]))
        kind = world.random.choices(["ok", "drop", "rejected", "limited", "unreachable"], [75, 5, 5, 10, 5])[0]
        if kind == "unreachable":
            return Outcome(row=3, verdict="not_sent", detail="refused")
        flight.sent = Sent.STARTED
        if kind in ("ok", "drop"):
            world.charges[key] += 1
            must(world.charges[key] == 1, "charged twice")
            must(world.limit is None or COST * sum(world.charges.values()) <= world.limit, "the budget of all holds")
        await anyio.sleep(world.random.choice([0.01, 0.3]))
        match kind:
            case "ok":
                return Outcome(row=8, verdict="accepted", task_id=f"task_{key[-6:]}")
            case "drop":
                return Outcome(row=6, verdict="in_doubt", doubt="no response")
            case "rejected":
                refused = ServiceError(status=400, code="a", message=f"refused {len(world.rejected)}")
                world.rejected.add(key)
                return Outcome(row=12, verdict="rejected", problem=refused)
            case _:
                return Outcome(
                    row=18, verdict="not_sent", problem=ServiceError(status=429, code="", message=""), retry_after=1.0
                )

    def _is_held(self, key: str) -> bool:
        found = [
            read_claim(body)
            for path, (body, _) in self.runner.world.objects.items()
            if "/claims/" in path and key.replace(":", "-") in path
        ]
        return any(claim.run == self.runner.run for claim in found)

    async def task(self, task_id: str) -> Any:
        raise AssertionError("no reply of this service names a task in passing")


class Runner:
    """One clone: run, killed, run again."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number, self.runs, self.killed = world, number, 0, False
        self.ledger = Ledger(self)
        self.troubled = False  # a run ended because of the store
        self.failed: set[str] = set()  # the runs to which the store gave no answer

    @property
    def run(self) -> str:
        return f"clone{self.number}-run{self.runs}"

    async def live(self, kills: list[float]) -> None:
        for at in kills:
            self.runs, self.killed = self.runs + 1, False
            with anyio.CancelScope(deadline=anyio.current_time() + at) as scope:
                await self._submit(scope)
            self.killed = True
            for key, entry in self.ledger.entries.items():
                self.ledger.entries[key] = settle_open_intent(entry, "crash")

    async def _submit(self, scope: anyio.CancelScope) -> None:
        world, shutdown = self.world, Shutdown()
        known = ObjectClaims("s3://claims", "team")
        try:
            world.active = self
            told = list(_untold(known.since(0), SimpleNamespace(entries=self.ledger), EPOCH))  # type: ignore[arg-type]
            if told:
                known.settle(told)
        except Exception as error:
            must(getattr(error, "exit_code", None) in (ExitCode.UNFINISHED, ExitCode.USAGE), repr(error))
            self.troubled = True
            await anyio.sleep(world.random.uniform(0.1, 1))
            return
        finally:
            world.active = None
        record = SimpleNamespace(run=self.run, entries=self.ledger.entries, open_runs=tuple, resolutions=())
        budget = (
            None
            if world.limit is None
            else SharedBudget(
                account="a",
                limit=world.limit,
                spent=Decimal(0),
                ended=lambda: _spent_by_ended(record),  # type: ignore[arg-type]
            )
        )
        submitter = Submitter(
            service=Service(self),
            ledger=self.ledger,
            limiter=RateLimiter(concurrency=3, random=world.random, rate=None),
            retries=RetryBudget(),
            spend=Spend(),
            shutdown=shutdown,
            random=world.random,
            now=self.now,
            concurrency=3,
            claims=SharedClaims(
                ClientOf(self, known),
                holder=f"clone{self.number}",
                run=self.run,
                manifest="m-1",
                budget=budget,
                now=self.now,
            ),
        )
        finished = await submitter.run(self._work())
        if finished.halt is not None and finished.halt.stop in (ExitCode.UNFINISHED, ExitCode.USAGE):
            self.troubled = True
        if finished.halt is not None and finished.halt.stop is ExitCode.MONEY:
            world.refused.add(self.run)
        if self.run not in self.failed and not self.killed:
            world.ended.add(self.run)
            open_ones = {key for key, entry in self.ledger.entries.items() if entry.held_by and not entry.held_by.paid}
            must(finished.open_elsewhere <= len(open_ones), "what is in doubt elsewhere is on record")

    def now(self) -> float:
        return EPOCH + anyio.current_time()

    def _work(self) -> Iterator[Submission]:
        for number in range(self.world.requests):
            entry = self.ledger.entries.get(f"v1:{number:064x}")
            if entry is None or (entry.state is State.NEW and not entry.held_by):
                yield submission(number, 1 if entry is None else entry.generation)


class ClientOf:
    """A store that a killed run does not reach any more."""

    def __init__(self, runner: Runner, claims: ObjectClaims) -> None:
        self._runner, self._claims = runner, claims

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._claims, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._runner.world.active = self._runner
            try:
                return method(*arguments, **named)
            except Exception:
                self._runner.failed.add(self._runner.run)
                raise
            finally:
                self._runner.world.active = None

        return call


def submission(number: int, generation: int) -> Submission:
    key = f"v1:{number:064x}"
    request = Request(
        key=key, address=f"sim/{number}#1", payload={"model": "doubao-seedream-5-0-lite", "prompt": "a heron"},
        references={}, cell={}, repeat=1, max_images=1, output=f"out/{number}",
    )  # fmt: skip
    body = json.dumps({"key": key}).encode()
    return Submission(
        request=request, generation=generation, idempotency_key=f"idem-{number}", max_cost_usd=COST, body=lambda: body
    )


async def play(world: World) -> None:
    world.runners = [Runner(world, number) for number in range(world.random.choice([2, 3, 4]))]
    async with anyio.create_task_group() as group:
        for runner in world.runners:
            kills = [world.random.uniform(0.05, 4.0) for _ in range(world.random.choice([0, 1, 3]))]
            group.start_soon(runner.live, [*kills, 1e6])
    world.healthy = True
    last = Runner(world, 99)  # another clone, once all is well again: what is left is submitted, and listed
    world.runners.append(last)
    await last.live([1e6])
    check_end(world)


def check_end(world: World) -> None:
    claims = {(claim.key, claim.run): claim for claim in ObjectClaims("s3://claims", "team").since(0)}
    doubted = {
        (key, entry.run)
        for runner in world.runners
        for key, entry in runner.ledger.entries.items()
        if entry.state is State.IN_DOUBT
    }
    for (key, run), claim in claims.items():
        if claim.verdict is None and run in world.ended:
            must((key, run) in doubted, "a claim that a run leaves open is in doubt with it")
        must(claim.verdict != "free" or not world.charges[key], "nothing that was charged is free")
    if world.limit is not None:
        check_account(world)
    accepted = {
        key for runner in world.runners for key, one in runner.ledger.entries.items() if one.state is State.ACCEPTED
    }
    told = accepted | {key for key, _ in doubted} | {key for (key, _), one in claims.items() if one.verdict != "free"}
    must(set(world.charges) <= accepted | {key for key, _ in doubted}, "every charge is on record")
    if not world.refused and not any(runner.troubled for runner in world.runners[-1:]):
        must(len(told | world.rejected) == world.requests, "no request is lost")


def check_account(world: World) -> None:
    """Whoever was refused has given back first what runs on its record had reserved and can't have spent."""
    bodies = [body for path, (body, _) in sorted(world.objects.items()) if "/budgets/" in path]
    account = Account.read(bodies[-1]) if bodies else Account(Decimal(0), Decimal(0), {})
    for runner in world.runners:
        if runner.run in world.refused:
            entries = [one for one in runner.ledger.entries.values() if one.run not in (None, runner.run)]
            spent = Counter(one.run for one in entries if counts_as_spent(one))
            for run in {one.run or "" for one in entries}:
                must(account.runs.get(run, 0) <= COST * spent[run], "what a killed run did not spend is given back")


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], World]]:
    """Play one seed; ``Violation`` if a law broke."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    state = trio._core._run._r.getstate()

    def one(seed: int) -> World:
        world = World(seed)
        client, chance = Client(world), Random(seed + 1)

        async def in_a_thread(function: Callable[..., Any], *arguments: Any) -> Any:
            slow = not world.healthy and "slow" in world.faults
            with anyio.CancelScope(shield=True):
                await anyio.sleep(chance.choice([0.001, 0.02, 3.0] if slow else [0.001, 0.02]))
                result = function(*arguments)
                await anyio.sleep(chance.choice([0.001, 0.02]))
            return result

        for name in ("put", "get", "list"):
            monkeypatch.setattr(create_only.obstore, name, getattr(client, name))
        monkeypatch.setattr(create_only, "open_objects", lambda url, **_: url)
        monkeypatch.setattr(
            objects, "ThreadPoolExecutor", lambda *_, **__: SimpleNamespace(map=lambda f, *i: map(f, *i))
        )
        monkeypatch.setattr(create_only.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(run_claims, "run_sync", in_a_thread)
        monkeypatch.setattr(run_claims, "_BLOCK", 2 if seed % 2 else 20)  # with so few requests a twentieth is one
        monkeypatch.setattr(run_claims, "on_event_loop", lambda function: function())
        monkeypatch.setattr(store, "holder", lambda: "sim")
        trio._core._run._r.seed(seed)
        try:
            trio.run(play, world, clock=trio.testing.MockClock(autojump_threshold=0))
        except BaseExceptionGroup as group:
            raise next(violations(group), group) from None
        return world

    yield one
    trio._core._run._r.setstate(state)


def violations(group: BaseExceptionGroup[Any]) -> Iterator[Violation]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from violations(error)
        elif isinstance(error, Violation):
            yield error


def test_nobody_pays_twice_in_the_fast_seeds(simulate: Callable[[int], World]) -> None:
    """And between them they meet each fault, kills, budgets that end, and claims that are lost."""
    met: Counter[str] = Counter()
    for seed in range(FAST):
        world = simulate(seed)
        met.update(world.faults)
        met["charges"] += sum(world.charges.values())
        met["budget ends"] += bool(world.refused)
        met["lost claims"] += sum(1 for one in world.runners for entry in one.ledger.entries.values() if entry.held_by)
    assert all(met[name] for name in (*FAULTS, "budget ends", "lost claims")), met
    assert met["charges"] > 3 * FAST


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FAST, FAST + SLOW, 500))
def test_nobody_pays_twice_in_ten_thousand_seeds(first: int, simulate: Callable[[int], World]) -> None:
    for seed in range(first, first + 500):
        simulate(seed)


def precondition_stripped(patch: pytest.MonkeyPatch) -> None:
    """The store replaces what is there."""
    patch.setattr(Client, "honours", lambda self, path: False)


def looks_first_and_writes_then(patch: pytest.MonkeyPatch) -> None:
    """The store does not see what was written a moment ago."""
    patch.setattr(Client, "honours", lambda self, path: self.world.objects[path][1] < anyio.current_time() - 0.05)


def no_nonce(patch: pytest.MonkeyPatch) -> None:
    """Whatever exists is another's, also what the client's second try has met."""
    create = ObjectClaims._claim

    def claim(self: ObjectClaims, wanted: Claim) -> Claim | None:
        standing = create(self, wanted)
        return None if standing is None else replace(standing, nonce="another", holder="somebody")

    patch.setattr(ObjectClaims, "_claim", claim)


def lease(patch: pytest.MonkeyPatch) -> None:
    """A claim that is a second old and not settled is anybody's again."""
    claim = ObjectClaims.claim

    def leased(self: ObjectClaims, wanted: list[Claim]) -> list[Claim]:
        found = claim(self, wanted)
        late = EPOCH + anyio.current_time() - 1
        return [mine if one.verdict is None and one.at < late else one for mine, one in zip(wanted, found, strict=True)]

    patch.setattr(ObjectClaims, "claim", leased)


def claim_before_the_intent(patch: pytest.MonkeyPatch) -> None:
    intend, hold = Submitter._intend, Submitter._hold
    held: dict[str, Holder | bool] = {}

    async def early(self: Submitter, one: Submission) -> bool:
        held[one.request.key] = await hold(self, one, None)
        return await intend(self, one)

    async def known(self: Submitter, one: Submission, repeat: object) -> Holder | bool:
        return held[one.request.key]

    patch.setattr(Submitter, "_intend", early)
    patch.setattr(Submitter, "_hold", known)


def post_before_the_claim(patch: pytest.MonkeyPatch) -> None:
    hold, settle = Submitter._hold, Submitter._settle

    async def late(self: Submitter, one: Submission, outcome: Outcome) -> None:
        await hold(self, one, None)
        await settle(self, one, outcome)

    async def trusting(self: Submitter, one: Submission, repeat: object) -> bool:
        return True

    patch.setattr(Submitter, "_settle", late)
    patch.setattr(Submitter, "_hold", trusting)


def freed_while_it_may_be_paid(patch: pytest.MonkeyPatch) -> None:
    """A doubt is settled as free."""
    settle = SharedClaims.settle

    def free(self: SharedClaims, one: Submission, outcome: Outcome) -> None:
        settle(self, one, replace(outcome, verdict="rejected") if outcome.verdict == "in_doubt" else outcome)

    patch.setattr(SharedClaims, "settle", free)


def budget_of_each(patch: pytest.MonkeyPatch) -> None:
    """Each runner counts for itself."""
    patch.setattr(ObjectClaims, "reserve", lambda self, account, run, *, limit, least, most, spent: most)


def gives_back_what_others_hold(patch: pytest.MonkeyPatch) -> None:
    """A run takes what it does not know of for what is over."""
    release = ObjectClaims.release

    def all_of_it(self: ObjectClaims, account: str, spent: dict[str, Decimal]) -> None:
        self._change(account, lambda known: known and known.give_back({run: Decimal(0) for run in known.runs}))
        release(self, account, spent)

    patch.setattr(ObjectClaims, "release", all_of_it)


def keeps_what_dead_runs_took(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(globals(), "_spent_by_ended", lambda ledger: {})


SEEDED = [
    (precondition_stripped, "charged twice"),
    (looks_first_and_writes_then, "charged twice"),
    (no_nonce, "a claim that a run leaves open is in doubt with it"),
    (lease, "charged twice"),
    (claim_before_the_intent, "a claim is made only of what is on record"),
    (post_before_the_claim, "no POST before its claim is made"),
    (freed_while_it_may_be_paid, "charged twice"),
    (budget_of_each, "the budget of all holds"),
    (gives_back_what_others_hold, "the budget of all holds"),
    (keeps_what_dead_runs_took, "what a killed run did not spend is given back"),
]


@pytest.mark.parametrize(("fault", "law"), SEEDED, ids=[fault.__name__ for fault, _ in SEEDED])
def test_a_seeded_fault_is_caught(
    fault: Callable[[pytest.MonkeyPatch], None],
    law: str,
    simulate: Callable[[int], World],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A checker that has never failed proves nothing: each of these breaks its law within the fast seeds."""
    fault(monkeypatch)
    check_caught(law, simulate, FAST, Violation)


def test_the_same_seed_plays_the_same(simulate: Callable[[int], World]) -> None:
    """A seed that breaks a law can be played again."""
    for seed in range(3):
        one, other = simulate(seed), simulate(seed)
        assert one.charges == other.charges
        assert {path for path in one.objects if "/claims/" in path} == {
            path for path in other.objects if "/claims/" in path
        }
