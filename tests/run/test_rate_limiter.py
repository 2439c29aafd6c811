"""The arithmetic of the rate limiter and its bucket: laws, over any sequence of replies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.errors import ExitCode, UsageError
from seedream_jobs.run.options import Rate, parse_rate
from seedream_jobs.run.rate_limiter import Bucket, RateLimiter
from seedream_jobs.run.retry import Halt
from seedream_jobs.run.shutdown import Shutdown
from tests.lanes import examples

REPLIES = st.tuples(
    st.sampled_from(["accepted", "limited", "unreachable", "other"]),
    st.one_of(st.none(), st.floats(1.0, 900.0)),
    st.floats(0.0, 5.0),
)


class Longest(Random):
    """Chance at its longest: each jitter and each backoff takes all that it may."""

    def uniform(self, a: float, b: float) -> float:
        return b


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


def test_a_burst_leaves_at_once_and_then_one_each_interval() -> None:
    """Also after a pause: what was not taken meanwhile is not saved up beyond the burst."""
    bucket, now, left = Bucket(Rate(count=40, seconds=1.0)), 0.0, []
    for pause in (*[0.0] * 6, 100.0, *[0.0] * 5):
        now = max(now + pause, bucket.ready_at())
        bucket.take(now)
        left.append(now)
    assert left == pytest.approx([0, 0, 0, 0, 0.025, 0.05, 100.05, 100.05, 100.05, 100.05, 100.075, 100.1])


def test_the_gate_keeps_the_rate_and_what_it_was_told() -> None:
    """Whichever of the two is later."""
    gate = RateLimiter(concurrency=9, random=Longest(), rate=Rate(count=60, seconds=60.0))
    assert gate.ready_at() == -inf
    ticket = gate.enter(5.0)
    assert gate.ready_at() == 6.0
    gate.leave(ticket, 5.0, "limited", 20.0)
    assert gate.ready_at() == 26.0
    gate.enter(26.0)
    assert gate.ready_at() == 27.0


def test_no_more_are_in_flight_than_may_be() -> None:
    """The gate is shut while they are, and each that is over leaves its place to one more."""
    gate = RateLimiter(concurrency=2, random=Longest())
    tickets = [gate.enter(0.0), gate.enter(0.0)]
    assert gate.ready_at() == inf
    gate.leave(tickets.pop(), 0.0, "other")
    assert gate.ready_at() == -inf
    tickets.append(gate.enter(0.0))
    assert gate.ready_at() == inf
    for ticket in tickets:
        gate.leave(ticket, 0.0, "other")
    assert (gate.in_flight, gate.limit) == (0, 2)


@pytest.mark.parametrize("reply", ["limited", "unreachable"])
def test_without_a_word_of_how_long_the_pause_doubles_until_one_is_taken(reply: Any) -> None:
    """From one second; a success begins it anew."""
    gate = RateLimiter(concurrency=8, random=Longest())
    pauses, now = [], 0.0
    for one in (reply, reply, reply, "accepted", reply, reply):
        now = max(now, gate.ready_at())
        gate.leave(gate.enter(now), now, one)
        pauses.append(max(0.0, gate.ready_at() - now))
    assert pauses == [1.0, 2.0, 4.0, 0.0, 1.0, 2.0]


def test_each_cut_needs_a_post_that_was_admitted_after_the_one_before() -> None:
    """Four POSTs before the first cut cut once between them; one after it cuts again, and those still do not."""
    gate = RateLimiter(concurrency=16, random=Longest())
    old = [gate.enter(0.0) for _ in range(4)]
    limits = []
    for _ in range(3):
        gate.leave(old.pop(), 1.0, "limited", 1.0)
        new = [gate.enter(9.0), gate.enter(9.0)]
        for ticket in new:
            gate.leave(ticket, 9.0, "limited", 1.0)
        limits.append(gate.limit)
    assert limits == [4, 2, 1]
    gate.leave(old.pop(), 9.0, "limited", 1.0)
    assert gate.limit == 1


def test_a_worker_that_need_not_wait_is_not_switched_from(virtual: Callable[..., Any]) -> None:
    """Also at the very moment that a pause ends; otherwise a task switch would be paid for by each POST."""

    async def main() -> None:
        gate = RateLimiter(concurrency=2, random=Longest(), rate=Rate(count=40, seconds=1.0))
        gate.leave(gate.enter(0.0), anyio.current_time(), "limited", 0.0)
        waiting = gate.acquire(Shutdown())
        with pytest.raises(StopIteration) as ended:
            waiting.send(None)
        assert ended.value.value == 1  # one cut was before it
        assert gate.in_flight == 1

    virtual(main)


def test_workers_wait_as_told_in_the_order_they_came(virtual: Callable[..., Any]) -> None:
    """One at a time while one may be in flight; who leaves wakes the next."""

    async def main() -> list[tuple[int, float]]:
        gate = RateLimiter(concurrency=1, random=Longest(), rate=Rate(count=60, seconds=60.0))
        shutdown, left = Shutdown(), []
        began = anyio.current_time()
        gate.release(gate.enter(began), "limited", 10.0)

        async def work(number: int) -> None:
            ticket = await gate.acquire(shutdown)
            assert ticket == 1
            left.append((number, anyio.current_time() - began))
            await anyio.sleep(2.0)
            gate.release(ticket, "accepted")

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(work, number)
                await anyio.wait_all_tasks_blocked()
        assert gate.in_flight == 0
        return left

    assert virtual(main) == [(0, 11.0), (1, 13.0), (2, 15.0)]


def test_a_worker_is_not_admitted_once_submitting_stops(virtual: Callable[..., Any]) -> None:
    """Neither one that waits nor one that comes later."""

    async def main() -> None:
        gate, shutdown, tickets = RateLimiter(concurrency=1, random=Longest()), Shutdown(), []
        gate.enter(0.0)

        async def work() -> None:
            tickets.append(await gate.acquire(shutdown))

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await anyio.wait_all_tasks_blocked()
            shutdown.stop(Halt(stop=ExitCode.MONEY, reason="x", hint="y"))
        assert tickets == [None]
        gate.leave(0, 0.0, "other")
        assert await gate.acquire(shutdown) is None
        assert gate.in_flight == 0

    virtual(main)


def test_an_admitted_post_looks_once_more_before_it_leaves(virtual: Callable[..., Any]) -> None:
    """Another worker may have been told to wait; at the moment that the pause ends it may leave."""

    async def main() -> None:
        gate = RateLimiter(concurrency=2, random=Longest())
        assert gate.still_open()
        tickets = [gate.enter(0.0), gate.enter(0.0)]
        gate.release(tickets[0], "limited", 10.0)
        assert not gate.still_open()
        await anyio.sleep(11.0)
        assert gate.still_open()
        await anyio.sleep(5.0)
        assert gate.still_open()

    virtual(main)


def test_a_pause_is_told_to_whoever_listens(virtual: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """How long, and how many go on afterwards; no word where there is none."""

    async def main() -> None:
        gate = RateLimiter(concurrency=8, random=Longest())
        await anyio.sleep(3.0)
        gate.release(gate.enter(0.0), "accepted")
        gate.release(gate.enter(0.0), "other", 0.0)
        gate.release(gate.enter(0.0), "limited", 20.0)

    with caplog.at_level(logging.INFO):
        virtual(main)
    assert caplog.record_tuples == [
        ("seedream_jobs.run.rate_limiter", logging.INFO, "no POST for 21.0 s, then 4 at a time")
    ]
