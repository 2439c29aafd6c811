"""A minimal service in a process of its own: every POST is accepted after so many milliseconds.

    python -m bench.loopback [MILLISECONDS]

Prints its port. ``GET /window`` answers with how many POSTs it has accepted since it was last asked, and the seconds
from the first one's arrival to the last one's reply: submitting as the service sees it, without start-up and ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass


class _Window:
    """The POSTs since the last look."""

    def __init__(self) -> None:
        self.number = 0
        self.reset()

    def reset(self) -> None:
        self.count, self.first, self.last = 0, 0.0, 0.0


class _Service(asyncio.Protocol):
    """One connection: HTTP/1.1 with lengths, one request at a time, as our clients speak it."""

    def __init__(self, window: _Window, delay: float) -> None:
        self._window, self._delay, self._data = window, delay, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        if head.startswith(b"GET"):
            self._data = b""
            window = self._window
            self._reply(json.dumps({"count": window.count, "seconds": window.last - window.first}).encode())
            window.reset()
            return
        at = head.lower().index(b"content-length:") + 15
        if len(body) < int(head[at : at + 12].split(b"\r")[0]):
            return
        self._data = b""
        if not self._window.count and not self._window.first:
            self._window.first = time.perf_counter()
        asyncio.get_running_loop().call_later(self._delay, self._accept)

    def _accept(self) -> None:
        window = self._window
        window.number += 1
        window.count += 1
        self._reply(b'{"code":200,"data":[{"status":"submitted","task_id":"task_%022d"}]}' % window.number)
        window.last = time.perf_counter()

    def _reply(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)


async def _serve(delay: float) -> None:
    window = _Window()
    server = await asyncio.get_running_loop().create_server(lambda: _Service(window, delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@dataclass(frozen=True, slots=True)
class Loopback:
    """The service as a stage uses it."""

    url: str
    pid: int

    def window(self) -> tuple[int, float]:
        """POSTs accepted since the last call, and the seconds they took."""
        with urllib.request.urlopen(f"{self.url}/window") as reply:
            found = json.load(reply)
        return int(found["count"]), float(found["seconds"])


@contextlib.contextmanager
def loopback(milliseconds: float) -> Iterator[Loopback]:
    """The service, while the block runs."""
    command = [sys.executable, "-m", "bench.loopback", str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield Loopback(f"http://127.0.0.1:{int(server.stdout.readline())}", server.pid)
        finally:
            server.kill()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]) / 1000))
