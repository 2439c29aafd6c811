"""What a session is asked to do for each job, at what pace, who watches, and what became of it: plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.errors import ExitCode, SeedreamError, gravest
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import Entry, Event
from seedream_jobs.profile import Profile
from seedream_jobs.run.budget import Budget
from seedream_jobs.run.fetch import Fetched, Progress, Work
from seedream_jobs.run.poll import Cadence, Polled
from seedream_jobs.run.store_image import Finishing
from seedream_jobs.run.submit import Submission, Submitted


class Watcher(Protocol):
    """Whoever draws the progress; its calls are synchronous and quick."""

    def on_event(self, event: Event, outcome: Outcome | None) -> None: ...

    def on_trouble(self, reason: str) -> None: ...

    def on_fetch(self, progress: Progress) -> None: ...

    def on_news(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a command speaks to the service, by the options' names; what it submits is in the plan.

    :param concurrency: POSTs, and downloads, under way at once
    :param rate: at most so many POSTs, such as ``60/m``; None for no limit
    :param deadline: seconds that each task is asked for, and that downloads may go on without a further image
    :param cadence: when to ask for a task; None for the service's usual one
    """

    concurrency: int
    rate: str | None = None
    deadline: float
    cadence: Callable[[Random], Cadence] | None = None
    detach: bool = False
    upload_references: bool = False
    check_balance: bool = False
    embed_metadata: bool = False
    retry_server_errors: bool = False
    gallery: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """What is to be done for one job.

    :param submissions: pulled one at a time; empty where nothing is to be sent
    :param budgets: that hold for this job alone
    :param poll: ask for tasks that are not done
    :param fetch: download what is done; None leaves it
    :param repairs: stored images that are missing or damaged
    :param output_of: where a request's images go that wait to be fetched, as ``Entry.output``
    """

    ledger: Ledger
    submissions: Iterator[Submission]
    budgets: tuple[Budget, ...] = ()
    profile: Profile
    poll: bool
    fetch: bool
    folder: Path
    root: Path
    finishing: Finishing | None = None
    repairs: tuple[Work, ...] = ()
    wanted: Callable[[Entry], bool] = field(default=lambda _: True)
    output_of: Callable[[Entry], str] = field(default=lambda entry: entry.output)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What became of one job: each part is None where it was not asked for.

    :param cut: the exit code of the signal that ended downloading before its end
    """

    submitted: Submitted
    polled: Polled | None
    fetched: Fetched | None
    refusal: SeedreamError | None = None
    cut: ExitCode | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The gravest of what happened in this session."""
        codes = [ExitCode.OK]
        for part in (self.submitted, self.polled):
            if part is not None and part.stop is not None:
                codes.append(part.stop)
        if self.submitted.in_doubt:
            codes.append(ExitCode.IN_DOUBT)
        if self.submitted.rejected or (self.polled and (self.polled.failed or self.polled.expired)):
            codes.append(ExitCode.FINDINGS)
        if self.polled and self.polled.unfinished:
            codes.append(ExitCode.UNFINISHED)
        if self.fetched is not None:
            codes.append(self.fetched.exit_code)
        if self.refusal is not None:
            codes.append(self.refusal.exit_code)
        if self.cut is not None:
            codes.append(self.cut)
        return gravest(codes)
