"""Table 1 as data: what can become of one submission, the state it leads to, and what happens by itself.

``judge`` implements the rows that a reply or a failure can show; rows 1, 7 and 21 belong to the ledger and the process.
The tests run through these rows, and docs/outcomes.md is drawn from them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of table 1.

    :param verdicts: what ``judge`` may say for it; empty where no observation leads here
    """

    number: int | str
    when: str
    state: str
    by_itself: str
    verdicts: frozenset[str]


def _row(number: int | str, when: str, state: str, by_itself: str, *verdicts: str) -> Row:
    return Row(number=number, when=when, state=state, by_itself=by_itself, verdicts=frozenset(verdicts))


TABLE: tuple[Row, ...] = (
    _row(
        1,
        "the intent can't be made durable (disk full, I/O error, fsync error)",
        "–",
        "**do not send**; stop the run, exit 74",
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
        "8a",
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


def as_markdown(rows: Iterable[Row] = TABLE) -> str:
    """The table as it stands in docs/outcomes.md."""
    lines = ["| # | outcome of one submission | state | by itself |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.number} | {row.when} | {row.state} | {row.by_itself} |" for row in rows]
    return "\n".join(lines) + "\n"
