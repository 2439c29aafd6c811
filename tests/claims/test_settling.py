"""What a person says of a doubt reaches the claim that it is about, and no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.claims.store import Claim, ClaimStore, open_store
from seedream_jobs.claims.trust import campaign_name
from seedream_jobs.cli.main import run_command
from seedream_jobs.errors import UnfinishedError
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import Event, Holder, State
from seedream_jobs.plans.load import Job
from seedream_jobs.records import record_of
from seedream_jobs.resolution import Decision, settle
from seedream_jobs.sharing import events_of, note_claims, read_claims
from tests import stores
from tests.campaign import NOW, TARGET, Folder, history, record, requests_of

JOB = "version: 1\nrequest: {prompt: a heron}\nmatrix: {size: ['1:1', '16:9']}\n"
FREE = Decision(resolution="not_charged", task_id=None, reason="not in the console")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Folder(tmp_path / "campaign").load(JOB)


@pytest.fixture
def store(tmp_path: Path) -> ClaimStore:
    stores.need("obstore")
    (tmp_path / "store").mkdir()
    made = open_store(f"file://{tmp_path}/store", "c")
    made.prepare()
    return made


def doubt(job: Job, make_claim: Callable[..., Claim], at: int = NOW) -> tuple[list[Event], Claim]:
    """The first request's submission in doubt, and its claim."""
    more: list[Any] = history(next(requests_of(job)), State.IN_DOUBT, at=at)
    events = [replace(more[0], run="r1"), *more[1:]]
    claim = replace(make_claim(1), key=events[0].key, address=next(requests_of(job)).address, at=at)
    return events, claim


def test_a_claim_that_was_made_since_is_not_freed(
    job: Job, store: ClaimStore, make_claim: Callable[..., Claim]
) -> None:
    """Another clone freed the first attempt and has the second one in doubt: nobody has said a word about that."""
    events, claim = doubt(job, make_claim)
    record(job, events)
    store.claim([claim])
    store.settle([claim.settled("free", at=NOW, by="ben@b")])
    second = replace(claim, attempt="2", nonce="b", run="r2", holder="ben@b", at=NOW + 60)
    store.claim([second])
    settle(record_of(job), (claim.address,), FREE, now=NOW + 90, store=store)
    assert store.since(0) == [second]


def test_nor_one_that_was_made_since_the_record_was_written(
    job: Job, store: ClaimStore, make_claim: Callable[..., Claim]
) -> None:
    """The same where the record names the first claim as another clone's."""
    _, first = doubt(job, make_claim)
    store.claim([first])
    root = job.expansion.spec.root
    record(job, history(list(requests_of(job))[1], State.STORED))
    known: Any = Ledger.peek(job.paths, root=root)
    record(job, events_of(read_claims(store, known), job, known, now=NOW))
    store.settle([first.settled("free", at=NOW, by="ben@b")])
    second = replace(first, attempt="2", nonce="b", run="r2", holder="ben@b", at=NOW + 60)
    store.claim([second])
    settle(record_of(job), (first.address,), FREE, now=NOW + 90, store=store)
    assert store.since(0) == [second]


@pytest.mark.parametrize("days", [0, 5])
def test_the_claim_of_an_old_doubt_is_settled(
    days: int, job: Job, store: ClaimStore, make_claim: Callable[..., Claim], tmp_path: Path
) -> None:
    """Also where much was submitted since: what is asked of the store reaches back to the doubt."""
    events, claim = doubt(job, make_claim, NOW - days * 86_400)
    record(job, events)
    record(job, history(list(requests_of(job))[1], State.STORED, at=NOW))
    store.claim([claim])
    for file in (tmp_path / "store").rglob("v1-*"):
        os.utime(file, (claim.at, claim.at))
    settle(record_of(job), (claim.address,), FREE, now=NOW, store=store)
    assert [one.verdict for one in store.since(0)] == ["free"]


def test_a_job_without_its_record_is_told_also_with_claims(
    make_claim: Callable[..., Claim],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What the store knows is no record: whoever renamed the job alone sees their own submissions as another's."""
    stores.need("obstore")
    (tmp_path / "store").mkdir()
    campaign, url = Folder(tmp_path / "campaign"), f"file://{tmp_path}/store"
    job = campaign.load(JOB)
    campaign.write("policy.yaml", f'version: 1\nshared: {{claims: "{url}"}}\n')
    monkeypatch.chdir(campaign.path)
    assert run_command(["shared", "init"]) == 0
    events, claim = doubt(job, make_claim)
    record(job, events)
    open_store(url, campaign_name(None, TARGET.origin)).claim([claim])
    (campaign.path / "job.yaml").rename(campaign.path / "meadow.yaml")
    assert run_command(["plan", "meadow.yaml", "--shared", "--base-url", TARGET.origin]) == 0
    said = capfd.readouterr().err
    assert "warning[claim-open]" in said
    assert "warning[record-renamed]" in said


def test_the_run_of_a_saved_plan_learns_what_became_of_a_claim(
    job: Job, store: ClaimStore, make_claim: Callable[..., Claim]
) -> None:
    """It has the record alone: what that calls in doubt elsewhere was under way, and is paid by now."""
    claim = doubt(job, make_claim)[1]
    store.claim([claim])
    paths, root = job.paths, job.expansion.spec.root
    with Ledger.open(
        paths, job="job.yaml", origin=TARGET.origin, new_id=lambda: "m-1", root=root, command="run", now=NOW
    ) as ledger:
        note_claims(store, job, ledger, now=NOW)
        assert ledger.entries[claim.key].held_by == Holder(name=claim.holder, since=NOW, paid=False)
        store.settle([claim.settled("paid", at=NOW, by=claim.holder)])
        note_claims(store, None, ledger, now=NOW)
        assert ledger.entries[claim.key].held_by == Holder(name=claim.holder, since=NOW, paid=True)


def test_a_decision_that_the_store_did_not_take_is_not_on_record(
    job: Job, store: ClaimStore, make_claim: Callable[..., Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the same command says it once more; on record it would be no doubt any more, and the claim stay open."""
    events, claim = doubt(job, make_claim)
    record(job, events)
    store.claim([claim])

    def gone(settled: Sequence[Claim]) -> None:
        raise UnfinishedError("the store can't be reached")

    with monkeypatch.context() as patched:
        patched.setattr(store, "settle", gone)
        with pytest.raises(UnfinishedError):
            settle(record_of(job), (claim.address,), FREE, now=NOW, store=store)
    assert settle(record_of(job), (claim.address,), FREE, now=NOW, store=store)[1] == 0
    assert [one.verdict for one in store.since(0)] == ["free"]
