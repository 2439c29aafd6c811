"""The emulator's books: every charge, in a file, before the reply that admits it.

One JSON line per accepted POST, appended in one write. A charge is handed to the operating system before the client
hears of it, so the books survive the death of the emulator at any moment; they are not synced to the disk, since
nobody compares them after a power failure. Everything about a task is decided when it is accepted and follows from
its line and the clock, so that a later emulator on the same folder, or a second one beside it, tells the same story.
"""

from __future__ import annotations

import errno
import heapq
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from seedream_jobs.errors import UsageError

KEY_RETENTION = 24 * 3600
"""Seconds for which an idempotency key is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One accepted POST and the task it became. Times are Unix seconds, money is USD.

    :param expires: when the links to its images die
    :param requested: images asked for (charged in advance)
    :param delivered: images the task will have (billed in the end)
    :param reserved: the advance charge
    :param cost: what is billed once the task has ended; 0 for a failed one
    :param fate: the name of the ``task`` fault that strikes it, None where all goes well
    :param reply: the name of the ``accepted`` fault that struck the reply, None where it went out well
    :param key: the idempotency key it came with
    :param body_sha256: hex digest of the POST's body
    """

    id: str
    created: float
    done: float
    expires: float
    model: str
    prompt: str
    size: str
    resolution: str
    width: int
    height: int
    format: str
    watermark: bool
    references: int
    requested: int
    delivered: int
    reserved: Decimal
    cost: Decimal
    fate: str | None
    reply: str | None
    key: str | None
    body_sha256: str

    def fields(self) -> dict[str, Any]:
        """Every field as JSON has it, money as strings (``dataclasses.asdict`` would be most of a POST's time)."""
        values = {name: getattr(self, name) for name in _FIELDS}
        return values | {"reserved": str(self.reserved), "cost": str(self.cost)}


_FIELDS = tuple(field.name for field in fields(Charge))
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Books:
    """The charges in ``folder/books.jsonl``, and what is left on the account.

    Not safe for several threads of one process; several processes may share a folder.

    :param balance: USD before the first charge
    :raises UsageError: where the folder can't be used, or its books can't be read
    """

    def __init__(self, folder: Path, *, balance: Decimal) -> None:
        self.path = folder / "books.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            message = f"the emulator can't keep its books in {folder}: {error.strerror}"
            raise UsageError(message, hint="choose another state folder") from None
        self._read = 0  # bytes of the file that are known here
        self._charges: dict[str, Charge] = {}
        self._keys: dict[str, Charge] = {}
        self._open: list[tuple[float, str]] = []  # heap of tasks whose advance charge is not settled yet
        self._balance = balance
        self._used = Decimal(0)
        try:
            self._cut_torn_line()
            self.refresh()
        except (ValueError, TypeError, KeyError, ArithmeticError):
            self.close()
            message = f"{self.path} holds a line that is no charge"
            raise UsageError(message, hint="remove the folder to begin with empty books") from None

    def close(self) -> None:
        os.close(self._file)

    def charge(self, charge: Charge) -> None:
        """Enter a charge; once this returns, it is on record whatever happens to this process.

        :raises OSError: where it can't be written; then it is not on record at all
        """
        line = _to_json(charge.fields()).encode() + b"\n"
        written = os.write(self._file, line)
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        if written != len(line):
            os.ftruncate(self._file, end - written)
            raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes could be written", str(self.path))
        if end - written == self._read:
            self._read = end
        self._enter(charge)

    def find(self, task: str) -> Charge | None:
        """The charge with this task id."""
        if task not in self._charges:
            self.refresh()
        return self._charges.get(task)

    def find_key(self, key: str, *, now: float) -> Charge | None:
        """The latest charge that came with this idempotency key in the last 24 hours."""
        self.refresh()
        charge = self._keys.get(key)
        return charge if charge is not None and now - charge.created < KEY_RETENTION else None

    def used(self, *, now: float) -> Decimal:
        """USD spent: advance charges of tasks under way, the cost of those that have ended."""
        while self._open and self._open[0][0] <= now:
            charge = self._charges[heapq.heappop(self._open)[1]]
            self._used += charge.cost - charge.reserved
        return self._used

    def remaining(self, *, now: float) -> Decimal:
        """USD left on the account."""
        return self._balance - self.used(now=now)

    def __iter__(self) -> Iterator[Charge]:
        self.refresh()
        return iter(self._charges.values())

    def __len__(self) -> int:
        return len(self._charges)

    def refresh(self) -> None:
        """Read what another process has entered since."""
        size = os.fstat(self._file).st_size
        while self._read < size:
            block = os.pread(self._file, min(size - self._read, 1 << 24), self._read)
            end = block.rfind(b"\n") + 1
            if end == 0:
                return
            for line in block[:end].splitlines():
                self._enter(_charge(json.loads(line)))
            self._read += end

    def _enter(self, charge: Charge) -> None:
        if charge.id in self._charges:
            return
        self._charges[charge.id] = charge
        if charge.key is not None:
            self._keys[charge.key] = charge
        self._used += charge.reserved
        heapq.heappush(self._open, (charge.done, charge.id))

    def _cut_torn_line(self) -> None:
        """An emulator that died while writing leaves half a line, of a charge that no client heard of."""
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            os.ftruncate(self._file, whole)


def read_charges(folder: Path) -> list[Charge]:
    """The charges on record in a state folder, for whoever compares them from outside a running emulator."""
    lines = (folder / "books.jsonl").read_bytes().split(b"\n")[:-1]
    return [_charge(json.loads(line)) for line in lines]


def _charge(line: dict[str, Any]) -> Charge:
    return Charge(**{**line, "reserved": Decimal(line["reserved"]), "cost": Decimal(line["cost"])})
