"""The service as a run needs it: the client that has the key, and the downloads that never had it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from seedream_jobs import __version__
from seedream_jobs.api.client import Client, Judged
from seedream_jobs.api.client_downloads import Downloads
from seedream_jobs.api.credentials import ApiKey, Endpoint, proxy_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the service is and what opens it."""

    endpoint: Endpoint
    key: ApiKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An open connection."""

    client: Client
    service: Judged
    downloads: Downloads


@asynccontextmanager
async def connect(access: Access, *, workers: int, environment: Mapping[str, str]) -> AsyncIterator[Connection]:
    """Open it; no byte is sent before something is asked.

    :param workers: how many submissions may be under way
    """
    proxy = proxy_for(access.endpoint, environment)
    agent = f"seedream-jobs/{__version__}"
    async with (
        Client(access.endpoint.base, access.key, workers=workers, user_agent=agent, proxy=proxy) as client,
        Downloads(access.endpoint.base, user_agent=agent, connections=workers, proxy=proxy) as downloads,
    ):
        yield Connection(client=client, service=Judged(client), downloads=downloads)
