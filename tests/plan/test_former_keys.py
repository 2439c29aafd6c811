"""What was paid while prompts were sent with the line breaks of their file is not paid again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seedream_jobs.errors import UsageError
from seedream_jobs.expand.identity import key_of, settled
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.state import State
from seedream_jobs.plans.diff import Action
from tests.plan.test_plan import WHAT_STANDS, actions

JOB = 'version: 1\nrequest: {prompt: "{{ a }}", n: 2}\nmatrix: {a: ["x\\nx", y, "z\\n"]}\nrepeat: 1\n'


def as_sent_before(request: Request, prompt: str) -> Request:
    payload = {**request.payload, "prompt": prompt}
    return replace(request, payload=payload, key=key_of(payload, str(payload["model"]), request.repeat))


@pytest.mark.parametrize(("state", "plain", "retry", "again"), WHAT_STANDS, ids=lambda value: str(value))
def test_a_former_key_is_known(folder: Any, state: State, plain: Action, retry: Action, again: Action | None) -> None:
    """In every state the plan says what it says of any request; only what is sent anew is sent under today's key."""
    job = folder.load(JOB)
    sent = ["x\r\nx\r\n", "\ufeffy\n", "z\n"]
    folder.record(job, lambda number, request: folder.history(as_sent_before(request, sent[number]), state))
    known = set(folder.plan(job).jobs[0].ledger.entries)
    assert actions(folder.plan(job)) == [plain] * 3 + [Action.ORPHANED] * 0
    expected = Action.NEW if retry in (Action.RETRY, Action.NEW) else retry
    plan = folder.plan(job, retry_failed=True)
    assert actions(plan) == [expected] * 3
    for change in plan.jobs[0].changes:
        assert (change.key in known) == (change.action is not Action.NEW)
    if again is None:
        with pytest.raises(UsageError, match="its last submission is not finished"):
            folder.plan(job, again=("job/a=y#1",))
    else:
        assert actions(folder.plan(job, again=("job/a=y#1",)))[1] is Action.NEW


def test_today_comes_first(folder: Any) -> None:
    """A request that is on record under both keys stands where it was paid; prompts that end alike are not confused."""
    job = folder.load(JOB)
    folder.record(job, lambda _, request: folder.history(request, State.FAILED))
    assert actions(folder.plan(job)) == [Action.FAILED] * 3
    folder.record(
        job, lambda _, request: folder.history(as_sent_before(request, f"{request.payload['prompt']}\n"), State.STORED)
    )
    assert actions(folder.plan(job, retry_failed=True))[:3] == [Action.DONE] * 3
    other = folder.load(JOB.replace("y", "y!"))
    assert actions(folder.plan(other))[:3] == [Action.FAILED, Action.NEW, Action.FAILED]


def test_a_former_key_of_another_job_counts(folder: Any) -> None:
    """Paid in another manifest of the campaign, with a line break at the end: not paid again from here."""
    other = folder.load(JOB, name="other.yaml")
    folder.record(
        other,
        lambda _, request: folder.history(as_sent_before(request, f"{request.payload['prompt']}\n"), State.STORED),
    )
    assert actions(folder.plan(folder.load(JOB))) == [Action.ELSEWHERE] * 3


def test_settled() -> None:
    """Breaks at the end go, others become line feeds; nothing else changes."""
    assert settled("a\r\nb\rc \n\r\n") == "a\nb\nc "
    assert settled(" a\tb\u2028") == " a\tb\u2028"
