"""What can go wrong on the wire, by name: each fault is what the server does to a connection. No test by itself;
``test_wire_faults`` loads this file and runs each of them through the real client.
"""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ID = "task_01K8ABCDEFGHJKMNPQRSTVWXYZ"
JSON = b'{"code":200,"data":[{"status":"submitted","task_id":"%s"}]}' % ID.encode()
Script = Callable[[Any], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A named fault.

    :param certificate: the server's, for a fault inside TLS
    :param proxy: the server is the client's proxy
    :param size: bytes of the POST's body
    :param posts: how many POSTs the client makes, one after the other, on one lane
    :param short: which of the client's timeouts is short
    """

    name: str
    layer: str
    script: Script
    certificate: str | None = None
    https: bool = False
    proxy: bool = False
    size: int = 60
    posts: int = 1
    short: str | None = None
    listening: bool = True
    minimum_tls_1_3: bool = False


FAULTS: list[Fault] = []


def fault(layer: str, **options: Any) -> Callable[[Script], Script]:
    """Enter a script under its own name."""

    def enter(script: Script) -> Script:
        name = script.__name__.replace("_", "-")
        FAULTS.append(Fault(name=name, layer=layer, script=script, **options))
        return script

    return enter


def entered(layer: str, name: str, script: Script, **options: Any) -> None:
    """Enter a script that was made."""
    FAULTS.append(Fault(name=name, layer=layer, script=script, **options))


def response(body: bytes = JSON, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


# --- connect ----------------------------------------------------------------------------------------------------------


@fault("connect", listening=False)
def refuse(wire: Any) -> None:
    """Nobody listens."""


@fault("connect")
def accept_and_close(wire: Any) -> None:
    wire.fin()


@fault("connect")
def accept_and_reset(wire: Any) -> None:
    wire.sock.recv(1, socket.MSG_PEEK)  # something has come, and is not read
    wire.rst()


@fault("connect", short="read")
def accept_and_be_silent(wire: Any) -> None:
    wire.hold()


# --- a proxy's CONNECT ------------------------------------------------------------------------------------------------

for _status in ("403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway", "301 Moved"):
    entered("connect", f"proxy-answers-{_status[:3]}",
            lambda wire, status=_status: (wire.read_head(), wire.send(response(b"", status)), wire.fin()),
            proxy=True, https=True)  # fmt: skip


@fault("connect", proxy=True, https=True)
def proxy_closes(wire: Any) -> None:
    wire.read_head()
    wire.fin()


@fault("connect", proxy=True, https=True, short="read")
def proxy_is_silent(wire: Any) -> None:
    wire.hold()


@fault("connect", proxy=True, https=True)
def proxy_talks_garbage(wire: Any) -> None:
    wire.read_head()
    wire.send(b"\x00\x01 what?\r\n\r\n")
    wire.fin()


@fault("connect", proxy=True, https=True)
def proxy_resets_in_the_handshake(wire: Any) -> None:
    wire.read_head()
    wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    wire.read_some()
    wire.rst()


@fault("response", proxy=True, https=True, certificate="good")
def proxy_lets_through_and_the_server_resets(wire: Any) -> None:
    wire.read_head()
    wire.buffer = b""
    wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    wire.start_tls(wire.server.tls)
    wire.read_request()
    wire.rst()


# --- TLS --------------------------------------------------------------------------------------------------------------


@fault("tls", https=True)
def tls_garbage(wire: Any) -> None:
    wire.read_some()
    wire.send(b"\x00" * 200)
    wire.fin()


@fault("tls", https=True)
def tls_answered_in_plain_http(wire: Any) -> None:
    wire.read_some()
    wire.send(response(b"", "400 Bad Request"))
    wire.fin()


@fault("tls", https=True)
def tls_closed_in_the_handshake(wire: Any) -> None:
    wire.read_some()
    wire.fin()


@fault("tls", https=True)
def tls_reset_in_the_handshake(wire: Any) -> None:
    wire.read_some()
    wire.rst()


@fault("tls", https=True, short="connect")
def tls_stalls_in_the_handshake(wire: Any) -> None:
    wire.hold()


def _serve_tls(wire: Any) -> None:
    if wire.start_tls(wire.server.tls):
        wire.read_request()
        wire.send(response())
        wire.fin()


for _certificate in ("expired", "stranger", "elsewhere"):
    entered("tls", f"tls-certificate-{_certificate}", _serve_tls, https=True, certificate=_certificate)
entered("tls", "tls-version-too-old", _serve_tls, https=True, certificate="good", minimum_tls_1_3=True)
entered("tls", "tls-client-certificate-demanded", _serve_tls, https=True, certificate="demanding")
entered("response", "tls-and-all-is-well", _serve_tls, https=True, certificate="good")


@fault("response", https=True, certificate="good")
def tls_reset_after_the_post(wire: Any) -> None:
    wire.start_tls(wire.server.tls)
    wire.read_request()
    wire.rst()


@fault("body", https=True, certificate="good")
def tls_cut_inside_the_reply(wire: Any) -> None:
    wire.start_tls(wire.server.tls)
    wire.read_request()
    wire.send(response()[:-20])
    wire.fin()


# --- while the POST is being sent -------------------------------------------------------------------------------------


@fault("headers")
def reset_inside_the_head(wire: Any) -> None:
    wire.sock.recv(10)
    wire.server.received += 10
    wire.rst()


@fault("headers", size=4_000_000)
def reset_after_the_head(wire: Any) -> None:
    wire.read_head()
    wire.rst()


@fault("headers", size=4_000_000)
def reset_inside_the_body(wire: Any) -> None:
    while len(wire.buffer) < 500_000:
        wire.read_some()
    wire.rst()


@fault("headers", size=16_000_000, short="write")
def stop_reading_inside_the_body(wire: Any) -> None:
    wire.read_head()
    wire.server.ended.wait()


@fault("headers")
def refuse_413_after_the_head(wire: Any) -> None:
    wire.read_head()
    wire.send(response(b'{"error":{"code":413,"message":"too large"}}', "413 Too Large", "Connection: close"))
    wire.fin()


@fault("headers")
def refuse_401_after_the_head(wire: Any) -> None:
    wire.read_head()
    wire.send(response(b'{"error":{"code":401,"message":"who?"}}', "401 Unauthorized", "Connection: close"))
    wire.fin()


# --- instead of a reply -----------------------------------------------------------------------------------------------


def _answer(*parts: bytes, end: str = "fin") -> Script:
    """Read the POST whole, send these bytes, then end: ``fin``, ``rst`` or ``hold``."""

    def script(wire: Any) -> None:
        if wire.read_request():
            for part in parts:
                wire.send(part)
            getattr(wire, end)()

    return script


for _end in ("fin", "rst", "hold"):
    for _name, _part in {
        "no-reply": b"",
        "half-a-status-line": b"HTTP/1.1 20",
        "a-status-line": b"HTTP/1.1 200 OK\r\n",
        "half-the-headers": b"HTTP/1.1 200 OK\r\nContent-Length: 88\r\nX-",
        "headers-and-no-body": response()[: -len(JSON)],
        "half-the-body": response()[:-20],
        "the-body-but-one-byte": response()[:-1],
    }.items():
        if _end == "hold" and _name not in ("no-reply", "half-the-headers", "half-the-body"):
            continue  # each costs a timeout
        _late = {"short": "read"} if _end == "hold" else {}
        entered("body" if "body" in _name else "response", f"{_name}-then-{_end}", _answer(_part, end=_end), **_late)

for _name, _part in {
    "bad-status-line": b"HTP/1.1 200 OK\r\n\r\n",
    "bad-http-version": b"HTTP/9.9 200 OK\r\n\r\n" + JSON,
    "no-http-at-all": JSON,
    "binary-garbage": bytes(range(256)) * 8,
    "http-2-frames": b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64" * 3,
    "status-of-two-digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "header-without-colon": b"HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n" + JSON,
    "header-with-nul": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 88\r\n\r\n" + JSON,
    "huge-header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000 + b"\r\n\r\n",
    "many-headers": b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 50_000 + b"\r\n",
    "length-not-a-number": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + JSON,
    "length-negative": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + JSON,
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 88\r\n\r\n" + JSON,
    "length-too-large": response(length=len(JSON) + 5),
    "length-too-small": response(length=len(JSON) - 5),
    "chunk-size-not-hex": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "last-chunk-missing": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    "unknown-transfer-encoding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: magic\r\n\r\n" + JSON,
    "continue-then-end": b"HTTP/1.1 100 Continue\r\n\r\n",
    "switching-protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
}.items():
    entered("response", _name, _answer(_part))


@fault("response", short="total")
def informational_storm(wire: Any) -> None:
    wire.read_request()
    while not wire.server.ended.wait(0.002):
        wire.sock.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")


@fault("response", short="total")
def headers_drip(wire: Any) -> None:
    wire.read_request()
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
        wire.sock.sendall(bytes([byte]))
        wire.server.ended.wait(0.02)


@fault("body", short="total")
def body_drips(wire: Any) -> None:
    wire.read_request()
    wire.sock.sendall(response(length=5000)[: -len(JSON)])
    for _ in range(5000):
        wire.sock.sendall(b" ")
        wire.server.ended.wait(0.02)


# --- replies that mean something --------------------------------------------------------------------------------------

for _name, _part in {
    "accepted": response(),
    "accepted-in-one-byte-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in JSON)
    + b"0\r\nTrailer: t\r\n\r\n",
    "accepted-after-continue": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + response(),
    "accepted-in-http-1.0": b"HTTP/1.0 200 OK\r\n\r\n" + JSON,
    "accepted-as-event-stream": response(b"data: " + JSON + b"\n\n", "200 OK", "Content-Type: text/event-stream"),
    "accepted-in-gzip": response(gzip.compress(JSON), "200 OK", "Content-Encoding: gzip"),
    "gzip-that-is-none": response(b"\x1f\x8b garbage", "200 OK", "Content-Encoding: gzip"),
    "gzip-bomb": response(gzip.compress(b" " * 50_000_000), "200 OK", "Content-Encoding: gzip"),
    "unknown-content-encoding": response(b"\x0b\x02\x80", "200 OK", "Content-Encoding: br"),
    "body-over-the-limit": response(b" " * 1_200_000 + JSON),
    "empty-200": response(b""),
    "html-200": response(b"<html><body>welcome</body></html>"),
    "no-content-204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "moved-302": response(b"", "302 Found", "Location: /v1/images/generations"),
    "moved-307": response(b"", "307 Temporary Redirect", "Location: /v1/images/generations"),
    "moved-308": response(b"", "308 Permanent Redirect", "Location: /v1/images/generations"),
    "not-modified-304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "unauthorized-401": response(b"{}", "401 Unauthorized", "WWW-Authenticate: Bearer"),
    "payment-402": response(b"{}", "402 Payment Required"),
    "timeout-408": response(b"", "408 Request Timeout", "Connection: close"),
    "too-many-429": response(b"{}", "429 Too Many Requests", "Retry-After: 2"),
    "misdirected-421": response(b"", "421 Misdirected Request"),
    "error-500": response(b"{}", "500 Internal Server Error"),
    "bad-gateway-502-html": response(b"<html>", "502 Bad Gateway"),
    "unavailable-503": response(b"", "503 Service Unavailable", "Retry-After: 1"),
    "error-inside-200": response(b'{"code":500,"data":[]}'),
}.items():
    entered("reply", _name, _answer(_part))


# --- a connection kept for a second POST ------------------------------------------------------------------------------


@fault("reuse", posts=2)
def reused(wire: Any) -> None:
    while wire.read_request():
        wire.send(response())


@fault("reuse", posts=2)
def closed_while_idle(wire: Any) -> None:
    if wire.read_request():
        wire.send(response())
        wire.fin()


@fault("reuse", posts=2)
def reset_while_idle(wire: Any) -> None:
    if wire.read_request():
        wire.send(response())
        wire.server.pause.wait(5)
        wire.rst()


@fault("reuse", posts=2)
def closed_with_the_reply(wire: Any) -> None:
    if wire.read_request():
        wire.send(response(JSON, "200 OK", "Connection: close"))
        wire.fin()


@fault("reuse", posts=2)
def idle_connection_gets_a_408(wire: Any) -> None:
    if wire.read_request():
        wire.send(response())
        wire.server.pause.wait(5)
        wire.send(response(b"", "408 Request Timeout", "Connection: close"))
        wire.fin()


@fault("reuse", posts=2)
def idle_connection_gets_another_reply(wire: Any) -> None:
    if wire.read_request():
        wire.send(response())
        wire.server.pause.wait(5)
        wire.send(response(JSON.replace(b"task_", b"task_FORGED")))
        wire.read_request()


@fault("reuse", posts=2)
def reset_at_the_second_post(wire: Any) -> None:
    wire.read_request()
    wire.send(response())
    wire.sock.recv(1)
    wire.server.received += 1
    wire.rst()


@fault("reuse", posts=2)
def second_post_read_and_connection_ended(wire: Any) -> None:
    wire.read_request()
    wire.send(response())
    wire.read_request()
    wire.fin()


@fault("reuse", posts=2)
def two_replies_at_once(wire: Any) -> None:
    wire.read_request()
    wire.send(response() + response(JSON.replace(b"task_", b"task_FORGED")))
    wire.read_request()
    wire.rst()


@fault("reuse", posts=2)
def half_a_reply_after_the_reply(wire: Any) -> None:
    wire.read_request()
    wire.send(response() + b"HTTP/1.1 200 OK\r\nContent-Le")
    wire.read_request()
    wire.rst()
