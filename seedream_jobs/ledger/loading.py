"""Reads manifest and journal together, and tells whether the one belongs to the other."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from seedream_jobs.errors import FindingsError, LedgerError, UsageError
from seedream_jobs.ledger import journal
from seedream_jobs.ledger.filesystem import FileSystem
from seedream_jobs.ledger.manifest import Manifest, read_manifest
from seedream_jobs.ledger.paths import LedgerPaths

_LOOKS = 20


def load(
    paths: LedgerPaths, data: bytes | None, hot: bytes | None, root: Path
) -> tuple[Manifest, journal.Contents | None]:
    """The manifest, and the journal where it is hot: it has something that the manifest does not hold."""
    manifest = Manifest() if data is None else read_manifest(data, str(paths.manifest), folder=_folder(paths, root))
    contents = None if hot is None else journal.read_journal(hot, str(paths.journal))
    if contents is None:
        return manifest, None
    present = digest_or_absent(data)
    if contents.folded and contents.folded[-1] == present:
        return manifest, None
    if contents.base != present or manifest.header is None or contents.manifest != manifest.header.id:
        raise FindingsError([journal.foreign(str(paths.journal), paths.manifest.name, contents.base)])
    if contents.torn:
        manifest.notes.append(journal.torn(str(paths.journal), contents))
    return manifest, contents


def read_together(paths: LedgerPaths, fs: FileSystem) -> tuple[bytes | None, bytes | None]:
    """Manifest and journal of one moment, while a run may be folding the one into the other."""
    for _ in range(_LOOKS):
        data = read_file(fs, paths.manifest)
        hot = read_file(fs, paths.journal)
        if read_file(fs, paths.manifest) == data:
            return data, hot
    raise LedgerError(f"{paths.manifest.name} keeps changing", hint="try again in a moment")


def read_file(fs: FileSystem, path: Path) -> bytes | None:
    """The file's bytes, None where there is none.

    :raises UsageError: it can't be read
    """
    try:
        return fs.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from error


def digest_or_absent(data: bytes | None) -> str:
    """How a journal names what it builds on."""
    return journal.ABSENT if data is None else journal.digest(data)


def _folder(paths: LedgerPaths, root: Path) -> PurePosixPath:
    folder, top = paths.manifest.parent.resolve(), root.resolve()
    return PurePosixPath(folder.relative_to(top).as_posix()) if folder.is_relative_to(top) else PurePosixPath()
