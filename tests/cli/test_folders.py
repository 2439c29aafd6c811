"""A folder stands for the job files below it, and ``-C`` for the folder that a command is started in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from seedream_jobs import confinement
from seedream_jobs.cli import options
from seedream_jobs.job.files import WorkTree
from tests.cli.test_streams import on_a_terminal

Command = Callable[..., Any]
JOB = "version: 1\nrequest: {prompt: a heron}\n"
JOBS = ["a/first.yaml", "a/second.yml", "b/c/third.yaml"]


def git(folder: Path, *words: str) -> None:
    """Call git, which knows nobody."""
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def tree(campaign: Path, tmp_path: Path) -> Path:
    """Three jobs in a git repository, among everything that is none."""
    (campaign / "garden.yaml").unlink()
    for number, name in enumerate(JOBS):
        file = campaign / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(JOB.replace("heron", f"heron {number}"), encoding="utf-8")
    for name in (".hidden/job.yaml", ".seedream/job.yaml", "a/.job.yaml", "ignored/job.yaml", "a/ignored.yaml"):
        (campaign / name).parent.mkdir(exist_ok=True)
        (campaign / name).write_text(JOB, encoding="utf-8")
    (campaign / "a/axis.yaml").write_text("- red\n- green\n", encoding="utf-8")
    (campaign / "policy.yaml").write_text("version: 1\n", encoding="utf-8")
    (campaign / ".gitignore").write_text("ignored/\nignored.yaml\n", encoding="utf-8")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "job.yaml").write_text(JOB, encoding="utf-8")
    (campaign / "a/linked.yaml").symlink_to(outside / "job.yaml")
    (campaign / "a/linked").symlink_to(outside)
    git(campaign, "init", "-q")
    return campaign


def valid(ended: Any) -> list[str]:
    """The files that ``validate`` found valid."""
    assert (ended.code, ended.out) == (0, ""), ended
    return [line.partition(":")[0] for line in ended.err.splitlines()]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_folder_stands_for_the_jobs_below_it(tree: Path, quick: Command) -> None:
    """Sorted; without the policy, axis files, and what is hidden, ignored, or linked to from outside."""
    assert valid(quick("validate", ".")) == JOBS
    assert valid(quick("validate", "a", "b/c/third.yaml", "b")) == JOBS, "each once"
    assert valid(quick("validate", str(tree / "b"))) == [str(tree / "b/c/third.yaml")]
    plan = json.loads(quick("plan", ".", "--format", "json").out)
    assert [job["job"] for job in plan["jobs"]] == JOBS


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("words", [(".",), ("marked.yaml", "--only-jobs")])
def test_a_byte_order_mark_hides_no_job(campaign: Path, quick: Command, words: tuple[str, ...]) -> None:
    """``validate marked.yaml`` reads it; so do a folder and the hook."""
    (campaign / "marked.yaml").write_bytes(b"\xef\xbb\xbf" + (campaign / "garden.yaml").read_bytes())
    assert "marked.yaml: valid, 4 requests" in quick("validate", *words).err  # out has a warning


def test_every_command_that_takes_several_jobs_takes_a_folder(tree: Path, command: Command) -> None:
    """A rehearsal of all of them, then what looks at it."""
    ran = command("run", "a", "--emulator", "--quiet")
    assert ran.code == 0
    assert "a/first.yaml: 1 submitted" in ran.out
    assert "a/second.yml: 1 submitted" in ran.out
    for words in (
        ("status", ".", "--emulator", "--offline"),
        ("fetch", ".", "--emulator"),
        ("cost", ".", "--emulator"),
        ("gallery", "a", "--emulator"),
    ):
        ended = command(*words)
        assert ended.code == 0, ended
        assert "a/first.yaml" in ended.out or "gallery" in ended.out


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_folder_in_two_revisions(tree: Path, quick: Command) -> None:
    """Also a job that only the base has; at a revision no folder need be on disk."""
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "first")
    (tree / "b/c/third.yaml").unlink()
    shown = quick("plan", "b", "--base", "HEAD")
    assert (shown.code, "third.yaml was removed" in shown.out) == (0, True), shown
    (tree / "b/c").rmdir()
    (tree / "b").rmdir()
    at_head = quick("plan", "b", "--base", "HEAD", "--head", "HEAD", "--format", "json")
    assert [job["job"] for job in json.loads(at_head.out)["jobs"]] == ["b/c/third.yaml"]


@pytest.mark.parametrize("words", [("plan",), ("run", "--emulator"), ("status",), ("gallery",)])
def test_the_policy_is_no_job(tree: Path, quick: Command, words: tuple[str, ...]) -> None:
    """Its fields are not unknown ones of a job: no advice to write ``request`` for ``max_requests``."""
    ended = quick(*words, "policy.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "error: policy.yaml: the campaign's policy, not a job" in ended.err
    assert "seedream-jobs validate policy.yaml" in ended.err
    assert quick("validate", "policy.yaml").code == 0


@pytest.mark.parametrize("named", [".", "locked.yaml"])
def test_a_file_that_cannot_be_read_is_named(
    campaign: Path, quick: Command, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left out without a word it would be missing from the plan; as an error it would stop the fetch of all others."""
    (campaign / "locked.yaml").write_text((campaign / "garden.yaml").read_text().replace("out/garden", "out/locked"))
    read, access = WorkTree.read, os.access

    def refuse(tree: WorkTree, path: PurePosixPath, **how: Any) -> bytes:
        if path.name == "locked.yaml":
            raise PermissionError
        return read(tree, path, **how)

    monkeypatch.setattr(WorkTree, "read", refuse)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked.yaml" and access(path, mode))
    ended = quick("validate", named)
    if named == ".":
        assert (ended.code, "garden.yaml: valid, " in ended.err) == (0, True), ended
        assert "warning: locked.yaml: no permission to read it, left out" in ended.err
        (campaign / "garden.yaml").unlink()
        ended = quick("validate", named)
    assert (ended.code, ended.out) == (2, "")
    assert "error: locked.yaml: no permission to read it\n  check the file's owner and mode" in ended.err
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "error: .: no permission to read it" in quick("validate", ".").err


def test_the_hint_of_a_folder_names_what_may_be_a_job(campaign: Path, quick: Command) -> None:
    (campaign / ".pre-commit-config.yaml").write_text("repos: []\n")
    assert "such as 'garden.yaml'" in quick("expand", ".").err


@pytest.mark.parametrize("words", [("validate",), ("plan",), ("run", "--emulator"), ("status",), ("cost",)])
def test_a_folder_without_a_job_is_an_error(campaign: Path, quick: Command, words: tuple[str, ...]) -> None:
    (campaign / "empty").mkdir()
    ended = quick(*words, "empty")
    assert (ended.code, ended.out) == (2, "")
    assert "empty: no job file below this folder" in ended.err
    assert "seedream-jobs init empty" in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ("run", "", "--emulator", "--yes"),
        ("run", "--yes", "", "--emulator"),
        ("plan", "garden.yaml", ""),
        ("ratings", "apply", ""),
        ("init", ""),
    ],
)
def test_an_empty_argument_is_no_folder(quick: Command, words: tuple[str, ...]) -> None:
    """``run "$JOB" --yes`` with a variable that nobody has set must not pay for all jobs that are there."""
    ended = quick(*words)
    assert (ended.code, ended.out) == (2, "")
    assert "error: an argument is empty: is a variable of the shell not set?" in ended.err


@pytest.mark.parametrize("words", [("validate",), ("plan",), ("cost",), ("gallery",), ("ratings", "apply", "x.json")])
def test_the_limits_hold_while_a_folder_is_searched(
    quick: Command, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker sets its limits first: a stranger's tree may be wide and deep."""
    order: list[str] = []
    monkeypatch.setattr(confinement, "set_limits", lambda *_, **__: order.append("limits"))
    monkeypatch.setattr(options, "find_jobs", lambda folder: order.append("search") or ([folder / "garden.yaml"], []))
    quick(*words, ".")
    assert order == ["limits", "search"]


def test_c_changes_the_folder_before_anything_is_read(campaign: Path, command: Command, tmp_path: Path) -> None:
    """Jobs, options, logs and what is written are seen from there; a second one from the first."""
    (campaign / "sub").mkdir()
    (campaign / "garden.yaml").rename(campaign / "sub/garden.yaml")
    for words in (("-C", "campaign/sub"), ("--directory", "campaign", "-C", "sub"), ("-C", str(campaign / "sub"))):
        ended = command(*words, "--log-file", "log", "plan", "garden.yaml", "-o", "plan.json", cwd=tmp_path)
        assert ended.code == 0, ended
        assert (campaign / "sub/plan.json").is_file()
        assert (campaign / "sub/log").is_file()
        (campaign / "sub/plan.json").unlink()
    ended = command("-C", "campaign/sub", "run", "garden.yaml", "--emulator", cwd=tmp_path)
    assert (ended.code, "4 images fetched" in ended.out) == (0, True), ended


@pytest.mark.parametrize("folder", ["nowhere", "garden.yaml", ""])
def test_c_names_a_folder_that_is_there(quick: Command, folder: str) -> None:
    ended = quick("-C", folder, "plan", "garden.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "error:" in ended.err


def complete(command: Command, line: str, cwd: Path) -> list[str]:
    """What bash is offered at the end of a line."""
    words = line.split(" ")
    ended = command(COMP_WORDS=line, COMP_CWORD=str(len(words) - 1), _SEEDREAM_JOBS_COMPLETE="bash_complete", cwd=cwd)
    return [str(one) for one in ended.out.split()]


def test_c_works_with_completion(campaign: Path, command: Command, tmp_path: Path) -> None:
    """Files are those of the folder that -C names; without -C the shell completes them itself."""
    (campaign / "sub").mkdir()
    (campaign / "sub/heron.yaml").write_text(JOB, encoding="utf-8")
    assert complete(command, "seedream-jobs -C campaign plan g", tmp_path) == ["plain,garden.yaml"]
    assert complete(command, "seedream-jobs -C campaign plan ", tmp_path) == ["plain,garden.yaml", "plain,sub/"]
    assert complete(command, "seedream-jobs -C campaign plan su", tmp_path) == ["plain,sub/heron.yaml"]
    assert complete(command, "seedream-jobs -C campaign plan garden.yaml --bud", tmp_path) == ["plain,--budget"]
    assert complete(command, "seedream-jobs -C campaign va", tmp_path) == ["plain,validate"]
    assert complete(command, "seedream-jobs plan g", tmp_path) == ["file,g"]


def test_quiet_shows_errors_and_the_result(campaign: Path, command: Command) -> None:
    """No plan, no progress, no warning; before the command and behind it; an error all the same."""
    for words in (("-q", "run", "garden.yaml", "--emulator"), ("run", "-q", "garden.yaml", "--emulator", "--detach")):
        ended = command(*words)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("garden.yaml: ")
        assert "Plan:" not in ended.out
    assert command("--quiet", "validate", "garden.yaml").err == ""
    refused = command("-q", "run", "garden.yaml", "--emulator", "--set", "nothing=1")
    assert refused.code == 2
    assert refused.err.startswith("error: ")
    both = command("-q", "-v", "plan", "garden.yaml")
    assert (both.code, "exclude each other" in both.err) == (2, True)


def test_a_quiet_run_that_asks_shows_what_it_asks_about(campaign: Path) -> None:
    """On a terminal nobody agrees to a plan that was not shown."""
    words = ["-q", "run", "garden.yaml", "--base-url", "http://127.0.0.1:9"]
    shown = on_a_terminal(words, campaign, typed=b"n\n", APIMART_API_KEY="sk-" + "a" * 48)
    assert "Plan: 4 to submit" in shown.partition("Submit 4 requests")[0]
    assert "[y/N]" in shown
