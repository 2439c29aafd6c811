"""Where a record's files lie, whose a journal is, and that every record of a campaign is found."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from seedream_jobs.errors import FindingsError, HeldError, LedgerError, UsageError
from seedream_jobs.job.files import git_common, worktrees
from seedream_jobs.ledger.campaign import manifests, paid_elsewhere
from seedream_jobs.ledger.codec import canonical, encode, seal
from seedream_jobs.ledger.journal import ABSENT, JournalHeader, header_line, read_journal
from seedream_jobs.ledger.journal import record as journal_record
from seedream_jobs.ledger.ledger import Ledger, ids_of, left_behind
from seedream_jobs.ledger.manifest import read_manifest
from seedream_jobs.ledger.paths import campaign_lock, paths_for
from seedream_jobs.ledger.state import Header, OpenRun, ResolutionRecord
from seedream_jobs.plans.load import Target
from seedream_jobs.records import find_record
from seedream_jobs.resolution import merge_journal
from tests.ledger.conftest import Make

NOW = 1_700_000_000
ORIGIN = "https://api.example"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    top = tmp_path / "repo"
    git(tmp_path, "init", "-q", "-b", "main", str(top))
    git(top, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "--allow-empty", "-m", "one")
    return top


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def opened(folder: Path, *, run: str | None = None, new: str = "m-1") -> Ledger:
    return Ledger.open(
        paths_for(folder / "garden.yaml"), job="garden.yaml", origin=ORIGIN, new_id=lambda: new, root=folder,
        command="run", now=NOW, run=run,
    )  # fmt: skip


def interrupted(folder: Path, make: object, count: int = 2) -> Path:
    """A run that announced some requests and died: its journal."""
    ledger = opened(folder, run="r1")
    ledger.announce(count + 1)
    for number in range(count):
        ledger.record_sync(make.intended(number))  # type: ignore[attr-defined]
    journal = next((folder / ".git" / "seedream-jobs").glob("*.journal")) if (folder / ".git").is_dir() else None
    for lock in (ledger._lock, ledger._journal_lock):
        assert lock is not None
        lock.release()
    ledger._lock = ledger._journal_lock = None
    ledger.close()
    return journal or next(paths_for(folder / "garden.yaml").shared.glob("*.journal"))  # type: ignore[union-attr]


def test_all_worktrees_share_one_place_and_no_git_command_is_asked(repo: Path, tmp_path: Path) -> None:
    """Read from ``.git``, ``gitdir`` and ``commondir``; a worktree whose repository is gone is refused."""
    git(repo, "worktree", "add", "-q", str(tmp_path / "second"), "-b", "second")
    first, second = paths_for(repo / "garden.yaml"), paths_for(tmp_path / "second" / "garden.yaml")
    assert first.shared == second.shared == (repo / ".git" / "seedream-jobs").resolve()
    assert (first.lock == second.lock, first.within, second.within) == (False, *["garden.manifest.jsonl"] * 2)
    assert campaign_lock(repo, emulator=False) == campaign_lock(tmp_path / "second", emulator=False)
    common = git_common(repo)
    assert common is not None
    assert {top.resolve() for top in worktrees(common)} == {repo.resolve(), (tmp_path / "second").resolve()}
    (repo / ".git").rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="leads to no repository"):
        paths_for(tmp_path / "second" / "garden.yaml")
    assert git_common(tmp_path) is None


def test_of_the_files_in_which_git_names_a_path_only_the_start_is_read(repo: Path, tmp_path: Path) -> None:
    """A checkout may bring them without end; a repository is found no more then, and nothing fills the memory."""
    git(repo, "worktree", "add", "-q", str(tmp_path / "second"), "-b", "second")
    small = (repo / ".git", repo / ".git/worktrees/second/commondir", repo / ".git/worktrees/second/gitdir")
    for file in (tmp_path / "second" / ".git", *small[1:]):
        with file.open("r+b") as opened:
            opened.truncate(4 << 30)  # of holes
    assert worktrees(repo / ".git")[0].resolve() == repo.resolve()
    with pytest.raises(UsageError, match="leads to no repository"):
        git_common(tmp_path / "second")


def test_links_of_manifests_and_folders_lead_to_one_lock_and_one_journal(repo: Path, tmp_path: Path) -> None:
    """A manifest that is a link is written where it leads to, and stays a link."""
    (repo / "jobs").mkdir()
    (tmp_path / "way").symlink_to(repo / "jobs")
    assert paths_for(tmp_path / "way" / "garden.yaml").lock == paths_for(repo / "jobs" / "garden.yaml").lock
    (repo / "store").mkdir()
    with opened(repo / "store") as ledger:
        ledger.ensure_created()
    link = repo / "jobs" / "garden.manifest.jsonl"
    link.symlink_to(repo / "store" / "garden.manifest.jsonl")
    with opened(repo / "jobs", run="r1") as ledger:
        assert ledger.paths.lock == paths_for(repo / "store" / "garden.yaml").lock
        ledger.announce(1)
        ledger._started()
    assert link.is_symlink()
    assert ids_of(repo / "store" / "garden.manifest.jsonl") == ("m-1",)
    link.unlink()
    link.symlink_to(repo / "nowhere")
    with pytest.raises(UsageError, match="leads nowhere"):
        opened(repo / "jobs")


def test_a_journal_is_its_manifests_wherever_git_puts_that(repo: Path, tmp_path: Path, make: object) -> None:
    """Gone: made anew at its path, and paid for every other job. In another worktree: folded there, counted here."""
    journal = interrupted(repo, make)
    assert [header.path for _, header in left_behind(journal.parent)] == ["garden.manifest.jsonl"]
    key = make.key(0)  # type: ignore[attr-defined]
    record = repo / "garden.manifest.jsonl"
    marked = record.read_bytes()
    assert b'"run":{"id":"r1","intents":3,' in marked
    other = repo / "other.manifest.jsonl"
    record.unlink()
    assert "resolve garden.yaml --journal" in paid_elsewhere(repo, other, origin=ORIGIN, emulator=False).jobs[key]
    assert len(Ledger.peek(paths_for(repo / "garden.yaml"), root=repo).entries) == 2
    record.write_bytes(marked)
    assert paid_elsewhere(repo, other, origin=ORIGIN, emulator=False).jobs[key] == "garden.yaml"

    second = tmp_path / "second"
    git(repo, "worktree", "add", "-q", str(second), "-b", "second")
    assert len(Ledger.peek(paths_for(second / "garden.yaml"), root=second).entries) == 0
    assert key in paid_elsewhere(second, second / "garden.manifest.jsonl", origin=ORIGIN, emulator=False).jobs
    (second / "garden.manifest.jsonl").write_bytes(marked)
    with pytest.raises(HeldError, match="to be finished where it began"):
        opened(second)
    with opened(repo) as ledger:
        assert len(ledger.entries) == 2
    assert not journal.exists()
    assert b'"intents"' not in record.read_bytes()


def test_a_journal_that_came_with_a_commit_is_not_believed(
    repo: Path, tmp_path: Path, make: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the manifest, where an older version left one, it is honoured only if git does not track it.

    No program of the repository's configuration runs to find that out; where git can't be asked it is refused, too.
    """
    journal = interrupted(repo, make)
    beside = repo / "garden.manifest.journal"
    journal.rename(beside)
    paths, ran = paths_for(repo / "garden.yaml"), tmp_path / "ran"
    (tmp_path / "monitor").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "monitor").chmod(0o755)
    git(repo, "config", "core.fsmonitor", str(tmp_path / "monitor"))
    assert len(Ledger.peek(paths, root=repo).entries) == 2
    git(repo, "-c", "core.fsmonitor=false", "add", "-f", beside.name)
    for look in (lambda: Ledger.peek(paths, root=repo), lambda: opened(repo)):
        with pytest.raises(FindingsError) as caught:
            look()
        assert [found.code for found in caught.value.diagnostics] == ["journal-tracked"]
    assert not ran.exists()
    git(repo, "-c", "core.fsmonitor=false", "rm", "-q", "--cached", beside.name)
    assert len(Ledger.peek(paths, root=repo).entries) == 2
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError):
        Ledger.peek(paths, root=repo)


def test_one_manifest_in_two_worktrees_has_one_writer(repo: Path, tmp_path: Path) -> None:
    """They share the journal, so that the second is refused although its file is another one."""
    second = tmp_path / "second"
    git(repo, "worktree", "add", "-q", str(second), "-b", "second")
    with opened(repo) as ledger:
        ledger.ensure_created()
    (second / "garden.manifest.jsonl").write_bytes((repo / "garden.manifest.jsonl").read_bytes())
    with opened(repo), pytest.raises(HeldError, match=r"the record m-1 \(garden.manifest.jsonl\) is held by"):
        opened(second)


@pytest.mark.anyio
async def test_an_intent_is_refused_once_a_lock_is_gone(repo: Path, make: object) -> None:
    """Nothing is sent on its account; an outcome is still recorded, and the next run finds it."""
    ledger = opened(repo, run="r1")
    ledger.announce(2)
    await ledger.record(make.intended(0))  # type: ignore[attr-defined]
    ledger.paths.lock.unlink()
    with pytest.raises(LedgerError, match="removed or replaced"):
        await ledger.record(make.intended(1))  # type: ignore[attr-defined]
    await ledger.record(make.accepted(0))  # type: ignore[attr-defined]
    with pytest.raises(LedgerError, match="removed or replaced"):
        ledger.close()
    with opened(repo) as following:
        assert following.entries[make.key(0)].task_id == "task_0"  # type: ignore[attr-defined]


@pytest.mark.parametrize("folder", [".drafts", "venv", "node_modules/x", "__pycache__", "a/.b/c", "."])
def test_every_folder_is_looked_into(folder: str, tmp_path: Path) -> None:
    """Hidden folders and those that tools make, too."""
    manifest = tmp_path / folder / "a.manifest.jsonl"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.touch()
    assert list(manifests(tmp_path, emulator=False)) == [manifest]


def test_a_folder_that_can_t_be_listed_is_no_folder_without_records(tmp_path: Path) -> None:
    """A record that nobody sees would be paid again. Here a path is too long for the system."""
    at, made = os.open(tmp_path, os.O_RDONLY), []
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=at)
        made.append(at)
        at = os.open("d" * 250, os.O_RDONLY, dir_fd=at)
    try:
        with pytest.raises(UsageError, match="can't be searched for records"):
            list(manifests(tmp_path, emulator=False))
    finally:
        os.close(at)
        for above in reversed(made):
            os.rmdir("d" * 250, dir_fd=above)
            os.close(above)
    assert list(manifests(tmp_path / "nowhere", emulator=False)) == []


def test_outside_git_a_linked_folder_leads_to_the_same_journal(tmp_path: Path, make: object) -> None:
    """Under either name it is the journal of this record, and ``resolve --journal`` settles it under either."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "way").symlink_to("jobs")
    real, linked = paths_for(tmp_path / "jobs" / "garden.yaml"), paths_for(tmp_path / "way" / "garden.yaml")
    assert (linked.journal, linked.lock) == (real.journal, real.lock)
    base = header_line(JournalHeader(manifest="m-2", base=ABSENT, origin=ORIGIN))
    real.journal.write_bytes(base + journal_record(1, encode(Make().intended(0))))
    target = Target(origin=ORIGIN, emulator=False)
    record = find_record(linked.manifest, target=target, required=False)
    assert merge_journal(record, real.journal, target=target, now=NOW) == (1, 1)
    assert not real.journal.exists()


def test_gits_folder_and_rehearsals_hold_no_paid_record(tmp_path: Path) -> None:
    """A rehearsal's record counts for rehearsals alone."""
    rehearsed = tmp_path / ".seedream" / "emulator" / ".drafts" / "a.manifest.jsonl"
    for manifest in (rehearsed, tmp_path / ".git" / "a.manifest.jsonl", tmp_path / "b" / ".git" / "a.manifest.jsonl"):
        manifest.parent.mkdir(parents=True)
        manifest.touch()
    assert list(manifests(tmp_path, emulator=False)) == []
    assert list(manifests(tmp_path, emulator=True)) == [rehearsed]


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[1] / "golden/records").glob("*.manifest.jsonl")), ids=lambda file: file.name
)
def test_every_header_of_a_manifest_tells_its_ids(file: Path) -> None:
    """Also one that git's union put below the entries: by that id, too, the record is known elsewhere."""
    header = read_manifest(file.read_bytes(), file.name).header
    assert header is not None
    assert set(ids_of(file)) == {header.id, *header.other_ids}


def _create(ledger: Ledger) -> None:
    ledger.ensure_created()


def _take_in(ledger: Ledger) -> None:
    lines = header_line(JournalHeader(manifest="m-2", base=ABSENT, origin=ORIGIN, run="r2"))
    left = read_journal(lines + journal_record(1, encode(Make().intended(5))), "other.journal")
    assert left is not None
    ledger.take_in_journal(Path("other.journal"), left)


def _close_runs(ledger: Ledger) -> None:
    decided = (
        ResolutionRecord(key="", resolution="abandoned", reason="lost", at=NOW, run=run.id)
        for run in ledger.open_runs()
    )
    ledger.close_runs(decided)


@pytest.mark.parametrize("write", [_create, _take_in, _close_runs])
def test_what_git_puts_in_place_while_a_record_is_open_is_kept(
    repo: Path, make: object, write: Callable[[Ledger], None]
) -> None:
    """Every write of the manifest merges a replacement: what a pull brought stays paid, an open run stays open."""
    record, journal = repo / "garden.manifest.jsonl", interrupted(repo, make, 1)
    with opened(repo) as ledger:
        assert len(ledger.entries) == 1
    pulled = record.read_bytes()
    lines = pulled.splitlines(keepends=True)
    pulled_header = Header(
        id="m-1", job="garden.yaml", origin=ORIGIN, serial=9, runs=(OpenRun(id="r9", intents=3, since=NOW),)
    )
    record.unlink()
    assert not journal.exists()
    if write is not _create:
        with opened(repo) as ledger:
            ledger.ensure_created()
    with opened(repo) as ledger:
        record.write_bytes(seal(canonical(encode(pulled_header))) + b"\n" + b"".join(lines[1:]))
        write(ledger)
    now = Ledger.peek(paths_for(repo / "garden.yaml"), root=repo)
    assert make.key(0) in now.entries  # type: ignore[attr-defined]
    assert [run.id for run in now.open_runs()] == ["r9"]
