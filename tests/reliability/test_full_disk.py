"""A full and a failing disk: nothing is sent that is not on record, and what can't be written down is told.

Full is a tiny file system of its own, failing is ``fsync`` that answers EIO by ``strace``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.canary import own

REQUESTS = 40


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many KiB; called again, it is resized."""
    folder = tmp_path / "tiny"
    folder.mkdir()

    def size(kib: int) -> Path:
        options = f"size={kib}k" if not os.path.ismount(folder) else f"remount,size={kib}k"
        ended = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
        )
        if ended.returncode:
            pytest.skip("no file system can be mounted here: the full disk is not tried")
        return folder

    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system: the full disk is not tried")
    yield size
    subprocess.run(["umount", str(folder)], check=False)


def told_ids(stderr: str) -> dict[str, str]:
    """Task ids by address, of what could not be recorded."""
    return dict(re.findall(r"^error: not recorded: (\S+) was accepted as (\S+)$", stderr, re.MULTILINE))


@pytest.mark.parametrize("kib", [16, *(pytest.param(kib, marks=pytest.mark.slow) for kib in (8, 12, 20, 24, 28))])
def test_a_full_disk_stops_the_run(
    kib: int, harness: ModuleType, tiny_disk: Callable[[int], Path], shared_emulator: Any, campaign: Callable[..., Any]
) -> None:
    """Exit 74 and why; with room again, the same command submits the rest, and nothing was paid twice or lost."""
    mine = campaign(shared_emulator, REQUESTS)
    mine.folder = tiny_disk(kib)
    mine.write(REQUESTS)
    ended = mine.run("--detach")
    assert ended.code == 74, ended.said
    assert "No space left on device" in ended.err
    assert "Traceback" not in ended.err
    lost = told_ids(ended.err)
    sent = shared_emulator.count(mine.subject)
    assert sent < REQUESTS
    tiny_disk(4096)
    again = mine.run("--detach")
    entries = mine.entries().values()
    doubtful = {line["address"] for line in entries if line["state"] == "in_doubt"}
    assert again.code == (6 if doubtful else 0), again.err
    charged = {charge["key"] for charge in shared_emulator.charges(mine.subject)}
    paid = {line["address"] for line in entries if line["state"] == "in_doubt" and line["idempotency_key"] in charged}
    assert paid <= set(lost), "an id that was heard is neither on record nor told"
    assert harness.audit(mine, shared_emulator, {}, set()) == []
    for address in doubtful:
        found = ("--accepted", lost[address]) if address in lost else ("--not-charged",)
        settled = mine.command("resolve", address, *found, "--reason", "as the terminal and the console say")
        assert settled.code in (0, 6), settled.err
    assert mine.run("--detach").code == 0
    assert mine.states() == {"accepted": REQUESTS}
    assert shared_emulator.count(mine.subject) == REQUESTS
    assert harness.audit(mine, shared_emulator, {}, set()) == []


@pytest.mark.parametrize("room", [8, *(pytest.param(kib, marks=pytest.mark.slow) for kib in (0, 4, 16, 24, 32))])
def test_a_disk_that_is_full_when_a_split_record_is_folded_loses_nothing(
    room: int, harness: ModuleType, tiny_disk: Callable[[int], Path], shared_emulator: Any, campaign: Callable[..., Any]
) -> None:
    """There is room for some parts under their temporary names, not for all: none gets its name, the journal stays."""
    mine = campaign(shared_emulator, 20)
    mine.folder = tiny_disk(4096)
    mine.write(20)
    assert mine.run("--detach").code == 0
    words = [*mine.arguments("manifest")[:3], "manifest", "split", mine.job]
    assert harness.Command(words, cwd=mine.folder, env=mine.environment()).wait().code == 0
    before = {path.name: path.read_bytes() for path in mine.manifest.with_suffix("").glob("*.jsonl")}
    mine.write(40)
    used = sum(-(-path.stat().st_size // 4096) * 4 for path in mine.folder.rglob("*") if path.is_file())
    # The journal of 20 requests and the marked manifest come before the fold.
    tiny_disk(used + 8 + 36 + room)
    ended = mine.run("--detach")
    if room == 8:
        assert (ended.code, shared_emulator.count(mine.subject)) == (74, 40), "it is full in the fold, not before"
    tiny_disk(4096)
    if ended.code == 74:
        left = {path.name: path.read_bytes() for path in mine.manifest.with_suffix("").glob("*.jsonl")}
        assert left == before
        assert not list(mine.manifest.with_suffix("").glob(".*.part"))
    again = mine.run("--detach")
    assert again.code in (0, 6), again.err
    assert len(mine.entries()) == 40
    assert harness.audit(mine, shared_emulator, {}, set()) == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: the failing disk is not tried")
@pytest.mark.parametrize("first", [2, 5, *(pytest.param(nth, marks=pytest.mark.slow) for nth in (1, 3, 4, 6, 7, 8))])
def test_a_failing_disk_stops_the_run(
    first: int,
    tmp_path: Path,
    traces: ModuleType,
    harness: ModuleType,
    shared_emulator: Any,
    campaign: Callable[..., Any],
) -> None:
    """From the first fsync that fails on, not one POST leaves; ids that were heard are told."""
    mine = campaign(shared_emulator, REQUESTS)
    log = tmp_path / "strace.log"
    calls = "trace=write,fsync,fdatasync,sendto,sendmsg,writev"
    strace = ("strace", "-f", "--seccomp-bpf", "-yy", "-qq", "-s", "65536", "-o", str(own(log)), "-e", calls)
    ended = mine.run("--detach", prefix=(*strace, "-e", f"inject=fsync:error=EIO:when={first}+"))
    if "strace:" in ended.err:
        pytest.skip("strace may not trace here: the failing disk is not tried")
    assert ended.code == 74, ended.said
    assert "Input/output error" in ended.err
    assert "Traceback" not in ended.err
    assert traces.unannounced(log) == []
    assert traces.posts(log) == shared_emulator.count(mine.subject) < REQUESTS
    lost = told_ids(ended.err)
    heard = {charge["id"] for charge in shared_emulator.charges(mine.subject)}
    on_record = {record["task_id"] for record in mine.records() if record.get("event") == "accepted"}
    assert heard <= on_record | set(lost.values())
    assert mine.run("--detach").code in (0, 6)
    assert harness.audit(mine, shared_emulator, {}, set()) == []


def test_the_log_would_show_a_program_that_sends_all_the_same(
    tmp_path: Path, traces: ModuleType, shared_emulator: Any, campaign: Callable[..., Any]
) -> None:
    """The law of the test above can be broken: with intents written late, POSTs leave that no fsync covers."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: the failing disk is not tried")
    mine = campaign(shared_emulator, REQUESTS)
    log = tmp_path / "strace.log"
    calls = "trace=write,fsync,fdatasync,sendto,sendmsg,writev"
    strace = ("strace", "-f", "--seccomp-bpf", "-yy", "-qq", "-s", "65536", "-o", str(own(log)), "-e", calls)
    mine.run("--detach", fault="late-intent", prefix=(*strace, "-e", "inject=fsync:error=EIO:when=5+"))
    assert traces.unannounced(log) != []
