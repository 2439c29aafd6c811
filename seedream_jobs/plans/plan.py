"""This module defines the plan as a value: what would be submitted of each job, why, and for how much.

The pipeline calls ``make_plan``, which makes it of jobs and their records; ``plans.saved`` writes and reads it. Every
view and ``pipeline.apply`` work from it alone. Invariant: the requests of a plan just made are streams that are made
anew each time they are looked at, so that a plan of a million requests needs bounded memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from itertools import chain
from typing import Any, Generic, Literal, TypeVar

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import UsageError
from seedream_jobs.expand.references import Reference
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.campaign import Elsewhere, held_elsewhere
from seedream_jobs.ledger.ledger import Ledger, other_origin
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.service_errors import in_words
from seedream_jobs.ledger.state import Entry, Intended, Moment, State
from seedream_jobs.plans.causes import Cause, RecordCauses
from seedream_jobs.plans.cost import Tariff, asks_for_more, check_budget, money, price_seen, spent, tariff_of
from seedream_jobs.plans.diff import SUBMITS, Action, Change, Changes
from seedream_jobs.plans.load import EMULATOR_ORIGIN, Job, check_count, check_names, policy_budgets
from seedream_jobs.plans.options import PlanOptions, check_values, selector

T = TypeVar("T")

Relation = Literal["new", "changed", "unchanged"]
"""What a request is against the base revision: not there, there with another payload at its address, or the same."""

SHOWN_WHOLE = SUBMITS | {Action.LATER}
"""The actions whose requests are shown with their payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRequest:
    """One request of a plan.

    :param known: its state in the manifest when the plan was made; None if it had no entry
    :param generation: the attempt that would be submitted, or the last one that was
    :param request: None for a request that is neither submitted nor changed, and for an orphan
    :param relation: to the base revision; None where the plan has none
    :param before: the base's payload at the same address, for a changed request
    """

    action: Action
    key: str
    address: str
    generation: int
    max_images: int
    known: str | None
    note: str = ""
    request: Request | None = None
    relation: Relation | None = None
    before: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A request of the base that the head no longer makes. ``known`` is its state in the manifest, if it has one."""

    key: str
    address: str
    payload: Mapping[str, Any]
    known: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """One job against its base revision, in numbers.

    ``new`` and ``changed`` would be submitted because of the change, ``pending`` without it (they are in the base and
    were never submitted); all three are among the requests with the action ``new``.

    :param removed: requests of the base that the head no longer makes; ``removed_paid`` of them are in the manifest
    :param causes: why requests are new, the most frequent first; ``changed_causes`` why they are changed
    :param notes: one line each: the file is new, was removed, or has errors in the base
    """

    new: int = 0
    changed: int = 0
    pending: int = 0
    removed: int = 0
    removed_paid: int = 0
    causes: tuple[Cause, ...] = ()
    changed_causes: tuple[Cause, ...] = ()
    more_causes: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """One job of a plan. Paths are POSIX; money is USD.

    :param shown: the job file as the user named it, ``path`` relative to the campaign's root
    :param record: the manifest's file, relative to the campaign's root
    :param manifest: the manifest's id; None as long as there is none
    :param requests: how many the job file asks for; ``images`` is the most they can deliver
    :param counts: requests per action
    :param budget_name: whose limit ``budget_usd`` is: the job's own, or a policy's
    :param elsewhere: how many are paid in other manifests, by their job
    :param claimed: how many another job of the same plan is about to submit, by that job
    :param days: first and last day on which a finished request was submitted, ``YYYY-MM-DD``
    :param failures: why requests failed, and how many; the most frequent first
    :param items: what would happen to each request, but for those that are done
    :param submits: the requests that are to be submitted or replayed
    :param job: where the plan was just made: the job file, the ``ledger`` it was compared with, and the stream of
        ``changes`` that all of this comes from; a saved plan has none of them
    """

    shown: str
    path: str
    name: str
    record: str
    manifest: str | None
    requests: int = 0
    images: int = 0
    submit: int = 0
    submit_images: int = 0
    counts: Mapping[Action, int] = field(default_factory=dict)
    causes: tuple[Cause, ...] = ()
    more_causes: int = 0
    elsewhere: Mapping[str, int] = field(default_factory=dict)
    claimed: Mapping[str, int] = field(default_factory=dict)
    days: tuple[str, str] | None = None
    failures: tuple[tuple[str, int], ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
    max_requests: int = 0
    budget_usd: Decimal | None = None
    budget_name: str = ""
    spent_usd: Decimal | None = None
    against: Against | None = None
    items: Iterable[PlannedRequest] = ()
    submits: Iterable[PlannedRequest] = ()
    removed: Iterable[Removed] = ()
    job: Job | None = None
    ledger: Ledger | None = None
    changes: Changes | None = None

    def count(self, *actions: Action) -> int:
        """How many requests have one of these actions."""
        return sum(self.counts.get(action, 0) for action in actions)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of its base, one line each."""
        return () if self.against is None else self.against.notes

    @property
    def all_causes(self) -> tuple[Cause, ...]:
        """Why requests are new or changed: against the base where there is one, else against the record."""
        return self.causes if self.against is None else (*self.against.causes, *self.against.changed_causes)

    def references(self) -> dict[str, Reference]:
        """The local references of what is to be submitted, each once, by their ``sha256:…``."""
        return {
            name: reference
            for item in self.submits
            if item.request is not None
            for name, reference in item.request.references.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A git revision as it was named, and the commit it was then."""

    name: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan over one or several jobs.

    :param origin: the service that the manifests belong to
    :param budgets: those of the whole invocation, as (name, USD)
    :param options: what the operator said that changes requests, such as ``set`` values
    :param head: None for the work tree
    :param made_at: Unix seconds; None for a plan that is not saved
    :param digest: the approval digest; None for a plan that is not saved
    """

    origin: str
    tariff: Tariff
    jobs: tuple[PlannedJob, ...]
    budgets: tuple[tuple[str, Decimal], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    base: Revision | None = None
    head: Revision | None = None
    made_at: Moment | None = None
    digest: str | None = None

    @property
    def rehearsal(self) -> bool:
        """Whether it is for the emulator, where nothing is paid."""
        return self.origin == EMULATOR_ORIGIN

    @property
    def option(self) -> str:
        """The option that makes another command look at the records of this plan."""
        return " --emulator" if self.rehearsal else ""

    def money(self, usd: Decimal | None) -> str:
        """An amount as people read it; of a rehearsal it says that it is play money."""
        return money(usd, play=self.rehearsal)

    @property
    def submit(self) -> int:
        """How many requests would be submitted."""
        return sum(job.submit for job in self.jobs)

    @property
    def images(self) -> int:
        """The most images those can deliver."""
        return sum(job.submit_images for job in self.jobs)

    @property
    def cost(self) -> Decimal | None:
        """The most those can cost, USD; None where the price is unknown."""
        return self.tariff.cost(self.images)

    @property
    def against(self) -> Against | None:
        """All jobs against their bases, in numbers; None for a plan of one tree."""
        found = [job.against for job in self.jobs if job.against is not None]
        if not found:
            return None
        return Against(
            new=sum(one.new for one in found),
            changed=sum(one.changed for one in found),
            pending=sum(one.pending for one in found),
            removed=sum(one.removed for one in found),
            removed_paid=sum(one.removed_paid for one in found),
        )

    def count(self, *actions: Action) -> int:
        """How many requests of all jobs have one of these actions."""
        return sum(job.count(*actions) for job in self.jobs)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """The warnings of all jobs."""
        return tuple(warning for job in self.jobs for warning in job.warnings)


def check_budgets(plan: Plan) -> None:
    """Refuse a plan that is over any of its budgets.

    :raises MoneyError: with the numbers and the ways out
    """
    for job in plan.jobs:
        check_job_budget(plan, job)
    for name, limit in plan.budgets:
        check_budget(name, limit, Decimal(0), plan.cost, plan.images)


def check_job_budget(plan: Plan, job: PlannedJob) -> None:
    """Refuse a plan that is over the budget of one job.

    :raises MoneyError: with the numbers and the ways out
    """
    if job.budget_usd is not None:
        planned = plan.tariff.cost(job.submit_images)
        check_budget(job.budget_name, job.budget_usd, job.spent_usd or Decimal(0), planned, job.submit_images)


class Stream(Generic[T]):
    """An iterable that is made anew each time it is iterated over."""

    def __init__(self, make: Callable[[], Iterator[T]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[T]:
        return self._make()


def make_plan(
    jobs: Sequence[Job],
    ledgers: Sequence[Ledger],
    elsewhere: Sequence[Elsewhere],
    *,
    origin: str,
    options: PlanOptions,
    rejected: Sequence[frozenset[str]] | None = None,
) -> Plan:
    """Compare each job's requests with its record. Writes nothing.

    :param ledgers: of each job, for reading or locked
    :param elsewhere: for each job, what other manifests of its campaign have paid
    :param origin: the service's; a manifest of another one is refused
    :param rejected: for each job the keys to submit again because their images were rejected
    :raises FindingsError: a job has errors, or more requests than ``limits.max_requests``
    :raises HeldError: a manifest was written against another origin
    :raises UsageError: ``--select`` or ``--again`` names what no job has
    """
    planned: list[PlannedJob] = []
    claimed: dict[str, int] = {}  # what the jobs submit, to the number of the first job that does
    limit = options.limit  # over all jobs
    unwanted = [frozenset[str]()] * len(jobs) if rejected is None else rejected
    for number, (job, ledger, paid, again) in enumerate(zip(jobs, ledgers, elsewhere, unwanted, strict=True)):
        # As in ``Ledger.open``: a record without a payment goes over to the origin of the next run.
        if ledger.header is not None and ledger.header.origin != origin and ledger.tied:
            raise other_origin(ledger.paths.manifest, origin)
        known = {**held_elsewhere(ledger.entries, paid=True), **paid.jobs}
        changes = Changes(
            expansion=job.expansion,
            entries=ledger.entries,
            elsewhere=partial(_elsewhere, claimed, jobs, number, known) if number else known.get,
            claimed=frozenset(held_elsewhere(ledger.entries, paid=False)),
            options=options,
            select=None if options.select is None else selector(options.select, job.expansion),
            limit=limit,
            rejected=again,
        )
        one = _planned(job, ledger, changes, claimed, number, claims=number < len(jobs) - 1)
        limit = None if limit is None else limit - one.submit
        check_count(job, job.expansion.made)  # --select does not lift the limit
        check_names(job)
        planned.append(replace(one, warnings=(*job.warnings, *job.expansion.merge_warnings(), *ledger.notes)))
    # A value that one job lacks may be another's: refused is only what fits none of them.
    if options.select is not None and not any(one.requests for one in planned):
        check_values(options.select, (job.expansion for job in jobs))
    _check_again(planned, options.again)
    price = _tariff(jobs, planned, ledgers, options.price)
    return Plan(
        origin=origin,
        tariff=price,
        jobs=tuple(
            replace(one, spent_usd=_spent(job, ledger.entries, paid, price))
            for job, one, ledger, paid in zip(jobs, planned, ledgers, elsewhere, strict=True)
        ),
        budgets=(*options.budgets, *policy_budgets(jobs)),
        options=options.recorded,
    )


def _elsewhere(
    claimed: Mapping[str, int], jobs: Sequence[Job], number: int, paid: Mapping[str, str], key: str
) -> str | None:
    """The other job that submits a request earlier in the plan, or has paid for it."""
    # The stream of changes is made anew later, and must not see what its own job and later ones claim.
    first = claimed.get(key, number)
    return jobs[first].shown if first < number else paid.get(key)


def _check_again(planned: Sequence[PlannedJob], again: tuple[str, ...]) -> None:
    # ``items`` leaves out only what is done, and a request that --again names never is.
    known = {item.address for job in planned for item in job.items} if again else set()
    for address in again:
        if address not in known:
            raise UsageError(f"--again {address}: no request has this address", hint="seedream-jobs expand lists them")


def _tariff(
    jobs: Sequence[Job], planned: Sequence[PlannedJob], ledgers: Sequence[Ledger], override: Decimal | None
) -> Tariff:
    # A job with nothing to submit must not make the price unknown.
    submits = [(job, ledger) for job, one, ledger in zip(jobs, planned, ledgers, strict=True) if one.submit]
    for job, _ in submits:
        if more := asks_for_more(job.expansion.spec.extra):
            # No maximum is known then, and no budget can be kept.
            return Tariff(usd=None, source=f"unknown: request.extra.{more} may ask for more images")
    seen = price_seen(ledger.entries for ledger in ledgers) if submits else None
    of = [tariff_of(job.expansion.spec.profile, override, seen) for job in [job for job, _ in submits] or jobs[:1]]
    # A plan has one price: the highest of its jobs' models, so that no budget is too wide; unknown where one is.
    return max(of, key=lambda tariff: (tariff.usd is None, tariff.usd))


def changes_of(job: PlannedJob) -> Changes:
    """The stream that a job's part of a plan was made from; a saved plan has none."""
    assert job.changes is not None
    return job.changes


def _spent(job: Job, entries: Entries, paid: Elsewhere, tariff: Tariff) -> Decimal | None:
    if job.expansion.spec.budget_usd is None:
        return None
    # A job that was renamed without its record keeps its budget: what the gone job paid for the same requests counts.
    gone = paid.of_gone_jobs(place.key for place in job.expansion.places()) if paid.jobless else ()
    return spent(chain(entries.values(), gone), tariff)


def _planned(
    job: Job, ledger: Ledger, changes: Changes, claimed: dict[str, int], number: int, *, claims: bool
) -> PlannedJob:
    """Make one job's part of a plan in one pass over its changes.

    :param claimed: keys that earlier jobs of the plan submit, to the job's number
    :param claims: there are later jobs, so that what this one submits is added
    """
    spec, entries, manifest = job.expansion.spec, changes.entries, job.paths.manifest
    causes = RecordCauses(job.expansion, entries)
    counts, elsewhere, taken, failures = Counter[Action](), Counter[str](), Counter[str](), Counter[str]()
    requests = images = submit = submit_images = 0
    days: set[str] = set()
    for change in changes:
        action = change.action
        counts[action] += 1
        if change.place is not None:
            requests += 1
            images += change.max_images
        if action is Action.DONE:
            days.add(entries.submitted_day(change.key))
        elif action in SUBMITS:
            submit += 1
            submit_images += change.max_images
            if claims:
                claimed.setdefault(change.key, number)
            if action is Action.NEW:
                causes.count(change)
        elif action is Action.ELSEWHERE:
            (taken if claimed.get(change.key, number) < number else elsewhere)[change.note] += 1
        elif action is Action.FAILED:
            failures[_failure(entries[change.key])] += 1
    days.discard("")
    found, more = causes.result()
    return PlannedJob(
        shown=job.shown,
        path=(spec.folder / job.file.name).as_posix(),
        name=spec.name,
        record=manifest.relative_to(spec.root).as_posix() if manifest.is_relative_to(spec.root) else str(manifest),
        manifest=None if ledger.header is None else ledger.id,
        requests=requests,
        images=images,
        submit=submit,
        submit_images=submit_images,
        counts={action: counts[action] for action in Action if counts[action]},
        causes=found,
        more_causes=more,
        elsewhere=dict(sorted(elsewhere.items())),
        claimed=dict(sorted(taken.items())),
        days=(min(days), max(days)) if days else None,
        failures=tuple(failures.most_common()),
        max_requests=spec.max_requests,
        budget_usd=spec.budget_usd,
        budget_name="" if spec.budget_usd is None else job.budget_name,
        # Made anew at each look: a list of a million requests would be held in memory.
        items=Stream(lambda: (planned_request(changes, one) for one in changes if one.action is not Action.DONE)),
        submits=Stream(lambda: (planned_request(changes, one) for one in changes.submits())),
        job=job,
        ledger=ledger,
        changes=changes,
    )


def _failure(entry: Entry) -> str:
    if entry.state is State.EXPIRED:
        return "links died before they were fetched"
    if entry.error is None:
        return str(entry.state)
    return in_words(entry.error, limit=80) or str(entry.state)


def planned_request(changes: Changes, change: Change, *, whole: bool = False) -> PlannedRequest:
    """One request of a plan.

    :param whole: with its payload, whatever becomes of it
    """
    brief, place, expansion = changes.entries.summary(change.key), change.place, changes.expansion
    request: Request | None = None
    if place is None:
        address = changes.entries[change.key].address
    elif whole or change.action in SHOWN_WHOLE:
        request = expansion.request(place)
        address = request.address
    else:
        address = expansion.builder.address(place.cell, place.repeat)
    return PlannedRequest(
        action=change.action,
        key=change.key,
        address=address,
        generation=change.generation,
        max_images=change.max_images,
        known=None if brief is None else str(brief[0]),
        note=change.note,
        request=request,
    )


def intent_of(
    request: Request, *, at: int, generation: int, max_cost_usd: Decimal | None, idempotency_key: str
) -> Intended:
    """The event that announces a request, with all that a record says of it."""
    return Intended(
        key=request.key,
        at=at,
        generation=generation,
        address=request.address,
        cell=request.cell,
        request=request.payload,
        repeat=request.repeat,
        output=request.output,
        max_images=request.max_images,
        max_cost_usd=max_cost_usd,
        idempotency_key=idempotency_key,
    )
