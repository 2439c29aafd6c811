"""This module defines the states of a request, what is known of it, and the events that change it.

Called by everything that reads a record. An ``Event`` is written to the journal; ``transitions.evolve`` folds it into
an ``Entry``; ``STATE_RULES`` says as data what each state costs and what the next run does about it, and the functions
below count money by it. Invariant: pure; every state has a rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import ROUND_UP, Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal


class State(StrEnum):
    """Where a request stands. What each costs and what the next run does is in ``STATE_RULES``."""

    __hash__ = str.__hash__  # Enum's own is written in Python, and plans look hundreds of thousands up

    NEW = "new"  # known, and provably not charged: the next run submits it
    INTENT = "intent"  # announced, outcome still open; found by a later command it is IN_DOUBT
    ACCEPTED = "accepted"  # the task id is known
    COMPLETED = "completed"  # the images' links are known
    STORED = "stored"  # the images are whole on disk, or in the store
    IN_DOUBT = "in_doubt"  # sent, and nobody knows whether it was charged
    REJECTED = "rejected"  # refused by the service, not charged
    FAILED = "failed"  # the task failed; refunded, unless the service names a cost
    EXPIRED = "expired"  # the links died before they were fetched; charged
    ABANDONED = "abandoned"  # given up by a person; counted as charged


Doubt = Literal["no response", "interrupted", "crash", "unreadable", "server error", "pending", "indeterminate"]
Resolution = Literal["accepted", "not_charged", "abandoned"]

ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
"""What a task id or a manifest id may be (``fullmatch``); anything else is refused wherever it comes from."""

# What a field may hold, for the codec: it reads and writes each field by its annotation.
Identifier = Annotated[str, "identifier"]
Key = Annotated[str, "key"]
Sha256 = Annotated[str, "sha256"]
Whole = Annotated[int, "whole"]
Count = Annotated[int, "count"]
Moment = Annotated[int, "moment"]
"""Unix seconds, written as ``2026-08-02T10:11:12Z``."""
Seconds = Annotated[int, "seconds"]
"""Unix seconds, written as a number."""
FileName = Annotated[str, "file name"]
ObjectName = Annotated[str, "object name"]
"""``images/ab/ab….jpeg``: below the store that the policy names, never a place of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceError:
    """Why the service refused or failed a request, in its own words.

    :param status: the HTTP status of the refusal; None where there is none, as for a failed task
    """

    status: Whole | None
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One delivered image. ``url`` until it is stored; ``file`` (POSIX, relative to the manifest's folder) once it is.

    With ``object``, its name in the store of the policy, ``file`` is where it lies on disk, or would lie.
    ``expires_at`` is Unix seconds, ``bytes`` is a size, ``width`` and ``height`` are pixels.
    """

    url: str | None = None
    expires_at: Seconds | None = None
    file: str | None = None
    object: ObjectName | None = None
    sha256: Sha256 | None = None
    bytes: Whole | None = None
    width: Count | None = None
    height: Count | None = None
    format: str | None = None
    warnings: tuple[str, ...] = ()
    error: str | None = None

    @property
    def stored_sha256(self) -> str | None:
        """The digest of the stored file, on disk or in a store; None where there is none yet."""
        return self.sha256 if self.file is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Another runner that has claimed a request, which therefore is not submitted here.

    :param name: ``user@host``
    :param since: Unix seconds of its claim
    :param paid: it was accepted there; without that nobody here knows what became of it
    """

    name: str
    since: Moment
    paid: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One submission of a request.

    :param generation: counts the deliberate submissions of a request, from 1
    :param task_id: the service's id; while in doubt, an unconfirmed one that was read out of a broken reply
    :param more_task_ids: further tasks of the same submission, in order: a group may have one task per image
    :param submitted_at: Unix seconds of the intent
    :param since: Unix seconds at which it came to be in doubt
    :param run: which run submitted it, by a random token: two clones that pay in one second are told apart by it
    :param held_by: while it is new: whoever has claimed it elsewhere
    """

    generation: Count
    state: State
    idempotency_key: Identifier | None = None
    task_id: Identifier | None = None
    more_task_ids: tuple[Identifier, ...] = ()
    request_id: str | None = None
    doubt: Doubt | None = None
    error: ServiceError | None = None
    images: tuple[Image, ...] = ()
    cost_usd: Decimal | None = None
    max_cost_usd: Decimal | None = None
    submitted_at: Moment | None = None
    since: Moment | None = None
    run: Identifier | None = None
    held_by: Holder | None = None

    @property
    def task_ids(self) -> tuple[str, ...]:
        """The tasks of this submission, in order."""
        return () if self.task_id is None else (self.task_id, *self.more_task_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Attempt):
    """All that is known of one request: what it is, its current attempt (the inherited fields), and the others.

    Of the current generation there is another attempt only after two branches were merged, or after a service answered
    one idempotency key with two tasks: that request was paid for twice.

    :param request: the payload as it is recorded: local references as ``sha256:…``, no data URI
    :param cell: axis name to the label of its value
    :param output: the images' path without extension, POSIX, relative to the manifest's folder
    :param max_images: the most images the service can charge for this request
    :param replays: how often an in-doubt submission was repeated under its idempotency key, but for those repeats that
        were provably not charged
    :param earlier: other submissions, by generation
    """

    key: Key
    address: str
    cell: Mapping[str, Any]
    request: Mapping[str, Any]
    repeat: Count
    output: str
    max_images: Count
    replays: Whole = 0
    earlier: tuple[Attempt, ...] = ()

    def output_of(self, index: int) -> str:
        """``output`` for one of its images, numbered where several were asked for, or came although one was."""
        return f"{self.output}-i{index + 1}" if max(self.max_images, len(self.images)) > 1 else self.output

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every submission, the current one first."""
        return (self, *self.earlier)

    def claimed_as(self, generation: int) -> int:
        """The generation under which runners that share a store claim one of this record's.

        Rejected ones are not counted, since nothing was charged for them: who retries one, and who has no record of it,
        ask for the same claim.
        """
        charged = {one.generation for one in self.attempts if one.state is not State.REJECTED}
        rejected = {one.generation for one in self.attempts} - charged
        return generation - sum(one < generation for one in rejected)

    @property
    def current(self) -> Attempt:
        """The current submission, as it is kept beside another one."""
        return Attempt(**{name: getattr(self, name) for name in _ATTEMPT})

    def with_current(self, attempt: Attempt, **changes: Any) -> Entry:
        """The same request with another current submission."""
        return replace(self, **{name: getattr(attempt, name) for name in _ATTEMPT}, **changes)

    @property
    def all_task_ids(self) -> dict[str, None]:
        """Every task of every submission, each once, in order; to look up in."""
        return dict.fromkeys(task_id for attempt in self.attempts for task_id in attempt.task_ids)

    @property
    def other_task_ids(self) -> tuple[str, ...]:
        """Further task ids of this generation: the same request, paid for on another branch."""
        others = (other for other in self.earlier if other.generation == self.generation)
        return tuple(task_id for other in others for task_id in other.task_ids)


_ATTEMPT = tuple(field.name for field in fields(Attempt))


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to one request. ``at`` is Unix seconds."""

    key: Key
    at: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Intended(Event):
    """About to be sent: durable before the first byte of the POST. Holds all a later machine needs to go on."""

    generation: Count
    address: str
    cell: Mapping[str, Any]
    request: Mapping[str, Any]
    repeat: Count
    output: str
    max_images: Count
    max_cost_usd: Decimal | None
    idempotency_key: Identifier
    run: Identifier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Event):
    """The service took it; ``salvaged`` if the id was read out of a broken reply and confirmed by a GET.

    ``again``: the answer to a repeat of a POST in doubt, and nothing shows that it is the first one's answer: another
    submission, beside which the first counts as charged.
    """

    task_id: Identifier
    request_id: str | None = None
    salvaged: bool = False
    again: bool = False
    more_task_ids: tuple[Identifier, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(Event):
    """The service refused it; nothing was charged."""

    error: ServiceError
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent(Event):
    """Provably not charged: not a byte left, or the service said "not now"; the request is new again.

    :param held_by: nothing was sent because another runner has claimed the request
    """

    reason: str
    held_by: Holder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InDoubt(Event):
    """Sent, and the outcome is unknown. Never sent again without a person or a proven idempotency key."""

    doubt: Doubt
    detail: str = ""
    request_id: str | None = None
    task_id: Identifier | None = None  # found in an unreadable reply, not yet confirmed
    more_task_ids: tuple[Identifier, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed(Event):
    """The task is done; its links are known."""

    images: tuple[Image, ...]
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """The task failed; the service refunds it, unless it names a cost."""

    error: ServiceError
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored(Event):
    """The images are whole on disk."""

    images: tuple[Image, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired(Event):
    """The links died before they were fetched."""

    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved(Event):
    """A person settled an in-doubt submission, and said why."""

    resolution: Resolution
    reason: str
    task_id: Identifier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A run that began to pay and whose journal is not folded into this manifest yet.

    :param id: made once for each run
    :param intents: how many requests it may have paid, at most
    :param since: Unix seconds
    """

    id: Identifier
    intents: Whole
    since: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Whose record it is.

    :param id: made once; part of every idempotency key
    :param job: the job file's name, in the manifest's folder
    :param origin: scheme, host and path prefix of the service it was written against
    :param other_ids: ids of manifests that git merged into this one
    :param runs: the runs that are open, by id; more than one only after a merge. Written as ``run``
    :param serial: how often it was written; 0 for one of a version that did not count
    :param parts: how many files the requests' lines lie in; 0 where they lie behind the header
    :param closed: of a split manifest, the runs that are folded into all of its parts
    """

    id: Identifier
    job: FileName
    origin: str
    other_ids: tuple[Identifier, ...] = ()
    runs: tuple[OpenRun, ...] = ()
    serial: Whole = 0
    parts: Whole = 0
    closed: tuple[Identifier, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartHeader:
    """The first line of a manifest's part: without it an emptied part would look like one without requests.

    :param part: its name
    :param id: the manifest's id when the part was made
    :param serial: how often the part was written
    """

    part: str
    id: Identifier
    serial: Whole = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRecord:
    """A plan that was applied: recorded before its first intent, ``finished`` once none of it is left to send.

    Also a direct run whose ``--set`` values are other ones than the last run's; it is never ``finished``.

    :param plan: the plan's id; ``r-…`` for a direct run
    :param digest: the approval digest; for a direct run that of its options
    :param used_at: Unix seconds
    :param options: what the operator said that changes money or requests, such as ``--set`` values
    """

    plan: Identifier
    digest: str
    used_at: Moment
    finished: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionRecord:
    """What a person decided about an in-doubt submission, or about a run whose journal is lost.

    :param key: the request's; empty for a run
    :param at: Unix seconds
    :param run: the run's id; then ``resolution`` says what became of everything that it may have paid
    """

    key: Key
    resolution: Resolution
    reason: str
    at: Moment
    task_id: Identifier | None = None
    run: Identifier | None = None


Submits = Literal["yes", "never", "retry-failed", "again"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRule:
    """What one state means for a plan and a budget: a row of the table in docs/ledger.md.

    :param mark: what a plan shows
    :param submits: what it takes for the next run to submit it; ``retry-failed`` includes ``again``
    :param spent: whether it counts against every budget; where it does not, a cost that the service named still does
    """

    mark: str
    submits: Submits
    spent: bool


STATE_RULES: Mapping[State, StateRule] = {
    State.NEW: StateRule(mark="+", submits="yes", spent=False),
    State.INTENT: StateRule(mark="?", submits="never", spent=True),
    State.ACCEPTED: StateRule(mark=">", submits="never", spent=True),
    State.COMPLETED: StateRule(mark="v", submits="never", spent=True),
    State.STORED: StateRule(mark="=", submits="again", spent=True),
    State.IN_DOUBT: StateRule(mark="?", submits="never", spent=True),
    State.REJECTED: StateRule(mark="!", submits="retry-failed", spent=False),
    State.FAILED: StateRule(mark="!", submits="retry-failed", spent=False),
    State.EXPIRED: StateRule(mark="!", submits="retry-failed", spent=True),
    State.ABANDONED: StateRule(mark=".", submits="again", spent=True),
}


def counts_as_spent(attempt: Attempt) -> bool:
    """Whether a submission counts against every budget: by its state, or because the service named a cost."""
    return STATE_RULES[attempt.state].spent or bool(attempt.cost_usd)


def submits(state: State, *, retry_failed: bool = False, again: bool = False) -> bool:
    """Whether the next run submits a request in this state.

    :param retry_failed: ``--retry-failed``
    :param again: ``--again`` names it
    """
    needed = STATE_RULES[state].submits
    return needed == "yes" or (needed == "retry-failed" and (retry_failed or again)) or (needed == "again" and again)


REPLAYS = 3
"""How often at most one submission in doubt is repeated."""
REPLAY_SECONDS = 23 * 3600
"""How long after its intent: the service is said to keep a key for 24 h."""
# In every other state the answer to the last repeat is known; here each repeat may have been charged, too.
_REPEATED = frozenset({State.INTENT, State.IN_DOUBT, State.ABANDONED})
_NOTHING = Decimal(0)


def may_be_replayed(entry: Entry, now: int) -> bool:
    """Whether a submission in doubt may be repeated under its idempotency key, if the operator asks for it.

    Not where a task id was named in its reply: that is confirmed by ``resolve --check``. ``now`` is Unix seconds.
    """
    return (
        entry.state is State.IN_DOUBT
        and entry.idempotency_key is not None
        and entry.task_id is None
        and entry.replays < REPLAYS
        and entry.submitted_at is not None
        and now - entry.submitted_at <= REPLAY_SECONDS
    )


def spent_usd(entry: Entry, unknown: Decimal = _NOTHING) -> Decimal:
    """USD this request counts for in a budget, over all its generations and branches.

    The actual cost where the service named it, whatever the state; else the most it can be, if it counts as spent.
    While it is in doubt each repeat of its POST counts, too.

    :param unknown: what an attempt counts for that was charged, and of which neither is known
    """
    return sum((attempt_spent_usd(attempt, unknown) for attempt in entry.attempts), start=Decimal(0))


def attempt_spent_usd(attempt: Attempt, unknown: Decimal = _NOTHING) -> Decimal:
    """What one submission counts for in ``spent_usd``."""
    if not counts_as_spent(attempt):
        return _NOTHING
    charged = attempt.max_cost_usd if attempt.cost_usd is None else attempt.cost_usd
    charged = unknown if charged is None else charged
    # Only the current attempt, which is the entry itself, has ``replays``.
    if isinstance(attempt, Entry) and attempt.state in _REPEATED:
        charged *= 1 + attempt.replays
    return charged


def charged_usd(entry: Entry) -> Decimal | None:
    """USD that the service said this request cost, over all its generations and branches; None where it said nothing.

    What ``status`` prints as charged is the sum of these.
    """
    named = [attempt.cost_usd for attempt in entry.attempts if attempt.cost_usd is not None]
    return sum(named, start=Decimal(0)) if named else None


def in_shares(cost: Decimal, parts: int) -> list[Decimal]:
    """An amount in equal parts of at most six places (more where it has more) that add up to it exactly."""
    unit = Decimal(1).scaleb(min(-6, int(cost.as_tuple().exponent)))
    units = int(cost / unit)
    # Each share is the difference of two rounded running totals, so that no rounding error is left over.
    return [unit * (units * (part + 1) // parts - units * part // parts) for part in range(parts)]


def image_price(entry: Entry) -> Decimal | None:
    """USD that the service charged per image; None where it named no cost, or gave the money back."""
    if entry.cost_usd is None:
        return None
    return price_per_image(entry.cost_usd, sum(image.error is None for image in entry.images), entry.max_images)


def price_per_image(cost: Decimal, delivered: int, most: int) -> Decimal | None:
    """USD per image of a submission; None where nothing came and nothing was charged.

    A partly delivered group is billed by the images that were delivered. Where none was, or more than can be charged
    for, the most that can be charged for is what the cost stands for.

    :param most: the most images that can be charged for
    """
    if not delivered and not cost:
        return None
    usd = cost / (min(delivered, most) or most)
    short = usd.quantize(Decimal("0.000001"), rounding=ROUND_UP)
    return short if short > usd and len(str(usd)) > 18 else usd  # such as a third, whose decimals have no end


def paid_twice(entry: Entry) -> bool:
    """Whether two submissions of one generation count as spent: two branches, or a key that bought two tasks."""
    others = [one for one in entry.earlier if one.generation == entry.generation and counts_as_spent(one)]
    return len(others) + counts_as_spent(entry) > 1
