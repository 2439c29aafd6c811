"""What a run takes before it plans, and records before it sends: the jobs' ledgers, their campaigns, its variables."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from seedream_jobs.ledger.campaign import hold_campaign
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.plan.job import Job
from seedream_jobs.plan.jobs import JobsPlan
from seedream_jobs.plan.sets import run_record


def hold_ledgers(jobs: Sequence[Job], *, origin: str, now: int, stack: ExitStack) -> Callable[[Job], Ledger]:
    """Take the ledgers of all jobs, in path order, all or none; ``stack`` folds and releases them.

    :param origin: of the service that the run will speak to
    :param now: Unix seconds
    :raises HeldError: another run holds one of them
    """
    held: dict[Path, Ledger] = {}
    for job in sorted(jobs, key=lambda job: job.paths.manifest):
        held[job.file] = stack.enter_context(
            Ledger.open(
                job.paths,
                job=job.file.name,
                origin=origin,
                new_id=lambda: f"m-{secrets.token_hex(8)}",
                root=job.expansion.spec.root,
                command="run",
                now=now,
                run=secrets.token_hex(4),
            )
        )
    return lambda job: held[job.file]


def hold_campaigns(jobs: Sequence[Job], *, emulator: bool, now: int, stack: ExitStack) -> Callable[[], None]:
    """Be the only ``run`` in the jobs' campaigns, from before the plan until ``stack`` ends or the result is called.

    A job's ledger keeps two runs of one job apart; this keeps apart runs of two jobs that share requests.

    :raises HeldError: another run is under way in one of them
    """
    own = stack.enter_context(ExitStack())
    command = " ".join(["run", *(job.shown for job in jobs)])
    for root in sorted({job.expansion.spec.root for job in jobs}):
        own.callback(hold_campaign(root, emulator=emulator, command=command, now=now).release)
    return own.close


def record_sets(planned: JobsPlan, sets: Mapping[str, str], *, now: int) -> None:
    """Make durable which ``--set`` values a direct run uses, before its first intent.

    :param now: Unix seconds
    :raises LedgerError: it can't be written
    """
    for part in planned.jobs:
        if part.summary.submit:
            record = run_record(part.ledger.plans, sets, now=now, token=secrets.token_hex(4))
            if record is not None:
                part.ledger.use_plan(record)
