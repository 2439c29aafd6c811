"""This module says what an error of the service means, in English and in Chinese, and what to do about it.

Called by whatever shows an error: plans, statuses, the end of a run, the gallery. Invariant: pure; the service's own
words are never changed, the meaning stands beside them.

The service speaks Chinese, or a terse English. The table is data: docs/outcomes.md is drawn from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from seedream_jobs.diagnostics import shorten
from seedream_jobs.ledger.state import ServiceError

_HAN = re.compile("[\u3400-\u9fff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMeaning:
    """What some errors mean.

    :param keys: HTTP statuses, and codes or types of errors
    :param words: parts of the service's message, in small letters, where keys are not enough
    """

    keys: tuple[str, ...]
    words: tuple[str, ...]
    english: str
    english_step: str
    chinese: str
    chinese_step: str


def _row(keys: str, words: str, english: tuple[str, str], chinese: tuple[str, str]) -> ErrorMeaning:
    return ErrorMeaning(
        keys=tuple(keys.split()),
        words=tuple(filter(None, words.split("|"))),
        english=english[0],
        english_step=english[1],
        chinese=chinese[0],
        chinese_step=chinese[1],
    )


ERROR_MEANINGS: tuple[ErrorMeaning, ...] = (
    _row(
        "moderation content_policy_violation",
        "不允许的内容|违规|敏感|moderation|sensitive|content policy",
        ("the content is not allowed", "change the prompt or the reference images"),
        ("内容不符合平台规定", "请修改提示词或参考图"),
    ),
    _row(
        "build_request_failed",
        "build_request_failed|invalid parameter|invalid model|invalid prompt|invalid size|invalid resolution",
        ("the service refuses a parameter", "change the job file"),
        ("服务拒绝了某个参数", "请修改任务文件"),
    ),
    _row(
        "get_channel_failed",
        "获取渠道失败",
        ("the service has no free channel", "it is sent again by itself"),
        ("服务暂无可用渠道", "程序会自动重新提交"),
    ),
    _row(
        "idempotency_in_progress",
        "",
        ("the first request under this idempotency key is still under way", "it is asked for again by itself"),
        ("使用同一幂等键的首个请求仍在处理中", "程序会自动再次查询"),
    ),
    _row(
        "idempotency_key_reused",
        "",
        ("the idempotency key belongs to another request", "report this as a bug"),
        ("幂等键已用于另一个请求", "这是程序缺陷，请反馈"),
    ),
    _row(
        "idempotency_result_indeterminate",
        "",
        ("the service does not know what became of the first request", "settle it: seedream-jobs resolve"),
        ("服务无法确定首个请求的结果", "请用 seedream-jobs resolve 处理"),
    ),
    _row(
        "no_images",
        "",
        ("the task has ended without an image", "try again"),
        ("任务已结束，但没有生成图片", "请重试"),
    ),
    _row(
        "",
        "does not exist or has expired|不存在或已过期",
        ("the service does not know the task, or no longer", "check that the key is of the same account"),
        ("任务不存在或已过期", "请检查密钥是否属于同一账户"),
    ),
    _row(
        "499 cancelled canceled",
        "已取消",
        ("the task was cancelled", "try again"),
        ("任务已取消", "请重试"),
    ),
    _row(
        "408 expired",
        "超时|timed out|timeout",
        ("the service took too long", "try again later"),
        ("处理超时", "请稍后重试"),
    ),
    _row(
        "",
        "生成失败",
        ("the image could not be generated", "try again"),
        ("图片生成失败", "请重试"),
    ),
    _row(
        "401 authentication_error",
        "",
        ("the API key is not accepted", "check APIMART_API_KEY"),
        ("API 密钥无效", "请检查 APIMART_API_KEY"),
    ),
    _row(
        "402 payment_required",
        "",
        ("the balance is used up", "top up the account"),
        ("账户余额不足", "请充值"),
    ),
    _row(
        "403 permission_error",
        "",
        ("the key has no access to this", "check the key's permissions"),
        ("该密钥没有访问权限", "请检查密钥的权限"),
    ),
    _row(
        "404",
        "",
        ("there is no such model or address", "check the model and the base URL"),
        ("模型或接口不存在", "请检查模型名称和接口地址"),
    ),
    _row(
        "413",
        "",
        ("the request is too large", "use smaller reference images"),
        ("请求体过大", "请使用更小的参考图"),
    ),
    _row(
        "429 rate_limit_error",
        "",
        ("too many requests", "it is sent again by itself"),
        ("请求过于频繁", "程序会自动重新提交"),
    ),
    _row(
        "502 503 504 bad_gateway service_unavailable gateway_timeout idempotency_unavailable",
        "",
        ("the service is not available for the moment", "try again later"),
        ("服务暂时不可用", "请稍后重试"),
    ),
    _row(
        "500 server_error",
        "",
        ("the service has an internal error", "try again later"),
        ("服务器内部错误", "请稍后重试"),
    ),
    _row(
        "400 422 invalid_request_error",
        "",
        ("the request is not valid", "change the job file"),
        ("请求参数无效", "请修改任务文件"),
    ),
)
"""The first row that fits counts: those of words and special codes stand before those of an HTTP status."""


def meaning_of(error: ServiceError) -> ErrorMeaning | None:
    """What an error means; None where the table does not know it."""
    keys, message = {error.code, str(error.status)}, error.message.lower()
    fitting = (row for row in ERROR_MEANINGS if keys.intersection(row.keys) or any(map(message.count, row.words)))
    return next(fitting, None)


def with_meaning(words: str, error: ServiceError, *, step: bool = True) -> str:
    """The words shown of an error and, in brackets, what they mean in the other of the two languages.

    :param step: with what to do about it
    """
    meaning = meaning_of(error)
    if meaning is None:
        return words
    if _HAN.search(words):
        return f"{words} ({meaning.english}{f'; {meaning.english_step}' if step else ''})"
    return f"{words}（{meaning.chinese}{f'；{meaning.chinese_step}' if step else ''}）"


def in_words(error: ServiceError, *, limit: int = 1000) -> str:
    """The service's words, or its code, on one line and with what they mean; the words have ``limit`` characters."""
    return with_meaning(shorten(" ".join(error.message.split()), limit) or error.code, error)


def meaning_fields(error: ServiceError | None) -> dict[str, str] | None:
    """The meaning in both languages, for JSON."""
    meaning = None if error is None else meaning_of(error)
    if meaning is None:
        return None
    return {
        "en": f"{meaning.english}; {meaning.english_step}",
        "zh": f"{meaning.chinese}；{meaning.chinese_step}",
    }


def meanings_as_markdown() -> str:
    """The table as it stands in docs/outcomes.md."""
    lines = ["| the service says | it means | 含义 |", "| --- | --- | --- |"]
    for row in ERROR_MEANINGS:
        says = ", ".join([f"`{key}`" for key in row.keys] + [f"“{one}”" for one in row.words])
        english = f"{row.english}; {row.english_step}"
        lines.append(f"| {says} | {english} | {row.chinese}；{row.chinese_step} |")
    return "\n".join(lines) + "\n"
