"""Table 1: every row that an observation can show, and the laws that hold for all observations."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.api.outcomes import OUTCOME_TABLE, Flight, Observation, Outcome, Sent, judge, table_as_markdown
from seedream_jobs.errors import ExitCode
from seedream_jobs.ledger.service_errors import meanings_as_markdown

DOCS = Path(__file__).parents[2] / "docs" / "outcomes.md"
ID = "task_01K8ABCDEFGHJKMNPQRSTVWXYZ"
ACCEPTED = {"code": 200, "data": [{"status": "submitted", "task_id": ID}]}


def reply(status: int, body: object = b"", **headers: str) -> Observation:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Observation(sent=Sent.STARTED, status=status, headers=named, body=raw)


def failure(kind: str, sent: Sent, **more: object) -> Observation:
    return Observation(sent=sent, failure=kind, detail="words", **more)  # type: ignore[arg-type]


def error(code: object, message: str = "消息", kind: str = "x_error") -> dict[str, object]:
    return {"error": {"code": code, "message": message, "type": kind}}


def says(outcome: Outcome) -> tuple[str, str | None, int | None]:
    return outcome.verdict, outcome.doubt, None if outcome.stop is None else int(outcome.stop)


CASES: dict[int | str, list[tuple[str, Observation, tuple[str, str | None, int | None]]]] = {
    2: [("bad header", failure("refused-before-sending", Sent.NO), ("refused", None, 2))],
    3: [(kind, failure(kind, Sent.NO), ("not_sent", None, None))
        for kind in ("pool", "dns", "connect", "tls", "proxy")],
    4: [("certificate", failure("certificate", Sent.NO), ("refused", None, 2))],
    5: [
        (kind, failure(kind, Sent.NO), ("not_sent", None, None))
        for kind in ("read", "write", "protocol", "other", "cancelled", "never heard of")
    ],
    6: [
        (f"{kind} {sent}", failure(kind, sent), ("in_doubt", "no response", None))
        for sent in (Sent.STARTED, Sent.UNKNOWN)
        for kind in ("pool", "dns", "connect", "tls", "certificate", "proxy", "refused-before-sending", "read", "write",
                     "protocol", "other")
    ]
    + [("neither reply nor failure", Observation(sent=Sent.NO), ("in_doubt", "no response", None))],
    7: [
        (f"cancelled {sent}", failure("cancelled", sent), ("in_doubt", "interrupted", None))
        for sent in (Sent.STARTED, Sent.UNKNOWN)
    ],
    8: [
        ("list", reply(200, ACCEPTED), ("accepted", None, None)),
        ("object", reply(202, {"code": 200, "data": {"id": ID, "status": "submitted"}}), ("accepted", None, None)),
        ("odd id", reply(201, {"data": [{"task_id": "a-B_9"}]}), ("accepted", None, None)),
        ("event stream", reply(200, b"data: " + json.dumps(ACCEPTED).encode() + b"\n\ndata: [DONE]\n\n"),
         ("accepted", None, None)),
        ("byte order mark", reply(200, b"\xef\xbb\xbf" + json.dumps(ACCEPTED).encode()), ("accepted", None, None)),
        ("id beside an error", reply(200, {**ACCEPTED, **error(500)}), ("accepted", None, None)),
    ],
    "8a": [
        *((f"{status} with an id", reply(status, {**ACCEPTED, **error(status)}), ("in_doubt", "unreadable", stop))
          for status, stop in ((400, None), (401, 4), (402, 5), (404, None), (408, None), (429, None), (500, None),
                               (502, None), (503, None), (303, 2))),
        ("an id of another shape", reply(429, {"data": [{"task_id": "a-B_9"}]}), ("in_doubt", "unreadable", None)),
        ("a list of ids", reply(402, {"error": {"message": "x", "task_ids": [ID]}}), ("in_doubt", "unreadable", 5)),
        ("an id in a sentence", reply(409, error(409, f"task {ID} is under way")), ("in_doubt", "unreadable", None)),
        ("a parameter refused, and an id", reply(500, error(500, f"build_request_failed ({ID})")),
         ("in_doubt", "unreadable", None)),
        ("see it there", reply(303, location=f"/v1/tasks/{ID}"), ("in_doubt", "unreadable", 2)),
        ("too long a wait", reply(429, ACCEPTED, retry_after="901"), ("in_doubt", "unreadable", 8)),
    ],
    9: [
        ("empty", reply(200), ("in_doubt", "unreadable", None)),
        ("html", reply(200, b"<html>ok</html>"), ("in_doubt", "unreadable", None)),
        ("empty list", reply(200, {"code": 200, "data": []}), ("in_doubt", "unreadable", None)),
        ("id with a slash", reply(200, {"data": [{"task_id": "../balance"}]}), ("in_doubt", "unreadable", None)),
        ("id too long", reply(200, {"data": [{"task_id": "a" * 129}]}), ("in_doubt", "unreadable", None)),
        ("number as id", reply(200, {"data": [{"task_id": 7}]}), ("in_doubt", "unreadable", None)),
        ("id with a newline", reply(200, {"data": [{"task_id": "task_1\n"}]}), ("in_doubt", "unreadable", None)),
        ("deep nesting", reply(200, b"[" * 100_000), ("in_doubt", "unreadable", None)),
        ("latin-1", reply(200, '{"message":"é"}'.encode("latin-1")), ("in_doubt", "unreadable", None)),
        ("endless number", reply(200, b'{"code":' + b"9" * 9000 + b"}"), ("in_doubt", "unreadable", None)),
    ],
    10: [
        ("code 400", reply(200, {"code": 400, "message": "no"}), ("rejected", None, None)),
        ("code 401 beside the id of something else", reply(200, {"code": 401, "data": {"id": "req-1"}}),
         ("refused", None, 4)),
        ("code 401", reply(200, error("401")), ("refused", None, 4)),
        ("code 402", reply(200, error(402)), ("refused", None, 5)),
        ("code 429", reply(200, error(429), retry_after="7"), ("not_sent", None, None)),
        ("code 500", reply(200, {"code": 500, "data": []}), ("in_doubt", "server error", None)),
        ("code 302", reply(200, error(302)), ("in_doubt", "server error", None)),
        ("code 12345", reply(200, error(12345)), ("in_doubt", "server error", None)),
        ("409 with a known word", reply(200, {"error": {"code": 409, "type": "idempotency_key_reused"}}),
         ("in_doubt", "server error", None)),
        ("code 500 and build_request_failed", reply(200, error(500, "build_request_failed: size")),
         ("rejected", None, None)),
        ("no code", reply(200, {"success": False, "message": "no"}), ("in_doubt", "unreadable", None)),
        ("empty code", reply(200, error("")), ("in_doubt", "unreadable", None)),
        ("text code", reply(200, error("oops")), ("in_doubt", "unreadable", None)),
        ("plain string", reply(200, {"error": "boom"}), ("in_doubt", "unreadable", None)),
        ("code 200 and success false", reply(200, {"code": 200, "success": False}), ("in_doubt", "unreadable", None)),
    ],
    11: [(str(status), reply(status, location="https://x.example/v1/images/generations?a=b"), ("refused", None, 2))
         for status in (301, 302, 307, 308)]
    + [(f"{status} elsewhere", reply(status, location="https://x.example/"), ("in_doubt", "unreadable", 2))
       for status in (300, 301, 302, 303, 304, 399)]
    + [("303 to the same", reply(303, location="/v1/images/generations"), ("in_doubt", "unreadable", 2)),
       ("302 to nowhere", reply(302), ("in_doubt", "unreadable", 2)),
       ("307 to nowhere", reply(307), ("refused", None, 2))],
    12: [(str(status), reply(status, error(status)), ("rejected", None, None))
         for status in (400, 404, 405, 413, 415, 422)]
    + [("400 html", reply(400, b"<html>Bad Request</html>"), ("rejected", None, None))],
    13: [
        ("as code", reply(400, error("get_channel_failed")), ("not_sent", None, None)),
        ("as type", reply(400, error(400, kind="get_channel_failed")), ("not_sent", None, None)),
        ("told to wait", reply(400, error("get_channel_failed"), retry_after="901"), ("not_sent", None, 8)),
    ],
    14: [(str(status), reply(status, error(status)), ("refused", None, 4)) for status in (401, 403)],
    15: [("402", reply(402, error(402)), ("refused", None, 5))],
    16: [(str(status), reply(status, error(status)), ("in_doubt", "server error", None))
         for status in (101, 408, 409, 418, 425, 451, 500, 501, 502, 503, 504, 520, 524, 599)]
    + [("502 html", reply(502, b"<html>Bad Gateway</html>"), ("in_doubt", "server error", None))]
    + [("500 with the word later", reply(500, error(500, "x invalid")), ("in_doubt", "server error", None))]
    + [(message, reply(500, error(500, message)), ("in_doubt", "server error", None)) for message in (
        "invalid character '<' looking for beginning of value", "invalid memory address or nil pointer dereference",
        "invalid response from upstream", "invalid URL escape", "invalid", "invalid argument", "invalid numbers")]
    + [(f"{status} {code or message}", reply(status, error(code or status, message)),
        ("in_doubt", "server error", None))
       for status, code, message in (
           (400, None, "invalid character '<' looking for beginning of value"),
           (422, "bad_response_body", ""), (400, "do_request_failed", "x"), (429, "read_response_body_failed", "x"),
           (403, None, "unexpected end of JSON input"))],
    17: [
        ("build", reply(500, error(500, "build_request_failed: moderation")), ("rejected", None, None)),
        ("invalid", reply(500, error("", "invalid size")), ("rejected", None, None)),
        ("invalid n", reply(500, error("", "invalid n: 99")), ("rejected", None, None)),
        ("invalid request", reply(500, error("", "invalid_request_error")), ("rejected", None, None)),
    ],
    18: [
        ("429", reply(429, error(429)), ("not_sent", None, None)),
        ("429 html", reply(429, b"<html>slow down</html>"), ("not_sent", None, None)),
        ("too long", reply(429, error(429), retry_after="901"), ("not_sent", None, 8)),
        ("503", reply(503, error("idempotency_unavailable")), ("not_sent", None, None)),
    ],
    19: [("409", reply(409, error("idempotency_in_progress"), retry_after="3"), ("in_doubt", "pending", None))],
    20: [
        ("reused", reply(409, error("idempotency_key_reused")), ("rejected", None, 70)),
        ("indeterminate", reply(409, error("idempotency_result_indeterminate")), ("in_doubt", "indeterminate", None)),
    ],
}  # fmt: skip

FULL = {"x_oneapi_request_id": "2026abc", "retry_after": "12", "location": "/v1/tasks/none"}
WHOLE: list[Observation] = [
    *(failure(kind, sent) for kind in ("connect", "certificate", "cancelled", "read", "refused-before-sending", "other")
      for sent in Sent),
    Observation(sent=Sent.NO, failure="dns"),
    Observation(sent=Sent.STARTED, failure="read", detail="a\x1b[31mb\nc"),
    Observation(sent=Sent.STARTED, detail="words"),
    *(failure(kind, Sent.STARTED, body=f'{{"a":"{ID}","b":"{ID[:-1]}X"}}'.encode(),
              headers={"x-oneapi-request-id": "2026abc"})
      for kind in ("cancelled", "read")),
    failure("read", Sent.STARTED, headers={"location": f"/v1/tasks/{ID}"}),
    *(reply(status, error("insufficient", "消息 one", "kind"), **FULL) for status in (
        101, 199, 200, 299, 300, 302, 303, 307, 308, 399, 400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 418, 422,
        429, 500, 501, 503, 599)),
    *(reply(200, error(status, "消息 one", "kind"), **FULL) for status in (400, 401, 402, 409, 429, 500, 503, 307)),
    *(reply(status, error(code, "m"), retry_after=wait) for status, code, wait in (
        (400, "get_channel_failed", "12"), (400, "get_channel_failed", "901"), (503, "idempotency_unavailable", "900"),
        (429, "x", "901"), (429, "x", "900"), (503, "x", "901"), (401, "x", "901"))),
    *(reply(200, error(code)) for code in (
        "get_channel_failed", "idempotency_unavailable", "idempotency_in_progress", "bad_response_body")),
    *(reply(409, error(f"idempotency_{word}", "m"), **FULL) for word in ("in_progress", "key_reused",
                                                                     "result_indeterminate", "unheard_of")),
    *(reply(400, error(code)) for code in (
        "do_request_failed", "read_response_body_failed", "bad_response_body", "bad_response", "empty_response",
        "else")),
    *(reply(400, error("x", f"so {words}")) for words in (
        "Invalid Character '<'", "unexpected end of JSON", "UNEXPECTED EOF", "unexpected EOFs",
        "an invalid characters",
        "unexpected end of JSONs", "xinvalid character")),
    *(reply(500, error("x", f"{words}: 9")) for words in (
        "build_request_failed", "invalid request", "invalid_request", "invalid parameter", "invalid parameters",
        "invalid param", "invalid params", "invalid model", "invalid prompt", "invalid size", "invalid resolution",
        "invalid n", "invalid image_urls", "invalid output_format", "invalid watermark",
        "invalid sequential_image_generation", "invalid sequential_image_generation_options", "invalid max_images",
        "invalid sizes", "invalid sizeX", "invalid n1", "Invalid size", "so invalid size")),
    *(reply(status, location=location) for status in (301, 302, 303) for location in (
        "/v1/images/generations", "/images/generations?a=/b", "/v1/images", "/images/generations/x",
        "?/images/generations")),
    reply(307),
    reply(200, {"data": [{"task_id": "task_1"}, {"task_id": "task_2"}]}, **FULL, idempotency_replayed=" True "),
    reply(200, ACCEPTED, idempotency_replayed="false"),
    *(reply(status, {"data": [{"task_id": "task_1"}, {"task_id": "task_2"}], **error("x")}, **FULL)
      for status in (200, 400, 401, 429, 500)),
    *(reply(200, {"code": 400, "data": [{"task_id": word}]}) for word in ("req-1", "task_1")),
    *(reply(status, b"", location=f"https://x.example/v1/tasks/{ID}") for status in (200, 201, 400, 503)),
    reply(200, {"message": f"{ID} and {ID[:-1]}X are under way"}, x_oneapi_request_id="2026abc"),
    Observation(sent=Sent.STARTED, status=200, body=b"<p>", detail="cut off"),
]  # fmt: skip
"""Observations with all the evidence that there may be."""

GOLDEN = Path(__file__).parent / "outcomes.golden"


def told(seen: Observation) -> str:
    """An observation, and under it all that its outcome says beyond nothing."""
    outcome, plain = judge(seen), Outcome(row=0, verdict="in_doubt")
    what = f"{seen.failure} {seen.sent.name} {seen.status} {dict(seen.headers)} {seen.body.decode('utf-8', 'replace')}"
    lines = []
    for one in fields(Outcome):
        value = getattr(outcome, one.name)
        if one.name in ("row", "verdict") or value != getattr(plain, one.name):
            lines.append(f"    {one.name}: {value!r}")
    return "\n".join([what, *lines, ""])


BELONG_TO_THE_LEDGER = {1, "1a", 21}


@pytest.mark.parametrize("row", OUTCOME_TABLE, ids=lambda row: str(row.number))
def test_each_row_of_the_table_is_what_judge_says(row) -> None:
    """Each row has cases, each case lands in its row, and says nothing that the row does not allow."""
    cases = CASES.get(row.number, [])
    assert bool(cases) != (row.number in BELONG_TO_THE_LEDGER)
    assert bool(row.verdicts) == bool(cases)
    for name, seen, expected in cases:
        outcome = judge(seen)
        assert (outcome.row, *says(outcome)) == (row.number, *expected), name
        assert outcome.verdict in row.verdicts, name
    assert {expected[0] for _, _, expected in cases} == row.verdicts


def test_all_that_an_outcome_says() -> None:
    """Ids, words, waits, stops and breakers, as tests/api/outcomes.golden has them; to redraw it, run this file."""
    assert "".join(told(seen) for seen in WHOLE) == GOLDEN.read_text("utf-8")


def test_what_was_not_seen_is_not_there() -> None:
    """An observation, an outcome and a flight of their defaults."""
    outcome = Outcome(row=1, verdict="rejected")
    assert [getattr(outcome, one.name) for one in fields(Outcome)] == [
        *(1, "rejected", None, (), None, None, None, "", None, None, None, False)
    ]
    plain = Observation(sent=Sent.NO)
    assert (plain.status, plain.headers, plain.body, plain.failure, plain.detail) == (None, {}, b"", None, "")
    assert (Flight().sent, Flight().stage) == (Sent.NO, "")
    assert [one.value for one in Sent] == ["no", "started", "unknown"]


def test_the_table_has_21_rows_in_order() -> None:
    """The number of a row is its place; 1a and 8a came later."""
    assert [row.number for row in OUTCOME_TABLE if row.number not in ("1a", "8a")] == list(range(1, 22))


def test_the_documentation_shows_the_table() -> None:
    """docs/outcomes.md is drawn from the data; to redraw it, run this file as a program."""
    assert drawn(DOCS.read_text("utf-8")) == DOCS.read_text("utf-8")


def drawn(page: str) -> str:
    for number, table in ((1, table_as_markdown()), (2, meanings_as_markdown())):
        begin, end = f"<!-- table {number}: drawn, do not edit -->\n", f"<!-- end of table {number} -->"
        head, _, rest = page.partition(begin)
        page = head + begin + "\n" + table + "\n" + end + rest.partition(end)[2]
    return page


def test_an_accepted_reply_gives_all_its_handles() -> None:
    """The task id, the support ticket's handle, and whether the key was seen to replay."""
    outcome = judge(reply(200, ACCEPTED, x_oneapi_request_id="2026abc", idempotency_replayed="true"))
    assert (outcome.task_id, outcome.request_id, outcome.replayed) == (ID, "2026abc", True)
    assert not judge(reply(200, ACCEPTED)).replayed


def test_every_id_of_a_reply_is_kept_in_order() -> None:
    """One task for each image of a group: each once, whatever the status says."""
    both = {"data": [{"task_id": "task_1"}, {"task_id": "task_2"}, {"task_id": "task_1"}]}
    for status in (200, 429):
        outcome = judge(reply(status, both))
        assert (outcome.task_id, outcome.more_task_ids) == ("task_1", ("task_2",))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f'{{"data":[{{"task_id":"{ID}"'.encode(), ID),
        (f'{{"data":[{{"task_id":"{ID}'.encode(), None),
        (f'"{ID}" and "{ID}"'.encode(), ID),
        (f'"{ID}" and "{ID[:-1]}X"'.encode(), ID),
        (f"see task {ID}, please".encode(), ID),
        (f"see a_{ID}, {ID}-x".encode(), None),
        (b'{"result":{"task_id":"a-B_9"}}', "a-B_9"),
        (b'{"code":"task_not_found_or_expired_long_ago","task_id":""}', None),
        (f'{{"code":500,"message":"lost","ref":"{ID}"}}'.encode(), ID),
    ],
)
def test_only_complete_tokens_are_salvaged(body: bytes, expected: str | None) -> None:
    """A cut-off id is no id."""
    outcome = judge(reply(200, body))
    assert (outcome.verdict, outcome.task_id) == ("in_doubt", expected)


def test_a_reply_cut_off_in_the_body_is_in_doubt_and_keeps_its_token() -> None:
    """The break decides; the id that had arrived is evidence for a GET."""
    seen = Observation(sent=Sent.STARTED, status=200, body=f'{{"id":"{ID}",'.encode(), failure="protocol")
    outcome = judge(seen)
    assert (outcome.row, outcome.verdict, outcome.task_id) == (6, "in_doubt", ID)


def test_foreign_words_are_fit_for_a_terminal() -> None:
    """Escape sequences, line breaks and bidirectional marks never reach a terminal; Chinese does."""
    outcome = judge(reply(400, error(400, "错误\x1b[31m\r\nnext\u202egnp")))
    assert outcome.problem is not None
    assert outcome.problem.message == "错误 [31m next gnp"


def test_what_feeds_the_breakers() -> None:
    """Ten alike refusals, three server errors and three silences stop a run; nothing else feeds them."""
    fed = {
        row: {judge(seen).counts_against for _, seen, _ in cases} - {None}
        for row, cases in CASES.items()
        if row not in (10, "8a")
    }
    assert {row: kinds for row, kinds in fed.items() if kinds} == {
        6: {"silence"},
        12: {"refusal"},
        16: {"server"},
    }


observations = st.builds(
    Observation,
    sent=st.sampled_from(Sent),
    status=st.none() | st.integers(100, 599),
    headers=st.dictionaries(st.sampled_from(["retry-after", "date", "location", "x-oneapi-request-id"]), st.text()),
    body=st.binary() | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(
            st.sampled_from(["code", "data", "error", "message", "success", "task_id", "id", "type"]), inner),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    failure=st.none() | st.sampled_from(["connect", "read", "cancelled", "certificate", "?"]),
)  # fmt: skip


@settings(deadline=None)
@given(observations)
def test_judge_is_total_and_never_frees_what_was_sent_without_the_services_word(seen: Observation) -> None:
    """Law: no exception; a failure frees only with evidence; accepted means an id of the pattern."""
    outcome = judge(seen)
    if seen.failure is not None and seen.sent is not Sent.NO:
        assert outcome.verdict == "in_doubt"
    if outcome.verdict == "accepted":
        assert outcome.task_id
        assert set(outcome.task_id) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
    if outcome.verdict == "in_doubt":
        assert outcome.doubt is not None
        assert outcome.stop is None or outcome.row in ("8a", 11)
    if outcome.verdict == "refused":
        assert outcome.stop in (ExitCode.USAGE, ExitCode.CREDENTIALS, ExitCode.MONEY)
    assert outcome.verdict in next(row for row in OUTCOME_TABLE if row.number == outcome.row).verdicts
    if outcome.problem is not None:
        outcome.problem.message.encode("utf-8")


if __name__ == "__main__":
    GOLDEN.write_text("".join(told(seen) for seen in WHOLE), "utf-8")
    DOCS.write_text(drawn(DOCS.read_text("utf-8")), "utf-8")
