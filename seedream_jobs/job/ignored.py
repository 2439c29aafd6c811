"""This module finds what git ignores in a campaign: the files that no job reads unless a policy lists them.

Called by whoever opens a campaign's files for a job. Invariant: where git can't say, a file is withheld.
"""

from __future__ import annotations

import os
import shutil
import threading
import weakref
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from seedream_jobs.errors import UsageError
from seedream_jobs.inside import Withheld
from seedream_jobs.job.files import WorkTree
from seedream_jobs.job.git import start_git

if TYPE_CHECKING:
    from subprocess import Popen

PATIENCE = 10.0
"""Seconds after which git is given up."""

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
        self._outside = not _is_repository(self._root)
        self._process: Popen[bytes] | None = None
        self._known: dict[PurePosixPath, bool] = {}
        self._below: dict[PurePosixPath, IgnoreRules] = {}

    def ignores(self, path: PurePosixPath) -> bool:
        """Whether git ignores a file, given relative to the root.

        :raises Withheld: git can't say
        """
        if path not in self._known:
            self._known[path] = self._ask(path)
        return self._known[path]

    def _ask(self, path: PurePosixPath) -> bool:
        for folder in path.parents[:-1]:  # a submodule, or another repository, has rules of its own
            if _is_repository(self._root / folder):
                below = self._below.setdefault(folder, IgnoreRules(self._root / folder))
                return below.ignores(path.relative_to(folder))
        if self._outside:
            return False
        try:
            process = self._process or self._start()
        except UsageError as refusal:
            if shutil.which("git") is not None:
                raise Withheld(
                    f"git can't say whether it ignores the file: {refusal.message}", str(path), _HINT
                ) from None
            self._outside = True  # what git leaves alone is for no one to say, and no tree can take git away
            return False
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(PATIENCE, process.kill)  # a rule of many stars may take git longer than anyone waits
        late.start()
        try:
            process.stdin.write(os.fsencode(f"./{path}") + b"\0")
            process.stdin.flush()
            words = [_word(process) for _ in range(4)]  # source, line, pattern, path
        except OSError:
            words = []
        finally:
            late.cancel()
        if len(words) < 4 or words[3] is None:
            self._process = None
            _end(process)
            raise Withheld("git can't say whether it ignores the file", str(path), _HINT)
        pattern = words[2] or b""
        return bool(pattern) and not pattern.startswith(b"!")

    def _start(self) -> Popen[bytes]:
        process = start_git(self._root, "check-ignore", "--stdin", "-z", "--verbose", "--non-matching")
        weakref.finalize(self, _end, process)
        self._process = process
        return process


def _is_repository(folder: Path) -> bool:
    return (folder / ".git" / "HEAD").is_file() or (folder / ".git").is_file()


def _word(process: Popen[bytes]) -> bytes | None:
    """A word of the answer, up to its NUL; None where git has ended."""
    assert process.stdout is not None
    word = bytearray()
    while (byte := process.stdout.read(1)) != b"\0":
        if not byte:
            return None
        word += byte
    return bytes(word)


def _end(process: Popen[bytes]) -> None:
    if process.stdin is not None and process.stdout is not None:
        try:
            process.stdin.close()
        except OSError:
            process.kill()
        process.stdout.close()
    process.wait()
