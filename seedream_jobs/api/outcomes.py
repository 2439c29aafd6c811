"""What one submit attempt means: table 1 as data, and the pure function that reads it.

``judge(Observation) -> Outcome``: exception classes never classify by themselves; only the transport's own trace
("were the POST's headers started?") can show that nothing was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from seedream_jobs.errors import ExitCode
from seedream_jobs.ledger.state import Doubt, Problem


class Sent(StrEnum):
    """What the transport's trace says about the POST: were its headers started?"""

    NO = "no"  # the hook was present and did not fire: not a byte left
    STARTED = "started"
    UNKNOWN = "unknown"  # no hook on this transport: counts as started


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen of one POST: either a response (``status``, ``headers``, ``body``) or a failure (``failure``).

    :param headers: lower-case names
    :param failure: kind of the exception, as the client named it: ``pool``, ``dns``, ``connect``, ``tls``,
        ``certificate``, ``proxy``, ``refused-before-sending``, ``read``, ``write``, ``protocol``, ``cancelled``,
        ``other``
    :param detail: the exception's own words, for people
    """

    sent: Sent
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: str | None = None
    detail: str = ""


Verdict = Literal["accepted", "rejected", "not_sent", "in_doubt", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The meaning of one attempt.

    :param row: the row of table 1 it comes from
    :param verdict: ``accepted`` (``task_id`` known); ``rejected`` (this request, not charged); ``not_sent`` (provably
        not charged, may be retried within the budget); ``in_doubt``; ``refused`` (the run, not the request: it is
        ``new`` again and the run stops with ``stop``)
    :param retry_after: seconds to wait as told by the service, None where it did not say
    :param stop: the exit code with which submitting stops, None where it goes on
    :param counts_against: which breaker it feeds
    """

    row: int
    verdict: Verdict
    task_id: str | None = None
    request_id: str | None = None
    problem: Problem | None = None
    doubt: Doubt | None = None
    detail: str = ""
    retry_after: float | None = None
    stop: ExitCode | None = None
    counts_against: Literal["server", "refusal"] | None = None
    replayed: bool = False
