"""What stops a run, and how often and when a POST is sent again: laws, over any sequence of replies."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_jobs.api.outcomes import Observation, Outcome, Sent, judge
from seedream_jobs.errors import ExitCode
from seedream_jobs.run.retry import Breakers, RetryBudget, full_jitter, no_earlier, said

OK = Outcome(row=8, verdict="accepted", task_id="task_1")


def reply(status: int, message: str = "不行") -> Outcome:
    body = f'{{"error":{{"code":{status},"message":"{message}","type":"some_error"}}}}'.encode()
    return judge(Observation(sent=Sent.STARTED, status=status, body=body))


@pytest.mark.parametrize(
    ("status", "stop"),
    [(401, ExitCode.CREDENTIALS), (403, ExitCode.CREDENTIALS), (402, ExitCode.MONEY), (307, ExitCode.USAGE)],
)
def test_a_refusal_of_the_run_stops_it_at_once(status: int, stop: ExitCode) -> None:
    """401, 403, 402 and a redirect would be the same for every request."""
    halt = Breakers().note("k", reply(status))
    assert halt is not None
    assert halt.stop is stop
    assert halt.hint


def test_three_server_errors_in_a_row_stop_and_an_answer_between_them_does_not() -> None:
    """Only an answer about a request shows that the service works again; a 429 doesn't."""
    watch = Breakers()
    for outcome in (reply(500), reply(502), OK, reply(500), reply(504), reply(429)):
        assert watch.note("k", outcome) is None
    halt = watch.note("k", reply(500))
    assert halt is not None
    assert "three" in halt.reason or "3 server errors" in halt.reason


def test_three_silences_without_an_acceptance_between_them_stop() -> None:
    """Refusals and server errors between them don't show that the answers to acceptances arrive."""
    silence = judge(Observation(sent=Sent.STARTED, failure="read", detail="reset"))
    watch = Breakers()
    for outcome in (silence, silence, OK, silence, reply(400), silence, reply(500)):
        assert watch.note("k", outcome) is None
    halt = watch.note("k", silence)
    assert halt is not None
    assert halt.stop is ExitCode.UNFINISHED
    assert "3 requests in a row got no answer" in halt.reason


def test_ten_equal_refusals_in_a_row_stop_and_are_named() -> None:
    """Those ten are new again; one more of the kind is too; another refusal isn't."""
    watch = Breakers()
    assert watch.note("first", reply(400, "other")) is None
    for number in range(9):
        assert watch.note(f"k{number}", reply(400)) is None
    assert watch.refused_alike == ()
    halt = watch.note("k9", reply(400))
    assert halt is not None
    assert halt.stop is ExitCode.FINDINGS
    assert watch.refused_alike == tuple(f"k{number}" for number in range(10))
    assert watch.one_more("k10", reply(400))
    assert not watch.one_more("k9", reply(400))
    assert not watch.one_more("k10", reply(400, "other"))


def test_an_acceptance_or_another_refusal_starts_the_count_again() -> None:
    """In a row means in a row."""
    watch = Breakers()
    for number in range(30):
        between = OK if number % 2 else reply(422, "other")
        assert watch.note("k", between if number % 9 == 8 else reply(400)) is None


def test_what_was_said_is_never_empty() -> None:
    """A reason without words is no reason."""
    assert said(reply(400)) == "HTTP 400 some_error 不行"
    assert said(Outcome(row=3, verdict="not_sent", detail="dns: no such host")) == "dns: no such host"
    assert said(Outcome(row=6, verdict="in_doubt")) == "in doubt"


@given(st.integers(0, 1000), st.integers(0, 2**32))
def test_backoff_is_bounded_and_grows(failures: int, seed: int) -> None:
    """Full jitter: from nothing to 1 s, doubling, to 60 s."""
    assert 0.0 <= full_jitter(failures, Random(seed)) <= min(60.0, 2.0 ** min(failures, 10))


@given(st.floats(0.0, 900.0), st.integers(0, 2**32))
def test_jitter_only_adds(told: float, seed: int) -> None:
    """Never earlier than told, and hardly later."""
    assert told <= no_earlier(told, Random(seed)) <= told + 1.0


@given(st.lists(st.one_of(st.none(), st.integers(0, 8)), max_size=200))
def test_retries_stay_within_a_tenth_of_the_accepted_and_ten(steps: list[int | None]) -> None:
    """After any mix of acceptances (None) and wishes to retry: ≤ 0.1 × accepted + 10, ≤ 5 for one request."""
    budget = RetryBudget()
    for earlier in steps:
        if earlier is None:
            budget.accepted += 1
        elif budget.take(earlier) == "taken":
            assert earlier < 5
        assert budget.retries <= 0.1 * budget.accepted + 10
