"""This module locks a file for one process at a time, by a kernel lock that ends with the process.

Called by the ledger (a record) and by campaign (all of them). Invariants: the file is never deleted, there are no stale
locks and no command to break one; the file's content only says who holds it. A lock is on a file, not on its name:
where the file is removed or replaced under a run, the next one locks another, so ``check_place`` compares the two.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
from pathlib import Path
from typing import Any

from seedream_jobs.atomic_file import read_regular
from seedream_jobs.diagnostics import shorten
from seedream_jobs.errors import HeldError, LedgerError, UsageError
from seedream_jobs.inside import check_no_link, open_record
from seedream_jobs.ledger.codec import Malformed, canonical, iso, parse

try:
    import fcntl

    HAS_LOCKS = True
except ImportError:  # Windows
    HAS_LOCKS = False

_LOOKS = 50
_LOOK_SECONDS = 0.002
_LONGEST = 1 << 16  # bytes of what a lock says
PATIENCE = 10.0
"""Seconds after which a file system that does not answer is given up."""


class FileLock:
    """A held lock. Released by ``release``, or by the kernel."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        found = os.fstat(descriptor)
        # Looked at twice for each intent, so it is kept: a descriptor's file never becomes another one.
        self._name, self._identity = os.fspath(path), (found.st_dev, found.st_ino)

    def check_place(self) -> None:
        """See that the file is still the one that its name leads to: else another run can begin, or has begun.

        :raises LedgerError: it was removed or replaced
        """
        if self._descriptor < 0:
            return
        try:
            found = os.stat(self._name)  # noqa: PTH116  (a Path costs as much as the call)
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            raise LedgerError(
                f"the lock {self.path} was removed or replaced during the run, so that another one may have begun",
                hint="nothing more is sent; see that no other run is under way, then run the same command again: it "
                "goes on from what was recorded",
            )

    def release(self) -> None:
        """Let another run begin."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = -1


def lock_file(path: Path, *, command: str, now: int, refusal: str | None = None, shared: bool = False) -> FileLock:
    """Take the lock, or refuse at once.

    :param command: what to tell the one who comes second, such as ``run garden.yaml``
    :param now: Unix seconds
    :param refusal: how a refusal begins, before the holder is named; by default with the file
    :param shared: beside others that share it; who wants it alone is kept out
    :raises HeldError: another process holds it; says which
    :raises LedgerError: the lock file can't be written
    :raises UsageError: this platform has no ``flock``
    """
    if not HAS_LOCKS:
        raise UsageError(
            "this platform has no file locks that end with their process, so nothing can be submitted safely",
            hint="run it on Linux or macOS (on Windows: in WSL); validate, plan and expand work here",
        )
    descriptor = -1
    try:
        while descriptor < 0:
            descriptor = _open(path, os.O_CREAT)
            for look in range(_LOOKS):
                try:
                    _flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, path)
                    break
                except BlockingIOError:
                    if look == _LOOKS - 1 or in_use(path):
                        raise
                    time.sleep(_LOOK_SECONDS)  # it was a view that looked (``in_use``), not a run
            if not _leads_to(
                path, descriptor
            ):  # removed or replaced in between: another process may lock its successor
                os.close(descriptor)
                descriptor = -1
        _probe(path)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise _held(path, refusal or f"{path.name} is held by") from None
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UsageError(
                f"{path} can't be a lock: {error.strerror}", hint="remove it; it is made anew, and only holds who runs"
            ) from None
        raise LedgerError(
            f"{path.name} could not be locked: {error.strerror}", hint=f"check that {path.parent} can be written to"
        ) from error
    except UsageError:
        os.close(descriptor)
        raise
    _sign(descriptor, command, now)
    return FileLock(path, descriptor)


def _open(path: Path, flags: int = 0) -> int:
    # A lock is emptied when it is signed and when it is released: a link would empty what it leads to.
    check_no_link(path)
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | flags, 0o644)


def _leads_to(path: Path, descriptor: int) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def _probe(path: Path) -> None:
    # Some network and FUSE mounts grant a lock to everyone: a second descriptor then gets that of the first, too.
    if not _is_free(_open(path), fcntl.LOCK_EX, path):
        return
    raise UsageError(
        f"the file system of {path.parent} keeps no locks: two runs could submit at once",
        hint="move the campaign to a local file system",
    )


def _is_free(descriptor: int, how: int, path: Path) -> bool:
    """Whether nobody else holds the lock. The descriptor is closed.

    :raises LedgerError: the file system does not answer
    """
    try:
        _flock(descriptor, how, path)
    except LedgerError:
        raise  # a thread still asks for it: closed, its number would soon be another file's, and that one be locked
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return False
        raise
    os.close(descriptor)
    return True


def _flock(descriptor: int, how: int, path: Path) -> None:
    # The call waits for no other holder, but a network's file system may not answer, and Python repeats a call that a
    # signal interrupts, for ever: so a thread makes it, which is given up.
    ended: list[OSError | None] = []

    def call() -> None:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            ended.append(None)
        except OSError as error:
            ended.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not ended:
        raise LedgerError(
            f"{path.name} could not be locked: the file system gave no answer within {PATIENCE:g} s",
            hint=f"check the file system that {path.parent} is on, then run the same command again",
        )
    if ended[0] is not None:
        raise ended[0]


def holder(path: Path) -> dict[str, Any] | None:
    """What the process that holds the lock, or was killed while it did, wrote into the file; None where none did."""
    try:
        return parse(read_regular(path, _LONGEST).strip())
    except (OSError, Malformed):
        return None


def in_use(path: Path) -> bool:
    """Whether a process holds the lock."""
    # A shared lock is asked for and given back at once; a run that begins at that very moment tries again (lock_file).
    # What the file says proves nothing: the process id may be another program's by now.
    if not HAS_LOCKS:
        return False  # no run can have begun
    try:
        descriptor = open_record(path)
    except OSError:
        return False  # none that this user may know of
    try:
        return not _is_free(descriptor, fcntl.LOCK_SH, path)
    except OSError:
        return False


def who_holds(path: Path) -> str:
    """The process that holds the lock, in words: ``process 4711 on host, 'run garden.yaml', since …``."""
    found = holder(path)
    if found is None:
        return "another process"
    return "process {pid} on {host}, '{command}', since {since}".format_map(
        {name: shorten(str(found.get(name, "?")), 200) for name in ("pid", "host", "command", "since")}
    )


def _sign(descriptor: int, command: str, now: int) -> None:
    who = {"command": command, "host": platform.node(), "pid": os.getpid(), "since": iso(now)}
    with contextlib.suppress(OSError):  # only for the message: a full disk must not look like a held lock
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, canonical(who) + b"\n", 0)


def _held(path: Path, refusal: str) -> HeldError:
    for _ in range(_LOOKS):
        if holder(path) is not None:
            break
        time.sleep(_LOOK_SECONDS)  # a process that has just taken the lock has not said who it is yet
    return HeldError(f"{refusal} {who_holds(path)}", hint="wait until it has ended, or stop it there")
