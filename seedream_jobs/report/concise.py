"""A plan in a line for each job: for logs, chat and a quick look."""

from __future__ import annotations

from collections.abc import Iterator

from seedream_jobs.plan.cost import money
from seedream_jobs.plan.diff import Action
from seedream_jobs.plan.document import JobDocument, PlanDocument
from seedream_jobs.report.hostile import defused, one_line
from seedream_jobs.report.text import plural

_MARKS: tuple[tuple[str, tuple[Action, ...]], ...] = (
    ("=", (Action.DONE, Action.ELSEWHERE)),
    (">", (Action.RESUME, Action.FETCH)),
    ("?", (Action.IN_DOUBT, Action.REPLAY)),
    ("!", (Action.FAILED,)),
    (".", (Action.ABANDONED,)),
)


def plan_concise(plan: PlanDocument) -> str:
    """``garden.yaml +12 ~3 -4 =26 ?1``, then how much is to be submitted for how much."""
    lines = [defused(" ".join([one_line(job.shown), *_counts(job)])) for job in plan.jobs]
    if plan.submit:
        lines.append(f"{plan.submit:,} to submit, {plural(plan.images, 'image')}, {money(plan.cost)}")
    else:
        lines.append("nothing to submit")
    return "\n".join(lines) + "\n"


def _counts(job: JobDocument) -> Iterator[str]:
    against = job.against
    changed = 0 if against is None else against.changed
    if job.submit - changed:
        yield f"+{job.submit - changed}"
    if changed:
        yield f"~{changed}"
    if against is not None and against.removed:
        yield f"-{against.removed}"
    elif against is None and job.count(Action.ORPHANED):
        yield f"-{job.count(Action.ORPHANED)}"
    for mark, actions in _MARKS:
        count = sum(job.count(action) for action in actions)
        if count:
            yield f"{mark}{count}"
