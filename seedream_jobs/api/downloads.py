"""This module downloads from hosts that the service names.

Called by ``run`` for each image of a task. Invariants: the key is never here, so it is never sent; each hop of a
redirect is checked by scheme and host, and each connection by its address (``network``); the length is bounded and
verified.
Behind a proxy the proxy connects; names that resolve here are checked all the same.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote_to_bytes, urljoin

import anyio
import httpcore
import httpx

from seedream_jobs.api.connection import Timeouts, encode_url, header_text, new_pool, tls_context
from seedream_jobs.api.credentials import endpoint, is_loopback
from seedream_jobs.api.network import CheckedNetwork, Handshake, RefusedError, Resolve, look_up
from seedream_jobs.api.replies import one_line

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
_DATA = re.compile(r"data:([A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+)?((?:;[A-Za-z0-9=._-]+)*?)(;base64)?,", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """How a download went. It is whole if ``problem`` is None; what was written is worthless otherwise.

    :param status: of the last reply; None where none came
    :param content_length: bytes as announced, ``received`` as handed to ``write``
    :param refused: the link itself is not acceptable; asking again cannot help
    """

    status: int | None = None
    content_type: str | None = None
    content_length: int | None = None
    received: int = 0
    problem: str | None = None
    refused: bool = False


class Downloads:
    """Fetches links. An async context manager; it never had the key, so it cannot send it.

    :param base_url: the API's, against which relative links are resolved; plain HTTP and loopback are allowed only
        where the API itself is on this machine
    :param connections: how many downloads may be under way
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
        self._timeouts = timeouts or Timeouts(total=600)
        self._proxy = proxy
        self._tls = tls
        self._network = CheckedNetwork(loopback_allowed=self._api.loopback, resolve=resolve)
        self._pools: dict[tuple[str, bool], httpcore.AsyncConnectionPool] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            for pool in self._pools.values():
                await pool.aclose()

    async def get(self, url: str, write: Callable[[bytes], object], *, max_bytes: int = MAX_BYTES) -> Download:
        """Fetch a link and hand its bytes to ``write``, about ``CHUNK`` at a time. Never raises for the network.

        :param url: http(s), relative, or ``data:``
        :raises Exception: whatever ``write`` raises
        """
        if url[:5].lower() == "data:":
            return _from_data(url, write, max_bytes)
        got = _Got(write=write, max_bytes=max_bytes)
        try:
            with anyio.fail_after(self._timeouts.total):
                await self._follow(_joined(self._api.base + "/", url), got)
        except RefusedError as error:
            return replace(got.download(), problem=one_line(str(error)), refused=True)
        except TimeoutError:
            if got.failed_to_write:
                raise
            return got.download(f"not complete within {self._timeouts.total:g} s")
        except Exception as error:  # foreign input: whatever a library makes of it, it is this image's failure alone
            if got.failed_to_write:
                raise
            words = str(error) if isinstance(error, _NETWORK_ERRORS) else f"{type(error).__name__}: {error}"
            return got.download(got.why_broken(words or type(error).__name__))
        return got.download(got.problem)

    async def _follow(self, url: str, got: _Got) -> None:
        """Redirects by hand: every hop passes the same check."""
        for _ in range(MAX_REDIRECTS + 1):
            target = self._checked_url(url)
            location = await self._one(target, got)
            if location is None:
                return
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

    async def _one(self, target: httpx.URL, got: _Got) -> str | None:
        """One GET; the place it redirects to, or None when its body was taken."""
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
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in _REDIRECTS and headers.get("location"):
                return headers["location"]
            await got.take(response, headers)
        finally:
            await response.aclose()
        return None

    async def _pool(self, target: httpx.URL) -> httpcore.AsyncConnectionPool:
        """The pool for a link: straight to the checked address, or through the proxy where one is set."""
        proxied = self._proxy is not None and not is_loopback(target.host)
        if proxied:
            with contextlib.suppress(OSError):  # a name only the proxy knows
                await self._network.checked(target.host, target.port or 443)
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


class _Got:
    """What has arrived of one download."""

    def __init__(self, *, write: Callable[[bytes], object], max_bytes: int) -> None:
        self._write = write
        self._max_bytes = max_bytes
        self.status: int | None = None
        self.content_type: str | None = None
        self.content_length: int | None = None
        self.received = 0
        self.problem: str | None = None
        self.failed_to_write = False

    async def take(self, response: httpcore.Response, headers: dict[str, str]) -> None:
        """Read a body in large pieces; ``problem`` is set where it is not an image's."""
        self.status = response.status
        self.content_type = headers.get("content-type")
        length = headers.get("content-length", "")
        self.content_length = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None
        if response.status != 200:
            self.problem = f"HTTP {response.status}"
        elif headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            self.problem = f"the body is compressed ({one_line(headers['content-encoding'])})"
        elif self.content_length is not None and self.content_length > self._max_bytes:
            self.problem = f"{self.content_length} bytes announced, more than {self._max_bytes}"
        if self.problem is not None:
            return
        pieces: list[bytes] = []
        gathered = 0
        async for piece in response.aiter_stream():
            pieces.append(piece)
            gathered += len(piece)
            if self.received + gathered > self._max_bytes:
                self.problem = f"more than {self._max_bytes} bytes"
                return
            if gathered >= CHUNK:
                self._flush(b"".join(pieces))
                pieces, gathered = [], 0
        self._flush(b"".join(pieces))
        if self.content_length is not None and self.received != self.content_length:
            self.problem = self.why_broken("the body ended early")

    def why_broken(self, words: str) -> str:
        """A failure with how far it came."""
        if self.status is None:
            return one_line(words)
        whole = "" if self.content_length is None else f" of {self.content_length}"
        return one_line(f"broken off after {self.received}{whole} bytes: {words}")

    def download(self, problem: str | None = None) -> Download:
        """The result so far."""
        return Download(
            status=self.status,
            content_type=self.content_type,
            content_length=self.content_length,
            received=self.received,
            problem=problem,
        )

    def _flush(self, chunk: bytes) -> None:
        if not chunk:
            return
        try:
            self._write(chunk)
        except BaseException:
            self.failed_to_write = True
            raise
        self.received += len(chunk)


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
    if len(url) > max_bytes * 4 // 3 + 1024:
        return Download(problem=f"more than {max_bytes} bytes", refused=True)
    match = _DATA.match(url[:512].replace("DATA:", "data:", 1))
    if match is None:
        return Download(problem="the data: link cannot be read", refused=True)
    try:
        raw = unquote_to_bytes(url[match.end() :])
        body = base64.b64decode(raw, validate=True) if match.group(3) else raw
    except (binascii.Error, ValueError):
        return Download(problem="the data: link is not base64", refused=True)
    for start in range(0, len(body), CHUNK):
        write(body[start : start + CHUNK])
    return Download(status=200, content_type=match.group(1), content_length=len(body), received=len(body))
