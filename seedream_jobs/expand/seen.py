"""Which keys were seen before, in a dozen bytes a key."""

from __future__ import annotations

from array import array


class Seen:
    """A set of keys that keeps a 64-bit fingerprint of each in an open-addressing table.

    A key that was never added is reported as seen with a probability below 2**-64 times the number of keys: less than
    one in a trillion for ten million keys. Who needs certainty (a warning that names both) looks the pair up again.
    """

    def __init__(self, expected: int) -> None:
        self._count = 0
        self._resize(expected * 4 // 3 + 64)

    def _resize(self, size: int) -> None:
        self._size = size
        self._most = size * 3 // 4
        self._table = array("Q", bytes(8 * size))

    def add(self, key: str) -> bool:
        """Add ``key`` (``v1:`` and 64 hex digits); True if it was there already."""
        return self.add_fingerprint(int(key[-16:], 16))

    def add_fingerprint(self, fingerprint: int) -> bool:
        """Add a key by its fingerprint, 64 bits of a good hash; True if it was there already."""
        fingerprint = fingerprint or 1  # 0 is an empty slot
        table, size = self._table, self._size
        at = fingerprint % size
        while value := table[at]:
            if value == fingerprint:
                return True
            at += 1
            if at == size:
                at = 0
        table[at] = fingerprint
        self._count += 1
        if self._count > self._most:
            self._grow()
        return False

    def _grow(self) -> None:
        known = self._table
        self._count = 0
        self._resize(self._size * 2)
        for value in known:
            if value:
                self.add_fingerprint(value)
