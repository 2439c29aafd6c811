"""This module reads a campaign's tree at a git revision without a checkout, and finds the files two trees differ in.

Called by ``plan.review`` and the pipeline. Invariant: objects come from ``git cat-file --batch`` as they are stored. No
filter, no hook and no network is involved, so a large file kept elsewhere (Git LFS) is its pointer here, and an object
that a partial clone lacks is missing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Self

from seedream_jobs.diagnostics import Diagnostic, Severity, Span
from seedream_jobs.errors import UsageError
from seedream_jobs.job.files import Files, OutsideRoot, campaign_root, git_environment, within
from seedream_jobs.plan.plan import Revision

_LINKS = 40
"""How many symbolic links are followed in one path, as Linux does."""

# No prompt, no lock on the index, no download of missing objects: a plan only reads. What a person named stands behind
# --end-of-options, or is an object id, so that it is never taken for an option.
_QUIET = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false")


class Blob(NamedTuple):
    """A file of a tree; the mode ``120000`` is a symbolic link."""

    mode: str
    oid: str


class Repository:
    """The git repository around a campaign. One ``git cat-file`` serves all reads; ``close`` ends it.

    :param root: a folder in the repository, its top level for the trees' paths to fit
    :param environment: handed to git
    :raises UsageError: there is no git, or no repository
    """

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self.root = root
        self._environment = {**git_environment(environment), **_QUIET}
        self._batch: subprocess.Popen[bytes] | None = None
        ended = self._run("rev-parse", "--show-toplevel")
        if ended.returncode != 0:
            said = _said(ended)
            if "not a git repository" in said:
                raise UsageError(
                    f"{root} is not in a git repository, so there is no revision to compare with",
                    hint="leave out --base, or git init",
                )
            raise UsageError(f"git can't read the repository of {root}: {said}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process that reads objects."""
        if self._batch is not None:
            self._batch.communicate()
            self._batch = None

    def revision(self, name: str) -> Revision:
        """Resolve a revision to its commit.

        :raises UsageError: there is no such revision here, or it is no commit
        """
        ended = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if ended.returncode == 0:
            commit = ended.stdout.decode().strip()
            if self._run("cat-file", "-e", f"{commit}^{{tree}}").returncode == 0:
                return Revision(name=name, commit=commit)
        if self._run("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
            raise UsageError(
                f"the revision {name!r} is not in this shallow clone",
                hint="git fetch --unshallow, or fetch-depth: 0 where CI checks out",
            )
        raise UsageError(f"unknown revision {name!r}", hint="git fetch, then git log shows what there is")

    def tree(self, revision: Revision) -> GitTree:
        """The files of a commit."""
        return GitTree(self, revision)

    def entries(self, commit: str) -> dict[PurePosixPath, Blob]:
        """Every file and symbolic link of a commit, by its path from the top; submodules are left out."""
        ended = self._run("ls-tree", "-r", "-z", "--full-tree", commit)
        if ended.returncode != 0:
            raise UsageError(f"git can't list the files of {commit[:12]}: {_said(ended)}")
        found: dict[PurePosixPath, Blob] = {}
        for line in ended.stdout.split(b"\0"):
            if line:
                fields, path = line.split(b"\t", 1)
                mode, kind, oid = fields.decode().split()
                if kind == "blob":
                    found[PurePosixPath(path.decode("utf-8", "surrogateescape"))] = Blob(mode, oid)
        return found

    def changed(self, base: Revision, head: Revision | None) -> frozenset[PurePosixPath]:
        """The paths that differ between two commits, or between a commit and the work tree with its untracked files."""
        if head is not None:
            return self._paths("diff-tree", "-r", "-z", "--name-only", "--no-renames", base.commit, head.commit)
        tracked = self._paths("diff", "-z", "--name-only", "--no-renames", "--no-ext-diff", base.commit, "--")
        return tracked | self._paths("ls-files", "-z", "--others", "--exclude-standard", "--full-name")

    def present(self) -> frozenset[PurePosixPath]:
        """The files of the work tree that are not ignored."""
        words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--full-name")
        # git also lists the files that were deleted in the work tree.
        return frozenset(path for path in self._paths(*words) if (self.root / path).is_file())

    def blob(self, oid: str) -> bytes:
        """The bytes of an object.

        :raises UsageError: it is not in this clone, a partial one
        :raises OSError: git broke off
        """
        batch = self._reader()
        assert batch.stdin is not None
        assert batch.stdout is not None
        try:
            batch.stdin.write(oid.encode() + b"\n")
            batch.stdin.flush()
        except BrokenPipeError:
            raise OSError(5, "git cat-file ended") from None
        header = batch.stdout.readline().split()
        if len(header) != 3:
            raise UsageError(
                f"the object {oid[:12]} is not in this clone (a partial one), and planning fetches nothing",
                hint="git fetch --refetch --no-filter, or clone without --filter",
            )
        data = batch.stdout.read(int(header[2]))
        batch.stdout.read(1)
        return data

    def _reader(self) -> subprocess.Popen[bytes]:
        if self._batch is None:  # one process reads all objects: a start of git for each file takes milliseconds
            self._batch = subprocess.Popen(
                [*_GIT, "cat-file", "--batch"],
                cwd=self.root,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._batch

    def _paths(self, *words: str) -> frozenset[PurePosixPath]:
        ended = self._run(*words)
        if ended.returncode != 0:
            raise UsageError(f"git can't compare the two trees: {_said(ended)}")
        names = (name.decode("utf-8", "surrogateescape") for name in ended.stdout.split(b"\0") if name)
        return frozenset(map(PurePosixPath, names))

    def _run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                [*_GIT, *words], cwd=self.root, env=self._environment, capture_output=True, check=False
            )
        except FileNotFoundError:
            raise UsageError(
                "git is not installed, and --base needs it", hint="install git, or leave out --base"
            ) from None


def ignored(
    manifests: Iterable[Path], root: Path, environment: Mapping[str, str], severity: Severity
) -> tuple[Diagnostic, ...]:
    """Find records that git ignores: what is paid would not be committed, and another clone would pay it again.

    Nothing is found where there is no repository, or git can't say. A tracked file is not ignored.

    :param root: the campaign's
    """
    paths = [os.path.relpath(path, root) for path in manifests]
    if not paths or not os.path.lexists(root / ".git"):
        return ()
    try:
        ended = subprocess.run(
            [*_GIT, "check-ignore", "--verbose", "-z", "--stdin"],
            cwd=root,
            env={**environment, **_QUIET},
            input=b"".join(os.fsencode(path) + b"\0" for path in paths),
            capture_output=True,
            check=False,
        )
    except OSError:
        return ()
    words = [os.fsdecode(word) for word in ended.stdout.split(b"\0")]
    found = []
    for source, number, pattern, path in zip(words[0::4], words[1::4], words[2::4], words[3::4], strict=False):
        if pattern.startswith("!"):  # git names this pattern, too, though it keeps the file from being ignored
            continue
        found.append(
            Diagnostic(
                code="record-ignored",
                severity=severity,
                message=f"git ignores {path} by {pattern!r}: what is paid would be in no commit, and be paid again",
                path=source,
                span=Span.of_line(int(number)),
                hint=f"remove the line {pattern!r} there; a record is committed with its job file",
            )
        )
    return tuple(found)


def _said(ended: subprocess.CompletedProcess[bytes]) -> str:
    lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ") if lines else f"exit code {ended.returncode}"


def repository_of(jobs: Sequence[Path], *, here: Path, environment: Mapping[str, str]) -> Repository:
    """The repository around the jobs named, else around ``here``. It is to be closed.

    :raises UsageError: there is none
    """
    return Repository(campaign_root(here / jobs[0] if jobs else here / "job.yaml"), environment)


class GitTree:
    """The files of one commit, read as ``Files`` reads those on disk. Paths are relative to the top level."""

    def __init__(self, repository: Repository, revision: Revision) -> None:
        self.revision = revision
        self._repository = repository
        self._blobs = repository.entries(revision.commit)
        self._folders = {parent for path in self._blobs for parent in path.parents}

    def paths(self) -> Iterable[PurePosixPath]:
        """Every file, in git's order."""
        return self._blobs.keys()

    def read(self, path: PurePosixPath, *, limit: int) -> bytes:
        return self._repository.blob(self._find(path).oid)[:limit]

    def size(self, path: PurePosixPath) -> int:
        return len(self._repository.blob(self._find(path).oid))

    def glob(self, folder: PurePosixPath, pattern: str) -> list[PurePosixPath]:
        parts = within(PurePosixPath(*(escape(part) for part in folder.parts)), pattern).parts
        if any("**" in part and part != "**" for part in parts):
            raise ValueError("Invalid pattern: '**' can only be an entire path component")  # as Path.glob says it
        hidden = any(part.startswith(".") for part in parts)
        return sorted(
            path
            for path in self._blobs
            if _matches(path.parts, parts)
            and (hidden or not any(part.startswith(".") for part in path.parts))
            and self._is_file(path)
        )

    def _is_file(self, path: PurePosixPath) -> bool:
        try:
            self._find(path)
        except (OSError, OutsideRoot):
            return False
        return True

    def _find(self, path: PurePosixPath) -> Blob:
        """The file at a path, symbolic links followed, with the errors of ``open``."""
        # Links are followed here, as git stores them as files. One that leaves the tree is refused, as on disk.
        rest, at, left = list(path.parts), PurePosixPath(), _LINKS
        while rest:
            part = rest.pop(0)
            if part == "..":
                if not at.parts:
                    raise OutsideRoot(str(path))
                at = at.parent
                continue
            step = at / part
            blob = self._blobs.get(step)
            if blob is None:
                if step not in self._folders:
                    raise FileNotFoundError(2, "No such file or directory", str(path))
                at = step
            elif blob.mode == "120000":
                left -= 1
                target = self._repository.blob(blob.oid).decode("utf-8", "surrogateescape")
                if left < 0:
                    raise OSError(40, "Too many levels of symbolic links", str(path))
                if target.startswith("/"):
                    raise OutsideRoot(str(path))
                rest = [*(one for one in PurePosixPath(target).parts if one != "."), *rest]
            elif rest:
                raise NotADirectoryError(20, "Not a directory", str(path))
            else:
                return blob
        raise IsADirectoryError(21, "Is a directory", str(path))


class Recording:
    """Files that record the paths that were read, whether they were found or not."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.read_paths: set[PurePosixPath] = set()

    def read(self, path: PurePosixPath, *, limit: int) -> bytes:
        self.read_paths.add(path)
        return self._files.read(path, limit=limit)

    def size(self, path: PurePosixPath) -> int:
        self.read_paths.add(path)
        return self._files.size(path)

    def glob(self, folder: PurePosixPath, pattern: str) -> list[PurePosixPath]:
        found = self._files.glob(folder, pattern)
        self.read_paths.update(found)
        return found


def _matches(path: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether a path fits a pattern of ``*``, ``?``, ``[…]`` and ``**``, as ``Path.glob`` has it."""
    if not pattern:
        return not path
    if pattern[0] == "**":  # as the last part it names folders only
        return len(pattern) > 1 and any(_matches(path[skipped:], pattern[1:]) for skipped in range(len(path)))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])
