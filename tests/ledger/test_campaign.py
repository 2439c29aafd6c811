"""A campaign's records are found wherever they lie: one that is overlooked is paid again."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedream_jobs.ledger.campaign import manifests


@pytest.mark.parametrize("folder", [".drafts", "venv", "node_modules/x", "__pycache__", "a/.b/c", "."])
def test_every_folder_is_looked_into(folder: str, tmp_path: Path) -> None:
    """Hidden folders and those that tools make, too."""
    manifest = tmp_path / folder / "a.manifest.jsonl"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.touch()
    assert list(manifests(tmp_path, emulator=False)) == [manifest]


def test_gits_folder_and_rehearsals_hold_no_paid_record(tmp_path: Path) -> None:
    """A rehearsal's record counts for rehearsals alone."""
    rehearsed = tmp_path / ".seedream" / "emulator" / ".drafts" / "a.manifest.jsonl"
    for manifest in (rehearsed, tmp_path / ".git" / "a.manifest.jsonl", tmp_path / "b" / ".git" / "a.manifest.jsonl"):
        manifest.parent.mkdir(parents=True)
        manifest.touch()
    assert list(manifests(tmp_path, emulator=False)) == []
    assert list(manifests(tmp_path, emulator=True)) == [rehearsed]
