"""What one submit attempt means: table 1 read by one pure function.

``judge(Observation) -> Outcome``: exception classes never classify by themselves; only the transport's own trace
("were the POST's headers started?") can show that nothing was sent. The table itself is data, in ``outcome_table``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Literal

from seedream_jobs.api.replies import Reply, one_line, read_reply, request_id, salvage, task_ids
from seedream_jobs.api.retry_after import LONGEST, retry_after
from seedream_jobs.errors import ExitCode
from seedream_jobs.frozen import frozen
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


@frozen
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


@frozen
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


NOT_SENT_KINDS = frozenset({"pool", "dns", "connect", "tls", "proxy"})
"""Failures of row 3: they name why no connection came about. Without the trace's evidence they mean nothing."""

NO_CONNECTION = 3
"""The row of table 1 that says: no connection came about."""

REFUSALS = frozenset({400, 404, 405, 413, 415, 422})


def judge(observation: Observation) -> Outcome:
    """What an attempt means, by table 1 (docs/outcomes.md). Total: every observation has an outcome.

    Whatever is not recognised is in doubt, and in doubt is never sent again.
    """
    if observation.failure is not None:
        return _judge_failure(observation, observation.failure)
    if observation.status is None:
        return Outcome(row=6, verdict="in_doubt", doubt="no response", detail=observation.detail)
    reply = read_reply(observation.body)
    if 200 <= observation.status < 300:
        return _judge_success(observation, reply)
    return _judge_status(observation.status, observation, reply)


def _judge_failure(seen: Observation, kind: str) -> Outcome:
    detail = one_line(f"{kind}: {seen.detail}" if seen.detail else kind)
    if seen.sent is not Sent.NO:
        doubt: Doubt = "interrupted" if kind == "cancelled" else "no response"
        token = salvage(seen.body) if seen.status is not None and 200 <= seen.status < 300 else None
        return Outcome(
            row=7 if kind == "cancelled" else 6,
            verdict="in_doubt",
            doubt=doubt,
            detail=detail,
            task_id=token,
            request_id=request_id(seen.headers),
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
        others = f"further task ids in the reply: {', '.join(ids[1:])}" if ids[1:] else ""
        replayed = seen.headers.get("idempotency-replayed", "").strip().lower() == "true"
        return Outcome(row=8, verdict="accepted", task_id=ids[0], request_id=handle, detail=others, replayed=replayed)
    token = salvage(seen.body)
    if reply.failed and token is None:
        if reply.number is not None:
            return _judge_status(reply.number, seen, reply, row=10)
        problem = reply.problem(seen.status)
        return Outcome(row=10, verdict="in_doubt", doubt="unreadable", problem=problem, request_id=handle)
    return Outcome(
        row=9,
        verdict="in_doubt",
        doubt="unreadable",
        task_id=token,
        request_id=handle,
        detail=one_line(f"HTTP {seen.status} without a readable task id. {seen.detail} {reply.message}"),
    )


def _judge_status(status: int, seen: Observation, reply: Reply, *, row: int | None = None) -> Outcome:
    """Rows 11–20, by the HTTP status or, with ``row`` 10, by the code inside an HTTP 200."""
    wait = retry_after(seen.headers)
    too_long = ExitCode.UNFINISHED if wait is not None and wait > LONGEST else None
    said = partial(Outcome, problem=reply.problem(status), request_id=request_id(seen.headers), retry_after=wait)
    if 300 <= status < 400 and row is None:
        where = one_line(f"HTTP {status} to {seen.headers.get('location', 'nowhere')}")
        return said(row=11, verdict="refused", detail=where, stop=ExitCode.USAGE)
    if status == 400 and "get_channel_failed" in reply.codes:
        return said(row=row or 13, verdict="not_sent", stop=too_long)
    if status in REFUSALS:
        return said(row=row or 12, verdict="rejected", counts_against="refusal")
    if status in (401, 403):
        return said(row=row or 14, verdict="refused", stop=ExitCode.CREDENTIALS)
    if status == 402:
        return said(row=row or 15, verdict="refused", stop=ExitCode.MONEY)
    if status == 500 and reply.message.startswith(("build_request_failed", "invalid")):
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
