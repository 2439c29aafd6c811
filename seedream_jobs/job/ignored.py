"""This module finds what git ignores in a campaign: the files that no job reads unless a policy lists them.

Called by whoever opens a campaign's files for a job. Invariant: where git can't say, a file is withheld.
"""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from seedream_jobs.errors import UsageError
from seedream_jobs.inside import Withheld
from seedream_jobs.job.files import WorkTree
from seedream_jobs.job.git import ended_after, start_git

if TYPE_CHECKING:
    from subprocess import Popen

PATIENCE = 10.0
"""Seconds after which git is given up."""
_BATCH = 8 << 10
"""Bytes of paths that git is asked about at once: less than a pipe holds, so that neither waits for the other."""

_HINT = "git check-ignore -v FILE shows why"


def checked_tree(root: Path) -> WorkTree:
    """A campaign's files on disk, but for those that git ignores."""
    return WorkTree(root, ignored=IgnoreRules(root))


class IgnoreRules:
    """Finds what git ignores in a campaign. One ``git check-ignore`` answers for all files, and is ended with this.

    What is tracked is not ignored, whatever the rules say. Outside git, and where there is no git, nothing is ignored.

    :param root: the campaign's
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.realpath(root))
        self._outside = not is_repository(self._root)
        self._process: Popen[bytes] | None = None
        self._known: dict[PurePosixPath, bool] = {}
        # For each folder the repository below the root that it is in, which has rules of its own; None where in none.
        self._below: dict[PurePosixPath, tuple[IgnoreRules, PurePosixPath] | None] = {PurePosixPath(): None}

    def among(self, paths: Sequence[PurePosixPath]) -> set[PurePosixPath]:
        """Those of some files, given relative to the root, that git ignores.

        :raises Withheld: git can't say
        """
        own: list[PurePosixPath] = []
        others: dict[IgnoreRules, dict[PurePosixPath, PurePosixPath]] = {}
        for path in paths:
            if path not in self._known:
                if (below := self._repository_of(path.parent)) is None:
                    own.append(path)
                else:
                    others.setdefault(below[0], {})[path.relative_to(below[1])] = path
        ignored = self._ask(own)
        self._known.update((path, path in ignored) for path in own)
        for rules, files in others.items():
            ignored = rules.among(list(files))
            self._known.update((path, file in ignored) for file, path in files.items())
        return {path for path in paths if self._known[path]}

    def _repository_of(self, folder: PurePosixPath) -> tuple[IgnoreRules, PurePosixPath] | None:
        unseen: list[PurePosixPath] = []
        while folder not in self._below:
            unseen.append(folder)
            folder = folder.parent
        found = self._below[folder]
        for folder in reversed(unseen):
            if is_repository(self._root / folder):
                found = IgnoreRules(self._root / folder), folder
            self._below[folder] = found
        return found

    def _ask(self, paths: Iterable[PurePosixPath]) -> set[PurePosixPath]:
        found: set[PurePosixPath] = set()
        for batch in _batches(paths):
            try:
                process = None if self._outside else self._process or self._start()
            except UsageError as refusal:
                if shutil.which("git") is not None:
                    raise Withheld(
                        f"git can't say whether it ignores the file: {refusal.message}", str(batch[0]), _HINT
                    ) from None
                self._outside = True  # what git leaves alone is for no one to say, and no tree can take git away
                process = None
            if process is not None:
                found.update(self._answers(process, batch))
        return found

    def _answers(self, process: Popen[bytes], batch: Sequence[PurePosixPath]) -> Iterator[PurePosixPath]:
        assert process.stdin is not None
        try:
            with ended_after(PATIENCE, process):  # a rule of many stars may take git longer than anyone waits
                process.stdin.write(b"".join(os.fsencode(f"./{path}") + b"\0" for path in batch))
                process.stdin.flush()
                words = _words(process, 4 * len(batch))
        except OSError:
            words = []
        if len(words) < 4 * len(batch):
            self._process = None
            _end(process)
            raise Withheld("git can't say whether it ignores the file", str(batch[0]), _HINT)
        for path, pattern in zip(batch, words[2::4], strict=True):  # source, line, pattern, path
            if pattern and not pattern.startswith(b"!"):
                yield path

    def _start(self) -> Popen[bytes]:
        process = start_git(self._root, "check-ignore", "--stdin", "-z", "--verbose", "--non-matching")
        weakref.finalize(self, _end, process)
        self._process = process
        return process


def is_repository(folder: Path) -> bool:
    """Whether git has its folder in this one, so that its rules hold here."""
    return (folder / ".git" / "HEAD").is_file() or (folder / ".git").is_file()


def _batches(paths: Iterable[PurePosixPath]) -> Iterator[list[PurePosixPath]]:
    batch: list[PurePosixPath] = []
    size = 0
    for path in paths:
        length = len(os.fsencode(path)) + 3
        if batch and size + length > _BATCH:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += length
    if batch:
        yield batch


def _words(process: Popen[bytes], count: int) -> list[bytes]:
    """So many words of the answer, each up to its NUL; less where git has ended."""
    assert process.stdout is not None
    pieces: list[bytes] = []
    while count > 0 and (piece := os.read(process.stdout.fileno(), 1 << 16)):
        pieces.append(piece)
        count -= piece.count(b"\0")
    return b"".join(pieces).split(b"\0")[:-1]


def _end(process: Popen[bytes]) -> None:
    if process.stdin is not None and process.stdout is not None:
        try:
            process.stdin.close()
        except OSError:
            process.kill()
        process.stdout.close()
    process.wait()
