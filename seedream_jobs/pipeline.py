"""The program, read top to bottom: load → lock → plan → show → confirm → apply → report.

``run`` at the end of this file is what ``seedream-jobs run`` does, with job files or with a saved plan. ``apply`` is
the only function that spends money. What is called before it opens no socket and records nothing: it takes locks, and
folds a journal that a crash left.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import replace
from decimal import Decimal
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from seedream_jobs.api.credentials import Access
from seedream_jobs.claims.git_lock import git_locked
from seedream_jobs.diagnostics import Diagnostic, plural
from seedream_jobs.errors import ExitCode, FindingsError, LedgerError, SeedreamError, UsageError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.job.files import WorkTree
from seedream_jobs.ledger.campaign import Elsewhere, held_elsewhere, paid_elsewhere
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.parts import MANY, committed_files
from seedream_jobs.ledger.state import PlanRecord, State
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles
from seedream_jobs.plans.cost import tariff_of
from seedream_jobs.plans.load import Job, Rules, Target, check_apart, find_shared_folders, load_jobs
from seedream_jobs.plans.options import PlanOptions, other_sets, run_record, sets_of
from seedream_jobs.plans.plan import Plan, PlannedJob, check_budgets, make_plan
from seedream_jobs.plans.policy import Policy
from seedream_jobs.plans.review import Revisions
from seedream_jobs.plans.revisions import GitTree, ignored
from seedream_jobs.plans.saved import check_records, finished, plan_id, read_approved, remaining
from seedream_jobs.records import (
    Locked,
    Record,
    as_last_run,
    half_renamed,
    lock_records,
    open_tasks,
    record_of,
    saved_records,
)
from seedream_jobs.results.image_store import ImageStore, find_paid_in_store, open_images
from seedream_jobs.results.selections import SELECTIONS, rejected_keys
from seedream_jobs.results.sidecar import find_unrecorded_images
from seedream_jobs.results.thumbnails import Decoders
from seedream_jobs.run.access import check_access, open_access
from seedream_jobs.run.options import RunOptions
from seedream_jobs.sharing import open_stores, suppose_claims

if TYPE_CHECKING:  # they import anyio and what else ``plan`` does not need
    from seedream_jobs.claims.store import ClaimStore
    from seedream_jobs.run.job_run import JobResult, Watcher


def plan(
    jobs: Sequence[Job],
    *,
    target: Target,
    options: PlanOptions,
    ledger_of: Callable[[Job], Ledger] | None = None,
    elsewhere_of: Callable[[Job], Elsewhere] | None = None,
    shared: bool = False,
) -> Plan:
    """What would be submitted, why, and for how much. Writes nothing; budgets are checked by ``check_budgets``.

    :param ledger_of: the jobs' ledgers where they are already locked; else each is read
    :param elsewhere_of: what other manifests have paid, where those are not the disk's
    :param shared: the stores are asked what others have claimed or paid, whatever the policy says
    """
    if not jobs:
        raise UsageError("no job was named", hint="seedream-jobs plan garden.yaml")
    ledgers = [ledger_of(job) if ledger_of else Ledger.peek(job.paths, root=_root(job)) for job in jobs]
    asked = [shared or (job.policy is not None and job.policy.check_shared) for job in jobs]
    for job, ledger, asks in zip(jobs, ledgers, asked, strict=True):
        if asks and not ledger.locked:  # ``run`` has recorded it
            suppose_claims(job.policy, _root(job), job, ledger, target=target, now=int(time.time()))
    if elsewhere_of is None:
        paid = partial(paid_elsewhere, origin=target.origin, emulator=target.emulator)
        elsewhere = [paid(_root(job), job.paths.manifest) for job in jobs]
    else:
        elsewhere = list(map(elsewhere_of, jobs))
    rejected = _rejected(jobs, ledgers) if options.rejected else None
    made = make_plan(jobs, ledgers, elsewhere, origin=target.origin, options=options, rejected=rejected)
    on_disk, locked = elsewhere_of is None, ledger_of is not None
    warned = []
    shared_folders = find_shared_folders(jobs, on_disk=on_disk)
    for job, one, ledger, found_shared, asks in zip(jobs, made.jobs, ledgers, shared_folders, asked, strict=True):
        found = _find_warnings(job, one, ledger, options, target, on_disk, locked, asks)
        warned.append(replace(one, warnings=(*one.warnings, *found_shared, *found)))
    return replace(made, jobs=tuple(warned))


def _rejected(jobs: Sequence[Job], ledgers: Sequence[Ledger]) -> list[frozenset[str]]:
    """For each job the requests whose images its selection rejects.

    :raises UsageError: no job has a selection
    """
    found = [rejected_keys(job, ledger.entries) for job, ledger in zip(jobs, ledgers, strict=True)]
    if all(one is None for one in found):
        raise UsageError(
            f"--again --rejected: there is no {SELECTIONS}/{jobs[0].expansion.spec.name}.yaml",
            hint=f"seedream-jobs choose {shell_word(jobs[0].shown)} ratings.json writes it",
        )
    return [one or frozenset() for one in found]


def review(
    revisions: Revisions,
    jobs: Sequence[Path],
    *,
    target: Target,
    options: PlanOptions,
    rules: Rules,
    shared: bool = False,
) -> Plan:
    """What merging a change would submit, and for how much: choose jobs, load both trees, plan the head, compare.

    :param jobs: the job files to compare; none for all that the change concerns
    :param rules: what the head is checked against
    :param shared: as for ``plan``
    :raises FindingsError: a job has errors at the head, or git ignores the record of one with something to submit
    """
    pairs = revisions.pairs(jobs, rules)
    loaded = [pair.head for pair in pairs if isinstance(pair.head, Job)]
    check_apart(loaded)
    # The change only removes jobs, or concerns none: nothing is to be planned, and no job names the model.
    if not loaded:
        tariff = tariff_of(profiles()[DEFAULT_MODEL], options.price)
        return revisions.compare(Plan(origin=target.origin, tariff=tariff, jobs=()), pairs)
    elsewhere_of = None if revisions.head is None else revisions.elsewhere_of  # the work tree is the disk
    ledger_of = revisions.ledger_of
    made = plan(loaded, target=target, options=options, ledger_of=ledger_of, elsewhere_of=elsewhere_of, shared=shared)
    if not target.emulator:
        ledgers = [job.ledger for job in made.jobs if job.ledger is not None]
        check_kept(made, list(map(record_of, loaded)), ledgers, revisions.head_tree)
    return revisions.compare(made, pairs)


def _root(job: Job) -> Path:
    return job.expansion.spec.root


def _find_warnings(
    job: Job,
    planned: PlannedJob,
    ledger: Ledger,
    options: PlanOptions,
    target: Target,
    on_disk: bool,
    locked: bool,
    shared: bool,
) -> list[Diagnostic]:
    """What a person should know before the requests of a job are paid.

    :param on_disk: the plan is of what lies on the disk, not in a revision
    :param locked: ``run`` makes the plan, which refuses a record that git ignores
    :param shared: the store of images is asked what other records have paid
    """
    found = [
        Diagnostic(
            code="claim-open",
            severity="warning",
            message=f"{plural(count, 'request')} {'is' if count == 1 else 'are'} in {whose}, and not settled: in doubt "
            "for everybody else",
            path=job.shown,
            hint=f"wait, if that runner is at work; if it is gone: seedream-jobs resolve {shell_word(job.shown)}",
        )
        for whose, count in Counter(held_elsewhere(ledger.entries, paid=False).values()).items()
    ]
    if on_disk and not ledger.tied:  # what it knows is the store's word
        found += filter(None, [half_renamed(job, emulator=target.emulator)])
    if not (target.emulator or ledger.parts or job.expansion.spec.split):
        found += _find_large(job, max(planned.requests, len(ledger.entries)))
    if not planned.submit:
        return found
    if on_disk:
        found += find_unrecorded_images(job, planned)
        if shared:
            found += find_paid_in_store(planned, job.policy, target, ledger.header)
        if not locked and not target.emulator:
            found += ignored(_files_of(job.paths.manifest, ledger), _root(job), "warning")
    return [*found, *other_sets(job.shown, ledger.plans.values(), options.sets)]


def _find_large(job: Job, requests: int) -> Iterator[Diagnostic]:
    """The warning that no forge will take the record once it is paid."""
    if requests >= MANY:
        yield Diagnostic(
            code="manifest-large",
            severity="warning",
            message=f"the record of {requests:,} requests is about {requests // 1200:,} MB in one file: forges warn of "
            "files of 50 MB and refuse a push with one of 100 MB",
            path=job.shown,
            hint=f"seedream-jobs manifest split {shell_word(job.shown)}, once there is a record; or write limits: "
            "{split: true} in the job",
        )


def remaining_plan(approved: Plan, locked: Locked, *, target: Target, root: Path, shown: str) -> Plan:
    """What is left to submit of a saved plan whose records are locked.

    :raises HeldError: it is finished or overtaken, or was made for another record
    """
    check_records(approved, locked.ledgers)
    elsewhere = [
        paid_elsewhere(root, one.paths.manifest, origin=target.origin, emulator=target.emulator)
        for one in locked.records
    ]
    return remaining(approved, locked.ledgers, elsewhere, root, shown)


def _with_store_warnings(shown: Plan, left: Plan, locked: Locked, rules: Rules, target: Target) -> Plan:
    """A saved plan with what the store of images says of it today: others may have paid since it was made."""
    jobs = [
        replace(job, warnings=tuple(find_paid_in_store(rest, rules.policy_of(record.root), target, ledger.header)))
        for job, rest, record, ledger in zip(shown.jobs, left.jobs, locked.records, locked.ledgers, strict=True)
    ]
    return replace(shown, jobs=tuple(jobs))


def check_kept(plan: Plan, records: Sequence[Record], ledgers: Sequence[Ledger], tree: GitTree | None = None) -> None:
    """Check that git does not ignore the records of what is about to be paid.

    :param tree: a commit, whose rules hold in place of the work tree's
    :raises FindingsError: it does; names the line
    """
    paid = [(record, ledger) for job, record, ledger in zip(plan.jobs, records, ledgers, strict=True) if job.submit]
    found: list[Diagnostic] = []
    for root in sorted({record.root for record, _ in paid}):
        of_root = [_files_of(record.paths.manifest, ledger) for record, ledger in paid if record.root == root]
        found += ignored(chain.from_iterable(of_root), root, "error", tree)
    if found:
        raise FindingsError(found)


def _files_of(manifest: Path, ledger: Ledger) -> list[Path]:
    return committed_files(manifest, ledger.parts)


def check_approval(files: Sequence[Path], policies: Iterable[Policy | None], expect: str | None) -> None:
    """Check that a digest was named where a policy pays only for what was approved by it.

    :raises UsageError: none was; with the steps to an approval
    """
    asking = next((policy for policy in policies if policy is not None and policy.asks_for_digest), None)
    if asking is None or expect is not None:
        return
    named = " ".join(map(shell_word, files))
    if files[0].suffix == ".json":
        hint = f"take the digest from the approval: seedream-jobs run {named} --expect DIGEST"
    else:
        hint = (
            f"save the plan: seedream-jobs plan {named} -o plan.json; have its digest approved; "
            "then: seedream-jobs run plan.json --expect DIGEST"
        )
    raise UsageError(f"{asking.shown} asks for an approved plan (approval: expect)", hint=hint)


class Report(Protocol):
    """Whoever shows a person what ``run`` does."""

    def plan(self, plan: Plan, left: int) -> None:
        """Show a plan of which ``left`` requests are still to be submitted."""

    def pages(
        self, records: Sequence[Record], ledgers: Sequence[Ledger], target: Target
    ) -> AbstractContextManager[object]:
        """Keep the pages of jobs fresh while it is entered.

        :param records: as their pages show them
        """
        ...

    def progress(
        self, *, total: int, running: int, ready: int = 0, most: Decimal | None = None
    ) -> AbstractContextManager[Watcher]:
        """Draw the progress while it is entered.

        :param total: requests to submit; ``running`` tasks are polled, too, and of ``ready`` requests images fetched
        :param most: USD that the submissions, and the tasks that are polled, can cost
        """
        ...

    def applied(self, locked: Locked, results: Sequence[JobResult], asked: Sequence[int]) -> None:
        """Take in what became of each job, of which so many requests were to be submitted; the records are locked."""

    def refused(self, error: SeedreamError) -> None:
        """Say at once what failed beside the jobs; it has a part in the exit code."""

    def end(self) -> ExitCode:
        """Say how it ended, once the records are folded."""
        ...


def apply(
    plan: Plan,
    locked: Locked,
    *,
    stores: Sequence[ClaimStore | None],
    images: Sequence[ImageStore | None],
    access: Access,
    options: RunOptions,
    sets: Mapping[str, str],
    report: Report,
    pages: AbstractContextManager[object],
    now: int,
) -> list[JobResult]:
    """Carry a plan out: it and nothing else. The only function that spends money.

    :param stores: for each job where its requests are claimed, if anywhere
    :param images: for each job where its images are kept beside this disk, if anywhere
    :param sets: the ``--set`` values of a direct run
    :param pages: is entered before the first request is sent, and left after the last event
    :param now: Unix seconds
    """
    # These import anyio and httpx, and ``plan`` needs neither.
    from seedream_jobs.results.image_steps import image_steps
    from seedream_jobs.run.job_run import check_without_key, job_run
    from seedream_jobs.run.session import count_ready, run_session

    # These are recorded and shown, so the key must not be among them. Each request is checked before it is sent.
    named = [*sets, *sets.values(), *(str(record.paths.manifest) for record in locked.records)]
    check_without_key(access.key, named, what="the job's path or a --set value")
    _record_use(plan, locked, sets, now=now)
    running = 0 if options.detach else sum(map(open_tasks, locked.ledgers))
    urls: dict[str, str] = {}  # of uploaded references: filled before the first request is built
    with Decoders() as decoders:
        runs = [
            job_run(
                job,
                ledger,
                expansion=record.job.expansion if record.job else None,
                root=record.root,
                tariff=plan.tariff,
                urls=urls,
                steps=image_steps(record, ledger, decoders, options, kept),
                detach=options.detach,
                key=access.key,
                store=store,
            )
            for job, record, ledger, store, kept in zip(
                plan.jobs, locked.records, locked.ledgers, stores, images, strict=True
            )
        ]
        references = {
            name: (reference, WorkTree(record.root))
            for job, record in zip(plan.jobs, locked.records, strict=True)
            for name, reference in job.references().items()
        }
        with pages if plan.submit or running else nullcontext():
            results = run_session(
                runs,
                access=access,
                options=options,
                progress=report.progress(
                    total=plan.submit,
                    running=running,
                    ready=sum(map(count_ready, runs)),
                    most=_most(plan, locked.ledgers if running else ()),
                ),
                budgets=plan.budgets,
                cost=plan.cost,
                uploads=references if options.upload_references else {},
                urls=urls,
                on_submitted=locked.release,
            )
        report.applied(locked, results, [job.submit for job in plan.jobs])
    _record_finish(plan, locked)
    return results


def _most(plan: Plan, ledgers: Sequence[Ledger]) -> Decimal | None:
    """The most that is charged while progress is shown; None where it is unknown.

    :param ledgers: of which tasks of earlier runs are polled, whose cost is counted, too
    """
    costs = [plan.cost]
    for ledger in ledgers:
        costs += [ledger.entries[key].max_cost_usd for key in ledger.entries.keys_in(State.ACCEPTED)]
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None


def _lock_remote(
    options: RunOptions, root: Path, files: Sequence[Path], stack: ExitStack, now: int, report: Report
) -> None:
    """Take the lock in the git remote that the operator names; ``stack`` releases it.

    :raises HeldError: another run holds it
    """
    if options.git_lock is not None:
        command = " ".join(["run", *map(str, files)])
        stack.enter_context(git_locked(root, options.git_lock, command=command, now=now, failed=report.refused))


def _record_use(plan: Plan, locked: Locked, sets: Mapping[str, str], *, now: int) -> None:
    """Make durable, before the first intent, that a run is open, and which plan or which ``--set`` values it uses.

    :raises LedgerError: it can't be written
    """
    for job, ledger in zip(plan.jobs, locked.ledgers, strict=True):
        if plan.digest is not None:
            named = plan_id(plan.digest)
            record = PlanRecord(plan=named, digest=plan.digest, used_at=now, options=dict(plan.options))
            ledger.announce(job.submit)
            if named not in ledger.plans:
                ledger.use_plan(record)
        elif job.submit:
            ledger.announce(job.submit)
            if (used := run_record(ledger.plans, sets, now=now, token=secrets.token_hex(4))) is not None:
                ledger.use_plan(used)


def _record_finish(plan: Plan, locked: Locked) -> None:
    """Record that nothing of a saved plan is left to send, for the jobs where that is so."""
    if plan.digest is None:
        return
    named = plan_id(plan.digest)
    for job, ledger in zip(plan.jobs, locked.ledgers, strict=True):
        record = ledger.plans.get(named)
        if record is not None and not record.finished and finished(job.submits, ledger):
            with suppress(LedgerError):  # the next run of this plan finds nothing left and records it then
                ledger.finish_plan(named)


def run(
    files: Sequence[Path],
    *,
    plan_options: PlanOptions,
    options: RunOptions,
    rules: Rules,
    target: Target,
    base_url: str | None,
    expect: str | None,
    ask: Callable[[Plan], bool],
    report: Report,
) -> ExitCode:
    """Plan job files, or read a saved plan, and if a person agrees carry it out.

    :param files: job files, or one saved plan
    :param expect: the approval digest that a saved plan must have
    :param ask: whether a person wants what the plan says
    :raises SeedreamError: whatever stands in the way, before anything is sent
    """
    now = int(time.time())
    with ExitStack() as stack:
        if expect is None and not any(file.suffix == ".json" for file in files):
            jobs = load_jobs(files, target=target, sets=plan_options.sets, rules=rules)
            root = _root(jobs[0])
            # Here the key is only looked for; it is read once a person has agreed.
            check_access(target, root, base_url=base_url)
            _lock_remote(options, root, files, stack, now, report)
            locked = lock_records([record_of(job) for job in jobs], target=target, now=now, stack=stack)
            stores = open_stores(locked, rules, target, now=now)
            shown = left = plan(jobs, target=target, options=plan_options, ledger_of=locked.ledger_of, shared=True)
            seen = locked.records
        else:
            shown, approved, root = read_approved(files, plan_options, rules, expect=expect, now=now)
            check_access(target, root, base_url=base_url)
            _lock_remote(options, root, files, stack, now, report)
            records = saved_records(approved, root=root, target=target, shown=str(files[0]))
            ids = [job.manifest for job in approved.jobs]
            locked = lock_records(records, target=target, now=now, stack=stack, ids=ids, command=f"run {files[0]}")
            stores = open_stores(locked, rules, target, now=now)
            left = remaining_plan(approved, locked, target=target, root=root, shown=str(files[0]))
            shown = _with_store_warnings(shown, left, locked, rules, target)
            seen = tuple(as_last_run(record, sets_of(approved.options), target=target) for record in records)
        for record, ledger in zip(seen, locked.ledgers, strict=True):
            if record.job is not None and record.job.expansion.spec.split:
                ledger.use_parts()
        needed = "" if options.local else "--no-local"
        images = [open_images(rules.policy_of(record.root), target, needed=needed) for record in locked.records]
        # Shown before it is checked, so that a refusal comes with the plan that it is about.
        report.plan(shown, left.submit)
        if not target.emulator:
            check_kept(left, locked.records, locked.ledgers)
        check_budgets(left)
        if not left.submit:
            locked.release()  # what is left is polling and fetching, which no other run needs to wait for
        # A rehearsal costs nothing, so nobody is asked.
        elif not target.emulator:
            check_approval(files, (rules.policy_of(record.root) for record in locked.records), expect)
            if not ask(left):
                stack.close()  # a lock in the remote is given back, which may fail
                return report.end()
        pages = report.pages(seen, locked.ledgers, target)
        apply(
            left,
            locked,
            stores=stores,
            images=images,
            access=open_access(target, root, stack, base_url=base_url),
            options=options,
            sets=plan_options.sets,
            report=report,
            pages=pages,
            now=int(time.time()),  # a person may have thought about it for long
        )
    return report.end()
