"""Lines by their place: those of a record that was read, and those that came since, on the disk once they are many.

A hundred thousand lines are 78 MB, and a run makes each of them anew several times. So a line is read back when
somebody asks for it. Its place comes with a checksum that was taken when it was read or added: what is not the very
same line is refused, whatever became of the file.
"""

from __future__ import annotations

import math
import os
import weakref
from pathlib import Path
from zlib import crc32

from seedream_jobs.errors import LedgerError
from seedream_jobs.ledger.filesystem import BY_PLACE, PIECE, Snapshot, append, unnamed

_LOOK = 4096  # bytes; most lines are shorter


class Lines:
    """The lines of a snapshot, and further ones.

    :param folder: where further ones are written once they are many, into a file without a name; None for the system's
        folder of temporary files. Where that takes nothing, they stay in memory
    """

    def __init__(self, record: Snapshot, folder: Path | None = None) -> None:
        self._record = record
        self._folder = folder
        self._most: float = PIECE if BY_PLACE else math.inf
        self._descriptor = -1
        self._added = (record.size, bytearray())  # in memory: their place, and they themselves

    def add(self, line: bytes) -> tuple[int, int]:
        """Keep one more line (without its newline): its place and its checksum."""
        start, kept = self._added
        place = start + len(kept)
        written = line + b"\n"
        kept += written
        if len(kept) > self._most:
            self._write(start, kept)
        return place, crc32(written)

    def read(self, place: int, checksum: int) -> bytes:
        """The line at a place, without its newline.

        :raises LedgerError: it is not the line that was read or added there
        """
        size, found = _LOOK, b""
        try:
            while len(found := self._bytes(place, size)) == size and b"\n" not in found:
                size *= 2
        except OSError as error:
            raise _changed(f": {error.strerror or error}") from error
        line = found[: found.find(b"\n") + 1] or found + b"\n"  # the last line of a record may lack it
        if crc32(line) != checksum:
            raise _changed("")
        return line[:-1]

    def _bytes(self, place: int, size: int) -> bytes:
        start, kept = self._added  # as it is now: another thread may be writing it out
        if place < self._record.size:
            return self._record.read(place, size)
        if place >= start:
            return bytes(kept[place - start : place - start + size])
        return os.pread(self._descriptor, size, place - self._record.size)

    def _write(self, start: int, kept: bytearray) -> None:
        """Put on the disk what is in memory, or never try again: then it stays where it is."""
        try:
            if self._descriptor < 0:
                self._descriptor = unnamed(self._folder)
                weakref.finalize(self, os.close, self._descriptor)
            append(self._descriptor, kept)
        except OSError:
            self._most = math.inf
            return
        self._added = (start + len(kept), bytearray())


def _changed(why: str) -> LedgerError:
    return LedgerError(
        f"a line of the record can't be read back as it was{why}",
        hint="was the manifest changed in the meantime? Run the same command again: it goes on from what was recorded",
    )
