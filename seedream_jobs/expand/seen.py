"""Which keys were seen before, in eight bytes a key."""

from __future__ import annotations

from array import array


class Seen:
    """A set of 64-hex-digit keys that keeps a 64-bit fingerprint of each in an open-addressing table.

    A key that was never added is reported as seen with a probability below 2**-64 times the number of keys: less than
    one in a trillion for ten million keys. Who needs certainty (a warning that names both) looks the pair up again.
    """

    def __init__(self, expected: int) -> None:
        self._count = 0
        self._resize(max(64, 1 << (2 * expected - 1).bit_length()))

    def _resize(self, size: int) -> None:
        self._mask = size - 1
        self._table = array("Q", bytes(8 * size))

    def add(self, key: str) -> bool:
        """Add ``key`` (``v1:`` and 64 hex digits); True if it was there already."""
        fingerprint = int(key[-16:], 16) or 1
        if self._place(fingerprint):
            return True
        self._count += 1
        if self._count * 4 > len(self._table) * 3:
            known = [value for value in self._table if value]
            self._resize(len(self._table) * 2)
            for value in known:
                self._place(value)
        return False

    def _place(self, fingerprint: int) -> bool:
        table, mask = self._table, self._mask
        at = fingerprint & mask
        while value := table[at]:
            if value == fingerprint:
                return True
            at = (at + 1) & mask
        table[at] = fingerprint
        return False
