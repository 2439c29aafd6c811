"""``seedream-jobs doctor``."""

from __future__ import annotations

import os
import platform
from contextlib import ExitStack
from pathlib import Path

import click

from seedream_jobs import __version__
from seedream_jobs.api.credentials import Access
from seedream_jobs.cli.options import current_root, policy_option
from seedream_jobs.cli.service_options import target, target_options
from seedream_jobs.cli.shared import check, claims_url
from seedream_jobs.cli.streams import say
from seedream_jobs.errors import ExitCode, SeedreamError
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles
from seedream_jobs.plans.cost import PLAY_MONEY, money
from seedream_jobs.run.access import open_access


@click.command()
@click.option("--shared", is_flag=True, help="Check instead the store that the policy names under shared: claims.")
@policy_option
@target_options
def doctor(emulator: bool, base_url: str | None, shared: bool, policy: Path | None) -> int:
    """Check key, endpoint, campaign and installation; say what to do about what is missing.

    Asks the service for the balance and its models, which costs nothing. With --shared eight creators ask the store
    for one claim at once, twenty times; a store that lets two win is refused. A run uses no store without this.

    \b
    Examples:
      seedream-jobs doctor
      seedream-jobs doctor --emulator
      seedream-jobs doctor --shared
    """
    if policy is not None and not shared:
        raise click.UsageError("--policy needs --shared")
    if shared:
        root = current_root()
        return check(claims_url(root, policy), root)
    import anyio  # these two take long to import, and --help needs neither

    from seedream_jobs.api.client import connect

    async def ask(access: Access) -> None:
        async with connect(access, workers=1, environment=os.environ) as (client, _):
            balance = await client.balance()
            left = "unlimited" if balance.unlimited else money(balance.remaining_usd)
            say(f"balance    {left}{PLAY_MONEY if emulator else ''}")
            models = await client.models()
            profile = profiles()[DEFAULT_MODEL]
            listed = any(name in models for name in (profile.id, *profile.aliases))
            say(f"model      {profile.id}{'' if listed else ' is not among the models of this key'}")

    service = target(emulator=emulator, base_url=base_url)
    root = current_root()
    say(f"seedream-jobs {__version__}, Python {platform.python_version()}, {platform.system()}")
    say(f"campaign   {root}{' (git)' if (root / '.git').exists() else ' (no git repository)'}")
    say(f"service    {service.origin}")
    with ExitStack() as stack:
        try:
            access = open_access(service, root, stack, base_url=base_url)
            say("key        found")
            anyio.run(ask, access)
        except SeedreamError as error:
            say(f"problem    {error.message}")
            if error.hint:
                say(f"           {error.hint}")
            return error.exit_code
    say("Everything works.")
    return ExitCode.OK
