"""What is done about an image between its last byte and its record: the seam to ``results``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from seedream_jobs.ledger.state import Entry, Image
from seedream_jobs.plan.job import Job
from seedream_jobs.run.images import Examined, examine


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The bytes that will be kept: other than what came only where metadata was asked to be embedded."""

    sha256: str
    bytes: int
    warnings: tuple[str, ...] = ()


class Finishing(Protocol):
    """The steps around an image's final name, in this order. All but ``examine`` block and are called in a thread."""

    def already(self, entry: Entry, index: int) -> Image | None:
        """The image, if an interrupted command has put it on disk whole and has not come to record it."""
        ...

    def prepare(self, temp: Path, entry: Entry, index: int, came: Prepared) -> Prepared:
        """May change the file's metadata, never its pixels, before it is examined and named."""
        ...

    async def examine(self, temp: Path, sha256: str) -> Examined:
        """Decode the file whole, once, somewhere else than on the event loop."""
        ...

    def describe(self, entry: Entry, index: int, image: Image, came_sha256: str) -> tuple[str, ...]:
        """Write down beside the named file what it is; the warnings that come of it."""
        ...


Finish = Callable[[Path, Path, Job | None], Finishing]
"""Makes what is done with each image, for a manifest's folder, its campaign's root and its job if that is at hand."""


class Plain:
    """Finishing without sidecars, thumbnails and metadata: only the decode check, in a thread."""

    def already(self, entry: Entry, index: int) -> Image | None:
        return None

    def prepare(self, temp: Path, entry: Entry, index: int, came: Prepared) -> Prepared:
        return came

    async def examine(self, temp: Path, sha256: str) -> Examined:
        from anyio import to_thread

        return await to_thread.run_sync(examine, temp, abandon_on_cancel=True)

    def describe(self, entry: Entry, index: int, image: Image, came_sha256: str) -> tuple[str, ...]:
        return ()
