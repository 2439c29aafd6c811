"""What can go wrong on demand: the named faults, and when each of them fires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from seedream_jobs.errors import UsageError

Stage = Literal["submit", "accepted", "task", "poll", "image", "account"]
"""Where a fault strikes: a POST before it is charged, after it was charged, the task it became, a GET of that task,
a download, or a question about the account."""

_REFUSALS: Mapping[str, str] = {
    "400": "HTTP 400 invalid_request_error",
    "401": "HTTP 401 authentication_error",
    "402": "HTTP 402 payment_required",
    "403": "HTTP 403 permission_error",
    "404": "HTTP 404",
    "408": "HTTP 408",
    "413": "HTTP 413",
    "429": "HTTP 429 rate_limit_error, without Retry-After",
    "429-retry-after": "HTTP 429 with Retry-After: 1",
    "429-retry-date": "HTTP 429 with Retry-After as a date, one second ahead of the reply's own Date",
    "500": "HTTP 500 server_error",
    "502": "HTTP 502 bad_gateway",
    "503": "HTTP 503",
    "504": "HTTP 504",
    "build-request-failed": "HTTP 500 whose message begins with build_request_failed: a refused parameter",
    "moderation": "HTTP 500 build_request_failed because the prompt is not allowed",
    "get-channel-failed": "HTTP 400 with the code get_channel_failed: may be sent again",
    "html-gateway": "HTTP 502 with a page of HTML",
    "empty-reply": "HTTP 502 with an empty body",
    "error-in-200": 'HTTP 200 with {"code":500,"data":[]}',
    "success-false": 'HTTP 200 with {"success":false,"message":…}',
    "code-string": 'HTTP 400 with error.code as the string "400"',
    "code-empty": 'HTTP 400 with error.code as ""',
    "redirect": "HTTP 307 to another path",
}

_OTHERS: tuple[tuple[str, Stage, str], ...] = (
    ("drop-before-read", "submit", "the connection is closed before the body is read; nothing is charged"),
    ("idempotency-in-progress", "submit", "HTTP 409 idempotency_in_progress with Retry-After: 1"),
    ("idempotency-indeterminate", "submit", "HTTP 409 idempotency_result_indeterminate"),
    ("idempotency-unavailable", "submit", "HTTP 503 idempotency_unavailable"),
    ("drop-after-accept", "accepted", "charged, and the connection is closed without a reply"),
    ("reset-after-accept", "accepted", "charged, and the connection is reset without a reply"),
    ("drop-mid-body", "accepted", "charged, and the connection is closed in the middle of the reply"),
    ("slow-reply", "accepted", "charged, and the reply comes late"),
    ("hang-after-accept", "accepted", "charged, and no reply comes while the client waits"),
    ("500-after-accept", "accepted", "charged, and answered with HTTP 500"),
    ("502-after-accept", "accepted", "charged, and answered with HTTP 502"),
    ("429-with-id", "accepted", "charged, and answered with HTTP 429 whose body names the task"),
    ("task-per-image", "accepted", "one task for each image of the group; the reply names them all"),
    ("garbage", "accepted", "charged, and answered with HTTP 200 and a body that is not JSON and names no task"),
    ("garbage-with-id", "accepted", "charged, and answered with HTTP 200 and broken JSON in which the task id stands"),
    ("no-id", "accepted", "charged, and answered with HTTP 200 and JSON without a task id"),
    ("event-stream", "accepted", "the JSON reply is served as text/event-stream"),
    ("other-shape", "accepted", "the reply has the other documented shape, HTTP 202"),
    ("task-failed", "task", "the task fails, its error is an object; refunded"),
    ("task-failed-string", "task", "the task fails, its error is a plain string; refunded"),
    ("task-failed-code", "task", "the task fails, the code of its error is a string; refunded"),
    ("task-failed-empty", "task", 'the task fails, the code of its error is ""; refunded'),
    ("task-failed-charged", "task", "the task fails, and its reply names a cost: it is billed all the same"),
    ("task-moderation", "task", "the task fails because the picture is not allowed; refunded"),
    ("task-cancelled", "task", "the task ends as cancelled; refunded"),
    ("task-expired", "task", "the task ends as expired; refunded"),
    ("task-stuck", "task", "the task never ends"),
    ("task-unknown-status", "task", "the task is in a status nobody has documented, until it completes"),
    ("task-without-images", "task", "the task completes without images"),
    ("task-without-images-charged", "task", "the task completes without images, and is billed for them"),
    ("task-images-late", "task", "the first three replies about the completed task have no images yet"),
    ("task-image-error", "task", "one image object has an error in place of its url; it is not billed"),
    ("task-string-url", "task", "the url of an image is a string in place of a list"),
    ("task-shared-urls", "task", "all images stand in one object's list of urls, the first of them twice"),
    ("task-relative-url", "task", "the urls of images are relative"),
    ("task-data-url", "task", "the urls of images are data: URLs"),
    ("task-base64", "task", "the images are given as base64 (b64_json), without a link"),
    ("task-no-expiry", "task", "the images come without expires_at"),
    ("task-no-cost", "task", "the reply about the task does not say what it cost"),
    ("task-success", "task", "the completed task's status is called success"),
    ("poll-drop", "poll", "the connection is closed without a reply"),
    ("poll-slow", "poll", "the reply comes late"),
    ("poll-event-stream", "poll", "the JSON reply is served as text/event-stream"),
    ("poll-gone", "poll", "HTTP 400: the task does not exist or has expired"),
    ("image-truncated", "image", "the file ends in the middle, and the length says so too"),
    ("image-drop", "image", "the connection is closed in the middle of the file"),
    ("image-html", "image", "HTTP 200 with a page of HTML"),
    ("image-tiny", "image", "HTTP 200 with a few bytes"),
    ("image-wrong-pixels", "image", "an image of half the width and height"),
    ("image-wrong-format", "image", "a PNG where a JPEG was asked for, or a JPEG where a PNG was"),
    ("image-403", "image", "HTTP 403: the link has expired"),
    ("image-404", "image", "HTTP 404"),
    ("image-500", "image", "HTTP 500"),
    ("image-slow", "image", "the file trickles in"),
    ("image-redirect", "image", "HTTP 302 to another link of the same file"),
    ("balance-fails", "account", "HTTP 200 with success: false in place of the balance"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that can go wrong: where, and a sentence about it."""

    name: str
    stage: Stage
    about: str


def _all_faults() -> dict[str, Fault]:
    faults = [Fault(name=name, stage="submit", about=about) for name, about in _REFUSALS.items()]
    faults += [Fault(name=name, stage=stage, about=about) for name, stage, about in _OTHERS]
    faults += [
        Fault(name=f"poll-{name}", stage="poll", about=f"{about}, on a GET of a task")
        for name, about in _REFUSALS.items()
    ]
    return {fault.name: fault for fault in faults}


FAULTS: Mapping[str, Fault] = _all_faults()
"""Every fault by its name, in the order in which ``--list-faults`` prints them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """A fault and when it fires: exactly one of the three is set.

    :param rate: the share of occasions, 0 to 1
    :param every: on each N-th occasion
    :param first: on the first N occasions
    """

    fault: Fault
    rate: float | None = None
    every: int | None = None
    first: int | None = None


def parse_fault(text: str) -> FaultRule:
    """The rule that ``NAME``, ``NAME:RATE``, ``NAME:every=N`` or ``NAME:first=N`` stands for.

    :raises UsageError: for an unknown name or a rate that is none
    """
    name, _, when = text.partition(":")
    fault = FAULTS.get(name)
    if fault is None:
        from seedream_jobs.diagnostics import closest

        guess = closest(name, FAULTS)
        raise UsageError(
            f"no fault is called {name!r}",
            hint=f"did you mean {guess}?" if guess else "seedream-jobs emulator --list-faults names all of them",
        )
    unreadable = UsageError(f"{text!r} is no fault rule", hint="write NAME:0.1, NAME:every=5 or NAME:first=2")
    kind, equals, number = when.partition("=")
    try:
        if not when:
            return FaultRule(fault=fault, rate=1.0)
        if not equals and 0 <= float(when) <= 1:
            return FaultRule(fault=fault, rate=float(when))
        if kind == "every" and int(number) >= 1:
            return FaultRule(fault=fault, every=int(number))
        if kind == "first" and int(number) >= 1:
            return FaultRule(fault=fault, first=int(number))
    except ValueError:
        raise unreadable from None
    raise unreadable


class Faults:
    """Draws the faults of a running emulator.

    Each rule has its own count and its own random numbers, so that adding one does not move the others. A stage's
    rules are asked in the order given until one fires.
    """

    def __init__(self, rules: Iterable[FaultRule], *, seed: int) -> None:
        self._by_stage: dict[Stage, list[_Source]] = {}
        for number, rule in enumerate(rules):
            source = _Source(rule, Random(f"{seed}/{number}/{rule.fault.name}"))
            self._by_stage.setdefault(rule.fault.stage, []).append(source)

    def draw(self, stage: Stage) -> str | None:
        """The name of the fault that strikes on this occasion, None where all goes well."""
        sources: Sequence[_Source] = self._by_stage.get(stage, ())
        for source in sources:
            if source.fires():
                return source.rule.fault.name
        return None


class _Source:
    def __init__(self, rule: FaultRule, random: Random) -> None:
        self.rule = rule
        self._random = random
        self._occasions = 0

    def fires(self) -> bool:
        self._occasions += 1
        if self.rule.every is not None:
            return self._occasions % self.rule.every == 0
        if self.rule.first is not None:
            return self._occasions <= self.rule.first
        assert self.rule.rate is not None
        return self._random.random() < self.rule.rate
