"""A file as it was when it was opened, read a piece at a time: a record of any size in the memory of a mebibyte.

A small file is its bytes. A large one is an open descriptor: the file that had the name then, whatever has it now. What
is written in place would show through, so that whoever holds a record for long takes a copy of its own.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

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


def take(path: Path, *, apart: bool) -> Snapshot:
    """A snapshot of a regular file on the disk.

    :param apart: a copy that nobody else can change
    :raises OSError: as the kernel reports it
    """
    if path.stat().st_size <= PIECE or not BY_PLACE:
        return Snapshot(path.read_bytes())
    found = OpenSnapshot(os.open(path, os.O_RDONLY))
    return _copied(found, path.parent) if apart else found


def _copied(found: Snapshot, folder: Path) -> Snapshot:
    """A copy on the disk, or in memory where the disk has no room for it."""
    try:
        descriptor = unnamed(folder)
    except OSError:
        return Snapshot(b"".join(found.pieces()))
    try:
        for piece in found.pieces():
            append(descriptor, piece)
        return OpenSnapshot(os.dup(descriptor))
    except OSError:
        return Snapshot(b"".join(found.pieces()))
    finally:
        os.close(descriptor)


def unnamed(folder: Path | None) -> int:
    """A new file without a name, for reading and writing: gone with its descriptor, which is returned.

    :raises OSError: there is none to be had
    """
    import tempfile

    with tempfile.TemporaryFile(dir=folder, buffering=0) as made:
        return os.dup(made.fileno())


def append(descriptor: int, data: bytes | bytearray) -> None:
    """Write every byte at the end.

    :raises OSError: as the kernel reports it
    """
    with memoryview(data) as rest:
        written = 0
        while written < len(rest):
            written += os.write(descriptor, rest[written:])
