"""The machine: its table, and laws over any sequence of events."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.ledger.codec import decode_event, encode
from seedream_jobs.ledger.state import (
    STATE_RULES,
    Accepted,
    Completed,
    Entry,
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
    paid_twice,
    spent_usd,
    submits,
)
from seedream_jobs.ledger.transitions import (
    TRANSITIONS,
    IllegalEvent,
    Trigger,
    evolve,
    settle_open_intent,
    state_diagram,
)
from tests.lanes import examples

KEY = "v1:ab"
PROBLEM = ServiceError(status=400, code="bad", message="no")
IMAGE = Image(url="https://img/1", expires_at=100)


def intended(generation: int = 1, at: int = 1, idempotency_key: str | None = None) -> Intended:
    return Intended(
        key=KEY,
        at=at,
        generation=generation,
        address="a#1",
        cell={},
        request={"prompt": "p"},
        repeat=1,
        output="out/a",
        max_images=1,
        max_cost_usd=Decimal("0.02"),
        idempotency_key=idempotency_key or f"k{generation}",
    )


def event_for(trigger: Trigger, entry: Entry | None) -> Event:
    """An event that means ``trigger`` to this entry."""
    generation = 1 if entry is None else entry.generation
    events: dict[Trigger, Event] = {
        Trigger.INTENDED: intended(generation),
        Trigger.AGAIN: intended(generation + 1),
        Trigger.REPLAY: intended(generation),
        Trigger.ACCEPTED: Accepted(key=KEY, at=2, task_id="task_1"),
        Trigger.REJECTED: Rejected(key=KEY, at=2, error=PROBLEM),
        Trigger.NOT_SENT: NotSent(key=KEY, at=2, reason="dns"),
        Trigger.IN_DOUBT: InDoubt(key=KEY, at=2, doubt="no response"),
        Trigger.COMPLETED: Completed(key=KEY, at=3, images=(IMAGE,)),
        Trigger.FAILED: Failed(key=KEY, at=3, error=PROBLEM),
        Trigger.STORED: Stored(key=KEY, at=4, images=(replace(IMAGE, file="out/a.jpeg"),)),
        Trigger.EXPIRED: Expired(key=KEY, at=4),
        Trigger.RESOLVED_ACCEPTED: Resolved(key=KEY, at=5, resolution="accepted", reason="seen", task_id="task_1"),
        Trigger.RESOLVED_NOT_CHARGED: Resolved(key=KEY, at=5, resolution="not_charged", reason="seen"),
        Trigger.RESOLVED_ABANDONED: Resolved(key=KEY, at=5, resolution="abandoned", reason="seen"),
    }
    return events[trigger]


_WAYS: dict[State, list[Trigger]] = {
    State.INTENT: [Trigger.INTENDED],
    State.NEW: [Trigger.INTENDED, Trigger.NOT_SENT],
    State.ACCEPTED: [Trigger.INTENDED, Trigger.ACCEPTED],
    State.COMPLETED: [Trigger.INTENDED, Trigger.ACCEPTED, Trigger.COMPLETED],
    State.STORED: [Trigger.INTENDED, Trigger.ACCEPTED, Trigger.COMPLETED, Trigger.STORED],
    State.IN_DOUBT: [Trigger.INTENDED, Trigger.IN_DOUBT],
    State.REJECTED: [Trigger.INTENDED, Trigger.REJECTED],
    State.FAILED: [Trigger.INTENDED, Trigger.ACCEPTED, Trigger.FAILED],
    State.EXPIRED: [Trigger.INTENDED, Trigger.ACCEPTED, Trigger.EXPIRED],
    State.ABANDONED: [Trigger.INTENDED, Trigger.IN_DOUBT, Trigger.RESOLVED_ABANDONED],
}


def entry_in(state: State) -> Entry:
    entry: Entry | None = None
    for trigger in _WAYS[state]:
        entry = evolve(entry, event_for(trigger, entry))
    assert entry is not None
    return entry


_PAIRS = [
    (state, trigger)
    for state in (None, *State)
    for trigger in Trigger
    if state is State.IN_DOUBT or trigger is not Trigger.REPLAY  # elsewhere that is a plain intent
]


@pytest.mark.parametrize(("state", "trigger"), _PAIRS)
def test_an_event_is_legal_exactly_where_the_table_has_an_arrow(state: State | None, trigger: Trigger) -> None:
    entry = None if state is None else entry_in(state)
    before = replace(entry) if entry is not None else None
    event = event_for(trigger, entry)
    if state is State.IN_DOUBT and trigger is Trigger.INTENDED:
        event = intended(1, idempotency_key="another")  # with the same one it is a replay
    target = TRANSITIONS[state].get(trigger)
    if state is None and trigger is Trigger.AGAIN:
        target = State.INTENT  # a later generation on an empty ledger: there is nothing to keep
    if target is None:
        with pytest.raises(IllegalEvent):
            evolve(entry, event)
        assert entry == before
    else:
        assert evolve(entry, event).state is target


def test_every_state_can_be_reached_and_has_a_row() -> None:
    reached = {target for arrows in TRANSITIONS.values() for target in arrows.values()}
    assert reached == set(State)
    assert set(TRANSITIONS) == {None, *State}
    assert set(STATE_RULES) == set(State)


def test_no_arrow_leads_from_in_doubt_to_a_submission() -> None:
    assert State.INTENT not in TRANSITIONS[State.IN_DOUBT].values()
    assert not submits(State.IN_DOUBT, retry_failed=True, again=True)


def test_another_generation_keeps_the_one_before() -> None:
    failed = entry_in(State.FAILED)
    again = evolve(failed, intended(2, at=9))
    assert (again.state, again.generation, again.submitted_at, again.error) == (State.INTENT, 2, 9, None)
    assert [(one.generation, one.state, one.task_id) for one in again.earlier] == [(1, State.FAILED, "task_1")]


def test_a_second_task_for_one_submission_is_kept_and_flagged() -> None:
    twice = evolve(entry_in(State.ACCEPTED), Accepted(key=KEY, at=3, task_id="task_2"))
    assert (twice.task_id, twice.other_task_ids) == ("task_1", ("task_2",))
    assert paid_twice(twice)
    assert spent_usd(twice) == Decimal("0.04")
    assert evolve(twice, Accepted(key=KEY, at=3, task_id="task_2")) == twice


def test_a_replay_stays_in_doubt_until_it_is_answered() -> None:
    replayed = evolve(entry_in(State.IN_DOUBT), intended(1))
    assert (replayed.state, replayed.replays) == (State.IN_DOUBT, 1)
    assert evolve(replayed, NotSent(key=KEY, at=3, reason="dns")).state is State.IN_DOUBT


@pytest.mark.parametrize("task_id", ["", "a b", "../x", "x" * 129, "ü", "a\n"])
def test_a_task_id_that_is_no_id_is_refused(task_id: str) -> None:
    with pytest.raises(IllegalEvent, match="task id"):
        evolve(entry_in(State.INTENT), Accepted(key=KEY, at=2, task_id=task_id))


@pytest.mark.parametrize(
    ("event", "counts"),
    [
        (Failed(key=KEY, at=5, error=PROBLEM, cost_usd=Decimal("0.05")), "0.05"),
        (Failed(key=KEY, at=5, error=PROBLEM), "0"),
        (Failed(key=KEY, at=5, error=PROBLEM, cost_usd=Decimal(0)), "0"),
        (Expired(key=KEY, at=5, cost_usd=Decimal("0.05")), "0.05"),
        (Expired(key=KEY, at=5), "0.02"),
    ],
)
def test_a_cost_that_the_service_names_is_spent_whatever_the_state(event: Event, counts: str) -> None:
    """Also in the next generation, where it stands among the earlier ones; silence of the service takes none back."""
    ended = evolve(entry_in(State.ACCEPTED), event)
    assert spent_usd(ended) == Decimal(counts)
    again = evolve(ended, intended(2, at=9))
    assert spent_usd(again) == Decimal(counts) + Decimal("0.02")
    assert decode_event(encode(event)) == event


def test_what_the_service_said_of_a_done_task_stays_when_it_fails() -> None:
    failed = Failed(key=KEY, at=5, error=PROBLEM)
    done = evolve(entry_in(State.ACCEPTED), Completed(key=KEY, at=4, images=(), cost_usd=Decimal("0.07")))
    assert spent_usd(evolve(done, failed)) == Decimal("0.07")


def test_of_two_submissions_of_unknown_cost_both_count() -> None:
    twice = replace(evolve(entry_in(State.ACCEPTED), Accepted(key=KEY, at=3, task_id="task_2")), max_cost_usd=None)
    twice = replace(twice, earlier=tuple(replace(one, max_cost_usd=None) for one in twice.earlier))
    assert spent_usd(twice) == 0
    assert spent_usd(twice, Decimal("0.03")) == Decimal("0.06")


def test_open_intents_are_settled_and_others_left() -> None:
    settled, accepted = settle_open_intent(entry_in(State.INTENT), "crash"), entry_in(State.ACCEPTED)
    assert settle_open_intent(accepted, "crash") is accepted
    assert (settled.state, settled.doubt, settled.since) == (State.IN_DOUBT, "crash", 1)


def test_what_the_next_run_submits() -> None:
    """By itself only what was provably not charged; what ended badly or well only where somebody asks."""
    always = {state for state in State if submits(state)}
    failed = {state for state in State if submits(state, retry_failed=True)}
    again = {state for state in State if submits(state, again=True)}
    assert always == {State.NEW}
    assert failed == always | {State.REJECTED, State.FAILED, State.EXPIRED}
    assert again == failed | {State.STORED, State.ABANDONED}


@given(
    st.lists(st.tuples(st.sampled_from(list(Trigger)), st.sampled_from(["task_1", "task_2", "task_3"])), max_size=25)
)
@settings(max_examples=examples(400), deadline=None)
def test_any_sequence_of_events_ends_in_a_named_state_and_loses_no_task(steps: list[tuple[Trigger, str]]) -> None:
    entry: Entry | None = None
    announced: set[str] = set()
    for trigger, task_id in steps:
        event = event_for(trigger, entry)
        if isinstance(event, Accepted) or (isinstance(event, Resolved) and event.resolution == "accepted"):
            event = replace(event, task_id=task_id)
        before = entry
        try:
            entry = evolve(entry, event)
        except IllegalEvent:
            assert entry is before
            continue
        if isinstance(event, Accepted | Resolved) and event.task_id is not None:
            announced.add(event.task_id)
        assert entry.state in State
        if before is not None:
            assert entry.generation >= before.generation
            if before.state is State.IN_DOUBT:
                assert entry.state is not State.INTENT
        known = {one.task_id for one in (entry, *entry.earlier)}
        assert announced <= known


def test_the_diagram_in_the_docs_is_drawn_from_the_table(request: pytest.FixtureRequest) -> None:
    page = (Path(request.config.rootpath) / "docs" / "ledger.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{state_diagram()}```" in page


def test_the_head_in_the_docs_is_the_table(request: pytest.FixtureRequest) -> None:
    page = (Path(request.config.rootpath) / "docs" / "ledger.md").read_text(encoding="utf-8")
    for state, standing in STATE_RULES.items():
        named = spent_usd(replace(entry_in(state), cost_usd=Decimal("0.05")))
        unnamed = spent_usd(replace(entry_in(state), cost_usd=None))
        spent = "yes" if standing.spent else "no, but a cost that the service named" if named else "no"
        assert named >= unnamed
        if state is State.NEW:
            spent = "no"  # provably not charged: no cost is ever kept with it
        assert f"| `{state.value}` | `{standing.mark}` | {standing.submits} | {spent} |" in page
