"""A plan over one or several jobs: each held against its own ledger, all of them against the budgets."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import chain

from seedream_jobs.errors import HeldError
from seedream_jobs.expand.references import Reference
from seedream_jobs.job.files import Files
from seedream_jobs.ledger.campaign import Elsewhere
from seedream_jobs.ledger.entries import Entries
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import State
from seedream_jobs.ledger.state_rules import may_be_replayed
from seedream_jobs.plan.cost import Tariff, asks_for_more, hold, price_seen, spent
from seedream_jobs.plan.diff import SUBMITS, Change, Wish, changes, under_way, with_orphans
from seedream_jobs.plan.job import Job, hold_count, hold_names
from seedream_jobs.plan.summary import Summary, summarise


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """One job's part of a plan; its requests are streamed anew each time.

    :param elsewhere: key to the manifest of the campaign, other than the job's own, in which it is paid
    """

    job: Job
    ledger: Ledger
    summary: Summary
    spent: Decimal | None
    elsewhere: Mapping[str, str]
    wish: Wish

    def stream(self, known: Entries) -> Iterator[Change]:
        """Every request, then the orphans of the manifest, by what is known now."""
        return with_orphans(self._requests(known, self.wish), self.job.expansion, known)

    def submissions(self, known: Entries) -> Iterator[Change]:
        """The requests that would be submitted, by what is known now."""
        return (change for change in self._requests(known, self.wish) if change.action in SUBMITS)

    def _requests(self, known: Entries, wish: Wish) -> Iterator[Change]:
        return changes(self.job.expansion, known, self.elsewhere, wish)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsPlan:
    """All jobs of one invocation."""

    jobs: tuple[JobPlan, ...]
    tariff: Tariff
    budgets: tuple[tuple[str, Decimal], ...] = field(default=())

    @property
    def submit(self) -> int:
        """How many requests would be submitted."""
        return sum(job.summary.submit for job in self.jobs)

    @property
    def images(self) -> int:
        """The most images those can deliver."""
        return sum(job.summary.submit_images for job in self.jobs)

    @property
    def cost(self) -> Decimal | None:
        """The most those can cost, USD; None where the price is unknown."""
        return self.tariff.cost(self.images)

    def references(self) -> dict[str, tuple[Reference, Files]]:
        """The local references of what would be submitted, each once, by their ``sha256:…``."""
        found: dict[str, tuple[Reference, Files]] = {}
        for part in self.jobs:
            for change in part.submissions(part.ledger.entries):
                assert change.place is not None
                request = part.job.expansion.request(change.place)
                for name, reference in request.references.items():
                    found.setdefault(name, (reference, part.job.expansion.spec.files))
        return found

    def hold_budgets(self) -> None:
        """Refuse a plan that any budget can't bear.

        :raises MoneyError: with the numbers and the ways out
        """
        for job in self.jobs:
            limit = job.job.expansion.spec.budget_usd
            if limit is not None:
                planned = self.tariff.cost(job.summary.submit_images)
                hold(job.job.budget_name, limit, job.spent or Decimal(0), planned, job.summary.submit_images)
        for name, limit in self.budgets:
            hold(name, limit, Decimal(0), self.cost, self.images)


def plan_jobs(
    jobs: Sequence[Job],
    *,
    origin: str,
    elsewhere: Callable[[Job], Elsewhere],
    wish: Callable[[Job], Wish],
    tariff: Callable[[tuple[str, Decimal] | None], Tariff],
    budgets: Sequence[tuple[str, Decimal]] = (),
    ledger_of: Callable[[Job], Ledger],
) -> JobsPlan:
    """Hold each job's requests against its ledger. Writes nothing.

    :param origin: the service's; a manifest of another one is refused
    :param elsewhere: for a job, what other manifests of its campaign have paid
    :param tariff: the price to count with, from what the service charged last: (day, USD per image)
    :param ledger_of: the job's ledger, for reading or held
    :raises FindingsError: a job has errors, or more requests than ``limits.max_requests``
    :raises HeldError: a manifest was written against another origin
    """
    planned: list[JobPlan] = []
    paid_of: list[Elsewhere] = []
    claimed: dict[str, str] = {}
    left: int | None = None
    for job in jobs:
        ledger = ledger_of(job)
        if ledger.header is not None and ledger.header.origin != origin and ledger.tied:
            raise HeldError(
                f"{ledger.paths.manifest.name} was written against {ledger.header.origin}, not {origin}",
                hint="name that origin by --base-url, or give the job file another name",
            )
        paid = elsewhere(job)
        others = ChainMap(dict(claimed), paid.jobs) if claimed else paid.jobs
        asked = wish(job) if left is None else replace(wish(job), limit=left)  # --limit counts over all jobs
        if asked.retry_failed:
            asked = replace(asked, under_way=under_way(ledger.entries))
        if asked.replay_at is not None:
            asked = replace(asked, replay=_replayable(ledger.entries, asked.replay_at))
        requests = changes(job.expansion, ledger.entries, others, asked)
        stream = with_orphans(requests, job.expansion, ledger.entries)
        observed = _claiming(stream, job, claimed) if len(jobs) > 1 else stream
        summary = summarise(job.expansion, observed, ledger.entries, claimed)
        left = None if asked.limit is None else asked.limit - summary.submit
        hold_count(job, job.expansion.made)  # also those that --select leaves out
        hold_names(job)
        summary.warnings = (*job.warnings, *job.expansion.merge_warnings(), *ledger.notes)
        planned.append(JobPlan(job=job, ledger=ledger, summary=summary, spent=None, elsewhere=others, wish=asked))
        paid_of.append(paid)
    submits = any(part.summary.submit for part in planned)
    price = tariff(price_seen(part.ledger.entries for part in planned) if submits else None)
    asking = (asks_for_more(part.job.expansion.spec.extra) for part in planned if part.summary.submit)
    if more := next(filter(None, asking), None):  # then no maximum is known, and no budget can be held
        price = Tariff(usd=None, source=f"unknown: request.extra.{more} may ask for more images")
    parts = tuple(_with_spent(part, paid, price) for part, paid in zip(planned, paid_of, strict=True))
    return JobsPlan(jobs=parts, tariff=price, budgets=tuple(budgets))


def _with_spent(part: JobPlan, paid: Elsewhere, tariff: Tariff) -> JobPlan:
    """A job's plan with what counts against its budget already, where it has one.

    That is what is on its own record, and what a job that is gone paid for the same requests: a renamed job.
    """
    if part.job.expansion.spec.budget_usd is None:
        return part
    gone = paid.of_gone_jobs(place.key for place in part.job.expansion.places()) if paid.jobless else ()
    return replace(part, spent=spent(chain(part.ledger.entries.values(), gone), tariff))


def _replayable(known: Entries, now: int) -> frozenset[str]:
    doubts = (key for key in known if (brief := known.brief(key)) and brief[0] is State.IN_DOUBT)
    return frozenset(key for key in doubts if may_be_replayed(known[key], now))


def _claiming(stream: Iterator[Change], job: Job, claimed: dict[str, str]) -> Iterator[Change]:
    """Note what this job submits, so that a later job of the same plan does not submit it, too."""
    for change in stream:
        if change.action in SUBMITS:
            claimed.setdefault(change.key, job.shown)
        yield change
