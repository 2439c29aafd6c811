"""A whole campaign: who may submit for it, and which requests are paid in another manifest than the job's own."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import FindingsError, LedgerError
from seedream_jobs.ledger.filesystem import FileSystem
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.lock import Lock, acquire
from seedream_jobs.ledger.paths import STATE_FOLDER, campaign_lock, job_beside, keep_private, paths_for
from seedream_jobs.ledger.steps import HEAD

_SUFFIX = ".manifest.jsonl"
_SKIPPED = frozenset({".git", STATE_FOLDER})


def manifests(root: Path, *, emulator: bool) -> Iterator[Path]:
    """Every manifest below the campaign's root, sorted; only the emulator's, or all but those.

    Hidden folders, too: a record that is not seen is paid again.
    """
    top = root / STATE_FOLDER / "emulator" if emulator else root
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        for name in sorted(files):
            if name.endswith(_SUFFIX):
                yield Path(folder, name)


def hold_campaign(root: Path, *, emulator: bool, command: str, now: int) -> Lock:
    """Be the only one who submits for this campaign: jobs may share requests, and each must see what another paid.

    Taken before ``paid_elsewhere`` is read, and held until nothing more is submitted. What only asks for tasks, fetches
    them or settles doubts does not take it.

    :param command: what to tell the one who comes second
    :param now: Unix seconds
    :raises HeldError: another process holds it; says which
    :raises LedgerError: the lock can't be written
    """
    path = campaign_lock(root, emulator=emulator)
    try:
        keep_private(root / STATE_FOLDER)
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise LedgerError(
            f"{path.parent} could not be made: {error.strerror or error}",
            hint="make room, or check who may write there",
        ) from error
    return acquire(path, command=command, now=now, refusal="another run in this campaign is submitting:")


def paid_elsewhere(
    root: Path,
    own: Path,
    *,
    origin: str,
    emulator: bool,
    among: Iterable[Path] | None = None,
    fs: FileSystem | None = None,
) -> dict[str, str]:
    """Request key to the job in whose manifest, other than ``own``, it counts as spent with the same origin.

    :param among: the campaign's manifests, sorted, where they are not those on disk; ``fs`` reads them
    :raises FindingsError: one of the manifests is damaged
    """
    found: dict[str, str] = {}
    for manifest in manifests(root, emulator=emulator) if among is None else among:
        if manifest == own:
            continue
        ledger = Ledger.peek(paths_for(manifest, emulator_root=root if emulator else None), root=root, fs=fs)
        if ledger.header is None or ledger.header.origin != origin:
            continue
        top = root / STATE_FOLDER / "emulator" if emulator else root
        job = manifest.relative_to(top).with_name(ledger.header.job).as_posix()
        for key in ledger.entries:
            brief = ledger.brief(key)
            if brief is not None and HEAD[brief[0]].spent:
                found.setdefault(key, job)
        for key, former in ledger.entries.former.items():
            brief = ledger.brief(former)
            if brief is not None and HEAD[brief[0]].spent:
                found.setdefault(key, job)
    return found


def half_renamed(
    shown: str, own: Path, root: Path, keys: Callable[[], Iterable[str]], *, emulator: bool
) -> Diagnostic | None:
    """The warning that a job without a record and a record without a job are one, of which only a half was renamed.

    That is the manifest without a job file which knows most of the job's requests; None where none knows any.

    :param shown: the job file as the user named it
    :param own: where its record would be
    :param keys: of the job's requests; asked for only where there is such a manifest
    """
    top = root / STATE_FOLDER / "emulator" if emulator else root
    alone = [one for one in manifests(root, emulator=emulator) if job_beside(root / one.relative_to(top)) is None]
    wanted = frozenset(keys()) if alone else frozenset[str]()
    best, most, total = own, 0, 0
    for manifest in alone:
        try:
            entries = Ledger.peek(paths_for(manifest, emulator_root=root if emulator else None), root=root).entries
        except FindingsError:
            continue
        shared = sum(1 for key in entries if key in wanted)
        if shared > most:
            best, most, total = manifest, shared, len(entries)
    if not most:
        return None
    there, here = (os.path.relpath(path, own.parent) for path in (best, own))
    before = os.path.dirname(shown)  # noqa: PTH120  (an empty one stays empty)
    there, here = (os.path.normpath(os.path.join(before, one)) for one in (there, here))  # noqa: PTH118
    return Diagnostic(
        code="record-renamed",
        severity="warning",
        message=f"{shown} has no record, and {there}, which has no job file, holds {most} of its requests (of {total})",
        path=shown,
        hint=f"where the job was renamed, rename its record as well: git mv {shlex.quote(there)} {shlex.quote(here)}",
    )
