"""This module is the package as a library, for notebooks and scripts: jobs, plans, images and records as values.

Called by whoever imports ``seedream_jobs``, which hands these four functions on. Invariant: nothing here spends,
writes or keeps a lock, and no socket is opened but to stores that a policy has every plan ask (``check: always``).
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from seedream_jobs import pipeline
from seedream_jobs.api.credentials import find_endpoint
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.job.files import campaign_root
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.paths import paths_for
from seedream_jobs.ledger.state import Entry
from seedream_jobs.plans.cost import is_amount
from seedream_jobs.plans.load import EMULATOR, Job, Rules, Target, load_jobs
from seedream_jobs.plans.options import PlanOptions
from seedream_jobs.plans.plan import Plan
from seedream_jobs.plans.policy import policy_of_tree
from seedream_jobs.records import record_of
from seedream_jobs.report.findings import render_findings
from seedream_jobs.results.export.rows import ExportRows, typed


def load(path: str | Path, *, sets: Mapping[str, str] | None = None, emulator: bool = False) -> Job:
    """Read a job file, check it against its schema and the campaign's policy, and expand it.

    :param path: the job file, or the manifest beside it
    :param sets: other values for the job's vars, as ``--set`` gives them
    :param emulator: its record is that of the rehearsal on the emulator, not of the paid run
    :raises FindingsError: it has errors; ``diagnostics`` has all of them, the traceback shows them
    :raises UsageError: there is no such file
    """
    for name, value in (sets or {}).items():
        if not isinstance(value, str):
            raise TypeError(f"sets: the value of {name!r} must be a text, as --set gives it")
    rules = Rules(policy_of=policy_of_tree(today=datetime.datetime.now(datetime.UTC).date()))
    try:
        (job,) = load_jobs([Path(path)], target=_target(emulator=emulator), sets=dict(sets or {}), rules=rules)
    except FindingsError as error:
        error.add_note(render_findings(error.diagnostics, {}, color=False).rstrip())
        raise
    return job


def plan(
    *jobs: Job,
    select: str | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    price: Decimal | None = None,
) -> Plan:
    """Say what ``seedream-jobs run`` would submit of these jobs, why, and for how much. Submits nothing.

    ``Plan.submit`` counts requests, ``Plan.images`` is the most images they can deliver, ``Plan.cost`` the most they
    can cost (USD, exact; None where the price is unknown). ``Plan.jobs`` has the same for each job, and in ``submits``
    the requests. No budget is checked.

    :param jobs: all paid, or all rehearsals
    :param select: only these requests, as ``--select`` reads it
    :param limit: only the first so many
    :param price: USD per image, instead of the model profile's
    :raises FindingsError: a job makes more requests than its limits allow, or its record is damaged
    :raises HeldError: a record belongs to another service
    :raises UsageError: there is no job, some are rehearsals and others not, or ``select`` names what no job has
    """
    _check_jobs(*jobs)
    emulator = any(job.paths.private is not None for job in jobs)
    if not all((job.paths.private is not None) == emulator for job in jobs):
        raise UsageError("some of the jobs are rehearsals", hint="load all of them with emulator=True, or none")
    if limit is not None and (type(limit) is not int or limit < 0):
        raise UsageError(f"limit is {limit!r}: it is a number of requests, 0 or more")
    if price is not None and not (isinstance(price, Decimal) and is_amount(price)):
        raise UsageError(f"price is {price!r}: it is an amount of USD, such as Decimal('0.02')")
    options = PlanOptions(sets={}, select=select, limit=limit, retry_failed=retry_failed, price=price)
    return pipeline.plan(jobs, target=_target(emulator=emulator), options=options)


def images(job: Job) -> list[dict[str, Any]]:
    """Make a row of each stored image of a job, in the job's order, such as for ``pandas.DataFrame``.

    The columns are those of ``seedream-jobs export`` (docs/export.md): axes as ``axis_NAME``, money as ``Decimal``,
    times as ``datetime`` (UTC), unknown values None. ``file`` is absolute; whether it is there, and as it was stored,
    is not looked at. A job that was never run has no rows.

    :raises FindingsError: the record, a review or a selection is damaged
    """
    _check_jobs(job)
    record = record_of(job)
    rows = ExportRows.of(record, Ledger.peek(job.paths, root=record.root).entries)
    return [{"file": os.path.normpath(rows.folder / row.file), **typed(row.values)} for row in rows]


def read_manifest(path: str | Path) -> Mapping[str, Entry]:
    """Read a record, as it is now: each request's key to all that is known of it.

    :param path: ``garden.manifest.jsonl``, or its job file; a rehearsal's lies below ``.seedream/emulator``
    :raises FindingsError: it is damaged
    :raises UsageError: there is no such record
    """
    paths = paths_for(Path(path))
    ledger = Ledger.peek(paths, root=campaign_root(paths.manifest))
    if ledger.header is None:
        raise UsageError(f"there is no record {paths.manifest}", hint="seedream-jobs run makes it")
    return ledger.entries


def _check_jobs(*jobs: object) -> None:
    for job in jobs:
        if not isinstance(job, Job):  # in a notebook nobody checks types, and a path is what one tries first
            raise TypeError(f"a job is needed, not a {type(job).__name__}: load(PATH) reads one")


def _target(*, emulator: bool) -> Target:
    return EMULATOR if emulator else Target(origin=find_endpoint(None, os.environ).base, emulator=False)
