"""The few system calls the ledger's durability rests on, as a seam: real here, failing or forgetful in tests."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Protocol


class FileSystem(Protocol):
    """What the ledger asks of a disk. Every call raises ``OSError`` as the kernel reports it."""

    def read(self, path: Path) -> bytes:
        """The whole of a regular file; ``FileNotFoundError`` where there is none."""
        ...

    def snapshot(self, path: Path) -> Snapshot:
        """The same, read a piece at a time."""
        ...

    def create(self, path: Path) -> int:
        """Open for appending, emptied; a new file where there is none. Returns a descriptor."""
        ...

    def append(self, path: Path) -> int:
        """Open an existing file for appending. Returns a descriptor."""
        ...

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write some of ``data``; returns how many bytes were taken."""
        ...

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        ...

    def sync(self, descriptor: int) -> None:
        """Return once the file's content is on the disk."""
        ...

    def close(self, descriptor: int) -> None:
        """Give the descriptor back."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Replace ``target`` by ``source`` in one step."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file; no error where there is none."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Return once the folder's names are on the disk."""
        ...


class RealFileSystem:
    """The disk."""

    def read(self, path: Path) -> bytes:
        _check_regular(path)
        return path.read_bytes()

    def snapshot(self, path: Path) -> Snapshot:
        _check_regular(path)
        return take(path)

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)

    def append(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        return os.write(descriptor, data)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        if sys.platform == "darwin":  # fsync there only reaches the drive's cache
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_regular(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():  # a pipe would wait for ever
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def write_all(fs: FileSystem, descriptor: int, data: bytes) -> None:
    """Write every byte, however many calls it takes.

    :raises OSError: as the disk says; a disk that takes nothing and says nothing counts as full
    """
    rest = memoryview(data)
    while rest:
        taken = fs.write(descriptor, rest)
        if taken <= 0:
            raise OSError("the disk took no bytes")
        rest = rest[taken:]


def write_whole(
    fs: FileSystem, path: Path, chunks: Iterable[bytes], announce: Callable[[], object] = lambda: None
) -> None:
    """A file that appears whole or not at all: temp in the same folder, fsync, rename, fsync of the folder.

    The temp name is fixed (its writer holds the lock), so that a crash leaves at most one behind.

    :param announce: called once the bytes are durable, before they get their name; if it raises, they never do
    """
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = fs.create(temporary)
    try:
        try:
            for chunk in chunks:
                write_all(fs, descriptor, chunk)
            fs.sync(descriptor)
        finally:
            fs.close(descriptor)
        announce()
        fs.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            fs.remove(temporary)
        raise
    fs.sync_folder(path.parent)


PIECE = 1 << 20
"""Bytes of a file that is kept whole in memory."""
_AT_ONCE = 1 << 18
"""Bytes that are looked at together: few enough to stay in a processor's cache from one look to the next."""


BY_PLACE = hasattr(os, "pread")
"""Whether an open file can be read at any place; on Windows all of it is in memory."""


class Snapshot:
    """The bytes of a file, all of them in memory."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data
        self.size = len(data)

    @property
    def version(self) -> object:
        """Equal for two snapshots of a path exactly where nothing was put in the file's place between them."""
        return self._data

    def read(self, at: int, size: int) -> bytes:
        """Up to ``size`` bytes from place ``at``; fewer only at the end."""
        return self._data[at : at + size]

    def pieces(self) -> Iterator[bytes]:
        """All of it in pieces of whole lines; only the last one may lack its newline.

        :raises OSError: it can't be read, or is shorter than it was
        """
        at, size = 0, _AT_ONCE
        while at < self.size:
            piece = self.read(at, size)
            if not piece:
                raise OSError(errno.EIO, "it was cut while it was being read")
            if at + len(piece) < self.size:
                end = piece.rfind(b"\n") + 1
                if not end:  # a line that is longer than that
                    size *= 2
                    continue
                piece = piece[:end]
            yield piece
            at, size = at + len(piece), _AT_ONCE

    def digest(self) -> str:
        """``sha256:`` and hex digits: how a journal names a manifest's bytes.

        :raises OSError: it can't be read
        """
        summed = sha256()
        for piece in self.pieces():
            summed.update(piece)
        return f"sha256:{summed.hexdigest()}"


class OpenSnapshot(Snapshot):
    """The bytes of an open file.

    :param descriptor: taken over; closed with the snapshot
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        found = os.fstat(descriptor)
        self.size = found.st_size
        self._version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    @property
    def version(self) -> object:
        return self._version

    def read(self, at: int, size: int) -> bytes:
        return os.pread(self._descriptor, min(size, self.size - at), at)


def take(path: Path) -> Snapshot:
    """A snapshot of a regular file on the disk.

    :raises OSError: as the kernel reports it
    """
    if path.stat().st_size <= PIECE or not BY_PLACE:
        return Snapshot(path.read_bytes())
    return OpenSnapshot(os.open(path, os.O_RDONLY))
