"""Reads manifest and journal together, and tells whether the one belongs to the other.

A journal belongs to the manifest whose id and bytes its first record names; without a manifest, to the one that was at
this very place when a first run began, and is gone since. A journal whose manifest is still at another place (another
worktree, a copy) is that one's.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import FindingsError, HeldError, InDoubtError, LedgerError, UsageError
from seedream_jobs.job.files import is_tracked, worktrees
from seedream_jobs.ledger import journal
from seedream_jobs.ledger.codec import Malformed, decode_header, parse_checked
from seedream_jobs.ledger.filesystem import FileSystem, RealFileSystem, Snapshot, write_whole
from seedream_jobs.ledger.manifest import Manifest, read_manifest
from seedream_jobs.ledger.paths import LedgerPaths
from seedream_jobs.ledger.state import Header

_LOOKS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A record as it is on the disk.

    :param file: the journal that is hot: it has something that the manifest does not hold
    :param hot: what it says
    :param done: journals that hold nothing more: they are folded, or never began
    :param elsewhere: why nothing may be recorded here: the journal's manifest is at another place, or gone
    """

    manifest: Manifest
    file: Path | None = None
    hot: journal.Contents | None = None
    done: tuple[Path, ...] = ()
    elsewhere: HeldError | InDoubtError | None = None


def load(
    paths: LedgerPaths,
    fs: FileSystem,
    root: Path,
    *,
    apart_from: Path | None = None,
) -> Loaded:
    """Manifest and journal of one moment, while a run may be folding the one into the other.

    :param root: the campaign's root, out of which no recorded path may lead
    :param apart_from: a journal that is left alone
    :raises FindingsError: one of them is damaged, they do not belong together, or the journal came with a commit
    :raises UsageError: one of them can't be read
    :raises LedgerError: they keep changing
    """
    for _ in range(_LOOKS):
        record = read_file(fs, paths.manifest)
        manifest = parse_record(paths, record, root)
        files = [path for path in _journals(paths, manifest.header, fs) if path != apart_from]
        found = [(path, hot) for path in files if (hot := read_file(fs, path))]
        if paths.shared is not None and any(path == paths.journal for path, _ in found) and is_tracked(paths.journal):
            raise FindingsError([journal.tracked(str(paths.journal))])
        if _version(record) == _version(read_file(fs, paths.manifest)):
            return _belonging(paths, Loaded(manifest=manifest), found)
    raise LedgerError(f"{paths.manifest.name} keeps changing", hint="try again in a moment")


def parse_record(paths: LedgerPaths, record: Snapshot | None, root: Path) -> Manifest:
    """What the manifest's bytes say.

    :raises FindingsError: it is damaged
    :raises UsageError: it can't be read
    """
    if record is None:
        return Manifest()
    try:
        return read_manifest(record, str(paths.manifest), folder=_folder(paths, root))
    except OSError as error:
        raise UsageError(f"{paths.manifest} can't be read: {error.strerror or error}") from error


def _journals(paths: LedgerPaths, header: Header | None, fs: FileSystem) -> list[Path]:
    """Every file that may be the record's journal."""
    if paths.shared is None:
        return [paths.journal]
    if header is not None:
        return [paths.journal, *(paths.at(known) for known in (header.id, *header.other_ids))]
    return [paths.journal, *(path for path, _, place in left_behind(paths.shared) if place.path == paths.within)]


def left_behind(shared: Path) -> list[tuple[Path, str, journal.Place]]:
    """The journals in a repository: file, the manifest's id, and where that was."""
    found = []
    for path in sorted(shared.glob("*.journal")):
        try:
            first = journal.read_place(RealFileSystem().snapshot(path))
        except OSError:  # a run has just folded it
            continue
        if first is not None:
            found.append((path, *first))
    return found


def _belonging(paths: LedgerPaths, loaded: Loaded, found: list[tuple[Path, Snapshot]]) -> Loaded:
    """What the journals have that the manifest does not hold."""
    if not found:
        return loaded
    manifest, present = loaded.manifest, loaded.manifest.digest
    for path, snapshot in found:
        try:
            contents = journal.read_journal(snapshot, str(path))
        except OSError as error:
            raise UsageError(f"{path} can't be read: {error.strerror or error}") from error
        place = None if contents is None else contents.place
        if contents is None or place is None or (contents.folded and contents.folded[-1] == present):
            loaded = replace(loaded, done=(*loaded.done, path))
            continue
        if not contents.records and present in (place.before, journal.ABSENT):
            loaded = replace(loaded, done=(*loaded.done, path))  # nothing was announced in it
            continue
        if paths.shared is not None and path.parent == paths.shared:
            there = _lives(paths, contents, present)
            if there is not None:
                if manifest.header is not None:
                    loaded = replace(loaded, elsewhere=_at_another_place(paths, there, path))
                continue
        if manifest.header is None and path != paths.journal:
            if place.before != journal.ABSENT:
                loaded = replace(loaded, elsewhere=_gone(paths, path))
                continue
            manifest.header = Header(id=contents.manifest, job=place.job, origin=place.origin)
        ids = () if manifest.header is None else (manifest.header.id, *manifest.header.other_ids)
        known = loaded.hot is None and contents.manifest in ids and present in (contents.base, place.before)
        if not known:
            raise FindingsError([journal.foreign(str(path), paths.manifest.name, contents.base)])
        if contents.torn:
            manifest.notes.append(journal.torn(str(path), contents))
        loaded = replace(loaded, file=path, hot=contents)
    return loaded


def _lives(paths: LedgerPaths, contents: journal.Contents, present: str) -> Path | None:
    """Where the manifest of a journal in the git folder still is, if that is not here."""
    assert paths.shared is not None
    place = contents.place
    known = [Path(place.file)] if place.file else []
    if present != contents.base and Path(place.file) != paths.real:  # the repository may have been moved since
        known += [top / place.path for top in worktrees(paths.shared.parent)]
    for there in known:
        if there == paths.real:
            return None
        if contents.manifest in ids_of(there):  # also where this whole repository is a copy of that one
            return there
    return None


def ids_of(manifest: Path) -> tuple[str, ...]:
    """The ids of a manifest on the disk, read from its first lines; none where there is no such file."""
    found: list[str] = []
    try:
        with manifest.open("rb") as lines:
            for line in lines:
                header = decode_header(parse_checked(line.rstrip(b"\n"))[0])
                found += (header.id, *header.other_ids)
    except (OSError, Malformed):
        pass
    return tuple(found)


def _at_another_place(paths: LedgerPaths, there: Path, path: Path) -> HeldError:
    return HeldError(
        f"an interrupted run of this record is to be finished where it began: {there}",
        hint=f"seedream-jobs fetch {there}; then the same command again here. Where this is to be a record of its own: "
        f"seedream-jobs resolve JOB --journal {path}",
    )


def _gone(paths: LedgerPaths, path: Path) -> InDoubtError:
    return InDoubtError(
        f"{paths.manifest.name} is gone, and a run of it was interrupted: what both hold would be paid again",
        hint=f"bring the record back (`git restore {paths.manifest.name}`, `git stash pop`, or from the branch that "
        f"has it); without it: seedream-jobs resolve JOB --journal {path}",
    )


def _version(record: Snapshot | None) -> object:
    return None if record is None else record.version


def read_file(fs: FileSystem, path: Path) -> Snapshot | None:
    """The file as it is now, None where there is none.

    :raises UsageError: it can't be read
    """
    try:
        return fs.snapshot(path)
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


def check_unchanged(fs: FileSystem, paths: LedgerPaths, known: str) -> None:
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
    found = read_file(fs, paths.manifest)
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
