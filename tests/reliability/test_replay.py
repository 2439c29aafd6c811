"""What is in doubt is sent again only where the plan says so, as the very same POST, and what that may cost counts."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

DROPS = ("--fault", "drop-after-accept:first=2")


def left_in_doubt(emulator: Callable[..., Any], campaign: Callable[..., Any], mode: str) -> tuple[Any, Any]:
    """A run of four requests whose first two replies were lost, by a service that does not promise replay."""
    service = emulator(*DROPS)
    mine = campaign(service, 4)
    first = mine.run("--detach")
    assert first.code == 6, first.err
    assert mine.states() == {"accepted": 2, "in_doubt": 2}
    assert service.count() == 4
    service.restart("--idempotency", mode)
    return service, mine


def test_a_replay_is_asked_for_and_held_by_the_budget(
    emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """Neither the schema nor a plain ``run`` replays; --replay stands in the plan, is asked for, and costs."""
    service, mine = left_in_doubt(emulator, campaign, "honours")
    assert mine.run("--detach", "--budget", "0").code == 6
    assert mine.start("run", "--detach").wait().code == 6
    planned = mine.command("plan", "--replay", "--detailed-exitcode")
    assert planned.code == 3, planned.said
    assert "? 2 in doubt" in planned.out
    assert "2 of them will be replayed" in planned.out
    assert "2 to submit" in planned.out
    assert "0.0456 USD" in planned.out
    assert mine.command("plan", "--replay", "--format", "json").out.count('"action": "replay"') == 2
    assert mine.start("run", "--detach", "--replay").wait().code == 2  # nobody to ask
    over = mine.run("--detach", "--replay", "--budget", "0.03")
    assert over.code == 6, "in doubt before over budget; both are told"
    assert "--budget is 0.03 USD" in over.err
    assert (service.count(), mine.states()) == (4, {"accepted": 2, "in_doubt": 2})


def test_doubts_of_an_earlier_run_are_replayed_where_the_operator_says_so(
    harness: ModuleType, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """The next run learns both task ids; the answers are marked as the first ones', so nothing more counts."""
    service, mine = left_in_doubt(emulator, campaign, "honours")
    ended = mine.run("--detach", "--replay", "--limit", "1")
    assert (ended.code, mine.states()["in_doubt"]) == (6, 1), ended.err
    ended = mine.run("--detach", "--replay")
    assert ended.code == 0, ended.err
    assert mine.states() == {"accepted": 4}
    assert service.count() == 4
    assert harness.audit(mine, service, {}, set()) == []
    assert not any("earlier" in line for line in mine.entries().values())


@pytest.mark.parametrize("mode", [pytest.param("ignores", marks=pytest.mark.slow), "half"])
def test_a_replay_that_was_charged_again_is_on_record(
    mode: str, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """A service that ignores keys charges twice: both are on record, both count, and it is told."""
    service, mine = left_in_doubt(emulator, campaign, mode)
    ended = mine.run("--replay")
    assert ended.code == 0, ended.err
    assert service.count() == 6
    twice = [line for line in mine.entries().values() if "earlier" in line]
    assert [line["earlier"][0]["state"] for line in twice] == ["abandoned", "abandoned"]
    assert mine.states() == {"stored": 4}
    assert "may have been charged twice" in mine.command("plan").err
    status = mine.command("status").out
    assert "0.1368" in status, status


def test_a_doubt_of_this_very_run_is_left(emulator: Callable[..., Any], campaign: Callable[..., Any]) -> None:
    """What this run's plan could not name is not replayed by it, whatever was asked for."""
    service = emulator(*DROPS, "--idempotency", "honours")
    mine = campaign(service, 4)
    ended = mine.run("--detach", "--replay")
    assert (ended.code, mine.states(), service.count()) == (6, {"accepted": 2, "in_doubt": 2}, 4), ended.err


def test_what_would_not_be_the_same_post_stays_in_doubt(
    emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """The idempotency key covers the body and the record's id: with another id the POST would count as a new one."""
    service, mine = left_in_doubt(emulator, campaign, "honours")
    text = mine.manifest.read_text()
    before = mine.lines()[0]["id"]
    mine.manifest.write_text(re.sub(r'"crc":"\w+",', "", text.replace(before, "m-0000000000000000")))
    ended = mine.run("--detach", "--replay")
    assert (ended.code, mine.states()["in_doubt"], service.count()) == (6, 2, 4)


def test_a_doubt_older_than_the_service_keeps_keys_stays(
    emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """After 23 hours the key may have been forgotten: the POST would be charged again, and is not made."""
    service, mine = left_in_doubt(emulator, campaign, "honours")
    mine.age(23 * 3600 + 60)
    ended = mine.run("--detach", "--replay")
    assert (ended.code, mine.states()["in_doubt"], service.count()) == (6, 2, 4)


def test_a_job_file_in_another_order_repeats_the_post_byte_for_byte(
    emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """Reordering the fields of a request changes neither its key nor the bytes that a replay sends."""
    service = emulator(*DROPS)
    mine = campaign(service, 2)
    job = mine.folder / "job.yaml"
    job.write_text('version: 1\nrequest: {prompt: "heron {{ i }}", size: "1:1", n: 1}\nmatrix: {i: [1, 2]}\n')
    assert mine.run("--detach").code == 6
    service.restart("--idempotency", "honours")
    job.write_text('version: 1\nmatrix: {i: [1, 2]}\nrequest: {n: 1, size: "1:1", prompt: "heron {{ i }}"}\n')
    ended = mine.run("--detach", "--replay")
    assert (ended.code, mine.states(), service.count()) == (0, {"accepted": 2}, 2), ended.err


@pytest.mark.parametrize("mode", ["ignores", pytest.param("half", marks=pytest.mark.slow)])
def test_the_audit_catches_a_replay_without_proof(
    mode: str, harness: ModuleType, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """A program that replays by itself pays twice, and the books show it."""
    service, mine = left_in_doubt(emulator, campaign, mode)
    mine.run("--detach", fault="blind-replay")
    assert any("charged 2 times" in violation for violation in harness.audit(mine, service, {}, set()))
