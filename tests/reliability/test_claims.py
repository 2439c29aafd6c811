"""Runners on clones of one campaign, killed at random, never pay twice for a request: the claims in a shared store.

The runners, the service and the store are processes of their own; a proxy loses a tenth of the store's replies to
claims after the store has applied them. What is held together: the service's books, the clones' records as the text
they are, and what the store says.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from seedream_jobs.claims.store import Claim, ClaimStore, open_store
from seedream_jobs.claims.trust import campaign_name
from tests import stores

PRICE = Decimal("0.0228")
WORKERS = 4
RUN = 600.0
"""Seconds that a run may take: the S3 server of the tests answers slowly, and half a dozen clones share it."""


@dataclass
class Shared:
    """A store as runners reach it, through the proxy, and as the audit reads it."""

    url: str
    env: dict[str, str]
    direct: str
    direct_env: dict[str, str]
    dropped: list[str]


Opened = Callable[..., contextlib.AbstractContextManager[Shared]]


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], Any]]:
    """One server of each kind for the whole file, once a test needs it: they take seconds to start."""
    with contextlib.ExitStack() as stack:
        kinds = {"s3": stores.s3_server, "postgresql": stores.postgres}
        yield functools.cache(lambda kind: stack.enter_context(kinds[kind]()))


@pytest.fixture
def opened(tmp_path: Path, servers: Callable[[str], Any]) -> Opened:
    """Opens a store that nobody has used."""

    @contextlib.contextmanager
    def one(kind: str, seed: int, folder: Path = tmp_path) -> Iterator[Shared]:
        name = f"team_{secrets.token_hex(4)}"
        match kind:
            case "file":
                stores.need("obstore")
                (folder / "store").mkdir(parents=True)
                url = f"file://{folder}/store"
                yield Shared(url, {}, url, {}, [])
            case "s3":
                server = servers(kind)
                with stores.lossy_http(server, share=0.1, seed=seed) as (proxy, dropped):
                    url, direct = f"s3://claims/{name}", stores.s3_environment(server)
                    yield Shared(url, {**direct, "AWS_ENDPOINT_URL": proxy}, url, direct, dropped)
            case _:
                server = servers(kind)
                direct = server.new_database(name)
                with stores.lossy_postgres(server.port, share=0.1, seed=seed) as (port, dropped):
                    yield Shared(direct.replace(str(server.port), str(port)), {}, direct, {}, dropped)

    return one


class Team:
    """Clones of one campaign that share their claims."""

    def __init__(
        self,
        harness: ModuleType,
        tmp_path: Path,
        service: Any,
        shared: Shared,
        *,
        clones: int,
        requests: int,
        budget: str = "",
    ) -> None:
        self.harness, self.service, self.shared, self.requests = harness, service, shared, requests
        self.acknowledged: dict[str, str] = {}
        self.kills = 0
        origin = tmp_path / "origin"
        subprocess.run(["git", "init", "-q", str(origin)], check=True)
        first = self._clone(origin)
        first.write(requests)
        (origin / "policy.yaml").write_text(f'version: 1\n{budget}shared: {{claims: "{shared.url}"}}\n')
        author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(origin), "add", "-A"], check=True)
        subprocess.run(["git", "-C", str(origin), *author, "commit", "-qm", "campaign"], check=True)
        prepare = [sys.executable, "-m", "seedream_jobs", "shared", "init"]
        ready = harness.Command(prepare, cwd=origin, env=first.environment()).wait()
        assert ready.code == 0, ready.said
        self.clones = []
        for number in range(clones):
            folder = tmp_path / f"clone-{number}"
            subprocess.run(["git", "clone", "-q", str(origin), str(folder)], check=True)
            (folder / ".git/seedream-jobs").mkdir(exist_ok=True)
            shutil.copy(origin / ".git/seedream-jobs/shared.json", folder / ".git/seedream-jobs")
            self.clones.append(self._clone(folder))

    def _clone(self, folder: Path) -> Any:
        return self.harness.Campaign(folder=folder, base_url=self.service.url, env=dict(self.shared.env))

    def run(self, *, seed: int, kills: int, fault: str | None = None, apart: Sequence[Sequence[str]] = ()) -> list[Any]:
        """Run all clones at once; kill one of them now and then, whereupon it is run again. How each ended at last.

        :param apart: what each clone is told beside
        """
        chance, running, ended = random.Random(seed), dict[int, Any](), dict[int, Any]()
        options = ["--yes", "--detach", "--concurrency", str(WORKERS), "--rate", "40/s"]

        def keep_running(number: int) -> None:
            clone = self.clones[number]
            while True:
                running[number] = command = clone.start("run", *options, *(apart[number] if apart else ()), fault=fault)
                end = command.wait(RUN)
                if end.code != -signal.SIGKILL:
                    running.pop(number)
                    ended[number] = end
                    return
                self.acknowledged |= self.harness.snapshot(clone).acknowledged

        threads = [threading.Thread(target=keep_running, args=(number,)) for number in range(len(self.clones))]
        for thread in threads:
            thread.start()
        limit = time.monotonic() + RUN
        while self.kills < kills and any(thread.is_alive() for thread in threads) and time.monotonic() < limit:
            # A victim has announced something: one that is still starting would teach nothing.
            at_work = [number for number in list(running) if self.clones[number].journal.exists()]
            if at_work and self.service.count():
                victim = chance.choice(at_work)
                time.sleep(chance.uniform(0, 0.05))
                with contextlib.suppress(KeyError):
                    running[victim].signal(signal.SIGKILL)
                    self.kills += 1
            time.sleep(0.1)
        for thread in threads:
            thread.join()
        return [ended[number] for number in sorted(ended)]

    def claims(self) -> list[Claim]:
        """What the store says, asked directly."""
        before = dict(os.environ)
        os.environ.update(self.shared.direct_env)
        try:
            return self.store().since(0)
        finally:
            os.environ.clear()
            os.environ.update(before)

    def store(self) -> ClaimStore:
        return open_store(self.shared.direct, campaign_name(None, self.service.url.rstrip("/")))

    def audit(self) -> tuple[list[str], dict[str, int]]:
        """The laws of the promise, and figures."""
        found: list[str] = []
        charges = self.service.charges()
        for body, times in Counter(charge["body_sha256"] for charge in charges).items():
            if times > 1:
                found.append(f"charged {times} times: request {body[:8]}")
        records = [clone.entries() for clone in self.clones]
        lines = [line for entries in records for line in entries.values()]
        by_idempotency = {line["idempotency_key"]: line for line in lines if "idempotency_key" in line}
        for charge in charges:
            line = by_idempotency.get(charge["key"])
            if line is None:
                found.append(f"charged and not on record: {charge['id']}")
            elif line["state"] != "in_doubt" and line.get("task_id") != charge["id"]:
                found.append(f"charged and {line['state']}: {charge['id']}")
        accepted = {line["key"] for line in lines if line["state"] in self.harness.TASK_STATES}
        doubted = {(line["key"], line["run"]) for line in lines if line["state"] == "in_doubt"}
        if lost := self.requests - len(accepted | {key for key, _ in doubted}):
            found.append(f"{lost} requests are neither accepted nor in doubt in any clone")
        tasks = {line.get("task_id") for line in lines}
        found += [f"lost an acknowledged id: {one}" for one in self.acknowledged.values() if one not in tasks]
        claims = self.claims()
        open_ones = {(claim.key, claim.run) for claim in claims if claim.verdict is None}
        found += [f"claimed by a run that does not know it: {key}" for key, _ in open_ones - doubted]
        # A run that died between its intent and its claim has a doubt that is its own alone.
        return found, {
            "charges": len(charges),
            "kills": self.kills,
            "in_doubt": len(doubted),
            "lost replies": len(self.shared.dropped),
        }


FAST = [
    pytest.param(kind, 1, 3, count, 10, id=kind) for kind, count in (("file", 100), ("s3", 50), ("postgresql", 100))
]
SLOW = [
    pytest.param(kind, seed, 2 + seed % 7, 400, 40, id=f"{kind}-{seed}", marks=pytest.mark.slow)
    for kind in ("file", "s3", "postgresql")
    for seed in range(2, 11)
]


@pytest.mark.parametrize(("kind", "seed", "clones", "requests", "kills"), [*FAST, *SLOW])
def test_killed_runners_of_clones_pay_nothing_twice(
    kind: str,
    seed: int,
    clones: int,
    requests: int,
    kills: int,
    harness: ModuleType,
    emulator: Callable[..., Any],
    opened: Opened,
    tmp_path: Path,
) -> None:
    """0 charged twice, 0 lost; the rest is in doubt, and every clone that asks is told of each."""
    service = emulator("--latency", "15")
    with opened(kind, seed) as shared:
        team = Team(harness, tmp_path, service, shared, clones=clones, requests=requests)
        team.run(seed=seed, kills=kills)
        violations, figures = team.audit()
        print(figures)
        assert violations == []
        assert figures["kills"] >= kills / 2
        clone, open_keys = team.clones[0], {claim.key for claim in team.claims() if claim.verdict is None}
        (told,) = json.loads(clone.command("status", "--shared", "--format", "json").out)
        own = {key for key, line in clone.entries().items() if line["state"] != "new"}
        assert sum(told.get("in_doubt_elsewhere", {}).values()) == len(open_keys - own)
        assert len(told["in_doubt"]) == clone.states()["in_doubt"]


@pytest.mark.parametrize("kind", ["file", "postgresql", pytest.param("s3", marks=pytest.mark.slow)])
def test_a_budget_holds_over_all_runners(
    kind: str, harness: ModuleType, emulator: Callable[..., Any], opened: Opened, tmp_path: Path
) -> None:
    """Three runners at once with money for half of the requests: over by nothing, and hardly under."""
    service, requests = emulator("--latency", "15"), 60
    budget = PRICE * requests / 2
    with opened(kind, 1) as shared:
        team = Team(harness, tmp_path, service, shared, clones=3, requests=requests, budget=f"budget_usd: {budget}\n")
        thirds = [["--select", f"{first} < i and i <= {first + 20}"] for first in (0, 20, 40)]
        ended = team.run(seed=1, kills=0, apart=thirds)
        violations, figures = team.audit()
        assert PRICE * figures["charges"] <= budget
        assert figures["charges"] >= requests / 2 - 3 * 2, "each runner gives back what it did not use"
        assert [one for one in violations if "neither accepted" not in one] == []
        # Whoever begins while another has a claim open tells it: 6, until that one has ended.
        assert {one.code for one in ended} <= {0, 5, 6}
        for clone, third in zip(team.clones, thirds, strict=True):
            assert clone.run("--detach", *third).code in {0, 5}
        assert PRICE * service.count() <= budget


@pytest.mark.parametrize("kind", ["file", *(pytest.param(one, marks=pytest.mark.slow) for one in ("s3", "postgresql"))])
def test_what_killed_runners_had_reserved_is_given_back(
    kind: str, harness: ModuleType, emulator: Callable[..., Any], opened: Opened, tmp_path: Path
) -> None:
    """Over by nothing; and once each clone has run again nothing is kept back but what may be paid."""
    service, requests = emulator("--latency", "15"), 120
    budget = PRICE * requests / 2  # of which a runner reserves three requests at a time
    with opened(kind, 1) as shared:
        team = Team(harness, tmp_path, service, shared, clones=3, requests=requests, budget=f"budget_usd: {budget}\n")
        thirds = [["--select", f"{first} < i and i <= {first + 40}"] for first in (0, 40, 80)]
        team.run(seed=1, kills=6, apart=thirds)
        assert team.kills >= 3
        for _ in range(2):  # the second time with what the others have given back
            ended = team.run(seed=1, kills=0, apart=thirds)
            assert {one.code for one in ended} <= {0, 5, 6}
        violations, figures = team.audit()
        print(figures)
        assert PRICE * figures["charges"] <= budget
        committed = {claim.key for claim in team.claims() if claim.verdict != "free"}
        for clone in team.clones:  # killed before its claim: in doubt for this clone alone
            committed |= {line["key"] for line in clone.entries().values() if line["state"] == "in_doubt"}
        assert len(committed) >= requests / 2 - 1
        assert [one for one in violations if "neither accepted" not in one] == []


@pytest.mark.parametrize(
    "fault",
    ["no-precondition", *(pytest.param(one, marks=pytest.mark.slow) for one in ("late-claim", "claims-expire"))],
)
def test_the_harness_catches(
    fault: str, harness: ModuleType, emulator: Callable[..., Any], opened: Opened, tmp_path: Path
) -> None:
    """A program with a seeded fault does not pass; the simulation (tests/claims) catches these and five more."""
    found: list[str] = []
    for seed in range(1, 5):
        (tmp_path / str(seed)).mkdir()
        service = emulator("--latency", "40", state=f"state-{seed}")
        with opened("file", seed, tmp_path / str(seed)) as shared:
            team = Team(harness, tmp_path / str(seed), service, shared, clones=3, requests=40)
            team.run(seed=seed, kills=6 if fault == "claims-expire" else 0, fault=fault)
            found, _ = team.audit()
        if any(one.startswith("charged ") and "times" in one for one in found):
            return
    pytest.fail(f"only found: {found}")


@pytest.fixture
def dead(harness: ModuleType, emulator: Callable[..., Any], opened: Opened, tmp_path: Path) -> Iterator[Team]:
    """Two clones; the runner of the first was killed while its two POSTs were under way, and charged."""
    service = emulator()
    with opened("file", 1) as shared:
        team = Team(harness, tmp_path, service, shared, clones=2, requests=2)
        service.hold()
        runner = team.clones[0].start("run", "--yes", "--detach")
        assert harness.until(lambda: len([one for one in team.claims() if one.verdict is None]) == 2, runner)
        assert harness.until(lambda: service.unread() == 2, runner)  # the POSTs have left, too
        runner.signal(signal.SIGKILL)
        runner.wait()
        service.release()
        assert harness.until(lambda: service.count() == 2)
        yield team


def test_a_person_settles_what_a_dead_runner_has_claimed(dead: Team) -> None:
    """Where it was accepted its images are fetched here; where nothing was charged the next run pays, once."""
    here, (one, other) = dead.clones[1], (f"job/i={number}#1" for number in (1, 2))
    tasks = {charge["prompt"]: charge["id"] for charge in dead.service.charges()}
    run = here.run("--detach")
    assert (run.code, dead.service.count()) == (6, 2)
    assert "2 in doubt elsewhere: in the record of " in run.err
    plan = here.command("plan")
    assert "? 2 in doubt" in plan.out
    assert "Plan: nothing to submit." in plan.out
    assert "2 requests are in the record of " in plan.err
    status = here.command("status", "--offline")
    assert (status.code, "? 2 in doubt      in the record of " in status.out) == (6, True)
    listed = here.command("resolve")
    assert listed.code == 6
    assert [line.split("  ")[1] for line in listed.out.splitlines() if "claimed by" in line] == [one, other]
    everything = here.command("resolve", "--all", "--not-charged")
    assert dead.service.count() == 2, everything.said  # what may be under way elsewhere is named, one by one

    accepted = here.command("resolve", one, "--accepted", tasks["heron 1"], "--reason", "the console says so")
    assert accepted.code == 6, accepted.said
    assert (
        here.entries()[next(key for key, line in here.entries().items() if line["address"] == one)]["state"]
        == "accepted"
    )
    assert [claim.verdict for claim in sorted(dead.claims(), key=lambda claim: claim.address)] == ["paid", None]
    dead.service.restart("--latency", "0")  # the second was not charged, a person found out: say, it was refunded
    freed = here.command("resolve", other, "--not-charged", "--reason", "refunded")
    assert freed.code == 0, freed.said
    again = here.run("--detach")
    assert (again.code, dead.service.count()) == (0, 3)
    assert "1 submitted" in again.out

    first = dead.clones[0].run("--detach")  # its own record still has both in doubt, and is told of neither
    assert (first.code, dead.service.count()) == (6, 3)
    assert [claim.verdict for claim in dead.claims()] == ["paid", "paid"]


@pytest.mark.parametrize("first", ["retries", "has it as new"])
def test_a_rejected_request_is_paid_once_whoever_sends_it_again(
    first: str, harness: ModuleType, emulator: Callable[..., Any], opened: Opened, tmp_path: Path
) -> None:
    """One clone retries it as a further generation, for the other it is still the first: they ask for one claim."""
    service = emulator("--fault", "402:1")
    with opened("file", 1) as shared:
        team = Team(harness, tmp_path, service, shared, clones=2, requests=2)
        retries, others = team.clones
        assert others.run("--detach").code == 5
        service.restart("--fault", "moderation:1")
        assert retries.run("--detach").code == 1
        service.restart()
        turns = [(retries, ["--retry-failed"]), (others, [])]
        for clone, options in turns if first == "retries" else turns[::-1]:
            ended = clone.run("--detach", *options)
            assert (ended.code, service.count()) == (0, 2), ended.said
        assert "2 paid elsewhere" in ended.said
        assert [(claim.generation, claim.verdict) for claim in team.claims()] == [(1, "paid")] * 2
        # A record that knows both has what is to be fetched in front.
        clone = retries if first != "retries" else others
        other = others if first != "retries" else retries
        clone.manifest.write_bytes(clone.manifest.read_bytes() + other.manifest.read_bytes())
        assert clone.command("fetch").code == 0
        assert clone.states() == {"stored": 2}


def test_a_doubt_elsewhere_ends_with_a_later_submission(dead: Team) -> None:
    """A person settles it there, and has it made once more: what is known here of the first is out of date."""
    there, here = dead.clones
    assert here.run("--detach").code == 6
    dead.service.restart()
    assert there.command("resolve", "--all", "--abandon", "--reason", "lost").code == 0
    again = [word for number in (1, 2) for word in ("--again", f"job/i={number}#1")]
    assert there.run("--detach", *again).code == 0
    assert dead.service.count() == 4
    ended = here.run("--detach")
    assert (ended.code, dead.service.count()) == (0, 4), ended.said


def test_the_policy_says_that_claims_are_read(dead: Team) -> None:
    """``check: always`` is ``--shared`` for plan and status; with ``--base`` that of the base counts."""
    here, claims = dead.clones[1], f'claims: "{dead.shared.url}"'
    policy = here.folder / "policy.yaml"
    policy.write_text(f"version: 1\nshared: {{{claims}, check: always}}\n")
    assert "? 2 in doubt" in here.command("plan").out
    assert here.entries() == {}, "nothing was recorded"
    here.write(3)
    assert "Plan: 3 to submit." in here.command("plan", "--base", "HEAD").out
    assert "Plan: 1 to submit." in here.command("plan", "--base", "HEAD", "--shared").out
    assert here.run("--detach").code == 6
    dead.store().settle([one.settled("paid", at=one.at, by="mara@a") for one in dead.claims() if one.verdict is None])
    status = here.command("status")
    assert (status.code, "in doubt" in status.out) == (8, False), status.said
    author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(here.folder), *author, "commit", "-qam", "the claims are read"], check=True)
    policy.write_text(f"version: 1\nshared: {{{claims}}}\n")
    assert "in doubt" in here.command("status").out
    assert "in doubt" not in here.command("plan", "--base", "HEAD").out


def test_claims_on_a_record_in_parts(dead: Team) -> None:
    """Two clones have split it, one with doubts, one with what is claimed elsewhere: git merges the parts, and
    what a person settles then holds for the record and for the store."""
    addresses, tasks = ("job/i=1#1", "job/i=2#1"), {one["prompt"]: one["id"] for one in dead.service.charges()}

    def git(clone: Any, *words: str) -> None:
        author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(clone.folder), *author, *words], check=True, capture_output=True)

    for clone, state in zip(dead.clones, ("in_doubt", "new"), strict=True):
        (clone.folder / ".gitattributes").write_text("*.manifest.jsonl merge=union\n")
        assert clone.run("--detach").code == 6
        split = [sys.executable, "-m", "seedream_jobs", "manifest", "split", "job.yaml"]
        assert dead.harness.Command(split, cwd=clone.folder, env=clone.environment()).wait().code == 0
        lines = clone.entries().values()
        assert [(line["state"], "held_by" in line) for line in lines] == [(state, state == "new")] * 2
        git(clone, "add", "-A")
        git(clone, "commit", "-qm", "the record in parts")
    here = dead.clones[1]
    git(here, "pull", "-q", "--no-rebase", str(dead.clones[0].folder), "HEAD")
    assert len(list(here.manifest.with_suffix("").glob("*.jsonl"))) == 16

    accepted = here.command("resolve", addresses[0], "--accepted", tasks["heron 1"], "--reason", "the console says so")
    assert (accepted.code, here.states()) == (6, {"accepted": 1, "in_doubt": 1}), accepted.said
    freed = here.command("resolve", addresses[1], "--not-charged", "--reason", "refunded")
    assert (freed.code, here.states()) == (0, {"accepted": 1, "new": 1}), freed.said
    assert [one.verdict for one in sorted(dead.claims(), key=lambda claim: claim.address)] == ["paid", "free"]
    again = here.run("--detach")
    assert (again.code, dead.service.count(), here.states()) == (0, 3, {"accepted": 2}), again.said
    assert [one.verdict for one in dead.claims()] == ["paid", "paid"]


def test_without_its_store_a_run_sends_nothing(
    harness: ModuleType, emulator: Callable[..., Any], opened: Opened, tmp_path: Path
) -> None:
    """Not checked from here: 2. Not to be reached: 8. A plan says what it could not ask."""
    service = emulator()
    with opened("s3", 1) as shared:
        team = Team(harness, tmp_path, service, shared, clones=1, requests=2)
        (clone,) = team.clones
        verdict = clone.folder / ".git/seedream-jobs/shared.json"
        kept = verdict.read_text()
        verdict.unlink()
        refused = clone.run("--detach")
        assert (refused.code, "was not checked from here" in refused.err) == (2, True)
        assert "seedream-jobs doctor --shared" in refused.err
        verdict.write_text(kept)
    gone = clone.run("--detach")
    assert (gone.code, f"the claims in {shared.url} can't be reached" in gone.err) == (8, True)
    plan = clone.command("plan", "--shared")
    assert (plan.code, "+ 2 new" in plan.out) == (0, True)
    assert "what other runners have claimed is not known: " in plan.err
    policy = clone.folder / "policy.yaml"
    policy.write_text(policy.read_text().replace("}", ", check: always}"))
    asked = clone.command("plan", "--detailed-exitcode")
    assert (asked.code, asked.out) == (3, plan.out), "the exit code is the plan's own"
    assert "what other runners have claimed is not known: " in asked.err
    assert service.count() == 0
