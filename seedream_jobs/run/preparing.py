"""Before the first POST: references uploaded where that is asked for, the balance compared with the plan."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePosixPath

import anyio
import anyio.to_thread

from seedream_jobs.api.client import Client
from seedream_jobs.errors import MoneyError, SeedreamError
from seedream_jobs.expand.references import Reference, read_reference
from seedream_jobs.job.files import Files
from seedream_jobs.plan.cost import money


async def upload(client: Client, wanted: Mapping[str, tuple[Reference, Files]], concurrency: int) -> dict[str, str]:
    """Upload references: ``sha256:…`` to the link each got.

    :raises SeedreamError: an upload was refused; nothing was submitted
    """
    urls: dict[str, str] = {}
    refused: list[SeedreamError] = []
    limiter = anyio.CapacityLimiter(min(concurrency, 4))

    async def one(name: str, reference: Reference, files: Files) -> None:
        async with limiter:
            try:
                data = await anyio.to_thread.run_sync(read_reference, reference, files)
                stem = "reference" if reference.path.startswith("data:") else PurePosixPath(reference.path).name
                urls[name] = await client.upload(data, stem, f"image/{reference.format}")
            except SeedreamError as error:
                refused.append(error)
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for name, (reference, files) in wanted.items():
            group.start_soon(one, name, reference, files)
    if refused:
        raise refused[0]
    return urls


async def check_balance(client: Client, cost: Decimal | None) -> None:
    """Refuse to start what the balance can't pay.

    :raises MoneyError: the balance is below the plan's maximum
    :raises SeedreamError: the balance can't be read
    """
    balance = await client.balance()
    if balance.unlimited or cost is None or balance.remaining_usd is None:
        return
    if balance.remaining_usd < cost:
        raise MoneyError(
            f"the balance is {money(balance.remaining_usd)}: the plan costs at most {money(cost)}",
            hint="top it up, or submit less: --limit N",
        )
