"""Carrying out a saved plan: it and nothing else. No job file is read; references are, by their digest.

read → hold (fresh, expected) → take the ledgers and the campaign → hold (unused, not overtaken, affordable) →
record its use → send
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from seedream_jobs.errors import HeldError, LedgerError, UsageError
from seedream_jobs.expand.references import read_reference
from seedream_jobs.job.files import campaign_root
from seedream_jobs.ledger.campaign import check_settled, lock_campaign, naming_doubts, paid_elsewhere
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.paths import LedgerPaths, paths_for
from seedream_jobs.ledger.state import PlanRecord
from seedream_jobs.plan.application import Application, Part
from seedream_jobs.plan.cost import hold, spent
from seedream_jobs.plan.diff import Action
from seedream_jobs.plan.document import Item, JobDocument, PlanDocument
from seedream_jobs.plan.drafting import path_of
from seedream_jobs.plan.saved import plan_id, sendable, submitted

if TYPE_CHECKING:
    from seedream_jobs.pipeline import Target
    from seedream_jobs.plan.jobs import JobsPlan

_NEW_PLAN = "make a new plan: seedream-jobs plan JOB… -o plan.json"


def find_root(plan: PlanDocument, file: Path, here: Path) -> Path:
    """The campaign's root that a plan was made for: around the plan's file, else around ``here``.

    :raises UsageError: neither holds the plan's jobs
    """
    for root in dict.fromkeys((campaign_root(file), campaign_root(here / "plan.json"))):
        if all((root / job.path).exists() or (root / job.record).exists() for job in plan.jobs):
            return root
    missing = plan.jobs[0].path if plan.jobs else "job file"
    raise UsageError(
        f"the campaign of {file} is not here: there is no {missing}", hint="run it in the campaign's repository"
    )


def prepare(
    plan: PlanDocument,
    *,
    root: Path,
    target: Target,
    now: int,
    budgets: tuple[tuple[str, Decimal], ...],
    stack: ExitStack,
    shown: str,
) -> Application:
    """Take the plan's ledgers, and see that it may be carried out. Nothing is recorded yet.

    :param now: Unix seconds
    :param stack: folds and releases the ledgers, releases the campaign
    :raises HeldError: another run is under way; the plan is finished or overtaken, or of another record or service
    :raises InDoubtError: one of both, or a budget, and there are doubts in its records
    :raises MoneyError: a budget does not bear what is left of it
    """
    if plan.origin != target.origin:
        if plan.origin == "emulator":
            hint = "add --emulator"
        elif target.emulator:
            hint = "leave --emulator out, or plan a rehearsal: seedream-jobs plan JOB… --emulator -o plan.json"
        else:
            hint = f"name that service: --base-url {plan.origin}"
        raise HeldError(f"{shown} was made for {plan.origin}, not {target.origin}", hint=hint)
    assert plan.digest is not None
    named = plan_id(plan.digest)
    wanted = sorted((job for job in plan.jobs if job.manifest is not None), key=lambda job: job.path)
    opened = [(job, *_open(job, root, target, now, stack)) for job in wanted]
    campaign = lock_campaign(root, emulator=target.emulator, command=f"run {shown}", now=now)
    stack.callback(campaign.release)
    for _, paths, _ in opened:
        if not target.emulator:
            check_settled(root, paths.manifest)
    for _, _, ledger in opened:
        ledger.guard(campaign)
    parts: list[Part] = []
    with naming_doubts([(job.path, ledger) for job, _, ledger in opened], plan.option):
        records = [ledger.plans.get(named) for _, _, ledger in opened]
        if opened and all(record is not None and record.finished for record in records):
            used = max(record.used_at for record in records if record is not None)
            day = datetime.fromtimestamp(used, UTC).strftime("%Y-%m-%d")
            jobs = " ".join(job.path for job in wanted) + plan.option
            raise HeldError(
                f"{shown} was carried out on {day}, and a plan is carried out once",
                hint=f"seedream-jobs fetch {jobs} goes on with its images; {_NEW_PLAN}",
            )
        for (job, paths, ledger), record in zip(opened, records, strict=True):
            left = tuple(item for item in submitted(job) if sendable(item, ledger.brief(item.key)))
            if record is None:
                _hold_whole(job, left, shown)
            paid = paid_elsewhere(root, paths.manifest, origin=target.origin, emulator=target.emulator)
            _hold_unpaid(left, paid.jobs, shown)
            already = Decimal(0)
            if job.budget_usd is not None:
                keys = (item.key for item in job.items if item.action is not Action.ORPHANED)
                already = spent(chain(ledger.entries.values(), paid.of_gone_jobs(keys)), plan.tariff)
            assert job.manifest is not None
            parts.append(
                Part(job=job, ledger=ledger, paths=paths, root=root, manifest=job.manifest, left=left, spent=already)
            )
        application = Application(
            plan=plan, parts=tuple(parts), budgets=(*plan.budgets, *budgets), release=campaign.release
        )
        _hold_budgets(application)
    hold_references(application)
    return application


def _open(job: JobDocument, root: Path, target: Target, now: int, stack: ExitStack) -> tuple[LedgerPaths, Ledger]:
    assert job.manifest is not None
    manifest = job.manifest
    file = root / job.path
    paths = paths_for(file, emulator_root=root if target.emulator else None)
    ledger = stack.enter_context(
        Ledger.open(
            paths,
            job=file.name,
            origin=target.origin,
            new_id=lambda: manifest,
            root=root,
            command="run",
            now=now,
            run=secrets.token_hex(4),
        )
    )
    others = () if ledger.header is None else ledger.header.other_ids
    if manifest not in (ledger.id, *others):
        raise HeldError(
            f"{job.path} has another record here ({ledger.id}) than the plan was made for ({manifest})", hint=_NEW_PLAN
        )
    return paths, ledger


def _hold_whole(job: JobDocument, left: Sequence[Item], shown: str) -> None:
    """A plan not yet used stands only as a whole: none of its requests was submitted by another run."""
    open_keys = {item.key for item in left}
    for item in submitted(job):
        if item.key not in open_keys:
            raise HeldError(f"{shown} is overtaken: another run submitted {item.address}", hint=_NEW_PLAN)


def _hold_unpaid(left: Sequence[Item], paid: Mapping[str, str], shown: str) -> None:
    """Nothing of what is left was paid for by another job, since the plan was made or since it was begun.

    :param paid: key to the manifest of the campaign, other than the job's own, in which it is paid
    """
    for item in left:
        if item.key in paid and item.action is not Action.AGAIN:
            raise HeldError(f"{shown} is overtaken: {item.address} is paid for in {paid[item.key]}", hint=_NEW_PLAN)


def _hold_budgets(application: Application) -> None:
    tariff = application.plan.tariff
    for part in application.parts:
        if part.job.budget_usd is not None:
            images = sum(item.max_images for item in part.left)
            hold(part.job.budget_name, part.job.budget_usd, part.spent, tariff.cost(images), images)
    images = sum(item.max_images for part in application.parts for item in part.left)
    for name, limit in application.budgets:
        hold(name, limit, Decimal(0), application.cost, images)


def hold_references(application: Application) -> None:
    """Refuse to begin where a reference image is gone or is another one than was planned.

    :raises HeldError: naming it
    """
    for reference, files in application.references().values():
        try:
            read_reference(reference, files)
        except UsageError as error:
            raise HeldError(error.message, hint=_NEW_PLAN) from None


def record_use(application: Application, *, now: int) -> None:
    """Make durable that the plan is applied, before its first intent.

    :param now: Unix seconds
    """
    plan = application.plan
    assert plan.digest is not None
    named = plan_id(plan.digest)
    for part in application.parts:
        part.ledger.announce(len(part.left))
        if named not in part.ledger.plans:
            part.ledger.use_plan(PlanRecord(plan=named, digest=plan.digest, used_at=now, options=dict(plan.options)))


def record_finish(application: Application) -> None:
    """Record that nothing of the plan is left to send, for the jobs where that is so."""
    assert application.plan.digest is not None
    named = plan_id(application.plan.digest)
    for part in application.parts:
        record = part.ledger.plans.get(named)
        if record is None or record.finished:
            continue
        if not any(sendable(item, part.ledger.brief(item.key)) for item in submitted(part.job)):
            with suppress(LedgerError):  # the next run of this plan finds nothing left and records it then
                part.ledger.finish_plan(named)


def with_manifests(document: PlanDocument, planned: JobsPlan, *, target: Target, now: int) -> PlanDocument:
    """The document of a plan to be saved: each job with something to submit has its manifest's id, made now if need be.

    :param now: Unix seconds
    :raises HeldError: a run holds a record that has to be made
    """
    parts = {path_of(part): part for part in planned.jobs}

    def identified(job: JobDocument) -> JobDocument:
        part = parts.get(job.path)
        if part is None or job.manifest is not None or not job.submit:
            return job
        with Ledger.open(
            part.job.paths,
            job=part.job.file.name,
            origin=target.origin,
            new_id=lambda: f"m-{secrets.token_hex(8)}",
            root=part.job.expansion.spec.root,
            command="plan",
            now=now,
        ) as ledger:
            ledger.ensure_created()
            return replace(job, manifest=ledger.id)

    return replace(document, jobs=tuple(identified(job) for job in document.jobs))
