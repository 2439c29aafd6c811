"""This module takes a lock for a whole run in a git remote, for teams that share no store.

Called by ``pipeline.run`` and ``shared lock``. The lock is a ref that is created only where it is not there, so that of
several who push it one does; the commit it names says who that is. Invariant: it never expires; whoever is gone with it
left it for a person to remove.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seedream_jobs.claims.store import holder
from seedream_jobs.errors import HeldError, SeedreamError, UnfinishedError, UsageError
from seedream_jobs.foreign_text import one_line, shell_word, without_credentials
from seedream_jobs.job.git import push_git, said
from seedream_jobs.ledger.codec import iso

REF = "refs/seedream-jobs/lock"


@dataclass(frozen=True, slots=True)
class GitLock:
    """A lock that this clone holds.

    :param commit: what the ref names; unique
    """

    root: Path
    remote: str
    commit: str

    def release(self) -> None:
        """Remove the ref, if it is still this lock's.

        :raises UnfinishedError: it can't be removed now
        """
        ended = push_git(self.root, "push", f"--force-with-lease={REF}:{self.commit}", "--", self.remote, f":{REF}")
        if ended.returncode and _standing(self.root, self.remote) in (self.commit, None):
            hint = f"until it is removed others are refused: {_removal(self)}"
            where = without_credentials(self.remote)
            raise UnfinishedError(f"the lock in {where} can't be removed: {said(ended)}", hint=hint)


def take_git_lock(root: Path, remote: str, *, command: str, now: int) -> GitLock:
    """Create the lock.

    :param root: the campaign's root, a repository
    :param remote: a remote's name, or an address
    :param command: as others are told
    :param now: Unix seconds
    :raises HeldError: somebody else has it; says who, and how it is removed where they are gone
    :raises UnfinishedError: the remote can't be asked
    """
    tree = push_git(root, "mktree", stdin=b"")
    text = f"{holder()}, {iso(now)}: {one_line(command, 200)}\n\n{secrets.token_hex(16)}\n"
    made = push_git(root, "commit-tree", tree.stdout.decode().strip(), stdin=text.encode())
    if made.returncode:
        raise UsageError(f"no lock can be made in {root}: {said(made)}", hint="--git-lock needs a git repository")
    lock = GitLock(root, remote, made.stdout.decode().strip())
    # An empty lease: the ref must not be there.
    pushed = push_git(root, "push", f"--force-with-lease={REF}:", "--", remote, f"{lock.commit}:{REF}")
    if not pushed.returncode:
        return lock
    standing, where = _standing(root, remote), without_credentials(remote)
    if standing == lock.commit:  # it was pushed, and the reply was lost
        return lock
    if not standing:
        raise UnfinishedError(
            f"the lock can't be pushed to {where}: {said(pushed)}", hint="see that you may push there"
        )
    push_git(root, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", remote, REF)
    log = push_git(root, "log", "-1", "--format=%s", "--end-of-options", standing)
    who = one_line(log.stdout.decode("utf-8", "replace"), 200) or standing
    removal = _removal(GitLock(root, remote, standing))
    hint = f"wait until it has ended and its record is pushed. If it is gone: {removal}"
    raise HeldError(f"another run holds the lock in {where}: {who}", hint=hint)


@contextmanager
def git_locked(
    root: Path, remote: str, *, command: str, now: int, failed: Callable[[SeedreamError], None]
) -> Iterator[None]:
    """Hold the lock as long as the block is entered.

    :param failed: is told that it can't be removed; it is not raised, so that it hides nothing of how the block ended
    """
    lock = take_git_lock(root, remote, command=command, now=now)
    try:
        yield
    finally:
        try:
            lock.release()
        except SeedreamError as error:
            failed(error)


def _standing(root: Path, remote: str) -> str | None:
    """What the ref names; empty where it is not there, None where the remote can't be asked."""
    listed = push_git(root, "ls-remote", "--", remote, REF)
    return None if listed.returncode else listed.stdout.decode("ascii", "replace").partition("\t")[0]


def _removal(lock: GitLock) -> str:
    return f"git push --force-with-lease={REF}:{lock.commit} {shell_word(without_credentials(lock.remote))} :{REF}"
