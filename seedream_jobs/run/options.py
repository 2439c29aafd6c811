"""This module holds what an operator asks of a run: how fast, how long, and what is done beside submitting.

Called by the commands, which make a ``RunOptions`` of their options. Invariant: importing it costs nothing, so that
``--help`` does not import the network libraries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from seedream_jobs.errors import UsageError

DEADLINE_SECONDS = 1800.0
"""How long each task is asked for, unless ``--deadline`` says otherwise."""

_RATE = re.compile(r"\s*([0-9]{1,6})\s*/\s*(s|sec|second|m|min|minute|h|hour)\s*", re.ASCII)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most ``count`` POSTs in ``seconds``."""

    count: int
    seconds: float

    @property
    def interval(self) -> float:
        """Seconds between two POSTs that are evenly spread."""
        return self.seconds / self.count

    @property
    def burst(self) -> int:
        """POSTs that may leave at once: a tenth of a second's worth, so that a coarse timer doesn't lower the rate."""
        return max(1, int(0.1 / self.interval))


def parse_rate(text: str) -> Rate:
    """Read ``60/m``, ``2/s`` or ``100/h``.

    :raises UsageError: for anything else, and for a count of 0
    """
    match = _RATE.fullmatch(text.lower())
    count = int(match.group(1)) if match else 0
    if match is None or count == 0:
        raise UsageError(f"--rate: '{text}' is not a rate", hint="write a count and a unit, such as 60/m, 2/s or 100/h")
    return Rate(count=count, seconds=_SECONDS[match.group(2)[0]])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a command uses the service, by the options' names; what it submits is in the plan.

    :param concurrency: POSTs, and downloads, under way at once
    :param rate: the most POSTs in a time; None for no limit
    :param deadline: seconds that each task is asked for, and that downloads may go on without a further image
    :param git_lock: the git remote in which the run takes a lock; None for none
    :param local: images get a name on this disk, also where a store has them
    :param pace: all waits for tasks are this many times as long as the service advises; below 1 for an emulator
    """

    concurrency: int
    rate: Rate | None = None
    deadline: float
    pace: float = 1.0
    detach: bool = False
    upload_references: bool = False
    check_balance: bool = False
    embed_metadata: bool = False
    local: bool = True
    retry_server_errors: bool = False
    git_lock: str | None = None
