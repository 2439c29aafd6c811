"""A reply that names several tasks, one for each image of a group: all are on record, polled, fetched and counted."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

GROUP = 'version: 1\nrequest: {prompt: "heron {{ i }}", n: 3}\nmatrix: {i: [1, 2]}\n'


def test_all_tasks_of_a_group_are_recorded_polled_fetched_and_counted(
    emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """Detached, then fetched by another command; another run finds nothing to do."""
    service = emulator("--fault", "task-per-image")
    mine = campaign(service, 2)
    (mine.folder / "job.yaml").write_text(GROUP)
    ended = mine.run("--detach")
    assert (ended.code, service.count()) == (0, 6), ended.said
    for line in mine.entries().values():
        assert len(line["task_ids"]) == 3
        assert "task_id" not in line
    mine.age(60)
    assert mine.command("fetch").code == 0
    named = [one for line in mine.entries().values() for one in line["task_ids"]]
    assert sorted(named) == sorted(charge["id"] for charge in service.charges())
    for line in mine.entries().values():
        assert line["state"] == "stored"
        assert Decimal(line["cost_usd"]) == Decimal("0.0684")
        assert len({image["file"] for image in line["images"]}) == 3
    assert "nothing to submit" in mine.command("plan").out
    assert "0.1368" in mine.command("status").out


def test_of_a_group_what_came_is_stored(emulator: Callable[..., Any], campaign: Callable[..., Any]) -> None:
    """One of three tasks fails: two images, their cost, and a word about the third."""
    service = emulator("--fault", "task-per-image", "--fault", "task-failed:first=1")
    mine = campaign(service, 1)
    (mine.folder / "job.yaml").write_text(GROUP.replace("[1, 2]", "[1]"))
    mine.run()
    (line,) = mine.entries().values()
    assert line["state"] == "stored"
    assert Decimal(line["cost_usd"]) == Decimal("0.0456")
    assert [("file" in image, "error" in image) for image in line["images"]] == [
        (False, True),
        (True, False),
        (True, False),
    ]


@pytest.mark.parametrize("code", [0, 6])
def test_an_error_that_names_a_task_is_confirmed(
    code: int, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """Charged, and answered with 429: the id is asked for, and never sent again."""
    unknown = () if code == 0 else ("--fault", "poll-gone")
    service = emulator("--fault", "429-with-id:first=1", *unknown)
    mine = campaign(service, 1)
    ended = mine.run("--detach")
    assert (ended.code, service.count()) == (code, 1), ended.said
    (line,) = mine.entries().values()
    assert line["state"] == ("accepted" if code == 0 else "in_doubt")
    assert line["task_id"] == service.charges()[0]["id"]
    assert mine.run("--detach").code == code
    assert service.count() == 1
