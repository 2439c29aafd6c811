"""Plans and results as text for a terminal. Pure: values in, a string out."""

from __future__ import annotations

from collections.abc import Iterator

from seedream_jobs.plan.cost import budget_text, money
from seedream_jobs.plan.diff import Action
from seedream_jobs.plan.jobs import JobPlan, JobsPlan

_WIDTH = 16
"""Columns of the count and its word, before the explanation."""


def plural(count: int, noun: str) -> str:
    """``1 request``, ``12 requests``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def plan_text(plan: JobsPlan) -> str:
    """What ``plan`` prints: each job, what would happen to its requests and why, then images and money."""
    lines: list[str] = []
    for job in plan.jobs:
        lines.extend(_job(job))
    lines.append(_total(plan))
    return "\n".join(lines) + "\n"


def _job(plan: JobPlan) -> Iterator[str]:
    summary = plan.summary
    yield f"{plan.job.expansion.spec.name}: {plural(summary.requests, 'request')}, {plural(summary.images, 'image')}"
    counts = summary.counts
    causes = list(summary.causes)
    new = counts[Action.NEW]
    if new:
        first = causes[0] if causes else None
        if first is None:
            yield _line("+", new, "new", "nothing submitted so far")
        elif len(causes) == 1 and not summary.more_causes:
            yield _line("+", new, "new", _cause(first.text, first.place))
        else:
            yield _line("+", new, "new", "")
            for cause in causes:
                yield f"      {cause.requests:,} × {_cause(cause.text, cause.place)}"
            if summary.more_causes:
                yield f"      and {plural(summary.more_causes, 'further cause')}"
    yield from _submitted_again(plan)
    yield from _standing(plan)


def _submitted_again(plan: JobPlan) -> Iterator[str]:
    counts = plan.summary.counts
    if counts[Action.RETRY]:
        yield _line("+", counts[Action.RETRY], "again", "failed before; a new generation (--retry-failed)")
    if counts[Action.AGAIN]:
        yield _line("+", counts[Action.AGAIN], "again", "a new generation (--again); both results are kept")
    if counts[Action.LATER]:
        yield _line(" ", counts[Action.LATER], "later", "past --limit")


def _standing(plan: JobPlan) -> Iterator[str]:
    summary, counts, shown = plan.summary, plan.summary.counts, plan.job.shown
    if counts[Action.DONE]:
        yield _line("=", counts[Action.DONE], "done", _days(summary.submitted_days))
    for other, count in sorted(summary.elsewhere.items()):
        yield _line("=", count, "paid", f"in {other}")
    if counts[Action.FETCH]:
        yield _line("v", counts[Action.FETCH], "to fetch", f"seedream-jobs fetch {shown}")
    if counts[Action.RESUME]:
        yield _line(">", counts[Action.RESUME], "running", f"seedream-jobs fetch {shown}")
    if counts[Action.IN_DOUBT]:
        yield _line("?", counts[Action.IN_DOUBT], "in doubt", f"outcome never confirmed: seedream-jobs resolve {shown}")
    if counts[Action.FAILED]:
        why = ", ".join(_safe(text) for text, _ in summary.failures.most_common(2))
        yield _line(
            "!", counts[Action.FAILED], "failed", f"{why}; --retry-failed submits {_them(counts[Action.FAILED])}"
        )
    if counts[Action.ABANDONED]:
        yield _line(
            ".", counts[Action.ABANDONED], "abandoned", "given up by resolve; --again ADDRESS submits one again"
        )
    if counts[Action.ORPHANED]:
        yield _line("-", counts[Action.ORPHANED], "orphaned", "in the manifest, no longer in the file (kept)")


def _them(count: int) -> str:
    return "it again" if count == 1 else "them again"


def _line(mark: str, count: int, word: str, note: str) -> str:
    return f"  {mark} {f'{count:,} {word}':<{_WIDTH}}{note}".rstrip()


def _cause(text: str, place: str) -> str:
    return f"{_safe(text)} ({place})" if place else _safe(text)


def _days(days: tuple[str, str] | None) -> str:
    if days is None:
        return ""
    first, last = days
    if first == last:
        return f"submitted {first}"
    return f"submitted {first} … {last[5:] if first[:5] == last[:5] else last}"


def _total(plan: JobsPlan) -> str:
    if plan.submit == 0:
        return "Plan: nothing to submit."
    usd = plan.tariff.usd
    each = "" if usd is None else f" ({usd.normalize():f} per image, {plan.tariff.source})"
    parts = [f"Plan: {plan.submit:,} to submit.", f"At most {plural(plan.images, 'image')}, {money(plan.cost)}{each}."]
    for job in plan.jobs:
        limit = job.job.expansion.spec.budget_usd
        if limit is not None:
            whose = f" of {job.job.expansion.spec.name}" if len(plan.jobs) > 1 else ""
            already = f", {money(job.spent)} spent" if job.spent else ""
            parts.append(f"Budget{whose} {budget_text(limit)}{already}.")
    parts.extend(f"{name} {budget_text(limit)}." for name, limit in plan.budgets)
    return " ".join(parts)


def _safe(text: str) -> str:
    """Foreign words on one line, without anything a terminal obeys."""
    return "".join(character if character.isprintable() else " " for character in text)
