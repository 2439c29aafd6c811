"""The client on the wire: what it sends, what it knows when it is stopped, and what it makes of the other calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import anyio
import httpcore
import pytest

from seedream_jobs.api.client import Client
from seedream_jobs.api.connection import Timeouts, TraceProof
from seedream_jobs.api.credentials import ApiKey
from seedream_jobs.api.network import Handshake
from seedream_jobs.api.outcomes import Flight, Outcome, Sent
from seedream_jobs.api.replies import one_line
from seedream_jobs.errors import CredentialsError, MoneyError, SeedreamError, UnfinishedError, UsageError

pytestmark = pytest.mark.anyio
ACCEPTED = {"code": 200, "data": [{"status": "submitted", "task_id": "task_1"}]}


def answering(body: object = b"", status: str = "200 OK", *headers: str) -> Callable[[Any], None]:
    """A script that gives the same reply to every request of a connection."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = "".join(f"{header}\r\n" for header in (f"Content-Length: {len(raw)}", *headers))

    def script(wire: Any) -> None:
        while wire.read_request():
            wire.send(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + raw)

    return script


def client_of(server: Any, prefix: str = "", **options: Any) -> Client:
    options = {"workers": 1, "user_agent": "seedream-jobs/1 (tests)"} | options
    return Client(f"http://127.0.0.1:{server.port}{prefix}", "sk-secret", **options)


async def submit(client: Client, body: bytes = b"{}", *, key: str = "k", flight: Flight | None = None) -> Outcome:
    return await client.submit(0, body, idempotency_key=key, flight=flight or Flight())


async def test_the_bytes_of_a_submission(wire_server: Callable[..., Any]) -> None:
    """Each header once, the body as given, under the base URL's own path."""
    server = wire_server(answering(ACCEPTED))
    async with client_of(server, "/proxy/v1/") as client:
        await submit(client, b'{"prompt":"\xe7\x8c\xab"}', key="k-1")
    assert server.requests == [
        b"POST /proxy/v1/images/generations HTTP/1.1\r\n"
        b"Host: 127.0.0.1:%d\r\n"
        b"Authorization: Bearer sk-secret\r\n"
        b"User-Agent: seedream-jobs/1 (tests)\r\n"
        b"Accept: application/json\r\n"
        b"Accept-Encoding: identity\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: 16\r\n"
        b"Idempotency-Key: k-1\r\n"
        b"\r\n"
        b'{"prompt":"\xe7\x8c\xab"}' % server.port
    ]


@pytest.mark.parametrize("key", ["", "a b", "k\r\nX: 1", "ключ", "k" * 192])
async def test_a_bad_idempotency_key_is_refused_before_sending(wire_server: Callable[..., Any], key: str) -> None:
    """Row 2: it would fail for all, and nothing has left."""
    server = wire_server(answering(ACCEPTED))
    async with client_of(server) as client:
        outcome = await submit(client, key=key)
    assert (outcome.row, outcome.verdict, server.connections) == (2, "refused", 0)


async def test_each_worker_has_one_connection_of_its_own(wire_server: Callable[..., Any]) -> None:
    """Four workers, twelve POSTs, four connections."""
    server = wire_server(answering(ACCEPTED))
    async with client_of(server, workers=4) as client:

        async def work(worker: int) -> None:
            for _ in range(3):
                outcome = await client.submit(worker, b"{}", idempotency_key="k", flight=Flight())
                assert outcome.verdict == "accepted"

        async with anyio.create_task_group() as group:
            for worker in range(4):
                group.start_soon(work, worker)
    assert (server.connections, server.posts) == (4, 12)


@pytest.mark.slow
async def test_an_idle_connection_is_not_reused_after_two_seconds(wire_server: Callable[..., Any]) -> None:
    """A gateway closes idle connections; a POST must not meet that moment."""
    server = wire_server(answering(ACCEPTED))
    async with client_of(server) as client:
        for _ in range(2):
            await submit(client)
            await anyio.sleep(2.2)
    assert server.connections == 2


async def test_a_cancelled_post_tells_whether_it_had_left(wire_server: Callable[..., Any], authority: Any) -> None:
    """Cancelled while the server is silent: started. Cancelled inside the TLS handshake: not a byte left."""
    server = wire_server(lambda wire: wire.hold())
    here = f"127.0.0.1:{server.port}"
    for base, expected in ((f"http://{here}", Sent.STARTED), (f"https://{here}", Sent.NO)):
        flight = Flight()
        before = server.received
        async with Client(base, "sk", workers=1, user_agent="t", tls=authority.client()) as client:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:

                    async def post(client: Client = client, flight: Flight = flight) -> None:
                        await submit(client, flight=flight)

                    group.start_soon(post)
                    while server.received == before:
                        await anyio.sleep(0.005)
                    scope.cancel()
        assert scope.cancelled_caught
        assert flight.sent is expected


async def test_long_replies_to_gets_are_bounded_and_read_one_at_a_time(
    wire_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Announced too long it is not read, unannounced only so far; and of eight that are long one is in memory."""
    monkeypatch.setattr("seedream_jobs.api.client.TASK_LIMIT", 2_500_000)
    holding: list[int] = []

    class Watched:
        def __init__(self, turn: anyio.Semaphore) -> None:
            self.turn, self.holders = turn, 0

        async def acquire(self) -> None:
            await self.turn.acquire()
            self.holders += 1
            holding.append(self.holders)

        def release(self) -> None:
            self.holders -= 1
            self.turn.release()

    def long(wire: Any) -> None:
        wire.read_request()
        head = b"Content-Length: 9000000\r\n" if server.connections == 1 else b""
        wire.send(b"HTTP/1.1 200 OK\r\n" + head + b"Connection: close\r\n\r\n")
        if not head:
            wire.send(b" " * 9_000_000)

    server = wire_server(long)
    async with client_of(server) as client:
        client._large_reply = Watched(client._large_reply)  # type: ignore[assignment]
        announced = await client.task("task_1")
        reports = []

        async def ask() -> None:
            reports.append(await client.task("task_1"))

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(ask)
    assert holding == [1] * 8
    for report in (announced, *reports):
        assert report.status == "unavailable"
        assert report.problem.code == "too-long"
        assert report.problem.message == "the reply is longer than 2500000 bytes"


async def test_the_trace_is_proven_when_the_client_opens() -> None:
    """Without a network; a client that was never proven takes nothing for unsent."""
    proof = TraceProof()
    assert not proof.proven
    await proof.prove()
    assert proof.proven


async def test_a_transport_without_a_trace_leaves_everything_in_doubt(wire_server: Callable[..., Any]) -> None:
    """A ``ConnectTimeout`` without a trace is no evidence: one client library raises it after the POST."""
    server = wire_server(answering(ACCEPTED))

    async def silent(request: httpcore.Request) -> httpcore.Response:
        raise httpcore.ConnectTimeout("so it says")

    async with client_of(server) as client:
        await submit(client)
        client._workers[0]._connection.handle_async_request = silent  # type: ignore[union-attr,method-assign]
        outcome = await submit(client, flight=(flight := Flight()))
    assert (outcome.detail.split(":")[0], flight.sent, outcome.verdict) == ("connect", Sent.UNKNOWN, "in_doubt")


async def test_a_reply_that_was_never_announced_ends_all_trust_in_the_trace(wire_server: Callable[..., Any]) -> None:
    """If the trace misses one POST it may miss the next: a refused connection is then in doubt too."""
    server = wire_server(answering(ACCEPTED))

    async def silent(request: httpcore.Request) -> httpcore.Response:
        return httpcore.Response(200, content=json.dumps(ACCEPTED).encode())

    async with client_of(server) as client:
        await submit(client)
        client._workers[0]._connection.handle_async_request = silent  # type: ignore[union-attr,method-assign]
        outcome = await submit(client, flight=(flight := Flight()))
        assert (flight.sent, outcome.verdict) == (Sent.UNKNOWN, "accepted")
        await client._workers[0].aclose()
        server.close()
        outcome = await submit(client, flight=(flight := Flight()))
    assert (outcome.detail.split(":")[0], flight.sent, outcome.verdict) == ("connect", Sent.UNKNOWN, "in_doubt")


async def test_a_name_that_nobody_knows_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 3, by the resolver's own error."""
    import socket

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with Client("http://localhost:9", "sk", workers=1, user_agent="t") as client:
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        outcome = await submit(client)
    assert (outcome.row, outcome.verdict) == (3, "not_sent")
    assert "dns" in outcome.detail


async def test_a_key_that_is_quoted_back_goes_no_further(wire_server: Callable[..., Any]) -> None:
    """The gateway's "invalid token sk-…" would end in a committed manifest."""
    body = {"error": {"code": 401, "message": "无效的令牌 sk-secret", "type": "authentication_error"}}
    server = wire_server(answering(body, "401 Unauthorized"))
    async with client_of(server) as client:
        outcome = await submit(client)
        report = await client.task("task_1")
        with pytest.raises(CredentialsError) as caught:
            await client.balance()
    assert "sk-secret" not in f"{outcome}{report}{caught.value}{caught.value.message}{client}"
    assert outcome.problem is not None
    assert outcome.problem.message == "无效的令牌 ***"


@pytest.mark.parametrize("key", ["task", "x", "1", "data", "e", "https"])
async def test_a_key_that_is_a_common_word_spoils_no_reply(wire_server: Callable[..., Any], key: str) -> None:
    """A key may be any text; what it happens to occur in is read as it was sent."""
    link = "https://x.example/task/1.png"
    task = {"status": "completed", "cost": 0.11, "result": {"images": [{"url": [link], "expires_at": 1_800_000_001}]}}

    def script(wire: Any) -> None:
        while request := wire.read_request():
            raw = json.dumps(ACCEPTED if request.startswith(b"POST") else {"code": 200, "data": task}).encode()
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw)

    server = wire_server(script)
    async with Client(f"http://127.0.0.1:{server.port}", key, workers=1, user_agent="t") as client:
        outcome = await submit(client)
        report = await client.task("task_1")
    assert (outcome.verdict, outcome.task_id) == ("accepted", "task_1")
    assert (report.status, report.cost_usd) == ("completed", Decimal("0.11"))
    assert [(image.url, image.expires_at) for image in report.images] == [(link, 1_800_000_001)]


@pytest.mark.parametrize("before", range(975, 1001, 5))
def test_a_message_that_is_cut_inside_the_key_shows_no_part_of_it(before: int) -> None:
    """Messages are bounded; the beginning of a key is most of a key."""
    key = "sk-0123456789abcdef"
    said = one_line("m" * before + key)
    assert key[:8] not in ApiKey(key).mask(said)


async def test_a_task_is_asked_for_by_its_id(wire_server: Callable[..., Any]) -> None:
    """A GET with the key; an id that could be a path is never sent."""
    server = wire_server(answering({"code": 200, "data": {"id": "task_1", "status": "processing"}}))
    async with client_of(server) as client:
        assert (await client.task("task_1")).status == "running"
        assert (await client.task("../balance")).status == "refused"
    (request,) = server.requests
    assert request.startswith(b"GET /v1/tasks/task_1 HTTP/1.1\r\n")
    assert b"Authorization: Bearer sk-secret\r\n" in request
    assert b"Content-Length" not in request


async def test_a_task_may_hold_its_images(wire_server: Callable[..., Any]) -> None:
    """``data:`` links have been seen: a reply of several megabytes is read whole."""
    link = "data:image/png;base64," + "A" * 3_000_000
    task = {"code": 200, "data": {"status": "completed", "result": {"images": [{"url": [link]}]}}}
    server = wire_server(answering(task))
    async with client_of(server) as client:
        report = await client.task("task_1")
    assert [image.url for image in report.images] == [link]


async def test_trouble_on_the_way_is_unavailable_never_raised(wire_server: Callable[..., Any]) -> None:
    """Refused, reset, silent, cut off, garbage: the task is asked for again."""
    scripts: list[Callable[[Any], object]] = [
        lambda wire: wire.rst(),
        lambda wire: wire.hold(),
        lambda wire: (wire.read_request(), wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), wire.fin()),
        lambda wire: (wire.read_request(), wire.send(b"?"), wire.fin()),
    ]
    for script in scripts:
        server = wire_server(script)
        async with client_of(server, timeouts=Timeouts(read=0.3)) as client:
            assert (await client.task("task_1")).status == "unavailable"
    server.close()
    async with client_of(server) as client:
        assert (await client.task("task_1")).status == "unavailable"


async def test_readers_share_connections_and_do_not_wait_for_submissions(wire_server: Callable[..., Any]) -> None:
    """A hundred GETs at once use at most sixteen connections, and reuse them."""
    server = wire_server(answering({"data": {"status": "pending"}}))
    async with client_of(server) as client, anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(client.task, "task_1")
    assert len(server.requests) == 100
    assert server.connections <= 16


async def test_balance_and_models(wire_server: Callable[..., Any]) -> None:
    """Money is decimal; unknown fields are ignored."""
    balance = {"success": True, "remain_balance": 1.50, "used_balance": 0.1, "unlimited_quota": False, "new": 1}
    server = wire_server(answering(balance))
    async with client_of(server) as client:
        got = await client.balance()
        assert (got.remaining_usd, got.used_usd, got.unlimited) == (Decimal("1.5"), Decimal("0.1"), False)
    assert [request.split()[1] for request in server.requests] == [b"/v1/balance"]
    server = wire_server(answering({"object": "list", "data": [{"id": "a"}, {"id": "b", "x": 1}, 7]}))
    async with client_of(server) as client:
        assert await client.models() == ("a", "b")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        ("401 Unauthorized", b"{}", CredentialsError),
        ("403 Forbidden", b"<html>", CredentialsError),
        ("402 Payment Required", b"{}", MoneyError),
        ("200 OK", {"success": False, "message": "令牌错误"}, SeedreamError),
        ("200 OK", {"code": 401, "message": "x"}, CredentialsError),
        ("302 Found", b"", UsageError),
        ("404 Not Found", b"<html>", UsageError),
        ("500 Oops", b"", UnfinishedError),
        ("429 Slow", b"", UnfinishedError),
        ("200 OK", b"<html>", UnfinishedError),
        ("200 OK", {"success": True}, UnfinishedError),
    ],
)
async def test_a_refused_balance_is_one_clear_line(
    wire_server: Callable[..., Any], status: str, body: object, error: type[SeedreamError]
) -> None:
    """Each with the exit code of its kind and a next step."""
    server = wire_server(answering(body, status))
    async with client_of(server) as client:
        with pytest.raises(error) as caught:
            await client.balance()
    assert "\n" not in caught.value.message
    assert caught.value.hint


async def test_an_unreachable_host_is_unfinished_work(wire_server: Callable[..., Any]) -> None:
    """Exit 8: the same command goes on later."""
    server = wire_server(answering())
    server.close()
    async with client_of(server) as client:
        with pytest.raises(UnfinishedError, match="cannot be reached"):
            await client.models()


async def test_an_upload_is_one_part_named_file(wire_server: Callable[..., Any]) -> None:
    """As a form parser of the standard library reads it; the file's name cannot break out of its header."""
    from email import message_from_bytes

    server = wire_server(answering({"url": "https://cdn.example/x.png", "bytes": 3}))
    async with client_of(server) as client:
        url = await client.upload(b"\x89PN", 'a"\r\nX: 猫.png', "image/png")
        with pytest.raises(UsageError):
            await client.upload(b"GIF", "a.gif", "image/gif")
        with pytest.raises(UsageError):
            await client.upload(b"", "a.png", "image/png")
    assert url == "https://cdn.example/x.png"
    (request,) = server.requests
    (part,) = message_from_bytes(request.partition(b"\r\n")[2]).get_payload()  # type: ignore[misc]
    assert part.get_payload(decode=True) == b"\x89PN"
    assert part.get_content_type() == "image/png"
    assert part.get_param("name", header="Content-Disposition") == "file"
    assert set(part.keys()) == {"Content-Disposition", "Content-Type"}


@pytest.mark.parametrize("https", [False, True])
async def test_who_speaks_first_answers_nobody(
    wire_server: Callable[..., Any], authority: Any, monkeypatch: pytest.MonkeyPatch, https: bool
) -> None:
    """Bytes on a new connection before the request: it is closed, and not a byte of the POST has left."""
    check = Handshake.check_silence

    async def later(self: Handshake) -> None:
        await anyio.sleep(0.1)  # until what the server sends at once has arrived
        await check(self)

    def script(wire: Any) -> None:
        if https:
            wire.start_tls(wire.server.tls)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        wire.read_request()

    monkeypatch.setattr(Handshake, "check_silence", later)
    server = wire_server(script)
    server.tls = authority.server("good") if https else None
    here = f"{'https' if https else 'http'}://127.0.0.1:{server.port}"
    async with Client(here, "sk-test", workers=1, user_agent="tests", tls=authority.client() if https else None) as one:
        outcome = await submit(one)
    assert (outcome.row, outcome.verdict, server.posts) == (5, "not_sent", 0)
    assert "before the request was sent" in outcome.detail
