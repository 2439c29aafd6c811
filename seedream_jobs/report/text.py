"""Plans and results as text for a terminal. Pure: values in, a string out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from seedream_jobs.plan.cost import budget_text, money
from seedream_jobs.plan.diff import Action
from seedream_jobs.plan.document import Against, JobDocument, PlanDocument
from seedream_jobs.plan.summary import Cause
from seedream_jobs.report.hostile import defused

_WIDTH = 16
"""Columns of the count and its word, before the explanation."""


def plural(count: int, noun: str) -> str:
    """``1 request``, ``12 requests``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def plan_text(plan: PlanDocument) -> str:
    """What ``plan`` prints: each job, what would happen to its requests and why, then images and money."""
    lines: list[str] = []
    if plan.base is not None:
        lines.append(f"{_safe(plan.base.name)} → {_safe(plan.head.name) if plan.head else 'work tree'}")
    for job in plan.jobs:
        lines.extend(_job(job, plan.option))
    against = plan.against
    if against is not None and len(plan.jobs) > 1:
        lines.append(f"In all: {in_all(plan, against)}.")
    lines.append(total(plan))
    return "\n".join(map(defused, lines)) + "\n"


def _job(job: JobDocument, option: str) -> Iterator[str]:
    yield f"{_safe(job.name)}: {plural(job.requests, 'request')}, {plural(job.images, 'image')}"
    if job.against is not None:
        yield from _against(job.against)
    elif job.count(Action.NEW):
        if job.causes:
            yield from _because("+", job.count(Action.NEW), "new", job.causes, job.more_causes)
        else:
            yield _line("+", job.count(Action.NEW), "new", "nothing submitted so far")
    yield from _submitted_again(job)
    yield from _standing(job, option)


def _because(mark: str, count: int, word: str, causes: Sequence[Cause], more: int = 0) -> Iterator[str]:
    """A count with its one cause beside it, or its causes below it."""
    if len(causes) == 1 and not more:
        yield _line(mark, count, word, _cause(causes[0].text, causes[0].place))
        return
    yield _line(mark, count, word, "")
    for cause in causes:
        yield f"      {cause.requests:,} × {_cause(cause.text, cause.place)}"
    if more:
        yield f"      and {plural(more, 'further cause')}"


def _against(against: Against) -> Iterator[str]:
    """What the change brings: new and changed requests with their causes, and what it takes away."""
    for note in against.notes:
        yield f"  {_safe(note)}"
    if against.new:
        yield from _because("+", against.new, "new", against.causes)
    if against.changed:
        yield from _because("~", against.changed, "changed", against.changed_causes)
    if against.more_causes:
        yield f"      and {plural(against.more_causes, 'further cause')}"
    if against.pending:
        yield _line("+", against.pending, "pending", "in the base already, not submitted so far")
    if against.removed:
        paid = f"{against.removed_paid:,} of them in the manifest (kept)" if against.removed_paid else "never submitted"
        yield _line("-", against.removed, "removed", paid)


def _submitted_again(job: JobDocument) -> Iterator[str]:
    if job.count(Action.RETRY):
        yield _line("+", job.count(Action.RETRY), "again", "failed before; a new generation (--retry-failed)")
    if job.count(Action.AGAIN):
        yield _line("+", job.count(Action.AGAIN), "again", "a new generation (--again); both results are kept")
    if job.count(Action.LATER):
        yield _line(" ", job.count(Action.LATER), "later", "past --limit")


def _standing(job: JobDocument, option: str) -> Iterator[str]:
    shown = _safe(job.shown) + option
    if job.count(Action.DONE):
        yield _line("=", job.count(Action.DONE), "done", _days(job.days))
    for other, count in job.elsewhere.items():
        yield _line("=", count, "paid", f"in {_safe(other)}")
    for other, count in job.claimed.items():
        yield _line("=", count, "shared", f"submitted by {_safe(other)}")
    if job.count(Action.FETCH):
        yield _line("v", job.count(Action.FETCH), "to fetch", f"seedream-jobs fetch {shown}")
    if job.count(Action.RESUME):
        yield _line(">", job.count(Action.RESUME), "running", f"seedream-jobs fetch {shown}")
    replays = job.count(Action.REPLAY)
    if job.count(Action.IN_DOUBT) or replays:
        note = f"outcome never confirmed: seedream-jobs resolve {shown}"
        if replays:
            note = f"{replays:,} of them will be replayed (--replay), and charged again if the service ignores keys"
        yield _line("?", job.count(Action.IN_DOUBT) + replays, "in doubt", note)
    if job.count(Action.FAILED):
        why, failed = ", ".join(_safe(text) for text, _ in job.failures[:2]), job.count(Action.FAILED)
        yield _line("!", failed, "failed", f"{why}; --retry-failed submits {_them(failed)}")
    if job.count(Action.ABANDONED):
        note = "given up by resolve; --again ADDRESS submits one again"
        yield _line(".", job.count(Action.ABANDONED), "abandoned", note)
    if job.count(Action.ORPHANED):
        yield _line("-", job.count(Action.ORPHANED), "orphaned", "in the manifest, no longer in the file (kept)")


def _them(count: int) -> str:
    return "it again" if count == 1 else "them again"


def _line(mark: str, count: int, word: str, note: str) -> str:
    return f"  {mark} {f'{count:,} {word}':<{_WIDTH}}{note}".rstrip()


def _cause(text: str, place: str) -> str:
    return f"{_safe(text)} ({_safe(place)})" if place else _safe(text)


def _days(days: tuple[str, str] | None) -> str:
    if days is None:
        return ""
    first, last = days
    if first == last:
        return f"submitted {first}"
    return f"submitted {first} … {last[5:] if first[:5] == last[:5] else last}"


def in_all(plan: PlanDocument, against: Against) -> str:
    """``12 new, 3 changed, 4 removed, 26 done, 1 in doubt``, over all jobs."""
    counts = (
        (against.new, "new"),
        (against.changed, "changed"),
        (against.pending, "pending"),
        (against.removed, "removed"),
        (plan.count(Action.DONE, Action.ELSEWHERE), "done"),
        (plan.count(Action.RESUME, Action.FETCH), "to fetch"),
        (plan.count(Action.IN_DOUBT, Action.REPLAY), "in doubt"),
        (plan.count(Action.REPLAY), "to be replayed"),
        (plan.count(Action.FAILED), "failed"),
    )
    return ", ".join(f"{count:,} {word}" for count, word in counts if count) or "no requests"


def total(plan: PlanDocument) -> str:
    """The last line: how many requests, images, how much money, and the budgets."""
    if plan.submit == 0:
        return "Plan: nothing to submit."
    each = f" ({_safe(str(plan.tariff))})" if plan.tariff.usd is not None else ""
    parts = [f"Plan: {plan.submit:,} to submit.", f"At most {plural(plan.images, 'image')}, {money(plan.cost)}{each}."]
    for job in plan.jobs:
        if job.budget_usd is not None:
            whose = f" of {_safe(job.name)}" if len(plan.jobs) > 1 else ""
            already = f", {money(job.spent_usd)} spent" if job.spent_usd else ""
            parts.append(f"Budget{whose} {budget_text(job.budget_usd)}{already}.")
    parts.extend(f"{_safe(name)} {budget_text(limit)}." for name, limit in plan.budgets)
    return " ".join(parts)


def _safe(text: str) -> str:
    """Foreign words on one line, without anything a terminal obeys."""
    return "".join(character if character.isprintable() else " " for character in text)
