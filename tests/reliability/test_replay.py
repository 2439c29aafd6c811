"""What is in doubt is sent again only where the service is proven to replay it, and then as the very same POST."""

from __future__ import annotations

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


def test_doubts_of_an_earlier_run_are_replayed_where_the_schema_promises_it(
    harness: ModuleType, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """The model's schema names the capability: the next run learns both task ids, and nothing is charged again."""
    service, mine = left_in_doubt(emulator, campaign, "honours")
    ended = mine.run("--detach")
    assert ended.code == 0, ended.err
    assert mine.states() == {"accepted": 4}
    assert service.count() == 4
    assert harness.audit(mine, service, {}, set()) == []
    assert sorted(line.get("replays", 0) for line in mine.entries().values()) == [0, 0, 1, 1]


@pytest.mark.parametrize("mode", ["ignores", "half"])
def test_doubts_stay_where_nothing_is_proven(
    mode: str, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """A service that ignores the key, or honours it only for replies that arrived, gets no second POST."""
    service, mine = left_in_doubt(emulator, campaign, mode)
    ended = mine.run("--detach")
    assert ended.code == 6
    assert mine.states() == {"accepted": 2, "in_doubt": 2}
    assert service.count() == 4


def test_a_doubt_of_this_very_run_is_replayed(emulator: Callable[..., Any], campaign: Callable[..., Any]) -> None:
    """A reply that is lost is asked for again before the run ends, once the service was asked what it promises."""
    service = emulator(*DROPS, "--idempotency", "honours")
    mine = campaign(service, 4)
    ended = mine.run("--detach")
    assert (ended.code, mine.states(), service.count()) == (0, {"accepted": 4}, 4), ended.err
    assert "4 submitted" in ended.out


def test_a_doubt_is_replayed_also_beside_another_generation(
    emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """What --again asked for is under way by then; that is no reason to leave the doubts alone."""
    service = emulator("--idempotency", "honours")
    mine = campaign(service, 4)
    assert mine.run("--limit", "1").code == 0
    (again,) = (line["address"] for line in mine.entries().values())
    service.restart("--idempotency", "honours", *DROPS)
    ended = mine.run("--detach", "--again", again)
    assert (ended.code, mine.states(), service.count()) == (0, {"accepted": 4}, 5), ended.err


def test_what_would_not_be_the_same_post_stays_in_doubt(
    emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """The idempotency key covers the body and the record's id: with another id the POST would count as a new one."""
    service, mine = left_in_doubt(emulator, campaign, "honours")
    text = mine.manifest.read_text()
    before = mine.lines()[0]["id"]
    mine.manifest.write_text(text.replace(before, "m-0000000000000000"))
    ended = mine.run("--detach")
    assert (ended.code, mine.states()["in_doubt"], service.count()) == (6, 2, 4)


def test_a_doubt_older_than_the_service_keeps_keys_stays(
    emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """After 23 hours the key may have been forgotten: the POST would be charged again, and is not made."""
    service, mine = left_in_doubt(emulator, campaign, "honours")
    mine.age(23 * 3600 + 60)
    ended = mine.run("--detach")
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
    ended = mine.run("--detach")
    assert (ended.code, mine.states(), service.count()) == (0, {"accepted": 2}, 2), ended.err


@pytest.mark.parametrize("mode", ["ignores", pytest.param("half", marks=pytest.mark.slow)])
def test_the_audit_catches_a_replay_without_proof(
    mode: str, harness: ModuleType, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """A program that believes in replay pays twice, and the books show it."""
    service, mine = left_in_doubt(emulator, campaign, mode)
    mine.run("--detach", fault="blind-replay")
    assert any("charged 2 times" in violation for violation in harness.audit(mine, service, {}, set()))
