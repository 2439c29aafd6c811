"""This module says where a job's record lies: the manifest beside the job file, journal and locks out of git's reach.

Called by everything that opens a record. In a repository, journal and locks are in the git folder that all worktrees
share, as git-lfs and git-annex keep theirs: ``git clean``, ``git stash`` and a change of branch leave them alone.
Outside git they lie beside the manifest. Invariant: what the emulator answered lies apart, below
``.seedream/emulator``, so that a rehearsal never counts as paid.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from seedream_jobs.atomic_file import check_folder, in_the_way
from seedream_jobs.errors import UsageError
from seedream_jobs.inside import STATE_FOLDER, is_gits
from seedream_jobs.job.files import campaign_root, git_common
from seedream_jobs.ledger.parts import MANIFEST_SUFFIX, manifest_of, parts_folder

_SOURCES = (".yaml", ".yml", MANIFEST_SUFFIX, ".journal", ".manifest.lock")
SHARED = "seedream-jobs"
"""The folder in a repository's git folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPaths:
    """The manifest (committed), the journal (while a run is under way) and the lock (never deleted), absolute.

    :param journal: beside the manifest, where an older version left one in a repository, too; ``at`` tells where the
        journal of a manifest is written
    :param private: the ``.seedream`` folder they are in, for rehearsals on the emulator: it never enters git
    :param shared: the folder of journals and locks in the git folder; None outside git and for rehearsals
    """

    manifest: Path
    journal: Path
    lock: Path
    private: Path | None = None
    shared: Path | None = None

    def at(self, manifest_id: str) -> Path:
        """The journal of the manifest with this id."""
        return self.journal if self.shared is None else self.shared / f"{manifest_id}.journal"

    def lock_of(self, manifest_id: str) -> Path | None:
        """In a repository, the lock on a manifest's journal: two worktrees, or a copy, may have the same manifest."""
        return None if self.shared is None else self.shared / f"{manifest_id}.lock"

    def serial_of(self, manifest_id: str) -> Path | None:
        """Where it is noted how often that manifest was written; None for rehearsals."""
        if self.shared is not None:
            return self.shared / f"{manifest_id}.serial"
        return None if self.private is not None else self.journal.with_suffix(".serial")

    @property
    def real(self) -> Path:
        """Where the manifest's bytes are: a link is followed, never replaced."""
        return Path(os.path.realpath(self.manifest)) if self.manifest.is_symlink() else self.manifest

    @property
    def within(self) -> str:
        """The manifest's path in its repository, the same in every worktree."""
        real = Path(os.path.realpath(self.manifest))
        return real.relative_to(campaign_root(real)).as_posix()


def paths_for(job: Path, *, emulator_root: Path | None = None) -> LedgerPaths:
    """The record of a job file, or of the job whose manifest is named.

    :param job: ``garden.yaml`` or ``garden.manifest.jsonl``
    :param emulator_root: the campaign's root where the service is the emulator: its record lies below
        ``.seedream/emulator``, so that a rehearsal never makes a paid run believe that it is done
    """
    absolute = Path(os.path.abspath(job))  # noqa: PTH100  (Path.absolute keeps "..")
    stem = absolute.name.removesuffix(MANIFEST_SUFFIX) if absolute.name.endswith(MANIFEST_SUFFIX) else absolute.stem
    folder, private = absolute.parent, None
    if emulator_root is not None:
        root = Path(os.path.abspath(emulator_root))  # noqa: PTH100
        private = root / STATE_FOLDER
        apart = records_folder(root, emulator=True)
        if not folder.is_relative_to(apart):
            folder = apart / (folder.relative_to(root) if folder.is_relative_to(root) else folder.name)
    manifest = folder / f"{stem}{MANIFEST_SUFFIX}"
    real = Path(os.path.realpath(manifest))  # by whatever links it is named, there is one journal and one lock
    name = real.name.removesuffix(".jsonl")
    beside = LedgerPaths(
        manifest=manifest,
        journal=real.with_name(f"{name}.journal"),
        lock=real.with_name(f"{name}.lock"),
        private=private,
    )
    common = None if private is not None else git_common(real.parent)
    if common is None:
        return beside
    shared = common / SHARED
    # By the manifest's place, not its id: the lock is taken before a first run has made an id.
    number = sha256(os.fsencode(real)).hexdigest()[:16]
    return replace(beside, lock=shared / f"{number}.lock", shared=shared)


def records_folder(root: Path, *, emulator: bool) -> Path:
    """Where a campaign's records lie at their jobs' places; a rehearsal's are apart."""
    return root / STATE_FOLDER / "emulator" if emulator else root


def is_manifest(named: Path) -> bool:
    """Whether a JOB is a record rather than a job file."""
    return named.name.endswith(MANIFEST_SUFFIX)


def check_output_name(output: Path) -> None:
    """:raises UsageError: an output file is named like a job file or a record, which may hold what was paid"""
    if output.name.endswith(_SOURCES) or manifest_of(Path(os.path.abspath(output))) is not None:  # noqa: PTH100
        raise UsageError(f"{output} is the name of a job file or a record", hint="name another file")


def job_beside(manifest: Path, is_file: Callable[[Path], bool] = Path.is_file) -> Path | None:
    """The job file that a manifest is the record of, where it is at hand."""
    stem = manifest.name.removesuffix(MANIFEST_SUFFIX)
    candidates = (manifest.with_name(stem + ending) for ending in (".yaml", ".yml"))
    return next((candidate for candidate in candidates if is_file(candidate)), None)


def campaign_lock(root: Path, *, emulator: bool) -> Path:
    """The lock that one ``run`` holds for a whole campaign, all worktrees of it; the emulator's is one of its own."""
    common = None if emulator else git_common(Path(os.path.realpath(root)))
    if common is not None:
        return common / SHARED / "campaign.lock"
    state = Path(os.path.abspath(root)) / STATE_FOLDER  # noqa: PTH100
    return (state / "emulator" if emulator else state) / "campaign.lock"


def prepare(paths: LedgerPaths) -> None:
    """Make the folders of a record that is about to be written.

    :raises UsageError: a link leads out of the folder of rehearsals
    :raises OSError: they can't be made
    """
    if paths.private is not None:
        keep_private(paths.private)
        check_folder(paths.private, paths.manifest.parent)
    paths.manifest.parent.mkdir(parents=True, exist_ok=True)
    if paths.shared is not None:
        paths.shared.mkdir(exist_ok=True)


def check_link(paths: LedgerPaths) -> None:
    """:raises UsageError: the manifest is a symbolic link that leads nowhere, or to no record of this campaign; or the
    folder of its parts is one"""
    real = paths.real
    if parts_folder(real).is_symlink():
        raise UsageError(
            f"{parts_folder(real)} is a symbolic link", hint="put the folder with the record's parts in its place"
        )
    # Taken for a job without a manifest, all that the linked one knows would be paid again.
    if not paths.manifest.is_symlink():
        return
    if not paths.manifest.exists():
        raise UsageError(
            f"{paths.manifest} is a symbolic link that leads nowhere",
            hint="bring back the file that it names, or remove the link if nothing was ever paid",
        )
    root = Path(os.path.realpath(campaign_root(paths.manifest)))
    if not is_manifest(real) or not real.is_relative_to(root) or any(map(is_gits, real.relative_to(root).parts)):
        raise UsageError(
            f"{paths.manifest} is a symbolic link that leads to no record in this campaign",
            hint="put the record itself in its place",
        )


def keep_private(folder: Path) -> None:
    """Make ``.seedream``, with a ``.gitignore`` of its own: what it holds never enters git.

    :raises UsageError: a file has its name, or that of a folder above it; or it is, or holds, a link
    :raises OSError: it can't be made
    """
    for part in (folder, *(folder / name for name in _PRIVATE)):
        if part.is_symlink():  # what is written there would lie wherever a stranger's link leads
            raise UsageError(
                f"{part} is a symbolic link, and no file of the record is written through one", hint=_REMOVE
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        if (refusal := in_the_way(folder)) is not None:
            raise refusal from None
        raise
    with suppress(FileExistsError), (folder / ".gitignore").open("x", encoding="utf-8") as file:
        file.write("# rehearsals and caches of seedream-jobs; safe to delete\n*\n")


_PRIVATE = ("emulator", "emulator/service", "thumbnails")
_REMOVE = "remove the link; the folder is made anew"
