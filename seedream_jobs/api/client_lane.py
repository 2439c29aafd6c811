"""One connection to the service: one request at a time, seen through the transport's trace, bounded in size and time.

A lane is one connection of httpcore, replaced when it is closed or has been idle too long: no ``AsyncClient`` and no
pool around it, because cookies, redirects and hooks must all be off and the bookkeeping of both costs half of a
request's time. HTTP/1.1 only (HTTP/2 in httpcore re-sends a POST after GOAWAY), no redirects (307 and 308 re-send), no
retries, keep-alive reuse only within two seconds.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import httpcore
import httpx

from seedream_jobs.api.client_network import Handshake, SpokeFirstError
from seedream_jobs.api.outcomes import NOT_SENT_KINDS, Flight, Observation, Sent

BODY_LIMIT = 1024 * 1024  # bytes of a reply to a POST
TASK_LIMIT = 64 * 1024 * 1024  # bytes of a reply to a GET: a task's images have been seen inside it, as base64
LARGE = 1024 * 1024  # bytes of a reply to a GET from which on only one of them is read at a time
KEEPALIVE = 2.0  # seconds a connection is kept for reuse
Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds for each step, and ``total`` for the whole exchange: a drip of bytes would outlive every other limit."""

    connect: float = 10.0
    write: float = 30.0
    read: float = 60.0
    total: float = 120.0


class Hook:
    """Whether the trace was shown to fire on this transport. Without that, silence proves nothing."""

    def __init__(self) -> None:
        self.proven = False

    async def prove(self) -> None:
        """Send a POST through the same pool over a network of no bytes, and see that its headers are announced."""
        seen: list[str] = []

        async def trace(name: str, info: dict[str, Any]) -> None:
            if announces_post(name, info):
                seen.append(name)

        network = httpcore.AsyncMockBackend([b"HTTP/1.1 204 No Content\r\n\r\n"])
        async with httpcore.AsyncConnectionPool(network_backend=network) as pool:
            await pool.request("POST", "http://hook.invalid/", content=b"-", extensions={"trace": trace})
        self.proven = bool(seen)

    def refute(self) -> None:
        """A reply came without an announcement: from now on every failure is in doubt."""
        self.proven = False


def announces_post(name: str, info: dict[str, Any]) -> bool:
    """Whether a trace event says that bytes of the request itself may leave.

    Any event of the HTTP layer does, but for those of a proxy's CONNECT, which share the trace.
    """
    if not name.startswith(("http11.", "http2.")):
        return False
    request = info.get("request")
    if request is None:
        return name.endswith("send_request_headers.started")
    return getattr(request, "method", b"") != b"CONNECT"


class OneConnection:
    """Sends requests one after the other over one connection, a new one where the last is closed or idle too long."""

    def __init__(self, verify: ssl.SSLContext, proxy: str | None) -> None:
        through = None if proxy is None else httpx.Proxy(proxy)
        self._opener = httpcore.AsyncConnectionPool(  # only makes connections: it never holds one
            ssl_context=verify,
            proxy=None if through is None else httpcore.Proxy(url=str(through.url), auth=through.raw_auth),
            http1=True,
            http2=False,
            retries=0,
            keepalive_expiry=KEEPALIVE,
        )
        self._connection: httpcore.AsyncConnectionInterface | None = None

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send it, once. :raises: whatever httpcore raises"""
        connection = self._connection
        if connection is not None and not _is_clean(connection):
            await self.aclose()
            connection = None
        if connection is None:
            connection = self._connection = self._opener.create_connection(request.url.origin)
        return await connection.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()


def _is_clean(connection: httpcore.AsyncConnectionInterface) -> bool:
    """Whether a connection may be used once more: idle, not for long, and nothing came after its last answer.

    Bytes after an answer are nobody's answer: on the socket they make it readable, which counts as expired; what was
    read along with the answer lies in h11's buffer, where the next answer would be looked for.
    """
    if not connection.is_available() or connection.has_expired():
        return False
    inner: Any = connection
    while (below := getattr(inner, "_connection", None)) is not None:
        inner = below
    state = getattr(inner, "_h11_state", None)
    return state is not None and not state.trailing_data[0]


def target_of(url: str) -> httpcore.URL:
    """An address as httpcore wants it: encoded."""
    parsed = httpx.URL(url)
    return httpcore.URL(scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path)


def shown_origin(url: httpcore.URL) -> str:
    """Scheme, host and port of an address, as people write it."""
    port = "" if url.port is None else f":{url.port}"
    return f"{url.scheme.decode()}://{url.host.decode()}{port}"


class Lane:
    """One connection, opened when needed. ``hook`` is shared by all lanes of a client."""

    def __init__(self, *, verify: ssl.SSLContext, proxy: str | None, timeouts: Timeouts, hook: Hook) -> None:
        self._transport = OneConnection(verify, proxy)
        self._through = "" if proxy is None else " through the proxy of the environment"
        self._timeouts = timeouts
        self._limits = {
            "connect": timeouts.connect,
            "write": timeouts.write,
            "read": timeouts.read,
            "pool": timeouts.connect,
        }
        self._hook = hook

    async def exchange(
        self,
        method: str,
        url: httpcore.URL,
        headers: Headers,
        body: bytes,
        flight: Flight,
        *,
        limit: int = BODY_LIMIT,
        large: anyio.Semaphore | None = None,
    ) -> Observation:
        """Send one request and read its reply. Every failure becomes an observation; only a cancellation is raised,
        and ``flight`` then tells how far it came.

        :param limit: bytes of the reply that are read
        :param large: what a reply of more than ``LARGE`` bytes waits for, so that only so many are in memory
        """
        flight.sent = Sent.NO if self._hook.proven else Sent.UNKNOWN

        handshake = Handshake()

        async def trace(name: str, info: dict[str, Any]) -> None:
            flight.stage = name
            if flight.sent is Sent.STARTED:
                return  # whatever comes now belongs to the request itself
            if handshake.spoken:
                return  # the connection is being closed, and nothing was sent on it
            if announces_post(name, info):
                await handshake.hear()
                flight.sent = Sent.STARTED
            handshake.note(name, info)

        seen = _Seen(limit, large)
        try:
            request = httpcore.Request(
                method, url, headers=headers, content=body, extensions={"trace": trace, "timeout": self._limits}
            )
            with anyio.move_on_after(self._timeouts.total) as limited:  # half the cost of ``fail_after``
                await self._read(request, seen, flight, handshake)
            if limited.cancelled_caught:
                raise TimeoutError
        except Exception as error:  # whatever it is: where the bytes were decides, not its class
            if not flight.stage:  # not one event of the trace: this transport has none, or it says nothing here
                flight.sent = Sent.UNKNOWN
            kind, detail = name_failure(error, flight.stage)
            if kind in NOT_SENT_KINDS:  # of those the address may be the reason
                detail = f"{shown_origin(url)}{self._through}: {detail}"
            if isinstance(error, TimeoutError):
                detail = f"no complete reply within {self._timeouts.total:g} s"
            return seen.observation(flight.sent, failure=kind, detail=detail)
        finally:
            seen.release()
        return seen.observation(flight.sent)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._transport.aclose()

    async def _read(self, request: httpcore.Request, seen: _Seen, flight: Flight, handshake: Handshake) -> None:
        try:
            response = await self._transport.handle_async_request(request)
        except BaseException:
            await handshake.abandon()
            raise
        try:
            if flight.sent is not Sent.STARTED:
                self._hook.refute()
                flight.sent = Sent.UNKNOWN
            seen.status = response.status
            seen.headers = response.headers
            if seen.large is not None and _announced(response.headers) > seen.limit:
                seen.size = seen.limit + 1
                return
            async for chunk in response.aiter_stream():
                await seen.take(chunk)
                if seen.size > seen.limit:
                    break
        finally:
            await response.aclose()


def _announced(headers: Headers) -> int:
    """The length in bytes that a reply announces, 0 where it does not."""
    length = next((value for name, value in headers if name.lower() == b"content-length"), b"")
    return int(length) if length.isdigit() and len(length) < 16 else 0


class _Seen:
    """What has arrived of a reply so far; kept beside the exchange because a failure must not lose it."""

    __slots__ = ("chunks", "headers", "held", "large", "limit", "size", "status")

    def __init__(self, limit: int, large: anyio.Semaphore | None) -> None:
        self.limit = limit
        self.large = large
        self.held = False
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.size = 0

    async def take(self, chunk: bytes) -> None:
        """Keep a piece; a long reply waits here for its turn."""
        self.chunks.append(chunk)
        self.size += len(chunk)
        if self.size > LARGE and self.large is not None and not self.held:
            await self.large.acquire()
            self.held = True

    def release(self) -> None:
        """Let the next long reply be read."""
        if self.held and self.large is not None:
            self.held = False
            self.large.release()

    def observation(self, sent: Sent, *, failure: str | None = None, detail: str = "") -> Observation:
        headers: dict[str, str] = {}
        for raw_name, raw_value in self.headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if failure is None and self.size > self.limit:
            detail = f"the reply is longer than {self.limit} bytes"
        body = b"".join(self.chunks)[: self.limit]
        if "content-encoding" in headers:
            body = unpacked(body, headers["content-encoding"], self.limit)
        return Observation(sent=sent, status=self.status, headers=headers, body=body, failure=failure, detail=detail)


def unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """A body somebody compressed although ``identity`` was asked for, at most ``limit`` bytes of it; unchanged if it
    is not what it says.
    """
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(wbits=47 if "gzip" in encoding.lower() else 15).decompress(body, limit)
    except zlib.error:
        return body


def name_failure(error: BaseException, stage: str) -> tuple[str, str]:
    """The kind of a failure (see ``Observation``) and its own words. It names what happened; it proves nothing."""
    chain = list(_chain(error))
    words = next((str(link) for link in reversed(chain) if str(link)), type(error).__name__)
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in chain):
        return "certificate", words
    if isinstance(error, SpokeFirstError):
        return "protocol", "bytes came before the request was sent"
    if isinstance(error, httpcore.ProxyError):
        return "proxy", words
    if isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout):
        if any(isinstance(link, socket.gaierror) for link in chain):
            return "dns", words
        handshake = "start_tls" in stage or any(isinstance(link, ssl.SSLError) for link in chain)
        return ("tls" if handshake else "connect"), words
    if isinstance(error, httpcore.UnsupportedProtocol | httpcore.LocalProtocolError):
        return "refused-before-sending", words
    if isinstance(error, httpcore.WriteError | httpcore.WriteTimeout):
        return "write", words
    if isinstance(error, httpcore.ReadError | httpcore.ReadTimeout | OSError):  # OSError: TLS trouble comes as it is
        return "read", words
    if isinstance(error, httpcore.RemoteProtocolError):
        return "protocol", words
    return "other", f"{type(error).__name__}: {words}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came from, outermost first."""
    link: BaseException | None = error
    for _ in range(20):
        if link is None:
            return
        yield link
        link = link.exceptions[0] if isinstance(link, BaseExceptionGroup) else link.__cause__ or link.__context__
