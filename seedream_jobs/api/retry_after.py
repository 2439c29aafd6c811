"""``Retry-After`` as the service meant it, or not at all (RFC 9110 §10.2.3, narrowed). Pure: no clock of ours.

Two forms count: ASCII digits, and an IMF-fixdate measured against the reply's own ``Date``, since two clocks that
disagree must not shorten a wait. Anything else is ignored, and the caller's own backoff applies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

SHORTEST = 1.0  # seconds; "0" and dates in the past are raised to it
LONGEST = 900.0  # seconds; told to wait longer, a run stops and can be resumed (exit 8)
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_IMF_FIXDATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) (" + "|".join(_MONTHS) + r") (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII
)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as told by a reply with these headers (lower-case names); None where it did not say.

    At least ``SHORTEST``; not capped: the caller compares with ``LONGEST``.
    """
    told = headers.get("retry-after", "").strip(" \t")
    if _DIGITS.fullmatch(told):
        digits = told.lstrip("0") or "0"
        return max(SHORTEST, float(digits[:12]) if len(digits) <= 12 else 1e12)
    until, now = _fixdate(told), _fixdate(headers.get("date", "").strip(" \t"))
    if until is None or now is None:
        return None
    return max(SHORTEST, (until - now).total_seconds())


def _fixdate(text: str) -> datetime | None:
    match = _IMF_FIXDATE.fullmatch(text)
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    try:
        return datetime(
            int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC
        )
    except ValueError:
        return None
