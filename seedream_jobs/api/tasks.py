"""This module says what a reply about a task means: status, images, cost, from every shape that was seen.

Called by ``client.py`` for every GET of a task, and by ``run`` to join the tasks of one request. Invariant: pure and
total; trouble on the way says nothing about the task. The shapes are in docs/outcomes.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from seedream_jobs.api.replies import LONGEST_RETRY_AFTER, ReplyBody, as_decimal, one_line, read_reply, retry_after
from seedream_jobs.errors import ExitCode
from seedream_jobs.ledger.state import Image, ServiceError

TaskStatus = Literal["running", "completed", "failed", "gone", "unavailable", "refused"]
DONE = frozenset({"completed", "success", "succeeded"})
DEAD = frozenset({"failed", "error", "cancelled", "canceled", "expired"})
_GONE = re.compile(r"does not exist|has expired|不存在|已过期", re.IGNORECASE)
_STOPS = {401: ExitCode.CREDENTIALS, 403: ExitCode.CREDENTIALS, 402: ExitCode.MONEY}
_MOST = Decimal(1_000_000)
_PLAIN_BASE64 = str.maketrans("-_", "+/")  # the alphabet that is safe in a URL (RFC 4648, section 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """What a GET of one task said.

    :param status: ``running`` (ask again); ``completed``; ``failed`` (refunded, unless it names a cost); ``gone`` (the
        service no longer knows it); ``unavailable`` (no usable answer: ask again, it says nothing about the task);
        ``refused`` (the operator's key, money or endpoint: stop asking)
    :param images: in order, each link once, as the service gave them (a link may be relative or a ``data:`` URL); one
        without a link carries an ``error``
    :param cost_usd: the truth about money; None where not told
    :param estimated_time: seconds from creation to completion, as the service expects
    :param created: Unix seconds, as ``completed``
    :param retry_after: seconds to wait as told
    :param stop: the exit code with which asking stops, None where it goes on
    """

    status: TaskStatus
    images: tuple[Image, ...] = ()
    cost_usd: Decimal | None = None
    problem: ServiceError | None = None
    estimated_time: float | None = None
    created: int | None = None
    completed: int | None = None
    retry_after: float | None = None
    stop: ExitCode | None = None


def parse_task(status: int, headers: Mapping[str, str], body: bytes) -> TaskReport:
    """Read a reply of ``GET /v1/tasks/{id}``; total. ``headers`` have lower-case names."""
    reply = read_reply(body)
    task = _task_of(reply.data)
    if 200 <= status < 300 and task is not None:
        return _read_task(task, headers)
    inside = reply.number if 200 <= status < 300 and reply.failed and reply.number is not None else status
    return _unanswered(inside, reply, headers)


def unreachable(kind: str, detail: str) -> TaskReport:
    """The report where no reply came; ``kind`` is the client's name for the failure."""
    problem = ServiceError(status=None, code=kind, message=one_line(detail))
    if kind in ("certificate", "refused-before-sending"):  # asking again would not help
        return TaskReport(status="refused", problem=problem, stop=ExitCode.USAGE)
    return TaskReport(status="unavailable", problem=problem)


def joined(reports: Sequence[TaskReport], *, settle: bool) -> TaskReport:
    """The report of a request that has several tasks, one for each image of a group.

    It is done once all of them are, with the images in the order of the tasks, an error in the place of a task that
    failed, and the sum of the costs. Until then it is the report that stands in the way.

    :param settle: a task without images was asked for often enough, and counts as failed where others have images
    """
    if len(reports) == 1:
        return reports[0]
    # The gravest first: a refusal stops all asking, trouble on the way says nothing about a task.
    for status in ("refused", "unavailable", "running"):
        for report in reports:
            if report.status == status:
                return report
    with_images = [report for report in reports if any(image.url for image in report.images)]
    odd = [report for report in reports if report.status != "failed" and report not in with_images]
    if odd and not (settle and with_images):
        return odd[0]
    costs = [report.cost_usd for report in reports if report.status != "failed" or report.cost_usd is not None]
    # One unknown cost makes the sum unknown, never smaller.
    cost = None if None in costs else sum((one for one in costs if one is not None), Decimal(0))
    if not with_images:
        return replace(reports[0], cost_usd=cost if costs else None)
    return replace(
        with_images[0], images=tuple(image for report in reports for image in _delivered(report)), cost_usd=cost
    )


def _delivered(report: TaskReport) -> tuple[Image, ...]:
    if report.images:
        return report.images
    words = "" if report.problem is None else report.problem.message or report.problem.code
    return (Image(error=words or f"its task is {report.status} and has no image"),)


def _unanswered(status: int, reply: ReplyBody, headers: Mapping[str, str]) -> TaskReport:
    problem = reply.problem(status)
    wait = retry_after(headers)
    if status in _STOPS:
        return TaskReport(status="refused", problem=problem, stop=_STOPS[status])
    if 300 <= status < 400:
        return TaskReport(status="refused", problem=problem, stop=ExitCode.USAGE)
    # The words decide: a bare 404 may be a gateway's.
    if status in (400, 404, 410) and reply.failed and _GONE.search(reply.message):
        return TaskReport(status="gone", problem=problem)
    stop = ExitCode.UNFINISHED if wait is not None and wait > LONGEST_RETRY_AFTER else None
    return TaskReport(status="unavailable", problem=problem, retry_after=wait, stop=stop)


def _task_of(data: Any) -> Mapping[str, Any] | None:
    """The task object: ``data`` as documented, in a list of one, or the whole reply; it is one if it has a status."""
    if not isinstance(data, dict):
        return None
    inner = data.get("data")
    if isinstance(inner, list) and len(inner) == 1:
        inner = inner[0]
    for candidate in (inner, data):
        if isinstance(candidate, dict) and isinstance(candidate.get("status"), str):
            return candidate
    return None


def _read_task(task: Mapping[str, Any], headers: Mapping[str, str]) -> TaskReport:
    word = task["status"].strip().lower()
    status: TaskStatus = "completed" if word in DONE else "failed" if word in DEAD else "running"
    result = task.get("result")
    return TaskReport(
        status=status,
        images=tuple(_images(result)) if status == "completed" else (),
        cost_usd=_cost(task),
        problem=_problem(task, word) if status == "failed" else None,
        estimated_time=_seconds(task.get("estimated_time")),
        created=_moment(task.get("created")),
        completed=_moment(task.get("completed")),
        retry_after=retry_after(headers) if status == "running" else None,
    )


def _images(result: Any) -> list[Image]:
    """The images of a result: ``url`` is a list or a string, several images share an object or have one each.

    An image that is given only as base64 (``b64_json``) becomes a ``data:`` link.
    """
    listed = (result.get("images") or result.get("data")) if isinstance(result, dict) else result
    items = listed if isinstance(listed, list) else [listed]
    seen: set[str] = set()
    order: list[Image] = []
    for item in items:
        item = {"url": item} if isinstance(item, str) else item
        if not isinstance(item, dict):
            continue
        given = item.get("url")
        links = [link for link in (given if isinstance(given, list) else [given]) if isinstance(link, str) and link]
        if not links and isinstance(coded := item.get("b64_json"), str) and coded.strip():
            links = [_data_link(coded)]
        for link in links:
            if link not in seen:
                seen.add(link)
                order.append(Image(url=link, expires_at=_moment(item.get("expires_at"))))
        if not links and item.get("error"):
            order.append(Image(error=_words(item["error"])))
    return order


def _data_link(coded: str) -> str:
    if coded.lstrip()[:5].lower() == "data:":
        return coded.strip()
    # Padded, because the download decodes strictly.
    plain = "".join(coded.split()).translate(_PLAIN_BASE64).rstrip("=")
    return f"data:;base64,{plain}{'=' * (-len(plain) % 4)}"


def _problem(task: Mapping[str, Any], word: str) -> ServiceError:
    error = task.get("error")
    inner = error if isinstance(error, dict) else {}
    code = inner.get("code")
    if code in (None, "") or isinstance(code, bool | dict | list):
        code = inner.get("type") or word
    message = _words(error) or _words(task.get("fail_reason")) or _words(task.get("message"))
    return ServiceError(status=None, code=one_line(str(code)), message=message)


def _words(error: Any) -> str:
    if isinstance(error, dict):
        error = error.get("message") or error.get("code") or error.get("type") or error
    return one_line(str(error)) if error else ""


def _cost(task: Mapping[str, Any]) -> Decimal | None:
    cost = _amount(task.get("cost"))
    if cost is not None:
        return cost
    credit = _amount(task.get("credits_cost"))
    return None if credit is None else credit / 10  # ten credits are one USD


def _amount(value: Any) -> Decimal | None:
    """An amount that can be a price or a time: not negative, and below a million."""
    amount = as_decimal(value)
    return amount if amount is not None and 0 <= amount < _MOST else None


def _seconds(value: Any) -> float | None:
    number = _amount(value)
    return None if number is None else float(number)


def _moment(value: Any) -> int | None:
    """Unix seconds; milliseconds, which other calls of the vendor give, are recognised by their size."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,16}", value, re.ASCII):
        return None
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    if isinstance(value, Decimal) and not (value.is_finite() and 0 < value < 10**17):
        return None
    moment = int(value)
    if moment > 10**11:
        moment //= 1000
    return moment if 0 < moment < 10**11 else None
