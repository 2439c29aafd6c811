"""What a change does to the record of what was paid: manifests belong to ``run``, a change that edits one is a finding.

A line that goes away would be paid again; an id that changes is an image lost; a line that is new claims that something
was paid. What ``run`` itself writes (a state that moves on, further ids, new lines) is the same as an edit by hand to
whoever reads only the two revisions, so new lines need ``--allow-manifest-additions``. A manifest that was renamed with
its job (``git mv`` of both) has the same id under another name: it is held against itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from seedream_jobs.diagnostics import Diagnostic, Pos, Severity, Span, in_order
from seedream_jobs.errors import FindingsError
from seedream_jobs.job.files import Files, OutsideRoot
from seedream_jobs.ledger.codec import Malformed, decode_header, parse_checked
from seedream_jobs.ledger.manifest import Manifest, check_key, read_manifest
from seedream_jobs.ledger.state import Entry, State, counts_as_spent
from seedream_jobs.plan.options import is_direct

MANIFEST_SUFFIX = ".manifest.jsonl"
MAX_BYTES = 1 << 30
"""The largest manifest that is compared, in bytes."""
MAX_NAMED = 20
"""How many lines of one kind are named in one manifest before the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edit:
    """One manifest in both trees."""

    shown: str
    base: Manifest
    head: Manifest
    lines: Mapping[str, int]


def manifest_edits(
    base: Files,
    head: Files,
    changed: Iterable[PurePosixPath],
    *,
    shown: Callable[[PurePosixPath], str],
    allow_additions: bool = False,
) -> tuple[Diagnostic, ...]:
    """The findings about every manifest among the files that a change touches, in order.

    :param changed: paths from the campaign's root, in either tree
    :param shown: how findings name a file
    :param allow_additions: new lines are warnings, not errors
    """
    changed = frozenset(changed)
    found = [
        _finding("manifest-added", _JOURNAL, shown(path), None, hint="git rm --cached it; where a run left it: fetch")
        for path in sorted(changed)
        if path.name.endswith(".manifest.journal") and _has(head, path)
    ]
    paths = sorted(path for path in changed if path.name.endswith(MANIFEST_SUFFIX))
    was = renamed(base, head, paths)
    for path in paths:
        if path in was.values():
            continue
        name = shown(path)
        try:
            before, _ = _manifest(base, was.get(path, path), f"{shown(was.get(path, path))} at the base")
            after, lines = _manifest(head, path, name)
        except FindingsError as error:
            found.extend(error.diagnostics)
            continue
        edit = _Edit(shown=name, base=before, head=after, lines=lines)
        found.extend([*_forged(edit), *_removed(edit), *_changed(edit), *_added(edit, allow_additions)])
    return in_order(found)


_JOURNAL = "the change brings a journal, which says what was paid and what was not: no commit ever has one"


def _has(files: Files, path: PurePosixPath) -> bool:
    try:
        files.read(path, limit=1)
    except (OSError, OutsideRoot):
        return False
    return True


def renamed(base: Files, head: Files, paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, PurePosixPath]:
    """Manifests that only the head has, by the path at which the base, and it alone, has a manifest of the same id."""
    lost: dict[str, PurePosixPath] = {}
    new: list[tuple[PurePosixPath, tuple[str, ...]]] = []
    for path in paths:
        before, after = _ids(base, path), _ids(head, path)
        if before and not after:
            lost.update(dict.fromkeys(before, path))
        elif after and not before:
            new.append((path, after))
    found: dict[PurePosixPath, PurePosixPath] = {}
    for path, ids in new:
        old = next((lost[one] for one in ids if one in lost), None)
        if old is not None and old not in found.values():
            found[path] = old
    return found


def _ids(files: Files, path: PurePosixPath) -> tuple[str, ...]:
    """The ids in a manifest's headers; none where there is no manifest, or it is damaged."""
    found: list[str] = []
    try:
        for line in files.read(path, limit=MAX_BYTES).split(b"\n"):
            if b'"format":' in line and "format" in (raw := parse_checked(line)[0]) and "state" not in raw:
                header = decode_header(raw)
                found += [header.id, *header.other_ids]
    except (OSError, OutsideRoot, Malformed):
        return ()
    return tuple(found)


def _manifest(files: Files, path: PurePosixPath, shown: str) -> tuple[Manifest, dict[str, int]]:
    """A manifest and the line of each key in it; an empty one where the tree has none.

    :raises FindingsError: it is damaged, among others by an id that is none
    """
    try:
        data = files.read(path, limit=MAX_BYTES)
    except FileNotFoundError:
        return Manifest(), {}
    except (OSError, OutsideRoot) as error:
        reason = getattr(error, "strerror", None) or "it leads out of the campaign's root"
        raise FindingsError([_finding("manifest-damaged", f"it can't be read: {reason}", shown, None)]) from None
    manifest = read_manifest(data, shown, folder=path.parent)
    lines: dict[str, int] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        at = line.find(b'"key":"v1:')
        if at >= 0:
            lines.setdefault(line[at + 7 : at + 7 + 67].decode("ascii", "replace"), number)
    return manifest, lines


def _forged(edit: _Edit) -> Iterator[Diagnostic]:
    """Lines that the change brought whose key is not that of their request; a forger computes the checksum anew."""
    for key in edit.head.entries:
        if edit.base.entries.line(key) != edit.head.entries.line(key):
            entry = edit.head.entries[key]
            try:
                check_key(entry.key, entry.request, entry.repeat)
            except Malformed as problem:
                yield _finding("manifest-damaged", f"{entry.address}: {problem}", edit.shown, edit.lines.get(key))


def _removed(edit: _Edit) -> Iterator[Diagnostic]:
    """Requests, used plans and resolutions that the head does not know any more."""
    gone = [key for key in edit.base.entries if key not in edit.head.entries]
    for key in gone[:MAX_NAMED]:
        entry = edit.base.entries[key]
        again = ": the next run would pay for it again" if counts_as_spent(entry) else ""
        yield _finding("manifest-removed", f"the line of {entry.address} was removed{again}", edit.shown, None)
    if len(gone) > MAX_NAMED:
        yield _finding("manifest-removed", f"{len(gone) - MAX_NAMED} more lines were removed", edit.shown, None)
    for plan in edit.base.plans.keys() - edit.head.plans.keys():
        if is_direct(plan):
            continue  # no saved plan stands behind it that could be applied again
        message = f"the record that plan {plan} was used is gone: it could be applied a second time"
        yield _finding("manifest-removed", message, edit.shown, None)
    lost = len(edit.base.resolutions - edit.head.resolutions)
    if lost:
        message = f"what was decided about submissions in doubt is gone: {lost} of {len(edit.base.resolutions)} records"
        yield _finding("manifest-removed", message, edit.shown, None)


def _changed(edit: _Edit) -> Iterator[Diagnostic]:
    """Ids that the head has lost, and requests that were paid and count as unpaid there."""
    before, after = edit.base.header, edit.head.header
    if before is not None and after is not None:
        if before.id not in (after.id, *after.other_ids):
            message = (
                f"the manifest's id was {before.id}, now it is {after.id}: no idempotency key would be found again"
            )
            yield _finding("manifest-changed-id", message, edit.shown, 1)
        if before.origin != after.origin:
            message = f"the service was {before.origin}, now it is {after.origin}"
            yield _finding("manifest-changed-id", message, edit.shown, 1)
    named = 0
    for key in edit.base.entries:
        if key not in edit.head.entries or edit.base.entries.line(key) == edit.head.entries.line(key):
            continue
        for code, message in _regressions(edit.base.entries[key], edit.head.entries[key]):
            named += 1
            if named <= MAX_NAMED:
                yield _finding(code, message, edit.shown, edit.lines.get(key))
    if named > MAX_NAMED:
        yield _finding("manifest-changed-id", f"{named - MAX_NAMED} more lines were changed so", edit.shown, None)


def _regressions(before: Entry, after: Entry) -> Iterator[tuple[str, str]]:
    lost = [one for one in _task_ids(before) if one not in _task_ids(after)]
    if lost:
        now = after.task_id or "none"
        yield "manifest-changed-id", f"{before.address} was accepted as {', '.join(lost)}, now its task id is {now}"
    if after.generation < before.generation:
        counts = f"{before.generation} times, now {after.generation}"
        yield "manifest-changed-id", f"{before.address} was submitted {counts}"
    elif _unpaid(before, after):
        message = f"{before.address} was {before.state}, now it is {after.state}: the next run could pay for it again"
        yield "manifest-unpaid", message


def _unpaid(before: Entry, after: Entry) -> bool:
    """Whether a submission that counted as spent does so no more, and no answer of the service says why."""
    if after.generation != before.generation or not counts_as_spent(before) or counts_as_spent(after):
        return False
    return after.error is None or before.state in (State.STORED, State.COMPLETED)


def _task_ids(entry: Entry) -> tuple[str, ...]:
    ids = (*entry.task_ids, *(one for past in entry.earlier for one in (past.task_id, *past.more_task_ids)))
    return tuple(dict.fromkeys(one for one in ids if one is not None))


def _added(edit: _Edit, allowed: bool) -> Iterator[Diagnostic]:
    """Lines and task ids that are new: each claims that something was paid."""
    claims: list[tuple[str, str]] = []
    for key in edit.head.entries:
        if key not in edit.base.entries:
            entry = edit.head.entries[key]
            claims.append((key, f"{entry.address}: {entry.state}, {entry.task_id or 'no task id'}"))
        elif edit.base.entries.line(key) != edit.head.entries.line(key):
            old, entry = edit.base.entries[key], edit.head.entries[key]
            fresh = [one for one in _task_ids(entry) if one not in _task_ids(old)]
            if fresh:
                claims.append((key, f"{entry.address}: {', '.join(fresh)}"))
    severity: Severity = "warning" if allowed else "error"
    hint = None if allowed else "manifests are written by run; where one ran on this branch: --allow-manifest-additions"
    for key, claim in claims[:MAX_NAMED]:
        message = f"a line claims a payment: {claim}"
        yield _finding("manifest-added", message, edit.shown, edit.lines.get(key), severity=severity, hint=hint)
    if len(claims) > MAX_NAMED:
        message = f"{len(claims) - MAX_NAMED} more lines claim payments"
        yield _finding("manifest-added", message, edit.shown, None, severity=severity, hint=hint)


_RESTORE = "restore the file from the base revision: git checkout BASE -- FILE"


def _finding(
    code: str, message: str, path: str, line: int | None, *, severity: Severity = "error", hint: str | None = _RESTORE
) -> Diagnostic:
    at = None if line is None else Pos(offset=0, line=line, column=1)
    span = None if at is None else Span(start=at, end=at)
    return Diagnostic(code=code, severity=severity, message=message, path=path, span=span, hint=hint)
