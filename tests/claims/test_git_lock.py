"""The lock in a git remote: one of many gets it, the others are told who, and it is free again afterwards."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seedream_jobs.claims import git_lock
from seedream_jobs.claims.git_lock import REF, GitLock, git_locked, take_git_lock
from seedream_jobs.cli.main import run_command
from seedream_jobs.errors import HeldError, SeedreamError, UnfinishedError
from seedream_jobs.job import git as job_git
from tests.service import serving

NOW = 1_780_000_000


def fail(error: SeedreamError) -> None:
    raise error


@pytest.fixture
def clone(tmp_path: Path) -> Callable[[int], Path]:
    """Makes clones of one repository."""
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote")], check=True)

    def make(number: int) -> Path:
        folder = tmp_path / f"clone-{number}"
        subprocess.run(["git", "clone", "-q", str(tmp_path / "remote"), str(folder)], check=True, capture_output=True)
        return folder

    return make


def refs(tmp_path: Path) -> str:
    return subprocess.run(
        ["git", "-C", str(tmp_path / "remote"), "for-each-ref"], check=True, capture_output=True, text=True
    ).stdout


def test_one_of_many_gets_it_and_the_others_are_told_who(clone: Callable[[int], Path], tmp_path: Path) -> None:
    clones = [clone(number) for number in range(4)]

    def take(root: Path) -> GitLock | SeedreamError:
        try:
            return take_git_lock(root, "origin", command="run a.yaml", now=NOW)
        except SeedreamError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(take, clones))
    (lock,) = (one for one in found if isinstance(one, GitLock))
    for one in found:
        if not isinstance(one, GitLock):
            assert isinstance(one, HeldError)
            assert "@" in one.message
            assert one.message.endswith(", 2026-05-28T20:26:40Z: run a.yaml")
            assert f"git push --force-with-lease={REF}:{lock.commit} origin :{REF}" in (one.hint or "")
    lock.release()
    assert refs(tmp_path) == ""
    take_git_lock(clones[0], "origin", command="run", now=NOW)


def test_it_is_free_after_the_block_also_after_a_failure(clone: Callable[[int], Path], tmp_path: Path) -> None:
    def fails() -> None:
        with git_locked(clone(1), "origin", command="run", now=NOW, failed=fail):
            assert REF in refs(tmp_path)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert refs(tmp_path) == ""


def test_a_lock_of_somebody_else_is_not_removed(clone: Callable[[int], Path], tmp_path: Path) -> None:
    """A person took the first one for dead, and removed it."""
    first = take_git_lock(clone(1), "origin", command="run", now=NOW)
    subprocess.run(["git", "-C", str(first.root), "push", "-q", "origin", f":{REF}"], check=True)
    second = take_git_lock(clone(2), "origin", command="run", now=NOW)
    first.release()
    assert second.commit in refs(tmp_path)


def test_a_lost_reply_is_looked_up(clone: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def push(folder: Path, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        ended = job_git.push_git(folder, *words, stdin=stdin)
        return subprocess.CompletedProcess(words, 128, b"", b"") if words[0] == "push" else ended

    monkeypatch.setattr(git_lock, "push_git", push)
    take_git_lock(clone(1), "origin", command="run", now=NOW)


def test_a_remote_that_is_gone_is_not_locked(clone: Callable[[int], Path], tmp_path: Path) -> None:
    root = clone(1)
    shutil.rmtree(tmp_path / "remote")
    with pytest.raises(UnfinishedError, match="the lock can't be pushed to origin"):
        take_git_lock(root, "origin", command="run", now=NOW)


def test_a_lock_that_cannot_be_removed_is_told(
    clone: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The remote is gone at the end: how the run ended counts, and a person is told how the lock goes."""
    root, failed = clone(1), list[SeedreamError]()
    remote, away = tmp_path / "remote", tmp_path / "away"

    def run() -> None:
        with git_locked(root, "origin", command="run", now=NOW, failed=failed.append):
            remote.rename(away)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    (error,) = failed
    assert error.message.startswith("the lock in origin can't be removed: ")
    away.rename(remote)
    assert error.hint is not None
    subprocess.run(shlex.split(error.hint.partition(": ")[2]), cwd=root, check=True, capture_output=True)
    assert refs(tmp_path) == ""

    monkeypatch.chdir(root)
    assert run_command(["shared", "lock", "origin"]) == 0
    remote.rename(away)
    assert run_command(["shared", "unlock", "origin"]) == 8
    assert "the lock in origin can't be removed: " in capsys.readouterr().err
    away.rename(remote)
    assert run_command(["shared", "unlock", "origin"]) == 0
    assert refs(tmp_path) == ""


def test_it_hides_nothing_of_how_a_run_ended(
    clone: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The remote keeps the lock; the run's doubts are listed all the same, and have the exit code."""
    root, hook = clone(1), tmp_path / "remote/hooks/pre-receive"
    hook.write_text("#!/bin/sh\nwhile read -r old new ref; do case $new in *[!0]*) ;; *) exit 1 ;; esac; done\n")
    hook.chmod(0o755)
    (root / "job.yaml").write_text("version: 1\nrequest: {prompt: a heron}\n")
    monkeypatch.chdir(root)
    monkeypatch.setenv("APIMART_API_KEY", "sk-of-a-test")
    fault = ("--fault", "drop-after-accept:1", "--delay", "0", "--images", "plain")
    with serving("--state", str(tmp_path / "service"), *fault) as url:
        code = run_command(["run", "job.yaml", "--base-url", url, "--yes", "--git-lock", "origin"])
    said = capfd.readouterr().err
    assert (code, "the lock in origin can't be removed: " in said) == (6, True), said
    assert "1 in doubt: seedream-jobs resolve job.yaml" in said
    subprocess.run(["git", "--git-dir", str(tmp_path / "remote"), "update-ref", "-d", REF], check=True)
    monkeypatch.setenv("APIMART_API_KEY", "sk-of-a-test")  # a command takes it out of the environment
    monkeypatch.setattr("seedream_jobs.cli.run.confirm", lambda plan, *, approved: False)
    (root / "job.yaml").write_text("version: 1\nrequest: {prompt: an otter}\n")
    with serving("--state", str(tmp_path / "service"), *fault) as url:
        code = run_command(["run", "job.yaml", "--base-url", url, "--git-lock", "origin"])
    assert (code, "the lock in origin can't be removed: " in capfd.readouterr().err) == (8, True)


def test_no_hook_runs_and_the_key_stays_here(
    clone: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = clone(1)
    hook = root / ".git/hooks/pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\n")
    hook.chmod(0o755)
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nenv >> {tmp_path}/environment\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("APIMART_API_KEY", "sk-of-nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-nobody")
    with git_locked(root, "origin", command="run", now=NOW, failed=fail):
        pass
    assert not (tmp_path / "seen").exists()
    assert "of-nobody" not in (tmp_path / "environment").read_text()
