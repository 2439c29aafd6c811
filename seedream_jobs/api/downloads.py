"""This module downloads from hosts that the service names.

Called by ``run.fetch`` for each image of a task. Invariants: the key is never here, so it is never sent; each hop of a
redirect is checked by scheme and host, and each connection by its address (``network``); the length is bounded and
verified. Behind a proxy the proxy connects; names that resolve here are checked all the same.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote_to_bytes, urljoin

import anyio
import httpcore
import httpx

from seedream_jobs.api.connection import Arrived, Timeouts, encode_url, header_text, new_pool, tls_context
from seedream_jobs.api.credentials import endpoint, is_loopback
from seedream_jobs.api.network import CheckedNetwork, Handshake, RefusedError, Resolve, look_up
from seedream_jobs.api.replies import one_line
from seedream_jobs.errors import UsageError

CHUNK = 1024 * 1024  # bytes gathered before ``write`` is called
MAX_BYTES = 64 * 1024 * 1024
MAX_REDIRECTS = 5
_NETWORK_ERRORS = (
    OSError,
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOST = re.compile(rb"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_DATA = re.compile(
    r"data:(?:[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+)?(?:;[A-Za-z0-9=._-]+)*?(;base64)?,", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """How a download went. It is whole if ``problem`` is None; what was written is worthless otherwise.

    :param status: of the last reply; None where none came
    :param refused: the link itself is not acceptable; asking again cannot help
    """

    status: int | None = None
    problem: str | None = None
    refused: bool = False


class Downloads:
    """Fetches links. An async context manager.

    :param base_url: the API's, against which relative links are resolved; plain HTTP and loopback are allowed only
        where the API itself is on this machine
    :param connections: how many downloads may be under way
    :param tls: the TLS context; None makes one for the first link that needs it
    """

    def __init__(
        self,
        base_url: str,
        *,
        user_agent: str,
        connections: int = 8,
        timeouts: Timeouts | None = None,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = look_up,
    ) -> None:
        self._api = endpoint(base_url)
        self._agent = header_text(user_agent)
        self._connections = connections
        self._timeouts = timeouts or Timeouts(total=600)  # ``MAX_BYTES`` at 110 kB/s
        self._proxy = proxy
        self._tls = tls
        self._network = CheckedNetwork(loopback_allowed=self._api.loopback, resolve=resolve)
        self._pools: dict[tuple[str, bool], httpcore.AsyncConnectionPool] = {}

    @property
    def base(self) -> str:
        """The API's address, against which relative links are resolved."""
        return self._api.base

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            for pool in self._pools.values():
                await pool.aclose()

    async def get(self, url: str, write: Callable[[bytes], object], *, max_bytes: int = MAX_BYTES) -> Download:
        """Fetch a link and hand its bytes to ``write``, about ``CHUNK`` at a time; raises nothing for the network.

        :param url: http(s), relative, or ``data:``
        :raises UsageError: as ``tls_context``
        :raises Exception: whatever ``write`` raises
        """
        if url[:5].lower() == "data:":
            return _from_data(url, write, max_bytes)
        arrived = Arrived(max_bytes)
        try:
            with anyio.fail_after(self._timeouts.total):
                problem = await self._follow(_joined(self._api.base + "/", url), arrived, write)
        except _WriteError as failed:
            raise failed.error from None
        except RefusedError as error:
            return Download(status=arrived.status, problem=one_line(str(error)), refused=True)
        except UsageError:  # no TLS can be set up here: that is no image's failure
            raise
        except TimeoutError:
            problem = f"not complete within {self._timeouts.total:g} s"
        except Exception as error:  # foreign input: whatever a library makes of it, it is this image's failure alone
            words = str(error) if isinstance(error, _NETWORK_ERRORS) else f"{type(error).__name__}: {error}"
            problem = _broken(arrived, words or type(error).__name__)
        return Download(status=arrived.status, problem=problem)

    async def _follow(self, url: str, arrived: Arrived, write: Callable[[bytes], object]) -> str | None:
        """Follow redirects by hand, so that every hop passes the same check; what is wrong with the last reply."""
        for _ in range(MAX_REDIRECTS + 1):
            target = self._checked_url(url)
            async with self._open(target) as response:
                arrived.begin(response)
                location = arrived.headers.get("location")
                if response.status not in _REDIRECTS or not location:
                    return await _take(response, arrived, write)
            arrived.status = None  # what fails from here on belongs to the next reply
            url = _joined(str(target), location)
        raise RefusedError(f"more than {MAX_REDIRECTS} redirects")

    def _checked_url(self, url: str) -> httpx.URL:
        try:
            target = httpx.URL(url)
        except (httpx.InvalidURL, ValueError) as error:
            raise RefusedError(f"the link cannot be read: {error}") from None
        if target.scheme not in ("http", "https") or not target.host:
            raise RefusedError(f"a link of kind {target.scheme or 'none'!r} is not followed")
        if not _HOST.fullmatch(target.raw_host) or not (target.port is None or 0 < target.port < 65536):
            raise RefusedError("the link's host or port cannot be")
        if target.scheme == "http" and not (self._api.loopback and is_loopback(target.host)):
            raise RefusedError(f"the link to {target.host} is not https")
        if target.userinfo:
            raise RefusedError("the link holds a user name or password")
        return target

    @contextlib.asynccontextmanager
    async def _open(self, target: httpx.URL) -> AsyncIterator[httpcore.Response]:
        """Send one GET and give its reply, which is closed on the way out."""
        handshake = Handshake()

        async def trace(name: str, info: dict[str, Any]) -> None:
            handshake.note(name, info)

        limits = self._timeouts
        timeouts = {"connect": limits.connect, "read": limits.read, "write": limits.write, "pool": limits.total}
        request = httpcore.Request(
            b"GET",
            encode_url(target),
            headers=[
                (b"Host", target.netloc),
                (b"User-Agent", self._agent),
                (b"Accept", b"image/*,*/*;q=0.5"),
                (b"Accept-Encoding", b"identity"),
            ],
            extensions={"trace": trace, "timeout": timeouts},
        )
        pool = await self._pool(target)
        try:
            response = await pool.handle_async_request(request)
        except BaseException:
            await handshake.abandon()
            raise
        try:
            yield response
        finally:
            await response.aclose()

    async def _pool(self, target: httpx.URL) -> httpcore.AsyncConnectionPool:
        """The pool for a link: straight to the checked address, or through the proxy where one is set."""
        proxied = self._proxy is not None and not is_loopback(target.host)
        if proxied:
            with contextlib.suppress(OSError):  # a name only the proxy knows
                await self._network.checked(target.host, target.port or 443)
        # Reading the authorities takes 40 ms, which the plain HTTP of an emulator need not pay.
        if target.scheme == "https" and self._tls is None:
            self._tls = tls_context("https:")
        pool = self._pools.get((target.scheme, proxied))
        if pool is None:
            pool = self._pools[target.scheme, proxied] = new_pool(
                self._tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                self._proxy if proxied else None,
                max_connections=self._connections,
                keepalive_expiry=5.0,
                network_backend=None if proxied else self._network,
            )
        return pool


class _WriteError(Exception):
    """``write`` has failed with ``error``: a full disk is no fault of the network."""

    def __init__(self, error: Exception) -> None:
        self.error = error


async def _take(response: httpcore.Response, arrived: Arrived, write: Callable[[bytes], object]) -> str | None:
    """Hand a body over in large pieces; why it is not an image's, or not whole."""
    if response.status != 200:
        return f"HTTP {response.status}"
    encoding = arrived.headers.get("content-encoding", "").strip()
    if encoding.lower() not in ("", "identity"):
        return f"the body is compressed ({one_line(encoding)})"
    if arrived.announced is not None and arrived.announced > arrived.limit:
        return f"{arrived.announced} bytes announced, more than {arrived.limit}"
    pieces: list[bytes] = []
    gathered = 0
    async for piece in response.aiter_stream():
        pieces.append(piece)
        gathered += len(piece)
        arrived.size += len(piece)
        if arrived.size > arrived.limit:
            return f"more than {arrived.limit} bytes"
        if gathered >= CHUNK:
            _write(write, b"".join(pieces))
            pieces, gathered = [], 0
    _write(write, b"".join(pieces))
    if arrived.announced is not None and arrived.size != arrived.announced:
        return _broken(arrived, "the body ended early")
    return None


def _write(write: Callable[[bytes], object], chunk: bytes) -> None:
    try:
        if chunk:
            write(chunk)
    except Exception as error:
        raise _WriteError(error) from error


def _broken(arrived: Arrived, words: str) -> str:
    if arrived.status is None:
        return one_line(words)
    whole = "" if arrived.announced is None else f" of {arrived.announced}"
    return one_line(f"broken off after {arrived.size}{whole} bytes: {words}")


def _joined(base: str, url: str) -> str:
    """``url`` seen from ``base``.

    :raises RefusedError: it can't be read, such as ``https://[::1/x``
    """
    try:
        url.encode("utf-8")
        return urljoin(base, url)
    except ValueError as error:
        raise RefusedError(f"the link cannot be read: {error}") from None


def _from_data(url: str, write: Callable[[bytes], object], max_bytes: int) -> Download:
    """A link that is the image itself (RFC 2397)."""
    # base64 makes 4 characters of 3 bytes; the rest is room for the head.
    if len(url) > max_bytes * 4 // 3 + 1024:
        return Download(problem=f"more than {max_bytes} bytes", refused=True)
    match = _DATA.match(url[:512])
    if match is None:
        return Download(problem="the data: link cannot be read", refused=True)
    try:
        raw = unquote_to_bytes(url[match.end() :])
        body = base64.b64decode(raw, validate=True) if match.group(1) else raw
    except (binascii.Error, ValueError):
        return Download(problem="the data: link is not base64", refused=True)
    for start in range(0, len(body), CHUNK):
        write(body[start : start + CHUNK])
    return Download(status=200)
