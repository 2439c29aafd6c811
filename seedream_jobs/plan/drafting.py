"""From a plan just computed to its document: what would happen to each request, made when it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from seedream_jobs.plan.comparison import Comparison
from seedream_jobs.plan.diff import Action, Change
from seedream_jobs.plan.document import SHOWN_WHOLE, Against, Item, JobDocument, PlanDocument, Relation, Revision
from seedream_jobs.plan.jobs import JobPlan, JobsPlan

T = TypeVar("T")


class Stream(Generic[T]):
    """Something that can be gone through again and again, each time made anew."""

    def __init__(self, make: Callable[[], Iterator[T]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[T]:
        return self._make()


def document_of(
    planned: JobsPlan,
    *,
    origin: str,
    comparisons: Mapping[str, Comparison] | None = None,
    options: Mapping[str, Any] | None = None,
    base: Revision | None = None,
    head: Revision | None = None,
) -> PlanDocument:
    """The document of a plan just computed.

    :param comparisons: by the job's root-relative path, where the plan is one between two revisions
    """
    return PlanDocument(
        origin=origin,
        tariff=planned.tariff,
        jobs=tuple(_job(part, (comparisons or {}).get(path_of(part))) for part in planned.jobs),
        budgets=planned.budgets,
        options=dict(options or {}),
        base=base,
        head=head,
    )


def path_of(part: JobPlan) -> str:
    """The job file, POSIX, relative to the campaign's root."""
    return (part.job.expansion.spec.folder / part.job.file.name).as_posix()


def _job(part: JobPlan, comparison: Comparison | None) -> JobDocument:
    summary, spec = part.summary, part.job.expansion.spec
    manifest = part.job.paths.manifest
    document = JobDocument(
        shown=part.job.shown,
        path=path_of(part),
        name=spec.name,
        record=manifest.relative_to(spec.root).as_posix() if manifest.is_relative_to(spec.root) else str(manifest),
        manifest=None if part.ledger.header is None else part.ledger.id,
        requests=summary.requests,
        images=summary.images,
        submit=summary.submit,
        submit_images=summary.submit_images,
        counts={action: summary.counts[action] for action in Action if summary.counts[action]},
        causes=summary.causes,
        more_causes=summary.more_causes,
        elsewhere=dict(sorted(summary.elsewhere.items())),
        claimed=dict(sorted(summary.claimed.items())),
        days=summary.submitted_days,
        failures=tuple(summary.failures.most_common()),
        warnings=summary.warnings,
        max_requests=spec.max_requests,
        budget_usd=spec.budget_usd,
        budget_name="" if spec.budget_usd is None else part.job.budget_name,
        spent_usd=part.spent,
        items=Stream(lambda: _items(part, comparison)),
    )
    if comparison is None:
        return document
    return replace(
        document,
        against=against_of(part, comparison),
        removed=Stream(lambda: comparison.removed(part.ledger.entries)),
    )


def against_of(part: JobPlan, comparison: Comparison) -> Against:
    """The numbers of a job against its base."""
    counts: dict[str, int] = {"new": 0, "changed": 0, "unchanged": 0}
    causes = {"new": comparison.causes(), "changed": comparison.causes(), "unchanged": comparison.causes()}
    for change in part.submissions(part.ledger.entries):
        assert change.place is not None
        if change.action is Action.NEW:
            relation = comparison.relation(change.place)
            counts[relation] += 1
            causes[relation].count(change.place, relation)
    removed = list(comparison.removed(part.ledger.entries))
    (new, more_new), (changed, more_changed) = causes["new"].result(), causes["changed"].result()
    return Against(
        new=counts["new"],
        changed=counts["changed"],
        pending=counts["unchanged"],
        removed=len(removed),
        removed_paid=sum(1 for one in removed if one.known is not None),
        causes=new,
        changed_causes=changed,
        more_causes=more_new + more_changed,
        notes=comparison.notes,
    )


def _items(part: JobPlan, comparison: Comparison | None) -> Iterator[Item]:
    """What would happen to each request but those that are done; nothing happens to them."""
    for change in part.stream(part.ledger.entries):
        if change.action is not Action.DONE:
            yield _item(part, change, comparison)


def _item(part: JobPlan, change: Change, comparison: Comparison | None) -> Item:
    brief = part.ledger.brief(change.key)
    place, expansion = change.place, part.job.expansion
    request, address = None, ""
    relation: Relation | None = None
    before: Mapping[str, Any] | None = None
    if place is None:
        address = part.ledger.entries[change.key].address
    else:
        relation = None if comparison is None else comparison.relation(place)
        if change.action in SHOWN_WHOLE or relation == "changed":
            request = expansion.request(place)
        address = expansion.builder.address(place.cell, place.repeat) if request is None else request.address
        if comparison is not None and relation == "changed":
            before = comparison.before(place).payload
    return Item(
        action=change.action,
        key=change.key,
        address=address,
        generation=change.generation,
        max_images=change.max_images,
        known=None if brief is None else str(brief[0]),
        note=change.note,
        request=request,
        relation=relation,
        before=before,
    )
