"""Opens the service a command speaks to: the real one with the key, or the emulator on a port of its own."""

from __future__ import annotations

import os
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from seedream_jobs.pipeline import Target
    from seedream_jobs.run.cadence import Cadence
    from seedream_jobs.run.connection import Access

EMULATOR_KEY = "emulator"
EMULATOR_DELAY = 1.0
"""Seconds that a task of the built-in emulator takes: long enough to be seen, short enough for a rehearsal."""


def open_access(where: Target, root: Path, stack: ExitStack, *, base_url: str | None) -> Access:
    """What opens the service; starts the emulator, which ``stack`` stops.

    :param root: the campaign's root
    :raises CredentialsError: there is no key
    :raises UsageError: a file is where the emulator keeps its books
    """
    from seedream_jobs.api.credentials import ApiKey, endpoint, find_endpoint, find_key
    from seedream_jobs.api.masking import keep_out
    from seedream_jobs.run.connection import Access

    if not where.emulator:
        key = find_key(os.environ, root)
        keep_out(key.reveal())
        return Access(endpoint=find_endpoint(base_url, os.environ), key=key)
    from seedream_jobs.emulator.server import EmulatorServer
    from seedream_jobs.emulator.settings import Settings
    from seedream_jobs.ledger.paths import STATE_FOLDER, in_the_way

    state = root / STATE_FOLDER / "emulator" / "service"
    if (refusal := in_the_way(state)) is not None:
        raise refusal
    settings = Settings(state=state, delay=EMULATOR_DELAY, balance=Decimal(1_000_000))
    server = stack.enter_context(EmulatorServer(settings))
    return Access(endpoint=endpoint(server.url), key=ApiKey(EMULATOR_KEY))


def rehearsal_cadence(random: Random) -> Cadence:
    """When to ask the built-in emulator for a task: its tasks take a second, not forty."""
    from seedream_jobs.run.cadence import Cadence

    return Cadence(random, pace=EMULATOR_DELAY / 20)
