"""This module finds what a change does to records: to manifests, and to everything else that a ledger reads.

Called by ``plans.review``. ``run`` writes records; a pull request does not. So whatever differs in a record between two
trees is a finding: an error where something counts for less than it did, or is claimed to be paid; a warning where a
line only moved on. What no commit ever has (journals, locks, the marks of CI, ``.seedream``) is an error, and so is a
link in a record's place, or an attribute by which git would change, hide or lose a record. Invariant: if the two trees'
records say different things of a request, there is a finding.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from seedream_jobs.atomic_file import Snapshot
from seedream_jobs.diagnostics import Diagnostic, Severity, Span, in_order, shorten
from seedream_jobs.errors import FindingsError
from seedream_jobs.expand.request_builder import folded_name
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.inside import STATE_FOLDER, OutsideRoot
from seedream_jobs.job.files import Files, WorkTree
from seedream_jobs.ledger.manifest import BOTH_FORMS, Manifest, ids_in, read_manifest
from seedream_jobs.ledger.parts import (
    ALL_NAMES,
    FIRST,
    FOLDER_SUFFIX,
    MANIFEST_SUFFIX,
    ManifestFiles,
    file_of,
    is_spelled_well,
    manifest_of,
    shown_part,
)
from seedream_jobs.ledger.state import Attempt, Entry, Header, State, counts_as_spent, spent_usd, submits
from seedream_jobs.plans.options import is_direct
from seedream_jobs.plans.revisions import GitTree

STARTED = ".seedream-started"
"""The mark of CI's script: a run began, and nobody knows yet what it paid."""
MAX_MANIFEST = 1 << 30
"""The largest manifest that is compared, in bytes."""
MAX_NAMED = 20
"""How many lines of one kind are named in one manifest before the rest is counted."""

_RESTORE = "restore the file from the base revision: git checkout BASE -- FILE"
_RAN = "manifests are written by run; where one ran on this branch: --allow-manifest-additions"


def record_edits(
    base: Files,
    head: Files,
    changed: Iterable[PurePosixPath],
    *,
    shown: Callable[[PurePosixPath], str],
    present: Iterable[PurePosixPath] = (),
    untracked: Collection[PurePosixPath] = (),
    allow_additions: bool = False,
) -> tuple[Diagnostic, ...]:
    """The findings about every record among the files that a change touches, in order.

    :param changed: paths from the campaign's root, in either tree
    :param shown: how findings name a file
    :param present: all files of the head, as git spells them
    :param untracked: those that are in no commit: a run of this machine may have left a journal or a lock
    :param allow_additions: what ``run`` may have written is a warning, not an error
    """
    paths = sorted(set(changed))
    committed = [path for path in paths if path not in untracked]
    found = [*_committed(base, head, committed, shown, allow_additions), *_links(base, head, paths, shown)]
    found += _misspelled(head, paths, present, shown)
    kept = (manifest_of(path) for path in paths if _never_committed(path) is None)
    paths = sorted({path for path in kept if path is not None})
    was = renamed(base, head, paths)
    gone = frozenset(was.values())  # compared under its new name
    owners: dict[str, list[PurePosixPath]] | None = None
    for path in paths:
        if path in gone:
            continue
        try:
            former = was.get(path, path)
            before, _ = _manifest(base, former, f"{shown(former)} at the base")
            after, lines = _manifest(head, path, shown(path), before)
        except FindingsError as error:
            found.extend(error.diagnostics)
            continue
        if before.header is None and after.header is not None:
            owners = _owners(base) if owners is None else owners
            found += _copied_ids(owners, head, path, (after.header.id, *after.header.other_ids), shown)
        found += _Edit(shown=shown(path), base=before, head=after, lines=lines, allowed=allow_additions).findings()
    return in_order(found)


# -- what no commit has ------------------------------------------------------------------------------------------------

_NEVER_COMMITTED = {
    ".manifest.journal": "a journal, which says what was paid and what was not",
    ".manifest.lock": "a record's lock",
    ".manifest.serial": "the count of a record's writes",
}
"""The ends of names, and what such a file is."""


def _committed(
    base: Files, head: Files, paths: Sequence[PurePosixPath], shown: Callable[[PurePosixPath], str], allowed: bool
) -> Iterator[Diagnostic]:
    for path in paths:
        if not is_there(head, path):
            if path.name == STARTED and is_there(base, path):
                message = (
                    "the change removes the mark of a run that nobody settled: what that one paid would be paid again"
                )
                hint = "settle the run first (docs/ci.md); where that is done: --allow-manifest-additions"
                yield _finding("record-committed", message, shown(path), severity=_claim(allowed), hint=hint)
        elif (what := _never_committed(path)) is not None:
            message = f"the change brings {what}: no commit ever has one"
            yield _finding("record-committed", message, shown(path), hint=f"git rm --cached {shell_word(shown(path))}")


def _never_committed(path: PurePosixPath) -> str | None:
    # Some file systems do not tell upper from lower case.
    name = path.name.casefold()
    if any(part.casefold() == STATE_FOLDER for part in path.parts):
        return "rehearsals and caches of this program"
    if name == STARTED:
        return "the mark of a run that began"
    return next((what for ending, what in _NEVER_COMMITTED.items() if name.endswith(ending)), None)


RULES = frozenset({".gitattributes", ".gitignore"})
"""Files by which git decides what becomes of a record."""


def is_record(path: PurePosixPath) -> bool:
    """Whether some file system takes a file for a manifest, or for a part of one."""
    return manifest_of(path) is not None


def _misspelled(
    head: Files,
    paths: Iterable[PurePosixPath],
    present: Iterable[PurePosixPath],
    shown: Callable[[PurePosixPath], str],
) -> Iterator[Diagnostic]:
    """Find records and git's rules that are read as others where the file system ignores case."""
    kept = [path for path in paths if is_there(head, path) and (is_record(path) or path.name.casefold() in RULES)]
    spelled = defaultdict[str, list[PurePosixPath]](list)
    for path in sorted({*kept, *present}) if kept else ():
        if is_record(path) or path.name.casefold() in RULES:
            spelled[folded_name(str(path))].append(path)
    for path in kept:
        other = next((one for one in spelled[folded_name(str(path))] if one != path), None)
        if other is None and not (is_spelled_well(path) or path.name.endswith(tuple(RULES))):
            other = path.with_name(path.name.casefold())
            if other == path:  # of a part its folder's name is the one that is spelled otherwise
                other = path.parent.with_name(path.parent.name.casefold()) / path.name
        if other is not None:
            message = f"the name is another spelling of {shown(other)}: where case is ignored, this file stands for it"
            yield _finding("record-spelling", message, shown(path), hint="remove the file, or name it otherwise")


def _links(
    base: Files, head: Files, paths: Sequence[PurePosixPath], shown: Callable[[PurePosixPath], str]
) -> Iterator[Diagnostic]:
    for path in paths:
        if (is_record(path) or _is_parts_folder(path)) and _is_link(head, path) and not _is_link(base, path):
            message = "the change puts a link in a record's place: what it leads to can be edited unseen"
            yield _finding("record-link", message, shown(path), hint="commit the record itself, as a file")


def _is_parts_folder(path: PurePosixPath) -> bool:
    return path.name.casefold().endswith(FOLDER_SUFFIX)


def is_there(files: Files, path: PurePosixPath) -> bool:
    """Whether a tree has something at a path, links not followed."""
    if isinstance(files, WorkTree):
        return os.path.lexists(files.root / path)
    return isinstance(files, GitTree) and files.mode(path) is not None


def _is_link(files: Files, path: PurePosixPath) -> bool:
    if isinstance(files, WorkTree):
        return (files.root / path).is_symlink()
    return isinstance(files, GitTree) and files.mode(path) == "120000"


# -- what git does to records ------------------------------------------------------------------------------------------

ATTRIBUTES: Mapping[str, frozenset[str]] = {
    "merge": frozenset({"union"}),
    "filter": frozenset({"unspecified", "unset"}),
    "diff": frozenset({"unspecified", "set"}),
    "working-tree-encoding": frozenset({"unspecified", "unset", "UTF-8"}),
    "ident": frozenset({"unspecified", "unset"}),
    "export-ignore": frozenset({"unspecified", "unset"}),
    "export-subst": frozenset({"unspecified", "unset"}),
}
"""Attributes by which git would lose, change or hide a record, and the values by which it does not."""


def attribute_edits(
    base: Mapping[tuple[str, str], str],
    head: Mapping[tuple[str, str], str],
    sources: Mapping[PurePosixPath, str],
    shown: Callable[[PurePosixPath], str],
) -> Iterator[Diagnostic]:
    """Find attributes of records that a change sets to what would lose, change or hide them.

    :param base: (record, attribute) to its value; ``head`` likewise
    :param sources: the text of each ``.gitattributes`` that the change touches, empty where it is gone
    """
    told = set[str]()
    for (record, name), value in head.items():
        before = base.get((record, name), "unspecified")
        if value != before and value not in ATTRIBUTES[name] and name not in told:
            told.add(name)
            source, line = _source(sources, record, name)
            message = (
                f"git's attribute {name} of {record} was {before}, now it is {value}: git would lose, change or hide it"
            )
            hint = "leave records to `*.manifest.jsonl merge=union text eol=lf`, as init writes it"
            yield _finding("record-attributes", message, shown(source), line, hint=hint)


def _source(sources: Mapping[PurePosixPath, str], record: str, name: str) -> tuple[PurePosixPath, int | None]:
    """The line that probably says it: the last one of the innermost file that has the attribute and fits the name."""
    for source in sorted(sources, key=lambda path: -len(path.parts)):
        lines = list(enumerate(sources[source].splitlines(), 1))
        for number, line in reversed(lines):
            pattern, *words = line.split() or ["#"]
            names = {word.lstrip("-!").split("=")[0] for word in words}
            fits = fnmatchcase(PurePosixPath(record).name, PurePosixPath(pattern).name)
            if fits and (name in names or "binary" in names):
                return source, number
    return min(sources), None


# -- manifests ---------------------------------------------------------------------------------------------------------


def renamed(base: Files, head: Files, paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, PurePosixPath]:
    """Manifests that only the head has, by the path at which the base, and it alone, has a manifest of the same id.

    So a manifest that was renamed with its job (``git mv`` of both) is compared with itself.
    """
    lost: dict[str, PurePosixPath] = {}
    new: list[tuple[PurePosixPath, tuple[str, ...]]] = []
    for path in paths:
        before, after = _ids(base, path), _ids(head, path)
        if before and not after:
            lost.update(dict.fromkeys(before, path))
        elif after and not before:
            new.append((path, after))
    found: dict[PurePosixPath, PurePosixPath] = {}  # by the former path
    for path, ids in new:
        old = next((lost[one] for one in ids if one in lost), None)
        if old is not None:
            found.setdefault(old, path)
    return {path: old for old, path in found.items()}


def _ids(files: Files, path: PurePosixPath) -> tuple[str, ...]:
    """The ids in a manifest's headers; none where there is no manifest, or it can't be read."""
    try:
        return ids_in(Snapshot(files.read(path, limit=MAX_MANIFEST)))
    except (OSError, OutsideRoot):
        return ()


def _owners(tree: Files) -> dict[str, list[PurePosixPath]]:
    """The manifests of a commit, by each of their ids."""
    found: dict[str, list[PurePosixPath]] = {}
    for path in tree.paths() if isinstance(tree, GitTree) else ():
        if is_record(path):
            for one in _ids(tree, path):
                found.setdefault(one, []).append(path)
    return found


def _copied_ids(
    owners: Mapping[str, Sequence[PurePosixPath]],
    head: Files,
    path: PurePosixPath,
    ids: Iterable[str],
    shown: Callable[[PurePosixPath], str],
) -> Iterator[Diagnostic]:
    """Find other records that have the id of a new one: their journals would be taken for each other's."""
    for one in ids:
        for other in owners.get(one, ()):
            if other != path and is_there(head, other):
                message = f"the id {one} is that of {shown(other)} already"
                hint = "remove the new record: the first run makes one"
                yield _finding("manifest-changed-id", message, shown(path), 1, hint=hint)


def _manifest(
    files: Files, path: PurePosixPath, shown: str, before: Manifest | None = None
) -> tuple[Manifest, dict[str, tuple[str, int]]]:
    """A manifest, and the file and the line of each key in it; an empty one where the tree has none.

    :param before: the base's: a line that is not in it is trusted in nothing, whatever its checksum
    :raises FindingsError: it is damaged, among others by an id that is none
    """
    found: dict[str, Snapshot] = {}
    for name in (FIRST, *sorted(ALL_NAMES)):
        try:
            found[name] = Snapshot(files.read(file_of(path, name), limit=MAX_MANIFEST))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, OutsideRoot) as error:
            reason = getattr(error, "strerror", None) or "it leads out of the campaign's root"
            message = f"it can't be read: {reason}"
            raise FindingsError([_finding("manifest-damaged", message, shown_part(shown, name))]) from None
    if not found:
        return Manifest(), {}
    trusted = None
    if before is not None:
        # A forger can compute a checksum: only a line that the base has, byte by byte, is trusted.
        known = frozenset(before.entries.line(key) for key in before.entries)
        trusted = known.__contains__
    manifest = read_manifest(ManifestFiles(found), shown, folder=path.parent, trusted=trusted)
    lines: dict[str, tuple[str, int]] = {}  # from the raw lines: an entry is decoded only where the two trees differ
    for name, snapshot in found.items():
        for number, line in enumerate(snapshot.read(0, snapshot.size).split(b"\n"), 1):
            at = line.find(b'"key":"v1:')
            if at >= 0:
                # The key begins after ``"key":"``, 7 bytes, and has 67: ``v1:`` and 64 hex digits.
                key = line[at + 7 : at + 7 + 67].decode("ascii", "replace")
                lines.setdefault(key, (shown_part(shown, name), number))
    return manifest, lines


def _claim(allowed: bool) -> Severity:
    return "warning" if allowed else "error"


_Told = tuple[str, str, tuple[str, int] | None, Severity]
"""Code, message, file and line, and severity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edit:
    """One manifest in both trees, and the file and the line of each key at the head.

    :param allowed: what ``run`` may have written is a warning
    """

    shown: str
    base: Manifest
    head: Manifest
    lines: Mapping[str, tuple[str, int]]
    allowed: bool

    def findings(self) -> Iterator[Diagnostic]:
        """Everything that the head says otherwise than the base."""
        yield from self._removed()
        yield from self._header()
        told: list[_Told] = []
        for key in self.head.entries:
            if self.base.entries.line(key) != self.head.entries.line(key):
                old, new = self.base.entries.find(key), self.head.entries[key]
                told += [(code, text, self.lines.get(key), how) for code, text, how in self._of_entry(old, new)]
        told += [("manifest-added", text, None, _claim(self.allowed)) for text in self._other_claims()]
        for code in dict.fromkeys(one[0] for one in told):
            yield from self._named([one for one in told if one[0] == code], "more lines like these")

    def _removed(self) -> Iterator[Diagnostic]:
        """Find requests, used plans and decisions that the head does not have."""
        told: list[_Told] = []
        for key in self.base.entries:
            if key not in self.head.entries:
                entry = self.base.entries[key]
                again = ": the next run would pay for it again" if counts_as_spent(entry) else ""
                told.append(("manifest-removed", f"the line of {entry.address} was removed{again}", None, "error"))
        yield from self._named(told, "more lines were removed")
        for plan, record in self.base.plans.items():
            after = self.head.plans.get(plan)
            # That a plan was finished since is no loss: it is used either way.
            if after == record or (after is not None and replace(record, finished=True) == after):
                continue
            if not is_direct(plan):  # a direct run has no saved plan that could be applied again
                message = f"the record that plan {plan} was used is gone: it could be applied a second time"
                yield _finding("manifest-removed", message, self.shown)
        if lost := len(self.base.resolutions - self.head.resolutions):
            of = f"{lost} of {len(self.base.resolutions)} records"
            message = f"what was decided about submissions in doubt is gone: {of}"
            yield _finding("manifest-removed", message, self.shown)

    def _header(self) -> Iterator[Diagnostic]:
        """Find another id or service, and runs that are open, or are not open any more."""
        before, after = self.base.header, self.head.header
        if after is None:
            return
        # Of a new record the id and the service are no claims; open runs and merged ids are.
        known = before or replace(after, runs=(), other_ids=())
        if known.id not in (after.id, *after.other_ids):
            message = f"the manifest's id was {known.id}, now it is {after.id}: no idempotency key would be found again"
            yield _finding("manifest-changed-id", message, self.shown, 1)
        if known.origin != after.origin:
            message = f"the service was {known.origin}, now it is {after.origin}"
            yield _finding("manifest-changed-id", message, self.shown, 1)
        ids, now = {known.id, *known.other_ids}, {after.id, *after.other_ids}
        if ids != now and known.id in now:
            message = f"the ids of manifests that were merged into this one are others: {_some(sorted(ids ^ now))}"
            yield self._claimed("manifest-changed-id", message, 1)
        for run in set(after.runs) - set(known.runs):
            message = f"the header claims that a run of {run.intents} requests is open ({run.id}): no run could begin"
            yield self._claimed("manifest-added", message, 1)
        for run in set(known.runs) - set(after.runs):
            message = f"the header no longer says that a run is open ({run.id}): what that one paid would be paid again"
            yield self._claimed("manifest-removed", message, 1)
        if known.job != after.job and before is not None and not self._moved():
            yield self._claimed("manifest-changed", f"the job was {known.job}, now it is {after.job}", 1)
        if self.base.written > self.head.written:
            message = (
                f"the manifest was written {self.base.written} times, now {self.head.written}: an older one looks new"
            )
            yield self._claimed("manifest-changed", message, 1)
        yield from self._parts(after)

    def _parts(self, header: Header) -> Iterator[Diagnostic]:
        """Find what only a split manifest claims, and one that is there in two forms."""
        before = self.base.header
        fresh = set(header.closed) - set(() if before is None else before.closed)
        if fresh and (claimed := fresh - self.base.runs_on_record()):
            message = f"the header claims that runs have ended: {_some(sorted(claimed))}"
            yield self._claimed("manifest-added", message, 1)
        yield from (note for note in self.head.notes if note.code == BOTH_FORMS)

    def _moved(self) -> bool:
        """Whether the record was renamed with its job, so that its header may name another one."""
        name = PurePosixPath(self.shown).name.removesuffix(MANIFEST_SUFFIX)
        return self.head.header is not None and PurePosixPath(self.head.header.job).stem == name

    def _of_entry(self, old: Entry | None, new: Entry) -> Iterator[tuple[str, str, Severity]]:
        """Find what the line of a request claims, and what it no longer says."""
        if old == new:
            return
        claim = _claim(self.allowed)
        known = {} if old is None else old.all_task_ids
        fresh = [one for one in new.all_task_ids if one not in known]
        if old is None:
            text = f"a line claims a payment: {new.address}: {new.state}, {new.task_id or 'no task id'}"
            yield "manifest-added", text, claim
            return
        if fresh:
            yield "manifest-added", f"a line claims a payment: {new.address}: {_some(fresh)}", claim
        worse = [*_regressions(old, new)]
        yield from ((code, text, "error") for code, text in worse)
        # What was told as an error is not told a second time as a change.
        if not worse:
            told = f"{old.address} was changed: {_difference(old, new)}"
            if _asks_less(new.state) and not _asks_less(old.state):
                yield "manifest-unpaid", f"{told}: the next run could pay for it again", claim
            elif _counts(new) < _counts(old):
                yield "manifest-changed", f"{told}: it counts for less in every budget", claim
            elif not fresh:
                yield "manifest-changed", told, "warning"

    def _other_claims(self) -> Iterator[str]:
        for plan in self.head.plans.keys() - self.base.plans.keys():
            yield f"a line claims that plan {plan} was used"
        for plan, record in self.head.plans.items():
            if (before := self.base.plans.get(plan)) is not None and before != record:
                yield f"a line says otherwise how plan {plan} was used"
        for one in sorted(self.head.resolutions - self.base.resolutions, key=lambda one: (one.at, one.key)):
            yield f"a line claims that somebody decided on {one.key or one.run}: {one.resolution}"

    def _claimed(self, code: str, message: str, line: int) -> Diagnostic:
        return _finding(code, message, self.shown, line, severity=_claim(self.allowed), hint=_RAN)

    def _named(self, told: Sequence[_Told], more: str) -> Iterator[Diagnostic]:
        """The first findings of one kind, and one that counts the others; errors come first."""
        told = sorted(told, key=lambda one: one[3] != "error")
        for code, message, place, severity in told[:MAX_NAMED]:
            hint = None if severity == "warning" else _RAN if code in _CLAIMS else _RESTORE
            path, line = place or (self.shown, None)
            yield _finding(code, message, path, line, severity=severity, hint=hint)
        if len(told) > MAX_NAMED:
            code, _, _, severity = told[MAX_NAMED]
            yield _finding(code, f"{len(told) - MAX_NAMED} {more}", self.shown, severity=severity)


_CLAIMS = frozenset({"manifest-added", "manifest-changed"})
"""What a run may have written."""


def _regressions(before: Entry, after: Entry) -> Iterator[tuple[str, str]]:
    """What no run writes: lost ids and submissions, a payment that counts no more, another cost."""
    now = after.all_task_ids
    lost = [one for one in before.all_task_ids if one not in now]
    if lost:
        message = f"{before.address} was accepted as {_some(lost)}, now its task id is {after.task_id or 'none'}"
        yield "manifest-changed-id", message
    if after.generation < before.generation:
        counts = f"{before.generation} times, now {after.generation}"
        yield "manifest-changed-id", f"{before.address} was submitted {counts}"
    elif _is_unpaid(before, after):
        message = f"{before.address} was {before.state}, now it is {after.state}: the next run could pay for it again"
        yield "manifest-unpaid", message
    elif not lost and (edit := _cost_edit(before, after)) is not None:
        yield "manifest-cost", f"{before.address}: {edit}"


def _is_unpaid(before: Entry, after: Entry) -> bool:
    """Whether a submission that counted as spent no longer does, though no error of the service says why."""
    if after.generation != before.generation or not counts_as_spent(before):
        return False
    if after.state is State.NEW:
        return True
    if counts_as_spent(after):
        return False
    # The service refunds what it refused or what failed, and says why. Delivered images stay paid.
    return after.error is None or before.state in (State.STORED, State.COMPLETED)


def _cost_edit(before: Entry, after: Entry) -> str | None:
    """How the cost of a submission that counts differs, if the service's word does not explain it."""
    left = list(after.attempts)
    for old in filter(counts_as_spent, before.attempts):
        new = next((one for one in left if _is_same(old, one)), None)
        if new is None:
            return f"its submission {old.generation} is gone, which counts as spent"
        # One submission at the head stands for one at the base: of two alike none may vanish.
        left.remove(new)
        if old.cost_usd is not None and new.cost_usd != old.cost_usd:
            now = "unknown" if new.cost_usd is None else f"{new.cost_usd} USD"
            return f"the cost was {old.cost_usd} USD, now it is {now}"
        if new.max_cost_usd != old.max_cost_usd:
            return f"it could cost {old.max_cost_usd} USD, now {new.max_cost_usd}"
    if before.generation == after.generation and after.max_images != before.max_images:
        return f"it could have {before.max_images} images, now {after.max_images}"
    return None


def _some(ids: Iterable[str]) -> str:
    return shorten(", ".join(ids), 200)


def _is_same(old: Attempt, new: Attempt) -> bool:
    # Ids are only added: a doubt gets one when it is settled.
    return old.generation == new.generation and set(old.task_ids) <= set(new.task_ids)


def _asks_less(state: State) -> bool:
    """Whether the next run submits such a request by itself, or with ``--retry-failed``."""
    return submits(state, retry_failed=True)


def _counts(entry: Entry) -> tuple[Decimal, int]:
    """What a request counts for in a budget: USD, and how many submissions where no price is known."""
    return spent_usd(entry), sum(map(counts_as_spent, entry.attempts))


def _difference(old: Entry, new: Entry) -> str:
    """The fields in which two entries differ, and what they are where that is short."""
    told = []
    for field in fields(Entry):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before != after:
            brief = all(
                one is None or isinstance(one, str | int) or field.name.endswith("usd") for one in (before, after)
            )
            shown = f" {shorten(str(before), 40)} → {shorten(str(after), 40)}" if brief else ""
            told.append(f"{field.name}{shown}")
    return ", ".join(told)


def _finding(
    code: str,
    message: str,
    path: str,
    line: int | None = None,
    *,
    severity: Severity = "error",
    hint: str | None = _RESTORE,
) -> Diagnostic:
    span = None if line is None else Span.of_line(line)
    return Diagnostic(code=code, severity=severity, message=message, path=path, span=span, hint=hint)
