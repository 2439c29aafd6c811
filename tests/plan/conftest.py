"""Job files in a folder of their own, loaded as the commands load them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs import pipeline
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import (
    Accepted,
    Completed,
    Event,
    Expired,
    Failed,
    Image,
    InDoubt,
    Intended,
    NotSent,
    Rejected,
    Resolved,
    ServiceError,
    State,
    Stored,
)
from seedream_jobs.plan.load import Job
from seedream_jobs.plan.options import PlanOptions
from seedream_jobs.plan.plan import Plan
from seedream_jobs.report.text import plan_text
from tests.campaign import TARGET, Folder

NOW = int(datetime(2026, 8, 2, 12, tzinfo=UTC).timestamp())


class PlannedFolder(Folder):
    """A campaign's folder with a record, planned against."""

    now = NOW

    def plan(self, *jobs: Job, **asked: Any) -> Plan:
        asked.setdefault("sets", {})
        return pipeline.plan(list(jobs), target=TARGET, options=PlanOptions(**asked))

    def text(self, plan: Plan) -> str:
        """What the command prints, with two spaces wherever it aligns."""
        return re.sub(r"(?<=\S) {2,}", "  ", plan_text(plan))

    def record(self, job: Job, outcome: Callable[[int, Request], Iterable[Event]]) -> None:
        """Put on record what happened to each request of a job: ``outcome`` of its number, from 0, and the request."""
        with Ledger.open(
            job.paths,
            job=job.file.name,
            origin=TARGET.origin,
            new_id=lambda: "m-1",
            root=self.path,
            command="t",
            now=NOW,
        ) as ledger:
            for number, place in enumerate(job.expansion.places()):
                for event in outcome(number, job.expansion.request(place)):
                    ledger.record_sync(event)

    def history(self, request: Request, state: State, *, at: int = NOW, generation: int = 1) -> list[Event]:
        """The events that bring a request to a state."""
        key, image = request.key, Image(url="https://img/1", expires_at=at + 3600)
        intended = Intended(
            key=key,
            at=at,
            generation=generation,
            address=request.address,
            cell=request.cell,
            request=request.payload,
            repeat=request.repeat,
            output=request.output,
            max_images=request.max_images,
            max_cost_usd=Decimal("0.0228") * request.max_images,
            idempotency_key=f"{key[3:20]}-{generation}",
        )
        accepted = Accepted(key=key, at=at, task_id=f"task_{key[3:15]}")
        completed = Completed(key=key, at=at, images=(image,), cost_usd=Decimal("0.0228"))
        kept = Image(file="out/a.jpg", sha256="ab" * 32, bytes=10, width=1, height=1, format="jpeg")
        problem = ServiceError(status=400, code="content_policy", message="content policy")
        after: Mapping[State, list[Event]] = {
            State.INTENT: [],
            State.NEW: [NotSent(key=key, at=at, reason="refused")],
            State.ACCEPTED: [accepted],
            State.COMPLETED: [accepted, completed],
            State.STORED: [accepted, completed, Stored(key=key, at=at, images=(kept,))],
            State.IN_DOUBT: [InDoubt(key=key, at=at, doubt="no response")],
            State.REJECTED: [Rejected(key=key, at=at, error=problem)],
            State.FAILED: [accepted, Failed(key=key, at=at, error=problem)],
            State.EXPIRED: [accepted, completed, Expired(key=key, at=at)],
            State.ABANDONED: [
                InDoubt(key=key, at=at, doubt="no response"),
                Resolved(key=key, at=at, resolution="abandoned", reason="given up"),
            ],
        }
        return [intended, *after[state]]


@pytest.fixture
def folder(tmp_path: Path) -> PlannedFolder:
    return PlannedFolder(tmp_path)
