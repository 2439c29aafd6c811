"""This module reads a campaign's tree of files: on disk here, in a git revision in ``plan.revisions``.

Called by whatever a job names files for (axis files, reference images). Invariant: no path leaves the campaign's root.
Behind the protocol ``Files``, two revisions can be planned without a checkout.
"""

from __future__ import annotations

import errno
import os
from glob import escape
from pathlib import Path, PurePosixPath
from typing import Protocol

from seedream_jobs.errors import UsageError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that Git LFS keeps elsewhere, where only its pointer was checked out."""


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
        """The files below ``folder`` that match ``pattern`` (``*``, ``?``, ``[…]`` and ``**``), sorted.

        As in a shell, hidden files and folders match only a pattern that has a part with a leading dot. What is
        in git's own folder matches none: it is no part of the campaign.
        """
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
        try:
            found = (self.root / path).resolve()
        except RuntimeError:  # Python before 3.13 says so of links that lead in a circle
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None
        # Held after links are followed: a link in a foreign campaign must not send a private file to the service.
        if not found.is_relative_to(self.root):
            raise OutsideRoot(str(path))
        return found

    def read(self, path: PurePosixPath, *, limit: int) -> bytes:
        found = self.locate(path)
        if found.exists() and not found.is_file() and not found.is_dir():
            raise OSError(errno.EINVAL, "it is no regular file", str(path))  # a pipe would wait for ever
        with found.open("rb") as file:
            return file.read(limit)

    def size(self, path: PurePosixPath) -> int:
        found = self.locate(path)
        if found.is_dir():
            raise IsADirectoryError(str(path))
        return found.stat().st_size

    def glob(self, folder: PurePosixPath, pattern: str) -> list[PurePosixPath]:

        literal = PurePosixPath(*(escape(part) for part in folder.parts))
        base = within(literal, pattern)  # refuses a pattern that climbs out
        hidden = any(part.startswith(".") for part in base.parts)
        found = (match.relative_to(self.root) for match in self.root.glob(str(base)) if self._inside(match))
        return sorted(
            PurePosixPath(path.as_posix())
            for path in found
            if ".git" not in path.parts and (hidden or not any(part.startswith(".") for part in path.parts))
        )

    def _inside(self, match: Path) -> bool:
        return match.is_file() and match.resolve().is_relative_to(self.root)


def campaign_root(job: Path) -> Path:
    """The git top level around a job file, else the job file's folder."""
    folder = Path(os.path.abspath(job)).parent  # noqa: PTH100  (Path.absolute keeps "..")
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return folder


def git_common(folder: Path) -> Path | None:
    """The git folder that all worktrees of the repository around a folder share; None outside git.

    Read from ``.git``, ``gitdir:`` and ``commondir`` as gitrepository-layout(5) describes them: the git command would
    obey the configuration of whoever made the repository.

    :raises UsageError: a worktree whose repository was moved or removed: what was paid is on record there
    """
    for candidate in (folder, *folder.parents):
        found = candidate / ".git"
        if not found.exists():
            continue
        try:
            if found.is_file():
                named = found.read_text("utf-8", "surrogateescape").strip()
                found = candidate / named.removeprefix("gitdir:").strip()
            shared = found / "commondir"
            if shared.is_file():
                found = found / shared.read_text("utf-8", "surrogateescape").strip()
        except OSError:
            return None
        if (found / "HEAD").is_file():
            return Path(os.path.realpath(found))
        if (candidate / ".git").is_file():
            raise UsageError(
                f"{candidate / '.git'} leads to no repository, which holds the journals of all its worktrees",
                hint="where the repository was moved: git worktree repair, there",
            )
        return None
    return None


def worktrees(common: Path) -> list[Path]:
    """The top folders of a repository's worktrees that are at hand, the main one first."""
    found = [common.parent] if common.name == ".git" else []
    for gitdir in sorted(common.glob("worktrees/*/gitdir")):
        try:
            found.append(Path(gitdir.read_text("utf-8", "surrogateescape").strip()).parent)
        except OSError:
            continue
    return [top for top in found if (top / ".git").exists()]
