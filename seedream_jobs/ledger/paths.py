"""Where a job's record lies: three files beside the job file, or apart for what the emulator answered."""

from __future__ import annotations

import os
from pathlib import Path

from seedream_jobs.errors import UsageError
from seedream_jobs.frozen import frozen

_MANIFEST = ".manifest.jsonl"
_SOURCES = (".yaml", ".yml", _MANIFEST, ".manifest.journal", ".manifest.lock")
STATE_FOLDER = ".seedream"


@frozen
class LedgerPaths:
    """The manifest (committed), the journal (while a run is under way) and the lock (never deleted), absolute.

    ``private`` is the ``.seedream`` folder they are in, for rehearsals on the emulator: it never enters git.
    """

    manifest: Path
    journal: Path
    lock: Path
    private: Path | None = None


def paths_for(job: Path, *, emulator_root: Path | None = None) -> LedgerPaths:
    """The record of a job file, or of the job whose manifest is named.

    :param job: ``garden.yaml`` or ``garden.manifest.jsonl``
    :param emulator_root: the campaign's root where the service is the emulator: its record lies below
        ``.seedream/emulator``, so that a rehearsal never makes a paid run believe that it is done
    """
    absolute = Path(os.path.abspath(job))  # noqa: PTH100  (Path.absolute keeps "..")
    stem = absolute.name.removesuffix(_MANIFEST) if absolute.name.endswith(_MANIFEST) else absolute.stem
    folder, private = absolute.parent, None
    if emulator_root is not None:
        root = Path(os.path.abspath(emulator_root))  # noqa: PTH100
        private = root / STATE_FOLDER
        apart = private / "emulator"
        if not folder.is_relative_to(apart):
            folder = apart / (folder.relative_to(root) if folder.is_relative_to(root) else folder.name)
    return LedgerPaths(
        manifest=folder / f"{stem}{_MANIFEST}",
        journal=folder / f"{stem}.manifest.journal",
        lock=folder / f"{stem}.manifest.lock",
        private=private,
    )


def is_manifest(named: Path) -> bool:
    """Whether a JOB is a record rather than a job file."""
    return named.name.endswith(_MANIFEST)


def hold_no_source(output: Path) -> None:
    """See that what a command writes takes the place of no job file and no record, which may hold what was paid.

    :raises UsageError: it is named like one
    """
    if output.name.endswith(_SOURCES):
        raise UsageError(f"{output} is the name of a job file or a record", hint="name another file")


def job_beside(manifest: Path) -> Path | None:
    """The job file that a manifest is the record of, where it is at hand."""
    stem = manifest.name.removesuffix(_MANIFEST)
    candidates = (manifest.with_name(stem + ending) for ending in (".yaml", ".yml"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def campaign_lock(root: Path, *, emulator: bool) -> Path:
    """The lock that one ``run`` holds for a whole campaign; the emulator's campaign is one of its own."""
    state = Path(os.path.abspath(root)) / STATE_FOLDER  # noqa: PTH100
    return (state / "emulator" if emulator else state) / "campaign.lock"


def prepare(paths: LedgerPaths) -> None:
    """Make the folders of a record that is about to be written.

    :raises OSError: they can't be made
    """
    paths.manifest.parent.mkdir(parents=True, exist_ok=True)
    if paths.private is not None:
        keep_private(paths.private)


def in_the_way(folder: Path) -> UsageError | None:
    """The refusal that a file means which stands where ``folder`` or one above it should be; None where none does."""
    for candidate in (folder, *folder.parents):
        if os.path.lexists(candidate):
            if candidate.is_dir():
                return None
            what = "a link that leads to no folder" if candidate.is_symlink() else "a file"
            return UsageError(f"{candidate} is {what} where a folder is needed", hint="move it out of the way")
    return None


def keep_private(folder: Path) -> None:
    """Make ``.seedream``, with a ``.gitignore`` of its own: what it holds never enters git.

    :raises UsageError: a file has its name, or that of a folder above it
    :raises OSError: it can't be made
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        if (refusal := in_the_way(folder)) is not None:
            raise refusal from None
        raise
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("# rehearsals and caches of seedream-jobs; safe to delete\n*\n", encoding="utf-8")
