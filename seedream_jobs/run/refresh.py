"""Asks a task that is done for its links once more: what its answer means for images that are still to be fetched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from seedream_jobs.ledger.state import Entry, Image

if TYPE_CHECKING:
    from seedream_jobs.api.tasks import TaskReport

Refresh = Callable[[Entry], Awaitable[tuple[Image, ...] | None]]
"""Asks the task again: its images with fresh links, ``()`` if the service has it no more, None if it can't be told."""


def refresher(task: Callable[[str], Awaitable[TaskReport]]) -> Refresh:
    """A ``Refresh`` over the client's ``task`` call."""

    async def refresh(entry: Entry) -> tuple[Image, ...] | None:
        if entry.task_id is None:
            return ()
        from seedream_jobs.api.tasks import joined

        report = joined([await task(one) for one in entry.task_ids], settle=True)
        if len(entry.task_ids) > 1 and report.status == "completed" and len(report.images) != len(entry.images):
            return None  # which link is whose can't be told
        if report.status == "completed":
            return report.images or None  # done without images is no answer; it has been seen to pass
        if report.status in ("gone", "failed"):  # a task that was done can "fail" only by being forgotten
            return ()
        return None

    return refresh
