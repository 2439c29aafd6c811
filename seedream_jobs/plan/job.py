"""A job file as a plan sees it: its requests, where its record lies, and what it must hold whatever is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import FindingsError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.ledger.paths import LedgerPaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job file, expanded, and where its record lies."""

    file: Path
    expansion: Expansion
    paths: LedgerPaths
    warnings: tuple[Diagnostic, ...]

    @property
    def shown(self) -> str:
        """The job file as the user named it."""
        return self.expansion.spec.document.path


def hold_count(job: Job, requests: int) -> int:
    """The number of requests, if ``limits.max_requests`` allows it.

    :raises FindingsError: with the number and the ways out
    """
    limit = job.expansion.spec.max_requests
    if requests <= limit:
        return requests
    document = job.expansion.spec.document
    finding = document.finding(
        "too-many-requests",
        f"the job makes {requests:,} requests: limits.max_requests is {limit:,}",
        ("limits", "max_requests") if document.exists(("limits", "max_requests")) else ("matrix",),
        key=True,
        hint=f"raise it to {requests}, write sample: {{size: {limit}}} in the matrix, or limit: on an axis file",
    )
    raise FindingsError([finding])


def hold_names(job: Job) -> list[Diagnostic]:
    """Nothing, if no two requests would write the same file.

    :raises FindingsError: with the first collisions
    """
    collisions = job.expansion.name_collisions()
    if collisions:
        raise FindingsError(collisions)
    return []
