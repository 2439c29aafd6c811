"""What one submit attempt means: table 1 read by one pure function.

``judge(Observation) -> Outcome``: exception classes never classify by themselves; only the transport's own trace
("were the POST's headers started?") can show that nothing was sent. The table itself is data, in ``outcome_table``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Literal

from seedream_jobs.api.replies import Reply, one_line, read_reply, request_id, salvage, task_ids
from seedream_jobs.api.retry_after import LONGEST, retry_after
from seedream_jobs.errors import ExitCode
from seedream_jobs.ledger.state import Doubt, Problem


class Sent(StrEnum):
    """What the transport's trace says about the POST: were its headers started?"""

    NO = "no"  # the hook was present and did not fire: not a byte left
    STARTED = "started"
    UNKNOWN = "unknown"  # no hook on this transport: counts as started


@dataclass(slots=True, kw_only=True)
class Flight:
    """One POST while it is under way; mutable, so that whoever cancels it can still see whether it had left.

    :param sent: ``NO`` until the transport is entered with a proven hook, then what its trace says
    :param stage: the last event of the trace, such as ``connection.start_tls.started``
    """

    sent: Sent = Sent.NO
    stage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen of one POST: a response (``status``, ``headers``, ``body``) or a failure (``failure``).

    Where the connection broke inside a response's body, both are set: the failure decides, the rest is evidence.

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

    :param row: the row of table 1 it comes from (``Row.number``)
    :param verdict: ``accepted`` (``task_id`` known); ``rejected`` (this request, not charged); ``not_sent`` (provably
        not charged, may be retried within the budget); ``in_doubt``; ``refused`` (the run, not the request: it is
        ``new`` again and the run stops with ``stop``)
    :param more_task_ids: further tasks that the same reply names, in order
    :param retry_after: seconds to wait as told by the service, None where it did not say
    :param stop: the exit code with which submitting stops, None where it goes on
    :param counts_against: which breaker it feeds
    """

    row: int | str
    verdict: Verdict
    task_id: str | None = None
    more_task_ids: tuple[str, ...] = ()
    request_id: str | None = None
    problem: Problem | None = None
    doubt: Doubt | None = None
    detail: str = ""
    retry_after: float | None = None
    stop: ExitCode | None = None
    counts_against: Literal["server", "silence", "refusal"] | None = None
    replayed: bool = False


NOT_SENT_KINDS = frozenset({"pool", "dns", "connect", "tls", "proxy"})
"""Failures of row 3: they name why no connection came about. Without the trace's evidence they mean nothing."""

NO_CONNECTION = 3
"""The row of table 1 that says: no connection came about."""

REFUSALS = frozenset({400, 404, 405, 413, 415, 422})

_PATH = "/images/generations"
_BAD_PARAMETER = re.compile(
    r"build_request_failed|invalid[ _](?:request|parameters?|params?|model|prompt|size|resolution|n|image_urls|"
    r"output_format|watermark|sequential_image_generation\w*|max_images)(?![A-Za-z0-9])"
)
"""How the message of a refused parameter begins; other words after "invalid" are about what came back."""

_ANSWER_UNREAD = re.compile(r"\binvalid character\b|\bunexpected end of JSON\b|\bunexpected EOF\b", re.IGNORECASE)
_UNREAD_CODES = frozenset(
    {"do_request_failed", "read_response_body_failed", "bad_response_body", "bad_response", "empty_response"}
)
"""Codes of the gateway (new-api's) for a request that went on and whose answer did not come or could not be read."""


def judge(observation: Observation) -> Outcome:
    """What an attempt means, by table 1 (docs/outcomes.md). Total: every observation has an outcome.

    Whatever is not recognised is in doubt, and in doubt is never sent again.
    """
    if observation.failure is not None:
        return _judge_failure(observation, observation.failure)
    if observation.status is None:
        detail = observation.detail
        return Outcome(row=6, verdict="in_doubt", doubt="no response", detail=detail, counts_against="silence")
    reply = read_reply(observation.body)
    if 200 <= observation.status < 300:
        return _judge_success(observation, reply)
    outcome = _judge_status(observation.status, observation, reply)
    named = salvage(observation.body, reply.data, observation.headers.get("location", ""))
    return _with_named_id(outcome, named) if named else outcome


def _judge_failure(seen: Observation, kind: str) -> Outcome:
    detail = one_line(f"{kind}: {seen.detail}" if seen.detail else kind)
    if seen.sent is not Sent.NO:
        doubt: Doubt = "interrupted" if kind == "cancelled" else "no response"
        named = salvage(seen.body, None, seen.headers.get("location", ""))
        return Outcome(
            row=7 if kind == "cancelled" else 6,
            verdict="in_doubt",
            doubt=doubt,
            detail=detail,
            task_id=next(iter(named), None),
            more_task_ids=named[1:],
            request_id=request_id(seen.headers),
            counts_against=None if kind == "cancelled" else "silence",
        )
    if kind == "refused-before-sending":
        return Outcome(row=2, verdict="refused", detail=detail, stop=ExitCode.USAGE)
    if kind == "certificate":
        return Outcome(row=4, verdict="refused", detail=detail, stop=ExitCode.USAGE)
    return Outcome(row=NO_CONNECTION if kind in NOT_SENT_KINDS else 5, verdict="not_sent", detail=detail)


def _judge_success(seen: Observation, reply: Reply) -> Outcome:
    ids = task_ids(reply.data)
    handle = request_id(seen.headers)
    if ids and (not reply.failed or ids[0].startswith("task_")):  # a task id that was given out is never let go
        replayed = seen.headers.get("idempotency-replayed", "").strip().lower() == "true"
        return Outcome(
            row=8, verdict="accepted", task_id=ids[0], more_task_ids=ids[1:], request_id=handle, replayed=replayed
        )
    named = salvage(seen.body, reply.data, seen.headers.get("location", ""))
    if reply.failed and not named:
        if reply.number is not None:
            return _judge_status(reply.number, seen, reply, row=10)
        problem = reply.problem(seen.status)
        return Outcome(row=10, verdict="in_doubt", doubt="unreadable", problem=problem, request_id=handle)
    return Outcome(
        row=9,
        verdict="in_doubt",
        doubt="unreadable",
        task_id=next(iter(named), None),
        more_task_ids=named[1:],
        request_id=handle,
        detail=one_line(f"HTTP {seen.status} without a readable task id. {seen.detail} {reply.message}"),
    )


def _judge_status(status: int, seen: Observation, reply: Reply, *, row: int | None = None) -> Outcome:
    """Rows 11–20, by the HTTP status or, with ``row`` 10, by the code inside an HTTP 200."""
    wait = retry_after(seen.headers)
    too_long = ExitCode.UNFINISHED if wait is not None and wait > LONGEST else None
    said = partial(Outcome, problem=reply.problem(status), request_id=request_id(seen.headers), retry_after=wait)
    if 300 <= status < 400 and row is None:
        location = seen.headers.get("location", "")
        refused = partial(
            said, row=11, detail=one_line(f"HTTP {status} to {location or 'nowhere'}"), stop=ExitCode.USAGE
        )
        if status in (307, 308) or (status in (301, 302) and location.split("?")[0].endswith(_PATH)):
            return refused(verdict="refused")
        return refused(verdict="in_doubt", doubt="unreadable")  # "look there for the result": it may have been made
    if status >= 400 and (_UNREAD_CODES.intersection(reply.codes) or _ANSWER_UNREAD.search(reply.message)):
        return said(row=row or 16, verdict="in_doubt", doubt="server error", counts_against="server")
    if status == 400 and "get_channel_failed" in reply.codes:
        return said(row=row or 13, verdict="not_sent", stop=too_long)
    if status in REFUSALS:
        return said(row=row or 12, verdict="rejected", counts_against="refusal")
    if status in (401, 403):
        return said(row=row or 14, verdict="refused", stop=ExitCode.CREDENTIALS)
    if status == 402:
        return said(row=row or 15, verdict="refused", stop=ExitCode.MONEY)
    if status == 500 and _BAD_PARAMETER.match(reply.message):
        return said(row=row or 17, verdict="rejected")
    if status == 429 or (status == 503 and "idempotency_unavailable" in reply.codes):
        return said(row=row or 18, verdict="not_sent", stop=too_long)
    if status == 409 and row is None:
        if "idempotency_in_progress" in reply.codes:
            return said(row=19, verdict="in_doubt", doubt="pending")
        if "idempotency_key_reused" in reply.codes:  # two bodies under one key: our bug, and it would go on
            return said(row=20, verdict="rejected", stop=ExitCode.BUG)
        if "idempotency_result_indeterminate" in reply.codes:
            return said(row=20, verdict="in_doubt", doubt="indeterminate")
    return said(row=row or 16, verdict="in_doubt", doubt="server error", counts_against="server")


def _with_named_id(outcome: Outcome, named: tuple[str, ...]) -> Outcome:
    """Row 8a: whatever the status says, an id that was given out may be a task that was charged.

    What the status means for the run (stop, wait, count a server error) holds all the same.
    """
    return replace(
        outcome,
        row="8a",
        verdict="in_doubt",
        doubt="unreadable",
        task_id=named[0],
        more_task_ids=named[1:],
        counts_against="server" if outcome.counts_against == "server" else None,
    )
