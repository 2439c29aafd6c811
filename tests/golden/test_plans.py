"""Saved plans of an earlier version are read and written to the last byte: an approval covers their digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedream_jobs.plans.saved import digest_of, read, save

PLANS = sorted((Path(__file__).parent / "plans").glob("*.json"))


@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.stem)
def test_a_saved_plan_is_read_and_written_unchanged(file: Path, tmp_path: Path) -> None:
    plan = read(file)
    assert plan.made_at is not None

    again = save(plan, tmp_path / "plan.json", made_at=plan.made_at)

    assert (tmp_path / "plan.json").read_bytes() == file.read_bytes()
    assert again.digest == plan.digest == digest_of(plan)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("first", "sha256:59b7673a00f7fa0b877e4d3a02a4936a6e40b870b0e550dd31d83d6aa7e5aec6"),
        ("rehearsal", "sha256:a9d6a46553dda3c2a58babee4414b2f0e98d2df743610ee1d4c8764e6e1d9977"),
        ("several", "sha256:50afa67636de65f8140e1d385427fe08c92435aac51cb70e37f1aee805aa55bd"),
        ("revisions", "sha256:9c8b6c1402a8167d0d2c2e74b4c7fa5ae6a3e55bcb2d412cd0dfb371e03ce50a"),
    ],
)
def test_a_digest_that_was_approved_stays(name: str, digest: str) -> None:
    assert digest_of(read(Path(__file__).parent / "plans" / f"{name}.json")) == digest
