"""docs/review.md is true: its plan is what the program prints of its job and of a record like the one it tells of."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from seedream_jobs.cli.options import FORMATS
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import Accepted, Completed, Failed, Image, InDoubt, Intended, ServiceError, Stored
from seedream_jobs.plan.load import Target, load_job

PAGE = (Path(__file__).parents[2] / "docs" / "review.md").read_text(encoding="utf-8")
TARGET = Target(origin="https://api.apimart.ai", emulator=False)
DAYS = [int(datetime(2026, 8, day, tzinfo=UTC).timestamp()) for day in (2, 3, 4)]


def block(language: str) -> str:
    """The first fenced block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def intended(request: Request, at: int) -> Intended:
    return Intended(
        key=request.key,
        at=at,
        generation=1,
        address=request.address,
        cell=request.cell,
        request=request.payload,
        repeat=request.repeat,
        output=request.output,
        max_images=request.max_images,
        max_cost_usd=Decimal("0.0228") * request.max_images,
        idempotency_key=f"sj-{request.key[3:]}",
    )


def test_the_plan_in_the_documentation_is_what_is_printed(campaign: Any, command: Callable[..., Any]) -> None:
    """28 requests went out: one is in doubt, one failed, and four of an earlier file are no longer asked for."""
    job = campaign.write("garden.yaml", block("yaml"))
    loaded = load_job(job, shown="garden.yaml", target=TARGET, sets={})
    older = campaign.write("older.yaml", block("yaml").replace("an owl", "a stork"))
    stork = load_job(older, shown="older.yaml", target=TARGET, sets={}).expansion
    requests = [loaded.expansion.request(place) for place in loaded.expansion.places()]
    known = [request for request in requests if request.cell["style"] != "ink"]
    known += [
        request
        for request in map(stork.request, stork.places())
        if request.cell["subject"] == "a stork" and request.cell["style"] != "ink"
    ]
    older.unlink()
    with Ledger.open(
        loaded.paths,
        job="garden.yaml",
        origin=TARGET.origin,
        new_id=lambda: "m-docs",
        root=campaign.folder,
        command="run",
        now=DAYS[0],
    ) as ledger:
        for number, request in enumerate(known):
            at = DAYS[number % 3]
            ledger.record_sync(intended(request, at))
            if number == 0:
                ledger.record_sync(InDoubt(key=request.key, at=at, doubt="no response"))
                continue
            ledger.record_sync(Accepted(key=request.key, at=at, task_id=f"task_{number}"))
            if number == 1:
                problem = ServiceError(status=None, code="policy", message="content policy")
                ledger.record_sync(Failed(key=request.key, at=at, error=problem))
                continue
            link = Image(url="https://example.org/x", expires_at=at + 1000)
            stored = Image(file=f"out/garden/{number}.jpeg", sha256="0" * 64, bytes=1, width=1, height=1, format="jpeg")
            ledger.record_sync(Completed(key=request.key, at=at, images=(link,), cost_usd=Decimal("0.0228")))
            ledger.record_sync(Stored(key=request.key, at=at, images=(stored,)))
    ended = command("plan", "garden.yaml")
    assert ended.out == block("text")


def test_every_format_has_its_line() -> None:
    """The table of views is complete."""
    table = PAGE[PAGE.index("## Views") :]
    for form in FORMATS:
        assert f"`{form}`" in table
