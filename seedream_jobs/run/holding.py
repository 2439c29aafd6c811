"""What a run takes before it plans, and records before it sends: the jobs' ledgers, their campaigns, its variables."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import FindingsError
from seedream_jobs.ledger.campaign import check_settled, lock_campaign
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.paths import campaign_lock
from seedream_jobs.plan.job import Job
from seedream_jobs.plan.jobs import JobsPlan
from seedream_jobs.plan.revisions import ignored
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


def hold_campaigns(
    jobs: Sequence[Job], ledger_of: Callable[[Job], Ledger], *, emulator: bool, now: int, stack: ExitStack
) -> Callable[[], None]:
    """Be the only ``run`` in the jobs' campaigns, from before the plan until ``stack`` ends or the result is called.

    A job's ledger keeps two runs of one job apart; this keeps apart runs of two jobs that share requests.

    :param ledger_of: the jobs' held ledgers, which announce nothing any more once the campaign is another's
    :raises HeldError: another run is under way in one of them
    :raises InDoubtError: one of them has an open run, of which nobody knows what it paid, in another worktree
    """
    for job in jobs:
        if not emulator:
            check_settled(job.expansion.spec.root, job.paths.manifest)
    own = stack.enter_context(ExitStack())
    command = " ".join(["run", *(job.shown for job in jobs)])
    roots = {campaign_lock(job.expansion.spec.root, emulator=emulator): job.expansion.spec.root for job in jobs}
    for path in sorted(roots):  # worktrees of one repository are one campaign
        lock = lock_campaign(roots[path], emulator=emulator, command=command, now=now)
        own.callback(lock.release)
        for job in jobs:
            ledger_of(job).guard(lock)
    return own.close


def hold_kept(manifests: Mapping[Path, Path], environment: Mapping[str, str]) -> None:
    """See that git keeps the records of what is about to be paid.

    :param manifests: each with its campaign's root
    :raises FindingsError: git ignores one; names the line
    """
    found: list[Diagnostic] = []
    for root in sorted(set(manifests.values())):
        found += ignored([one for one, its in manifests.items() if its == root], root, environment, "error")
    if found:
        raise FindingsError(found)


def record_sets(planned: JobsPlan, sets: Mapping[str, str], *, now: int) -> None:
    """Make durable that a direct run is open, and which ``--set`` values it uses, before its first intent.

    :param now: Unix seconds
    :raises LedgerError: it can't be written
    """
    for part in planned.jobs:
        if part.summary.submit:
            part.ledger.announce(part.summary.submit)
            record = run_record(part.ledger.plans, sets, now=now, token=secrets.token_hex(4))
            if record is not None:
                part.ledger.use_plan(record)
