"""This module counts the states, costs and links of a job's record, and shows them as text.

Called by ``status``, and by the end of ``run`` and ``fetch``. Invariant: only what the service itself named counts as
charged; estimates stand beside it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from seedream_jobs.diagnostics import plural
from seedream_jobs.errors import ExitCode, gravest
from seedream_jobs.foreign_text import shell_word, visible
from seedream_jobs.inside import can_be_a_name
from seedream_jobs.ledger.campaign import held_elsewhere
from seedream_jobs.ledger.ledger import Ledger, run_open
from seedream_jobs.ledger.service_errors import in_words
from seedream_jobs.ledger.state import Entry, Image, ServiceError, State, spent_usd
from seedream_jobs.model_profile import Profile
from seedream_jobs.plans.cost import PLAY_MONEY
from seedream_jobs.plans.load import EMULATOR_ORIGIN
from seedream_jobs.plans.options import last_sets, set_options
from seedream_jobs.report.text import duration, row
from seedream_jobs.run.images import time_left


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """USD of the tasks whose cost the service has named; ``estimated`` is None where one of them had no estimate."""

    usd: Decimal = Decimal(0)
    estimated: Decimal | None = Decimal(0)

    def __add__(self, other: Bill) -> Bill:
        known = self.estimated is not None and other.estimated is not None
        estimated = (self.estimated or Decimal(0)) + (other.estimated or Decimal(0)) if known else None
        return Bill(usd=self.usd + other.usd, estimated=estimated)

    def __str__(self) -> str:
        """``0.0456 USD charged of 0.0912 estimated``."""
        beside = "" if self.estimated is None else f" of {self.estimated:.4f} estimated"
        return f"{self.usd:.4f} USD charged{beside}"


def bill_of(entry: Entry) -> Bill:
    """The bill of one request, with all its generations and branches."""
    bill = Bill()
    for attempt in entry.attempts:
        if attempt.cost_usd is not None:
            bill += Bill(usd=attempt.cost_usd, estimated=attempt.max_cost_usd)
    return bill


NAMED = 5
"""How many addresses of one kind are named."""


@dataclass(slots=True, kw_only=True)
class JobStatus:
    """One job: how many requests in each state, what they cost, and when the first link dies (seconds from now).

    :param held_by: the process that works on it now; open submissions are that process's then, and not in doubt
    :param shared: which requests have one task, a sentence each
    :param elsewhere: how many requests another runner has claimed, by whose record they are in
    :param doubted: of how many of those nobody here knows what became, likewise
    :param lost: which runs may have paid what is not on record, a sentence each
    :param in_store: how many images are in the store of the policy, and not on disk
    :param unchosen: which groups lack a chosen image and why, where that was asked for
    :param sets: the ``--set`` options of the last run: without them, another run makes other requests
    """

    job: str
    origin: str
    counts: Counter[State] = field(default_factory=Counter)
    spent: Decimal = Decimal(0)
    bill: Bill = field(default_factory=Bill)
    images: int = 0
    in_store: int = 0
    first_death: float | None = None
    doubtful: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, ServiceError | None]] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    elsewhere: Counter[str] = field(default_factory=Counter)
    doubted: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    unchosen: list[tuple[str, str]] = field(default_factory=list)
    sets: str = ""
    held_by: str | None = None

    @property
    def option(self) -> str:
        """The option that makes another command look at this record."""
        return " --emulator" if self.origin == EMULATOR_ORIGIN else ""

    @property
    def again(self) -> str:
        """The command that submits what this record says is left to submit."""
        return " ".join(filter(None, [f"seedream-jobs run {shell_word(self.job)}{self.option}", self.sets]))

    @property
    def money(self) -> str:
        """What the service has charged; and what counts as spent, where that is another amount."""
        facts = [str(self.bill)] if self.bill.usd else []
        if self.spent != self.bill.usd:
            facts.append(f"{self.spent:.4f} USD count as spent")
        return ", ".join(facts) + (PLAY_MONEY if facts and self.option else "")

    @property
    def facts(self) -> str:
        """``12 images stored (5 in the store, not on disk), 0.2736 USD charged of 0.2736 estimated``."""
        apart = f" ({self.in_store:,} in the store, not on disk)" if self.in_store else ""
        return ", ".join(filter(None, [f"{plural(self.images, 'image')} stored{apart}", self.money]))

    @property
    def exit_code(self) -> ExitCode:
        """6 for doubt, 8 for what is not fetched or under way, 9 for what is not chosen, 1 for what failed."""
        codes = [ExitCode.OK]
        if self.counts[State.IN_DOUBT] or self.lost or self.doubted:
            codes.append(ExitCode.IN_DOUBT)
        if self.held_by is not None or self.counts[State.ACCEPTED] + self.counts[State.COMPLETED]:
            codes.append(ExitCode.UNFINISHED)
        if self.unchosen:
            codes.append(ExitCode.NOT_CHOSEN)
        if self.counts[State.FAILED] + self.counts[State.REJECTED] + self.counts[State.EXPIRED]:
            codes.append(ExitCode.FINDINGS)
        return gravest(codes)


def status_of(job: str, ledger: Ledger, profile: Profile, now: float) -> JobStatus:
    """Count a record. ``now`` is Unix seconds."""
    origin = ledger.header.origin if ledger.header else ""
    status = JobStatus(
        job=job, origin=origin, sets=set_options(last_sets(ledger.plans.values())), held_by=ledger.held_by
    )
    status.shared = shared_tasks(ledger)
    if ledger.held_by is None:  # a run that is under way is open, and not lost
        findings = [run_open(run, ledger.paths) for run in ledger.open_runs()]
        status.lost = [f"{one.message}; {one.hint}" for one in findings]
    status.elsewhere = Counter(held_elsewhere(ledger.entries, paid=True).values())
    status.doubted = Counter(held_elsewhere(ledger.entries, paid=False).values())
    for entry in ledger.entries.values():
        status.counts[entry.state] += entry.held_by is None
        status.spent += spent_usd(entry)
        status.bill += bill_of(entry)
        status.images += sum(1 for image in entry.images if image.file)
        status.in_store += sum(1 for image in entry.images if image.object and not _is_here(image, ledger))
        if entry.state is State.COMPLETED:
            left = time_left(entry, now, profile)
            if left is not None:
                status.first_death = left if status.first_death is None else min(left, status.first_death)
        if entry.state is State.IN_DOUBT:
            status.doubtful.append((entry.address, entry.doubt or "open"))
        elif entry.state in (State.FAILED, State.REJECTED):
            status.failed.append((entry.address, entry.error))
        elif entry.state is State.EXPIRED:
            status.expired.append(entry.address)
    return status


def _is_here(image: Image, ledger: Ledger) -> bool:
    file = image.file or ""
    return can_be_a_name(file) and os.path.lexists(ledger.paths.manifest.parent / file)


def shared_tasks(ledger: Ledger) -> list[str]:
    """A sentence on each task that several requests have."""
    # Whether all of them were charged is only known to the service's console.
    return [
        f"one task, {task}, for {len(addresses)} submissions: {', '.join(addresses[:NAMED])}"
        f"{' …' if len(addresses) > NAMED else ''}; look up in the service's console what was charged"
        for task, addresses in ledger.entries.shared_tasks().items()
    ]


_ROWS: tuple[tuple[str, str, tuple[State, ...], str], ...] = (
    ("=", "stored", (State.STORED,), ""),
    ("v", "to fetch", (State.COMPLETED,), "seedream-jobs fetch {job}{option}"),
    (">", "running", (State.ACCEPTED,), "seedream-jobs fetch {job}{option} waits for them"),
    (">", "submitting", (State.INTENT,), ""),
    ("?", "in doubt", (State.IN_DOUBT,), "seedream-jobs resolve {job}{option}"),
    ("!", "failed", (State.FAILED, State.REJECTED), "{again} --retry-failed submits {them} again"),
    (
        "!",
        "expired",
        (State.EXPIRED,),
        "their links' life is over; if its task lives: seedream-jobs resolve {job}{option} lists them",
    ),
    (".", "abandoned", (State.ABANDONED,), ""),
    ("+", "not sent", (State.NEW,), "{again}"),
)


def status_text(jobs: list[JobStatus]) -> str:
    """A block for each job."""
    lines: list[str] = []
    for one in jobs:
        lines.append(f"{one.job}: {plural(one.counts.total(), 'request')} on record, {one.facts}")
        if one.held_by is not None:
            lines.append(f"  in use by {one.held_by}")
        for mark, word, states, hint in _ROWS:
            count = sum(one.counts[state] for state in states)
            if count:
                them = "it" if count == 1 else "them"
                next_step = hint.format(job=shell_word(one.job), option=one.option, again=one.again, them=them)
                if one.held_by is not None:
                    next_step = ""  # another command is refused until that process has ended
                elif word == "to fetch" and one.first_death is not None:
                    next_step = f"{deadline(one.first_death)}: {next_step}"
                lines.append(row(mark, count, word, next_step))
                if word == "failed":
                    lines += _why_failed(one)
        lines += [row("=", count, "paid", f"in {whose}") for whose, count in one.elsewhere.items()]
        step = f"seedream-jobs resolve {shell_word(one.job)}{one.option}"
        lines += [row("?", count, "in doubt", f"in {whose}: {step}") for whose, count in one.doubted.items()]
        if one.unchosen:
            lines.append(
                row(
                    "*",
                    len(one.unchosen),
                    "to choose",
                    f"seedream-jobs choose {shell_word(one.job)} ratings.json{one.option}",
                )
            )
            lines += [f"      {group}: {why}" for group, why in one.unchosen]
        lines += [f"  {said}" for said in (*one.lost, *one.shared)]
    return "\n".join(map(visible, lines)) + "\n"


def _why_failed(one: JobStatus) -> Iterator[str]:
    """What the service said of the requests that failed, the most frequent first."""
    found = Counter(in_words(error, limit=80) for _, error in one.failed if error is not None)
    yield from (f"      {count:,} × {words}" for words, count in found.most_common(NAMED) if words)
    if len(found) > NAMED:
        yield f"      and {plural(len(found) - NAMED, 'further error')}"


def deadline(first_death: float) -> str:
    """When the first link dies; ``fetch`` asks the service once for fresh ones where that has passed."""
    if first_death > 0:
        return f"the first link dies in {duration(first_death)}"
    return "the first link is dead, the service is asked once for a fresh one"
