"""The tour, as code: the stages called in order.

    load → check → expand → plan → (confirm) → execute → report

Reading this file top to bottom is reading what ``seedream-jobs run`` does. The function that spends money is
``execute``; everything before it writes nothing and opens no socket. Between the two stand ``run.holding``, which
takes the ledgers, and ``run.planned``, which makes of a plan what is to be done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.job import schema, yaml_reader
from seedream_jobs.job.document import Document
from seedream_jobs.job.files import Files, OutsideRoot, WorkTree, campaign_root
from seedream_jobs.job.spec import JobSpec, load_spec
from seedream_jobs.ledger.paths import is_manifest, job_beside, paths_for
from seedream_jobs.plan.job import Job, hold_count, hold_names, policy_budgets

if TYPE_CHECKING:  # what only plan and run need is imported there: validate starts in half the time
    from seedream_jobs.ledger.campaign import Elsewhere
    from seedream_jobs.ledger.ledger import Ledger
    from seedream_jobs.plan.diff import Wish
    from seedream_jobs.plan.jobs import JobPlan, JobsPlan
    from seedream_jobs.plan.policy import Policy
    from seedream_jobs.plan.policy_file import PolicyOf
    from seedream_jobs.run.job_run import JobResult, JobRun
    from seedream_jobs.run.session import Session

EMULATOR_ORIGIN = "emulator"
"""What a manifest of the emulator is tied to: its port changes, its books stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which service a command speaks to, or would: a manifest is tied to its origin."""

    origin: str
    emulator: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What an operator asked of ``plan`` or ``run``, by the options' names.

    :param replay: Unix seconds now, where what is in doubt is to be sent again under its idempotency key
    """

    sets: Mapping[str, str]
    select: str | None = None
    limit: int | None = None
    retry_failed: bool = False
    replay: int | None = None
    again: tuple[str, ...] = ()
    price: Decimal | None = None
    budgets: tuple[tuple[str, Decimal], ...] = ()

    @property
    def recorded(self) -> dict[str, object]:
        """What of it changes requests or money, for the plan and the record; nothing where nothing was asked."""
        options: dict[str, object] = {
            "again": list(self.again),
            "limit": self.limit,
            "replay": self.replay is not None,
            "retry_failed": self.retry_failed,
            "select": self.select,
            "set": dict(self.sets),
        }
        return {name: value for name, value in options.items() if value not in (None, False, [], {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What jobs are held against beside their schema.

    :param policy_of: the policy of a campaign
    :param ignore: codes of lint warnings that are silenced
    """

    policy_of: PolicyOf
    ignore: frozenset[str] = frozenset()


def load(
    path: Path,
    *,
    shown: str,
    target: Target,
    sets: Mapping[str, str],
    files: Files | None = None,
    rules: Rules | None = None,
) -> Job:
    """One job file: read, checked against the schema, its templates compiled, its axes read, its parts checked.

    :param shown: the file as the user named it
    :param files: where the job file, too, is read; the disk by default
    :raises FindingsError: with every finding
    :raises UsageError: there is no such file
    """
    root = campaign_root(path)
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  (Path.absolute keeps "..")
    folder = PurePosixPath(absolute.parent.relative_to(root).as_posix())
    document = yaml_reader.read(path, shown) if files is None else _read(folder / path.name, shown, files)
    findings = schema.check(document)
    if any(finding.code != "bad-reference" for finding in findings):
        raise FindingsError(in_order([*findings, *document.warnings]))
    try:
        spec = load_spec(document, files or WorkTree(root), root=root, folder=folder, sets=sets, file=path.name)
        policy = None if rules is None else rules.policy_of(root)
        expansion, warnings = _held(spec, policy, rules)
    except (
        FindingsError
    ) as error:  # the images that are there are looked at all the same: all bad ones are told at once
        told = {finding.span for finding in findings}
        others = (finding for finding in error.diagnostics if finding.span not in told)
        raise FindingsError(in_order([*findings, *others])) from None
    if findings:
        raise FindingsError(in_order([*findings, *warnings]))
    paths = paths_for(path, emulator_root=root if target.emulator else None)
    return Job(file=path, expansion=expansion, paths=paths, warnings=warnings, policy=policy)


def _held(spec: JobSpec, policy: Policy | None, rules: Rules | None) -> tuple[Expansion, tuple[Diagnostic, ...]]:
    """A job's requests and warnings, once its parts are checked and the rules hold.

    :raises FindingsError: with every finding
    """
    if policy is not None:
        from seedream_jobs.plan.enforce import hold_policy, lowered

        spec = lowered(policy, spec)
    expansion = Expansion(spec)
    warnings = expansion.check()
    if rules is not None:
        from seedream_jobs.expand.lint import lint

        warnings = in_order([*warnings, *lint(expansion, rules.ignore), *(policy.warnings if policy else ())])
    if policy is not None and (refused := hold_policy(policy, expansion)):
        raise FindingsError(in_order([*refused, *warnings]))
    return expansion, warnings


def _read(path: PurePosixPath, shown: str, files: Files) -> Document:
    try:
        raw = files.read(path, limit=yaml_reader.MAX_BYTES + 1)
    except (OSError, OutsideRoot) as error:
        reason = error.strerror if isinstance(error, OSError) else "it leads out of the campaign's root"
        raise UsageError(f"{shown}: {reason}", hint="check the path") from None
    return yaml_reader.parse(raw, shown)


def job_file(named: Path) -> Path:
    """The job file that a JOB means: a manifest stands for the one beside it.

    :raises UsageError: there is none beside it
    """
    if not is_manifest(named):
        return named
    found = job_beside(named)
    if found is None:
        raise UsageError(
            f"{named} is a record; its job file is not beside it",
            hint="name the job file; fetch, status, gallery and export need only the record",
        )
    return found


def load_all(
    paths: Sequence[Path], *, target: Target, sets: Mapping[str, str], rules: Rules | None = None
) -> list[Job]:
    """Several job files, in the order of their paths; the findings of all of them at once.

    :param paths: job files, or manifests for those beside them
    :raises FindingsError: with every finding of every file
    """
    jobs: list[Job] = []
    findings: list[Diagnostic] = []
    for path in sorted(map(job_file, paths)):
        try:
            jobs.append(load(path, shown=str(path), target=target, sets=sets, rules=rules))
        except FindingsError as error:
            findings.extend(error.diagnostics)
    if findings:
        raise FindingsError(in_order(findings))
    hold_apart(jobs)
    return jobs


def hold_apart(jobs: Sequence[Job]) -> None:
    """Refuse two jobs of one record.

    :raises UsageError: naming them
    """
    records: dict[Path, Job] = {}
    for job in jobs:
        record = job.paths.manifest.resolve()  # two paths may lead to one folder
        if record in records:
            raise UsageError(
                f"{job.shown} and {records[record].shown} would share {job.paths.manifest.name}",
                hint="a job's record is named after its file's stem: rename one of them, or name it once",
            )
        records[record] = job


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """All findings of several job files, and (file, number of requests) of those without errors."""

    findings: tuple[Diagnostic, ...]
    valid: tuple[tuple[str, int], ...]

    @property
    def errors(self) -> bool:
        """Whether any finding is an error."""
        return any(finding.severity == "error" for finding in self.findings)


def validate_all(
    paths: Sequence[Path], *, target: Target, sets: Mapping[str, str], rules: Rules | None = None
) -> Validation:
    """Everything that can be found in job files without a ledger: each request is made once.

    :raises UsageError: there is no such file
    """
    findings: list[Diagnostic] = []
    valid: list[tuple[str, int]] = []
    for path in sorted(map(job_file, paths)):
        try:
            job = load(path, shown=str(path), target=target, sets=sets, rules=rules)
            findings.extend([*job.warnings, *_folder_blocked(job)])
            requests = hold_count(job, job.expansion.total())
            findings.extend([*job.expansion.merge_warnings(), *hold_names(job)])
            valid.append((str(path), requests))
        except FindingsError as error:
            findings.extend(error.diagnostics)
    return Validation(findings=in_order(findings), valid=tuple(valid))


def _folder_blocked(job: Job) -> list[Diagnostic]:
    """What on this disk stands where the images' folder should be: a file, or a link that leads out or nowhere."""
    from seedream_jobs.ledger.paths import in_the_way

    spec = job.expansion.spec
    folder = spec.root / spec.folder / spec.output_dir
    try:
        blocked = in_the_way(folder)
        said = None if blocked is None else blocked.message
        if said is None and not folder.resolve().is_relative_to(spec.root.resolve()):
            said = f"the folder {spec.output_dir!r} leads out of the campaign's folder through a symbolic link"
    except (OSError, RuntimeError) as error:  # a name that is too long, links that lead in a circle
        said = f"the folder {spec.output_dir[:80]!r} can't be made: {getattr(error, 'strerror', None) or error}"
    if said is None:
        return []
    return [
        spec.document.finding(
            "output-dir", said, ("output", "dir"), hint="move it out of the way, or name another folder"
        )
    ]


def plan(
    jobs: Sequence[Job],
    *,
    target: Target,
    asked: PlanOptions,
    ledger_of: Callable[[Job], Ledger] | None = None,
    elsewhere_of: Callable[[Job], Elsewhere] | None = None,
) -> JobsPlan:
    """What would be submitted, why, and for how much. Writes nothing; held against the budgets by ``hold_budgets``.

    :param ledger_of: the jobs' ledgers where they are already held; else each is read
    :param elsewhere_of: what other manifests have paid, where those are not the disk's
    """
    from seedream_jobs.ledger.campaign import paid_elsewhere
    from seedream_jobs.ledger.ledger import Ledger
    from seedream_jobs.plan.cost import tariff_of
    from seedream_jobs.plan.diff import Wish
    from seedream_jobs.plan.jobs import plan_jobs
    from seedream_jobs.plan.select import hold_values, selector
    from seedream_jobs.plan.sets import other_sets

    if not jobs:
        raise UsageError("no job was named", hint="seedream-jobs plan garden.yaml")
    select = None if asked.select is None else asked.select

    def wish(job: Job) -> Wish:
        return Wish(
            retry_failed=asked.retry_failed,
            replay_at=asked.replay,
            again=asked.again,
            select=None if select is None else selector(select, job.expansion),
            limit=asked.limit,
        )

    def elsewhere(job: Job) -> Elsewhere:
        root = job.expansion.spec.root
        return paid_elsewhere(root, job.paths.manifest, origin=target.origin, emulator=target.emulator)

    def peek(job: Job) -> Ledger:
        return Ledger.peek(job.paths, root=job.expansion.spec.root)

    planned = plan_jobs(
        jobs,
        origin=target.origin,
        elsewhere=elsewhere_of or elsewhere,
        wish=wish,
        tariff=partial(tariff_of, jobs[0].expansion.spec.profile, asked.price),
        budgets=(*asked.budgets, *policy_budgets(jobs)),
        ledger_of=ledger_of or peek,
    )
    if select is not None and not any(part.summary.requests for part in planned.jobs):
        hold_values(select, (job.expansion for job in jobs))
    _again_found(planned, asked.again)
    for part in planned.jobs if elsewhere_of is None else ():
        if not part.ledger.entries:
            part.summary.warnings = (*part.summary.warnings, *half_renamed(part.job, target.emulator))
        part.summary.warnings = (*part.summary.warnings, *_on_no_record(part))
        if part.summary.submit and ledger_of is None and not target.emulator:
            from seedream_jobs.plan.revisions import ignored

            found = ignored([part.job.paths.manifest], part.job.expansion.spec.root, os.environ, "warning")
            part.summary.warnings = (*part.summary.warnings, *found)
    for part in planned.jobs:
        if part.summary.submit:
            found = other_sets(part.job.shown, part.ledger.plans.values(), asked.sets)
            part.summary.warnings = (*part.summary.warnings, *found)
    return planned


def _on_no_record(part: JobPlan) -> tuple[Diagnostic, ...]:
    """The warning that images of requests about to be paid lie there already, by their sidecars: a record was lost."""
    spec, folder = part.job.expansion.spec, part.job.paths.manifest.parent
    output = folder / spec.output_dir
    if not part.summary.submit or not output.is_dir():
        return ()
    from seedream_jobs.plan.diff import Action
    from seedream_jobs.results.sidecar import read_sidecars

    found = read_sidecars(output, folder)
    new = (change.key for change in part.submissions(part.ledger.entries) if change.action is Action.NEW)
    there = [found[key][0] for key in new if key in found] if found else []
    if not there:
        return ()
    shown = os.path.relpath(there[0].path, folder)
    message = (
        f"{len(there)} of {part.summary.submit} requests to be submitted have images already, by the sidecars beside "
        f"them ({shown}), and are on no record: they would be paid again"
    )
    hint = f"bring the record back, or take it from the sidecars: seedream-jobs resolve {part.job.shown} --import"
    return (
        Diagnostic(code="images-on-no-record", severity="warning", message=message, path=part.job.shown, hint=hint),
    )


def _again_found(planned: JobsPlan, again: tuple[str, ...]) -> None:
    """An address that no job has is a mistake, not nothing to do."""
    if not again:
        return
    known = {
        job.job.expansion.builder.address(change.place.cell, change.place.repeat)
        for job in planned.jobs
        for change in job.stream(job.ledger.entries)
        if change.place is not None
    }
    for address in again:
        if address not in known:
            raise UsageError(f"--again {address}: no request has this address", hint="seedream-jobs expand lists them")


async def execute(session: Session, work: list[JobRun]) -> list[JobResult]:
    """Spend the money: submit what the plan says, poll, fetch, and record every step before the next relies on it."""
    return await session.run(work)


def half_renamed(job: Job, emulator: bool) -> tuple[Diagnostic, ...]:
    """The warning that a job without a record lost it when only one of the two was renamed, if so."""
    from seedream_jobs.ledger import campaign

    expansion = job.expansion
    found = campaign.half_renamed(
        job.shown,
        job.paths.manifest,
        expansion.spec.root,
        lambda: (place.key for place in expansion.places()),
        emulator=emulator,
    )
    return () if found is None else (found,)


def gallery_folder(job: Job) -> Path:
    """Where the page of a job lies: beside its images."""
    return job.paths.manifest.parent / job.expansion.spec.output_dir / "gallery"
