"""Downloads: whole or named, without the key, and never into this machine's own network."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.api.client import connect
from seedream_jobs.api.connection import Timeouts
from seedream_jobs.api.credentials import Access, ApiKey, endpoint
from seedream_jobs.api.downloads import CHUNK, Download, Downloads
from seedream_jobs.api.network import why_refused
from seedream_jobs.errors import UsageError

PNG = b"\x89PNG" + bytes(5000)
PUBLIC = "https://api.apimart.ai"


def serving(
    body: bytes = PNG, status: str = "200 OK", *headers: str, length: int | None = None
) -> Callable[[Any], None]:
    size = len(body) if length is None else length
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {size}", "Content-Type: image/png", *headers)

    def script(wire: Any) -> None:
        if wire.read_request():
            wire.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            wire.fin()

    return script


async def get(base: str, url: str, *, max_bytes: int = 10_000_000, **options: Any) -> tuple[Download, bytes]:
    got: list[bytes] = []
    async with Downloads(base, user_agent="tests", **options) as downloads:
        download = await downloads.get(url, got.append, max_bytes=max_bytes)
    return download, b"".join(got)


async def no_lookup(host: str, port: int) -> list[str]:
    raise AssertionError(f"{host} was looked up")


def to(*addresses: str) -> Callable[[str, int], Any]:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve


pytestmark = pytest.mark.anyio


async def test_a_download_from_the_emulator(wire_server: Callable[..., Any]) -> None:
    """Absolute or relative; no key, no cookie, no compression asked for."""
    server = wire_server(serving())
    base = f"http://127.0.0.1:{server.port}"
    for url in (f"{base}/images/a.png", "/images/a.png", "images/a.png"):
        download, body = await get(base, url)
        assert download == Download(status=200)
        assert body == PNG
    for request in server.requests:
        assert request.startswith(b"GET /images/a.png HTTP/1.1\r\n")
        assert b"authorization" not in request.lower()
        assert b"Accept-Encoding: identity\r\n" in request


async def test_large_bodies_come_in_large_pieces(wire_server: Callable[..., Any]) -> None:
    """About a mebibyte at a time: hashing and writing cost per call."""
    server = wire_server(serving(bytes(range(256)) * 20_000))
    sizes: list[int] = []
    async with Downloads(f"http://127.0.0.1:{server.port}", user_agent="t") as downloads:
        download = await downloads.get("/a", lambda piece: sizes.append(len(piece)))
    assert (sum(sizes), download.problem) == (5_120_000, None)
    assert all(CHUNK <= size <= CHUNK + 65536 for size in sizes[:-1])


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (serving(PNG, length=6000), "of 6000 bytes"),
        (serving(PNG, "404 Not Found"), "HTTP 404"),
        (serving(PNG, "403 Forbidden"), "HTTP 403"),
        (serving(PNG, "206 Partial Content"), "HTTP 206"),
        (serving(b"", "304 Not Modified"), "HTTP 304"),
        (serving(PNG, "200 OK", "Content-Encoding: gzip"), "compressed"),
        (serving(bytes(200_001)), "200001 bytes announced"),
        (lambda wire: (wire.read_request(), wire.send(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(300_000)), wire.fin()),
         "more than 200000"),
        (lambda wire: (wire.read_request(), wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"),
                       wire.fin()), "broken off"),
        (lambda wire: wire.rst(), ""),
        (lambda wire: (wire.read_request(), wire.fin()), "disconnected"),
        (lambda wire: (wire.read_request(), wire.send(b"?\r\n\r\n"), wire.fin()), ""),
        (lambda wire: wire.hold(), ""),
    ],
)  # fmt: skip
async def test_a_broken_download_has_a_problem(wire_server: Callable[..., Any], script: Any, said: str) -> None:
    """Never an exception, never a silent half; the network's trouble is not a refusal."""
    server = wire_server(script)
    download, body = await get(
        f"http://127.0.0.1:{server.port}", "/a", max_bytes=200_000, timeouts=Timeouts(read=0.4, total=5)
    )
    assert download.problem is not None
    assert said in download.problem
    assert not download.refused
    assert len(body) <= 200_000


async def test_a_drip_ends_with_the_total(wire_server: Callable[..., Any]) -> None:
    """Each read is in time, the whole is not."""

    def drip(wire: Any) -> None:
        wire.read_request()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while not wire.server.ended.wait(0.02):
            wire.sock.sendall(b"x")

    server = wire_server(drip)
    download, _ = await get(f"http://127.0.0.1:{server.port}", "/a", timeouts=Timeouts(total=0.4))
    assert download.problem == "not complete within 0.4 s"


async def test_what_the_writer_raises_is_the_callers(wire_server: Callable[..., Any]) -> None:
    """A full disk is not a network problem."""
    server = wire_server(serving())

    def full(piece: bytes) -> None:
        raise OSError(28, "No space left on device")

    async with Downloads(f"http://127.0.0.1:{server.port}", user_agent="t") as downloads:
        with pytest.raises(OSError, match="No space left"):
            await downloads.get("/a", full)


def redirecting(location: str, status: int = 302) -> Callable[[Any], None]:
    return serving(b"", f"{status} Moved", f"Location: {location}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_by_hand(wire_server: Callable[..., Any], status: int) -> None:
    """Relative ones too; the last reply counts."""

    def script(wire: Any) -> None:
        moved = b"GET /a " not in (request := wire.read_request())
        if request:
            wire.buffer = b""
            (redirecting("../a", status) if moved else serving())(_Again(wire))

    server = wire_server(script)
    download, body = await get(f"http://127.0.0.1:{server.port}", "/x/y")
    assert (download.status, download.problem, body) == (200, None, PNG)


class _Again:
    """A wire whose request has been read."""

    def __init__(self, wire: Any) -> None:
        self._wire = wire

    def read_request(self) -> bytes:
        return b"read"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)


@pytest.mark.parametrize(
    "location",
    [
        "/a",
        "http://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:10.0.0.1]/",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "ftp://example.org/a",
        "https://user:pw@example.org/",
    ],
)
async def test_each_redirect_is_checked_again(wire_server: Callable[..., Any], location: str) -> None:
    """A loop ends after five; nowhere private, no other scheme."""
    server = wire_server(redirecting(location))
    download, body = await get(f"http://127.0.0.1:{server.port}", "/a")
    assert download.refused
    assert body == b""
    assert len(server.requests) <= 6


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.png",
        "http://127.0.0.1/a",
        "http://localhost/a",
        "file:///etc/passwd",
        "gopher://example.org/",
        "//user@example.org/a",
        "https://x.example:0/",
        "https://exa mple.org:99999/",
    ],
)
async def test_links_that_are_not_even_looked_up(url: str) -> None:
    """With the real service only https goes out; plain HTTP is for the emulator."""
    download, _ = await get(PUBLIC, url, resolve=no_lookup)
    assert download.refused


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["93.184.216.34", "192.168.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%eth0"],
        ["64:ff9b::a00:1"],
        ["100.64.0.1"],
        ["0.0.0.0"],
        ["not an address"],
    ],
)
async def test_a_name_that_leads_inside_is_refused(addresses: list[str]) -> None:
    """After DNS; one bad answer among good ones is enough."""
    download, _ = await get(PUBLIC, "https://images.example/a.png", resolve=to(*addresses))
    assert download.refused
    assert "images.example" in str(download.problem)


async def test_odd_spellings_of_loopback_are_refused_by_the_real_resolver() -> None:
    """127.1, decimal and hexadecimal forms mean loopback to a resolver."""
    for host in ("127.1", "2130706433", "0x7f000001", "localhost", "127.0.0.1", "[::1]", "[::ffff:7f00:1]"):
        download, _ = await get(PUBLIC, f"https://{host}/a.png")
        assert download.problem, host
        assert download.refused or "looked up" in download.problem, host


async def test_the_connection_goes_to_the_address_that_was_checked(
    wire_server: Callable[..., Any], authority: Any
) -> None:
    """One lookup for check and connection, so a rebinding name has no second chance; TLS still verifies the name."""
    lookups: list[str] = []

    def script(wire: Any) -> None:
        if wire.start_tls(authority.server("elsewhere")):
            serving()(wire)

    server = wire_server(script)

    async def resolve(host: str, port: int) -> list[str]:
        lookups.append(host)
        return ["127.0.0.1"] if len(lookups) == 1 else ["10.0.0.1"]

    base = f"http://127.0.0.1:{server.port}"
    url = f"https://elsewhere.example:{server.port}/a"
    download, body = await get(base, url, resolve=resolve, tls=authority.client())
    assert (download.problem, body, lookups) == (None, PNG, ["elsewhere.example"])
    download, _ = await get(base, f"https://another.example:{server.port}/a", resolve=to("127.0.0.1"),
                            tls=authority.client())  # fmt: skip
    assert "certificate" in str(download.problem).lower()


async def test_the_next_address_is_tried(wire_server: Callable[..., Any]) -> None:
    """A host with two addresses, the first of which does not answer."""
    server = wire_server(serving())
    resolve = to("127.0.0.9", "127.0.0.1")
    download, body = await get(f"http://127.0.0.1:{server.port}", f"http://localhost:{server.port}/a", resolve=resolve)
    assert (download.problem, body) == (None, PNG)


async def test_behind_a_proxy_the_proxy_connects_but_names_are_still_checked(wire_server: Callable[..., Any]) -> None:
    """A name only the proxy knows goes there; one that leads inside does not."""
    server = wire_server(lambda wire: (wire.read_head(), wire.send(b"HTTP/1.1 403 No\r\n\r\n"), wire.fin()))
    proxy = f"http://127.0.0.1:{server.port}"

    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("unknown")

    download, _ = await get(PUBLIC, "https://images.example/a", resolve=unknown, proxy=proxy)
    assert not download.refused
    assert server.connections == 1
    download, _ = await get(PUBLIC, "https://images.example/a", resolve=to("10.0.0.1"), proxy=proxy)
    assert download.refused
    assert server.connections == 1


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("data:image/png;base64," + base64.b64encode(PNG).decode(), PNG),
        ("DATA:image/png;base64," + base64.b64encode(PNG).decode(), PNG),
        ("data:image/svg+xml;charset=utf-8,%3Csvg%3E", b"<svg>"),
        ("data:;base64,QUI%3D", b"AB"),
    ],
)
async def test_data_links_are_the_image_itself(url: str, body: bytes) -> None:
    """No network is touched."""
    download, got = await get(PUBLIC, url, resolve=no_lookup)
    assert (download.problem, got) == (None, body)


@pytest.mark.parametrize("url", ["data:", "data:image/png", "data:image/png;base64,@@", "data:," + "a" * 20_000_000])
async def test_bad_data_links_are_refused(url: str) -> None:
    """Also one that is too large."""
    download, got = await get(PUBLIC, url, resolve=no_lookup)
    assert download.refused
    assert got == b""


@settings(deadline=None)
@given(st.ip_addresses())
def test_only_global_addresses_are_ever_dialled(address: Any) -> None:
    """Law, against the standard library's own register."""
    if why_refused(str(address), loopback_allowed=False) is None:
        assert address.is_global
        assert not address.is_multicast
    if not address.is_loopback:
        assert (why_refused(str(address), loopback_allowed=True) is None) == (
            why_refused(str(address), loopback_allowed=False) is None
        )


@pytest.mark.parametrize("v4", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0"])
def test_wrapped_addresses_are_unwrapped(v4: str) -> None:
    """Mapped, NAT64, 6to4 and the old compatible form of an inner address are as bad as the address."""
    from ipaddress import IPv4Address

    number = int(IPv4Address(v4))
    low = f"{number >> 16:x}:{number & 0xFFFF:x}"
    for wrapped in (f"::ffff:{low}", f"64:ff9b::{low}", f"2002:{low}::1", f"::{low}", f"64:ff9b:1::{low}"):
        assert why_refused(wrapped, loopback_allowed=False), wrapped
    assert why_refused("8.8.8.8", loopback_allowed=False) is None
    assert why_refused("64:ff9b::808:808", loopback_allowed=False) is None


async def test_a_data_link_in_capitals() -> None:
    """RFC 2397 has no case."""
    assert await get(PUBLIC, "Data:IMAGE/png;BASE64," + base64.b64encode(PNG).decode()) == (Download(status=200), PNG)


async def test_client_and_downloads_share_one_tls_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the authorities takes 40 ms; where they can't be read, nothing is begun."""
    made: list[Any] = []
    monkeypatch.setattr(httpx, "create_ssl_context", lambda: made.append(1) or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    access = Access(endpoint=endpoint(PUBLIC), key=ApiKey("sk-test"))
    async with connect(access, workers=1, environment={}) as (_, downloads):
        await downloads._pool(httpx.URL("https://a.example/x"))
    assert made == [1]


async def test_tls_that_can_not_be_set_up_is_no_images_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a service on this machine the authorities are read for the first https link; the run is refused then."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at-all.pem")
    access = Access(endpoint=endpoint("http://127.0.0.1:9"), key=ApiKey("sk-test"))
    async with connect(access, workers=1, environment={}) as (_, downloads):
        with pytest.raises(UsageError, match="TLS can't be set up"):
            await downloads.get("https://a.example/x.png", lambda _: None)
