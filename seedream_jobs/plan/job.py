"""A job file as a plan sees it: its requests, where its record lies, and what must be true of it whatever is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import FindingsError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.ledger.paths import LedgerPaths
from seedream_jobs.plan.policy import Policy, budget_name, find_excess


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job file, expanded, and where its record lies."""

    file: Path
    expansion: Expansion
    paths: LedgerPaths
    warnings: tuple[Diagnostic, ...]
    policy: Policy | None = None

    @property
    def shown(self) -> str:
        """The job file as the user named it."""
        return self.expansion.spec.document.path

    @property
    def budget_name(self) -> str:
        """Whose limit the job's budget is: its own, or the policy's where that is less."""
        return budget_name(self.policy, self.expansion.spec)


def policy_budgets(jobs: Iterable[Job]) -> tuple[tuple[str, Decimal], ...]:
    """What all jobs of one plan may cost together by their policies: (whose limit, USD)."""
    found = {job.policy.shown: job.policy.budget_usd for job in jobs if job.policy is not None}
    return tuple((f"budget_usd of {shown}", limit) for shown, limit in found.items() if limit is not None)


def check_count(job: Job, requests: int) -> int:
    """The number of requests, if ``limits.max_requests`` and the policy allow it.

    :raises FindingsError: with the number and the ways out
    """
    if job.policy is not None and (refused := find_excess(job.policy, job.expansion.spec, requests)):
        raise FindingsError(refused)
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


def check_names(job: Job) -> None:
    """Refuse a job of which two requests would write the same file.

    :raises FindingsError: with the first collisions
    """
    collisions = job.expansion.name_collisions()
    if collisions:
        raise FindingsError(collisions)
