"""Files that appear whole or not at all: a temporary name in the same folder, fsync, then a name nobody had.

Called by ``fetch``, ``store_image`` and ``results``. Invariants: an existing file is never overwritten, nothing is
written outside the campaign's root, and a full disk is told from a bad download.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from seedream_jobs.errors import LedgerError, SeedreamError, UsageError
from seedream_jobs.ledger.paths import in_the_way

BUFFER = 1024 * 1024
"""Bytes that are written and hashed at a time; measured best (bench/fetch.py)."""

HEAD_BYTES = 512
"""So much of a file's beginning is kept at hand: enough to tell an image from an error page."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES}


def refusal(error: OSError, path: Path) -> SeedreamError:
    """The refusal that a failed write to ``path`` means: a full or failing disk stops the command with exit code 74."""
    words = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _NO_ROOM:
        return LedgerError(
            f"no room for {path}: {words}",
            hint="free some space and run the same command again; what was stored stays, and links live on",
        )
    if error.errno in (errno.EEXIST, errno.ENOTDIR) and (blocked := in_the_way(path.parent)) is not None:
        return blocked
    if error.errno in (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP):
        return UsageError(f"{path} can not be written: {words}", hint="check output.dir, output.name and the folder")
    return LedgerError(f"{path} can not be written: {words}", hint="check the disk, then run the same command again")


def confined(root: Path, folder: Path, output: str) -> Path:
    """The absolute path that ``output`` (POSIX, relative to ``folder``) names, its folder's links followed.

    :raises UsageError: if it leaves ``root`` by ``..``, by being absolute or through a symbolic link
    """
    root = root.resolve()
    if output.startswith("/") or "\\" in output or "\0" in output or not output.strip("/."):
        raise _outside(output)
    written = Path(os.path.normpath(folder.resolve() / output))
    try:
        found = written.parent.resolve() / written.name
    except (OSError, RuntimeError) as error:  # a loop of links
        raise _outside(output) from error
    if not found.is_relative_to(root) or not written.is_relative_to(root) or found == root:
        raise _outside(output)
    return found


def _outside(output: str) -> UsageError:
    return UsageError(
        f"the output {output!r} leads out of the campaign's root",
        hint="images are only written below the campaign's root: correct output in the job file, or the manifest",
    )


class Folders:
    """The folders that images will lie in, each made and written to before anything is paid for what goes there.

    :param folder: the manifest's, to which outputs are relative
    :param root: the campaign's root, which no output leaves
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder, self._root = folder, root
        self._held: set[str] = set()

    def hold(self, output: str) -> None:
        """See that a file can be written where ``output`` (as in ``Request``) says.

        :raises UsageError: the folder can't be made or written to, or leads out of the root
        :raises LedgerError: the disk is full or failing
        """
        above = output.rpartition("/")[0]
        if above in self._held:
            return
        probe = confined(self._root, self._folder, output).with_name(f".seedream-probe-{os.getpid()}")
        try:
            _make_folder(probe.parent)
            with probe.open("wb", buffering=0) as file:
                file.write(b"seedream-jobs sees whether images can be written here; safe to delete\n")
                os.fsync(file.fileno())
        except OSError as error:
            raise refusal(error, probe.parent) from error
        finally:
            with suppress(OSError):
                probe.unlink()
        self._held.add(above)


class Sink:
    """A temporary file that is written and hashed on the way."""

    def __init__(self, path: Path) -> None:
        """:raises SeedreamError: if the file can not be made"""
        self.path = path
        self.size = 0
        self.head = b""
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None
        try:
            _make_folder(path.parent)
            path.unlink(missing_ok=True)  # never truncated: a killed process may have given it its final name already
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.fdopen(os.open(path, flags, 0o666), "wb", buffering=BUFFER)
        except OSError as error:
            raise refusal(error, path) from error

    def write(self, data: bytes) -> None:
        """:raises SeedreamError: if the disk is full or failing"""
        assert self._file is not None
        try:
            self._file.write(data)
        except OSError as error:
            raise refusal(error, self.path) from error
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(data[: HEAD_BYTES - len(self.head)])
        self._hash.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """Hex digest of all that was written."""
        return self._hash.hexdigest()

    def finish(self, *, durable: bool = False) -> None:
        """Hand the bytes to the operating system and close; with ``durable``, once they are on the disk.

        :raises SeedreamError: if the disk is full or failing
        """
        file, self._file = self._file, None
        if file is None:
            return
        try:
            with file:
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise refusal(error, self.path) from error

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
        with suppress(OSError):
            self.path.unlink()


def place(temp: Path, stem: Path, extension: str, sha256: str) -> Path:
    """Give ``temp`` its final name, durably; ``stem`` + ``extension``, or ``stem-2`` … where that is taken.

    A file with the same bytes is adopted and ``temp`` removed; one with other bytes is left alone. Blocks on the disk.

    :param temp: a file in the folder of ``stem``
    :raises SeedreamError: if the disk is full or failing
    """
    try:
        sync(temp)
        for candidate in _names(stem, extension):
            if _claim(temp, candidate):
                sync(candidate.parent)
                return candidate
            if candidate.is_file() and digest(candidate) == sha256:
                temp.unlink()
                sync(candidate)
                sync(candidate.parent)
                return candidate
    except OSError as error:
        raise refusal(error, stem) from error
    raise AssertionError("names never run out")


def _names(stem: Path, extension: str) -> Iterator[Path]:
    yield stem.with_name(stem.name + extension)
    number = 2
    while True:
        yield stem.with_name(f"{stem.name}-{number}{extension}")
        number += 1


def _claim(temp: Path, final: Path) -> bool:
    """Rename ``temp`` to ``final`` unless that name is taken; a link does both in one step."""
    try:
        os.link(temp, final, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(final):  # no hard links here; the manifest's lock keeps other runs out of the gap
            return False
        temp.replace(final)
        return True
    temp.unlink()
    return True


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durable in the one above."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, durable.

    :raises OSError: as ``fsync`` does
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(file: Path) -> str:
    """The sha256 of a file, in hex.

    :raises OSError: as reading does
    """
    with file.open("rb", buffering=0) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
