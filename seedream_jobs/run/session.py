"""This module carries out all jobs of one command: submit, poll and fetch at the same time.

This is where money is spent: ``Session.run`` → ``Submitter.submit`` → ``Client.submit``. Called by ``pipeline``.
Invariant: every step's record goes to the job's ledger before the next step relies on it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from decimal import Decimal
from math import inf
from random import Random
from types import MappingProxyType

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from seedream_jobs.api.client import connect
from seedream_jobs.api.credentials import Access
from seedream_jobs.api.downloads import Downloads
from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.errors import PRECEDENCE, SeedreamError
from seedream_jobs.expand.references import Reference
from seedream_jobs.job.files import Files
from seedream_jobs.ledger.state import Accepted, Completed, Event, Expired, Failed, Resolved, State
from seedream_jobs.plans.diff import under_way
from seedream_jobs.run.budget import Budget, ObservedPrice, Spend
from seedream_jobs.run.fetch import Fetched, Fetcher, Work
from seedream_jobs.run.images import ImageSteps
from seedream_jobs.run.job_run import JobResult, JobRun, Watcher, check_balance, upload
from seedream_jobs.run.options import RunOptions
from seedream_jobs.run.poll import Poller, Watch
from seedream_jobs.run.rate_limiter import RateLimiter
from seedream_jobs.run.retry import Halt, RetryBudget
from seedream_jobs.run.shutdown import Shutdown, listen
from seedream_jobs.run.submit import Observer, Submitted, Submitter, TaskService, Weights


class Session:
    """What all jobs of one command share: the connection, the rate, the budgets, the way to stop.

    :param budgets: those that hold for all jobs together
    :param on_submitted: called once nothing more will be submitted; polling and fetching may go on
    """

    def __init__(
        self,
        *,
        service: TaskService,
        downloads: Downloads,
        shutdown: Shutdown,
        options: RunOptions,
        watcher: Watcher,
        budgets: Iterable[Budget] = (),
        on_submitted: Callable[[], None] = lambda: None,
    ) -> None:
        self._service, self._downloads, self._shutdown = service, downloads, shutdown
        self._options, self._watcher, self._budgets = options, watcher, tuple(budgets)
        self._on_submitted = on_submitted
        self._random, self._price, self._retries, self._memory = Random(), ObservedPrice(), RetryBudget(), Weights()
        self._limiter = RateLimiter(concurrency=options.concurrency, random=self._random, rate=options.rate)
        self._turn = anyio.Lock()  # held by the job that submits; the others poll and fetch meanwhile
        self._still_to_submit = 0
        self._stopped: Halt | None = None

    async def run(self, jobs: Iterable[JobRun]) -> list[JobResult]:
        """Submit one job after the other, and poll and fetch for all of them meanwhile."""
        work = [(job, JobResult()) for job in jobs]
        self._still_to_submit = len(work)
        async with anyio.create_task_group() as together:
            for job, result in work:
                together.start_soon(self._run_job, job, result)
        return [result for _, result in work]

    async def _run_job(self, job: JobRun, result: JobResult) -> None:
        # Without a bound: an observer can't wait for room, and nobody makes room once fetching has ended.
        send, receive = anyio.create_memory_object_stream[Work](max_buffer_size=inf)
        spend = Spend((*self._budgets, *job.budgets), self._price)
        observer = _JobObserver(job, send, self._watcher, spend, self._price, shared=bool(self._budgets))
        poller = observer.poller = self._poller(job, observer)
        async with anyio.create_task_group() as together:
            if job.steps is not None:
                together.start_soon(self._fetch, job, job.steps, receive, result)
            together.start_soon(self._poll, job, poller, send, result)
            async with self._turn:
                result.submitted = await self._submit(job, observer, spend)
                self._still_to_submit -= 1
                if not self._still_to_submit:
                    self._on_submitted()
            if poller is not None:
                poller.close()
        receive.close()

    async def _submit(self, job: JobRun, observer: Observer, spend: Spend) -> Submitted:
        """Submit one job's requests, unless an earlier job met what stops them all (no money, no key, a signal)."""
        if self._stopped is not None:
            return Submitted(halt=replace(self._stopped, reason=""))  # the earlier job tells the reason
        submitter = Submitter(
            service=self._service,
            ledger=job.ledger,
            limiter=self._limiter,
            retries=self._retries,
            spend=spend,
            shutdown=self._shutdown,
            random=self._random,
            now=time.time,
            concurrency=self._options.concurrency,
            observer=observer,
            retry_server_errors=self._options.retry_server_errors,
            memory=self._memory,
            claims=job.claims(),
        )
        submitted = await submitter.run(job.submissions)
        self._stopped = self._shutdown.halt  # a request of this job that had its retries in vain stops no other job
        return submitted

    def _poller(self, job: JobRun, observer: Observer) -> Poller | None:
        if not job.poll:
            return None
        poller = Poller(
            service=self._service,
            ledger=job.ledger,
            shutdown=self._shutdown,
            random=self._random,
            now=time.time,
            link_life=job.profile.link_life,
            concurrency=min(8, self._options.concurrency),
            deadline=self._options.deadline,
            observer=observer,
            pace=self._options.pace,
        )
        for key in job.ledger.entries.keys_in(State.ACCEPTED):
            entry = job.ledger.entries[key]
            if entry.task_id is not None and job.wanted(entry):
                poller.add(Watch(key=key, task_ids=entry.task_ids, accepted_at=float(entry.submitted_at or 0)))
        return poller

    async def _poll(
        self, job: JobRun, poller: Poller | None, completed: MemoryObjectSendStream[Work], result: JobResult
    ) -> None:
        async with completed:
            for item in _ready(job):
                await completed.send(item)
            if poller is not None:
                result.polled = await poller.run()

    async def _fetch(
        self, job: JobRun, steps: ImageSteps, work: MemoryObjectReceiveStream[Work], result: JobResult
    ) -> None:
        """Fetch what is done; a signal ends it at once, nothing can be lost."""
        result.fetched = Fetched()
        fetcher = Fetcher(
            downloads=self._downloads,
            service=self._service,
            ledger=job.ledger,
            steps=steps,
            profile=job.profile,
            folder=job.ledger.paths.manifest.parent,
            root=job.root,
            now=time.time,
            concurrency=self._options.concurrency,
            deadline=self._options.deadline,
            output_of=job.output_of,
            on_image=lambda event: self._watcher.on_image(event, job),
        )

        async def fetching() -> None:
            try:
                handed = job.hand_out
                result.fetched = await (fetcher.run(work) if handed is None else handed(fetcher, work))
            except SeedreamError as error:
                result.refusal = error
            group.cancel_scope.cancel()  # nobody needs to wait for a signal any more

        async with anyio.create_task_group() as group:
            group.start_soon(fetching)
            await self._shutdown.wait_interrupted()
            result.cut = self._shutdown.code
            group.cancel_scope.cancel()


def _ready(job: JobRun) -> Iterator[Work]:
    """What can be fetched without asking for a task."""
    if job.steps is None:
        return
    yield from job.repairs
    repaired = {item.entry.key for item in job.repairs}
    for key in job.ledger.entries.keys_in(State.COMPLETED):
        entry = job.ledger.entries[key]
        if key not in repaired and job.wanted(entry):
            yield entry


def count_ready(job: JobRun) -> int:
    """Of how many requests only images are left to fetch."""
    return sum(1 for _ in _ready(job))


class _JobObserver(Observer):
    """Hands each accepted task to the poller, and each completed one to the fetcher.

    What a task really cost is put in place of what was reserved, and the price is learned from it.

    :param spend: what this command's money is reserved with
    :param shared: there are budgets beside the job's own
    """

    def __init__(
        self,
        job: JobRun,
        completed: MemoryObjectSendStream[Work],
        watcher: Watcher,
        spend: Spend,
        price: ObservedPrice,
        *,
        shared: bool,
    ) -> None:
        self.poller: Poller | None = None
        self._job, self._completed, self._watcher, self._spend, self._price = job, completed, watcher, spend, price
        # What an earlier run submitted counts against the job's lifetime only: settling it must not make room in the
        # budgets of this command, which never bore it.
        self._earlier = under_way(job.ledger.entries) if shared else frozenset()
        self._lifetime = Spend(job.budgets)

    def on_event(self, event: Event, outcome: Outcome | None) -> None:
        if isinstance(event, Accepted | Resolved) and self.poller is not None and event.task_id is not None:
            more = event.more_task_ids if isinstance(event, Accepted) else ()
            task_ids = (event.task_id, *more)
            self.poller.add(Watch(key=event.key, task_ids=task_ids, accepted_at=float(event.at)))
        self._watcher.on_event(event, outcome, self._job)
        if isinstance(event, Completed | Failed | Expired):
            entry = self._job.ledger.entries[event.key]
            actual = event.cost_usd
            if isinstance(event, Failed) and actual is None:
                actual = Decimal(0)  # refunded
            spend = self._lifetime if event.key in self._earlier else self._spend
            spend.settle(event.key, entry.max_cost_usd, actual)
            if event.cost_usd is not None and (news := self._price.learn(entry)):
                self._watcher.on_news(news)
            if isinstance(event, Completed) and self._job.steps is not None:
                self._completed.send_nowait(entry)

    def on_trouble(self, reason: str) -> None:
        self._watcher.on_trouble(reason)


JOURNAL_WAITS = 0.001
"""Seconds the journal's thread waits at most for its turn while the event loop is busy. Python's own 5 ms, up to three
times for each record, would cost a twentieth of the requests per second."""


def run_session(
    jobs: Sequence[JobRun],
    *,
    access: Access,
    options: RunOptions,
    progress: AbstractContextManager[Watcher],
    budgets: Sequence[tuple[str, Decimal]] = (),
    cost: Decimal | None = None,
    uploads: Mapping[str, tuple[Reference, Files]] = MappingProxyType({}),
    urls: dict[str, str] | None = None,
    on_submitted: Callable[[], None] = lambda: None,
) -> list[JobResult]:
    """Open the connection, listen to signals, and carry out what is to be done for each job.

    :param budgets: (whose limit, USD) that hold for all jobs together
    :param cost: USD that the balance has to cover, with ``options.check_balance``
    :param uploads: the references to upload before anything is submitted
    :param urls: gets the link of each upload
    :param on_submitted: called once nothing more will be submitted; polling and fetching may go on
    :raises SeedreamError: of several failures the gravest
    """

    async def main() -> list[JobResult]:
        shutdown = Shutdown()
        async with anyio.create_task_group() as background:
            await background.start(listen, shutdown)
            async with connect(access, workers=options.concurrency, environment=os.environ) as (client, downloads):
                if options.check_balance:
                    await check_balance(client, cost)
                if uploads and urls is not None:
                    urls.update(await upload(client, uploads, options.concurrency))
                with progress as watcher:
                    session = Session(
                        service=client,
                        downloads=downloads,
                        shutdown=shutdown,
                        options=options,
                        watcher=watcher,
                        budgets=[Budget(name, limit) for name, limit in budgets],
                        on_submitted=on_submitted,
                    )
                    async with anyio.create_task_group() as ticking:
                        ticking.start_soon(_tick, watcher)
                        results = await session.run(jobs)
                        ticking.cancel_scope.cancel()
            background.cancel_scope.cancel()  # ``listen`` never ends by itself
        return results

    sys.setswitchinterval(JOURNAL_WAITS)
    try:
        return anyio.run(main, backend="asyncio")
    except BaseExceptionGroup as group:
        raise _gravest(group) from None


async def _tick(watcher: Watcher) -> None:
    while True:
        await anyio.sleep(1.0)
        watcher.on_tick()


def _gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that is raised in place of a group: a bug before a refusal, of refusals the gravest."""
    failures: list[BaseException] = []
    for error in group.exceptions:
        failures.append(_gravest(error) if isinstance(error, BaseExceptionGroup) else error)
    refusals = [error for error in failures if isinstance(error, SeedreamError)]
    bugs = [error for error in failures if not isinstance(error, SeedreamError)]
    return bugs[0] if bugs else min(refusals, key=lambda error: PRECEDENCE.index(error.exit_code))
