"""``python -I -m seedream_jobs.scaffold`` prints where the script for CI lies; with ``--lock``, the locked versions.

With ``--stores`` it says, once those are installed, what the stores of the policy in this folder need: a line ``install
FILE`` for each client that is not there, ``check`` where the store of claims has not raced from this clone.

The package names its own dependencies by their hashes, so that CI installs them from nothing that a campaign holds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from seedream_jobs.resources import resource
from seedream_jobs.scaffold import CI_SCRIPT


def needs(root: Path) -> Iterator[str]:
    """The lines of ``--stores`` for a campaign. What is wrong with its policy is told by the run."""
    # Before the lock is installed there is nothing to read a policy with.
    import datetime
    from importlib.util import find_spec

    from seedream_jobs.claims.store import CLIENTS, extra_of
    from seedream_jobs.claims.trust import is_trusted
    from seedream_jobs.errors import SeedreamError
    from seedream_jobs.plans.policy import policy_of_tree

    try:
        policy = policy_of_tree(today=datetime.datetime.now(datetime.UTC).date())(root)
    except SeedreamError:
        return
    if policy is None:
        return
    for extra in sorted({extra_of(url) for url in (policy.claims, policy.images) if url}):
        if find_spec(CLIENTS[extra]) is None:
            yield f"install {resource('requirements', f'{extra}.txt')}"
    if policy.claims and not is_trusted(policy.claims, root):
        yield "check"


if __name__ == "__main__":
    if "--stores" in sys.argv:
        for line in needs(Path.cwd()):
            sys.stdout.write(f"{line}\n")
    else:
        sys.stdout.write(f"{resource('requirements', 'base.txt') if '--lock' in sys.argv else CI_SCRIPT}\n")
