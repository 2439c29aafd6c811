"""This module reads a campaign's tree at a git revision without a checkout, and finds the files two trees differ in.

Called by ``plans.review`` and the pipeline. Invariant: objects come from ``git cat-file --batch`` as they are stored.
No filter, no hook and no network is involved, so a large file kept elsewhere (Git LFS) is its pointer here, and an
object that a partial clone lacks is missing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from seedream_jobs.atomic_file import digest
from seedream_jobs.diagnostics import Diagnostic, Severity, Span
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.inside import OutsideRoot, check_open_to_jobs, find_closed, is_gits
from seedream_jobs.job import git
from seedream_jobs.job.files import LFS_POINTER, Files, campaign_root, matching, pattern_parts, within
from seedream_jobs.job.git import ended_after, run_git, said, start_git
from seedream_jobs.job.ignored import is_repository
from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.yaml_reader import MAX_BYTES, parse
from seedream_jobs.plans.plan import Revision

if TYPE_CHECKING:
    from subprocess import CompletedProcess, Popen

_LINKS = 40
"""How many symbolic links are followed in one path, as Linux does."""
_LONGEST_LINK = 4096
"""Bytes of a symbolic link, as Linux has it."""
_LINK = "120000"
"""The mode of a symbolic link."""


class Blob(NamedTuple):
    """A file of a tree; the mode ``120000`` is a symbolic link."""

    mode: str
    oid: str


_NO_FOLDER = Blob("100644", "")


class Repository:
    """The git repository around a campaign. One ``git cat-file`` serves all reads; ``close`` ends it.

    :param root: a folder in the repository, its top level for the trees' paths to fit
    :raises UsageError: there is no git, or no repository
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._batch: Popen[bytes] | None = None
        self._written: int | None = None
        ended = self._run("rev-parse", "--show-toplevel")
        if ended.returncode != 0:
            if "not a git repository" in said(ended):
                raise UsageError(
                    f"{root} is not in a git repository, so there is no revision to compare with",
                    hint="leave out --base, or git init",
                )
            raise UsageError(f"git can't read the repository of {root}: {said(ended)}")
        top = Path(os.fsdecode(ended.stdout.rstrip(b"\n")))
        if not top.is_dir() or not top.samefile(root):  # its paths would be those of another folder
            raise UsageError(
                f"git takes another folder than {root} for its work tree", hint="git config --unset core.worktree"
            )

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
            # A clone may know a commit's id and lack what it holds.
            ended = self._run("cat-file", "-e", f"{commit}^{{tree}}")
            if ended.returncode == 0:
                return Revision(name=name, commit=commit)
            if (lacks := _lacks(ended)) is not None:
                raise lacks
        if self._run("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
            raise UsageError(
                f"the revision {name!r} is not in this shallow clone",
                hint="git fetch --unshallow, or fetch-depth: 0 where CI checks out",
            )
        raise UsageError(f"unknown revision {name!r}", hint="git fetch, then git log shows what there is")

    def merge_base(self, base: Revision, head: Revision | None) -> Revision:
        """The commit that a head began from: what came to the base since is not the head's.

        :param head: None for the work tree
        :raises UsageError: the two have no commit in common here
        """
        ended = self._run("merge-base", base.commit, "HEAD" if head is None else head.commit)
        if ended.returncode == 0:
            return Revision(name=base.name, commit=ended.stdout.decode().strip())
        shallow = self._run("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        raise UsageError(
            f"{base.name!r} and {'HEAD' if head is None else repr(head.name)} have no commit in common here",
            hint="git fetch --unshallow, or fetch-depth: 0 where CI checks out" if shallow else "name another base",
        )

    def tree(self, revision: Revision) -> GitTree:
        """The files of a commit."""
        return GitTree(self, revision)

    def entries(self, commit: str) -> dict[PurePosixPath, Blob]:
        """Every file and symbolic link of a commit, by its path from the top; submodules are left out."""
        found: dict[PurePosixPath, Blob] = {}
        for line in self._bytes("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
            if line:
                fields, path = line.split(b"\t", 1)
                mode, kind, oid = fields.decode().split()
                named = PurePosixPath(path.decode("utf-8", "surrogateescape"))
                if ".." in named.parts or any(map(is_gits, named.parts)):  # made by hand: git makes and checks out none
                    raise UsageError(f"{commit[:12]} has a path that no checkout has: {named}", hint="git fsck")
                if kind == "blob":
                    found[named] = Blob(mode, oid)
        return found

    def changed(self, base: Revision, head: Revision | None) -> frozenset[PurePosixPath]:
        """The paths that differ between two commits, or between a commit and the work tree with its untracked files."""
        if head is not None:
            return self._paths("diff-tree", "-r", "-z", "--name-only", "--no-renames", base.commit, head.commit)
        found = set(self.untracked())
        before, index = self.entries(base.commit), self._index()
        for path in before.keys() | index.keys():
            was, entry = before.get(path), index.get(path)
            if was is None or entry is None or not self._is_as(was, entry, path):
                found.add(path)
        return frozenset(found)

    def untracked(self) -> frozenset[PurePosixPath]:
        """The files of the work tree that are in no commit and not ignored."""
        return self._paths("ls-files", "-z", "--others", "--exclude-standard", "--full-name")

    def _index(self) -> dict[PurePosixPath, _Indexed]:
        """The files of the index, with what git knows of those on disk. Of a conflict one side."""
        listed = self._bytes("ls-files", "-z", "--cached", "--stage", "--debug", "--full-name")
        found = list(_INDEXED.finditer(listed))
        # git promises no form for --debug: a listing that does not fit is refused, not guessed at.
        if len(found) != listed.count(b"\0"):
            raise UsageError("git lists its index in a way that is not known here", hint="use another version of git")
        files = {
            PurePosixPath(match["path"].decode("utf-8", "surrogateescape")): _Indexed(
                blob=Blob(match["mode"].decode(), match["oid"].decode()),
                changed_ns=int(match["csec"]) * 10**9 + int(match["cnsec"]),
                modified_ns=int(match["msec"]) * 10**9 + int(match["mnsec"]),
                inode=int(match["inode"]),
                size=int(match["size"]),
                flags=int(match["flags"], 16),
            )
            for match in found
        }
        return {path: entry for path, entry in files.items() if entry.blob.mode != "160000"}  # which is a submodule

    def _is_as(self, was: Blob, entry: _Indexed, path: PurePosixPath) -> bool:
        """Whether a file of the work tree is what a commit has.

        git's own comparison would run the filters that a repository's attributes and configuration name.
        """
        file = self.root / path
        if entry.flags & _NOT_CHECKED_OUT:
            return was.oid == entry.blob.oid
        try:
            now = file.lstat()
            link = stat.S_ISLNK(now.st_mode)
            if link != (was.mode == _LINK) or not (link or stat.S_ISREG(now.st_mode)):
                return False
            if entry.is_unchanged(now, self._index_written()):
                return was.oid == entry.blob.oid
            if link:
                return was.oid == _oid(os.fsencode(os.readlink(file)), was.oid)  # noqa: PTH115  (bytes as they are)
            return was.oid == _oid_of_file(file, now.st_size, was.oid) or self._is_converted(was, file, now.st_size)
        except OSError:
            return False

    def _is_converted(self, was: Blob, file: Path, size: int) -> bool:
        """Whether a file is what a commit has but for what git itself changes: line ends, and a pointer of Git LFS."""
        if size <= _MAX_TEXT and _oid(file.read_bytes().replace(b"\r\n", b"\n"), was.oid) == was.oid:
            return True
        try:
            stored = self.blob(was.oid, _MAX_POINTER)
        except UsageError:  # a partial clone, whose large files lie elsewhere
            return False
        return stored.startswith(LFS_POINTER) and b"oid sha256:%s\n" % digest(file).encode() in stored

    def _index_written(self) -> int:
        """When the index was written, ns. A file changed at that moment or later may have the times it notes."""
        if self._written is None:
            where = self._bytes("rev-parse", "--git-path", "index").decode("utf-8", "surrogateescape").rstrip("\n")
            self._written = (self.root / where).stat().st_mtime_ns
        return self._written

    def present(self) -> frozenset[PurePosixPath]:
        """The files of the work tree that are not ignored."""
        words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--full-name")
        # git also lists the files that were deleted in the work tree.
        return frozenset(path for path in self._paths(*words) if (self.root / path).is_file())

    def history(self, path: PurePosixPath, limit: int) -> list[str]:
        """The commits behind ``HEAD`` that changed a file, the newest first, at most ``limit``.

        :raises UsageError: this clone does not have the history
        """
        if self._run("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
            raise UsageError(
                "this clone is shallow: it does not say who changed a file last",
                hint="git fetch --unshallow, or fetch-depth: 0 where CI checks out",
            )
        ended = self._run("rev-list", f"--max-count={limit}", "HEAD", "--", f":(top,literal){path}")
        if ended.returncode != 0:
            raise UsageError(f"git can't say who changed {path} last: {said(ended)}")
        return ended.stdout.decode().split()

    def at(self, commit: str, path: PurePosixPath) -> bytes | None:
        """A file as a commit has it, its first bytes; None where the commit has none.

        :raises UsageError: git can't say, or this clone lacks it
        """
        listed = self._bytes("ls-tree", "-z", "--full-tree", commit, "--", str(path))
        found = re.match(rb"\d+ blob ([0-9a-f]+)\t", listed)
        return None if found is None else self.blob(found[1].decode(), MAX_BYTES + 1)

    def authors(self, commit: str) -> frozenset[str]:
        """Whose a commit is: names and addresses of its author, and of those whom it calls co-authors."""
        head, _, message = self.blob(commit).decode("utf-8", "replace").partition("\n\n")
        found = re.findall(r"(?m)^author (.*?) *<([^<>\n]*)>", head)
        found += re.findall(r"(?im)^co-authored-by: *(.*?) *<([^<>\n]*)>", message)
        return frozenset(name for person in found for name in person if name)

    def attributes(
        self, paths: Iterable[str], names: Iterable[str], revision: Revision | None
    ) -> dict[tuple[str, str], str]:
        """What git's attributes are, by (path, name); of the work tree where no revision is given."""
        given = b"".join(os.fsencode(path) + b"\0" for path in paths)
        words = ["check-attr", "-z", "--stdin", *names]
        with ExitStack() as stack:
            index: Path | None = None
            if revision is not None:  # attributes of a commit are read by way of an index of it, apart from the own one
                index = Path(stack.enter_context(TemporaryDirectory()), "index")
                run_git(self.root, "read-tree", revision.commit, index=index)
                words.insert(1, "--cached")
            ended = run_git(self.root, *words, stdin=given, index=index)
        if ended.returncode != 0:
            raise UsageError(f"git can't say the attributes of records: {said(ended)}")
        found = [os.fsdecode(word) for word in ended.stdout.split(b"\0")]
        return dict(zip(zip(found[0::3], found[1::3], strict=False), found[2::3], strict=False))

    def blob(self, oid: str, limit: int | None = None) -> bytes:
        """An object's first bytes: the rest of a large one is never in memory.

        :param limit: how many bytes; all of them by default
        :raises UsageError: it is not in this clone, a partial one; git broke off, or has not answered after
            ``git.SECONDS``
        """
        batch = self._reader()
        with ended_after(git.SECONDS, batch):
            found = self._read(batch, oid, limit)
        if found is None:
            self._batch = None
            batch.kill()
            batch.communicate()
            raise self._broken_off(oid)
        return found

    def _read(self, batch: Popen[bytes], oid: str, limit: int | None) -> bytes | None:
        """What git answers; None where it ended before its answer did."""
        assert batch.stdin is not None
        assert batch.stdout is not None
        try:
            batch.stdin.write(oid.encode() + b"\n")
            batch.stdin.flush()
        except BrokenPipeError:
            return None
        line = batch.stdout.readline()
        header = line.split()
        if not line.endswith(b"\n"):
            return None
        if len(header) != 3:
            raise _missing(oid)
        size = int(header[2])
        data = batch.stdout.read(size if limit is None else min(size, limit))
        # What is not wanted is read all the same: the next answer comes after it.
        left = size - len(data) + 1  # and the line's end
        while left and (piece := batch.stdout.read(min(left, 1 << 20))):
            left -= len(piece)
        return None if left else data

    def _broken_off(self, oid: str) -> UsageError:
        """Why git gave no answer, or half of one, about an object."""
        # No ``OSError``: to many a caller that is a file which is not there, and a job or a record would go unseen.
        ended = self._run("cat-file", "-e", oid)  # older versions of git end where a partial clone lacks an object
        if ended.returncode == 0:
            return UsageError("git broke off while it read a revision's files", hint="try again")
        return _lacks(ended) or UsageError(f"git can't read the object {oid[:12]}: {said(ended)}", hint="git fsck")

    def _reader(self) -> Popen[bytes]:
        if self._batch is None:  # one process reads all objects: a start of git for each file takes milliseconds
            self._batch = start_git(self.root, "cat-file", "--batch")
        return self._batch

    def _paths(self, *words: str) -> frozenset[PurePosixPath]:
        names = (name.decode("utf-8", "surrogateescape") for name in self._bytes(*words).split(b"\0") if name)
        return frozenset(map(PurePosixPath, names))

    def _bytes(self, *words: str) -> bytes:
        ended = self._run(*words)
        if ended.returncode != 0:
            raise _lacks(ended) or UsageError(f"git can't compare the two trees: {said(ended)}")
        return ended.stdout

    def _run(self, *words: str) -> CompletedProcess[bytes]:
        return run_git(self.root, *words)


def _missing(oid: str) -> UsageError:
    return UsageError(
        f"the object {oid[:12]} is not in this clone (a partial one), and planning fetches nothing",
        hint="git fetch --refetch --no-filter, or clone without --filter",
    )


def _lacks(ended: CompletedProcess[bytes]) -> UsageError | None:
    """The refusal that git means which would have fetched an object; None where it failed for another reason."""
    found = re.search(rb"could not fetch ([0-9a-f]+) from promisor remote", ended.stderr)
    return None if found is None else _missing(found[1].decode())


class _Indexed(NamedTuple):
    """A file as git's index has it, and as it lay on disk when git last looked."""

    blob: Blob
    changed_ns: int
    modified_ns: int
    inode: int
    size: int
    flags: int

    def is_unchanged(self, now: os.stat_result, written: int) -> bool:
        """Whether the file on disk is surely still the one that git looked at."""
        return (
            now.st_mtime_ns < written
            and (now.st_ctime_ns, now.st_mtime_ns) == (self.changed_ns, self.modified_ns)
            # The index keeps 32 bits of a size and of an inode's number.
            and now.st_size & 0xFFFFFFFF == self.size
            and now.st_ino & 0xFFFFFFFF == self.inode
        )


_INDEXED = re.compile(
    rb"(?P<mode>[0-7]+) (?P<oid>[0-9a-f]+) [0-3]\t(?P<path>[^\0]+)\0  ctime: (?P<csec>\d+):(?P<cnsec>\d+)\n"
    rb"  mtime: (?P<msec>\d+):(?P<mnsec>\d+)\n  dev: \d+\tino: (?P<inode>\d+)\n"
    rb"  uid: \d+\tgid: \d+\n  size: (?P<size>\d+)\tflags: (?P<flags>[0-9a-f]+)\n"
)
_NOT_CHECKED_OUT = 1 << 30
"""The flag of a file that a sparse checkout leaves out."""
_MAX_TEXT = 64 * 1024 * 1024
_MAX_POINTER = 1024
"""Bytes: a pointer of Git LFS is shorter, by its specification."""


def _hasher(size: int, like: str) -> hashlib._Hash:
    """The hash of a git object of so many bytes, in the format that an id has."""
    found = hashlib.sha256() if len(like) == 64 else hashlib.sha1(usedforsecurity=False)
    found.update(b"blob %d\0" % size)
    return found


def _oid(data: bytes, like: str) -> str:
    found = _hasher(len(data), like)
    found.update(data)
    return found.hexdigest()


def _oid_of_file(file: Path, size: int, like: str) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: _hasher(size, like)).hexdigest()


def ignored(
    manifests: Iterable[Path], root: Path, severity: Severity, tree: GitTree | None = None
) -> tuple[Diagnostic, ...]:
    """Find records that git ignores: what is paid would not be committed, and another clone would pay it again.

    Where git can't say, that is found. Nothing is found outside a repository, and where there is no git: no tree can
    take it away. A tracked file is not ignored.

    :param root: the campaign's
    :param tree: a commit, whose rules hold in place of the work tree's
    """
    paths = [os.path.relpath(path, root) for path in manifests]
    if not paths or not is_repository(root) or shutil.which("git") is None:
        return ()
    given = b"".join(os.fsencode(path) + b"\0" for path in paths)
    words, index = ["check-ignore", "--verbose", "-z", "--stdin"], None
    try:
        with ExitStack() as stack:
            if tree is not None:  # git knows rules of a work tree alone: one that has nothing else is made
                made = Path(stack.enter_context(TemporaryDirectory()))
                words.insert(0, f"--work-tree={made / 'tree'}")
                index = made / "index"
                for name, rules in ((PurePosixPath("here"), b""), *tree.ignore_files(paths)):
                    file = made / "tree" / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(rules)
                run_git(root, "read-tree", tree.revision.commit, index=index)
            ended = run_git(root, *words, stdin=given, index=index)
        trouble = said(ended) if ended.returncode > 1 or ended.returncode < 0 else ""
    except UsageError as refusal:
        trouble = refusal.message
    if trouble:
        message = f"git can't say whether it ignores the records: {trouble}"
        hint = "git check-ignore -v FILE shows why; a record that is in no commit is paid again by another clone"
        return (Diagnostic(code="record-ignored", severity=severity, message=message, path=paths[0], hint=hint),)
    words = [os.fsdecode(word) for word in ended.stdout.split(b"\0")]
    found, seen = [], set[tuple[str, str]]()
    for source, number, pattern, path in zip(words[0::4], words[1::4], words[2::4], words[3::4], strict=False):
        # git names this pattern, too, though it keeps the file from being ignored. The files of one record may all be.
        if pattern.startswith("!") or (len(paths) > 16 and (source, number) in seen):
            continue
        seen.add((source, number))
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


def repository_of(jobs: Sequence[Path], *, here: Path) -> Repository:
    """The repository around the jobs named, else around ``here``. It is to be closed.

    :raises UsageError: there is none
    """
    named = here / jobs[0] if jobs else here
    return Repository(campaign_root(named / "job.yaml" if named.is_dir() else named))


_COMMITS = 1_000
"""How many commits of a job file are looked at for the one that last changed its prompt."""


def prompt_authors(spec: JobSpec) -> frozenset[str]:
    """Who changed a job's prompt last, by name and by address, as git's commits say.

    It is whoever made the commit that brought the ``request``, ``vars`` and ``matrix`` of today (a commit that changes
    other parts of the job file does not count), and for each file that an axis is read from, whoever changed it last.

    :raises UsageError: git can't say: there is no repository, no history, or the prompt is in no commit yet
    """
    job = spec.folder / PurePosixPath(spec.document.path).name
    with Repository(spec.root) as repository:
        today, last = _asked(spec.document.data), None
        for commit in repository.history(job, _COMMITS):
            text = repository.at(commit, job)
            if text is None or _asked_in(text) != today:
                break
            last = commit
        if last is None:
            raise UsageError(
                f"{spec.document.path} asks for something else than in its last commit: nobody's prompt can be told",
                hint="commit it, then ask again",
            )
        found = set(repository.authors(last))
        for path in {file.path for axis in spec.axes for file in axis.files if file is not None}:
            for commit in repository.history(within(spec.folder, path), 1):
                found |= repository.authors(commit)
    return frozenset(found)


def _asked(data: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(data.get(name) for name in ("request", "vars", "matrix"))


def _asked_in(text: bytes) -> tuple[Any, ...] | None:
    try:
        return _asked(parse(text, "job").data)
    except FindingsError:
        return None


class GitTree:
    """The files of one commit, read as ``Files`` reads those on disk. Paths are relative to the top level."""

    def __init__(self, repository: Repository, revision: Revision) -> None:
        self.revision = revision
        self._repository = repository
        self._blobs = repository.entries(revision.commit)
        self._folders = {PurePosixPath(), *(parent for path in self._blobs for parent in path.parents)}
        self._names: dict[PurePosixPath, list[tuple[str, int]]] | None = None  # what is in each folder

    def paths(self) -> Iterable[PurePosixPath]:
        """Every file, in git's order."""
        return self._blobs.keys()

    def mode(self, path: PurePosixPath) -> str | None:
        """How git keeps what stands at a path, links not followed; None where there is no file and no link."""
        blob = self._blobs.get(path)
        return None if blob is None else blob.mode

    def read(self, path: PurePosixPath, *, limit: int, named: bool = False) -> bytes:  # no commit has what is ignored
        return self._repository.blob(self._find(path).oid, limit)

    def glob(self, folder: PurePosixPath, pattern: str) -> list[PurePosixPath]:
        return matching(pattern_parts(folder, pattern), self._entries, self._end)

    def _entries(self, folder: str) -> Iterable[tuple[str, int]]:
        if self._names is None:
            self._names = {}
            kinds = {path: stat.S_IFDIR for path in self._folders if path.parts}
            kinds |= {path: stat.S_IFLNK if blob.mode == _LINK else stat.S_IFREG for path, blob in self._blobs.items()}
            for path, kind in kinds.items():
                if find_closed(path.name) is None:
                    self._names.setdefault(path.parent, []).append((path.name, kind))
        try:
            return self._names.get(self._walk(PurePosixPath(folder))[0], ())
        except (OSError, OutsideRoot):
            return ()

    def _end(self, path: str) -> int:
        try:
            at, blob = self._walk(PurePosixPath(path))
            check_open_to_jobs(PurePosixPath(path.rpartition("/")[2]))
            check_open_to_jobs(at)
        except (OSError, OutsideRoot):
            return 0
        return stat.S_IFDIR if blob is None else stat.S_IFREG

    def check_folder(self, folder: PurePosixPath) -> None:
        """See that images can be written to a folder once this commit is checked out, as ``atomic_file`` does on disk.

        :raises UsageError: they can't
        """
        try:
            at, blob = self._walk(folder, made=True)
        except OutsideRoot:
            raise UsageError(
                f"{folder} leads out of the campaign's folder through a symbolic link", hint="remove the link"
            ) from None
        except NotADirectoryError:
            at, blob = folder, _NO_FOLDER
        except OSError as error:
            raise UsageError(f"the folder {folder} can't be made: {error.strerror}", hint="remove the link") from None
        if blob is not None:
            raise UsageError(f"{folder} is a file where a folder is needed", hint="move it out of the way")
        if any(map(is_gits, at.parts)):
            raise UsageError(f"{folder} leads into git's own folder", hint="name another folder, or remove the link")

    def ignore_files(self, paths: Iterable[str]) -> Iterator[tuple[PurePosixPath, bytes]]:
        """The files of ignore rules that hold for some paths."""
        for path in {above / ".gitignore" for one in paths for above in PurePosixPath(one).parents}:
            blob = self._blobs.get(path)
            if blob is not None and blob.mode != _LINK:  # git follows no link to rules
                yield path, self._repository.blob(blob.oid, MAX_BYTES)

    def _find(self, path: PurePosixPath) -> Blob:
        """The file at a path, symbolic links followed, with the errors of ``open``."""
        at, blob = self._walk(path)
        if blob is None:
            raise _error(errno.EISDIR, path)
        check_open_to_jobs(at)
        return blob

    def _walk(self, path: PurePosixPath, *, made: bool = False) -> tuple[PurePosixPath, Blob | None]:
        """Where a path ends, symbolic links followed, and the file there; None for a folder.

        :param made: what is not there is a folder that will be made
        :raises OSError: as ``open`` does
        :raises OutsideRoot: a link leads out of the tree
        """
        if path in self._folders:
            return path, None
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
                if step not in self._folders and not made:
                    raise _error(errno.ENOENT, path)
                at = step
            elif blob.mode == _LINK:
                left -= 1
                target = self._repository.blob(blob.oid, _LONGEST_LINK).decode("utf-8", "surrogateescape")
                if left < 0:
                    raise _error(errno.ELOOP, path)
                if target.startswith("/") or "\0" in target:
                    raise OutsideRoot(str(path))
                rest = [*(one for one in PurePosixPath(target).parts if one != "."), *rest]
            elif rest:
                raise _error(errno.ENOTDIR, path)
            else:
                return step, blob
        return at, None


def _error(number: int, path: PurePosixPath) -> OSError:
    return OSError(number, os.strerror(number), str(path))


class Recording:
    """Files that record the paths that were read, whether they were found or not."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.read_paths: set[PurePosixPath] = set()

    def read(self, path: PurePosixPath, *, limit: int, named: bool = False) -> bytes:
        self.read_paths.add(path)
        return self._files.read(path, limit=limit, named=named)

    def glob(self, folder: PurePosixPath, pattern: str) -> list[PurePosixPath]:
        found = self._files.glob(folder, pattern)
        self.read_paths.update(found)
        return found
