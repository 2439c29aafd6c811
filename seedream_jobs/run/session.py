"""All jobs of one invocation, from the first POST to the last image: submit, poll and fetch at the same time.

This is where money is spent: ``Session.run`` → ``Submitter.submit`` → ``Client.submit``. Called by ``pipeline``.
Invariant: every step's record goes to the job's ledger before the next step relies on it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from seedream_jobs import __version__
from seedream_jobs.api.client import Client
from seedream_jobs.api.credentials import ApiKey, Endpoint, proxy_for
from seedream_jobs.api.downloads import Downloads
from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.errors import SeedreamError
from seedream_jobs.ledger.state import Accepted, Completed, Event, Expired, Failed, Resolved, State
from seedream_jobs.plan.diff import under_way
from seedream_jobs.run.budget import Budget, Price, Spend
from seedream_jobs.run.fetch import Downloader, Fetched, Work, fetch, refresher
from seedream_jobs.run.job_run import JobResult, JobRun, RunOptions, Watcher
from seedream_jobs.run.poll import Polled, Poller, Watch
from seedream_jobs.run.rate_limiter import RateLimiter
from seedream_jobs.run.retry import RetryBudget
from seedream_jobs.run.shutdown import Shutdown
from seedream_jobs.run.store_image import Repair
from seedream_jobs.run.submit import Observer, Submitted, Submitter, TaskService, Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the service is and what opens it."""

    endpoint: Endpoint
    key: ApiKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An open connection."""

    client: Client
    service: Client
    downloads: Downloads


@asynccontextmanager
async def connect(access: Access, *, workers: int, environment: Mapping[str, str]) -> AsyncIterator[Connection]:
    """Open it; no byte is sent before something is asked.

    :param workers: how many submissions may be under way
    """
    proxy = proxy_for(access.endpoint, environment)
    agent = f"seedream-jobs/{__version__}"
    async with (
        Client(access.endpoint.base, access.key, workers=workers, user_agent=agent, proxy=proxy) as client,
        Downloads(access.endpoint.base, user_agent=agent, connections=workers, proxy=proxy) as downloads,
    ):
        yield Connection(client=client, service=client, downloads=downloads)


class Session:
    """What all jobs of one invocation share: the connection, the pace, the budgets, the way to stop.

    :param on_submitted: called once nothing more will be submitted; polling and fetching may go on
    """

    def __init__(
        self,
        *,
        service: TaskService,
        downloads: Downloader,
        limiter: RateLimiter,
        shutdown: Shutdown,
        options: RunOptions,
        random: Random,
        now: Callable[[], float],
        watcher: Watcher,
        budgets: Iterable[Budget] = (),
        retry_server_errors: bool = False,
        on_submitted: Callable[[], None] = lambda: None,
    ) -> None:
        self._service, self._downloads, self._limiter = service, downloads, limiter
        self._shutdown, self._options, self._random, self._now = shutdown, options, random, now
        self._watcher, self._budgets, self._price = watcher, tuple(budgets), Price()
        self._retries, self._memory = RetryBudget(), Weights()
        self._retry_server_errors = retry_server_errors
        self._on_submitted = on_submitted
        self._turn = anyio.Lock()
        self._still_to_submit = 0
        self._stopped: Submitted | None = None

    async def run(self, jobs: Iterable[JobRun]) -> list[JobResult]:
        """All jobs: their submissions one job after the other, polling and fetching for all of them meanwhile."""
        work = list(jobs)
        self._still_to_submit = len(work)
        results: dict[int, JobResult] = {}

        async def one(index: int, job: JobRun) -> None:
            results[index] = await self._run_job(job)

        async with anyio.create_task_group() as together:
            for index, job in enumerate(work):
                together.start_soon(one, index, job)
        return [results[index] for index in range(len(work))]

    async def _run_job(self, job: JobRun) -> JobResult:
        send, receive = anyio.create_memory_object_stream[Work](max_buffer_size=1_000_000)
        spend = Spend((*self._budgets, *job.budgets), self._price)
        observer = _JobObserver(job, send, self._watcher, spend, self._price, shared=bool(self._budgets))
        poller = observer.poller = self._poller(job, observer)
        parts = _Parts()
        async with anyio.create_task_group() as together:
            if job.fetch:
                together.start_soon(self._fetch, job, receive, parts)
            together.start_soon(self._poll, job, poller, send, parts)
            async with self._turn:
                parts.submitted = await self._submit(job, observer, spend)
                self._still_to_submit -= 1
                if not self._still_to_submit:
                    self._on_submitted()
            if poller is not None:
                poller.close()
        receive.close()
        return JobResult(
            submitted=parts.submitted,
            polled=parts.polled,
            fetched=parts.fetched,
            refusal=parts.refusal,
            cut=self._shutdown.code if parts.cut else None,
        )

    async def _submit(self, job: JobRun, observer: Observer, spend: Spend) -> Submitted:
        """Submit one job's requests, unless an earlier job met what stops them all (no money, no key, a signal)."""
        if self._stopped is not None:
            return Submitted(stop=self._stopped.stop, reason=None)
        submitter = Submitter(
            service=self._service,
            ledger=job.ledger,
            limiter=self._limiter,
            retries=self._retries,
            spend=spend,
            shutdown=self._shutdown,
            random=self._random,
            now=self._now,
            concurrency=self._options.concurrency,
            observer=observer,
            retry_server_errors=self._retry_server_errors,
            memory=self._memory,
        )
        submitted = await submitter.run(job.submissions)
        if submitted.stop is not None:
            self._stopped = submitted
        return submitted

    def _poller(self, job: JobRun, observer: Observer) -> Poller | None:
        if not job.poll:
            return None
        options = self._options
        poller = Poller(
            service=self._service,
            ledger=job.ledger,
            shutdown=self._shutdown,
            random=self._random,
            now=self._now,
            link_life=job.profile.link_life,
            concurrency=min(8, options.concurrency),
            deadline=options.deadline,
            observer=observer,
            cadence=None if options.cadence is None else options.cadence(self._random),
        )
        for key in job.ledger.entries:
            brief = job.ledger.brief(key)
            if brief is not None and brief[0] is State.ACCEPTED:
                entry = job.ledger.entries[key]
                if entry.task_id is not None and job.wanted(entry):
                    poller.add(Watch(key=key, task_ids=entry.task_ids, accepted_at=float(entry.submitted_at or 0)))
        return poller

    async def _poll(
        self, job: JobRun, poller: Poller | None, completed: MemoryObjectSendStream[Work], parts: _Parts
    ) -> None:
        async with completed:
            for item in _ready(job):
                await completed.send(item)
            if poller is not None:
                parts.polled = await poller.run()

    async def _fetch(self, job: JobRun, work: MemoryObjectReceiveStream[Work], parts: _Parts) -> None:
        """Fetch what is done; a signal ends it at once, nothing can be lost."""
        parts.fetched = Fetched()

        async def fetching() -> None:
            try:
                parts.fetched = await fetch(
                    work,
                    downloads=self._downloads,
                    record=job.ledger,
                    refresh=refresher(self._service.task),
                    folder=job.folder,
                    root=job.root,
                    profile=job.profile,
                    now=self._now,
                    finishing=job.finishing,
                    output_of=job.output_of,
                    concurrency=self._options.concurrency,
                    deadline=self._options.deadline,
                    on_progress=self._watcher.on_fetch,
                )
            except SeedreamError as error:
                parts.refusal = error
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(fetching)
            await self._shutdown.wait_interrupted()
            parts.cut = True
            group.cancel_scope.cancel()


@dataclass(slots=True, kw_only=True)
class _Parts:
    """What the parts of one job have come to so far."""

    submitted: Submitted = field(default_factory=Submitted)
    polled: Polled | None = None
    fetched: Fetched | None = None
    refusal: SeedreamError | None = None
    cut: bool = False


def _ready(job: JobRun) -> Iterator[Work]:
    """What could be fetched before anything is asked for."""
    yield from job.repairs
    repaired = {item.entry.key for item in job.repairs if isinstance(item, Repair)}
    for key in job.ledger.entries:
        brief = job.ledger.brief(key)
        if brief is not None and brief[0] is State.COMPLETED and key not in repaired:
            entry = job.ledger.entries[key]
            if job.wanted(entry):
                yield entry


class _JobObserver(Observer):
    """Hands each accepted task to the poller, and each completed one to the fetcher.

    What a task really cost is put in place of what was reserved, and the price is learned from it.

    :param spend: what this invocation's money is reserved with
    :param shared: there are budgets beside the job's own
    """

    def __init__(
        self,
        job: JobRun,
        completed: MemoryObjectSendStream[Work],
        watcher: Watcher,
        spend: Spend,
        price: Price,
        *,
        shared: bool,
    ) -> None:
        self.poller: Poller | None = None
        self._job, self._completed, self._watcher, self._spend, self._price = job, completed, watcher, spend, price
        # What an earlier run submitted counts against the job's lifetime only: settling it must not make room in the
        # budgets of this invocation, which never bore it.
        self._earlier = under_way(job.ledger.entries) if shared else frozenset()
        self._lifetime = Spend(job.budgets)

    def on_event(self, event: Event, outcome: Outcome | None) -> None:
        if isinstance(event, Accepted | Resolved) and self.poller is not None and event.task_id is not None:
            more = event.more_task_ids if isinstance(event, Accepted) else ()
            task_ids = (event.task_id, *more)
            self.poller.add(Watch(key=event.key, task_ids=task_ids, accepted_at=float(event.at)))
        self._watcher.on_event(event, outcome)
        if isinstance(event, Completed | Failed | Expired):
            entry = self._job.ledger.entries[event.key]
            actual = event.cost_usd
            if isinstance(event, Failed) and actual is None:
                actual = Decimal(0)  # refunded
            spend = self._lifetime if event.key in self._earlier else self._spend
            spend.settle(event.key, entry.max_cost_usd, actual)
            if event.cost_usd is not None and (news := self._price.learn(entry)):
                self._watcher.on_news(news)
            if isinstance(event, Completed) and self._job.fetch:
                self._completed.send_nowait(entry)

    def on_trouble(self, reason: str) -> None:
        self._watcher.on_trouble(reason)
