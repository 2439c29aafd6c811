"""Entries that are kept as lines: what can be told without taking them apart."""

from __future__ import annotations

from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.state import Attempt, Entry, State


def entry(name: str, **fields: object) -> Entry:
    plain = {"key": f"v1:{name}", "address": name, "cell": {}, "request": {"prompt": '{"images": 1}'}}
    known = {"repeat": 1, "output": name, "max_images": 1, "generation": 1, "state": State.ACCEPTED}
    return Entry(**{**plain, **known, **fields})  # type: ignore[arg-type]


def test_one_task_of_several_submissions_is_found() -> None:
    """Of two requests, or of two generations of one; a prompt that quotes an id is no task."""
    entries = Entries()
    earlier = Attempt(generation=1, state=State.FAILED, task_id="task_2")
    for one in (
        entry("a", task_id="task_1", request={"prompt": '"task_id":"task_3"'}),
        entry("b", task_id="task_1"),
        entry("c", generation=2, task_id="task_2", earlier=(earlier,)),
        entry("d", task_id="task_3"),
    ):
        entries.put(one)
    assert entries.shared_tasks() == {"task_1": ["a", "b"], "task_2": ["c", "c"]}


def test_entries_may_come_and_go_while_they_are_looked_through() -> None:
    """A run records new requests while others are fetched: who began before sees those that were there."""
    entries = Entries()
    for name in "abcd":
        entries.put(entry(name, state=State.INTENT if name in "cd" else State.STORED))
    before = ["v1:a", "v1:b", "v1:c", "v1:d"]
    for number, walk in enumerate((iter(entries), entries.raw(), entries.items())):
        seen = []
        for step, one in enumerate(walk):
            seen.append(one)
            entries.put(entry(f"new{number}-{step}", state=State.INTENT))
            entries.put(entry("c", state=State.STORED))
        assert len(seen) >= 1
        if number == 0:
            assert seen == before
