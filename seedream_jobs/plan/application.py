"""A saved plan that may be carried out: each job with its held record, and what is left to be sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from seedream_jobs.expand.references import Reference
from seedream_jobs.job.files import Files, WorkTree
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.paths import LedgerPaths
from seedream_jobs.plan.document import Item, JobDocument, PlanDocument
from seedream_jobs.plan.saved import submitted
from seedream_jobs.profile import DEFAULT_MODEL, Profile, profiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One job of a saved plan with its held record.

    :param manifest: the id that idempotency keys are made of: the plan's, also where manifests were merged
    :param left: what is still to be sent
    :param spent: USD that count against the job's budget already
    """

    job: JobDocument
    ledger: Ledger
    paths: LedgerPaths
    root: Path
    manifest: str
    left: tuple[Item, ...]
    spent: Decimal

    @property
    def profile(self) -> Profile:
        """The model's profile."""
        for item in submitted(self.job):
            if item.request is not None:
                return profiles()[str(item.request.payload["model"])]
        return profiles()[DEFAULT_MODEL]


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A saved plan that may be carried out: its parts, and the budgets of this invocation.

    ``release`` lets another run of the campaign begin; to be called once nothing more will be submitted.
    """

    plan: PlanDocument
    parts: tuple[Part, ...]
    budgets: tuple[tuple[str, Decimal], ...]
    release: Callable[[], None]

    @property
    def left(self) -> int:
        """How many requests are still to be sent."""
        return sum(len(part.left) for part in self.parts)

    @property
    def cost(self) -> Decimal | None:
        """The most those can cost, USD."""
        return self.plan.tariff.cost(sum(item.max_images for part in self.parts for item in part.left))

    def references(self) -> dict[str, tuple[Reference, Files]]:
        """The local references of what is left to send, each once, by their ``sha256:…``."""
        return {
            name: (reference, files)
            for part in self.parts
            for files in (WorkTree(part.root),)
            for item in part.left
            if item.request is not None
            for name, reference in item.request.references.items()
        }
