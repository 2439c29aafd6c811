"""This module shows plans, requests and explanations as text for a terminal.

Called by ``report.formats`` and the commands. Invariant: words of others can't begin a line: ``foreign_text.visible``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from seedream_jobs.diagnostics import plural
from seedream_jobs.expand.explain import Explanation
from seedream_jobs.expand.identity import wire_body
from seedream_jobs.expand.references import data_uri
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.foreign_text import escaped_json, one_line, shell_word, visible
from seedream_jobs.job.files import Files
from seedream_jobs.plans.causes import Cause
from seedream_jobs.plans.cost import budget_text
from seedream_jobs.plans.diff import Action
from seedream_jobs.plans.plan import Against, Plan, PlannedJob

_WIDTH = 15  # columns of the count and its word, before the explanation


def row(mark: str, count: int, word: str, note: str) -> str:
    """``  + 12 new          because``: a count of a job's requests."""
    return f"  {mark} {f'{count:,} {word}':<{_WIDTH}} {note}".rstrip()


def duration(seconds: float) -> str:
    """``71 h 59 min``, ``12 min``, ``40 s``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def plan_text(plan: Plan) -> str:
    """What ``plan`` prints: each job, what would happen to its requests and why, then images and money."""
    lines: list[str] = []
    if plan.base is not None:
        lines.append(f"{visible(plan.base.name)} → {visible(plan.head.name) if plan.head else 'work tree'}")
    for job in plan.jobs:
        lines.append(f"{visible(job.name)}: {plural(job.requests, 'request')}, {plural(job.images, 'image')}")
        lines.extend(_new(job) if job.against is None else _against(job.against))
        shown = shell_word(visible(job.shown)) + plan.option
        lines.extend(row(mark, count, word, note) for mark, count, word, note in _known(job, shown) if count)
    if plan.against is not None and len(plan.jobs) > 1:
        lines.append(f"In all: {in_all(plan)}.")
    lines.append(total(plan))
    return "\n".join(lines) + "\n"


def _new(job: PlannedJob) -> Iterator[str]:
    count = job.count(Action.NEW)
    if count and job.causes:
        yield from _because("+", count, "new", job.causes, job.more_causes)
    elif count:
        yield row("+", count, "new", "nothing submitted so far")


def _because(mark: str, count: int, word: str, causes: Sequence[Cause], more: int = 0) -> Iterator[str]:
    """A count with its one cause beside it, or its causes below it."""
    if not count:
        return
    if len(causes) == 1 and not more:
        yield row(mark, count, word, _cause(causes[0]))
        return
    yield row(mark, count, word, "")
    yield from (f"      {cause.requests:,} × {_cause(cause)}" for cause in causes)
    if more:
        yield f"      and {plural(more, 'further cause')}"


def _against(against: Against) -> Iterator[str]:
    yield from (f"  {visible(note)}" for note in against.notes)
    yield from _because("+", against.new, "new", against.causes)
    yield from _because("~", against.changed, "changed", against.changed_causes)
    if against.more_causes:
        yield f"      and {plural(against.more_causes, 'further cause')}"
    if against.pending:
        yield row("+", against.pending, "pending", "in the base already, not submitted so far")
    if against.removed:
        paid = f"{against.removed_paid:,} of them in the manifest (kept)" if against.removed_paid else "never submitted"
        yield row("-", against.removed, "removed", paid)


def _known(job: PlannedJob, shown: str) -> Iterator[tuple[str, int, str, str]]:
    """What becomes of the requests that are not new: (mark, how many, word, note).

    :param shown: the job as it stands in a further command
    """
    yield "+", job.count(Action.RETRY), "again", "failed before; a new generation (--retry-failed)"
    yield "+", job.count(Action.AGAIN), "again", "a new generation (--again); both results are kept"
    yield " ", job.count(Action.LATER), "later", "past --limit"
    yield "=", job.count(Action.DONE), "done", _days(job.days)
    yield from (("=", count, "paid", f"in {visible(other)}") for other, count in job.elsewhere.items())
    yield from (("=", count, "shared", f"submitted by {visible(other)}") for other, count in job.claimed.items())
    yield "v", job.count(Action.FETCH), "to fetch", f"seedream-jobs fetch {shown}"
    yield ">", job.count(Action.RESUME), "running", f"seedream-jobs fetch {shown}"
    note = f"outcome never confirmed: seedream-jobs resolve {shown}"
    if replays := job.count(Action.REPLAY):
        note = f"{replays:,} of them will be replayed (--replay), and charged again if the service ignores keys"
    yield "?", job.count(Action.IN_DOUBT, Action.REPLAY), "in doubt", note
    failed, why = job.count(Action.FAILED), ", ".join(visible(text) for text, _ in job.failures[:2])
    yield "!", failed, "failed", f"{why}; --retry-failed submits {'it' if failed == 1 else 'them'} again"
    yield ".", job.count(Action.ABANDONED), "abandoned", "given up by resolve; --again ADDRESS submits one again"
    yield "-", job.count(Action.ORPHANED), "orphaned", "in the manifest, no longer in the file (kept)"


def _cause(cause: Cause) -> str:
    return visible(cause.text) + (f" ({visible(cause.place)})" if cause.place else "")


def _days(days: tuple[str, str] | None) -> str:
    if days is None:
        return ""
    first, last = days
    if first == last:
        return f"submitted {first}"
    # Days of one year: the year stands once.
    return f"submitted {first} … {last[5:] if first[:5] == last[:5] else last}"


def counts(of: Plan | PlannedJob) -> list[tuple[int, str]]:
    """How many requests are new, changed, done …, of a job or of all jobs of a plan; only what there is."""
    against = of.against
    found = [(of.count(Action.NEW), "new")]
    # Against a base, what was never submitted is told apart: ``Action.NEW`` counts all three as one.
    if against is not None:
        found = [(against.new, "new"), (against.changed, "changed")]
        found += [(against.pending, "pending"), (against.removed, "removed")]
    found += [
        (of.count(Action.RETRY, Action.AGAIN), "again"),
        (of.count(Action.DONE, Action.ELSEWHERE), "done"),
        (of.count(Action.RESUME, Action.FETCH), "to fetch"),
        (of.count(Action.IN_DOUBT, Action.REPLAY), "in doubt"),
        (of.count(Action.REPLAY), "of them to be replayed"),
        (of.count(Action.FAILED), "failed"),
        (of.count(Action.LATER), "later"),
    ]
    return [(count, word) for count, word in found if count]


def in_all(plan: Plan) -> str:
    """``12 new, 3 changed, 4 removed, 26 done, 1 in doubt``, over all jobs."""
    return ", ".join(f"{count:,} {word}" for count, word in counts(plan)) or "no requests"


def total(plan: Plan) -> str:
    """The last line: how many requests, images, how much money, and the budgets."""
    if plan.submit == 0:
        return "Plan: nothing to submit."
    each = visible(str(plan.tariff)) if plan.tariff.usd is not None else ""
    if each:
        each = f", {each}" if plan.rehearsal else f" ({each})"
    most = f"At most {plural(plan.images, 'image')}, {plan.money(plan.cost)}{each}."
    parts = [f"Plan: {plan.submit:,} to submit.", most]
    for job in plan.jobs:
        if job.budget_usd is not None:
            whose = f" of {visible(job.name)}" if len(plan.jobs) > 1 else ""
            already = f", {plan.money(job.spent_usd)} spent" if job.spent_usd else ""
            parts.append(f"Budget{whose} {budget_text(job.budget_usd)}{already}.")
    parts.extend(f"{visible(name)} {budget_text(limit)}." for name, limit in plan.budgets)
    return " ".join(parts)


_MARKS: tuple[tuple[str, tuple[Action, ...]], ...] = (
    ("=", (Action.DONE, Action.ELSEWHERE)),
    (">", (Action.RESUME, Action.FETCH)),
    ("?", (Action.IN_DOUBT, Action.REPLAY)),
    ("!", (Action.FAILED,)),
    (".", (Action.ABANDONED,)),
)


def plan_concise(plan: Plan) -> str:
    """``garden.yaml +12 ~3 -4 =26 ?1``, then how much is to be submitted for how much."""
    lines = [" ".join([one_line(job.shown), *_marked_counts(job)]) for job in plan.jobs]
    if plan.submit:
        lines.append(f"{plan.submit:,} to submit, {plural(plan.images, 'image')}, {plan.money(plan.cost)}")
    else:
        lines.append("nothing to submit")
    return "\n".join(lines) + "\n"


def _marked_counts(job: PlannedJob) -> Iterator[str]:
    # Without a base, what the record has and the file no longer makes stands for what was removed.
    against = job.against or Against(removed=job.count(Action.ORPHANED))
    found = [("+", job.submit - against.changed), ("~", against.changed), ("-", against.removed)]
    found += [(mark, job.count(*actions)) for mark, actions in _MARKS]
    return (f"{mark}{count}" for mark, count in found if count)


_VERDICTS = {"made": "is made", "dropped": "is not made", "merged": "is made once, with another one"}


def explanation_text(explanation: Explanation) -> str:
    """Lines such as ``axis     size = 16:9    garden.yaml:12``, with a final line end."""
    lines = [f"{visible(explanation.address)} {_VERDICTS[explanation.verdict]}"]
    width = max((len(reason.what) for reason in explanation.reasons), default=0)
    for reason in explanation.reasons:
        place = f"  [{reason.place}]" if reason.place else ""
        lines.append(visible(f"  {reason.what:<{width}}  {reason.text}{place}"))
    request = explanation.request
    if request is not None:
        lines.append(f"  {'output':<{width}}  {visible(request.output)}")
        lines.append(f"  {'key':<{width}}  {request.key}")
    return "\n".join(lines) + "\n"


def request_row(request: Request) -> str:
    """``address  2K 16:9  prompt …`` on one line."""
    prompt = one_line(str(request.payload["prompt"]), 100)
    parameters = " ".join(
        f"{name}={value}" if name not in ("size", "resolution") else str(value)
        for name, value in request.payload.items()
        if name not in ("model", "prompt", "image_urls")
    )
    return "  ".join(filter(None, (visible(request.address), visible(parameters), prompt)))


_MEANT = re.compile(r"[^\w ./=,+#~@%:-]")
"""What a shell may give a meaning, also in a line that was pasted."""


def request_curl(request: Request, files: Files, base_url: str) -> str:
    """A command that makes the same request by hand; the key stays in its variable.

    It is safe to paste, whatever a file is called. To an interactive zsh ``#`` begins no comment, so that the address
    stands there without what a shell gives a meaning; the body is JSON on one line. It is the POST's own, local
    references in it, and comes by standard input: no shell takes 128 KiB as one word.

    :raises UsageError: as ``data_uri``
    """
    urls = {name: data_uri(reference, files) for name, reference in request.references.items()}
    # 'BODY' in quotes: the shell expands nothing in the text.
    return (
        f"# {_MEANT.sub('_', visible(request.address))}\n"
        f"curl {base_url}/v1/images/generations \\\n"
        '  --header "Authorization: Bearer $APIMART_API_KEY" \\\n'
        "  --header 'Content-Type: application/json' \\\n"
        "  --data-binary @- <<'BODY'\n"
        f"{escaped_json(wire_body(request.payload, urls).decode())}\n"
        "BODY"
    )
