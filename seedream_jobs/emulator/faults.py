"""This module is the table of faults, each with its sentence and its reply, and decides when each of them strikes.

Called by the routes, which draw at each stage. Invariant: the same seed and the same occasions give the same faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from random import Random
from typing import Literal

from seedream_jobs.diagnostics import did_you_mean
from seedream_jobs.emulator.replies import EXPIRED, IN_PROGRESS, TASK_GONE, Response, error, json_response
from seedream_jobs.errors import UsageError

Stage = Literal["submit", "accepted", "task", "poll", "image", "account"]
"""Where a fault strikes: a POST before it is charged, after it was charged, the task it became, a GET of that task,
a download, or a question about the account."""

Answer = Response | Callable[[float, str], Response] | None
"""What a fault replies: always the same; made from the Unix time and the task's id; or nothing of its own."""

_GATEWAY_PAGE = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"</body>\r\n</html>\r\n"
)
_SIGN_IN = (
    b"<!doctype html><html><head><title>Sign in</title></head><body>"
    + b"<p>Please sign in.</p>" * 80  # larger than the smallest image, so that its size does not give it away
    + b"</body></html>"
)


_REFUSALS: tuple[tuple[str, str, Answer], ...] = (
    ("400", "HTTP 400 invalid_request_error", error(400)),
    ("401", "HTTP 401 authentication_error", error(401)),
    ("402", "HTTP 402 payment_required", error(402)),
    ("403", "HTTP 403 permission_error", error(403)),
    ("404", "HTTP 404", error(404)),
    ("408", "HTTP 408", error(408)),
    ("413", "HTTP 413", error(413)),
    ("429", "HTTP 429 rate_limit_error, without Retry-After", error(429)),
    ("429-retry-after", "HTTP 429 with Retry-After: 1", error(429, headers={"Retry-After": "1"})),
    (
        "429-retry-date",
        "HTTP 429 with Retry-After as a date, one second ahead of the reply's own Date",
        lambda now, task: error(429, headers={"Retry-After": formatdate(now + 1, usegmt=True)}),
    ),
    ("500", "HTTP 500 server_error", error(500)),
    ("502", "HTTP 502 bad_gateway", error(502)),
    ("503", "HTTP 503", error(503)),
    ("504", "HTTP 504", error(504)),
    (
        "build-request-failed",
        "HTTP 500 whose message begins with build_request_failed: a refused parameter",
        error(500, message="build_request_failed: invalid parameter: size"),
    ),
    (
        "moderation",
        "HTTP 500 build_request_failed because the prompt is not allowed",
        error(500, message="build_request_failed: 提示词包含不允许的内容，请修改后重试"),
    ),
    (
        "get-channel-failed",
        "HTTP 400 with the code get_channel_failed: may be sent again",
        error(400, code="get_channel_failed", message="获取渠道失败，请稍后重试"),
    ),
    (
        "html-gateway",
        "HTTP 502 with a page of HTML",
        Response(status=502, body=_GATEWAY_PAGE, content_type="text/html"),
    ),
    ("empty-reply", "HTTP 502 with an empty body", Response(status=502, content_type=None)),
    ("error-in-200", 'HTTP 200 with {"code":500,"data":[]}', json_response({"code": 500, "data": []})),
    (
        "success-false",
        'HTTP 200 with {"success":false,"message":…}',
        json_response({"success": False, "message": "请求失败，请稍后重试"}),
    ),
    ("code-string", 'HTTP 400 with error.code as the string "400"', error(400, code="400")),
    ("code-empty", 'HTTP 400 with error.code as ""', error(400, code="")),
    (
        "redirect",
        "HTTP 307 to another path",
        Response(status=307, content_type=None, headers={"Location": "/elsewhere/v1/images/generations"}),
    ),
)
"""A POST and a GET of a task can be refused in the same ways; of a GET the name begins with ``poll-``."""

_OTHERS: Mapping[Stage, Sequence[tuple[str, str] | tuple[str, str, Answer]]] = {
    "submit": (
        ("drop-before-read", "the connection is closed before the body is read; nothing is charged"),
        ("idempotency-in-progress", "HTTP 409 idempotency_in_progress with Retry-After: 1", IN_PROGRESS),
        (
            "idempotency-indeterminate",
            "HTTP 409 idempotency_result_indeterminate",
            error(409, code="idempotency_result_indeterminate", message="原请求的结果无法确定"),
        ),
        (
            "idempotency-unavailable",
            "HTTP 503 idempotency_unavailable",
            error(503, code="idempotency_unavailable", message="幂等服务暂时不可用，请稍后重试"),
        ),
    ),
    "accepted": (
        ("drop-after-accept", "charged, and the connection is closed without a reply"),
        ("reset-after-accept", "charged, and the connection is reset without a reply"),
        ("drop-mid-body", "charged, and the connection is closed in the middle of the reply"),
        ("slow-reply", "charged, and the reply comes late"),
        ("hang-after-accept", "charged, and no reply comes while the client waits"),
        ("500-after-accept", "charged, and answered with HTTP 500", error(500)),
        ("502-after-accept", "charged, and answered with HTTP 502", error(502)),
        (
            "429-with-id",
            "charged, and answered with HTTP 429 whose body names the task",
            lambda now, task: error(429, extra={"data": [{"status": "submitted", "task_id": task}]}),
        ),
        ("task-per-image", "one task for each image of the group; the reply names them all"),
        (
            "garbage",
            "charged, and answered with HTTP 200 and a body that is not JSON and names no task",
            Response(body=b"OK", content_type="text/plain"),
        ),
        (
            "garbage-with-id",
            "charged, and answered with HTTP 200 and broken JSON in which the task id stands",
            lambda now, task: Response(body=f'{{"code":200,"data":[{{"status":"submitted","task_id":"{task}"'.encode()),
        ),
        (
            "no-id",
            "charged, and answered with HTTP 200 and JSON without a task id",
            json_response({"code": 200, "data": [{"status": "submitted"}]}),
        ),
        ("event-stream", "the JSON reply is served as text/event-stream"),
        ("other-shape", "the reply has the other documented shape, HTTP 202"),
    ),
    "task": (
        ("task-failed", "the task fails, its error is an object; refunded"),
        ("task-failed-string", "the task fails, its error is a plain string; refunded"),
        ("task-failed-code", "the task fails, the code of its error is a string; refunded"),
        ("task-failed-empty", 'the task fails, the code of its error is ""; refunded'),
        ("task-failed-charged", "the task fails, and its reply names a cost: it is billed all the same"),
        ("task-moderation", "the task fails because the picture is not allowed; refunded"),
        ("task-cancelled", "the task ends as cancelled; refunded"),
        ("task-expired", "the task ends as expired; refunded"),
        ("task-stuck", "the task never ends"),
        ("task-unknown-status", "the task is in a status nobody has documented, until it completes"),
        ("task-without-images", "the task completes without images"),
        ("task-without-images-charged", "the task completes without images, and is billed for them"),
        ("task-images-late", "the first three replies about the completed task have no images yet"),
        ("task-image-error", "one image object has an error in place of its url; it is not billed"),
        ("task-string-url", "the url of an image is a string in place of a list"),
        ("task-shared-urls", "all images stand in one object's list of urls, the first of them twice"),
        ("task-relative-url", "the urls of images are relative"),
        ("task-data-url", "the urls of images are data: URLs"),
        ("task-base64", "the images are given as base64 (b64_json), without a link"),
        ("task-no-expiry", "the images come without expires_at"),
        ("task-no-cost", "the reply about the task does not say what it cost"),
        ("task-success", "the completed task's status is called success"),
    ),
    "poll": (
        ("poll-drop", "the connection is closed without a reply"),
        ("poll-slow", "the reply comes late"),
        ("poll-event-stream", "the JSON reply is served as text/event-stream"),
        ("poll-gone", "HTTP 400: the task does not exist or has expired", TASK_GONE),
    ),
    "image": (
        ("image-truncated", "the file ends in the middle, and the length says so too"),
        ("image-drop", "the connection is closed in the middle of the file"),
        ("image-html", "HTTP 200 with a page of HTML", Response(body=_SIGN_IN, content_type="text/html")),
        ("image-tiny", "HTTP 200 with a few bytes", Response(body=b"\xff\xd8\xff\xd9", content_type="image/jpeg")),
        ("image-wrong-pixels", "an image of half the width and height"),
        ("image-wrong-format", "a PNG where a JPEG was asked for, or a JPEG where a PNG was"),
        ("image-403", "HTTP 403: the link has expired", EXPIRED),
        ("image-404", "HTTP 404", error(404)),
        ("image-500", "HTTP 500", error(500)),
        ("image-slow", "the file trickles in"),
        ("image-redirect", "HTTP 302 to another link of the same file"),
    ),
    "account": (
        (
            "balance-fails",
            "HTTP 200 with success: false in place of the balance",
            json_response({"success": False, "message": "查询余额失败，请稍后重试"}),
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that can go wrong: where, a sentence about it, and its reply."""

    name: str
    stage: Stage
    about: str
    answer: Answer

    def response(self, *, now: float, task: str = "") -> Response | None:
        """The reply; None for a fault that only changes the usual one.

        :param now: Unix seconds
        :param task: the id of the task that the POST became
        """
        return self.answer(now, task) if callable(self.answer) else self.answer


def _all_faults() -> dict[str, Fault]:
    faults = [Fault(name=name, stage="submit", about=about, answer=answer) for name, about, answer in _REFUSALS]
    faults += [
        Fault(name=row[0], stage=stage, about=row[1], answer=row[2] if len(row) == 3 else None)
        for stage, rows in _OTHERS.items()
        for row in rows
    ]
    faults += [
        Fault(name=f"poll-{name}", stage="poll", about=f"{about}, on a GET of a task", answer=answer)
        for name, about, answer in _REFUSALS
    ]
    return {fault.name: fault for fault in faults}


FAULTS: Mapping[str, Fault] = _all_faults()
"""Every fault by its name, in the order in which ``--list-faults`` prints them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """A fault and when it strikes: on a share of occasions (``rate``, 0 to 1), on each N-th, or on the first N."""

    fault: Fault
    kind: Literal["rate", "every", "first"]
    number: float

    def strikes(self, occasion: int, random: Random) -> bool:
        """Whether it strikes on this occasion, counted from 1."""
        match self.kind:
            case "every":
                return occasion % self.number == 0
            case "first":
                return occasion <= self.number
            case "rate":
                return random.random() < self.number


def parse_fault(text: str) -> FaultRule:
    """The rule that ``NAME``, ``NAME:RATE``, ``NAME:every=N`` or ``NAME:first=N`` stands for.

    :raises UsageError: for an unknown name or a rate that is none
    """
    name, _, when = text.partition(":")
    fault = FAULTS.get(name)
    if fault is None:
        otherwise = "seedream-jobs emulator --list-faults names all of them"
        raise UsageError(f"no fault is called {name!r}", hint=did_you_mean(name, FAULTS, otherwise))
    unreadable = UsageError(f"{text!r} is no fault rule", hint="write NAME:0.1, NAME:every=5 or NAME:first=2")
    kind, equals, number = when.partition("=")
    try:
        if not when:
            return FaultRule(fault=fault, kind="rate", number=1.0)
        if not equals and 0 <= float(when) <= 1:
            return FaultRule(fault=fault, kind="rate", number=float(when))
        if kind in ("every", "first") and int(number) >= 1:
            return FaultRule(fault=fault, kind="every" if kind == "every" else "first", number=int(number))
    except ValueError:
        raise unreadable from None
    raise unreadable


class Faults:
    """Draws the faults of a running emulator.

    A stage's rules are asked in the order given until one fires.
    """

    def __init__(self, rules: Iterable[FaultRule], *, seed: int) -> None:
        # Each rule has its own count and its own random numbers, so that adding one does not move the others.
        self._rules = [(rule, Random(f"{seed}/{number}/{rule.fault.name}")) for number, rule in enumerate(rules)]
        self._occasions = [0] * len(self._rules)

    def draw(self, stage: Stage) -> Fault | None:
        """The fault that strikes on this occasion, None where all goes well."""
        for number, (rule, random) in enumerate(self._rules):
            if rule.fault.stage == stage:
                self._occasions[number] += 1
                if rule.strikes(self._occasions[number], random):
                    return rule.fault
        return None
