"""One runner at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from seedream_jobs.errors import HeldError, LedgerError, UsageError
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.lock import holder, in_use, lock_file, who_holds
from seedream_jobs.ledger.paths import LedgerPaths

_STARTS = """
import os, sys
from pathlib import Path
from seedream_jobs.errors import HeldError
from seedream_jobs.ledger import lock

path, broken = Path(sys.argv[1]), sys.argv[2] == "broken"
if broken:
    import fcntl
    fcntl.flock = lambda descriptor, how: None
    lock._probe = lambda path: None  # or it would be found out at once
start_read, start_write = os.pipe()
said_read, said_write = os.pipe()
end_read, end_write = os.pipe()
for number in range(50):
    if os.fork() == 0:
        os.close(end_write), os.close(start_write)
        os.read(start_read, 1)
        try:
            held = lock.lock_file(path, command=f"run {number}", now=1)
            os.write(said_write, b"h")
            os.read(end_read, 1)
        except HeldError:
            os.write(said_write, b"r")
        os._exit(0)
os.close(start_write), os.close(start_read)
said = b""
while len(said) < 50:
    said += os.read(said_read, 50)
os.close(end_write)
for _ in range(50):
    os.wait()
print(said.count(b"h"), said.count(b"r"))
"""


def fifty_starts(path: Path, how: str) -> tuple[int, int]:
    """How many of fifty processes that start at once hold the lock, and how many are refused."""
    done = subprocess.run(
        [sys.executable, "-c", _STARTS, str(path), how], capture_output=True, text=True, check=True, timeout=60
    )
    held, refused = done.stdout.split()
    return int(held), int(refused)


def test_of_fifty_simultaneous_starts_one_holds(tmp_path: Path) -> None:
    assert fifty_starts(tmp_path / "garden.manifest.lock", "real") == (1, 49)


def test_the_fifty_starts_catch_a_lock_that_is_none(tmp_path: Path) -> None:
    assert fifty_starts(tmp_path / "garden.manifest.lock", "broken") == (50, 0)


def test_the_second_is_told_who_holds_it(open_ledger: Callable[..., Ledger], paths: LedgerPaths) -> None:
    with open_ledger():
        assert in_use(paths.lock)
        with pytest.raises(HeldError) as caught:
            open_ledger()
        assert f"process {os.getpid()} on" in caught.value.message
        assert "'run garden.yaml', since 2027-01-15T08:00:00Z" in caught.value.message
        assert caught.value.exit_code == 7
    assert paths.lock.exists()
    assert not in_use(paths.lock)
    with open_ledger():
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "l"
    program = (
        "import sys, time; from pathlib import Path; from seedream_jobs.ledger.lock import lock_file\n"
        "held = lock_file(Path(sys.argv[1]), command='run', now=1); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(HeldError):
            lock_file(path, command="run", now=2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert holder(path) is not None  # the name is still there
    assert not in_use(path)
    lock_file(path, command="run", now=2).release()


def test_a_file_system_without_an_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network's file system may be gone, and Python repeats a call that a signal interrupted, for ever."""
    monkeypatch.setattr("seedream_jobs.ledger.lock.PATIENCE", 0.01)
    answered = threading.Event()
    monkeypatch.setattr("fcntl.flock", lambda descriptor, how: answered.wait() and None)
    with pytest.raises(LedgerError, match="no answer within"):
        lock_file(tmp_path / "l", command="run", now=1)
    answered.set()


def test_a_lock_that_cannot_be_written_is_no_held_lock(tmp_path: Path) -> None:
    with pytest.raises(LedgerError):
        lock_file(tmp_path / "missing" / "l", command="run", now=1)


def test_a_lock_whose_file_is_removed_or_replaced_is_noticed(tmp_path: Path) -> None:
    """The next run would lock another file: who holds the first one must not go on."""
    path = tmp_path / "garden.manifest.lock"
    lock = lock_file(path, command="run", now=1)
    lock.check_place()
    path.unlink()
    with pytest.raises(LedgerError, match="removed or replaced"):
        lock.check_place()
    second = lock_file(path, command="run", now=2)  # which is what another run would do
    second.check_place()
    with pytest.raises(LedgerError, match="removed or replaced"):
        lock.check_place()
    lock.release()
    second.release()


def test_a_file_system_that_keeps_no_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "flock", lambda descriptor, operation: None)  # yes to everyone
    with pytest.raises(UsageError, match="keeps no locks"):
        lock_file(tmp_path / "garden.manifest.lock", command="run", now=1)


@pytest.mark.parametrize(
    "said", ["[" * 60_000, '{"pid": ' + "9" * 5_000 + "}", "\xff", "[1]", '{"pid": ["' + "x" * 9_000 + '"]}']
)
def test_what_a_stranger_put_in_a_lock_is_no_mistake_of_ours(tmp_path: Path, said: str) -> None:
    """Too deep, too long, not UTF-8, another type: it only says who holds the lock."""
    (tmp_path / "lock").write_text(said, "latin-1")
    assert len(who_holds(tmp_path / "lock")) < 300
