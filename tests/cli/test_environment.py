"""What libraries read of the environment: a clear line or the right thing, whatever stands there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.canary import CANARY

Command = Callable[..., Any]

REFUSED = [
    ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, "TLS can't be set up with SSL_CERT_FILE=/nowhere/ca.pem: No such file"),
    ({"SSL_CERT_FILE": __file__}, f"TLS can't be set up with SSL_CERT_FILE={__file__}: no certificate"),
    ({"SSL_CERT_DIR": "/nowhere"}, "TLS can't be set up with SSL_CERT_DIR=/nowhere: No such folder"),
    ({"SSLKEYLOGFILE": "/nowhere/keys"}, "TLS can't be set up with SSLKEYLOGFILE=/nowhere/keys: No such file"),
    ({"ALL_PROXY": "socks5://127.0.0.1:1"}, "the proxy in the environment of kind socks5 is not supported"),
    ({"https_proxy": "::::"}, "the proxy in the environment has no readable address"),
    ({"HTTPS_PROXY": "http://exa mple:1"}, "the proxy in the environment has no readable address"),
    ({"HTTPS_PROXY": "http://user:secret@[::1"}, "the proxy in the environment has no readable address"),
]


@pytest.mark.parametrize(("environment", "said"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_leads_nowhere_is_named(environment: dict[str, str], said: str, quick: Command, campaign: Path) -> None:
    """Before anything is sent: exit 2, the variable, the next step; a proxy's password is not shown."""
    ended = quick("run", "garden.yaml", "--yes", **environment, APIMART_API_KEY=CANARY)
    assert ended.code == 2, ended.err
    assert f"error: {said}" in ended.err
    assert "secret" not in ended.err
    manifest = campaign / "garden.manifest.jsonl"
    assert not manifest.exists() or manifest.read_text().count("\n") == 1  # a header, and no request


def test_a_key_file_in_nobodys_home(quick: Command) -> None:
    """``~somebody`` is looked up in the system's list of users."""
    ended = quick("doctor", APIMART_API_KEY_FILE="~nobody-of-this-name/key")
    assert ended.code == 4
    assert "the key file ~nobody-of-this-name/key cannot be read: its ~ leads to no home folder" in ended.out


def test_a_run_bears_any_environment(command: Command, campaign: Path) -> None:
    """A whole rehearsal with everything odd at once: it speaks to this machine and writes beside the job."""
    odd = {
        "ALL_PROXY": "socks5://127.0.0.1:1",
        "COLUMNS": "0",
        "GIT_DIR": "/nowhere",
        "GIT_INDEX_FILE": "/nowhere/index",
        "GIT_WORK_TREE": "/nowhere",
        "HOME": "/nowhere",
        "HTTPS_PROXY": "::::",
        "LANG": "",
        "LC_ALL": "xx_XX",
        "NO_PROXY": "[::1,*",
        "PYTHONIOENCODING": "ascii",
        "PYTHONOPTIMIZE": "2",
        "PYTHONWARNINGS": "error",
        "SSLKEYLOGFILE": "/nowhere/keys",
        "SSL_CERT_DIR": "/nowhere",
        "SSL_CERT_FILE": "/nowhere/ca.pem",
        "TERM": "dumb",
        "TMPDIR": "/nowhere",
    }
    ended = command("run", "garden.yaml", "--emulator", "--limit", "1", **odd)
    assert ended.code == 0, ended.err
    assert "1 submitted, 1 image fetched" in ended.out


def test_git_reads_the_repository_of_the_job(quick: Command, campaign: Path, tmp_path: Path) -> None:
    """Below a hook of another repository: its variables lead neither ``--base`` nor the look at ``.env`` astray."""

    def git(folder: Path, *words: str) -> str:
        identity = {f"GIT_{role}_{part}": "x@x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", **identity}
        done = subprocess.run(["git", *words], cwd=folder, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    other = tmp_path / "other"
    other.mkdir()
    for folder in (campaign, other):
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    (campaign / ".env").write_text("APIMART_API_KEY=sk-tracked\n", encoding="utf-8")
    git(campaign, "add", "-f", ".env")
    hook = {
        "GIT_DIR": str(other / ".git"),
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": str(other / ".git" / "index.lock"),
        "GIT_PREFIX": "sub/",
        "GIT_CEILING_DIRECTORIES": "",
    }
    planned = quick("plan", "garden.yaml", "--base", "HEAD", **hook)
    assert "+ 4 pending" in planned.out, planned.out + planned.err  # and not: every request is new
    refused = quick("doctor", **hook)
    assert refused.code == 4
    assert "is tracked by git" in refused.out


def test_a_folder_that_is_gone(campaign: Path) -> None:
    """Another window has removed it: told in one line."""
    (campaign / "gone").mkdir()
    script = 'cd gone && rmdir ../gone && exec "$0" -m seedream_jobs plan garden.yaml'
    ended = subprocess.run(["sh", "-c", script, sys.executable], cwd=campaign, capture_output=True, text=True)
    said = "error: the current folder is gone\n  change to a folder that is there\n"
    assert (ended.returncode, ended.stderr) == (2, said)
