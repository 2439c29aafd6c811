"""A running emulator and a client that speaks to it over a real socket."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from seedream_jobs.emulator.faults import parse_fault
from seedream_jobs.emulator.server import EmulatorServer
from seedream_jobs.emulator.settings import Settings

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; making one for each client would take most of the time
MODEL = "doubao-seedream-5-0-lite"


@dataclass
class Peer:
    """The emulator as a client sees it."""

    server: EmulatorServer
    http: httpx.Client
    state: Path

    def post(self, **fields: Any) -> httpx.Response:
        """Submit; ``headers`` and ``prefix`` are not part of the payload."""
        headers, prefix = fields.pop("headers", {}), fields.pop("prefix", "/v1")
        payload = {"model": MODEL, "prompt": "a heron", **fields}
        return self.http.post(f"{self.server.url}{prefix}/images/generations", json=payload, headers=headers)

    def submit(self, **fields: Any) -> str:
        """Submit something valid; the task's id."""
        reply = self.post(**fields)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["data"][0]["task_id"])

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(f"{self.server.url}{path}", **options)

    def task(self, task: str) -> dict[str, Any]:
        reply = self.get(f"/v1/tasks/{task}")
        assert reply.status_code == 200, reply.text
        data: dict[str, Any] = reply.json()["data"]
        return data

    def ended(self, task: str) -> dict[str, Any]:
        """The task once its status is a last one."""
        for _ in range(500):
            data = self.task(task)
            if data["status"] in ("completed", "success", "failed", "cancelled", "expired"):
                return data
            time.sleep(0.01)
        raise AssertionError(f"{task} never ended")

    def links(self, task: str) -> list[str]:
        return [url for image in self.ended(task)["result"]["images"] for url in image["url"]]

    def download(self, link: str, **options: Any) -> httpx.Response:
        """As a client should: without the key."""
        with httpx.Client(verify=TLS, trust_env=False) as stranger:
            return stranger.get(link, **options)

    def books(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/emulator/books").json()
        return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Peer]]:
    """Starts emulators with the given settings, all on one state folder unless told otherwise; stops them."""
    with ExitStack() as stack:

        def starting(*faults: str, **settings: Any) -> Peer:
            state = settings.pop("state", tmp_path / "state")
            chosen = {"delay": 0.0, "images": "plain", **settings}
            server = stack.enter_context(
                EmulatorServer(Settings(state=state, faults=tuple(map(parse_fault, faults)), **chosen))
            )
            http = stack.enter_context(
                httpx.Client(headers={"Authorization": "Bearer key"}, verify=TLS, trust_env=False, timeout=60)
            )
            return Peer(server, http, state)

        yield starting
