"""A record that a change edits: what was paid can't be made to look unpaid, nor the other way round unseen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.expand.identity import key_of
from seedream_jobs.job.files import WorkTree
from seedream_jobs.ledger.codec import canonical, decode, seal
from seedream_jobs.ledger.manifest import Manifest
from seedream_jobs.ledger.merge import join
from seedream_jobs.ledger.state import Attempt, Entry, State
from seedream_jobs.plans.record_edits import MAX_NAMED, _Edit, record_edits
from seedream_jobs.plans.revisions import GitTree

Line = dict[str, Any]
HEADER: Line = {"format": 1, "id": "m-1", "job": "garden.yaml", "origin": "https://api.example"}
NAME = "garden.manifest.jsonl"


def line(number: int, **changes: Any) -> Line:
    """An accepted request."""
    plain: Line = {
        "address": f"garden/subject=heron-{number}#1",
        "cell": {"subject": f"heron {number}"},
        "generation": 1,
        "idempotency_key": f"{number:x}-1",
        "max_cost_usd": "0.0228",
        "max_images": 1,
        "output": f"out/heron-{number}",
        "repeat": 1,
        "request": {"model": "doubao-seedream-5-0-lite", "prompt": f"heron {number}"},
        "state": "accepted",
        "submitted_at": "2027-01-15T08:00:00Z",
        "task_id": f"task_{number}",
    }
    plain["key"] = key_of(plain["request"], "doubao-seedream-5-0-lite", 1)
    return {name: value for name, value in {**plain, **changes}.items() if value is not None}


@pytest.fixture
def edits(tmp_path: Path) -> Callable[..., list[tuple[str, str, int | None]]]:
    """(severity and code, message, line) of each finding about a manifest in two trees; None for no manifest."""

    def compare(base: list[Line] | None, head: list[Line] | None, **options: bool) -> list[tuple[str, str, int | None]]:
        for name, lines in (("base", base), ("head", head)):
            (tmp_path / name).mkdir(exist_ok=True)
            if lines is not None:
                text = "".join(json.dumps(one, separators=(",", ":"), sort_keys=True) + "\n" for one in lines)
                (tmp_path / name / NAME).write_text(text, encoding="utf-8")
        trees = WorkTree(tmp_path / "base"), WorkTree(tmp_path / "head")
        found: tuple[Diagnostic, ...] = record_edits(*trees, [PurePosixPath(NAME)], shown=str, **options)
        return [(f"{one.severity} {one.code}", one.message, one.span and one.span.start.line) for one in found]

    return compare


def test_no_change_is_no_finding(edits: Callable[..., Any]) -> None:
    """The same lines in another order say the same."""
    assert edits([HEADER, line(1), line(2)], [HEADER, line(2), line(1)]) == []


def test_progress_is_told(edits: Callable[..., Any]) -> None:
    """What fetch and status write: a state that moves on is a warning, for it may have been written by hand."""
    images = [{"url": "https://img/1", "file": "out/heron-1.jpeg", "sha256": "0" * 64, "bytes": 5}]
    stored = line(1, state="stored", cost_usd="0.0228", images=images)
    told = "garden/subject=heron-1#1 was changed: state accepted → stored, images, cost_usd None → 0.0228"
    assert edits([HEADER, line(1)], [HEADER, stored]) == [("warning manifest-changed", told, 2)]


def test_what_counts_for_less_is_refused(edits: Callable[..., Any]) -> None:
    """A task that failed is not paid: somebody must have seen that, and says so with the option."""
    failed = line(1, state="failed", error={"status": 400, "code": "400", "message": "content policy"})
    for head in (failed, line(1, state="completed", cost_usd="0")):
        assert [code for code, *_ in edits([HEADER, line(1)], [HEADER, head])] in (
            ["error manifest-unpaid"],
            ["error manifest-changed"],
        )
        assert edits([HEADER, line(1)], [HEADER, head], allow_additions=True)[0][0].startswith("warning ")


@pytest.mark.parametrize(
    "edit",
    [
        {"cost_usd": "0.0001"},
        {"cost_usd": None},
        {"max_cost_usd": "0"},
        {"max_images": 100},
        {"max_cost_usd": None},
    ],
)
def test_a_cost_is_never_edited(edit: dict[str, Any], edits: Callable[..., Any]) -> None:
    """Whatever is allowed: a budget would be lifted by it."""
    paid = line(1, state="stored", cost_usd="0.0228")
    found = edits(
        [HEADER, paid],
        [
            HEADER,
            paid | edit if None not in edit.values() else line(1, state="stored", **{"cost_usd": "0.0228", **edit}),
        ],
        allow_additions=True,
    )
    assert [code for code, *_ in found] == ["error manifest-cost"]


def test_a_negative_cost_is_damage(edits: Callable[..., Any]) -> None:
    """Also in a line whose checksum is good."""
    forged = json.loads(seal(canonical(line(1, state="stored", cost_usd="-1000"))))
    found = edits([HEADER, line(1)], [HEADER, forged])
    assert [(code, at) for code, _, at in found] == [("error manifest-damaged", 2)]


def test_a_removed_line_would_be_paid_again(edits: Callable[..., Any]) -> None:
    """Each is an error by its address."""
    assert edits([HEADER, line(1), line(2)], [HEADER, line(1)]) == [
        (
            "error manifest-removed",
            "the line of garden/subject=heron-2#1 was removed: the next run would pay for it again",
            None,
        )
    ]


def test_a_removed_manifest_is_all_its_lines_removed(edits: Callable[..., Any]) -> None:
    """Deleting the file is no way round."""
    assert [code for code, _, _ in edits([HEADER, line(1), line(2)], None)] == ["error manifest-removed"] * 2


def test_a_changed_task_id_is_an_image_lost(edits: Callable[..., Any]) -> None:
    """At its line in the new file."""
    assert edits([HEADER, line(1)], [HEADER, line(1, task_id="task_9")]) == [
        ("error manifest-added", "a line claims a payment: garden/subject=heron-1#1: task_9", 2),
        ("error manifest-changed-id", "garden/subject=heron-1#1 was accepted as task_1, now its task id is task_9", 2),
    ]


def test_a_changed_manifest_id_is_an_error(edits: Callable[..., Any]) -> None:
    """It is part of every idempotency key; the origin says which service was paid."""
    found = edits([HEADER], [{**HEADER, "id": "m-2", "origin": "https://other.example"}])
    assert [code for code, _, _ in found] == ["error manifest-changed-id"] * 2


def test_a_state_that_goes_back_is_an_error(edits: Callable[..., Any]) -> None:
    """A submission that counted as spent must not count as failed without the service's word."""
    failed = line(1, state="failed", error={"status": 400, "code": "", "message": "x"})
    assert [code for code, _, _ in edits([HEADER, line(1, state="stored")], [HEADER, failed])] == [
        "error manifest-unpaid"
    ]


def test_added_lines_are_claims(edits: Callable[..., Any]) -> None:
    """Refused, each named with its task id and line; listed as warnings where they are allowed."""
    claim = "a line claims a payment: garden/subject=heron-2#1: accepted, task_2"
    assert edits([HEADER, line(1)], [HEADER, line(1), line(2)]) == [("error manifest-added", claim, 3)]
    allowed = edits([HEADER, line(1)], [HEADER, line(1), line(2)], allow_additions=True)
    assert allowed == [("warning manifest-added", claim, 3)]


def test_a_new_manifest_is_all_claims(edits: Callable[..., Any]) -> None:
    """A change can't bring along a record that nobody saw paid."""
    assert [code for code, _, _ in edits(None, [HEADER, line(1)])] == ["error manifest-added"]


def test_many_edits_are_counted(edits: Callable[..., Any]) -> None:
    """A thousand removed lines are named twenty times, and counted."""
    found = edits([HEADER, *(line(number) for number in range(1, 1001))], [HEADER])
    assert len(found) == MAX_NAMED + 1
    assert any(message == "980 more lines were removed" for _, message, _ in found)


@pytest.mark.parametrize("task_id", ["task/../../etc", "task 1", "", "t" * 129, "task\n1"])
def test_an_id_that_is_none_is_refused(task_id: str, edits: Callable[..., Any]) -> None:
    """An id becomes part of a path and a URL: only ^[A-Za-z0-9_-]{1,128}$."""
    found = edits([HEADER, line(1)], [HEADER, line(1), line(2, task_id=task_id)])
    assert [(code, at) for code, _, at in found] == [("error manifest-damaged", 3)]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """Only manifests are records."""
    tree = WorkTree(tmp_path)
    assert record_edits(tree, tree, [PurePosixPath("garden.yaml"), PurePosixPath("a/notes.jsonl")], shown=str) == ()


def test_a_forged_key_is_found_whatever_its_checksum(edits: Callable[..., Any]) -> None:
    """Who moves a paid line to another request, so that the first is paid again, computes the checksum anew."""
    forged = line(2) | {"request": line(1)["request"], "address": line(1)["address"]}
    sealed = json.loads(seal(canonical(forged)))
    found = edits([HEADER, line(2)], [HEADER, sealed])
    assert [one[0] for one in found] == ["error manifest-damaged"]
    assert "its key is not that of its request" in found[0][1]
    assert found[0][2] == 2


def test_a_journal_in_a_change_is_refused(edits: Callable[..., Any], tmp_path: Path) -> None:
    """It would be believed: what was paid could be called unpaid by it. Where it is taken away, nothing is said."""
    edits([HEADER], [HEADER])
    name = PurePosixPath("garden.manifest.journal")
    trees = WorkTree(tmp_path / "base"), WorkTree(tmp_path / "head")
    assert record_edits(*trees, [name], shown=str, allow_additions=True) == ()
    (tmp_path / "head" / name).write_bytes(b"x")
    (found,) = record_edits(*trees, [name], shown=str, allow_additions=True)
    assert (found.code, found.severity, found.path) == ("record-committed", "error", str(name))
    assert record_edits(*trees, [name], untracked=[name], shown=str) == ()


def test_a_manifest_in_a_change_is_held(campaign: Any, command: Callable[..., Any]) -> None:
    """Claims are refused unless they are allowed; then they are listed."""
    lines = (HEADER | {"origin": "https://api.apimart.ai"}, line(7))
    campaign.write(NAME, "".join(json.dumps(one, separators=(",", ":"), sort_keys=True) + "\n" for one in lines))
    campaign.edit("garden.yaml", "heron", "crane")
    refused = command("plan", "--base", "main")
    assert (refused.code, f"{NAME}:2:1: error[manifest-added]" in refused.err) == (1, True)
    allowed = command("plan", "--base", "main", "--allow-manifest-additions")
    assert (allowed.code, f"{NAME}:2:1: warning[manifest-added]" in allowed.err) == (0, True)
    campaign.commit()
    (campaign.folder / NAME).unlink()
    removed = command("plan", "--base", "main~0", "--allow-manifest-additions")
    assert (removed.code, "error[manifest-removed]" in removed.err) == (1, True)


def test_many_new_records_read_the_base_once(
    campaign: Any, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each manifest of the base, however many a stranger's tree adds; and a copied id is still found."""
    header = {**HEADER, "id": "m-0"}
    for number in range(4):
        campaign.write(f"old-{number}.manifest.jsonl", json.dumps({**header, "id": f"m-{number}"}) + "\n")
    campaign.commit("records")
    for number in range(6):
        campaign.write(f"new-{number}.manifest.jsonl", json.dumps({**header, "id": f"m-9{number}"}) + "\n")
    campaign.write("copy.manifest.jsonl", json.dumps(header) + "\n")
    read: list[str] = []
    before = GitTree.read
    monkeypatch.setattr(
        GitTree, "read", lambda self, path, **limits: read.append(path.name) or before(self, path, **limits)
    )
    ended = command("plan", "--base", "main")
    assert "the id m-0 is that of old-0.manifest.jsonl already" in ended.err
    assert max(read.count(f"old-{number}.manifest.jsonl") for number in range(4)) == 1


def test_a_forged_history_is_joined_in_time_of_its_length() -> None:
    """Tens of thousands of submissions in one line: a stranger's record costs as much as it is long."""
    many = tuple(
        Attempt(generation=1, state=State.ACCEPTED, task_id=f"t{number}", submitted_at=number, run="r")
        for number in range(20_000)
    )
    begun = time.process_time()
    first = decode(Entry, line(1, key=None) | {"key": "v1:1"})
    joined = join(replace(first, earlier=many), replace(first, earlier=many))
    assert len(joined.earlier) == len(many)
    found = record_edits_of(replace(joined, earlier=()), joined)
    assert any(code == "manifest-added" for code, _, _ in found)
    assert time.process_time() - begun < 3


def record_edits_of(old: Entry, new: Entry) -> list[tuple[str, str, str]]:
    """What is said of one entry in two trees."""
    return list(_Edit(shown=NAME, base=Manifest(), head=Manifest(), lines={}, allowed=False)._of_entry(old, new))
