"""This module defines a job, and loads and validates job files.

Called by the pipeline, ``plans.review`` and the commands. Invariant: nothing here opens a ledger, so that
``validate`` starts without one. ``load`` raises all findings of a file at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cache, partial
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath

from seedream_jobs import confinement
from seedream_jobs.atomic_file import check_folder, read_regular
from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.lint import lint
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.inside import OutsideRoot, Withheld
from seedream_jobs.job import schema, yaml_reader
from seedream_jobs.job.files import Files, WorkTree, place_of, within
from seedream_jobs.job.ignored import IgnoreRules, checked_tree
from seedream_jobs.job.spec import COUNTED, JobSpec, load_spec, name_of
from seedream_jobs.ledger.paths import LedgerPaths, is_manifest, job_beside, paths_for
from seedream_jobs.plans.policy import (
    POLICY_FILE,
    Policy,
    PolicyOf,
    apply_budget,
    budget_name,
    find_excess,
    find_violations,
    listed_by,
    policy_of_tree,
)

MAX_SIBLINGS = 1_000
"""Files beside a job file that are looked at for one with the same folder of images."""
EMULATOR_ORIGIN = "emulator"
"""The origin in a manifest of the emulator. Its address is no origin: the port changes with every start."""


# Looked for as text, so that not every YAML file of a tree has to be parsed.
# Editors on Windows begin a file with a byte order mark.
_SHAPE = tuple(re.compile(rb"^(\xef\xbb\xbf)?" + key + rb"\s*:", re.MULTILINE) for key in (b"version", b"request"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The service that a command uses. A manifest belongs to the origin of its first run."""

    origin: str
    emulator: bool


EMULATOR = Target(origin=EMULATOR_ORIGIN, emulator=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a job is checked against beside its schema.

    :param policy_of: the policy of a campaign
    :param ignore: codes of lint warnings that are silenced
    :param ignored_of: what git ignores in a campaign, given its root
    """

    policy_of: PolicyOf
    ignore: frozenset[str] = frozenset()
    ignored_of: Callable[[Path], IgnoreRules] = field(default_factory=lambda: cache(IgnoreRules))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job file, expanded, and where its record lies."""

    file: Path
    expansion: Expansion
    paths: LedgerPaths
    warnings: tuple[Diagnostic, ...]
    policy: Policy | None = None

    @property
    def shown(self) -> str:
        """The job file as the user named it."""
        return self.expansion.spec.document.path

    @property
    def budget_name(self) -> str:
        """Whose limit the job's budget is: its own, or the policy's where that is less."""
        return budget_name(self.policy, self.expansion.spec)


def files_on_disk(root: Path, rules: Rules | None) -> WorkTree:
    """A campaign's files as jobs may read them: what git ignores only where the policy lists it.

    :param rules: None where a job is only looked at; the campaign's own policy counts then
    """
    # Without rules only ``ignored_files`` of the policy is read, and no day changes that.
    policy_of = policy_of_tree(today=date.min) if rules is None else rules.policy_of
    ignored_of = IgnoreRules if rules is None else rules.ignored_of
    return WorkTree(root, ignored=ignored_of(root), listed=listed_by(policy_of, root))


def load_job(
    path: Path,
    *,
    shown: str,
    target: Target,
    sets: Mapping[str, str],
    files: Files | None = None,
    rules: Rules | None = None,
) -> Job:
    """Read one job file, check it against the schema and the rules, and expand it.

    :param shown: the file as the user named it
    :param files: the tree that the job file and its axis files are read from; the disk by default
    :raises FindingsError: with every finding
    :raises UsageError: there is no such file
    """
    confinement.mark("reading this file", shown)
    root, place = place_of(path)
    if files is None:
        files = files_on_disk(root, rules)
    document = yaml_reader.parse(yaml_reader.read_named(path, shown, files), shown)
    findings = schema.check(document)
    # A bad reference leaves the rest of the file readable, so the search goes on and all are told at once.
    if any(finding.code != "bad-reference" for finding in findings):
        raise FindingsError(in_order([*findings, *document.warnings]))
    try:
        spec = load_spec(document, files, root=root, folder=place.parent, sets=sets, file=path.name)
        policy = None if rules is None else rules.policy_of(root)
        expansion, warnings = _expand(spec, policy, rules)
    except FindingsError as error:
        # ``findings`` are bad references here. The expansion finds more of them, and some of them again.
        known = {finding.span for finding in findings}
        others = (finding for finding in error.diagnostics if finding.span not in known)
        raise FindingsError(in_order([*findings, *others])) from None
    if findings:
        raise FindingsError(in_order([*findings, *warnings]))
    paths = paths_for(path, emulator_root=root if target.emulator else None)
    return Job(file=path, expansion=expansion, paths=paths, warnings=warnings, policy=policy)


def _expand(spec: JobSpec, policy: Policy | None, rules: Rules | None) -> tuple[Expansion, tuple[Diagnostic, ...]]:
    if policy is not None:
        spec = apply_budget(policy, spec)
    expansion = Expansion(spec)
    limit = spec.max_requests if policy is None or policy.max_requests is None else policy.max_requests
    most = min(COUNTED * min(limit, spec.max_requests), MAX_REQUESTS)
    # Counted before anything is built: a file of a few lines can ask for more requests than fit in memory.
    warnings = expansion.check(most, partial(find_too_many, policy, spec, more=True))
    confinement.allow_requests(min(most, expansion.matrix.raw * spec.repeat))
    if rules is not None:
        spec.document.mark("looking for what is not meant", ("request",), key=True)
        warnings = in_order([*warnings, *lint(expansion, rules.ignore), *(policy.warnings if policy else ())])
    # After ``check`` has bounded the requests: the policy's words are looked for in every prompt.
    if policy is not None and (refused := find_violations(policy, expansion)):
        raise FindingsError(in_order([*refused, *warnings]))
    return expansion, warnings


def looks_like_job(text: bytes) -> bool:
    """Whether a YAML file is a job by its shape: ``version:`` and ``request:`` at the top level."""
    return all(key.search(text) for key in _SHAPE)


def is_job(tree: Files, path: PurePosixPath) -> bool:
    """Whether a file of a tree looks like a job."""
    try:
        return looks_like_job(tree.read(path, limit=yaml_reader.MAX_BYTES))
    except (OSError, OutsideRoot):
        return False


def find_jobs(folder: Path) -> tuple[list[Path], list[Path]]:
    """The job files below a folder, in order; without what is hidden, ignored by git, or linked to from outside.

    :return: and the YAML files that can't be read, which may be jobs
    :raises UsageError: there is none, or the folder can't be read
    """
    if not os.access(folder, os.R_OK | os.X_OK):
        raise yaml_reader.no_permission(folder)
    root, inside = place_of(folder / POLICY_FILE)
    tree = checked_tree(root)
    found: list[PurePosixPath] = []
    for pattern in ("**/*.yaml", "**/*.yml"):
        with suppress(Withheld):  # git ignores all of them
            found += tree.glob(inside.parent, pattern)
    named = {folder / path.relative_to(inside.parent): path for path in sorted(found) if path.name != POLICY_FILE}
    unread = [file for file in named if not os.access(file, os.R_OK)]
    jobs = [file for file, path in named.items() if is_job(tree, path)]
    if unread and not jobs:
        raise yaml_reader.no_permission(unread[0])
    if not jobs:
        raise no_job_below(folder)
    return jobs, unread


def no_job_below(folder: Path) -> UsageError:
    """The refusal of a folder without a job file."""
    begin = f"seedream-jobs init {shell_word(folder)}"
    return UsageError(
        f"{folder}: no job file below this folder",
        hint=f"a job file ends in .yaml or .yml and has version: and request: at the top level; {begin} writes one",
    )


def job_file(named: Path) -> Path:
    """The job file that a JOB argument names; a manifest names the job file beside it.

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


def load_jobs(
    paths: Sequence[Path], *, target: Target, sets: Mapping[str, str], rules: Rules | None = None
) -> list[Job]:
    """Load several job files, in the order of their paths.

    :param paths: job files, or manifests for those beside them
    :raises FindingsError: with every finding of every file
    """
    jobs: list[Job] = []
    findings: list[Diagnostic] = []
    for path in sorted(map(job_file, paths)):
        try:
            job = load_job(path, shown=str(path), target=target, sets=sets, rules=rules)
            findings.extend(find_blocked(job))
            jobs.append(job)
        except FindingsError as error:
            findings.extend(error.diagnostics)
    if findings:
        raise FindingsError(in_order(findings))
    check_apart(jobs)
    return jobs


def check_apart(jobs: Sequence[Job]) -> None:
    """Check that no two jobs share a record.

    :raises UsageError: two do; names them
    """
    records: dict[Path, Job] = {}
    for job in jobs:
        record = job.paths.manifest.resolve()  # one folder may have two paths, through a symbolic link
        if record in records:
            raise UsageError(
                f"{job.shown} and {records[record].shown} would share {job.paths.manifest.name}",
                hint="a job's record is named after its file's stem: rename one of them, or name it once",
            )
        records[record] = job


def find_shared_folders(jobs: Sequence[Job], *, on_disk: bool) -> list[list[Diagnostic]]:
    """For each job a warning if another one writes its page to the same folder, or one writes images into the other's.

    No image is lost by that: none is ever written over, and a page neither, so that one of the two gets none.

    :param on_disk: also look at the job files beside these
    """
    at: dict[tuple[Path, str], list[int]] = {}
    for number, job in enumerate(jobs):
        at.setdefault((job.expansion.spec.root, _folder_of(job)), []).append(number)
    others: dict[int, int] = {}
    for (root, folder), numbers in at.items():
        pages = (page for page in (PurePosixPath(folder), *PurePosixPath(folder).parents) if page.name == "gallery")
        around = [one for page in pages for one in at.get((root, page.parent.as_posix()), ())]
        for number, other in zip([*numbers[1:], *numbers[:1]], numbers, strict=True):
            if number != other:
                others[number] = other
        for one in around:
            others.setdefault(numbers[0], one)
            others.setdefault(one, numbers[0])
    named = [job.file for job in jobs]
    return [
        [_shared_folder(job, jobs[others[number]].shown)]
        if number in others
        else _find_shared_with_siblings(job, named)
        if on_disk
        else []
        for number, job in enumerate(jobs)
    ]


def _find_shared_with_siblings(job: Job, named: Collection[Path]) -> list[Diagnostic]:
    """The same, about a job file beside this one that was not named with it."""
    spec = job.expansion.spec
    own = {path.resolve() for path in (job.file, *named)}
    parts = PurePosixPath(spec.output_dir.lower()).parts
    words = {parts[-1] if parts else "", "gallery", *(a for a, b in pairwise(parts) if b == "gallery")}
    for path in islice(sorted(job.file.parent.glob("*.y*ml")), MAX_SIBLINGS):
        if path.resolve() in own:
            continue
        try:
            text = read_regular(path, yaml_reader.MAX_BYTES)
            # Parsed only where it can name the folder: a campaign may have hundreds of job files.
            lower = text.lower() + os.fsencode(path.stem.lower())
            if not looks_like_job(text) or not any(word.encode(errors="replace") in lower for word in words):
                continue
            data = yaml_reader.parse(text, path.name).data
            output = data.get("output")
            written = output.get("dir") if isinstance(output, dict) else None
            folder = _folder(spec.folder, str(written or f"out/{name_of(data, path.name)}"))
        except (OSError, FindingsError, OutsideRoot):
            continue  # whoever names it is told what is wrong with it
        if _collide(_folder_of(job), folder):
            return [_shared_folder(job, os.path.relpath(path))]
    return []


def _folder(beside: PurePosixPath, written: str) -> str:
    """A folder of images from the campaign's root, as a file system knows it that takes capitals for small letters."""
    return within(beside, written).as_posix().casefold()


def _folder_of(job: Job) -> str:
    return _folder(job.expansion.spec.folder, job.expansion.spec.output_dir)


def _collide(own: str, other: str) -> bool:
    """Whether two folders are one, or one lies in the page of the other."""
    return own == other or f"{own}/".startswith(f"{other}/gallery/") or f"{other}/".startswith(f"{own}/gallery/")


def _shared_folder(job: Job, other: str) -> Diagnostic:
    spec = job.expansion.spec
    return spec.document.finding(
        "shared-folder",
        f"{other} writes its images and its page to the same folder, {spec.output_dir!r}",
        ("output", "dir"),
        severity="warning",
        hint=f"a folder has one page: give each job its own, such as output: {{dir: out/{job.file.stem}}}",
    )


def policy_budgets(jobs: Iterable[Job]) -> tuple[tuple[str, Decimal], ...]:
    """What all jobs of one plan may cost together by their policies: (whose limit, USD)."""
    found = {job.policy.shown: job.policy.budget_usd for job in jobs if job.policy is not None}
    return tuple((f"budget_usd of {shown}", limit) for shown, limit in found.items() if limit is not None)


def check_count(job: Job, requests: int) -> int:
    """The number of requests, if ``limits.max_requests`` and the policy allow it.

    :raises FindingsError: with the number and the ways out
    """
    if refused := find_too_many(job.policy, job.expansion.spec, requests):
        raise FindingsError(refused)
    return requests


MAX_REQUESTS = 10_000_000
"""Requests that are counted whatever the limits are; as in the schema of ``limits.max_requests``."""


def find_too_many(policy: Policy | None, spec: JobSpec, requests: int, *, more: bool = False) -> list[Diagnostic]:
    """The finding that a job makes more requests than the policy or ``limits.max_requests`` allows, if it does.

    :param more: there are more than ``requests``; how many nobody has counted
    """
    if policy is not None and (refused := find_excess(policy, spec, requests, more=more)):
        return refused
    limit, document = spec.max_requests, spec.document
    if requests <= limit and not more:
        return []
    number = f"more than {requests:,}" if more else f"{requests:,}"
    raised = "raise it" if more else f"raise it to {requests}"
    path = ("limits", "max_requests") if document.exists(("limits", "max_requests")) else ("matrix",)
    finding = document.finding(
        "too-many-requests",
        f"the job makes {number} requests: limits.max_requests is {limit:,}",
        ("repeat",) if spec.repeat > limit else path,
        key=True,
        hint=f"{raised}, write sample: {{size: {limit}}} in the matrix, or limit: on an axis file",
    )
    return [finding]


def check_names(job: Job) -> None:
    """Refuse a job of which two requests would write the same file.

    :raises FindingsError: with the first collisions
    """
    collisions = job.expansion.name_collisions()
    if collisions:
        raise FindingsError(collisions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """All findings of several job files, and (file, number of requests) of those without errors."""

    findings: tuple[Diagnostic, ...]
    valid: tuple[tuple[str, int], ...]


def validate_jobs(
    paths: Sequence[Path], *, target: Target, sets: Mapping[str, str], rules: Rules | None = None
) -> Validation:
    """Find everything that can be found in job files without a ledger; builds the key of every request.

    :raises UsageError: there is no such file
    """
    findings: list[Diagnostic] = []
    valid: list[tuple[str, int]] = []
    loaded: list[Job] = []
    for path in sorted(map(job_file, paths)):
        try:
            job = load_job(path, shown=str(path), target=target, sets=sets, rules=rules)
            findings.extend([*job.warnings, *find_blocked(job)])
            requests = check_count(job, job.expansion.total())
            findings.extend(job.expansion.merge_warnings())
            check_names(job)
            valid.append((str(path), requests))
            loaded.append(job)
        except FindingsError as error:
            findings.extend(error.diagnostics)
    findings.extend(found for shared in find_shared_folders(loaded, on_disk=True) for found in shared)
    return Validation(findings=in_order(findings), valid=tuple(valid))


def find_blocked(job: Job, check: Callable[[Path, Path], None] = check_folder) -> list[Diagnostic]:
    """A finding if the images' folder can't be made or written in: a file is in its place, or a link leads out.

    :param check: refuses such a folder, given the campaign's root before it; by default as it is on disk
    """
    spec = job.expansion.spec
    hint = "move it out of the way, or name another folder"
    try:
        check(spec.root, spec.root / spec.folder / spec.output_dir)
        return []
    except UsageError as refusal:
        # The message names the folder from the campaign's root, not by its absolute path.
        said, hint = refusal.message.removeprefix(f"{spec.root}{os.sep}"), refusal.hint or hint
    except OSError as error:
        said = f"the folder {spec.output_dir[:80]!r} can't be made: {error.strerror or error}"
    return [spec.document.finding("output-dir", said, ("output", "dir"), hint=hint)]
