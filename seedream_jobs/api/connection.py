"""This module exchanges one request for one reply over one connection, bounded in size and time.

Called by ``client.py``, once per call of the service. Invariants: nothing is sent twice (HTTP/1.1 only, because
httpcore re-sends a POST after an HTTP/2 GOAWAY; no redirects, no retries); whether bytes of the request left is judged
by the transport's trace, never by an exception's class.

There is no ``AsyncClient`` and no pool around a connection: cookies, redirects and hooks must all be off, and the
bookkeeping of both costs half of a request's time.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import httpcore
import httpx

from seedream_jobs.api.network import Handshake, SpokeFirstError
from seedream_jobs.api.outcomes import NOT_SENT_KINDS, Flight, Observation, Sent
from seedream_jobs.errors import UsageError

BODY_LIMIT = 1024 * 1024  # bytes of a reply to a POST
TASK_LIMIT = 64 * 1024 * 1024  # bytes of a reply to a GET: a task's images have been seen inside it, as base64
LARGE = 1024 * 1024  # bytes of a reply to a GET from which on only one of them is read at a time
TLS_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
KEEPALIVE = 2.0  # seconds; a gateway closes idle connections, and a POST must not meet that moment
Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds for each step, and ``total`` for the whole exchange: a drip of bytes would outlive every other limit."""

    connect: float = 10.0
    write: float = 30.0
    read: float = 60.0
    total: float = 120.0


class TraceProof:
    """Whether httpcore's trace announces POSTs. Only then does its silence prove that nothing left.

    ``proven`` is set by one trial POST, and cleared as soon as a reply comes to a request that was not announced.
    """

    def __init__(self) -> None:
        self.proven = False

    async def prove(self) -> None:
        """Send a POST through httpcore over a network of no bytes, and see that its headers are announced."""

        async def trace(name: str, info: dict[str, Any]) -> None:
            self.proven = self.proven or announces_request(name, info)

        network = httpcore.AsyncMockBackend([b"HTTP/1.1 204 No Content\r\n\r\n"])
        async with httpcore.AsyncConnectionPool(network_backend=network) as pool:
            await pool.request("POST", "http://trace.invalid/", content=b"-", extensions={"trace": trace})


def announces_request(name: str, info: dict[str, Any]) -> bool:
    """Whether a trace event says that bytes of the request itself may leave.

    Any event of the HTTP layer does, but for those of a proxy's CONNECT, which share the trace.
    """
    if not name.startswith(("http11.", "http2.")):
        return False
    request = info.get("request")
    if request is None:
        return name.endswith("send_request_headers.started")
    return getattr(request, "method", b"") != b"CONNECT"


def new_pool(tls: ssl.SSLContext, proxy: str | None, **options: Any) -> httpcore.AsyncConnectionPool:
    """A pool of httpcore that speaks HTTP/1.1, through an HTTP proxy where one is named."""
    through = None if proxy is None else httpx.Proxy(proxy)
    via = None if through is None else httpcore.Proxy(url=str(through.url), auth=through.raw_auth)
    return httpcore.AsyncConnectionPool(ssl_context=tls, proxy=via, http1=True, http2=False, retries=0, **options)


def encode_url(url: httpx.URL) -> httpcore.URL:
    """An address as httpcore wants it: encoded."""
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def header_text(text: str) -> bytes:
    """Text as it may stand in a header."""
    return re.sub(r"[^ -~]", "?", text).encode("ascii")


def tls_context(base: str) -> ssl.SSLContext:
    """The TLS context for an address. Reading the authorities takes 40 ms: plain HTTP gets one that trusts nobody.

    :raises UsageError: the environment names certificates, or a log of TLS keys, where none can be
    """
    if not base.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    named = {name: value for name in TLS_VARIABLES if (value := os.environ.get(name))}  # httpx and ssl read them
    folders = named.get("SSL_CERT_DIR", "").split(os.pathsep)
    try:
        if "SSL_CERT_FILE" not in named and "SSL_CERT_DIR" in named and not any(map(os.path.isdir, folders)):
            raise FileNotFoundError(2, "No such folder")
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        words = error.reason.lower().replace("_", " ") if isinstance(error, ssl.SSLError) else error.strerror
        what = ", ".join(f"{name}={value}" for name, value in named.items()) or "the installed certificates"
        hint = f"unset {' or '.join(named)}, or name what is there" if named else "install certifi anew"
        raise UsageError(f"TLS can't be set up with {what}: {words}", hint=hint) from None


class Connection:
    """One connection, opened when needed; one request at a time.

    :param opener: makes connections and holds none; shared by all connections of a client, like ``proof``
    :param proxied: a proxy is between, which failures to connect name
    """

    def __init__(
        self, opener: httpcore.AsyncConnectionPool, *, timeouts: Timeouts, proof: TraceProof, proxied: bool
    ) -> None:
        self._opener = opener
        self._connection: httpcore.AsyncConnectionInterface | None = None
        self._total = timeouts.total
        self._limits = {
            "connect": timeouts.connect,
            "write": timeouts.write,
            "read": timeouts.read,
            "pool": timeouts.connect,
        }
        self._proof = proof
        self._through = " through the proxy of the environment" if proxied else ""

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
        flight.sent = Sent.NO if self._proof.proven else Sent.UNKNOWN
        handshake = Handshake()

        async def trace(name: str, info: dict[str, Any]) -> None:
            flight.stage = name
            if flight.sent is Sent.STARTED:
                return  # whatever comes now belongs to the request itself
            if handshake.spoken:
                return  # the connection is being closed, and nothing was sent on it
            if announces_request(name, info):
                await handshake.check_silence()
                flight.sent = Sent.STARTED
            handshake.note(name, info)

        arrived = Arrived(limit)
        try:
            extensions = {"trace": trace, "timeout": self._limits}
            request = httpcore.Request(method, url, headers=headers, content=body, extensions=extensions)
            with anyio.move_on_after(self._total) as limited:  # half the cost of ``fail_after``
                connection = await self._usable(url.origin)
                try:
                    response = await connection.handle_async_request(request)
                except BaseException:
                    await handshake.abandon()
                    raise
                try:
                    if flight.sent is not Sent.STARTED:
                        self._proof.proven = False  # a reply without an announcement: the trace is not to be trusted
                        flight.sent = Sent.UNKNOWN
                    await _read(response, arrived, large)
                finally:
                    await response.aclose()
            if limited.cancelled_caught:
                raise TimeoutError
        except Exception as error:  # whatever it is: where the bytes were decides, not its class
            if not flight.stage:  # not one event of the trace: this transport has none, or it says nothing here
                flight.sent = Sent.UNKNOWN
            kind, detail = name_failure(error, flight.stage)
            if kind in NOT_SENT_KINDS:  # of those the address may be the reason
                port = "" if url.port is None else f":{url.port}"
                detail = f"{url.scheme.decode()}://{url.host.decode()}{port}{self._through}: {detail}"
            if isinstance(error, TimeoutError):
                detail = f"no complete reply within {self._total:g} s"
            return arrived.observation(flight.sent, failure=kind, detail=detail)
        return arrived.observation(flight.sent)

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    async def _usable(self, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        """The connection of the last request, or a new one where that is closed, idle too long or not clean."""
        if self._connection is not None and not _is_clean(self._connection):
            await self.aclose()
        if self._connection is None:
            self._connection = self._opener.create_connection(origin)
        return self._connection


def _is_clean(connection: httpcore.AsyncConnectionInterface) -> bool:
    """Whether a connection may be used once more: idle, not for long, and nothing came after its last answer."""
    # Bytes after an answer are nobody's answer. On the socket they make it readable, which counts as expired; what was
    # read along with the answer lies in h11's buffer, where the next answer would be looked for.
    if not connection.is_available() or connection.has_expired():
        return False
    inner: Any = connection
    while (below := getattr(inner, "_connection", None)) is not None:
        inner = below
    state = getattr(inner, "_h11_state", None)
    return state is not None and not state.trailing_data[0]


class Arrived:
    """What has arrived of a reply so far; kept beside the exchange because a failure must not lose it.

    :param limit: bytes of the body that are read
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.status: int | None = None
        self.headers: dict[str, str] = {}  # lower-case names
        self.chunks: list[bytes] = []  # empty for a download, which is written elsewhere
        self.size = 0  # bytes of the body

    def begin(self, response: httpcore.Response) -> None:
        """Take the status and the headers; those of one name are joined."""
        self.status, self.headers = response.status, {}
        for raw_name, raw_value in response.headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value

    @property
    def announced(self) -> int | None:
        """The length in bytes that the reply announces; None where it does not."""
        length = self.headers.get("content-length", "")
        return int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None

    def observation(self, sent: Sent, *, failure: str | None = None, detail: str = "") -> Observation:
        """What was seen so far."""
        if failure is None and self.size > self.limit:
            detail = f"the reply is longer than {self.limit} bytes"
        body = b"".join(self.chunks)[: self.limit]
        if "content-encoding" in self.headers:
            body = unpacked(body, self.headers["content-encoding"], self.limit)
        return Observation(
            sent=sent, status=self.status, headers=self.headers, body=body, failure=failure, detail=detail
        )


async def _read(response: httpcore.Response, arrived: Arrived, large: anyio.Semaphore | None) -> None:
    """Read a reply up to the limit; a GET's that announces more is not read at all."""
    arrived.begin(response)
    if large is not None and (arrived.announced or 0) > arrived.limit:
        arrived.size = arrived.limit + 1
        return
    has_turn = False
    try:
        async for chunk in response.aiter_stream():
            arrived.chunks.append(chunk)
            arrived.size += len(chunk)
            if arrived.size > LARGE and large is not None and not has_turn:
                await large.acquire()  # long replies are read one after the other
                has_turn = True
            if arrived.size > arrived.limit:
                break
    finally:
        if has_turn and large is not None:
            large.release()


def unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """A body somebody compressed although ``identity`` was asked for, at most ``limit`` bytes of it; unchanged if it
    is not what it says.
    """
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        # 47 lets zlib tell gzip by its header; HTTP's deflate has the header of zlib, 15
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
    link: BaseException | None = error
    for _ in range(20):  # bounded: causes may form a circle
        if link is None:
            return
        yield link
        link = link.exceptions[0] if isinstance(link, BaseExceptionGroup) else link.__cause__ or link.__context__
