"""This module says what one submit attempt means: ``judge(Observation) -> Outcome`` implements ``OUTCOME_TABLE``.

Called by ``client.py`` for every POST; its types are what ``run`` decides by. Invariants: pure and total; what is not
recognised is in doubt; an exception's class never shows that nothing was sent, only the transport's own trace does.

The table is data: the tests run through its rows, and docs/outcomes.md is drawn from them. Rows 1, 1a, 7 and 21 are
of the ledger, the claims and the process, the others of ``judge``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Literal

from seedream_jobs.api.replies import (
    LONGEST_RETRY_AFTER,
    ReplyBody,
    one_line,
    read_reply,
    request_id,
    retry_after,
    salvage,
    task_ids,
)
from seedream_jobs.errors import ExitCode
from seedream_jobs.ledger.state import Doubt, ServiceError


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
    problem: ServiceError | None = None
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
NAMED_TASK = "8a"
"""The row that says: an error names a task id, so that it may well have been charged."""
IN_PROGRESS = 19
"""The row that says: the service is still busy with the first POST under this idempotency key."""

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
    """What an attempt means, by table 1 (docs/outcomes.md); total. What is not recognised is in doubt."""
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
    # UNKNOWN counts as sent: what can't be shown to be unsent may have been charged.
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


def _judge_success(seen: Observation, reply: ReplyBody) -> Outcome:
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
            return _judge_status(reply.number, seen, reply, row=10)  # the gateway hides a status in an HTTP 200
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


def _judge_status(status: int, seen: Observation, reply: ReplyBody, *, row: int | None = None) -> Outcome:
    """Judge by rows 11–20: by the HTTP status or, with ``row`` 10, by the code inside an HTTP 200."""
    wait = retry_after(seen.headers)
    too_long = ExitCode.UNFINISHED if wait is not None and wait > LONGEST_RETRY_AFTER else None
    said = partial(Outcome, problem=reply.problem(status), request_id=request_id(seen.headers), retry_after=wait)
    if 300 <= status < 400 and row is None:
        location = seen.headers.get("location", "")
        refused = partial(
            said, row=11, detail=one_line(f"HTTP {status} to {location or 'nowhere'}"), stop=ExitCode.USAGE
        )
        # These ask for the same POST elsewhere, so it was not carried out here.
        if status in (307, 308) or (status in (301, 302) and location.split("?")[0].endswith(_PATH)):
            return refused(verdict="refused")
        return refused(verdict="in_doubt", doubt="unreadable")  # "look there for the result": it may have been made
    # Before the rows by status: such a request went on to the model, so that even a 400 may have been charged.
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
            return said(row=IN_PROGRESS, verdict="in_doubt", doubt="pending")
        if "idempotency_key_reused" in reply.codes:  # two bodies under one key: our bug, and it would go on
            return said(row=20, verdict="rejected", stop=ExitCode.BUG)
        if "idempotency_result_indeterminate" in reply.codes:
            return said(row=20, verdict="in_doubt", doubt="indeterminate")
    return said(row=row or 16, verdict="in_doubt", doubt="server error", counts_against="server")


def _with_named_id(outcome: Outcome, named: tuple[str, ...]) -> Outcome:
    # Row 8a: whatever the status says, an id that was given out may be a task that was charged. What the status means
    # for the run (stop, wait, count a server error) holds all the same.
    return replace(
        outcome,
        row=NAMED_TASK,
        verdict="in_doubt",
        doubt="unreadable",
        task_id=named[0],
        more_task_ids=named[1:],
        counts_against="server" if outcome.counts_against == "server" else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """One row of table 1.

    :param verdicts: what ``judge`` may say for it; empty where no observation leads here
    """

    number: int | str
    when: str
    state: str
    by_itself: str
    verdicts: frozenset[str]


def _row(number: int | str, when: str, state: str, by_itself: str, *verdicts: str) -> OutcomeRow:
    return OutcomeRow(number=number, when=when, state=state, by_itself=by_itself, verdicts=frozenset(verdicts))


OUTCOME_TABLE: tuple[OutcomeRow, ...] = (
    _row(
        1,
        "the intent can't be made durable (disk full, I/O error, fsync error)",
        "–",
        "**do not send**; stop the run, exit 74",
    ),
    _row(
        "1a",
        "another runner has claimed the request; or no claim can be made in the store that runners share",
        "new: paid elsewhere, or in doubt elsewhere; new",
        "**do not send**; go on with the others; or stop the run, exit 8",
    ),
    _row(2, "URL, header or body refused before sending", "new", "stop: it would fail for all; exit 2", "refused"),
    _row(
        3,
        "DNS, refused, connect or TLS stall, pool timeout, proxy refused CONNECT",
        "not sent",
        "retry within the budget; three before the first connection of a run stop it, exit 8",
        "not_sent",
    ),
    _row(4, "certificate verification failed", "new", "stop the run, exit 2", "refused"),
    _row(5, "any failure before the POST's headers were started", "not sent", "retry within the budget", "not_sent"),
    _row(
        6,
        "any failure after they were started (read or write timeout, reset, protocol error, unknown)",
        "in doubt (no response)",
        "never sent again; three without an acceptance between them stop the run",
        "in_doubt",
    ),
    _row(
        7,
        "cancelled after they were started, or the process died: an intent without an outcome",
        "in doubt (interrupted, crash)",
        "never sent again",
        "in_doubt",
    ),
    _row(
        8,
        "2xx with readable ids, either shape; a group may have a task for each image",
        "accepted",
        "record all, then poll all",
        "accepted",
    ),
    _row(
        NAMED_TASK,
        "any other status whose body, or `Location`, names a task id",
        "confirmed by a GET: accepted; else in doubt (unreadable)",
        "never sent again; whether the run stops or waits is as for the status alone",
        "in_doubt",
    ),
    _row(
        9,
        "2xx without a readable id",
        "in doubt (unreadable)",
        "never sent again; a task id that stands elsewhere in the body may be confirmed by a GET",
        "in_doubt",
    ),
    _row(
        10,
        "2xx whose body holds an error",
        "with a numeric code: as that HTTP status (rows 12–18); without: in doubt (unreadable)",
        "as there",
        "in_doubt",
        "rejected",
        "not_sent",
        "refused",
    ),
    _row(
        11,
        "3xx",
        "307, 308, and 301 or 302 to the same endpoint elsewhere: new; any other (303: see the result there): "
        "in doubt (unreadable)",
        "stop the run, exit 2: the endpoint is not what we think; never followed",
        "refused",
        "in_doubt",
    ),
    _row(
        12,
        "400, 404, 405, 413, 415, 422",
        "rejected",
        "go on with the others; ten alike in a row stop the run, and those ten go back to new",
        "rejected",
    ),
    _row(13, "400 with code `get_channel_failed`", "not sent", "retry within the budget", "not_sent"),
    _row(
        14,
        "401, 403",
        "new",
        "a refusal of the run, not of the request: stop submitting, exit 4",
        "refused",
    ),
    _row(15, "402", "new", "likewise, exit 5; polling and fetching go on", "refused"),
    _row(
        16,
        "408, 409 of no known code, 500, 502, 503, 504, 52x, any unlisted status; any error that says that the answer "
        "to the request could not be read (`invalid character '<'`, `bad_response_body`)",
        "in doubt (server error)",
        "never sent again, unless `--retry-server-errors` takes that risk; three in a row stop the run",
        "in_doubt",
    ),
    _row(
        17,
        "500 whose message begins `build_request_failed`, or `invalid` and a part of the request (`invalid size`)",
        "rejected",
        "–",
        "rejected",
    ),
    _row(
        18,
        "429; 503 with code `idempotency_unavailable`",
        "not sent",
        "wait as told, all workers together, within the budget",
        "not_sent",
    ),
    _row(
        19,
        "409 with code `idempotency_in_progress`",
        "in doubt (pending)",
        "wait `Retry-After`, same key and body, at most 10 minutes",
        "in_doubt",
    ),
    _row(
        20,
        "409 with code `idempotency_key_reused` or `idempotency_result_indeterminate`",
        "rejected (a bug of ours), or in doubt (indeterminate)",
        "stop the run, exit 70; or leave this request alone",
        "rejected",
        "in_doubt",
    ),
    _row(
        21,
        "accepted, but the record can't be made durable",
        "accepted",
        "print the id on stderr, stop, exit 74",
    ),
)
"""Its rows, in order; ``Outcome.row`` is a ``number``."""


def table_as_markdown() -> str:
    """The table as it stands in docs/outcomes.md."""
    lines = ["| # | outcome of one submission | state | by itself |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.number} | {row.when} | {row.state} | {row.by_itself} |" for row in OUTCOME_TABLE]
    return "\n".join(lines) + "\n"
