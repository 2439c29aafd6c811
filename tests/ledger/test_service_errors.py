"""What an error of the service means, in both languages: the table knows what the service says, and no row is idle."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from seedream_jobs.api.replies import read_reply
from seedream_jobs.api.tasks import parse_task
from seedream_jobs.emulator import app, faults
from seedream_jobs.emulator.replies import Response
from seedream_jobs.ledger import service_errors
from seedream_jobs.ledger.service_errors import ERROR_MEANINGS, in_words, meaning_fields, meaning_of, with_meaning
from seedream_jobs.ledger.state import ServiceError


def error(status: int | None = None, code: str = "", message: str = "") -> ServiceError:
    return ServiceError(status=status, code=code, message=message)


def refusals() -> dict[str, ServiceError]:
    """Every error that the emulator answers a submission with; its words are the service's."""
    answers = [*faults._REFUSALS, *(one for one in faults._OTHERS["submit"] if len(one) == 3)]
    found = {}
    for name, _, answer in answers:
        reply = answer(0.0, "task_x") if callable(answer) else answer
        assert isinstance(reply, Response)
        if reply.status >= 400:
            found[name] = read_reply(reply.body).problem(reply.status)
    return found


def failed(problem: Any) -> ServiceError:
    """A failed task with this error, as it is recorded."""
    body = {"code": 200, "data": {"id": "task_x", "status": "failed", "error": problem}}
    report = parse_task(200, {}, json.dumps(body).encode())
    assert report.problem is not None
    return report.problem


def test_every_error_of_the_service_has_a_meaning() -> None:
    """Whatever is refused or fails."""
    known = refusals() | {name: failed(problem) for name, problem in app._ERRORS.items()}
    assert len(known) > 25
    assert [name for name, one in known.items() if meaning_of(one) is None] == []


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (error(400, "invalid_request_error", "请求参数无效"), "the request is not valid"),
        (error(401, "authentication_error", "身份验证失败，请检查您的API密钥"), "the API key is not accepted"),
        (error(402, "payment_required", "账户余额不足，请充值后再试"), "the balance is used up"),
        (error(404, "invalid_request_error", "请求的资源不存在"), "there is no such model or address"),
        (error(400, "get_channel_failed", "获取渠道失败，请稍后重试"), "the service has no free channel"),
        (
            error(500, "server_error", "build_request_failed: invalid parameter: size"),
            "the service refuses a parameter",
        ),
        (error(500, "server_error", "build_request_failed: 提示词包含不允许的内容"), "the content is not allowed"),
        (error(500, "server_error", "invalid character '<'"), "the service has an internal error"),
        (error(None, "500", "图像生成失败，请稍后重试"), "the image could not be generated"),
        (error(None, "no_images", "the task completed without an image"), "the task has ended without an image"),
        (error(418, "", ""), None),
    ],
)
def test_the_special_stands_before_the_general(said: ServiceError, means: str | None) -> None:
    found = meaning_of(said)
    assert (found and found.english) == means


@pytest.mark.parametrize("row", ERROR_MEANINGS, ids=lambda row: row.english)
def test_no_row_is_hidden_by_one_before_it(row: service_errors.ErrorMeaning) -> None:
    """Each key and each word of a row leads to it; a row that is never found is none."""
    for key in row.keys:
        assert meaning_of(error(code=key)) is row
    for words in row.words:
        assert words == words.lower()
        assert meaning_of(error(message=f"x {words.upper()} x")) is row
    for text in (row.chinese, row.chinese_step):
        assert service_errors._HAN.search(text)
    for text in (row.english, row.english_step):
        assert not service_errors._HAN.search(text)


def test_the_other_language_stands_beside_the_words() -> None:
    said = error(429, "rate_limit_error", "请求过于频繁，请稍后再试")
    assert in_words(said) == "请求过于频繁，请稍后再试 (too many requests; it is sent again by itself)"
    assert in_words(replace(said, message="slow\ndown")) == "slow down（请求过于频繁；程序会自动重新提交）"
    assert in_words(replace(said, message="")) == "rate_limit_error（请求过于频繁；程序会自动重新提交）"
    assert with_meaning("HTTP 429 请求", said, step=False) == "HTTP 429 请求 (too many requests)"
    assert in_words(error(message="nobody knows")) == "nobody knows"
    assert in_words(replace(said, message="频" * 90), limit=80).startswith("频" * 79 + "… (")
    assert meaning_fields(said) == {
        "en": "too many requests; it is sent again by itself",
        "zh": "请求过于频繁；程序会自动重新提交",
    }
    assert meaning_fields(error()) is meaning_fields(None) is None


def test_a_missing_row_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeded faults: without a row an error has no meaning, or another one."""
    sure = [row for row in ERROR_MEANINGS if "402" not in row.keys]
    monkeypatch.setattr(service_errors, "ERROR_MEANINGS", tuple(sure))
    assert meaning_of(refusals()["402"]) is None
    monkeypatch.setattr(service_errors, "ERROR_MEANINGS", ERROR_MEANINGS[::-1])
    found = meaning_of(refusals()["get-channel-failed"])
    assert found is not None
    assert re.match("the request is not valid", found.english)
