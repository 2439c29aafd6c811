"""A manifest that git or an editor replaces while a command holds it: the lock keeps out other writers, but not those.

Before the first record a manifest that was replaced is refused: what is about to be paid may be paid in the new one.
Once something is recorded, the new one is taken in when the journal is folded, as another branch's would be.

What comes in the place of a newer one while no command holds it (a checkout, a backup) has a smaller serial than this
machine has seen: that is told.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import FindingsError, HeldError, LedgerError
from seedream_jobs.ledger.filesystem import FileSystem, RealFileSystem, write_whole
from seedream_jobs.ledger.loading import digest_or_absent, parse_record, read_file
from seedream_jobs.ledger.manifest import Manifest
from seedream_jobs.ledger.paths import LedgerPaths
from seedream_jobs.ledger.records import Header


def hold_unchanged(fs: FileSystem, paths: LedgerPaths, known: str) -> None:
    """See that the manifest on the disk is the one that is known.

    :param known: its digest
    :raises LedgerError: it is another one, or gone
    """
    if digest_or_absent(read_file(fs, paths.manifest)) != known:
        raise LedgerError(
            f"{paths.manifest.name} was changed after it was read, by git or by hand",
            hint="run the same command again: it goes on from what is recorded now",
        )


def take_in_replacement(fs: FileSystem, paths: LedgerPaths, known: str, manifest: Manifest, *, root: Path) -> None:
    """Let ``manifest`` know what the one on the disk says, where that is another one than was read.

    :param known: the digest of the one that was read
    :param root: the campaign's root, out of which no recorded path may lead
    :raises LedgerError: the one on the disk can't be read, or is another service's; the journal still holds everything
    """
    if digest_or_absent(read_file(fs, paths.manifest)) == known:
        return
    found = read_file(fs, paths.manifest, apart=True)  # a copy, since it is read while its place is taken
    if found is None or not found.size:
        return  # where it is gone or empty, nothing is lost by writing it anew
    try:
        came = parse_record(paths, found, root)
        came.entries.settle("crash")
        manifest.take_in(came)
    except FindingsError as error:
        raise LedgerError(
            f"{paths.manifest.name} was changed while it was in use, and {error.diagnostics[0].message}",
            hint=f"{paths.journal.name} holds what was recorded: bring back the manifest that the command began with "
            "(`git stash`, or `git checkout`), then run the same command again",
        ) from error


def older(paths: LedgerPaths, header: Header) -> Diagnostic | None:
    """The warning that this machine has seen the manifest written more often than it says; None where it has not."""
    seen = max(_seen(paths.serial_of(one)) for one in (header.id, *header.other_ids))
    if header.serial >= seen:
        return None
    return Diagnostic(
        code="manifest-older",
        severity="warning",
        message=f"{paths.manifest.name} is an older version: it was written {header.serial} times, "
        f"and this machine has seen it written {seen} times",
        path=str(paths.manifest),
        hint="what was paid since is not in it, and would be paid again: bring the newer one back, or merge it "
        "(another branch or stash has it, or: git log --all -- FILE)",
    )


def remember(paths: LedgerPaths, header: Header) -> None:
    """Note how often the manifest was written, for ``older``. Where that can't be, nothing is told later."""
    path = paths.serial_of(header.id)
    if path is not None and header.serial > _seen(path):
        with contextlib.suppress(OSError):
            write_whole(RealFileSystem(), path, [b"%d\n" % header.serial])


def _seen(path: Path | None) -> int:
    try:
        said = "" if path is None else path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return 0
    return int(said) if said.isdecimal() and len(said) < 16 else 0


def under_way(paths: LedgerPaths) -> HeldError:
    """Why nothing can be said yet by one who only looks: the run's journal builds on the manifest of before."""
    return HeldError(
        f"{paths.manifest.name} was changed, by git or by hand, while a run is under way",
        hint="wait until it has ended: it merges the two",
    )
