"""This module reads what the service says: JSON in any wrapping, an error inside, task ids, ``Retry-After``.

Called by ``outcomes``, ``tasks`` and ``account``. Invariant: pure, and never raises, whatever the bytes are.

The gateway has been seen to serve JSON as ``text/event-stream``, HTML, nothing at all, and HTTP 200 with an error
inside; ``error.code`` may be a number, a string or empty (docs/outcomes.md). A reader that insists on one shape loses
paid task ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from seedream_jobs.ledger.state import ServiceError

MESSAGE_LIMIT = 1000  # characters kept of a message; the rest is somebody's stack trace
_TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_TOKEN = re.compile(rb"(?<![A-Za-z0-9_-])(task_[A-Za-z0-9]{20,40})(?=[^A-Za-z0-9_-])")  # they have 26; whole only
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=lambda _: None)
_LARGEST = Decimal(10**15)
SHORTEST_RETRY_AFTER = 1.0  # seconds; "0" and dates in the past are raised to it
LONGEST_RETRY_AFTER = 900.0  # seconds; told to wait longer, a run stops and can be resumed (exit 8)
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyBody:
    """A body as far as it could be read.

    :param data: the JSON value; None where there is none
    :param failed: an error is inside, whatever the HTTP status says
    :param number: the numeric error code inside, None where there is none
    :param codes: every textual error code and type inside
    :param message: the service's own words, one line, at most ``MESSAGE_LIMIT`` characters
    """

    data: Any = None
    failed: bool = False
    number: int | None = None
    codes: tuple[str, ...] = ()
    message: str = ""

    def problem(self, status: int | None) -> ServiceError:
        """What was said, as the ledger records it; ``status`` is the HTTP status it came with."""
        number = "" if self.number is None else str(self.number)
        return ServiceError(status=status, code=self.codes[0] if self.codes else number, message=self.message)


def read_reply(body: bytes) -> ReplyBody:
    """Read a body of any kind; for text that is no JSON only ``message`` is set."""
    data = load_json(body)
    if not isinstance(data, dict):
        return ReplyBody(data=data, message=one_line(_as_text(body)) if data is None else "")
    error = data.get("error")
    inner = error if isinstance(error, dict) else {}
    spoken = [inner.get("code"), inner.get("type"), data.get("code"), data.get("type") if error else None]
    numbers = [number for number in map(as_number, spoken) if number is not None]
    failures = [number for number in numbers if not 200 <= number < 300]
    codes = tuple(dict.fromkeys(one_line(c) for c in spoken if isinstance(c, str) and c and as_number(c) is None))
    outer = as_number(data.get("code"))
    # A code of 0, or of 2xx, stands in replies without an error.
    failed = bool(error) or data.get("success") is False or (outer is not None and outer in failures and outer != 0)
    failed = failed or (outer is None and "data" not in data and isinstance(data.get("code"), str) and bool(codes))
    words = inner.get("message") or (error if isinstance(error, str) else None)
    words = words or data.get("message") or data.get("msg") or data.get("detail")
    return ReplyBody(
        data=data,
        failed=failed,
        number=next((number for number in failures if number != 0), None),
        codes=codes,
        message=one_line(words if isinstance(words, str) else ""),
    )


def load_json(body: bytes) -> Any:
    """The JSON value in a body, also from inside an event stream; fractions become ``Decimal``. None if unreadable."""
    value = _loads(body)
    if value is not None or b"data:" not in body:
        return value
    found = None
    # The event that names a task wins; else the last one, which may hold the error.
    for line in body.splitlines():
        if line.startswith(b"data:"):
            event = _loads(line[5:])
            if isinstance(event, dict):
                found = event
                if task_ids(event):
                    break
    return found


def task_ids(data: Any) -> tuple[str, ...]:
    """The readable task ids of a submit reply, in either documented shape, each once and in order.

    ``{"data":[{"task_id":…}]}`` or ``{"data":{"id":…}}``; an id is 1–128 of ``A-Za-z0-9_-``: it becomes a path.
    """
    if not isinstance(data, dict):
        return ()
    inner = data.get("data")
    items = inner if isinstance(inner, list) else [inner]
    found = [candidate for item in items if isinstance(item, dict) for candidate in (_id_of(item),) if candidate]
    found += [item for item in items if isinstance(item, str) and item.startswith("task_") and is_task_id(item)]
    if not found and is_task_id(data.get("task_id")):
        found = [data["task_id"]]
    if not found and is_task_id(data.get("id")) and data["id"].startswith("task_"):
        found = [data["id"]]
    return tuple(dict.fromkeys(found))


def is_task_id(value: object) -> bool:
    """Whether a value may be used as a task id, that is, as one segment of a path."""
    return isinstance(value, str) and _TASK_ID.fullmatch(value) is not None


def salvage(body: bytes, data: Any = None, location: str = "") -> tuple[str, ...]:
    """Every task id that a reply names outside its place, each once and in order; a GET has to confirm them.

    Named under ``task_id`` or ``task_ids`` anywhere in its JSON, or as a complete ``task_…`` token in its text or in
    the place it redirects to. A token that the body's end cuts off is none.
    """
    found: list[str] = []
    rest = [data]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            for name in ("task_id", "task_ids"):
                named = value.get(name)
                found += [str(one) for one in (named if isinstance(named, list) else [named]) if is_task_id(one)]
            rest += reversed(value.values())
        elif isinstance(value, list):
            rest += reversed(value)
    tokens = _TOKEN.findall(body) + _TOKEN.findall(location.encode("utf-8", "replace") + b" ")
    return tuple(dict.fromkeys([*found, *(token.decode("ascii") for token in tokens)]))


def request_id(headers: Mapping[str, str]) -> str | None:
    """``X-Oneapi-Request-Id``, the only handle for a support ticket; None where absent or not plain ASCII."""
    value = headers.get("x-oneapi-request-id", "").strip()
    return value if _REQUEST_ID.fullmatch(value) else None


def as_number(value: object) -> int | None:
    """An error code that is a number, given as JSON number or as digits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 10**9 else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return None


def as_decimal(value: object) -> Decimal | None:
    """An amount, given as a number or in digits; None for anything else, and beyond what decimals can add exactly."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and abs(amount) < _LARGEST and len(amount.as_tuple().digits) <= 30 else None


def one_line(text: str) -> str:
    """Foreign text made fit for a terminal and a ledger line: no control characters, one line, bounded."""
    # Blanks are joined, so more is read than is kept.
    clean = " ".join(_CONTROL.sub(" ", text[: 4 * MESSAGE_LIMIT]).split())
    clean = clean.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be written to a file
    return clean if len(clean) <= MESSAGE_LIMIT else clean[: MESSAGE_LIMIT - 1] + "…"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as told by a reply with these headers (lower-case names); None where it did not say.

    Two forms count (RFC 9110 §10.2.3, narrowed): ASCII digits, and an IMF-fixdate measured against the reply's own
    ``Date``, since two clocks that disagree must not shorten a wait. At least ``SHORTEST_RETRY_AFTER``; not capped: the
    caller compares with ``LONGEST_RETRY_AFTER``.
    """
    told = headers.get("retry-after", "").strip(" \t")
    if _DIGITS.fullmatch(told):
        digits = told.lstrip("0") or "0"
        return max(SHORTEST_RETRY_AFTER, float(digits[:12]) if len(digits) <= 12 else 1e12)
    until, now = _fixdate(told), _fixdate(headers.get("date", "").strip(" \t"))
    if until is None or now is None:
        return None
    return max(SHORTEST_RETRY_AFTER, (until - now).total_seconds())


def _id_of(item: Mapping[str, Any]) -> str | None:
    for name in ("task_id", "id"):
        if is_task_id(item.get(name)):
            return str(item[name])
    return None


def _loads(text: bytes) -> Any:
    try:
        return _decoder.decode(text.strip().decode("utf-8-sig"))
    except (ValueError, RecursionError, ArithmeticError):
        return None


def _as_text(body: bytes) -> str:
    """What a person should see of a body that is no JSON: the words of an HTML page, or the text itself."""
    text = body[: 4 * MESSAGE_LIMIT].decode("utf-8", "replace")
    if "<" in text:
        text = re.sub(r"(?is)<(script|style)\b.*?(</\1\s*>|\Z)|<[^>]*>", " ", text)
    return text[:MESSAGE_LIMIT]


def _fixdate(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None
