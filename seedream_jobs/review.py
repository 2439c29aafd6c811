"""The tour between two revisions, as code: what merging a change would submit, without a checkout.

    choose jobs → load both trees → plan the head → compare with the base → one plan

Nothing is written, no socket is opened, no key is read.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from seedream_jobs import pipeline
from seedream_jobs.atomic_file import FileSystem, Snapshot
from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.job.files import OutsideRoot, WorkTree, campaign_root
from seedream_jobs.job.yaml_reader import MAX_BYTES
from seedream_jobs.ledger.campaign import Elsewhere, paid_elsewhere
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles
from seedream_jobs.plan.comparison import Comparison, compare
from seedream_jobs.plan.cost import tariff_of
from seedream_jobs.plan.job import Job
from seedream_jobs.plan.load import Rules, Target, check_apart, load_job
from seedream_jobs.plan.manifest_edits import MANIFEST_SUFFIX, manifest_edits, renamed
from seedream_jobs.plan.options import PlanOptions
from seedream_jobs.plan.plan import Against, Plan, PlannedJob, Removed, Revision, changes_of
from seedream_jobs.plan.policy import PolicyOf, policy_of_tree
from seedream_jobs.plan.revisions import GitTree, Recording, Repository, looks_like_job


@dataclass(slots=True, kw_only=True)
class _Pair:
    """A job file in both trees: loaded, in error, or absent; ``touched`` if the change concerns it.

    ``was`` is its path at the base, where it was renamed with its record since."""

    path: PurePosixPath
    head: Job | FindingsError | None
    base: Job | FindingsError | None
    touched: bool
    was: PurePosixPath | None = None


class Revisions:
    """Two trees of one campaign. ``head`` is None for the work tree.

    :param here: the folder that files are named from
    :raises UsageError: not a git repository, or a revision it does not have
    """

    def __init__(
        self,
        repository: Repository,
        *,
        base: str,
        head: str | None,
        target: Target,
        sets: Mapping[str, str],
        here: Path,
    ) -> None:
        self.repository, self.root = repository, repository.root
        self.base = repository.revision(base)
        self.head: Revision | None = None if head is None else repository.revision(head)
        self.base_tree = repository.tree(self.base)
        self.head_tree: GitTree | None = None if self.head is None else repository.tree(self.head)
        self._changed = repository.changed(self.base, self.head)
        self._target, self._sets, self._here = target, sets, here

    def shown(self, path: PurePosixPath) -> str:
        """A file as a person at ``here`` names it."""
        return os.path.relpath(self.root / path, self._here)

    def pairs(self, jobs: Sequence[Path], rules: Rules | None) -> list[_Pair]:
        """The job files to be compared: those named, else all that the change concerns; in the order of their paths.

        :raises FindingsError: with the findings of every one that has errors at the head
        :raises UsageError: one that was named is in neither tree
        """
        if jobs:
            pairs = [self._pair(self._relative(job), rules, named=True) for job in sorted(jobs)]
            for pair in pairs:
                if pair.head is None and pair.base is None:
                    trees = f"{self.base.name!r} nor {'the work tree' if self.head is None else repr(self.head.name)}"
                    raise UsageError(f"{self.shown(pair.path)} is neither in {trees}", hint="check the path")
        else:
            pairs = [pair for path in self._candidates() if (pair := self._pair(path, rules, named=False)).touched]
        found = [
            finding for pair in pairs if isinstance(pair.head, FindingsError) for finding in self._named(pair.head)
        ]
        if found:
            raise FindingsError(in_order(found))
        return self._matched(pairs)

    def _matched(self, pairs: list[_Pair]) -> list[_Pair]:
        """A job that was renamed with its record is one pair, not one that is new and one that is gone."""
        head = WorkTree(self.root) if self.head_tree is None else self.head_tree
        changed = [path for path in self._changed if path.name.endswith(MANIFEST_SUFFIX)]
        stems = {_stem(new): _stem(old) for new, old in renamed(self.base_tree, head, sorted(changed)).items()}
        gone = set[PurePosixPath]()
        for pair in pairs:
            stem = stems.get(_stem(pair.path))
            if stem is None or pair.base is not None:
                continue
            for old in (stem.with_name(stem.name + ending) for ending in (".yaml", ".yml")):
                base = self._load_base(old, Recording(self.base_tree))
                if base is not None:
                    pair.base, pair.was = base, old
                    gone.add(old)
                    break
        return [pair for pair in pairs if pair.path not in gone or pair.head is not None]

    def _load_base(self, path: PurePosixPath, files: Recording) -> Job | FindingsError | None:
        shown = f"{self.base.name}:{path}"
        try:
            return self._load(path, files, shown, self._sets)
        except UsageError:  # a --set for a variable that the base does not have yet
            return self._load(path, files, shown, {})

    def ledger_of(self, job: Job) -> Ledger:
        """The job's record as it is at the head; rehearsals are never in git."""
        if self.head_tree is None or self._target.emulator:
            return Ledger.peek(job.paths, root=self.root)
        return Ledger.peek(job.paths, root=self.root, fs=_TreeDisk(self.head_tree, self.root))

    def elsewhere_of(self, job: Job) -> Elsewhere:
        """What other manifests of the head have paid."""
        own, origin, emulator = job.paths.manifest, self._target.origin, self._target.emulator
        if self.head_tree is None or emulator:
            return paid_elsewhere(self.root, own, origin=origin, emulator=emulator)
        among = [self.root / path for path in sorted(self.head_tree.paths()) if path.name.endswith(MANIFEST_SUFFIX)]
        disk = _TreeDisk(self.head_tree, self.root)
        files = frozenset(self.root / path for path in self.head_tree.paths())
        return paid_elsewhere(
            self.root, own, origin=origin, emulator=False, among=among, fs=disk, is_file=files.__contains__
        )

    def policy_of(self, today: datetime.date) -> PolicyOf:
        """The base's policy: a change is never held against the one it brings along."""
        return policy_of_tree(
            lambda root: self.base_tree, shown=lambda root: f"{self.base.name}:policy.yaml", today=today
        )

    def manifest_edits(self, *, allow_additions: bool) -> tuple[Diagnostic, ...]:
        """What the change does to manifests: lines removed, ids changed, payments claimed."""
        head = WorkTree(self.root) if self.head_tree is None else self.head_tree
        return manifest_edits(self.base_tree, head, self._changed, shown=self.shown, allow_additions=allow_additions)

    def _relative(self, job: Path) -> PurePosixPath:
        absolute = Path(os.path.abspath(self._here / job))  # noqa: PTH100  (Path.absolute keeps "..")
        if not absolute.is_relative_to(self.root):
            raise UsageError(f"{job} is not in the repository {self.root}", hint="compare one repository at a time")
        return PurePosixPath(absolute.relative_to(self.root).as_posix())

    def _candidates(self) -> Iterable[PurePosixPath]:
        """Every file of either tree that looks like a job."""
        if not self._changed:
            return
        present = self.repository.present() if self.head_tree is None else frozenset(self.head_tree.paths())
        head = WorkTree(self.root) if self.head_tree is None else self.head_tree
        for path in sorted(present.union(self.base_tree.paths())):
            if path.suffix in (".yaml", ".yml"):
                trees = ([head] if path in present else []) + [self.base_tree]
                if any(_is_job(tree, path) for tree in trees):
                    yield path

    def _pair(self, path: PurePosixPath, rules: Rules | None, *, named: bool) -> _Pair:
        head_files = Recording(WorkTree(self.root) if self.head_tree is None else self.head_tree)
        base_files = Recording(self.base_tree)
        head, refusal = self._load_head(path, head_files, rules)
        base = self._load_base(path, base_files)
        reads = {path, *head_files.read_paths, *base_files.read_paths}
        touched = not reads.isdisjoint(self._changed)
        if refusal is not None and (touched or named):
            raise refusal
        return _Pair(path=path, head=head, base=base, touched=touched)

    def _load_head(
        self, path: PurePosixPath, files: Recording, rules: Rules | None
    ) -> tuple[Job | FindingsError | None, UsageError | None]:
        """The job at the head; a ``--set`` that it has no variable for only matters if the job does."""
        try:
            return self._load(path, files, self.shown(path), self._sets, rules), None
        except UsageError as error:
            return self._load(path, files, self.shown(path), {}, rules), error

    def _load(
        self,
        path: PurePosixPath,
        files: Recording,
        shown: str,
        sets: Mapping[str, str],
        rules: Rules | None = None,
    ) -> Job | FindingsError | None:
        try:
            files.read(path, limit=1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, OutsideRoot):
            return None
        try:
            file = self.root / path
            return load_job(file, shown=shown, target=self._target, sets=sets, files=files, rules=rules)
        except FindingsError as error:
            return error

    def _named(self, error: FindingsError) -> list[Diagnostic]:
        """Findings of a revision that is not on disk say so, or the lines shown beside them would be others."""
        if self.head is None:
            return list(error.diagnostics)
        return [replace(finding, path=f"{self.head.name}:{finding.path}") for finding in error.diagnostics]


def _stem(path: PurePosixPath) -> PurePosixPath:
    """The path of a job file or a manifest without its ending: by it the two belong together."""
    return path.with_name(path.name.removesuffix(MANIFEST_SUFFIX)) if path.suffix == ".jsonl" else path.with_suffix("")


class _TreeDisk(FileSystem):
    """Reads a record out of a tree; a ledger that is only peeked at writes nothing."""

    def __init__(self, tree: GitTree, root: Path) -> None:
        self._tree, self._root = tree, root

    def snapshot(self, path: Path) -> Snapshot:
        return Snapshot(self._tree.read(PurePosixPath(path.relative_to(self._root).as_posix()), limit=1 << 40))


def _is_job(tree: GitTree | WorkTree, path: PurePosixPath) -> bool:
    try:
        return looks_like_job(tree.read(path, limit=MAX_BYTES))
    except (OSError, OutsideRoot):
        return False


def repository_of(jobs: Sequence[Path], *, here: Path, environment: Mapping[str, str]) -> Repository:
    """The repository around the jobs named, else around ``here``. It is to be closed.

    :raises UsageError: there is none
    """
    return Repository(campaign_root(here / jobs[0] if jobs else here / "job.yaml"), environment)


def review(
    revisions: Revisions,
    jobs: Sequence[Path],
    *,
    target: Target,
    options: PlanOptions,
    rules: Rules | None = None,
) -> Plan:
    """What merging the change would submit, and for how much.

    :param jobs: the job files to compare; none for all that the change concerns
    :param rules: what the head is held against
    :raises FindingsError: a job has errors at the head
    """
    pairs = revisions.pairs(jobs, rules)
    loaded = [pair.head for pair in pairs if isinstance(pair.head, Job)]
    check_apart(loaded)
    gone = tuple(_gone(pair, revisions) for pair in pairs if pair.head is None)
    if not loaded:
        tariff = tariff_of(profiles()[DEFAULT_MODEL], options.price)
        return Plan(origin=target.origin, tariff=tariff, jobs=gone, base=revisions.base, head=revisions.head)
    plan = pipeline.plan(
        loaded,
        target=target,
        options=options,
        ledger_of=revisions.ledger_of,
        elsewhere_of=None if revisions.head is None else revisions.elsewhere_of,  # the work tree is the disk
    )
    by_path = {str(pair.path): pair for pair in pairs}
    compared: list[PlannedJob] = []
    for job in plan.jobs:
        base, notes = _base(by_path[job.path], revisions)
        head = changes_of(job).expansion
        compared.append(compare(job, Comparison(head, base.expansion if base else None, notes)))
    return replace(plan, jobs=(*compared, *gone), base=revisions.base, head=revisions.head)


def _base(pair: _Pair, revisions: Revisions) -> tuple[Job | None, tuple[str, ...]]:
    """The job at the base, or what to say in its place."""
    shown, name = revisions.shown(pair.path), revisions.base.name
    if pair.base is None:
        return None, (f"{shown} is not in {name}: every request is new",)
    if isinstance(pair.base, FindingsError):
        first = next(one for one in pair.base.diagnostics if one.severity == "error")
        return None, (f"{first.place} has errors ({first.message}): nothing to compare with, every request is new",)
    try:
        for _ in pair.base.expansion.places():
            pass
    except FindingsError as error:
        first = error.diagnostics[0]
        return None, (f"{first.place} has errors ({first.message}): nothing to compare with, every request is new",)
    return pair.base, () if pair.was is None else (f"renamed from {revisions.shown(pair.was)}, with its record",)


def _gone(pair: _Pair, revisions: Revisions) -> PlannedJob:
    """A job file that the head does not have any more: nothing to submit, its requests are no longer made."""
    job, shown = pair.base, revisions.shown(pair.path)
    removed: list[Removed] = []
    note = f"{shown} was removed; its manifest and images are kept"
    if isinstance(job, Job):
        entries = revisions.ledger_of(job).entries
        for place in job.expansion.places():
            request, brief = job.expansion.request(place), entries.brief(place.key)
            known = None if brief is None else str(brief[0])
            removed.append(Removed(key=place.key, address=request.address, payload=request.payload, known=known))
    paid = sum(1 for one in removed if one.known is not None)
    return PlannedJob(
        shown=shown,
        path=str(pair.path),
        name=job.expansion.spec.name if isinstance(job, Job) else pair.path.stem,
        record=str(pair.path.with_name(pair.path.stem + MANIFEST_SUFFIX)),
        manifest=None,
        against=Against(removed=len(removed), removed_paid=paid, notes=(note,)),
        removed=tuple(removed),
    )
