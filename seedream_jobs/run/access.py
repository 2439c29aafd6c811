"""This module finds what opens the service: endpoint and key; or it starts the built-in emulator.

Called by ``pipeline``, ``open_tasks``, ``doctor`` and ``resolve --check``. Invariant: nothing is sent.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

from seedream_jobs.api.credentials import Access, ApiKey, endpoint, find_endpoint, find_key, keep_out
from seedream_jobs.atomic_file import in_the_way
from seedream_jobs.ledger.paths import STATE_FOLDER
from seedream_jobs.plan.load import Target

EMULATOR_DELAY = 1.0
"""Seconds that a task of the built-in emulator takes: long enough to be seen, short enough for a rehearsal."""
EMULATOR_PACE = EMULATOR_DELAY / 20
"""``RunOptions.pace`` for its tasks: those of the service take twenty seconds and more."""


def open_access(target: Target, root: Path, stack: ExitStack, *, base_url: str | None) -> Access:
    """Find the endpoint and the key, or start the emulator, which ``stack`` stops.

    :param root: the campaign's root
    :raises CredentialsError: there is no key
    :raises UsageError: a file is where the emulator keeps its books
    """
    if not target.emulator:
        key = find_key(os.environ, root)
        keep_out(key.reveal())
        return Access(endpoint=find_endpoint(base_url, os.environ), key=key)
    from seedream_jobs.emulator.server import EmulatorServer  # it imports uvicorn and starlette
    from seedream_jobs.emulator.settings import Settings

    state = root / STATE_FOLDER / "emulator" / "service"
    if (refusal := in_the_way(state)) is not None:
        raise refusal
    settings = Settings(state=state, delay=EMULATOR_DELAY, balance=Decimal(1_000_000))
    server = stack.enter_context(EmulatorServer(settings))
    return Access(endpoint=endpoint(server.url), key=ApiKey("emulator"))
