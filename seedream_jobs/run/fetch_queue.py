"""What is still to be fetched, the links that die first first; and what became of each request on its way."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio

from seedream_jobs.errors import ExitCode, gravest
from seedream_jobs.ledger.state import Entry, Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Something to show: an image was queued, stored, failed for now or was lost, or an attempt is made again.

    ``index`` counts the request's images from 0; ``image`` is set for ``stored``; ``detail`` says what went wrong.
    """

    kind: Literal["queued", "stored", "again", "failed", "lost"]
    entry: Entry
    index: int
    image: Image | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """An image that was not fetched, and why."""

    key: str
    address: str
    index: int
    problem: str


@dataclass(slots=True, kw_only=True)
class Fetched:
    """What a fetch did. ``bytes`` counts what was stored; ``unfinished`` can be fetched again, ``lost`` can't.

    ``stop`` says why it ended before it came to all, empty where it did not.
    """

    requests: int = 0
    images: int = 0
    bytes: int = 0
    warnings: int = 0
    unfinished: list[Trouble] = field(default_factory=list)
    lost: list[Trouble] = field(default_factory=list)
    stop: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """8 if the same command goes on later, 1 if images were lost, 0 if all are there."""
        unfinished = [ExitCode.UNFINISHED] if self.unfinished or self.stop else []
        return gravest(unfinished + ([ExitCode.FINDINGS] if self.lost else []))


@dataclass(slots=True, kw_only=True, eq=False)
class Order:
    """One request on its way: its links as last known, and what became of each of its images.

    ``aside`` are those whose bytes can't be decoded and are kept under another name, each with the words for it;
    ``undecodable`` has the sha256 of such bytes that came once.
    """

    entry: Entry
    stem: Path
    links: dict[int, Image]
    left: int = 0
    got: dict[int, Image] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    aside: dict[int, str] = field(default_factory=dict)
    undecodable: dict[int, str] = field(default_factory=dict)
    asked: bool = False
    gone: bool = False
    asking: anyio.Lock = field(default_factory=anyio.Lock)


class Queue:
    """Images to fetch, the one whose link dies first first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, Order]] = []
        self._count = 0
        self._closed = False
        self._changed = anyio.Condition()

    async def put(self, jobs: Iterable[tuple[float, int, Order]]) -> None:
        async with self._changed:
            for dies, index, order in jobs:
                heapq.heappush(self._heap, (dies, self._count, index, order))
                self._count += 1
            self._changed.notify_all()

    async def close(self) -> None:
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def take(self) -> tuple[int, Order] | None:
        """The next image; None once all are taken and no more will come."""
        async with self._changed:
            while not self._heap:
                if self._closed:
                    return None
                await self._changed.wait()
            _, _, index, order = heapq.heappop(self._heap)
            return index, order
