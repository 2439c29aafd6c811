"""Job files in a folder of their own, loaded as the commands load them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs import pipeline
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.state import Event
from seedream_jobs.plans.load import Job
from seedream_jobs.plans.options import PlanOptions
from seedream_jobs.plans.plan import Plan
from seedream_jobs.report.text import plan_text
from tests.campaign import NOW, TARGET, Folder, history, record, requests_of


class PlannedFolder(Folder):
    """A campaign's folder with a record, planned against."""

    now = NOW
    history = staticmethod(history)

    def plan(self, *jobs: Job, **asked: Any) -> Plan:
        asked.setdefault("sets", {})
        return pipeline.plan(list(jobs), target=TARGET, options=PlanOptions(**asked))

    def text(self, plan: Plan) -> str:
        """What the command prints, with two spaces wherever it aligns."""
        return re.sub(r"(?<=\S) {2,}", "  ", plan_text(plan))

    def record(self, job: Job, outcome: Callable[[int, Request], Iterable[Event]]) -> None:
        """Put on record what happened to each request of a job: ``outcome`` of its number, from 0, and the request."""
        record(job, (event for number, one in enumerate(requests_of(job)) for event in outcome(number, one)))


@pytest.fixture
def folder(tmp_path: Path) -> PlannedFolder:
    return PlannedFolder(tmp_path)
