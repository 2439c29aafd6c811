"""The arithmetic of the rate limiter and its bucket: laws, over any sequence of replies."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.errors import UsageError
from seedream_jobs.run.options import Rate, parse_rate
from seedream_jobs.run.rate_limiter import Bucket, RateLimiter
from tests.lanes import examples

REPLIES = st.tuples(
    st.sampled_from(["accepted", "limited", "unreachable", "other"]),
    st.one_of(st.none(), st.floats(1.0, 900.0)),
    st.floats(0.0, 5.0),
)


@pytest.mark.parametrize(
    ("text", "interval"), [("60/m", 1.0), ("2/s", 0.5), ("100/h", 36.0), (" 5 / Min ", 12.0), ("1/hour", 3600.0)]
)
def test_a_rate_is_a_count_and_a_unit(text: str, interval: float) -> None:
    """The spellings people write."""
    assert parse_rate(text).interval == pytest.approx(interval)


@pytest.mark.parametrize("text", ["", "60", "0/s", "-1/s", "1.5/s", "60/d", "60 per minute", "１/s", "9999999/s"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    """A rate that can't be read is a usage error, not a guess."""
    with pytest.raises(UsageError) as caught:
        parse_rate(text)
    assert "60/m" in (caught.value.hint or "")


@given(st.integers(1, 500), st.sampled_from([1.0, 60.0]), st.lists(st.floats(0.0, 3.0), max_size=60))
@settings(max_examples=examples(60))
def test_no_window_holds_more_than_the_rate_and_one_burst(count: int, seconds: float, gaps: list[float]) -> None:
    """However callers come, any window of the rate's length has at most count + burst POSTs."""
    rate = Rate(count=count, seconds=seconds)
    bucket, now, taken = Bucket(rate), 0.0, []
    for gap in gaps:
        now = max(now + gap * rate.interval, bucket.ready_at())
        bucket.take(now)
        taken.append(now)
    for start in taken:
        assert sum(1 for at in taken if start <= at < start + seconds) <= count + rate.burst


@given(st.integers(1, 64), st.lists(REPLIES, max_size=80), st.integers(0, 2**32))
@settings(max_examples=examples(150))
def test_the_gate_is_never_early_never_shut_for_good_and_never_over_its_cap(
    cap: int, replies: list[tuple[str, float | None, float]], seed: int
) -> None:
    """After any replies: 1 ≤ limit ≤ cap, nothing enters before the latest Retry-After, and it opens again."""
    gate, now, told = RateLimiter(concurrency=cap, random=Random(seed)), 0.0, 0.0
    for reply, retry_after, pause in replies:
        now = max(now + pause, gate.ready_at())
        assert now >= told
        ticket = gate.enter(now)
        now += 0.1
        gate.leave(ticket, now, reply, retry_after)  # type: ignore[arg-type]
        if retry_after is not None and reply != "accepted":
            told = max(told, now + retry_after)
        assert 1 <= gate.limit <= cap
        assert gate.ready_at() <= max(told, now) + 61.0


def test_one_burst_of_429_is_one_cut() -> None:
    """Eight workers that hit the limit together halve the concurrency once, not eight times."""
    gate = RateLimiter(concurrency=8, random=Random(1))
    tickets = [gate.enter(0.0) for _ in range(8)]
    for ticket in tickets:
        gate.leave(ticket, 1.0, "limited", 5.0)
    assert gate.limit == 4


def test_success_creeps_back_to_the_cap_and_not_beyond() -> None:
    """One step more for each round of successes."""
    gate = RateLimiter(concurrency=8, random=Random(1))
    gate.leave(gate.enter(0.0), 0.0, "limited")
    rounds = 0
    while gate.limit < 8:
        for _ in range(gate.limit):
            gate.leave(gate.enter(100.0), 100.0, "accepted")
        rounds += 1
    assert rounds >= 4
    for _ in range(100):
        gate.leave(gate.enter(100.0), 100.0, "accepted")
    assert gate.limit == 8


def test_an_unreachable_host_is_probed_by_one_post_at_a_time() -> None:
    """Until one gets through; then the concurrency is what it was."""
    gate = RateLimiter(concurrency=8, random=Random(1))
    gate.leave(gate.enter(0.0), 0.0, "unreachable")
    assert gate.limit == 1
    gate.leave(gate.enter(100.0), 100.0, "unreachable")
    gate.leave(gate.enter(200.0), 200.0, "accepted")
    assert gate.limit == 8
