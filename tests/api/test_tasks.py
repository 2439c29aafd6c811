"""Task replies in every shape that was seen."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.api.tasks import TaskReport, joined, parse_task, unreachable
from seedream_jobs.errors import ExitCode


def ask(data: object, status: int = 200, **headers: str) -> TaskReport:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return parse_task(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def completed(images: object, **more: object) -> TaskReport:
    return ask({"code": 200, "data": {"id": "t", "status": "completed", "result": {"images": images}, **more}})


def test_a_running_task() -> None:
    """Pending, with what the poller needs."""
    report = ask({"code": 200, "data": {"id": "t", "status": "pending", "created": 1700000000, "estimated_time": 60}})
    assert (report.status, report.created, report.estimated_time) == ("running", 1700000000, 60.0)


@pytest.mark.parametrize("word", ["submitted", "processing", "in_progress", "queued", "brand new word", ""])
def test_an_unknown_status_keeps_polling(word: str) -> None:
    """Only the known words end a task."""
    assert ask({"data": {"status": word}}).status == "running"


@pytest.mark.parametrize("word", ["completed", "success", "succeeded", "SUCCESS", " Completed "])
def test_done(word: str) -> None:
    assert ask({"data": {"status": word}}).status == "completed"


@pytest.mark.parametrize("word", ["failed", "error", "cancelled", "canceled", "expired", "FAILED"])
def test_dead(word: str) -> None:
    """A dead task has a problem even if it gives no reason."""
    report = ask({"data": {"status": word}})
    assert report.status == "failed"
    assert report.problem is not None
    assert report.problem.code == word.lower()


@pytest.mark.parametrize(
    ("images", "urls"),
    [
        ([{"url": ["https://x/a"], "expires_at": 1700259240}], ["https://x/a"]),
        ([{"url": "https://x/a", "expires_at": 1700259240}], ["https://x/a"]),
        ([{"url": ["https://x/a", "https://x/b"], "expires_at": 1700259240}], ["https://x/a", "https://x/b"]),
        ([{"url": ["b"], "expires_at": 1700259240}, {"url": "a", "expires_at": "1700259240"}], ["b", "a"]),
        ([{"url": ["a", "a"], "expires_at": 1700259240}, {"url": "a"}], ["a"]),
        ({"url": "a", "expires_at": 1700259240123}, ["a"]),
        ([{"url": "data:image/png;base64,AA==", "expires_at": 1700259240.9}], ["data:image/png;base64,AA=="]),
    ],
)
def test_images_are_flattened_in_order_each_once(images: object, urls: list[str]) -> None:
    """One object per image or one for all, list or string; every one keeps its expiry."""
    report = completed(images)
    assert [image.url for image in report.images] == urls
    assert {image.expires_at for image in report.images} == {1700259240}


@pytest.mark.parametrize(
    ("given", "link"),
    [
        ("AAEC", "data:;base64,AAEC"),
        (" AA\nEC ", "data:;base64,AAEC"),
        ("-_8", "data:;base64,+/8="),
        ("data:image/png;base64,AAEC", "data:image/png;base64,AAEC"),
    ],
)
def test_an_image_given_as_base64_is_a_data_link(given: str, link: str) -> None:
    """``b64_json``, as Seedream gateways do; a link beside it is the same picture, and the smaller one to read."""
    assert [image.url for image in completed([{"b64_json": given}]).images] == [link]
    assert [image.url for image in completed([{"url": "", "b64_json": given}, {"b64_json": ""}]).images] == [link]
    assert [image.url for image in completed([{"url": "https://x/a", "b64_json": given}]).images] == ["https://x/a"]


def test_an_image_without_a_link_keeps_its_error() -> None:
    """Two delivered, one refused: all three are told."""
    report = completed([{"url": "a"}, {"error": {"code": "", "message": "审核"}}, {"url": [], "error": "no"}, {}, 7])
    assert [(image.url, image.error) for image in report.images] == [("a", None), (None, "审核"), (None, "no")]


def test_a_completed_task_may_have_no_images() -> None:
    """That is for the poller to ask about again."""
    assert completed([]).images == completed(None).images == ()


@pytest.mark.parametrize(
    ("fields", "usd"),
    [
        ({"cost": 0.0228, "credits_cost": 0.228}, "0.0228"),
        ({"cost": "0.0228"}, "0.0228"),
        ({"credits_cost": 0.228}, "0.0228"),
        ({"cost": 0}, "0"),
        ({"cost": -1}, None),
        ({"cost": True}, None),
        ({"cost": "much"}, None),
        ({"cost": "NaN"}, None),
        ({"cost": 1e300}, None),
        ({}, None),
    ],
)
def test_cost_is_decimal_usd_or_unknown(fields: dict[str, object], usd: str | None) -> None:
    """The number as written, never through a float; nonsense is unknown, not zero."""
    cost = completed([], **fields).cost_usd
    assert cost == (None if usd is None else Decimal(usd))
    assert usd is None or str(cost) == usd


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"code": 400, "message": "内容", "type": "invalid_request_error"}, "400", "内容"),
        ({"code": "", "message": "m", "type": "moderation"}, "moderation", "m"),
        ({"code": "policy", "message": "m"}, "policy", "m"),
        ("just words", "failed", "just words"),
        ({}, "failed", ""),
        (None, "failed", ""),
    ],
)
def test_a_failed_task_says_why(error: object, code: str, message: str) -> None:
    """Object or string; code int, string or empty."""
    report = ask({"data": {"status": "failed", "error": error}})
    assert report.problem is not None
    assert (report.problem.code, report.problem.message) == (code, message)


@pytest.mark.parametrize(
    ("status", "body", "expected", "stop"),
    [
        (401, {"error": {"code": 401, "message": "x"}}, "refused", ExitCode.CREDENTIALS),
        (403, b"<html>", "refused", ExitCode.CREDENTIALS),
        (402, {}, "refused", ExitCode.MONEY),
        (200, {"error": {"code": 401, "message": "x"}}, "refused", ExitCode.CREDENTIALS),
        (200, {"code": 402, "message": "x"}, "refused", ExitCode.MONEY),
        (302, b"", "refused", ExitCode.USAGE),
        (400, {"error": {"code": 400, "message": "task does not exist or has expired"}}, "gone", None),
        (200, {"code": 400, "message": "task does not exist or has expired"}, "gone", None),
        (400, {"error": {"code": 400, "message": "任务不存在"}}, "gone", None),
        (404, b"<html>does not exist</html>", "unavailable", None),
        (400, {"error": {"code": 400, "message": "bad id"}}, "unavailable", None),
        (429, {}, "unavailable", None),
        (500, {"error": {"message": "task does not exist"}}, "unavailable", None),
        (502, b"<html>", "unavailable", None),
        (200, b"", "unavailable", None),
        (200, {"code": 200, "data": []}, "unavailable", None),
        (200, {"code": 200, "data": {"id": "t"}}, "unavailable", None),
        (200, [1], "unavailable", None),
    ],
)
def test_no_answer_says_nothing_about_the_task(status: int, body: object, expected: str, stop: object) -> None:
    """Only the service's own word makes a task gone; trouble on the way never does."""
    report = ask(body, status)
    assert (report.status, report.stop) == (expected, stop)


def test_a_long_wait_stops_asking() -> None:
    """Fifteen minutes is the most that is waited for."""
    assert ask({}, 429, retry_after="30").retry_after == 30
    assert ask({}, 429, retry_after="901").stop is ExitCode.UNFINISHED


def test_a_list_of_one_task_is_read() -> None:
    """Submit replies are lists; a mirror has been seen to query like that."""
    assert ask({"data": [{"status": "success"}]}).status == "completed"


def test_unreachable() -> None:
    """No network is no news; a certificate that is not trusted is the operator's matter."""
    assert unreachable("connect", "refused").status == "unavailable"
    assert unreachable("certificate", "self-signed").stop is ExitCode.USAGE


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["completed", "failed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["code", "data", "error", "message", "status", "result", "images", "url", "expires_at", "cost",
                         "credits_cost", "created", "completed", "estimated_time"]), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None)
@given(st.integers(200, 599), st.binary(max_size=20) | values.map(lambda value: json.dumps(value).encode()))
def test_parsing_is_total(status: int, body: bytes) -> None:
    """Law: whatever comes, there is a report, and a refusal has an exit code."""
    report = parse_task(status, {}, body)
    assert (report.status == "refused") <= (report.stop is not None)
    assert report.cost_usd is None or report.cost_usd >= 0


def done(link: str, cost: float | None = 0.0228) -> TaskReport:
    more = {} if cost is None else {"cost": cost}
    return completed([{"url": [f"https://img.example/{link}"]}], **more)


FAILED = ask({"data": {"status": "failed", "error": {"code": 400, "message": "no"}}})


@pytest.mark.parametrize("settle", [False, True])
def test_several_tasks_are_done_once_all_are(settle: bool) -> None:
    """Images in the order of the tasks, costs summed; one that is under way or unreachable holds them all."""
    together = joined([done("a"), done("b"), done("c")], settle=settle)
    assert [image.url for image in together.images] == [f"https://img.example/{name}" for name in "abc"]
    assert together.cost_usd == Decimal("0.0684")
    assert joined([done("a"), done("b", None)], settle=settle).cost_usd is None
    running = ask({"data": {"status": "pending"}})
    assert joined([done("a"), running], settle=settle).status == "running"
    assert joined([running, unreachable("read", "x")], settle=settle).status == "unavailable"


def test_of_several_tasks_one_that_failed_leaves_the_others_images() -> None:
    """What came is stored, and it is told what did not."""
    together = joined([FAILED, done("b")], settle=False)
    assert (together.status, together.cost_usd) == ("completed", Decimal("0.0228"))
    assert [(image.url, image.error) for image in together.images] == [
        (None, "no"),
        ("https://img.example/b", None),
    ]
    assert joined([FAILED, FAILED], settle=False).status == "failed"


def test_of_several_tasks_one_that_is_odd_is_asked_for_again_first() -> None:
    """Without images yet, or unknown for now: only then it counts as failed beside the others."""
    late, gone = completed([]), ask({"error": {"message": "does not exist"}}, status=400)
    assert joined([done("a"), late], settle=False) == late
    assert joined([done("a"), gone], settle=False) == gone
    assert [image.error is None for image in joined([done("a"), gone], settle=True).images] == [True, False]
    assert joined([late, gone], settle=True) == late
