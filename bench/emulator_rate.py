"""How many POSTs and GETs a second the emulator answers, so that nobody measures it by mistake.

A bare client on a few keep-alive sockets, in its own process, against an emulator in another; each figure is the
median of interleaved rounds, beside an ASGI app that does nothing behind the same server.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from bench.result import Result, Row

TITLE = "The emulator: requests a second"
CONNECTIONS = 16
REQUESTS = 3000
ROUNDS = 5
BARE = """
import asyncio, sys, uvicorn
from seedream_jobs.emulator.server import bind, url_of
from seedream_jobs.emulator.settings import Settings
from pathlib import Path
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
listener = bind(Settings(state=Path(sys.argv[1])))
print(url_of(listener), flush=True)
config = uvicorn.Config(app, http="h11", loop="asyncio", ws="none", lifespan="off", log_config=None, access_log=False)
asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
"""


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[str]:
    """A server in a process of its own; its URL."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def rate(url: str, request: bytes) -> float:
    """Requests per second over ``CONNECTIONS`` sockets that each wait for a reply before the next request."""
    parts = urlsplit(url)
    clients = [socket.create_connection((parts.hostname, parts.port)) for _ in range(CONNECTIONS)]
    poll = select.poll()
    by_number = {client.fileno(): client for client in clients}
    start = time.perf_counter()
    for client in clients:
        client.sendall(request)
        poll.register(client, select.POLLIN)
    sent, answered = CONNECTIONS, 0
    while answered < REQUESTS:
        for number, _ in poll.poll():
            client = by_number[number]
            reply = client.recv(65536)
            assert reply.startswith(b"HTTP/1.1 200"), reply[:200]
            while not _whole(reply):
                reply += client.recv(65536)
            answered += 1
            if sent < REQUESTS:
                client.sendall(request)
                sent += 1
    took = time.perf_counter() - start
    for client in clients:
        client.close()
    return REQUESTS / took


def _whole(reply: bytes) -> bool:
    head, end, body = reply.partition(b"\r\n\r\n")
    if not end:
        return False
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return len(body) >= int(length.split(b":")[1])


def post(prompt: str) -> bytes:
    """A submit as a client puts it on the wire."""
    body = json.dumps({"model": "doubao-seedream-5-0-lite", "prompt": prompt, "size": "16:9"}).encode()
    head = (
        "POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer key\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nIdempotency-Key: k\r\n\r\n"
    )
    return head.encode() + body


def run(quick: bool) -> Result:
    """Interleaved rounds against both servers."""
    emulator = ("-m", "seedream_jobs.emulator", "--balance", "1000000000", "--state")
    rows: dict[str, list[float]] = {"an app that does nothing": [], "POST": [], "GET of a task": []}
    with contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(2))
        nothing, twin = stack.enter_context(process("-c", BARE, one)), stack.enter_context(process(*emulator, two))
        get = b"GET /v1/tasks/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer key\r\n\r\n" % _task(twin)
        for _ in range(1 if quick else ROUNDS):
            rows["an app that does nothing"].append(rate(nothing, post("a heron")))
            rows["POST"].append(rate(twin, post("a heron")))
            rows["GET of a task"].append(rate(twin, get))
    return Result(
        stage="emulator_rate",
        title=TITLE,
        rows=tuple(
            Row(what=what, values=tuple(figures), unit="/s", base=what.startswith("an "))
            for what, figures in rows.items()
        ),
        notes=(f"{REQUESTS:,} requests over {CONNECTIONS} keep-alive sockets, client and server on one machine.",),
    )


def _task(url: str) -> bytes:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as client:
        client.sendall(post("a heron"))
        reply = b""
        while not _whole(reply):
            reply += client.recv(65536)
    return bytes(json.loads(reply.partition(b"\r\n\r\n")[2])["data"][0]["task_id"], "ascii")
