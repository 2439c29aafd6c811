"""TCP and TLS for the client's lanes, straight on asyncio's transports: a third of the time that a POST costs in all.

httpcore's own network layers make a cancel scope and a turn of the event loop for each write and each read, and gather
every fact about a socket to ask whether it is readable. Here a write that the kernel takes at once is a plain call.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Iterable
from typing import Any, cast

import httpcore

_MOST_BUFFERED = 256 * 1024  # bytes read ahead before the peer is made to wait
_EYEBALLS = 0.25  # seconds before the next address of a name is tried beside the first (RFC 8305)


class _Arrivals(asyncio.Protocol):
    """What the transport has told so far, and who waits for more of it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        self.error: Exception | None = None
        self.full = False
        self.encrypted = False
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False

    @property
    def transport(self) -> asyncio.Transport:
        """The connection; TLS puts its own in place of the first."""
        assert self._transport is not None, "used before it was connected"
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def now_over(self, transport: asyncio.Transport) -> None:
        """From here on everything goes through this encrypted transport."""
        self._transport, self.encrypted = transport, True

    def data_received(self, data: bytes) -> None:
        self.data += data
        if len(self.data) > _MOST_BUFFERED and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self.ended = True
        self._wake()
        return not self.encrypted  # plain TCP may be half-closed: a reply that is under way still comes

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended, self.full = True, False
        self.error = self.error or exc
        self._wake()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._wake()

    def take(self, most: int) -> bytes:
        """Up to ``most`` bytes of what has arrived."""
        taken = bytes(self.data[:most])
        del self.data[:most]
        if self._paused and not self.data:
            self._paused = False
            self.transport.resume_reading()
        return taken

    async def news(self, seconds: float | None) -> None:
        """Wait until something happens. :raises TimeoutError: nothing did"""
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, _expire, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


class Stream(httpcore.AsyncNetworkStream):
    """One connection, as httpcore uses it. Timeouts are seconds."""

    def __init__(self, arrivals: _Arrivals) -> None:
        self._arrivals = arrivals
        self._look = select.poll()
        self._look.register(arrivals.transport.get_extra_info("socket").fileno(), select.POLLIN)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's name
        """What has arrived, at least a byte; nothing at the end. :raises httpcore.ReadError, httpcore.ReadTimeout:"""
        arrivals = self._arrivals
        while not arrivals.data:
            if arrivals.error is not None:
                raise httpcore.ReadError(arrivals.error) from arrivals.error
            if arrivals.ended:
                return b""
            try:
                await arrivals.news(timeout)
            except TimeoutError as error:
                raise httpcore.ReadTimeout(error) from error
        return arrivals.take(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's name
        """Hand over bytes; waits only where they pile up. :raises httpcore.WriteError, httpcore.WriteTimeout:"""
        arrivals = self._arrivals
        if not buffer:
            return
        if arrivals.error is not None or arrivals.transport.is_closing():
            raise httpcore.WriteError(arrivals.error or "the connection is closed") from arrivals.error
        arrivals.transport.write(buffer)
        while arrivals.full:
            try:
                await arrivals.news(timeout)
            except TimeoutError as error:
                raise httpcore.WriteTimeout(error) from error
        if arrivals.error is not None:
            raise httpcore.WriteError(arrivals.error) from arrivals.error

    async def aclose(self) -> None:
        """Close it; what was not sent yet is dropped, so that nothing lingers."""
        transport = self._arrivals.transport
        if not transport.is_closing():
            transport.close()
            await asyncio.sleep(0)
        transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's name
    ) -> httpcore.AsyncNetworkStream:
        """The same connection, encrypted. :raises httpcore.ConnectError, httpcore.ConnectTimeout:"""
        arrivals, loop = self._arrivals, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                encrypted = await loop.start_tls(
                    arrivals.transport, arrivals, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            arrivals.transport.abort()
            raise httpcore.ConnectTimeout(error) from error
        except OSError as error:  # ssl.SSLError is one
            arrivals.transport.abort()
            raise httpcore.ConnectError(error) from error
        if encrypted is None:  # the peer hung up in the middle
            raise httpcore.ConnectError("the connection was closed during the TLS handshake")
        arrivals.now_over(encrypted)
        return self

    def get_extra_info(self, info: str) -> Any:
        """``is_readable``: something has come, or will at once; on an idle connection that is its end."""
        arrivals = self._arrivals
        if info == "is_readable":
            return bool(arrivals.data) or arrivals.ended or arrivals.transport.is_closing() or bool(self._look.poll(0))
        name = {"ssl_object": "ssl_object", "socket": "socket", "server_addr": "peername", "client_addr": "sockname"}
        return arrivals.transport.get_extra_info(name[info]) if info in name else None


class Network(httpcore.AsyncNetworkBackend):
    """Opens such connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's name
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a name or an address. :raises httpcore.ConnectError, httpcore.ConnectTimeout:"""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, arrivals = await loop.create_connection(_Arrivals, host, port, happy_eyeballs_delay=_EYEBALLS)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(error) from error
        except OSError as error:
            raise httpcore.ConnectError(error) from error
        return Stream(arrivals)

    async def sleep(self, seconds: float) -> None:
        """Part of httpcore's protocol; used between its own retries, of which there are none."""
        await asyncio.sleep(seconds)
