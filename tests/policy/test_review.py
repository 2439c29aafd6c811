"""A change between two git revisions: the base's policy holds, and what it does to manifests is told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from seedream_jobs.cli.main import run_command
from seedream_jobs.errors import ExitCode
from seedream_jobs.expand.identity import key_of

JOB = 'version: 1\nrequest: {prompt: "{{ a }} in a garden", resolution: 2K}\nmatrix: {a: [a cat, a heron]}\n'


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """git in a campaign with one commit, the current folder."""
    for name, value in (("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")):
        monkeypatch.setenv(name, value)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.com")
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    run("init", "-q", "-b", "main")
    (tmp_path / "garden.yaml").write_text(JOB, encoding="utf-8")
    (tmp_path / "policy.yaml").write_text("version: 1\nresolutions: [2K]\n", encoding="utf-8")
    run("add", ".")
    run("commit", "-q", "-m", "base")
    return run


def test_a_change_can_t_bring_its_own_policy(
    git: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The work tree's policy allows 4K; the base's does not, and it is the base's that holds."""
    (tmp_path / "policy.yaml").write_text("version: 1\nresolutions: [2K, 4K]\n", encoding="utf-8")
    (tmp_path / "garden.yaml").write_text(JOB.replace("2K", "4K"), encoding="utf-8")
    assert run_command(["plan", "garden.yaml", "--emulator"]) == ExitCode.OK
    capfd.readouterr()
    assert run_command(["plan", "--base", "main", "--emulator"]) == ExitCode.FINDINGS
    said = capfd.readouterr().err
    assert "policy-resolution" in said
    assert "main:policy.yaml" in said


def test_a_manifest_in_a_change_is_held(
    git: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Claims are refused unless they are allowed; then they are listed."""
    header = {"format": 1, "id": "m-1", "job": "garden.yaml", "origin": "https://api.apimart.ai"}
    claim = {
        "address": "garden/a=a-cat#1",
        "cell": {"a": "a cat"},
        "generation": 1,
        "key": key_of({"prompt": "x"}, "", 1),
        "max_images": 1,
        "output": "out/a",
        "repeat": 1,
        "request": {"prompt": "x"},
        "state": "accepted",
        "task_id": "task_7",
    }
    lines = "".join(json.dumps(one, separators=(",", ":"), sort_keys=True) + "\n" for one in (header, claim))
    (tmp_path / "garden.manifest.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "garden.yaml").write_text(JOB.replace("heron", "crane"), encoding="utf-8")
    assert run_command(["plan", "--base", "main"]) == ExitCode.FINDINGS
    assert "garden.manifest.jsonl:2:1: error[manifest-added]" in capfd.readouterr().err
    assert run_command(["plan", "--base", "main", "--allow-manifest-additions"]) == ExitCode.OK
    assert "garden.manifest.jsonl:2:1: warning[manifest-added]" in capfd.readouterr().err
    git("add", ".")
    git("commit", "-q", "-m", "head")
    (tmp_path / "garden.manifest.jsonl").unlink()
    assert run_command(["plan", "--base", "main~0", "--allow-manifest-additions"]) == ExitCode.FINDINGS
    assert "error[manifest-removed]" in capfd.readouterr().err


def test_a_saved_plan_is_held_against_today_s_policy(
    git: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A plan that was approved before a word was forbidden, or the budget lowered, is not carried out."""
    assert run_command(["plan", "garden.yaml", "--emulator", "-o", "plan.json"]) == ExitCode.OK
    run = ["run", "plan.json", "--emulator", "--no-gallery"]
    for rule, code, said in (
        ("forbidden_words: [heron]", ExitCode.FINDINGS, "'heron' may not stand in a prompt (at garden/a=a-heron#1)"),
        ("max_requests: 1", ExitCode.FINDINGS, "garden.yaml makes 2 requests: the policy allows 1"),
        ("watermark: true", ExitCode.FINDINGS, "the watermark is required"),
        ("budget_usd: 0.03", ExitCode.MONEY, "budget_usd of policy.yaml"),
    ):
        (tmp_path / "policy.yaml").write_text(f"version: 1\n{rule}\n", encoding="utf-8")
        capfd.readouterr()
        assert run_command(run) == code, rule
        assert said in capfd.readouterr().err
    (tmp_path / "policy.yaml").write_text("version: 1\nbudget_usd: 1\n", encoding="utf-8")
    assert run_command(run) == ExitCode.OK
