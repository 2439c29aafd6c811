"""Reads manifest and journal together, and tells whether the one belongs to the other."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from seedream_jobs.errors import FindingsError, LedgerError, UsageError
from seedream_jobs.ledger import journal
from seedream_jobs.ledger.entries import Entries
from seedream_jobs.ledger.filesystem import FileSystem
from seedream_jobs.ledger.manifest import Manifest, read_manifest
from seedream_jobs.ledger.paths import LedgerPaths
from seedream_jobs.ledger.snapshot import Snapshot

_LOOKS = 20


def load(
    paths: LedgerPaths, record: Snapshot | None, hot: Snapshot | None, root: Path, *, scratch: Path | None = None
) -> tuple[Manifest, journal.Contents | None]:
    """The manifest, and the journal where it is hot: it has something that the manifest does not hold.

    :param scratch: where lines that come to the manifest later are kept, once they are many
    :raises FindingsError: one of them is damaged, or they do not belong together
    :raises UsageError: one of them can't be read
    """
    try:
        manifest = Manifest(entries=Entries(folder=scratch))
        if record is not None:
            manifest = read_manifest(record, str(paths.manifest), folder=_folder(paths, root), scratch=scratch)
        contents = None if hot is None else journal.read_journal(hot, str(paths.journal))
    except OSError as error:
        raise UsageError(f"{paths.manifest} can't be read: {error.strerror or error}") from error
    if contents is None:
        return manifest, None
    present = digest_or_absent(record)
    if contents.folded and contents.folded[-1] == present:
        return manifest, None
    if contents.base != present or manifest.header is None or contents.manifest != manifest.header.id:
        raise FindingsError([journal.foreign(str(paths.journal), paths.manifest.name, contents.base)])
    if contents.torn:
        manifest.notes.append(journal.torn(str(paths.journal), contents))
    return manifest, contents


def read_together(paths: LedgerPaths, fs: FileSystem) -> tuple[Snapshot | None, Snapshot | None]:
    """Manifest and journal of one moment, while a run may be folding the one into the other."""
    for _ in range(_LOOKS):
        record = read_file(fs, paths.manifest)
        hot = read_file(fs, paths.journal)
        again = read_file(fs, paths.manifest)
        if (None if record is None else record.version) == (None if again is None else again.version):
            return record, hot
    raise LedgerError(f"{paths.manifest.name} keeps changing", hint="try again in a moment")


def read_file(fs: FileSystem, path: Path, *, apart: bool = False) -> Snapshot | None:
    """The file as it is now, None where there is none.

    :param apart: as a copy, which nobody else can change
    :raises UsageError: it can't be read
    """
    try:
        return fs.snapshot(path, apart=apart)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from error


def digest_or_absent(record: Snapshot | None) -> str:
    """How a journal names what it builds on.

    :raises UsageError: it can't be read
    """
    try:
        return journal.ABSENT if record is None else record.digest()
    except OSError as error:
        raise UsageError(f"the manifest can't be read: {error.strerror or error}") from error


def _folder(paths: LedgerPaths, root: Path) -> PurePosixPath:
    folder, top = paths.manifest.parent.resolve(), root.resolve()
    return PurePosixPath(folder.relative_to(top).as_posix()) if folder.is_relative_to(top) else PurePosixPath()
