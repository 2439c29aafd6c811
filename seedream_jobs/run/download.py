"""One attempt at one image: its body into a temporary file, hashed on the way, and a judgement on what came."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from seedream_jobs.ledger.state import Entry
from seedream_jobs.run.images import MAX_BYTES, NO_IMAGE, disguise
from seedream_jobs.run.placing import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

DEAD = frozenset({401, 403, 404, 410})
"""What an image host answers for a link that has died; signed links of object stores answer 403."""


class Download(Protocol):
    """How a download went, as the network's side reports it: ``api.client_downloads.Download``.

    ``problem`` is None if the body came whole; ``refused`` if the link is one that must not be followed.
    """

    @property
    def status(self) -> int | None: ...
    @property
    def content_type(self) -> str | None: ...
    @property
    def content_length(self) -> int | None: ...
    @property
    def received(self) -> int: ...
    @property
    def problem(self) -> str | None: ...
    @property
    def refused(self) -> bool: ...


class Downloads(Protocol):
    """Gets a link without the API key, its address checked, redirects included; hands the body over as it comes."""

    async def get(self, url: str, write: Callable[[bytes], object], *, max_bytes: int) -> Download: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """No image came.

    :param damaged: the body came whole, and can't be decoded
    :param aside: the name under which such bytes, which came twice, are kept
    :param dead: the host says that the link is no good (any more); asking it again is no use
    :param refused: the link leads where we don't go; asking it again is no use either, but the host was not heard
    """

    problem: str
    damaged: bool = False
    aside: str | None = None
    dead: bool = False
    refused: bool = False


@contextmanager
def discarding(sink: Sink) -> Iterator[Sink]:
    """``sink``, its temporary file removed on the way out, also when the work is cancelled or fails."""
    try:
        yield sink
    finally:
        sink.discard()


async def receive(downloads: Downloads, url: str, sink: Sink) -> Missed | None:
    """Download ``url`` into ``sink``; None if a body came whole that begins like an image.

    :raises SeedreamError: if the disk is full or failing
    """
    try:
        reply = await downloads.get(url, sink.write, max_bytes=MAX_BYTES)
    except OSError as error:
        if sink.error is not None:
            raise sink.error from error
        return Missed(problem=f"the download broke off: {error}")
    if sink.error is not None:
        raise sink.error
    if reply.status in DEAD:
        return Missed(problem=f"the link is dead: HTTP {reply.status}", dead=True)
    if reply.problem is not None:
        return Missed(problem=reply.problem, refused=reply.refused)
    if reply.status != 200:
        return Missed(problem=f"the image host answered HTTP {reply.status}")
    if reply.content_length is not None and reply.content_length != reply.received:
        return Missed(problem=f"{reply.received} of {reply.content_length} bytes came")
    sink.finish()
    wrong = disguise(sink.head, sink.size)
    return None if wrong is None else Missed(problem=wrong, damaged=wrong == NO_IMAGE)


def temporary(stem: Path, entry: Entry, index: int) -> Path:
    """The temporary name for one image, in the folder of ``stem``.

    The same for each attempt, so that what a killed process left behind is overwritten by the next one; and nobody
    else's: two jobs may fetch the same request, each its own task, into one folder.
    """
    key = entry.key.rpartition(":")[2][:16]
    return stem.with_name(f".{key}-{entry.task_id or entry.generation}-{index}.part")
