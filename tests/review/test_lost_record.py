"""A record that was lost: the images are still there, and the sidecars beside them say what was paid."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.ledger.journal import GroupCommit

Run = Callable[..., Any]


def test_a_lost_record_is_told_before_paying_again_and_taken_from_the_sidecars(
    campaign: Any, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that are whole are stored again; of one that was edited the task is asked for."""
    campaign.edit("garden.yaml", "output:", "limits: {budget_usd: 1}\noutput:")
    assert command("run", "garden.yaml", "--emulator", "--no-gallery").code == 0
    apart = campaign.folder / ".seedream/emulator"
    record = apart / "garden.manifest.jsonl"
    paid = {one["key"]: one for one in map(json.loads, record.read_text(encoding="utf-8").splitlines()) if "key" in one}
    record.unlink()
    edited, *whole = sorted((apart / "out/garden").glob("*.jpeg"))
    edited.write_bytes(b"edited")
    (apart / "out/garden/other.json").write_text('{"format": "somebody else\'s"}', encoding="utf-8")
    told = command("plan", "garden.yaml", "--emulator")
    assert told.code == 0
    assert "warning[images-on-no-record]: 4 of 4 requests" in told.err
    assert "resolve garden.yaml --import" in told.err
    synced, began = [], GroupCommit._commit
    with monkeypatch.context() as patched:
        patched.setattr(GroupCommit, "_commit", lambda self, batch: synced.append(batch) or began(self, batch))
        taken = command("resolve", "garden.yaml", "--import", "--emulator")
    assert len(synced) == 2  # all that is taken, and the fold
    assert (taken.code, taken.out) == (0, "3 taken from sidecars with their images, 1 to be fetched\n"), taken.err
    planned = command("plan", "garden.yaml", "--emulator")
    assert "  = 3 done " in planned.out
    assert "nothing to submit" in planned.out
    assert "images-on-no-record" not in planned.err
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    again = {one["key"]: one for one in lines if "state" in one}
    assert {key: one["task_id"] for key, one in again.items()} == {key: one["task_id"] for key, one in paid.items()}
    for name in ("address", "request", "output", "repeat", "submitted_at", "max_cost_usd"):
        assert {key: one[name] for key, one in again.items()} == {key: one[name] for key, one in paid.items()}
    stored = {key: one["images"] for key, one in again.items() if one["state"] == "stored"}
    assert len(stored) == len(whole) == 3
    assert all(paid[key]["images"] == images for key, images in stored.items())
    assert sum(1 for one in lines if one.get("reason") == "taken from the sidecars beside its images") == 4
    nothing = command("resolve", "garden.yaml", "--import", "--emulator")
    assert nothing.code == 2
    assert "no sidecar in out/garden is of a request that is on no record" in nothing.err


def test_sidecars_are_not_taken_from_outside(campaign: Any, command: Run, tmp_path: Path) -> None:
    """A linked output folder: what lies behind it was stored by no run of this campaign."""
    (tmp_path / "elsewhere").mkdir()
    (campaign.folder / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "garden").mkdir()
    ended = command("resolve", "garden.yaml", "--import")
    assert (ended.code, "leads out of the campaign's folder" in ended.err) == (2, True), ended.err
    assert not (campaign.folder / "garden.manifest.jsonl").exists()
