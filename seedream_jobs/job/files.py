"""The campaign's tree as a job sees it: on disk here, in a git revision in ``plan.revisions``.

Everything a job names (axis files, reference images) is read through this seam, so that two revisions can be planned
without a checkout, and so that no path leaves the campaign's root.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Protocol


class OutsideRoot(Exception):
    """A path that leaves the campaign's root, by ``..``, by being absolute or through a symbolic link."""


class Files(Protocol):
    """Reads a campaign's files. Paths are POSIX and relative to the root.

    Errors: ``FileNotFoundError``, ``IsADirectoryError``, ``PermissionError`` and other ``OSError`` as ``open`` raises
    them, ``OutsideRoot`` for a path that leaves the root.
    """

    def read(self, path: PurePosixPath, *, limit: int) -> bytes:
        """The first ``limit`` bytes of a file (ask for one more than allowed to see that it is too large)."""
        ...

    def size(self, path: PurePosixPath) -> int:
        """The size of a file in bytes."""
        ...

    def glob(self, folder: PurePosixPath, pattern: str) -> list[PurePosixPath]:
        """The files below ``folder`` that match ``pattern`` (``*``, ``?``, ``[…]`` and ``**``), sorted."""
        ...


def within(folder: PurePosixPath, path: str) -> PurePosixPath:
    """``path``, written relative to ``folder``, as a path relative to the root.

    :raises OutsideRoot: if it is absolute or climbs out of the root
    """
    written = PurePosixPath(path)
    if written.is_absolute() or "\\" in path or "\0" in path:
        raise OutsideRoot(path)
    parts: list[str] = []
    for part in (*folder.parts, *written.parts):
        if part == "..":
            if not parts:
                raise OutsideRoot(path)
            parts.pop()
        elif part != ".":
            parts.append(part)
    return PurePosixPath(*parts)


class WorkTree:
    """The campaign's files on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def locate(self, path: PurePosixPath) -> Path:
        """The absolute path, symbolic links followed.

        :raises OutsideRoot: if a link leads out of the root
        """
        found = (self.root / path).resolve()
        if not found.is_relative_to(self.root):
            raise OutsideRoot(str(path))
        return found

    def read(self, path: PurePosixPath, *, limit: int) -> bytes:
        with self.locate(path).open("rb") as file:
            return file.read(limit)

    def size(self, path: PurePosixPath) -> int:
        found = self.locate(path)
        if found.is_dir():
            raise IsADirectoryError(str(path))
        return found.stat().st_size

    def glob(self, folder: PurePosixPath, pattern: str) -> list[PurePosixPath]:
        base = within(folder, pattern)  # refuses a pattern that climbs out
        found = (Path(match) for match in self.root.glob(str(base)))
        return sorted(
            PurePosixPath(match.relative_to(self.root).as_posix())
            for match in found
            if match.is_file() and match.resolve().is_relative_to(self.root)
        )


def campaign_root(job: Path) -> Path:
    """The git top level around a job file, else the job file's folder."""
    folder = Path(os.path.abspath(job)).parent  # noqa: PTH100  (Path.absolute keeps "..")
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return folder
