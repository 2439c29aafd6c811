"""A server made of a raw socket and threads: it does to a connection what it is told, and logs what it read."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

PATIENCE = 10.0  # seconds after which a thread of a failed test gives up


@pytest.fixture
def anyio_backend() -> str:
    """The client is run as the program runs it."""
    return "asyncio"


class Wire:
    """One accepted connection."""

    def __init__(self, server: WireServer, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.buffer = b""
        self.log: list[str] = []

    def read_some(self) -> bytes:
        """Whatever comes next; empty at the end."""
        try:
            data = self.sock.recv(65536)
        except (OSError, ssl.SSLError):
            data = b""
        self.buffer += data
        self.server.received += len(data)
        return data

    def read_head(self) -> bytes:
        """The request's head, up to its empty line."""
        while b"\r\n\r\n" not in self.buffer:
            if not self.read_some():
                break
        return self.buffer.partition(b"\r\n\r\n")[0]

    def read_request(self) -> bytes:
        """One whole request; a whole POST is entered in the server's books. Empty if the client went away."""
        head = self.read_head()
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        size = len(head) + 4 + length
        while len(self.buffer) < size:
            if not self.read_some():
                return b""
        request, self.buffer = self.buffer[:size], self.buffer[size:]
        if request.startswith(b"POST "):
            self.server.posts += 1
        self.server.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        """Send, unless the client has gone."""
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def fin(self) -> None:
        """End our half in good order, and read on until the client ends its own: no reset is provoked."""
        with contextlib.suppress(OSError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock = self.sock.unwrap()
            self.sock.shutdown(socket.SHUT_WR)
        while self.read_some():
            pass

    def rst(self) -> None:
        """Reset the connection."""
        raw = self.sock
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()

    def start_tls(self, context: ssl.SSLContext) -> bool:
        """Become a TLS server; whether the client agreed."""
        try:
            self.sock = context.wrap_socket(self.sock, server_side=True)
        except (OSError, ssl.SSLError):
            return False
        return True

    def hold(self) -> None:
        """Do nothing until the client goes away or the test ends."""
        while not self.server.ended.is_set():
            if not self.read_some():
                self.server.ended.wait(0.05)
                return


class WireServer:
    """Listens on a loopback port and runs ``script`` on each connection, in a thread of its own."""

    def __init__(self, script: Callable[[Wire], object], *, backlog: int = 16) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.posts = 0
        self.received = 0
        self.connections = 0
        self.ended = threading.Event()
        self.failures: list[BaseException] = []
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port: int = self._socket.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._wires: list[Wire] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Stop listening, and wait for every thread."""
        self.ended.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._acceptor.join(PATIENCE)
        self._socket.close()
        for wire in self._wires:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)
        if self.failures:
            raise self.failures[0]

    def _accept(self) -> None:
        while True:
            sock, _ = self._socket.accept()
            if self.ended.is_set():
                sock.close()
                return
            self.connections += 1
            sock.settimeout(PATIENCE)
            wire = Wire(self, sock)
            self._wires.append(wire)
            thread = threading.Thread(target=self._run, args=(wire,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, wire: Wire) -> None:
        try:
            self.script(wire)
        except (OSError, ssl.SSLError):
            pass
        except BaseException as error:
            self.failures.append(error)
        finally:
            with contextlib.suppress(OSError):
                wire.sock.close()


@pytest.fixture
def wire_server() -> Iterator[Callable[..., WireServer]]:
    """A factory of servers that are closed with the test."""
    servers: list[WireServer] = []

    def start(script: Callable[[Wire], object], **options: int) -> WireServer:
        servers.append(WireServer(script, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
