"""This module finds what opens the service: endpoint and key; or it starts the built-in emulator.

Called by ``pipeline``, ``open_tasks``, ``doctor`` and ``resolve --check``. Invariant: nothing is sent.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from secrets import token_hex

from seedream_jobs.api.credentials import Access, ApiKey, check_key, endpoint, find_endpoint, take_key
from seedream_jobs.atomic_file import check_folder
from seedream_jobs.errors import UsageError
from seedream_jobs.ledger.paths import records_folder
from seedream_jobs.plans.load import Target

EMULATOR_DELAY = 1.0
"""Seconds that a task of the built-in emulator takes: long enough to be seen, short enough for a rehearsal."""
EMULATOR_PACE = EMULATOR_DELAY / 20
"""``RunOptions.pace`` for its tasks: those of the service take twenty seconds and more."""


def check_access(target: Target, root: Path, *, base_url: str | None) -> None:
    """See, before anything is planned, that endpoint and key will be there; the key is not kept.

    :param root: the campaign's root
    :raises CredentialsError: there is no key
    :raises UsageError: the address is none, or a file is where the emulator keeps its books
    """
    if not target.emulator:
        check_key(os.environ, root)
        find_endpoint(base_url, os.environ)
    else:
        _books(root)


def open_access(target: Target, root: Path, stack: ExitStack, *, base_url: str | None) -> Access:
    """Find the endpoint and read the key, or start the emulator, which ``stack`` stops.

    Called last, when nothing that a tree says is to be read any more: from here on the process holds the key.

    :param root: the campaign's root
    :raises CredentialsError: there is no key
    :raises UsageError: a file is where the emulator keeps its books
    """
    if not target.emulator:
        return Access(endpoint=find_endpoint(base_url, os.environ), key=take_key(os.environ, root))
    from seedream_jobs.emulator.server import EmulatorServer  # it imports uvicorn and starlette
    from seedream_jobs.emulator.settings import Settings

    settings = Settings(state=_books(root), delay=EMULATOR_DELAY, balance=Decimal(1_000_000))
    server = stack.enter_context(EmulatorServer(settings))
    return Access(endpoint=endpoint(server.url), key=ApiKey(token_hex(16)))  # no word of a prompt, any key will do


def _books(root: Path) -> Path:
    """:raises UsageError: a file is in its place, or what is written in it would lie elsewhere"""
    books = records_folder(root, emulator=True) / "service"
    check_folder(root, books)
    for file in books.iterdir() if books.is_dir() else ():
        if file.is_symlink():
            raise UsageError(f"{file} is a symbolic link", hint="remove it")
    return books
