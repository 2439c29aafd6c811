"""This module reviews a change: two trees of one campaign, and what merging would submit.

Called by ``pipeline.review`` and ``cli.plan``. Invariant: nothing is written, no socket is opened, no key is read, and
nothing is checked out. Two requests are the same if their keys are; of the head's others, one is *changed* if the base
has another request at its address that the head does not make, else it is *new*.
"""

from __future__ import annotations

import datetime
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from seedream_jobs.atomic_file import FileSystem, Snapshot
from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.expand.expansion import Expansion, Place
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.inside import OutsideRoot, Withheld
from seedream_jobs.job.files import Files, WorkTree
from seedream_jobs.job.yaml_reader import MAX_BYTES
from seedream_jobs.ledger.campaign import Elsewhere, paid_elsewhere
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.parts import MANIFEST_SUFFIX, manifest_of
from seedream_jobs.plans.causes import BaseCauses, Cause
from seedream_jobs.plans.diff import Action, Change, Changes
from seedream_jobs.plans.load import Job, Rules, Target, files_on_disk, find_blocked, is_job, load_job, no_job_below
from seedream_jobs.plans.plan import (
    Against,
    Plan,
    PlannedJob,
    PlannedRequest,
    Relation,
    Removed,
    Revision,
    Stream,
    changes_of,
    planned_request,
)
from seedream_jobs.plans.policy import PolicyOf, policy_of_tree
from seedream_jobs.plans.record_edits import ATTRIBUTES, attribute_edits, is_record, record_edits, renamed
from seedream_jobs.plans.revisions import GitTree, Recording, Repository, ignored

# -- one job against its base ------------------------------------------------------------------------------------------


class Comparison:
    """A job at its head and at its base.

    :param base: None where the base has no such job, or one with errors: everything is new then
    :param notes: what to say about that, one line each
    """

    def __init__(self, head: Expansion, base: Expansion | None, notes: tuple[str, ...] = ()) -> None:
        self.head: Expansion = head
        self.base: Expansion | None = base
        self.notes: tuple[str, ...] = notes
        self._base: dict[str, Place] = {} if base is None else {place.key: place for place in base.places()}
        self._former: dict[str, str] = {}  # the key of a changed request, to that of the base's
        at = {} if base is None else {_local_address(base, place): key for key, place in self._base.items()}
        self._gone = set(self._base)
        fresh: list[Place] = []
        for place in head.places():
            self._gone.discard(place.key)
            if at and place.key not in self._base:
                fresh.append(place)
        # Only now is it known which requests of the base are gone, and only a gone one can have become another.
        for place in fresh:
            other = at.get(_local_address(head, place))
            if other is not None and other in self._gone:
                self._former[place.key] = other
        self._gone -= set(self._former.values())

    def relation(self, place: Place) -> Relation:
        """How a request of the head differs from the base."""
        if place.key in self._base:
            return "unchanged"
        return "changed" if place.key in self._former else "new"

    def former(self, place: Place) -> Place | None:
        """The base's place of a request of the head; of a changed one the place at its address."""
        return self._base.get(self._former.get(place.key, place.key))

    def gone(self) -> Iterator[Place]:
        """The places of the base that the head no longer has, in the base's order."""
        return (place for key, place in self._base.items() if key in self._gone)

    def before(self, place: Place) -> Request:
        """The base's request at the address of a changed one."""
        assert self.base is not None
        return self.base.request(self._base[self._former[place.key]])

    def removed(self, entries: Entries) -> Iterator[Removed]:
        """The requests of the base that are no longer made, in the base's order."""
        return iter(()) if self.base is None else _removed(self.base, entries, self._gone)


def _local_address(expansion: Expansion, place: Place) -> str:
    """A request's address without the job's name, which may change."""
    return expansion.builder.address(place.cell, place.repeat).removeprefix(f"{expansion.spec.name}/")


def _removed(base: Expansion, entries: Entries, gone: Collection[str] | None = None) -> Iterator[Removed]:
    for place in base.places():
        if gone is None or place.key in gone:
            request, brief = base.request(place), entries.summary(place.key)
            known = None if brief is None else str(brief[0])
            yield Removed(key=place.key, address=request.address, payload=request.payload, known=known)


def _compared(job: PlannedJob, comparison: Comparison) -> PlannedJob:
    """A job's part of a plan that was just made, with how its requests differ from the base."""
    changes = changes_of(job)

    def request(change: Change) -> PlannedRequest:
        if change.place is None:
            return planned_request(changes, change)
        relation = comparison.relation(change.place)
        before = comparison.before(change.place).payload if relation == "changed" else None
        return replace(planned_request(changes, change, whole=before is not None), relation=relation, before=before)

    return replace(
        job,
        against=_count(changes, comparison),
        items=Stream(lambda: (request(one) for one in changes if one.action is not Action.DONE)),
        removed=Stream(lambda: comparison.removed(changes.entries)),
    )


def _count(changes: Changes, comparison: Comparison) -> Against:
    counts = Counter[Relation]()
    new: tuple[tuple[Cause, ...], int] = (), 0
    changed = new
    base = comparison.base
    causes = None if base is None else (BaseCauses(comparison.head, base), BaseCauses(comparison.head, base))
    for change in changes.submits():
        # Retries, --again and replays would be submitted without the change, too.
        if change.action is Action.NEW and change.place is not None:
            relation = comparison.relation(change.place)
            counts[relation] += 1
            if causes is not None and relation == "new":
                causes[0].count_new(change.place)
            elif causes is not None and relation == "changed":
                causes[1].count_changed(change.place, comparison.before(change.place))
    if causes is not None:
        new, changed = causes[0].result(), causes[1].result()
    removed = list(comparison.removed(changes.entries))
    return Against(
        new=counts["new"],
        changed=counts["changed"],
        pending=counts["unchanged"],
        removed=len(removed),
        removed_paid=sum(1 for one in removed if one.known is not None),
        causes=new[0],
        changed_causes=changed[0],
        more_causes=new[1] + changed[1],
        notes=comparison.notes,
    )


# -- two trees ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class JobPair:
    """A job file in both trees: loaded, in error, or absent.

    :param touched: the change concerns it: the file, or one that it reads
    :param was: its path at the base, where it was renamed with its record since
    """

    path: PurePosixPath
    head: Job | FindingsError | None
    base: Job | FindingsError | None
    touched: bool
    was: PurePosixPath | None = None


class Revisions:
    """Two trees of one campaign.

    :param head: None for the work tree
    :param merge_base: compare with the commit that the head began from, not with what the base has become since
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
        merge_base: bool = False,
    ) -> None:
        self.repository: Repository = repository
        self.root: Path = repository.root
        self.base: Revision = repository.revision(base)
        self.head: Revision | None = None if head is None else repository.revision(head)
        if merge_base:
            self.base = repository.merge_base(self.base, self.head)
        self.base_tree: GitTree = repository.tree(self.base)
        self.head_tree: GitTree | None = None if self.head is None else repository.tree(self.head)
        self._head_files: Files = self.head_tree or WorkTree(self.root)
        self._changed = repository.changed(self.base, self.head)
        self._target, self._sets, self._here = target, sets, here

    def shown(self, path: PurePosixPath) -> str:
        """A file as a person at ``here`` names it."""
        return os.path.relpath(self.root / path, self._here)

    def pairs(self, jobs: Sequence[Path], rules: Rules | None) -> list[JobPair]:
        """The job files to compare: those named, else all that the change concerns; in the order of their paths.

        :param jobs: a folder stands for the job files that either tree has below it
        :param rules: what the head is checked against
        :raises FindingsError: with the findings of every one that has errors at the head
        :raises UsageError: one that was named is in neither tree
        """
        if jobs:
            named = [path for job in sorted(jobs) for path in self._named(job)]
            pairs = [self._pair(path, rules, named=True) for path in dict.fromkeys(named)]
            for pair in pairs:
                if pair.head is None and pair.base is None:
                    trees = f"{self.base.name!r} nor {'the work tree' if self.head is None else repr(self.head.name)}"
                    raise UsageError(f"{self.shown(pair.path)} is neither in {trees}", hint="check the path")
        else:
            pairs = [pair for path in self._candidates() if (pair := self._pair(path, rules, named=False)).touched]
        # The base's errors are not the change's: they are only a note (``base_of``).
        errors = [pair.head for pair in pairs if isinstance(pair.head, FindingsError)]
        if found := [finding for error in errors for finding in error.diagnostics]:
            if self.head is not None:  # else lines of the work tree would be shown beside the findings
                found = [replace(finding, path=f"{self.head.name}:{finding.path}") for finding in found]
            raise FindingsError(in_order(found))
        return self._matched(pairs)

    def _matched(self, pairs: list[JobPair]) -> list[JobPair]:
        """Make one pair of a job that was renamed with its record."""
        changed = [path for path in self._changed if path.name.endswith(MANIFEST_SUFFIX)]
        manifests = renamed(self.base_tree, self._head_files, sorted(changed))
        stems = {_stem(new): _stem(old) for new, old in manifests.items()}
        gone = set[PurePosixPath]()
        for pair in pairs:
            stem = stems.get(_stem(pair.path))
            if stem is None or pair.base is not None:
                continue
            # A record does not say which ending its job file had.
            for old in (stem.with_name(stem.name + ending) for ending in (".yaml", ".yml")):
                base, _ = self._load(old, Recording(self.base_tree), f"{self.base.name}:{old}")
                if base is not None:
                    pair.base, pair.was = base, old
                    gone.add(old)
                    break
        return [pair for pair in pairs if pair.path not in gone or pair.head is not None]

    def ledger_of(self, job: Job) -> Ledger:
        """The job's record as it is at the head; rehearsals are never in git."""
        if self.head_tree is None or self._target.emulator:
            return Ledger.peek(job.paths, root=self.root)
        return Ledger.peek(job.paths, root=self.root, fs=_TreeDisk(self.head_tree, self.root))

    def base_ledger_of(self, job: Job) -> Ledger:
        """The record of a job of the base, as it is there."""
        return Ledger.peek(job.paths, root=self.root, fs=_TreeDisk(self.base_tree, self.root))

    def elsewhere_of(self, job: Job) -> Elsewhere:
        """What other manifests of the head have paid."""
        own, origin, emulator = job.paths.manifest, self._target.origin, self._target.emulator
        if self.head_tree is None or emulator:
            return paid_elsewhere(self.root, own, origin=origin, emulator=emulator)
        files = [self.root / path for path in sorted(self.head_tree.paths())]
        return paid_elsewhere(
            self.root,
            own,
            origin=origin,
            emulator=False,
            among=[file for file in files if file.name.endswith(MANIFEST_SUFFIX)],
            fs=_TreeDisk(self.head_tree, self.root),
            is_file=frozenset(files).__contains__,
        )

    def policy_of(self, today: datetime.date) -> PolicyOf:
        """The base's policy: a change is never checked against the one it brings along."""
        return policy_of_tree(
            lambda root: self.base_tree, shown=lambda root: f"{self.base.name}:policy.yaml", today=today
        )

    def record_edits(self, *, allow_additions: bool) -> tuple[Diagnostic, ...]:
        """What the change does to records, and to what git does with them."""
        changed = self._changed | self._edited_through_links()
        found = record_edits(
            self.base_tree,
            self._head_files,
            changed,
            present=self._present(),
            untracked=self.repository.untracked() if self.head is None else (),
            shown=self.shown,
            allow_additions=allow_additions,
        )
        return in_order([*found, *self._attribute_edits(), *self._ignore_edits()])

    def _edited_through_links(self) -> frozenset[PurePosixPath]:
        """Records that are links: what they lead to has another name, so that its edit would not be seen as theirs."""
        return frozenset(
            path for path in self.base_tree.paths() if is_record(path) and self.base_tree.mode(path) == "120000"
        )

    def _attribute_edits(self) -> Iterator[Diagnostic]:
        sources = [path for path in self._changed if path.name == ".gitattributes"]
        if not sources:
            return
        paths = self._present().union(self.base_tree.paths())
        # Also records that are not there yet: the first run after the merge writes them.
        records = {path.with_name(path.stem + MANIFEST_SUFFIX) for path in paths if path.suffix in (".yaml", ".yml")}
        records |= {path for path in paths if manifest_of(path) is not None}
        names = sorted(map(str, records))
        base, head = (self.repository.attributes(names, ATTRIBUTES, of) for of in (self.base, self.head))
        texts = {path: _text_of(self._head_files, path) for path in sources}
        yield from attribute_edits(base, head, texts, self.shown)

    def _ignore_edits(self) -> Iterator[Diagnostic]:
        """Find rules of the change by which git would ignore a record that is not committed yet."""
        sources = {str(path) for path in self._changed if path.name == ".gitignore"}
        if not sources:
            return
        records = [self.root / path.with_name(path.stem + MANIFEST_SUFFIX) for path in self._candidates()]
        for found in ignored(records, self.root, "error", self.head_tree):
            if found.path in sources:
                yield replace(found, path=self.shown(PurePosixPath(found.path)))

    def _present(self) -> frozenset[PurePosixPath]:
        """The files of the head."""
        return self.repository.present() if self.head_tree is None else frozenset(self.head_tree.paths())

    def compare(self, plan: Plan, pairs: Sequence[JobPair]) -> Plan:
        """The plan of the head, with how its jobs differ from their bases, and the jobs that are gone."""
        by_path = {str(pair.path): pair for pair in pairs}
        jobs: list[PlannedJob] = []
        for job in plan.jobs:
            base, note = self.base_of(by_path[job.path])
            comparison = Comparison(changes_of(job).expansion, base, (note,) if note else ())
            jobs.append(_compared(job, comparison))
        jobs += [self._gone(pair) for pair in pairs if pair.head is None]
        return replace(plan, jobs=tuple(jobs), base=self.base, head=self.head)

    def base_of(self, pair: JobPair) -> tuple[Expansion | None, str]:
        """The job at the base, and what to say of it."""
        error = pair.base if isinstance(pair.base, FindingsError) else None
        if isinstance(pair.base, Job):
            try:
                # Some errors show only as the requests are made: the comparison must not end in the middle of them.
                for _ in pair.base.expansion.places():
                    pass
            except FindingsError as late:
                error = late
            else:
                was = "" if pair.was is None else f"renamed from {self.shown(pair.was)}, with its record"
                return pair.base.expansion, was
        if error is None:
            return None, f"{self.shown(pair.path)} is not in {self.base.name}: every request is new"
        first = next(one for one in error.diagnostics if one.severity == "error")
        return None, f"{first.place} has errors ({first.message}): nothing to compare with, every request is new"

    def _gone(self, pair: JobPair) -> PlannedJob:
        """A job file that the head does not have any more: nothing to submit, its requests are no longer made."""
        job, shown = pair.base, self.shown(pair.path)
        removed: tuple[Removed, ...] = ()
        if isinstance(job, Job):
            removed = tuple(_removed(job.expansion, self.ledger_of(job).entries))
        return PlannedJob(
            shown=shown,
            path=str(pair.path),
            name=job.expansion.spec.name if isinstance(job, Job) else pair.path.stem,
            record=str(pair.path.with_name(pair.path.stem + MANIFEST_SUFFIX)),
            manifest=None,
            against=Against(
                removed=len(removed),
                removed_paid=sum(1 for one in removed if one.known is not None),
                notes=(f"{shown} was removed; its manifest and images are kept",),
            ),
            removed=removed,
        )

    def _relative(self, job: Path) -> PurePosixPath:
        absolute = Path(os.path.abspath(self._here / job))  # noqa: PTH100  (Path.absolute keeps "..")
        if not absolute.is_relative_to(self.root):
            raise UsageError(f"{job} is not in the repository {self.root}", hint="compare one repository at a time")
        return PurePosixPath(absolute.relative_to(self.root).as_posix())

    def _named(self, job: Path) -> list[PurePosixPath]:
        """The file that a JOB names, or the job files below the folder."""
        path = self._relative(job)
        known = self._present().union(self.base_tree.paths())
        if path in known or not any(one.is_relative_to(path) for one in known):
            return [path]
        found = [one for one in self._jobs() if one.is_relative_to(path) and "/." not in f"/{one.relative_to(path)}"]
        if not found:
            raise no_job_below(job)
        return found

    def _candidates(self) -> Iterable[PurePosixPath]:
        """Every job file of either tree that the change may concern."""
        if self._changed:  # else no job need be loaded to know that it is not touched
            yield from self._jobs()

    def _jobs(self) -> Iterable[PurePosixPath]:
        """Every file of either tree that looks like a job."""
        present = self._present()
        for path in sorted(present.union(self.base_tree.paths())):
            if path.suffix in (".yaml", ".yml"):
                trees = ([self._head_files] if path in present else []) + [self.base_tree]
                if any(is_job(tree, path) for tree in trees):
                    yield path

    def _pair(self, path: PurePosixPath, rules: Rules | None, *, named: bool) -> JobPair:
        # A job is also touched by a change of an axis file or an image that it reads.
        head_files = Recording(self.head_tree or files_on_disk(self.root, rules))
        base_files = Recording(self.base_tree)
        head, refusal = self._load(path, head_files, self.shown(path), rules)
        base, _ = self._load(path, base_files, f"{self.base.name}:{path}")
        touched = not self._changed.isdisjoint({path, *head_files.read_paths, *base_files.read_paths})
        if refusal is not None and (touched or named):
            raise refusal
        return JobPair(path=path, head=head, base=base, touched=touched)

    def _load(
        self, path: PurePosixPath, files: Recording, shown: str, rules: Rules | None = None
    ) -> tuple[Job | FindingsError | None, UsageError | None]:
        """A job in one tree, and the refusal of a ``--set`` that it has no variable for.

        It is loaded without the values then: the base may not have the variable yet, and at the head the refusal only
        matters if the change concerns the job.
        """
        try:
            # Tells whether the tree has the file, and records that it was asked for.
            files.read(path, limit=1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None, None
        except (OutsideRoot, Withheld):
            if rules is None:  # the base's; of the head's the reading below says what is wrong
                return None, None
        load = partial(self._checked, path, shown=shown, files=files, rules=rules)
        refusal: UsageError | None = None
        try:
            try:
                return load(sets=self._sets), None
            except UsageError as error:
                refusal = error
            return load(sets={}), refusal
        except FindingsError as error:
            return error, refusal

    def _checked(
        self, path: PurePosixPath, *, shown: str, files: Recording, rules: Rules | None, sets: Mapping[str, str]
    ) -> Job:
        job = load_job(self.root / path, shown=shown, target=self._target, files=files, rules=rules, sets=sets)
        if shown == self.shown(path):  # at the head
            tree = self.head_tree
            blocked = find_blocked(job) if tree is None else find_blocked(job, partial(_check_folder, tree))
            if blocked:
                raise FindingsError(blocked)
        return job


def _check_folder(tree: GitTree, root: Path, folder: Path) -> None:
    tree.check_folder(PurePosixPath(folder.relative_to(root).as_posix()))


def _stem(path: PurePosixPath) -> PurePosixPath:
    """The path of a job file or a manifest without its ending, which is the same for the two."""
    return path.with_name(path.name.removesuffix(MANIFEST_SUFFIX)) if path.suffix == ".jsonl" else path.with_suffix("")


class _TreeDisk(FileSystem):
    """Reads a record out of a tree. ``Ledger.peek`` writes nothing, so no other method is needed."""

    has_runs = False

    def __init__(self, tree: GitTree, root: Path) -> None:
        self._tree, self._root = tree, root

    def snapshot(self, path: Path) -> Snapshot:
        return Snapshot(self._tree.read(self._within(path), limit=1 << 40))

    def list_folder(self, folder: Path) -> list[str]:
        at = self._within(folder)
        return [path.name for path in self._tree.paths() if path.parent == at]

    def _within(self, path: Path) -> PurePosixPath:
        return PurePosixPath(path.relative_to(self._root).as_posix())


def _text_of(tree: Files, path: PurePosixPath) -> str:
    try:
        return tree.read(path, limit=MAX_BYTES).decode("utf-8", "replace")
    except (OSError, OutsideRoot):
        return ""
