"""Finds a campaign's ``policy.yaml``.

A change is held against the policy of the branch it goes to, never against the one it brings along: with ``--base``
the base revision's file counts, without it the work tree's.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from seedream_jobs.errors import UsageError
from seedream_jobs.job.files import Files, OutsideRoot, WorkTree
from seedream_jobs.job.yaml_reader import MAX_BYTES, read_bytes
from seedream_jobs.plan.policy import Policy
from seedream_jobs.plan.policy_reader import read_policy

POLICY_FILE = "policy.yaml"
"""Where a campaign's policy lies, below its root."""

PolicyOf = Callable[[Path], "Policy | None"]
"""The policy of a campaign, given its root (absolute); None if it has none."""


def named_policy(file: Path, *, today: datetime.date) -> PolicyOf:
    """The policy in a file that the operator named, for every campaign.

    :raises UsageError: there is no such file
    :raises FindingsError: with every finding in it
    """

    policy = read_policy(read_bytes(file, str(file)), str(file), today=today)
    return lambda root: policy


def policy_of_work_tree(*, today: datetime.date) -> PolicyOf:
    """Each campaign's own policy, as it lies on disk."""
    return policy_of_tree(WorkTree, shown=_from_here, today=today)


def policy_of_tree(tree: Callable[[Path], Files], *, shown: Callable[[Path], str], today: datetime.date) -> PolicyOf:
    """Each campaign's policy in a tree, such as that of the base revision.

    :param tree: a campaign's files, given its root
    :param shown: how findings name the policy of a campaign, given its root
    """
    known: dict[Path, Policy | None] = {}

    def policy_of(root: Path) -> Policy | None:
        if root not in known:
            known[root] = _read(tree(root), shown(root), today)
        return known[root]

    return policy_of


def _from_here(root: Path) -> str:
    file = root / POLICY_FILE
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _read(files: Files, shown: str, today: datetime.date) -> Policy | None:
    try:
        raw = files.read(PurePosixPath(POLICY_FILE), limit=MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, OutsideRoot) as error:
        # A policy that can't be read is not a policy that allows everything.
        raise UsageError(f"{shown} can't be read: {getattr(error, 'strerror', None) or error}") from None

    return read_policy(raw, shown, today=today)
