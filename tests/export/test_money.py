"""What an export says of money adds up to what ``status`` says."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.state import Attempt, Entry, Image, State, in_shares
from seedream_jobs.report.status import Bill, bill_of
from seedream_jobs.results.export import ExportRows
from seedream_jobs.results.gallery.cells import ImageFiles, cells_of_entry

COSTS = st.none() | st.decimals(0, 3, places=4) | st.sampled_from([Decimal("0.05"), Decimal("0.1234567")])
IMAGES = st.lists(st.sampled_from(["stored", "lost", "open"]), max_size=15)
EARLIER = st.lists(st.tuples(st.sampled_from([1, 2]), st.sampled_from(list(State)), COSTS), max_size=3)
RUNS = st.lists(st.tuples(st.sampled_from(list(State)), COSTS, IMAGES, EARLIER), max_size=6)


def entry(number: int, state: State, cost: Decimal | None, images: list[str], earlier: list[Any]) -> Entry:
    made = {
        "stored": Image(file=f"out/{number}.jpeg", sha256="ab" * 32, bytes=1, width=1, height=1, format="jpeg"),
        "lost": Image(error="gone"),
        "open": Image(url="https://x/1"),
    }
    return Entry(
        key=f"v1:{number:064x}",
        address=f"garden/{number}#1",
        cell={},
        request={"model": "doubao-seedream-5-0-lite", "prompt": "p"},
        repeat=1,
        output=f"out/{number}",
        max_images=15,
        generation=2,
        state=state,
        images=tuple(made[kind] for kind in images),
        cost_usd=cost,
        earlier=tuple(
            Attempt(generation=generation, state=was, cost_usd=usd, task_id=f"task_{index}")
            for index, (generation, was, usd) in enumerate(earlier)
        ),
    )


@given(RUNS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_shares_add_up_to_what_status_says(tmp_path: Path, run: list[Any]) -> None:
    """Partly delivered groups, failures that were charged, second payments, earlier generations: to the last digit."""
    entries = Entries()
    for number, what in enumerate(run):
        entries.put(entry(number, *what))
    rows = ExportRows(job="garden", entries=entries, root=tmp_path, folder=tmp_path, expansion=None)
    shares = [row.values["cost_usd"] for row in rows]
    total = sum((Decimal(share) for share in shares if share is not None), start=Decimal(0))
    assert total == rows.shared_usd
    assert total + rows.left_out_usd == sum(map(bill_of, entries.values()), start=Bill()).usd
    cells = [
        cell
        for one in entries.values()
        for cell in cells_of_entry(one, ImageFiles(tmp_path, tmp_path, tmp_path, tmp_path), labels={})
    ]
    shown = sum((cell.cost_usd for cell in cells if cell.cost_usd is not None), start=Decimal(0))
    assert shown == sum(map(bill_of, entries.values()), start=Bill()).usd, "the gallery's cells as well"


@given(st.decimals(0, 100, places=7), st.integers(1, 15))
def test_parts_are_equal_but_for_the_last_place(cost: Decimal, parts: int) -> None:
    shares = in_shares(cost, parts)
    assert sum(shares) == cost
    assert max(shares) - min(shares) <= Decimal("0.0000001")


def test_a_cost_without_a_row_is_told(garden: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """One that failed and was charged; what the job's file no longer makes counts likewise."""
    failed = next(one for one in garden.entries.values() if not one.images)
    garden.entries.put(replace(failed, cost_usd=Decimal("0.05")))
    rows = garden.rows()
    assert sum(Decimal(row.values["cost_usd"]) for row in rows) == rows.shared_usd == Decimal("0.0912")
    assert rows.left_out_usd == Decimal("0.05")
