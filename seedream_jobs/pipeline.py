"""The program, read top to bottom: load → lock → plan → show → confirm → apply → report.

``run`` at the end of this file is what ``seedream-jobs run`` does, with job files or with a saved plan. ``apply`` is
the only function that spends money; what is called before it opens no socket, and writes nothing but locks.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from seedream_jobs.atomic_file import in_the_way, refusal
from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import PRECEDENCE, ExitCode, FindingsError, LedgerError, SeedreamError, UsageError
from seedream_jobs.job.files import WorkTree, git_environment
from seedream_jobs.ledger.paths import STATE_FOLDER, keep_private
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles
from seedream_jobs.plan.load import Job, Rules, Target, check_apart, load_jobs
from seedream_jobs.plan.options import PlanOptions, other_sets, run_record
from seedream_jobs.records import Locked, Record, half_renamed, lock_records, open_tasks, record_of, saved_records

if TYPE_CHECKING:  # what only plan and run need is imported there: validate starts in half the time
    from seedream_jobs.api.client import Client
    from seedream_jobs.api.credentials import Access
    from seedream_jobs.ledger.campaign import Elsewhere
    from seedream_jobs.ledger.ledger import Ledger
    from seedream_jobs.plan.plan import Plan, PlannedJob
    from seedream_jobs.plan.review import Revisions
    from seedream_jobs.results.thumbnails import Decoders
    from seedream_jobs.run.images import ImageSteps
    from seedream_jobs.run.job_run import JobResult, JobRun, RunOptions, Watcher


def plan(
    jobs: Sequence[Job],
    *,
    target: Target,
    options: PlanOptions,
    ledger_of: Callable[[Job], Ledger] | None = None,
    elsewhere_of: Callable[[Job], Elsewhere] | None = None,
) -> Plan:
    """What would be submitted, why, and for how much. Writes nothing; budgets are checked by ``check_budgets``.

    :param ledger_of: the jobs' ledgers where they are already locked; else each is read
    :param elsewhere_of: what other manifests have paid, where those are not the disk's
    """
    from seedream_jobs.ledger.campaign import paid_elsewhere
    from seedream_jobs.ledger.ledger import Ledger
    from seedream_jobs.plan.plan import make_plan

    if not jobs:
        raise UsageError("no job was named", hint="seedream-jobs plan garden.yaml")
    ledgers = [ledger_of(job) if ledger_of else Ledger.peek(job.paths, root=_root(job)) for job in jobs]
    if elsewhere_of is None:
        paid = partial(paid_elsewhere, origin=target.origin, emulator=target.emulator)
        elsewhere = [paid(_root(job), job.paths.manifest) for job in jobs]
    else:
        elsewhere = list(map(elsewhere_of, jobs))
    made = make_plan(jobs, ledgers, elsewhere, origin=target.origin, options=options)
    on_disk, locked = elsewhere_of is None, ledger_of is not None
    warned = [
        replace(one, warnings=(*one.warnings, *_find_warnings(job, one, ledger, options, target, on_disk, locked)))
        for job, one, ledger in zip(jobs, made.jobs, ledgers, strict=True)
    ]
    return replace(made, jobs=tuple(warned))


def review(revisions: Revisions, jobs: Sequence[Path], *, target: Target, options: PlanOptions, rules: Rules) -> Plan:
    """What merging a change would submit, and for how much: choose jobs, load both trees, plan the head, compare.

    :param jobs: the job files to compare; none for all that the change concerns
    :param rules: what the head is checked against
    :raises FindingsError: a job has errors at the head
    """
    from seedream_jobs.plan.cost import tariff_of
    from seedream_jobs.plan.plan import Plan

    pairs = revisions.pairs(jobs, rules)
    loaded = [pair.head for pair in pairs if isinstance(pair.head, Job)]
    check_apart(loaded)
    if not loaded:
        tariff = tariff_of(profiles()[DEFAULT_MODEL], options.price)
        return revisions.compare(Plan(origin=target.origin, tariff=tariff, jobs=()), pairs)
    elsewhere_of = None if revisions.head is None else revisions.elsewhere_of  # the work tree is the disk
    made = plan(loaded, target=target, options=options, ledger_of=revisions.ledger_of, elsewhere_of=elsewhere_of)
    return revisions.compare(made, pairs)


def _root(job: Job) -> Path:
    return job.expansion.spec.root


def _find_warnings(
    job: Job, planned: PlannedJob, ledger: Ledger, options: PlanOptions, target: Target, on_disk: bool, locked: bool
) -> list[Diagnostic]:
    """What a person should know before the requests of a job are paid.

    :param on_disk: the plan is of what lies on the disk, not in a revision
    :param locked: ``run`` makes the plan, which refuses a record that git ignores
    """
    from seedream_jobs.plan.revisions import ignored

    found: list[Diagnostic] = []
    if on_disk and not ledger.entries:
        found += filter(None, [half_renamed(job, emulator=target.emulator)])
    if not planned.submit:
        return found
    if on_disk:
        found += _images_on_no_record(job, planned)
        if not locked and not target.emulator:
            found += ignored([job.paths.manifest], _root(job), os.environ, "warning")
    return [*found, *other_sets(job.shown, ledger.plans.values(), options.sets)]


def _images_on_no_record(job: Job, planned: PlannedJob) -> list[Diagnostic]:
    """The warning that images of requests about to be paid lie there already, by their sidecars: a record was lost."""
    folder = job.paths.manifest.parent
    output = folder / job.expansion.spec.output_dir
    if planned.changes is None or not output.is_dir():
        return []
    from seedream_jobs.plan.diff import Action
    from seedream_jobs.results.sidecar import read_sidecars

    found = read_sidecars(output, folder)
    new = (change.key for change in planned.changes.submits() if change.action is Action.NEW)
    there = [found[key][0] for key in new if key in found] if found else []
    if not there:
        return []
    shown = os.path.relpath(there[0].path, folder)
    message = (
        f"{len(there)} of {planned.submit} requests to be submitted have images already, by the sidecars beside "
        f"them ({shown}), and are on no record: they would be paid again"
    )
    hint = f"bring the record back, or take it from the sidecars: seedream-jobs resolve {job.shown} --import"
    return [Diagnostic(code="images-on-no-record", severity="warning", message=message, path=job.shown, hint=hint)]


def read_saved(
    files: Sequence[Path], options: PlanOptions, rules: Rules, *, expect: str | None, now: int
) -> tuple[Plan, Plan, Path]:
    """The one saved plan that is named, under today's policy; what of it may be paid for; its campaign's root.

    The second has the jobs with a record, and also the budgets of this invocation.

    :param expect: the digest that was approved
    :raises UsageError: something beside it is named, or an option that would change it
    :raises FindingsError: the policy refuses one of its requests
    :raises HeldError: it was edited, is too old, or another one was approved
    """
    from seedream_jobs.plan import saved

    if len(files) != 1 or files[0].suffix != ".json":
        raise UsageError("a saved plan is run alone", hint="seedream-jobs run plan.json --expect DIGEST")
    changing = [*options.recorded, *(["price"] if options.price is not None else [])]
    if changing:
        option = f"--{changing[0].replace('_', '-')}"
        raise UsageError(
            f"{option} can't change a saved plan", hint="make another one: seedream-jobs plan … -o plan.json"
        )
    found = saved.read(files[0])
    shown = str(files[0])
    saved.check_fresh(found, now=now, expect=expect, shown=shown)
    root = saved.find_root(found, files[0], Path.cwd())
    budgets = options.budgets
    policy = rules.policy_of(root)
    if policy is not None:
        found = saved.apply_policy(policy, found, shown)
        if policy.budget_usd is not None:
            budgets = (*budgets, (f"budget_usd of {policy.shown}", policy.budget_usd))
    jobs = sorted((job for job in found.jobs if job.manifest is not None), key=lambda job: job.path)
    return found, replace(found, jobs=tuple(jobs), budgets=(*found.budgets, *budgets)), root


def remaining_plan(approved: Plan, locked: Locked, *, target: Target, root: Path, shown: str) -> Plan:
    """What is left to submit of a saved plan whose records are locked.

    :raises HeldError: it is finished or overtaken, or was made for another record
    """
    from seedream_jobs.ledger.campaign import paid_elsewhere
    from seedream_jobs.plan.saved import check_records, remaining

    check_records(approved, locked.ledgers)
    elsewhere = [
        paid_elsewhere(root, one.paths.manifest, origin=target.origin, emulator=target.emulator)
        for one in locked.records
    ]
    return remaining(approved, locked.ledgers, elsewhere, root, shown)


def check_kept(planned: Plan, records: Sequence[Record], environment: Mapping[str, str]) -> None:
    """See that git keeps the records of what is about to be paid.

    :raises FindingsError: git ignores one; names the line
    """
    from seedream_jobs.plan.revisions import ignored

    paid = [record for job, record in zip(planned.jobs, records, strict=True) if job.submit]
    found: list[Diagnostic] = []
    for root in sorted({record.root for record in paid}):
        manifests = [record.paths.manifest for record in paid if record.root == root]
        found += ignored(manifests, root, environment, "error")
    if found:
        raise FindingsError(found)


# -- spending ----------------------------------------------------------------------------------------------------------

JOURNAL_WAITS = 0.001
"""Seconds the journal's thread waits at most for its turn while the event loop is busy; Python's own 5 ms, up to three
times for each record, would cost a twentieth of the requests per second."""


EMULATOR_KEY = "emulator"
EMULATOR_DELAY = 1.0
"""Seconds that a task of the built-in emulator takes: long enough to be seen, short enough for a rehearsal."""


def open_access(target: Target, root: Path, stack: ExitStack, *, base_url: str | None) -> Access:
    """What opens the service; starts the emulator, which ``stack`` stops.

    :param root: the campaign's root
    :raises CredentialsError: there is no key
    :raises UsageError: a file is where the emulator keeps its books
    """
    from seedream_jobs.api.credentials import Access, ApiKey, endpoint, find_endpoint, find_key, keep_out

    if not target.emulator:
        key = find_key(os.environ, root)
        keep_out(key.reveal())
        return Access(endpoint=find_endpoint(base_url, os.environ), key=key)
    from seedream_jobs.emulator.server import EmulatorServer
    from seedream_jobs.emulator.settings import Settings

    state = root / STATE_FOLDER / "emulator" / "service"
    if (refusal := in_the_way(state)) is not None:
        raise refusal
    settings = Settings(state=state, delay=EMULATOR_DELAY, balance=Decimal(1_000_000))
    server = stack.enter_context(EmulatorServer(settings))
    return Access(endpoint=endpoint(server.url), key=ApiKey(EMULATOR_KEY))


def carry_out(
    jobs: Sequence[JobRun],
    *,
    access: Access,
    target: Target,
    options: RunOptions,
    progress: AbstractContextManager[Watcher],
    budgets: Sequence[tuple[str, Decimal]] = (),
    before: Callable[[Client], Awaitable[None]] | None = None,
    on_submitted: Callable[[], None] = lambda: None,
) -> list[JobResult]:
    """Open the connection, listen to signals, and do what is to be done for each job; ``fetch`` and ``status``, too.

    :param before: awaited with the open connection before anything is begun
    :param on_submitted: called once nothing more will be submitted; polling and fetching may go on
    """
    import anyio

    from seedream_jobs.api.client import connect
    from seedream_jobs.run.budget import Budget
    from seedream_jobs.run.session import Session
    from seedream_jobs.run.shutdown import Shutdown, listen

    if target.emulator:  # its tasks take a second, not forty
        options = replace(options, pace=EMULATOR_DELAY / 20)

    async def main() -> list[JobResult]:
        shutdown = Shutdown()
        async with anyio.create_task_group() as background:
            await background.start(listen, shutdown)
            async with connect(access, workers=options.concurrency, environment=os.environ) as (client, downloads):
                if before is not None:
                    await before(client)
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
                    results = await session.run(jobs)
            background.cancel_scope.cancel()
        return results

    sys.setswitchinterval(JOURNAL_WAITS)
    try:
        return anyio.run(main, backend="asyncio")
    except BaseExceptionGroup as group:
        raise _gravest(group) from None


def _gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a group of tasks failed of: a bug before a refusal, of refusals the gravest."""
    failures: list[BaseException] = []
    for error in group.exceptions:
        failures.append(_gravest(error) if isinstance(error, BaseExceptionGroup) else error)
    refusals = [error for error in failures if isinstance(error, SeedreamError)]
    bugs = [error for error in failures if not isinstance(error, SeedreamError)]
    return bugs[0] if bugs else min(refusals, key=lambda error: PRECEDENCE.index(error.exit_code))


def image_steps(record: Record, decoders: Decoders, *, embed_metadata: bool) -> ImageSteps:
    """What is done with each image: checked, described by a sidecar, made small for the gallery."""
    from seedream_jobs.results.image_steps import CampaignImageSteps
    from seedream_jobs.results.sidecar import Provenance

    root = record.root
    try:
        keep_private(root / STATE_FOLDER)  # thumbnails will lie there
    except OSError as error:
        raise refusal(error, root / STATE_FOLDER) from error
    provenance = Provenance()
    if record.job is not None:
        spec = record.job.expansion.spec
        provenance = Provenance(
            job=str(spec.folder / record.job.file.name),
            template=spec.prompt.source if spec.prompt else None,
            commit=_commit(root),
        )
    return CampaignImageSteps(
        decoders=decoders,
        folder=record.paths.manifest.parent,
        root=root,
        cache=root / STATE_FOLDER / "thumbnails",
        now=time.time,
        provenance=provenance,
        embed_metadata=embed_metadata,
    )


def _commit(root: Path) -> str | None:
    """The commit that is checked out, None outside git."""
    try:
        ended = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--verify", "HEAD"],
            env=git_environment(os.environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None


class Report(Protocol):
    """Whoever shows a person what ``run`` does."""

    def plan(self, plan: Plan, left: int) -> None:
        """Show a plan of which ``left`` requests are still to be submitted."""

    def progress(self, *, total: int, usd: Decimal | None, running: int) -> AbstractContextManager[Watcher]:
        """Draw the progress while it is entered."""
        ...

    def applied(self, locked: Locked, results: Sequence[JobResult], asked: Sequence[int]) -> None:
        """Take in what became of each job, of which so many requests were to be submitted; the records are locked."""

    def end(self) -> ExitCode:
        """Say how it ended, once the records are folded."""
        ...


def apply(
    plan: Plan,
    locked: Locked,
    *,
    target: Target,
    access: Access,
    options: RunOptions,
    sets: Mapping[str, str],
    report: Report,
    now: int,
) -> list[JobResult]:
    """Carry a plan out: it and nothing else. The only function that spends money.

    :param sets: the ``--set`` values of a direct run
    :param now: Unix seconds
    """
    from seedream_jobs.results.thumbnails import Decoders
    from seedream_jobs.run.job_run import check_balance, job_run, upload

    _record_use(plan, locked, sets, now=now)
    urls: dict[str, str] = {}  # of uploaded references: filled before the first request is built

    async def before(client: Client) -> None:
        if options.check_balance:
            await check_balance(client, plan.cost)
        if options.upload_references:
            wanted = {
                name: (reference, WorkTree(record.root))
                for job, record in zip(plan.jobs, locked.records, strict=True)
                for name, reference in job.references().items()
            }
            urls.update(await upload(client, wanted, options.concurrency))

    running = 0 if options.detach else sum(map(open_tasks, locked.ledgers))
    with Decoders() as decoders:
        runs = [
            job_run(
                job,
                ledger,
                expansion=record.job.expansion if record.job else None,
                root=record.root,
                tariff=plan.tariff,
                urls=urls,
                steps=image_steps(record, decoders, embed_metadata=options.embed_metadata),
                detach=options.detach,
            )
            for job, record, ledger in zip(plan.jobs, locked.records, locked.ledgers, strict=True)
        ]
        results = carry_out(
            runs,
            access=access,
            target=target,
            options=options,
            progress=report.progress(total=plan.submit, usd=plan.cost, running=running),
            budgets=plan.budgets,
            before=before,
            on_submitted=locked.release,
        )
        report.applied(locked, results, [job.submit for job in plan.jobs])
    _record_finish(plan, locked)
    return results


def _record_use(plan: Plan, locked: Locked, sets: Mapping[str, str], *, now: int) -> None:
    """Make durable, before the first intent, that a run is open, and which plan or which ``--set`` values it uses.

    :raises LedgerError: it can't be written
    """
    from seedream_jobs.ledger.state import PlanRecord
    from seedream_jobs.plan.saved import plan_id

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
    from seedream_jobs.plan.saved import finished, plan_id

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
    from seedream_jobs.plan.plan import check_budgets

    now = int(time.time())
    with ExitStack() as stack:
        if expect is None and not any(file.suffix == ".json" for file in files):
            jobs = load_jobs(files, target=target, sets=plan_options.sets, rules=rules)
            access = open_access(target, _root(jobs[0]), stack, base_url=base_url)
            locked = lock_records([record_of(job) for job in jobs], target=target, now=now, stack=stack)
            shown = left = plan(jobs, target=target, options=plan_options, ledger_of=locked.ledger_of)
        else:
            shown, approved, root = read_saved(files, plan_options, rules, expect=expect, now=now)
            access = open_access(target, root, stack, base_url=base_url)
            records = saved_records(approved, root=root, target=target, shown=str(files[0]))
            ids = [job.manifest for job in approved.jobs]
            locked = lock_records(records, target=target, now=now, stack=stack, ids=ids, command=f"run {files[0]}")
            left = remaining_plan(approved, locked, target=target, root=root, shown=str(files[0]))
        report.plan(shown, left.submit)
        if not target.emulator:
            check_kept(left, locked.records, os.environ)
        check_budgets(left)
        if not left.submit:
            locked.release()  # what is left is polling and fetching, which no other run needs to wait for
        elif not target.emulator and not ask(left):
            return ExitCode.OK
        apply(
            left,
            locked,
            target=target,
            access=access,
            options=options,
            sets=plan_options.sets,
            report=report,
            now=int(time.time()),
        )
    return report.end()
