"""This module polls open tasks and downloads what is done, for ``fetch`` and ``status``.

Called by the two commands. Invariant: nothing is submitted.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from anyio.streams.memory import MemoryObjectReceiveStream

from seedream_jobs.errors import ExitCode, SeedreamError
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.shards import Shard, ShardLedger
from seedream_jobs.ledger.state import Entry, State
from seedream_jobs.pipeline import Report
from seedream_jobs.plans.load import Rules, Target
from seedream_jobs.plans.options import last_sets
from seedream_jobs.records import Locked, Record, as_last_run, lock_ledger, open_tasks, read_ledger
from seedream_jobs.report.progress import ProgressDisplay
from seedream_jobs.results.engines import Engine, parse_engine
from seedream_jobs.results.fetch_shards import HandedOut
from seedream_jobs.results.image_steps import CampaignImageSteps, image_steps
from seedream_jobs.results.image_store import ImageStore
from seedream_jobs.results.thumbnails import Decoders
from seedream_jobs.run.access import open_access
from seedream_jobs.run.fetch import Fetched, Fetcher, Work
from seedream_jobs.run.images import Repair, find_damaged, time_left
from seedream_jobs.run.job_run import JobRun, outputs
from seedream_jobs.run.options import RunOptions
from seedream_jobs.run.poll import LATE
from seedream_jobs.run.session import count_ready, run_session
from seedream_jobs.sharing import suppose_claims


def fetch(
    records: Sequence[Record],
    *,
    target: Target,
    stores: Sequence[ImageStore | None],
    base_url: str | None,
    options: RunOptions,
    verify: bool,
    expiring: float | None,
    report: Report,
    executor: str = "local",
    shard: Shard | None = None,
    shards: Path = Path("records"),
) -> ExitCode:
    """Poll the open tasks of several jobs and download what is done.

    :param stores: for each record where its images are kept beside this disk
    :param verify: hash every stored image, and download again what is missing or damaged
    :param expiring: only images whose links die within so many seconds
    :param executor: what downloads and decodes: this machine, or the workers of a cluster (``parse_engine``)
    :param shard: only this share of one job's requests, recorded in a file of the folder ``shards``
    """
    choice = parse_engine(executor)
    with ExitStack() as stack:
        engine = None if choice.address is None else stack.enter_context(Engine(choice))
        access = open_access(target, records[0].root, stack, base_url=base_url)
        ledgers = [_lock(record, target, "fetch", stack, shard, shards) for record in records]
        seen = [
            as_last_run(record, last_sets(ledger.plans.values()), target=target)
            for record, ledger in zip(records, ledgers, strict=True)
        ]
        pages = report.pages(seen, ledgers, target)
        decoders = stack.enter_context(Decoders(choice.workers))
        steps = [
            image_steps(record, ledger, decoders, options, store)
            for record, ledger, store in zip(records, ledgers, stores, strict=True)
        ]
        jobs = [
            replace(
                _poll_job(record, ledger),
                steps=own,
                repairs=tuple(_find_damaged(record, ledger, store)) if verify else (),
                wanted=_expires_within(expiring, record),
                output_of=outputs(record.job.expansion if record.job else None, ledger.entries),
                hand_out=None if engine is None else _handed_out(engine, own, record, ledger, stack),
            )
            for record, ledger, own, store in zip(records, ledgers, steps, stores, strict=True)
        ]
        work = any(job.repairs or job.ledger.entries.keys_in(State.ACCEPTED, State.COMPLETED) for job in jobs)
        with pages if work else nullcontext():
            results = run_session(
                jobs,
                access=access,
                options=options,
                progress=report.progress(
                    total=0, running=sum(map(open_tasks, ledgers)), ready=sum(map(count_ready, jobs))
                ),
            )
        for ledger, result in zip(ledgers, results, strict=True):
            if isinstance(ledger, ShardLedger) and result.cut is None and result.refusal is None:
                ledger.end()
        # Nothing is submitted: there is no campaign's lock to release, and no request was to be sent.
        locked = Locked(records=tuple(records), ledgers=tuple(ledgers), release=lambda: None)
        report.applied(locked, results, [0] * len(results))
    return report.end()


def _lock(
    record: Record,
    target: Target,
    command: str,
    stack: ExitStack,
    shard: Shard | None = None,
    shards: Path = Path("records"),
) -> Ledger:
    now = int(time.time())
    if shard is None:
        return stack.enter_context(lock_ledger(record, origin=target.origin, command=command, now=now))
    ledger = ShardLedger.open_shard(
        record.paths,
        shard,
        shards,
        root=record.root,
        origin=target.origin,
        command=f"{command} --shard {shard}",
        now=now,
    )
    return stack.enter_context(ledger)


def _poll_job(record: Record, ledger: Ledger) -> JobRun:
    return JobRun(
        shown=record.shown,
        ledger=ledger,
        submissions=iter(()),
        profile=record.profile,
        poll=True,
        root=record.root,
    )


def _handed_out(
    engine: Engine, steps: CampaignImageSteps, record: Record, ledger: Ledger, stack: ExitStack
) -> Callable[[Fetcher, MemoryObjectReceiveStream[Work]], Awaitable[Fetched]]:
    campaign = stack.enter_context(engine.campaign(record))
    return HandedOut(engine=engine, steps=steps, campaign=campaign, folder=ledger.folder).run


def _find_damaged(record: Record, ledger: Ledger, store: ImageStore | None) -> Iterator[Repair]:
    folder, in_store = record.paths.manifest.parent, None if store is None else store.damage
    with_images = map(ledger.entries.__getitem__, ledger.entries.keys_in(State.STORED, State.COMPLETED))
    return find_damaged(with_images, folder, root=record.root, in_store=in_store)


def _expires_within(seconds: float | None, record: Record) -> Callable[[Entry], bool]:
    """Whether an entry's links die within so many seconds. A task whose links are unknown may be among them."""
    if seconds is None:
        return lambda entry: True

    def expires(entry: Entry) -> bool:
        left = time_left(entry, time.time(), record.profile)
        return left is None or left <= seconds

    return expires


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledJob:
    """A job after its open tasks were asked for.

    :param ledger: as it is then, read only
    :param reason: why polling ended early
    """

    record: Record
    ledger: Ledger
    exit_code: ExitCode = ExitCode.OK
    reason: str | None = None


def poll(
    records: Sequence[Record],
    *,
    target: Target,
    base_url: str | None,
    options: RunOptions,
    offline: bool,
    rules: Rules,
    shared: bool = False,
) -> list[PolledJob]:
    """Ask for the open tasks of several jobs.

    A job that a run works on is not asked for: the run asks, and records it. Only waiting for it
    (``options.deadline``) is refused.

    :param offline: ask for none, nor what other runners have claimed
    :param rules: whose policy names the store of claims, and says whether it is asked without ``shared``
    :raises HeldError: ``options.deadline`` is not 0, and another process works on a job
    """
    jobs = [PolledJob(record=record, ledger=read_ledger(record, command="status")) for record in records]
    asked = [
        job.record
        for job in jobs
        # With a deadline a job that a run holds is asked for all the same, and its lock refuses that.
        if not offline and open_tasks(job.ledger) and (options.deadline or job.ledger.held_by is None)
    ]
    if not asked:
        return jobs if offline else _with_claims(jobs, rules, shared, target)
    with ExitStack() as stack:
        access = open_access(target, records[0].root, stack, base_url=base_url)
        results = run_session(
            [_poll_job(record, _lock(record, target, "status", stack)) for record in asked],
            access=access,
            options=options,
            progress=ProgressDisplay("quiet", total=0),
        )
    of = dict(zip((record.shown for record in asked), results, strict=True))
    polled: list[PolledJob] = []
    for job in jobs:
        # Read again: the answers, and perhaps those of another command, are on record by now.
        job = replace(job, ledger=read_ledger(job.record, command="status"))
        result = of.get(job.record.shown)
        if result is not None:
            halt = None if result.polled is None else result.polled.halt
            reason = None if halt is None or halt.reason.startswith(LATE) else halt.reason  # one look has no deadline
            job = replace(job, exit_code=result.exit_code, reason=reason)
        polled.append(job)
    return _with_claims(polled, rules, shared, target)


def _with_claims(jobs: list[PolledJob], rules: Rules, shared: bool, target: Target) -> list[PolledJob]:
    for job in jobs:
        # A policy with findings refuses what is paid; it does not keep anybody from looking.
        with nullcontext() if shared else suppress(SeedreamError):
            policy, root = rules.policy_of(job.record.root), job.record.root
            if policy is not None and (shared or policy.check_shared):
                suppose_claims(policy, root, job.record.job, job.ledger, target=target, now=int(time.time()))
    return jobs
