"""Retry-After: two forms count, everything else is ignored, and no clock of ours is asked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.api.replies import retry_after

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("told", "date", "seconds"),
    [
        ("5", None, 5.0),
        (" 5\t", None, 5.0),
        ("0", None, 1.0),
        ("000", None, 1.0),
        ("901", None, 901.0),
        ("9" * 5000, None, 1e12),
        ("Sun, 06 Nov 1994 08:49:47 GMT", DATE, 10.0),
        ("Sun, 06 Nov 1994 08:49:07 GMT", DATE, 1.0),
        ("Sun, 06 Nov 1994 08:49:47 GMT", None, None),
        ("Sun, 06 Nov 1994 08:49:47 GMT", "yesterday", None),
        ("Sunday, 06-Nov-94 08:49:47 GMT", DATE, None),
        ("Sun Nov  6 08:49:47 1994", DATE, None),
        ("Sun, 31 Feb 1994 08:49:47 GMT", DATE, None),
        ("Sun, 06 Nov 1994 08:49:47 CET", DATE, None),
        ("5.5", None, None),
        ("-5", None, None),
        ("+5", None, None),
        ("٥", None, None),
        ("５", None, None),
        ("5, 7", None, None),
        ("soon", None, None),
        ("", None, None),
    ],
)
def test_retry_after(told: str, date: str | None, seconds: float | None) -> None:
    """ASCII digits or an IMF-fixdate against the reply's own Date; raised to one second; never capped."""
    headers = {"retry-after": told} | ({"date": date} if date else {})
    assert retry_after(headers) == seconds


def test_no_header_no_wait() -> None:
    """Silence is not zero."""
    assert retry_after({"date": DATE}) is None


@settings(deadline=None)
@given(st.text(), st.text())
def test_it_is_total_and_at_least_one_second(told: str, date: str) -> None:
    """Law: whatever stands there, the answer is None or at least 1."""
    seconds = retry_after({"retry-after": told, "date": date})
    assert seconds is None or seconds >= 1
