"""The emulator's end of a connection: sends replies, and breaks off where a fault says so."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from seedream_jobs.emulator.replies import Reply

_SO_LINGER_RESET = struct.pack("ii", 1, 0)


class Exchange:
    """One request and the way to answer it.

    The connection's transport stands in ``scope["state"]["transport"]`` (see ``server``): ASGI itself has no way to
    close a connection without a reply.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.request = Request(scope, receive)
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self._scope, self._receive, self._send = scope, receive, send

    def header(self, name: bytes) -> str | None:
        """A header by its lower-case name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def origin(self) -> str:
        """Scheme and host as the client named them."""
        return f"{self._scope['scheme']}://{self.header(b'host') or '127.0.0.1'}"

    async def reply(self, reply: Reply) -> None:
        """Send a whole reply."""
        await self._start(reply, len(reply.body))
        await self._send({"type": "http.response.body", "body": reply.body})

    async def reply_half(self, reply: Reply) -> None:
        """Announce the whole reply, send half of it and close the connection."""
        await self._start(reply, len(reply.body))
        half = reply.body[: len(reply.body) // 2]
        await self._send({"type": "http.response.body", "body": half, "more_body": True})
        await self.close()

    async def trickle(self, reply: Reply, *, seconds: float) -> None:
        """Send the reply in ten pieces over ``seconds``."""
        await self._start(reply, len(reply.body))
        piece = max(len(reply.body) // 10, 1)
        for start in range(0, len(reply.body), piece):
            await asyncio.sleep(seconds / 10)
            block = reply.body[start : start + piece]
            more = start + piece < len(reply.body)
            await self._send({"type": "http.response.body", "body": block, "more_body": more})

    async def close(self) -> None:
        """Close the connection without another byte."""
        self._transport.close()
        await self._gone()

    async def reset(self) -> None:
        """Close the connection with a TCP reset."""
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _SO_LINGER_RESET)
        self._transport.abort()
        await self._gone()

    async def wait_for_client(self) -> None:
        """Say nothing until the client has gone."""
        await self._gone()

    @property
    def _transport(self) -> Any:
        return self._scope["state"]["transport"]

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _start(self, reply: Reply, length: int) -> None:
        headers = [(b"content-length", str(length).encode())]
        if reply.content_type is not None:
            headers.append((b"content-type", reply.content_type.encode()))
        headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
        await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
