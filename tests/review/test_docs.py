"""docs/review.md is true: its plan is what the program prints of its job and of a record like the one it tells of."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seedream_jobs.cli.options import FORMATS
from seedream_jobs.ledger.state import State
from seedream_jobs.plans.load import Target, load_job
from tests.campaign import history, record, requests_of

PAGE = (Path(__file__).parents[2] / "docs" / "review.md").read_text(encoding="utf-8")
TARGET = Target(origin="https://api.apimart.ai", emulator=False)
DAYS = [int(datetime(2026, 8, day, tzinfo=UTC).timestamp()) for day in (2, 3, 4)]


def block(language: str) -> str:
    """The first fenced block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_the_plan_in_the_documentation_is_what_is_printed(campaign: Any, command: Callable[..., Any]) -> None:
    """28 requests went out: one is in doubt, one failed, and four of an earlier file are no longer asked for."""
    job = campaign.write("garden.yaml", block("yaml"))
    loaded = load_job(job, shown="garden.yaml", target=TARGET, sets={})
    older = campaign.write("older.yaml", block("yaml").replace("an owl", "a stork"))
    stork = load_job(older, shown="older.yaml", target=TARGET, sets={})
    known = [request for request in requests_of(loaded) if request.cell["style"] != "ink"]
    known += [
        request
        for request in requests_of(stork)
        if request.cell["subject"] == "a stork" and request.cell["style"] != "ink"
    ]
    older.unlink()
    states = {0: State.IN_DOUBT, 1: State.FAILED}
    events = [
        event
        for number, request in enumerate(known)
        for event in history(request, states.get(number, State.STORED), at=DAYS[number % 3])
    ]
    record(loaded, events, origin=TARGET.origin)
    ended = command("plan", "garden.yaml")
    assert ended.out == block("text")


def test_every_format_has_its_line() -> None:
    """The table of views is complete."""
    table = PAGE[PAGE.index("## Output formats") :]
    for form in FORMATS:
        assert f"`{form}`" in table
