"""All jobs of one invocation, from the first POST to the last image: submit, poll and fetch at the same time.

This is where money is spent: ``Session.carry_out`` → ``Executor.run`` → ``Sending.post`` → ``Client.submit``. Called by
``pipeline``. Invariant: every step's record goes to the job's ledger before the next step relies on it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from random import Random

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from seedream_jobs import __version__
from seedream_jobs.api.client import Client, Judged
from seedream_jobs.api.client_downloads import Downloads
from seedream_jobs.api.credentials import ApiKey, Endpoint, proxy_for
from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.errors import SeedreamError
from seedream_jobs.ledger.state import Accepted, Completed, Event, Expired, Failed, Resolved, State
from seedream_jobs.plan.diff import under_way
from seedream_jobs.run.budget import Budget, Price, Spend
from seedream_jobs.run.fetch import Downloader, Fetched, Work, fetch, refresher
from seedream_jobs.run.job_run import JobResult, JobRun, RunOptions, Service, Watcher
from seedream_jobs.run.poll import Polled, Poller, Watch
from seedream_jobs.run.rate_limiter import Gate
from seedream_jobs.run.retry import RetryBudget
from seedream_jobs.run.shutdown import Stopper
from seedream_jobs.run.store_image import Repair
from seedream_jobs.run.submit import Executor, Finished, Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the service is and what opens it."""

    endpoint: Endpoint
    key: ApiKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An open connection."""

    client: Client
    service: Judged
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
        yield Connection(client=client, service=Judged(client), downloads=downloads)


class Session:
    """What all jobs of one invocation share: the connection, the pace, the budgets, the way to stop.

    :param on_submitted: called once nothing more will be submitted; polling and fetching may go on
    """

    def __init__(
        self,
        *,
        service: Service,
        downloads: Downloader,
        gate: Gate,
        stopper: Stopper,
        options: RunOptions,
        random: Random,
        now: Callable[[], float],
        watcher: Watcher,
        budgets: Iterable[Budget] = (),
        retry_server_errors: bool = False,
        on_submitted: Callable[[], None] = lambda: None,
    ) -> None:
        self._service, self._downloads, self._gate = service, downloads, gate
        self._stopper, self._options, self._random, self._now = stopper, options, random, now
        self._watcher, self._budgets, self._price = watcher, tuple(budgets), Price()
        self._retries, self._memory = RetryBudget(), Weights()
        self._retry_server_errors = retry_server_errors
        self._on_submitted = on_submitted
        self._turn = anyio.Lock()
        self._still_to_submit = 0
        self._stopped: Finished | None = None

    async def carry_out(self, duties: Iterable[JobRun]) -> list[JobResult]:
        """All jobs: their submissions one job after the other, polling and fetching for all of them meanwhile."""
        work = list(duties)
        self._still_to_submit = len(work)
        results: dict[int, JobResult] = {}

        async def one(index: int, duty: JobRun) -> None:
            results[index] = await self._job(duty)

        async with anyio.create_task_group() as jobs:
            for index, duty in enumerate(work):
                jobs.start_soon(one, index, duty)
        return [results[index] for index in range(len(work))]

    async def _job(self, duty: JobRun) -> JobResult:
        send, receive = anyio.create_memory_object_stream[Work](max_buffer_size=1_000_000)
        spend = Spend((*self._budgets, *duty.budgets), self._price)
        poller = self._poller(duty, _Completing(duty, send, self._watcher, self._spend_of(duty, spend), self._price))
        outcome: dict[str, object] = {}
        async with anyio.create_task_group() as parts:
            if duty.fetch:
                parts.start_soon(self._fetch, duty, receive, outcome)
            parts.start_soon(self._poll, duty, poller, send, outcome)
            observer = _Feeding(duty, poller, self._watcher)
            async with self._turn:
                outcome["submitted"] = await self._submit(duty, observer, spend)
                self._still_to_submit -= 1
                if not self._still_to_submit:
                    self._on_submitted()
            if poller is not None:
                poller.close()
        receive.close()
        submitted, polled, fetched = outcome.get("submitted"), outcome.get("polled"), outcome.get("fetched")
        refusal = outcome.get("refusal")
        return JobResult(
            submitted=submitted if isinstance(submitted, Finished) else Finished(),
            polled=polled if isinstance(polled, Polled) else None,
            fetched=fetched if isinstance(fetched, Fetched) else None,
            refusal=refusal if isinstance(refusal, SeedreamError) else None,
            cut=self._stopper.code if outcome.get("cut") else None,
        )

    def _spend_of(self, duty: JobRun, spend: Spend) -> Callable[[str], Spend]:
        """Of a request's key, the guard that its money was reserved with.

        What an earlier run submitted counts against the job's lifetime only: settling it must not make room in the
        budgets of this invocation, which never bore it.
        """
        before = under_way(duty.ledger.entries) if self._budgets else frozenset()
        lifetime = Spend(duty.budgets)
        return lambda key: lifetime if key in before else spend

    async def _submit(self, duty: JobRun, observer: _Feeding, spend: Spend) -> Finished:
        """Submit one job's requests, unless an earlier job met what stops them all (no money, no key, a signal)."""
        if self._stopped is not None:
            return Finished(stop=self._stopped.stop, reason=None)
        finished = await self._executor(duty, observer, spend).run(duty.submissions)
        if finished.stop is not None:
            self._stopped = finished
        return finished

    def _executor(self, duty: JobRun, observer: _Feeding, spend: Spend) -> Executor:
        return Executor(
            submit=self._service,
            record=duty.ledger,
            gate=self._gate,
            retries=self._retries,
            spend=spend,
            stopper=self._stopper,
            random=self._random,
            now=self._now,
            concurrency=self._options.concurrency,
            observer=observer,
            ask=self._service,
            retry_server_errors=self._retry_server_errors,
            memory=self._memory,
        )

    def _poller(self, duty: JobRun, observer: _Completing) -> Poller | None:
        if not duty.poll:
            return None
        options = self._options
        poller = Poller(
            ask=self._service,
            record=duty.ledger,
            stopper=self._stopper,
            random=self._random,
            now=self._now,
            link_life=duty.profile.link_life,
            concurrency=min(8, options.concurrency),
            deadline=options.deadline,
            observer=observer,
            cadence=None if options.cadence is None else options.cadence(self._random),
        )
        for key in duty.ledger.entries:
            brief = duty.ledger.brief(key)
            if brief is not None and brief[0] is State.ACCEPTED:
                entry = duty.ledger.entries[key]
                if entry.task_id is not None and duty.wanted(entry):
                    poller.add(Watch(key=key, task_ids=entry.task_ids, accepted_at=float(entry.submitted_at or 0)))
        return poller

    async def _poll(
        self, duty: JobRun, poller: Poller | None, completed: MemoryObjectSendStream[Work], outcome: dict[str, object]
    ) -> None:
        async with completed:
            for item in _ready(duty):
                await completed.send(item)
            if poller is not None:
                outcome["polled"] = await poller.run()

    async def _fetch(self, duty: JobRun, work: MemoryObjectReceiveStream[Work], outcome: dict[str, object]) -> None:
        """Fetch what is done; a signal ends it at once, nothing can be lost."""
        done = Fetched()
        outcome["fetched"] = done

        async def fetching() -> None:
            try:
                outcome["fetched"] = await fetch(
                    _each(work),
                    downloads=self._downloads,
                    record=duty.ledger,
                    refresh=refresher(self._service.task),
                    folder=duty.folder,
                    root=duty.root,
                    profile=duty.profile,
                    now=self._now,
                    finishing=duty.finishing,
                    output_of=duty.output_of,
                    concurrency=self._options.concurrency,
                    deadline=self._options.deadline,
                    on_progress=self._watcher.on_fetch,
                )
            except SeedreamError as error:
                outcome["refusal"] = error
            scope.cancel()

        async with anyio.create_task_group() as group:
            scope = group.cancel_scope
            group.start_soon(fetching)
            await self._stopper.stopped()
            outcome["cut"] = True
            scope.cancel()


async def _each(stream: MemoryObjectReceiveStream[Work]) -> AsyncIterator[Work]:
    async for item in stream:
        yield item


def _ready(duty: JobRun) -> Iterator[Work]:
    """What could be fetched before anything is asked for."""
    yield from duty.repairs
    repaired = {item.entry.key for item in duty.repairs if isinstance(item, Repair)}
    for key in duty.ledger.entries:
        brief = duty.ledger.brief(key)
        if brief is not None and brief[0] is State.COMPLETED and key not in repaired:
            entry = duty.ledger.entries[key]
            if duty.wanted(entry):
                yield entry


class _Feeding:
    """Hands each accepted task to the poller."""

    def __init__(self, duty: JobRun, poller: Poller | None, watcher: Watcher) -> None:
        self._duty, self._poller, self._watcher = duty, poller, watcher
        self.on_trouble = watcher.on_trouble

    def on_event(self, event: Event, outcome: Outcome | None) -> None:
        if isinstance(event, Accepted | Resolved) and self._poller is not None and event.task_id is not None:
            more = event.more_task_ids if isinstance(event, Accepted) else ()
            task_ids = (event.task_id, *more)
            self._poller.add(Watch(key=event.key, task_ids=task_ids, accepted_at=float(event.at)))
        self._watcher.on_event(event, outcome)


class _Completing:
    """Hands each completed task to the fetcher, puts what it really cost in place of what was reserved, and learns
    the price from it.

    :param spend_of: of a request's key, the guard that its money was reserved with
    """

    def __init__(
        self,
        duty: JobRun,
        completed: MemoryObjectSendStream[Work],
        watcher: Watcher,
        spend_of: Callable[[str], Spend],
        price: Price,
    ) -> None:
        self._duty, self._completed, self._watcher, self._spend_of = duty, completed, watcher, spend_of
        self._price = price
        self.on_trouble = watcher.on_trouble

    def on_event(self, event: Event, outcome: Outcome | None) -> None:
        self._watcher.on_event(event, outcome)
        if isinstance(event, Completed | Failed | Expired):
            entry = self._duty.ledger.entries[event.key]
            actual = event.cost_usd
            if isinstance(event, Failed) and actual is None:
                actual = Decimal(0)  # refunded
            self._spend_of(event.key).settle(event.key, entry.max_cost_usd, actual)
            if event.cost_usd is not None and (news := self._price.learn(entry)):
                self._watcher.on_news(news)
            if isinstance(event, Completed) and self._duty.fetch:
                self._completed.send_nowait(entry)
