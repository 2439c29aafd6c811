"""This module opens connections below HTTP: only to addresses that may be dialled, closed when given up half-way.

Called by ``connection.py`` (``Handshake``) and ``downloads.py`` (``CheckedNetwork``): the service's links are foreign
input, and this machine sits in a private net. Invariant: the address that was checked is the address that is dialled.

Checking a name and connecting to it are two lookups for most clients; a name server that answers differently the second
time (DNS rebinding) would lead a download into this machine's own network. So a name is looked up once, every answer is
checked, and that very address is dialled.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import anyio
import httpcore

_TICKET = 0.002  # seconds to look at what has arrived on a new connection; read only where something has
_NEXT_ADDRESS = 3.0  # seconds for an address that is not the last one, such as IPv6 where it leads nowhere
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
Resolve = Callable[[str, int], Awaitable[list[str]]]


class Handshake:
    """Closes the connection that a cancellation leaves open inside a TLS handshake; httpcore does so only on errors."""

    __slots__ = ("_stream", "spoken")

    def __init__(self) -> None:
        self._stream: httpcore.AsyncNetworkStream | None = None
        self.spoken: bool = False  # the other side spoke first

    def note(self, name: str, info: dict[str, Any]) -> None:
        """Take an event of the transport's trace."""
        if name in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = info["return_value"]
        elif name.startswith("http11."):
            self._stream = None  # the pool has it now

    async def check_silence(self) -> None:
        """See that the other side has not spoken before anything was sent on this connection.

        :raises SpokeFirstError: it did; what it said is nobody's answer
        """
        stream = self._stream
        if stream is None or not stream.get_extra_info("is_readable"):
            return
        said = b""
        with contextlib.suppress(Exception):  # a TLS ticket is no word; a broken connection shows when it is used
            said = await stream.read(1, timeout=_TICKET)
        if said:
            self.spoken = True
            raise SpokeFirstError

    async def abandon(self) -> None:
        """Close the connection, if it is still inside its handshake."""
        if self._stream is not None:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()


class SpokeFirstError(Exception):
    """Bytes came before the request was sent."""


class RefusedError(Exception):
    """A link or an address that must not be followed."""


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that may be connected to, and to exactly the one that was checked."""

    def __init__(self, *, loopback_allowed: bool, resolve: Resolve) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._loopback_allowed = loopback_allowed
        self._resolve = resolve

    async def checked(self, host: str, port: int) -> list[str]:
        """The addresses of a host. :raises RefusedError: one of them is not public"""
        addresses = await self._resolve(host, port)
        for address in addresses:
            reason = why_refused(address, loopback_allowed=self._loopback_allowed)
            if reason is not None:
                raise RefusedError(f"the link leads to {host}, and {reason}")
        return addresses

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore names it so
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Look the name up once, check every answer, connect to one of them. ``timeout`` is seconds."""
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        try:
            with anyio.fail_after(timeout):
                addresses = await self.checked(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"looking up {host} took too long") from None
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be looked up: {error.strerror or error}") from error
        for address in addresses:
            last = address == addresses[-1]
            limit = timeout if last or timeout is None else min(timeout, _NEXT_ADDRESS)
            try:
                return await self._inner.connect_tcp(address, port, limit, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Httpcore's interface asks for it; only its own retries use it, and there are none."""
        await anyio.sleep(seconds)


async def look_up(host: str, port: int) -> list[str]:
    """The addresses of a host by the system's resolver, each once. :raises OSError: unknown"""
    answers = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def why_refused(address: str, *, loopback_allowed: bool) -> str | None:
    """Why no connection is made to an address (text as a resolver gives it), or None where one may be made.

    Refused are private, loopback, link-local, multicast, unspecified, reserved and carrier-grade (100.64/10) addresses,
    also where an IPv6 form wraps them (``::ffff:``, NAT64, 6to4, Teredo).

    :param loopback_allowed: the API itself is on this machine
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address} is not an address"
    if loopback_allowed and parsed.is_loopback and getattr(parsed, "ipv4_mapped", None) is None:
        return None
    return None if all(map(_is_public, _layers(parsed))) else f"{address} is not a public address"


def _layers(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address itself and every IPv4 address inside it."""
    layers: list[IPv4Address | IPv6Address] = [address]
    if isinstance(address, IPv4Address):
        return layers
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if any(address in network for network in _NAT64):
        layers.append(low)
    if address.sixtofour is not None:
        layers.append(address.sixtofour)
    if address.teredo is not None:
        layers.extend(address.teredo)
    return layers


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address in _NAT64[0]:
        return True  # Python calls it reserved; it leads to the IPv4 address inside, which is looked at, too
    is_odd = address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    return address.is_global and not is_odd
