"""What is in doubt is listed with everything that helps, and settled by a person, one by one or all, for a reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import httpx

from seedream_jobs.ledger.state import InDoubt, State
from seedream_jobs.plans.load import Target, load_job
from tests.campaign import history, record, requests_of

START = Callable[..., Any]


def doubtful(mine: Any) -> list[dict[str, Any]]:
    found = [line for line in mine.entries().values() if line["state"] == "in_doubt"]
    return sorted(found, key=lambda line: str(line["address"]))


def resolutions(mine: Any) -> list[dict[str, Any]]:
    return [line for line in mine.lines() if "resolution" in line]


def test_the_list_says_time_request_id_and_cost(emulator: START, campaign: START) -> None:
    """All a person needs to find the call in the service's console; the list changes nothing."""
    service = emulator("--fault", "500-after-accept:first=1")
    mine = campaign(service, 2)
    assert mine.run("--detach").code == 6
    (one,) = doubtful(mine)
    before = mine.manifest.read_bytes()
    listing = mine.command("resolve")
    assert listing.code == 6
    assert "1 in doubt, counted with 0.0228 USD" in listing.out
    assert one["address"] in listing.out
    assert (
        f"server error since {one['since'].replace('T', ' ').replace('Z', '')} UTC, at most 0.0228 USD" in listing.out
    )
    assert f"request id {one['request_id']}" in listing.out
    for way in ("--accepted TASK_ID", "--not-charged", "--abandon"):
        assert way in listing.err
    assert mine.manifest.read_bytes() == before


def test_each_way_to_settle(harness: ModuleType, emulator: START, campaign: START) -> None:
    """Accepted is fetched, not charged is submitted again, abandoned is left; each with its reason on record."""
    service = emulator("--fault", "drop-after-accept:first=3")
    mine = campaign(service, 4)
    assert mine.run("--detach").code == 6
    one, two, three = doubtful(mine)
    task = next(charge["id"] for charge in service.charges() if charge["key"] == one["idempotency_key"])
    assert mine.command("resolve", one["address"], "--accepted", task, "--reason", "in the console").code == 6
    assert mine.command("resolve", two["address"], "--not-charged", "--reason", "no trace of it").code == 6
    assert mine.command("resolve", "--all", "--abandon", "--reason", "not worth it").code == 0
    assert mine.states() == {"accepted": 2, "new": 1, "abandoned": 1}
    said = {(line["key"], line["resolution"], line["reason"]) for line in resolutions(mine)}
    assert said == {
        (one["key"], "accepted", "in the console"),
        (two["key"], "not_charged", "no trace of it"),
        (three["key"], "abandoned", "not worth it"),
    }
    assert mine.run("--detach").code == 0
    assert mine.states() == {"accepted": 3, "abandoned": 1}
    assert mine.entries()[one["key"]]["task_id"] == task


def test_an_expired_one_is_brought_back(emulator: START, campaign: START) -> None:
    """A task that the service does not know, as with another account's key, stays open and is told. One that was given
    up is asked for again by a person's word, with the reason on record.
    """
    mine = campaign(emulator("--delay", "0.1", "--fault", "poll-gone:first=1"), 1)
    assert mine.run("--detach").code == 0
    mine.age(3600)
    asked = mine.command("status")
    assert (asked.code, mine.states()) == (8, {"accepted": 1})
    assert "tasks the service does not know: 1; is the key of another account?" in asked.err
    header, line = mine.lines()[:2]
    expired = {name: value for name, value in line.items() if name != "crc"} | {"state": "expired"}
    mine.manifest.write_text("".join(json.dumps(one, sort_keys=True) + "\n" for one in (header, expired)))
    listing = mine.command("resolve")
    assert f"{line['address']}  {line['task_id']}" in listing.out
    (said,) = json.loads(mine.command("status", "--format", "json").out)
    assert said["expired"] == [line["address"]]
    assert mine.command("resolve", line["address"], "--accepted", line["task_id"], "--reason", "it lives").code == 0
    assert (mine.states(), [one["reason"] for one in resolutions(mine)]) == ({"accepted": 1}, ["it lives"])


def test_mistakes_settle_nothing(emulator: START, campaign: START) -> None:
    """A name that is not in doubt, no address, two decisions, one id for all: refused with the way out."""
    service = emulator("--fault", "drop-after-accept:first=2")
    mine = campaign(service, 3)
    assert mine.run("--detach").code == 6
    one, _ = doubtful(mine)
    wrong = mine.command("resolve", one["address"] + "0", "--abandon")
    assert (wrong.code, f"did you mean {one['address']!r}?" in wrong.err) == (2, True)
    for arguments in (
        ("--abandon",),
        (one["address"],),
        (one["address"], "--abandon", "--not-charged"),
        ("--all", "--accepted", "task_1"),
        (one["address"], "--accepted", "not an id"),
    ):
        assert mine.command("resolve", *arguments).code == 2
    assert len(doubtful(mine)) == 2
    assert resolutions(mine) == []


def test_evidence_is_gathered(emulator: START, campaign: START) -> None:
    """``--check``: the balance, and what the service knows of a task id that was found in a broken reply."""
    service = emulator("--fault", "garbage-with-id:first=1", "--fault", "poll-503")
    mine = campaign(service, 1)
    assert mine.run("--detach").code == 6, "the salvaged id could not be confirmed"
    (one,) = doubtful(mine)
    task = service.charges()[0]["id"]
    assert one["task_id"] == task
    service.restart()
    checked = mine.command("resolve", "--check")
    assert checked.code == 6
    assert "balance: 99.9772 USD, used 0.0228 USD" in checked.out
    assert f"so it was accepted: --accepted {task}" in checked.out
    assert mine.command("resolve", one["address"], "--accepted", task).code == 0


def test_a_task_made_by_hand_is_imported(emulator: START, campaign: START) -> None:
    """``--import``: the request is not submitted any more, and its images are fetched."""
    service = emulator("--delay", "0")
    mine, by_hand = campaign(service, 1), campaign(service, 1, name="by-hand")
    assert by_hand.run("--detach").code == 0
    task = service.charges(by_hand.subject)[0]["id"]
    imported = mine.command("resolve", "--import", task, "job/i=1#1")
    assert imported.code == 0, imported.err
    (entry,) = mine.entries().values()
    assert (entry["state"], entry["task_id"], entry["max_cost_usd"]) == ("accepted", task, "0.0228")
    assert mine.run("--detach").code == 0
    assert service.count(mine.subject) == 0
    mine.age(60)
    assert mine.command("fetch").code == 0
    assert mine.states() == {"stored": 1}
    assert mine.command("resolve", "--import", task, "job/i=1#1").code == 2


def test_an_import_survives_a_kill(harness: ModuleType, shared_emulator: Any, campaign: START) -> None:
    """The journal of an import that was never folded is read by the next command."""
    mine = campaign(shared_emulator, 1)
    imported = mine.start("resolve", "--import", "task_1", "job/i=1#1", fault="no-fold").wait()
    assert imported.code == 70
    assert mine.journal.exists()
    assert mine.command("status", "--offline").code == 8
    assert mine.command("resolve").code == 0
    assert mine.run("--detach").code == 0
    assert mine.states() == {"accepted": 1}


def test_two_branches_that_paid_for_one_request_are_told(emulator: START, campaign: START) -> None:
    """Manifests that git merged keep both ids, and the plan says that it was submitted twice; nothing is submitted."""
    service = emulator()
    mine = campaign(service, 2)
    other = campaign(service, 2, name="branch")
    shutil.copy(mine.folder / mine.job, other.folder / other.job)
    other.subject = mine.subject
    assert mine.run("--detach").code == 0
    assert other.run("--detach", "--limit", "1").code == 0
    ids = {charge["id"] for charge in service.charges()}
    assert len(ids) == 3
    mine.manifest.write_text(mine.manifest.read_text() + other.manifest.read_text())
    planned = mine.command("plan")
    assert planned.code == 0, planned.err
    assert "was submitted twice" in planned.err
    assert "probably on two branches" in planned.err
    assert "nothing to submit" in planned.out
    assert mine.run("--detach").code == 0
    assert service.count() == 3
    text = mine.manifest.read_text()
    assert all(one in text for one in ids)
    assert "0.0684 USD count as spent" in mine.command("status", "--offline").out


def test_a_task_belongs_to_one_request(emulator: START, campaign: START) -> None:
    """The task of another request is refused, settled or imported: its images would be stored, and counted, twice."""
    service = emulator("--fault", "drop-after-accept:first=1")
    mine = campaign(service, 3)
    assert mine.run("--detach").code == 6
    (one,) = doubtful(mine)
    taken = next(line for line in mine.entries().values() if line["state"] == "accepted")
    refused = mine.command("resolve", one["address"], "--accepted", taken["task_id"])
    assert refused.code == 2
    assert f"is the task of {taken['address']} already" in refused.err
    imported = mine.command("resolve", "--import", taken["task_id"], one["address"])
    assert imported.code == 2
    assert mine.states() == {"accepted": 2, "in_doubt": 1}


def test_naming_one_twice_settles_it_once(emulator: START, campaign: START) -> None:
    """An address and its key may be the same request."""
    service = emulator("--fault", "drop-after-accept:first=1")
    mine = campaign(service, 2)
    assert mine.run("--detach").code == 6
    (one,) = doubtful(mine)
    settled = mine.command("resolve", one["address"], one["key"], one["address"], "--abandon")
    assert settled.code == 0
    assert len(resolutions(mine)) == 1


def test_every_task_of_a_group_is_asked_for(campaign: START, emulator: START) -> None:
    """``--check``: the group was accepted if the service knows all of its tasks."""
    service = emulator("--fault", "task-per-image")
    mine = campaign(service, 1)
    loaded = load_job(
        mine.folder / "job.yaml",
        shown="job.yaml",
        target=Target(origin=mine.base_url, emulator=False),
        sets={},
    )
    known = httpx.post(
        f"{mine.base_url}/v1/images/generations",
        json={"model": "doubao-seedream-5-0-lite", "prompt": f"{mine.subject}x", "n": 2},
        headers={"Authorization": "Bearer sk"},
        trust_env=False,
    ).json()["data"]
    first, second = (one["task_id"] for one in known)
    (request,) = requests_of(loaded)
    intended, doubt = history(request, State.IN_DOUBT)
    assert isinstance(doubt, InDoubt)
    for more, accepted in (((second, "task_unknown"), False), ((second,), True)):
        mine.manifest.unlink(missing_ok=True)
        doubt = replace(doubt, task_id=first, more_task_ids=more)
        record(loaded, [intended, doubt], origin=mine.base_url)
        checked = mine.command("resolve", "--check").out
        assert all(f"task {one}: " in checked for one in (first, *more)), checked
        assert (f"so it was accepted: --accepted {first}" in checked) == accepted
