"""This module holds what a running emulator knows: its books, faults, clock, counts, and the thread that draws.

Called by every route, on the event loop's thread. Invariant: a charge is handed to the operating system before the
client hears of it, so the books survive the death of the emulator at any moment. They are not synced to the disk,
since nobody compares them after a power failure. Everything about a task is decided when it is accepted and follows
from its line in the books and the clock, so that a later emulator on the same folder, or a second one beside it, tells
the same story.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from seedream_jobs.emulator.faults import Faults
from seedream_jobs.emulator.pictures import Picture, ai_label, comment, paint, plain
from seedream_jobs.emulator.settings import Settings
from seedream_jobs.errors import UsageError
from seedream_jobs.model_profile import DEFAULT_MODEL, Profile, profiles

if sys.platform != "win32":  # there nothing keeps two emulators on one folder apart
    import fcntl

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_UNPRICED = Decimal("0.01")
"""USD for an image of a model that nobody has put a price on: an emulated account must charge something."""

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
        self.path: Path = folder / "books.jsonl"
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
        with self._alone():
            written = os.write(self._file, line)
            end = os.lseek(self._file, 0, os.SEEK_CUR)
            if written != len(line):
                # Half a line would be read as one with the next charge.
                os.ftruncate(self._file, end - written)
                raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes could be written", str(self.path))
        # Where no other process wrote in between, the line need not be read back.
        if end - written == self._read:
            self._read = end
        self._enter(charge)

    def find(self, task: str) -> Charge | None:
        """The charge with this task id."""
        if task not in self._charges:  # another emulator on this folder may have taken it
            self.refresh()
        return self._charges.get(task)

    def find_key(self, key: str, *, now: float) -> Charge | None:
        """The latest charge that came with this idempotency key in the last 24 hours."""
        self.refresh()  # also for a known key: another process may have entered a later charge with it
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
            if end == 0:  # the other process is not done with this line
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
        with self._alone():
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole != len(data):
                os.ftruncate(self._file, whole)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the other processes from writing: what is cut off within the block is nobody else's charge."""
        if sys.platform == "win32":
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def read_charges(folder: Path) -> list[Charge]:
    """The charges on record in a state folder, for whoever compares them from outside a running emulator."""
    lines = (folder / "books.jsonl").read_bytes().split(b"\n")[:-1]
    return [_charge(json.loads(line)) for line in lines]


def _charge(line: dict[str, Any]) -> Charge:
    return Charge(**{**line, "reserved": Decimal(line["reserved"]), "cost": Decimal(line["cost"])})


class Service:
    """The state behind the routes. Lives on the event loop's thread; only drawing happens elsewhere.

    :param clock: Unix seconds
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.clock = clock
        self.profiles: Mapping[str, Profile] = profiles()
        self.books: Books = Books(settings.state, balance=settings.balance)
        self.faults: Faults = Faults(settings.faults, seed=settings.seed)
        self.posts: Counter[str] = Counter()
        self.gets: Counter[str] = Counter()
        self.downloads: Counter[str] = Counter()
        self.leaks = 0
        self.late: Counter[str] = Counter()
        self.open_keys: set[str] = set()
        self._delays = Random(settings.seed)
        self._request = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="emulator-painter")

    def close(self) -> None:
        """Let the drawing under way end, and close the books."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self.books.close()

    def delay(self) -> float:
        """Seconds that the next task takes."""
        spread = self.settings.spread
        return self.settings.delay * self._delays.uniform(1 - spread, 1 + spread)

    def price(self, model: str) -> Decimal:
        """USD per delivered image."""
        if self.settings.price is not None:
            return self.settings.price
        price = self._profile(model).price
        return price.usd_per_image if price is not None else _UNPRICED

    def link_life(self, model: str) -> float:
        """Seconds that a link lives."""
        life = self.settings.link_life
        return self._profile(model).link_life if life is None else life

    def new_task_id(self) -> str:
        """``task_`` and a ULID, as the service's ids are."""
        number = int(self.clock() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
        return "task_" + "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))

    def new_request_id(self) -> str:
        """The handle that the service gives to each reply."""
        self._request += 1
        return f"{int(self.clock() * 1000):015d}{os.getpid():07d}{self._request:08d}"

    async def image(self, charge: Charge, index: int, *, shrink: int = 1, other_format: bool = False) -> bytes:
        """The encoded image ``index`` (from 0) of a task, made in the painter's thread."""
        form = charge.format
        if other_format:
            form = "png" if form == "jpeg" else "jpeg"
        picture = Picture(
            width=max(charge.width // shrink, 1),
            height=max(charge.height // shrink, 1),
            format=form,
            text=charge.prompt,
            instead=charge.id,
            footer=f"{charge.width} x {charge.height}  ·  {charge.resolution}  ·  {charge.size}  ·  "
            f"{index + 1}/{charge.delivered}  ·  {charge.id}",
            references=charge.references,
            watermark=charge.watermark,
        )
        loop = asyncio.get_running_loop()
        if self.settings.images == "drawn":
            image = await loop.run_in_executor(self._thread, paint, picture)
        else:
            size = (picture.width, picture.height, picture.format)
            image = comment(await loop.run_in_executor(self._thread, plain, *size), f"{charge.id}/{index}")
        return ai_label(image, produced=charge.id) if self.settings.label else image

    def _profile(self, model: str) -> Profile:
        return self.profiles.get(model) or self.profiles[DEFAULT_MODEL]
