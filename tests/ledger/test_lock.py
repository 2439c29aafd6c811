"""One runner at a time."""

from __future__ import annotations

import errno
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.errors import HeldError, LedgerError, UsageError
from seedream_jobs.ledger import lock as module
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
    join = threading.Thread.join
    monkeypatch.setattr(threading.Thread, "join", lambda thread, seconds: join(thread, seconds / 1000))
    answered = threading.Event()
    asked: list[int] = []

    def flock(descriptor: int, how: int) -> None:
        assert threading.current_thread().daemon  # or the process could not end
        asked.append(descriptor)
        answered.wait()

    monkeypatch.setattr("fcntl.flock", flock)
    for ask in (lambda: lock_file(tmp_path / "l", command="run", now=1), lambda: in_use(tmp_path / "l")):
        with pytest.raises(LedgerError) as caught:
            ask()
    # The threads still ask: closed, a descriptor's number would be another file's, and that one be locked.
    assert len(asked) == 2
    assert all(os.fstat(descriptor) for descriptor in asked)
    answered.set()
    assert caught.value.message == "l could not be locked: the file system gave no answer within 10 s"
    assert caught.value.hint == f"check the file system that {tmp_path} is on, then run the same command again"


def test_a_probe_without_an_answer_is_given_up(tmp_path: Path, flock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second descriptor's call as the first one's."""
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    answered = threading.Event()
    flock(lambda count: answered.wait() if count == 2 else None)
    with pytest.raises(LedgerError, match=r"^l could not be locked: the file system gave no answer within 0\.01 s$"):
        lock_file(tmp_path / "l", command="run", now=1)
    answered.set()


def test_a_lock_may_be_the_first_descriptor(tmp_path: Path) -> None:
    """0 is free in a process that was started without an input."""
    path = tmp_path / "l"
    kept = os.dup(0)
    try:
        os.close(0)
        lock = lock_file(path, command="run", now=1)
        assert os.path.samestat(os.fstat(0), path.stat())
        assert not os.get_blocking(0)  # a pipe that is put there at the last moment is not waited for
        lock.check_place()
        assert in_use(path)
        path.rename(tmp_path / "old")
        with pytest.raises(LedgerError, match="removed or replaced"):
            lock.check_place()
        lock.release()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)
        other = os.open(tmp_path, os.O_RDONLY)  # takes 0, so that the lock that is held does not
        held = lock_file(path, command="run", now=1)
        os.close(other)
        with pytest.raises(HeldError):
            lock_file(path, command="run", now=1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)
        held.release()
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_a_lock_that_cannot_be_written_is_no_held_lock(tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as caught:
        lock_file(tmp_path / "missing" / "l", command="run", now=1)
    assert caught.value.message == "l could not be locked: No such file or directory"
    assert caught.value.hint == f"check that {tmp_path / 'missing'} can be written to"


def test_a_lock_whose_file_is_removed_or_replaced_is_noticed(tmp_path: Path) -> None:
    """The next run would lock another file: who holds the first one must not go on."""
    path = tmp_path / "garden.manifest.lock"
    lock = lock_file(path, command="run", now=1)
    lock.check_place()
    path.unlink()
    with pytest.raises(LedgerError) as caught:
        lock.check_place()
    removed = f"the lock {path} was removed or replaced during the run, so that another one may have begun"
    assert caught.value.message == removed
    assert caught.value.hint == (
        "nothing more is sent; see that no other run is under way, then run the same command again: it goes on from "
        "what was recorded"
    )
    second = lock_file(path, command="run", now=2)  # which is what another run would do
    second.check_place()
    with pytest.raises(LedgerError, match="removed or replaced"):
        lock.check_place()
    lock.release()
    second.release()


def test_a_file_system_that_keeps_no_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "flock", lambda descriptor, operation: None)  # yes to everyone
    before = descriptors()
    with pytest.raises(UsageError) as caught:
        lock_file(tmp_path / "garden.manifest.lock", command="run", now=1)
    assert caught.value.message == f"the file system of {tmp_path} keeps no locks: two runs could submit at once"
    assert caught.value.hint == "move the campaign to a local file system"
    assert descriptors() == before


def descriptors() -> list[str]:
    return [name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]


@pytest.fixture
def flock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], list[int]]:
    """Look at each call of ``flock`` before it is made; the list gets what was asked for."""
    import fcntl

    real = fcntl.flock

    def watched(look: Callable[[int], None]) -> list[int]:
        asked: list[int] = []

        def call(descriptor: int, how: int) -> None:
            asked.append(how)
            look(len(asked))
            real(descriptor, how)

        monkeypatch.setattr(fcntl, "flock", call)
        return asked

    return watched


def test_what_a_lock_says_while_it_is_held_and_after(tmp_path: Path) -> None:
    """One line of JSON: who, where, since when; once it is released the file is there and empty."""
    path = tmp_path / "l"
    path.write_bytes(b"x" * 1000)
    lock = lock_file(path, command="run garden.yaml", now=1_800_000_000)
    who = {"command": "run garden.yaml", "host": platform.node(), "pid": os.getpid(), "since": "2027-01-15T08:00:00Z"}
    assert path.read_bytes().endswith(b"}\n")
    assert json.loads(path.read_text()) == holder(path) == who
    words = f"process {os.getpid()} on {platform.node()}, 'run garden.yaml', since 2027-01-15T08:00:00Z"
    assert who_holds(path) == words
    with pytest.raises(HeldError) as caught:
        lock_file(path, command="run", now=2)
    assert caught.value.message == f"l is held by {words}"
    assert caught.value.hint == "wait until it has ended, or stop it there"
    with pytest.raises(HeldError) as caught:
        lock_file(path, command="run", now=2, refusal="the campaign is in use by")
    assert caught.value.message == f"the campaign is in use by {words}"
    before = len(descriptors())
    lock.release()
    assert len(descriptors()) == before - 1
    assert path.read_bytes() == b""
    lock.release()  # again is no error, and closes nothing that is another's by now
    lock.check_place()
    assert len(descriptors()) == before - 1
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("text", ["", "no json", "[1]", "{} {}", "x" * 70_000])
def test_a_lock_that_says_nothing_readable_is_held_by_another_process(tmp_path: Path, text: str) -> None:
    """The kernel's lock counts, not the words."""
    path = tmp_path / "l"
    path.write_text(text)
    assert holder(path) is None
    assert holder(tmp_path / "none") is None
    assert who_holds(path) == "another process"


def test_what_a_lock_does_not_say_is_a_question_mark(tmp_path: Path) -> None:
    path = tmp_path / "l"
    path.write_text('{"pid": 1}')
    assert who_holds(path) == "process 1 on ?, '?', since ?"
    path.write_text("{}")
    assert who_holds(path) == "process ? on ?, '?', since ?"
    path.write_text(json.dumps({"pid": 1, "x": "y" * 65_517}))
    assert path.stat().st_size == 65_536
    assert who_holds(path) == "process 1 on ?, '?', since ?"
    path.write_text(json.dumps({"pid": 1, "x": "y" * 65_518}))  # no lock of ours is as long
    assert who_holds(path) == "another process"


def test_a_new_lock_file_is_everyones_to_read(tmp_path: Path) -> None:
    """So that whoever comes second is told who holds it."""
    old = os.umask(0o022)
    try:
        lock_file(tmp_path / "l", command="run", now=1).release()
    finally:
        os.umask(old)
    assert (tmp_path / "l").stat().st_mode & 0o777 == 0o644


def test_a_look_is_waited_for_and_a_run_is_not(tmp_path: Path, flock: Any) -> None:
    """A view that looks holds a shared lock for a moment: a run tries again, fifty times; then it is held."""
    import fcntl

    path = tmp_path / "l"
    path.touch()
    viewer = os.open(path, os.O_RDONLY)
    fcntl.flock(viewer, fcntl.LOCK_SH)
    asked = flock(lambda count: os.close(viewer) if count == 3 else None)
    assert not in_use(path)  # a shared lock beside a shared one
    lock_file(path, command="run", now=1).release()
    exclusive = fcntl.LOCK_EX | fcntl.LOCK_NB
    assert asked == [
        *(fcntl.LOCK_SH | fcntl.LOCK_NB, exclusive),  # refused, so it is looked whether a run holds it
        *(fcntl.LOCK_SH | fcntl.LOCK_NB, exclusive, exclusive),  # none did: tried again, and probed
    ]


def test_a_look_that_does_not_end_holds_a_run_off(tmp_path: Path, flock: Any) -> None:
    """It is tried fifty times, two milliseconds apart, and no descriptor is left open."""
    import fcntl

    path = tmp_path / "l"
    path.touch()
    viewer = os.open(path, os.O_RDONLY)
    fcntl.flock(viewer, fcntl.LOCK_SH)
    asked = flock(lambda count: None)
    before = descriptors()
    with pytest.raises(HeldError, match="l is held by another process"):
        lock_file(path, command="run", now=1)
    assert descriptors() == before
    assert asked.count(fcntl.LOCK_EX | fcntl.LOCK_NB) == 50
    os.close(viewer)


def test_a_lock_that_is_replaced_while_it_is_taken_is_taken_again(tmp_path: Path, flock: Any) -> None:
    """Otherwise two runs could each hold a file of the same name."""
    path = tmp_path / "l"

    def replace(count: int) -> None:
        if count == 1:
            path.unlink()
        if count == 2:
            path.rename(tmp_path / "old")
            path.touch()

    flock(replace)
    before = len(descriptors())
    lock = lock_file(path, command="run", now=1)
    assert len(descriptors()) == before + 1
    lock.check_place()
    assert in_use(path)
    assert not in_use(tmp_path / "old")
    lock.release()


def test_a_probe_does_not_outlive_its_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the second descriptor is the lock's, and closes both."""
    import fcntl

    real, asked = fcntl.flock, []

    def call(descriptor: int, how: int) -> None:
        asked.append(descriptor)
        if len(asked) == 2:
            raise OSError(errno.ENOLCK, "No locks available")
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", call)
    before = descriptors()
    with pytest.raises(LedgerError, match="l could not be locked: No locks available"):
        lock_file(tmp_path / "l", command="run", now=1)
    assert descriptors() == before
    assert asked[0] != asked[1]
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, how: (_ for _ in ()).throw(OSError(errno.ENOLCK, "none")))
    assert not in_use(tmp_path / "l")
    assert descriptors() == before


def test_what_can_not_be_a_lock_says_so(tmp_path: Path) -> None:
    """A link, also to nowhere, a folder, a pipe."""
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    said = {
        "link": "it is a symbolic link, which is not followed here",
        "folder": "Is a directory",
        "pipe": "it is no regular file",
    }
    for name, why in said.items():
        with pytest.raises(UsageError) as caught:
            lock_file(tmp_path / name, command="run", now=1)
        assert caught.value.message == f"{tmp_path / name} can't be a lock: {why}"
        assert caught.value.hint == "remove it; it is made anew, and only holds who runs"
        assert not in_use(tmp_path / name)


def test_a_lock_that_becomes_a_link_after_it_was_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it leads to would be emptied."""
    (tmp_path / "victim").write_text("kept")
    monkeypatch.setattr(module, "check_no_link", lambda path: path.symlink_to("victim"))
    with pytest.raises(UsageError, match="l can't be a lock: Too many levels of symbolic links"):
        lock_file(tmp_path / "l", command="run", now=1)
    assert (tmp_path / "victim").read_text() == "kept"


def test_a_system_without_locks_submits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no run can have begun there."""
    held = lock_file(tmp_path / "l", command="run", now=1)
    monkeypatch.setattr(module, "HAS_LOCKS", False)
    with pytest.raises(UsageError) as caught:
        lock_file(tmp_path / "l", command="run", now=1)
    assert caught.value.message == (
        "this platform has no file locks that end with their process, so nothing can be submitted safely"
    )
    assert caught.value.hint == ("run it on Linux or macOS (on Windows: in WSL); validate, plan and expand work here")
    assert not in_use(tmp_path / "l")
    held.release()


def test_windows_has_no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known by the module that it lacks."""
    monkeypatch.setattr("seedream_jobs.ledger.lock", module)  # the package's name for it, put back at the end
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.delitem(sys.modules, module.__name__)
    assert importlib.import_module(module.__name__).HAS_LOCKS is False


def test_a_full_disk_is_no_held_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file says is only for the message."""

    def full(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", full)
    lock = lock_file(tmp_path / "l", command="run", now=1)
    lock.check_place()
    lock.release()
    monkeypatch.undo()
    assert not in_use(tmp_path / "l")


@pytest.mark.parametrize(
    "said", ["[" * 60_000, '{"pid": ' + "9" * 5_000 + "}", "\xff", "[1]", '{"pid": ["' + "x" * 9_000 + '"]}']
)
def test_what_a_stranger_put_in_a_lock_is_no_mistake_of_ours(tmp_path: Path, said: str) -> None:
    """Too deep, too long, not UTF-8, another type: it only says who holds the lock."""
    (tmp_path / "lock").write_text(said, "latin-1")
    assert len(who_holds(tmp_path / "lock")) < 300
    (tmp_path / "lock").write_text(json.dumps({"host": "h" * 201}))
    assert who_holds(tmp_path / "lock") == f"process ? on {'h' * 199}…, '?', since ?"
