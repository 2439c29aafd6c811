"""A plan of a job of which nothing is known: counted from its parts, the same as by making every request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from seedream_jobs.errors import FindingsError
from seedream_jobs.expand.expansion import Expansion, Place
from seedream_jobs.ledger.state import State
from seedream_jobs.plan import jobs
from seedream_jobs.plan.diff import Wish
from seedream_jobs.plan.jobs import JobsPlan
from seedream_jobs.plan.summary import all_new

SPEC = 'version: 1\nrequest: {prompt: "{{ a }}, {{ b }}"}\n'
MATRIX = "matrix: {a: [x, y, z], b: [p, q], n: [1, 4], exclude: [{a: x, n: 4}]}\nrepeat: 2\n"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """The requests that are made from now on."""
    found: list[Place] = []
    places = Expansion.places

    def noted(self: Expansion) -> Iterator[Place]:
        for place in places(self):
            found.append(place)
            yield place

    monkeypatch.setattr(Expansion, "places", noted)
    return found


def test_nothing_is_made_before_it_is_sent(folder: Any, made: list[Place]) -> None:
    """A million requests: their number and the maximum spend are known before the first is made."""
    axes = ", ".join(f"{name}: {{range: [1, 100]}}" for name in "abc")
    job = folder.load(
        f'version: 1\nrequest: {{prompt: "{{{{ a }}}}, {{{{ b }}}}, {{{{ c }}}}"}}\nmatrix: {{{axes}}}\n'
        'limits: {max_requests: 1000000, budget_usd: 40000}\noutput: {name: "{{ a }}-{{ b }}-{{ c }}"}\n'
    )
    plan = folder.plan(job)
    plan.hold_budgets()
    assert (plan.submit, plan.images, len(made)) == (1_000_000, 1_000_000, 0)
    next(plan.jobs[0].submissions(plan.jobs[0].ledger.entries))
    assert len(made) == 1


def test_says_what_the_stream_says(folder: Any, made: list[Place], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every number and every word of the plan."""
    job = folder.load(SPEC + MATRIX)

    def planned() -> tuple[JobsPlan, Any]:
        plan = folder.plan(job)
        return plan, plan.jobs[0].summary

    quick, summary = planned()
    assert not made
    monkeypatch.setattr(jobs, "all_new", lambda *_: None)
    plain, streamed = planned()
    assert len(made) == summary.requests == 2 * 2 * 5
    assert summary == streamed
    assert folder.text(quick) == folder.text(plain)


@pytest.mark.parametrize("limit", [0, 1, 3, 19, 20, 21])
def test_the_first_few(folder: Any, made: list[Place], monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """With --limit only what is submitted is made."""
    job = folder.load(SPEC + MATRIX)
    quick = folder.plan(job, limit=limit)
    assert len(made) == (limit if limit < 20 else 0)
    assert job.expansion.made == 20
    monkeypatch.setattr(jobs, "all_new", lambda *_: None)
    assert quick.jobs[0].summary == folder.plan(job, limit=limit).jobs[0].summary


@pytest.mark.parametrize("asked", [{"select": "a == 'x'"}, {"again": ("job/a=x,b=p,n=1#1",)}])
def test_a_part_of_it_is_streamed(folder: Any, made: list[Place], asked: dict[str, Any]) -> None:
    """What the operator leaves out is known once the requests are made."""
    job = folder.load(SPEC + MATRIX)
    folder.plan(job, **asked)
    assert made
    select = (lambda _: True) if "select" in asked else None
    assert all_new(job.expansion, Wish(select=select, again=asked.get("again", ()))) is None


def test_what_is_known_is_streamed(folder: Any, made: list[Place]) -> None:
    """With anything on record, here or elsewhere in the campaign, each request is looked up."""
    job = folder.load(SPEC + MATRIX)
    folder.record(job, lambda number, request: folder.history(request, State.STORED) if number == 0 else [])
    made.clear()
    assert folder.plan(job).submit == 19
    assert len(made) == 20
    made.clear()
    assert folder.plan(folder.load(SPEC + MATRIX, name="other.yaml")).submit == 19
    assert len(made) == 20


def test_limits_hold_without_a_stream(folder: Any, made: list[Place]) -> None:
    """Too many requests are refused by number; two that would write one file by name."""
    with pytest.raises(FindingsError) as refused:
        folder.plan(folder.load(SPEC + MATRIX + "limits: {max_requests: 19}\n"))
    assert "20 requests" in refused.value.diagnostics[0].message
    assert not made
    with pytest.raises(FindingsError) as refused:
        folder.plan(folder.load(SPEC + MATRIX + 'output: {name: "{{ a }}"}\n'))
    assert "would write 'x'" in refused.value.diagnostics[0].message
