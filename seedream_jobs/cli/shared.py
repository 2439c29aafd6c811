"""``seedream-jobs shared``: the store in which the runners of a campaign share what they claim."""

from __future__ import annotations

import time
from pathlib import Path

import click

from seedream_jobs.claims.git_lock import GitLock, take_git_lock
from seedream_jobs.claims.store import open_store
from seedream_jobs.claims.trust import CREATORS, ROUNDS, check_store, is_trusted, open_trusted
from seedream_jobs.cli.options import current_root, policy_option, rules
from seedream_jobs.cli.streams import say
from seedream_jobs.errors import ExitCode, UsageError
from seedream_jobs.foreign_text import without_credentials
from seedream_jobs.job.files import git_common
from seedream_jobs.ledger.paths import SHARED
from seedream_jobs.plans.policy import POLICY_FILE

_REMOTE = click.argument("remote", metavar="REMOTE")


@click.group()
def shared() -> None:
    """Prepare the store in which runners share what they claim, or take the lock of a whole run.

    \b
    Examples:
      seedream-jobs shared init
      seedream-jobs shared lock origin
      seedream-jobs shared unlock origin
    """


@shared.command()
@policy_option
def init(policy: Path | None) -> int:
    """Prepare the store that the policy names under shared: claims.

    Creates what the store needs (a table, or an object that says the layout's version), then lets it race as
    doctor --shared does. May be called again.

    \b
    Examples:
      seedream-jobs shared init
    """
    root = current_root()
    url = claims_url(root, policy)
    # One that was prepared before and holds nothing now is lost, or not mounted: it is not begun anew.
    store = open_trusted(url, "campaign", root) if is_trusted(url, root) else open_store(url, "campaign")
    store.prepare()
    say(f"prepared   {url}")
    return check(url, root)


@shared.command()
@_REMOTE
def lock(remote: str) -> int:
    """Take the lock of run --git-lock until unlock REMOTE.

    Around a run and the push of its record, in CI.

    \b
    Examples:
      seedream-jobs shared lock origin
    """
    root = current_root()
    taken = take_git_lock(root, remote, command="shared lock", now=int(time.time()))
    note = _note(root)
    note.parent.mkdir(exist_ok=True)
    note.write_text(taken.commit)
    say(f"locked     {without_credentials(remote)}")
    return ExitCode.OK


@shared.command()
@_REMOTE
def unlock(remote: str) -> int:
    """Free the lock that this clone took.

    \b
    Examples:
      seedream-jobs shared unlock origin
    """
    root = current_root()
    note = _note(root)
    try:
        commit = note.read_text()
    except OSError:
        raise UsageError("this clone holds no lock", hint="seedream-jobs shared lock REMOTE") from None
    GitLock(root, remote, commit).release()
    note.unlink()
    say(f"unlocked   {without_credentials(remote)}")
    return ExitCode.OK


def _note(root: Path) -> Path:
    """Where this clone notes which lock is its own.

    :raises UsageError: there is no repository
    """
    common = git_common(root.resolve())
    if common is None:
        raise UsageError(f"{root} is no git repository", hint="a lock is a ref in a git remote")
    return common / SHARED / "git-lock"


def claims_url(root: Path, policy: Path | None) -> str:
    """The store that the policy names.

    :raises UsageError: it names none
    """
    found = rules(policy, ()).policy_of(root)
    if found is None or found.claims is None:
        raise UsageError(
            f"the policy names no store: there is no shared: claims in {POLICY_FILE}",
            hint="write shared: {claims: s3://BUCKET/PREFIX}, or gs://, az://, file:///FOLDER, postgresql://USER@HOST/DB",
        )
    return found.claims


def check(url: str, root: Path) -> int:
    """Let a store race; say what came of it."""
    check_store(url, root, now=int(time.time()))
    say(f"claims     {url}: {CREATORS} at once, {ROUNDS} times, and each time one got the claim")
    return ExitCode.OK
