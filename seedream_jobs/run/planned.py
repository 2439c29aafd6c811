"""From a plan to what is to be done: its requests as submissions, each built only when a worker comes free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import partial

from seedream_jobs.ledger.state import State
from seedream_jobs.plan.diff import Change
from seedream_jobs.plan.jobs import JobPlan, JobsPlan
from seedream_jobs.run.duty import Duty
from seedream_jobs.run.finishing import Finish
from seedream_jobs.run.offers import offer
from seedream_jobs.run.spend import Budget
from seedream_jobs.run.submission import Submission


def duties(planned: JobsPlan, urls: Mapping[str, str], finishing: Finish, *, detach: bool) -> list[Duty]:
    """What is to be done for each job of a plan."""
    made: list[Duty] = []
    for index, part in enumerate(planned.jobs):
        spec = part.job.expansion.spec
        limit = spec.budget_usd
        made.append(
            Duty(
                ledger=part.ledger,
                submissions=_submissions(planned, index, urls),
                doubts=partial(_doubts, planned, index, urls),
                budgets=() if limit is None else (Budget(part.job.budget_name, limit, part.spent or Decimal(0)),),
                profile=spec.profile,
                poll=not detach,
                fetch=not detach,
                folder=part.job.paths.manifest.parent,
                root=spec.root,
                finishing=finishing(part.job.paths.manifest.parent, spec.root, part.job),
            )
        )
    return made


def _submissions(planned: JobsPlan, index: int, urls: Mapping[str, str]) -> Iterator[Submission]:
    """The requests of one job that are to be sent, built one at a time as workers come free."""
    part = planned.jobs[index]
    for change in part.submissions(part.ledger.entries):
        yield _offered(planned, part, change, urls)


def _doubts(planned: JobsPlan, index: int, urls: Mapping[str, str]) -> Iterator[Submission]:
    """The requests of one job that are in doubt and would go out as the very same POST under the same key again.

    Only where the service is proven to replay such a POST are they sent; their money is committed already.
    """
    part = planned.jobs[index]
    known = part.ledger.entries
    if not any((brief := known.brief(key)) and brief[0] is State.IN_DOUBT for key in known):
        return  # or the whole matrix would be expanded once more to find none
    for change in part.doubts(known):
        entry = known[change.key]
        if entry.state is not State.IN_DOUBT or entry.submitted_at is None:
            continue
        submission = _offered(planned, part, change, urls)
        if submission.idempotency_key == entry.idempotency_key:
            yield replace(submission, in_doubt_since=entry.submitted_at, replays=entry.replays)


def _offered(planned: JobsPlan, part: JobPlan, change: Change, urls: Mapping[str, str]) -> Submission:
    assert change.place is not None
    return offer(
        part.job.expansion.request(change.place),
        generation=change.generation,
        manifest=part.ledger.id,
        max_cost_usd=planned.tariff.cost(change.max_images),
        files=part.job.expansion.spec.files,
        urls=urls,
    )
