"""This module reads a campaign's tree of files: on disk here, in a git revision in ``plans.revisions``.

Called by whatever a job names files for (axis files, reference images). Invariant: no path leaves the campaign's root.
Behind the protocol ``Files``, two revisions can be planned without a checkout.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import cache
from glob import escape
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from seedream_jobs.errors import UsageError
from seedream_jobs.inside import (
    OutsideRoot,
    Withheld,
    can_be_a_name,
    check_open_to_jobs,
    find_closed,
    locate,
    open_in,
    read_start,
)

if TYPE_CHECKING:
    from seedream_jobs.job.ignored import IgnoreRules

_LONGEST_PATH = 4096
"""Bytes that are read of a file in which git names a path: a hostile checkout may bring one without end."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that Git LFS keeps elsewhere, where only its pointer was checked out."""


class Files(Protocol):
    """Reads a campaign's files. Paths are POSIX and relative to the root.

    Errors: ``FileNotFoundError``, ``IsADirectoryError``, ``PermissionError`` and other ``OSError`` as ``open`` raises
    them, ``OutsideRoot`` for a path that leaves the root, ``Withheld`` for a file that no job may read.
    """

    def read(self, path: PurePosixPath, *, limit: int, named: bool = False) -> bytes:
        """The first ``limit`` bytes of a file (ask for one more than allowed to see that it is too large).

        :param named: a person named it, no job: git may ignore it, though not what a link of it leads to
        """
        ...

    def glob(self, folder: PurePosixPath, pattern: str) -> list[PurePosixPath]:
        """The files below ``folder`` that match ``pattern`` (``*``, ``?``, ``[…]`` and ``**``), sorted.

        As in a shell, hidden files and folders match only a pattern that has a part with a leading dot. What is
        in git's own folder matches none: it is no part of the campaign.
        """
        ...


def within(folder: PurePosixPath, path: str) -> PurePosixPath:
    """``path``, written relative to ``folder``, as a path relative to the root.

    :raises OutsideRoot: if it is absolute or climbs out of the root, or no file can have such a name
    """
    written = PurePosixPath(path)
    if written.is_absolute() or "\\" in path or not can_be_a_name(path):
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
    """The campaign's files on disk.

    :param ignored: finds what git ignores, which no job reads; None where what is read was checked before
    :param listed: tells of a path that a policy lets jobs read all the same
    """

    def __init__(
        self,
        root: Path,
        *,
        ignored: IgnoreRules | None = None,
        listed: Callable[[PurePosixPath], bool] = lambda path: False,
    ) -> None:
        self.root: Path = Path(os.path.realpath(root))
        self._ignored, self._listed = ignored, listed

    def read(self, path: PurePosixPath, *, limit: int, named: bool = False) -> bytes:
        return read_start(self._open(path, named=named), limit)

    def _open(self, path: PurePosixPath, *, named: bool = False) -> int:
        descriptor = open_in(self.root, path)
        try:
            found = locate(self.root, path)
            if not (named and found == path) and not self._kept([found]):
                raise Withheld(
                    "git ignores it",
                    str(path),
                    f"add it to git, or let jobs read it: ignored_files: [{found}] in policy.yaml",
                )
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _kept(self, paths: list[PurePosixPath]) -> list[PurePosixPath]:
        """Those that git does not ignore, or a policy lists all the same."""
        try:
            ignored = set() if self._ignored is None else self._ignored.among(paths)
        except Withheld:  # git can't say; a policy that lists the files can
            if all(map(self._listed, paths)):
                return paths
            raise
        return [path for path in paths if path not in ignored or self._listed(path)]

    def glob(self, folder: PurePosixPath, pattern: str) -> list[PurePosixPath]:
        found = matching(pattern_parts(folder, pattern), self._entries, self._end)
        kept = self._kept(found)
        if found and not kept:
            raise Withheld(
                f"git ignores every file that matches ({len(found)})",  # their names are not for everybody
                pattern,
                "add them to git, or list them in policy.yaml under ignored_files",
            )
        return kept

    def _entries(self, folder: str) -> list[tuple[str, int]]:
        """What is in a folder and a job may look at: the name, and whether it is a file, a folder or a link."""
        try:
            with os.scandir(self.root / folder) as found:
                return [(entry.name, _kind(entry)) for entry in found if find_closed(entry.name) is None]
        except OSError:
            return []

    def _end(self, path: str) -> int:
        """What a path leads to; 0 for nothing that a job may look at, as at the end of a link that leads out."""
        try:
            check_open_to_jobs(PurePosixPath(path.rpartition("/")[2]))  # the folders above it were checked on the way
            found = locate(self.root, path)
            check_open_to_jobs(found)
            return stat.S_IFMT(os.lstat(self.root / found).st_mode)
        except (OSError, OutsideRoot, ValueError):
            return 0


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    return stat.S_IFREG if entry.is_file(follow_symlinks=False) else 0


def matching(
    parts: tuple[str, ...], entries: Callable[[str], Iterable[tuple[str, int]]], end: Callable[[str], int]
) -> list[PurePosixPath]:
    """The regular files of a tree that match a pattern, in order. Each folder is looked at once for each part of it.

    :param entries: what is in a folder, which is given with a slash at its end: the name, and whether it is a file, a
        folder or a link
    :param end: what a path leads to; 0 for nothing that a job may look at
    """
    hidden = any(part.startswith(".") for part in parts)
    found: set[str] = set()
    left, seen = [("", 0)], set[tuple[str, int]]()
    entries = cache(entries)
    while left:  # not by recursion: a stranger's folders may lie two thousand deep
        at, index = left.pop()
        if (at, index) in seen:
            continue
        seen.add((at, index))
        part, last = parts[index], index == len(parts) - 1
        if part == "**":  # as the last part it names folders only
            if not last:
                left.append((at, index + 1))
                below = (name for name, kind in entries(at) if kind == stat.S_IFDIR)
                left += [(f"{at}{name}/", index) for name in below if hidden or not name.startswith(".")]
            continue
        literal = not any(character in part for character in "*?[")
        fitting = [(name, kind) for name, kind in entries(at) if fnmatchcase(name, part)] if not literal else []
        for name, kind in [(part, stat.S_IFLNK)] if literal else fitting:
            ends = end(at + name) if kind == stat.S_IFLNK else kind
            if last and ends == stat.S_IFREG:
                found.add(at + name)
            elif not last and ends == stat.S_IFDIR:
                left.append((f"{at}{name}/", index + 1))
    names = (name for name in found if hidden or "/." not in f"/{name}")
    return [PurePosixPath(name) for name in sorted(names, key=lambda name: name.split("/"))]


def pattern_parts(folder: PurePosixPath, pattern: str) -> tuple[str, ...]:
    """The parts of a pattern written relative to ``folder``, as a pattern relative to the root.

    :raises OutsideRoot: it climbs out of the root
    :raises ValueError: it is no pattern
    """
    parts = within(PurePosixPath(*map(escape, folder.parts)), pattern).parts
    if not parts:
        raise ValueError("Unacceptable pattern: it names no file")
    if any("**" in part and part != "**" for part in parts):
        raise ValueError("Invalid pattern: '**' can only be an entire path component")  # as Path.glob says it
    return parts


def from_here(path: Path) -> str:
    """A path as it is named from the working folder, if it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def campaign_root(job: Path) -> Path:
    """The git top level around a job file, else the job file's folder."""
    folder = Path(os.path.abspath(job)).parent  # noqa: PTH100  (Path.absolute keeps "..")
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return folder


def place_of(file: Path) -> tuple[Path, PurePosixPath]:
    """The root of the campaign around a file, and the file's path in it, as the two are written."""
    root = campaign_root(file)
    absolute = Path(os.path.abspath(file))  # noqa: PTH100  (Path.absolute keeps "..")
    return root, PurePosixPath(absolute.relative_to(root).as_posix())


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
                found = candidate / _path_in(found)
            shared = found / "commondir"
            if shared.is_file():
                found = found / _path_in(shared)
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


def _path_in(file: Path) -> str:
    """The path that a file of git's names, as ``gitdir: ../.git/worktrees/second``.

    :raises OSError: it can't be read
    """
    written = read_start(file, _LONGEST_PATH).decode("utf-8", "surrogateescape")
    return written.strip().removeprefix("gitdir:").strip()


def worktrees(common: Path) -> list[Path]:
    """The top folders of a repository's worktrees that are at hand, the main one first."""
    found = [common.parent] if common.name == ".git" else []
    for gitdir in sorted(common.glob("worktrees/*/gitdir")):
        try:
            found.append(Path(_path_in(gitdir)).parent)
        except OSError:
            continue
    return [top for top in found if (top / ".git").exists()]
