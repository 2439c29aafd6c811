"""The plan document: everything a reviewer may be shown of a plan, as values; every view is rendered from it alone.

It is made from a plan just computed (``drafting``) or read back from a saved one (``document_json``). The requests
are re-iterable and made when they are looked at, so that a plan of a million requests is summed up in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.plan.comparison import Removed
from seedream_jobs.plan.cost import Tariff, hold
from seedream_jobs.plan.diff import SUBMITS, Action
from seedream_jobs.plan.summary import Cause

Relation = Literal["new", "changed", "unchanged"]
"""How a request stands to the base revision: not there, there with another payload at its address, or the same."""

SHOWN_WHOLE = SUBMITS | {Action.LATER}
"""The actions whose requests are shown with their payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One request of a plan.

    :param known: its state in the manifest when the plan was made; None if the manifest did not know it
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
class Against:
    """One job against its base revision, in numbers.

    ``new`` and ``changed`` would be submitted because of the change, ``pending`` without it (they are in the base and
    were never submitted); all three are among the requests with the action ``new``.

    :param removed: requests of the base that the head no longer makes; ``removed_paid`` of them are in the manifest
    :param causes: why requests are new, by weight; ``changed_causes`` why they are changed
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
class JobDocument:
    """One job of a plan. Paths are POSIX; money is USD.

    :param shown: the job file as the user named it, ``path`` relative to the campaign's root
    :param record: the manifest's file, relative to the campaign's root
    :param manifest: the manifest's id; None as long as there is none
    :param requests: all that the job file asks for, ``images`` the most they can deliver
    :param counts: requests per action
    :param budget_name: whose limit ``budget_usd`` is: the job's own, or a policy's
    :param failures: what failed requests failed of, by weight
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
    items: Iterable[Item] = ()
    removed: Iterable[Removed] = ()

    def count(self, action: Action) -> int:
        """How many requests have this action."""
        return self.counts.get(action, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A git revision as it was named, and the commit it was then."""

    name: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDocument:
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
    jobs: tuple[JobDocument, ...]
    budgets: tuple[tuple[str, Decimal], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    base: Revision | None = None
    head: Revision | None = None
    made_at: int | None = None
    digest: str | None = None

    @property
    def option(self) -> str:
        """What stands behind the job in a further command, so that it looks at the records of this plan."""
        return " --emulator" if self.origin == "emulator" else ""

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
        return sum(job.count(action) for job in self.jobs for action in actions)

    def hold_budgets(self, job: JobDocument | None = None) -> None:
        """Refuse what a budget can't bear: every one, or only that of one job.

        :raises MoneyError: with the numbers and the ways out
        """
        for one in self.jobs if job is None else (job,):
            if one.budget_usd is not None:
                already = one.spent_usd or Decimal(0)
                hold(one.budget_name, one.budget_usd, already, self.tariff.cost(one.submit_images), one.submit_images)
        for name, limit in () if job is not None else self.budgets:
            hold(name, limit, Decimal(0), self.cost, self.images)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """The warnings of all jobs."""
        return tuple(warning for job in self.jobs for warning in job.warnings)
