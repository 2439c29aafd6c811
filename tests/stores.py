"""Real stores for claims, each a process of its own: an S3 server (moto's) and PostgreSQL; and proxies before them.

Where one is not installed the test is skipped, and says which.
"""

from __future__ import annotations

import contextlib
import glob
import http.client
import http.server
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

PATIENCE = 120.0
ONE_BY_ONE = """
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
moto, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()
def serve(environment, start):
    with turn:
        return list(moto(environment, start))
run_simple("127.0.0.1", int(sys.argv[1]), serve, threaded=True)
"""
"""moto looks whether an object is there and writes it then, so that on a busy machine two who create it both win, and
``doctor --shared`` refuses it. Under a lock it is as atomic as the stores that it stands for."""
S3_KEYS = {"AWS_ACCESS_KEY_ID": "claims", "AWS_SECRET_ACCESS_KEY": "claims", "AWS_REGION": "us-east-1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < limit, "waited in vain for the server"
        time.sleep(0.02)


def need(*modules: str) -> None:
    """Skip where a client is not installed."""
    for name in modules:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed: seedream-jobs[cloud,postgres] and the dev extra have it")


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The address of an S3 server with the bucket ``claims``."""
    need("obstore", "moto")
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-c", ONE_BY_ONE, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port, server)
        s3_request(f"http://127.0.0.1:{port}", "PUT", "/claims")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def s3_request(endpoint: str, method: str, path: str, body: bytes | None = None) -> bytes:
    """The body of a reply, by another client than the one that is tested."""
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=PATIENCE)
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=claims/20260101/us-east-1/s3/aws4_request"}
    connection.request(method, path, body, signed)
    with contextlib.closing(connection), connection.getresponse() as reply:
        assert reply.status == 200, reply.read()
        return reply.read()


def s3_environment(endpoint: str) -> dict[str, str]:
    return {**S3_KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}


class Postgres:
    """A PostgreSQL server of an ordinary user, in a folder of its own."""

    def __init__(self) -> None:
        need("psycopg")
        places = [Path(found).parent for found in sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))]
        named = shutil.which("initdb")
        places += [Path(named).resolve().parent] if named else []
        if not places:
            pytest.skip("PostgreSQL is not installed: Debian's package is postgresql")
        self._bin = places[-1]
        self._as: list[str] = []
        self.folder = Path(tempfile.mkdtemp(prefix="seedream-jobs-postgres-"))
        if os.getuid() == 0:  # PostgreSQL does not run as root
            if shutil.which("setpriv") is None:
                pytest.skip("setpriv is not installed: PostgreSQL does not run as root")
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._as = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        self.port = free_port()
        self.url = f"postgresql://seedream@127.0.0.1:{self.port}/postgres"
        data = self.folder / "data"
        init = [*self._as, str(self._bin / "initdb"), "-D", str(data), "-U", "seedream", "-A", "trust", "--no-sync"]
        subprocess.run(init, check=True, capture_output=True, cwd="/")
        self.start()

    def start(self) -> None:
        options = [
            "-p",
            str(self.port),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={self.folder}",
        ]
        line = [*self._as, str(self._bin / "postgres"), "-D", str(self.folder / "data"), *options]
        self.process = subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True
        )
        limit = time.monotonic() + PATIENCE
        ready = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready).returncode:
            assert self.process.poll() is None, "PostgreSQL ended"
            assert time.monotonic() < limit, "waited in vain for PostgreSQL"
            time.sleep(0.05)

    def new_database(self, name: str) -> str:
        """The URL of another, empty database."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("create database {}").format(psycopg.sql.Identifier(name)))
        return self.url.replace("/postgres", f"/{name}")

    def kill(self) -> None:
        """End all of it at once, as a power cut does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        yield server
    finally:
        server.close()


class _Lossy(http.server.BaseHTTPRequestHandler):
    """Passes on what comes, and of the replies to claims keeps some for itself."""

    protocol_version = "HTTP/1.1"
    upstream: tuple[str, int]
    share: float
    chance: random.Random
    dropped: list[str]

    def _pass(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        connection = http.client.HTTPConnection(*self.upstream, timeout=PATIENCE)
        try:
            connection.request(
                self.command,
                self.path,
                body,
                {name: value for name, value in self.headers.items() if name.lower() != "host"},
            )
            reply = connection.getresponse()
            data = reply.read()
        finally:
            connection.close()
        if self.command == "PUT" and "/claims/v1-" in self.path and self.chance.random() < self.share:
            self.dropped.append(self.path)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response_only(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if self.command != "HEAD" else b"")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def lossy_http(endpoint: str, *, share: float, seed: int) -> Iterator[tuple[str, list[str]]]:
    """A proxy that loses a share of the replies to claims, after the store has applied them; and what it lost."""
    host, port = endpoint.removeprefix("http://").split(":")
    dropped: list[str] = []
    values = {"upstream": (host, int(port)), "share": share, "chance": random.Random(seed), "dropped": dropped}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Lossy", (_Lossy,), values))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", dropped
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def lossy_postgres(port: int, *, share: float, seed: int) -> Iterator[tuple[int, list[str]]]:
    """A proxy that ends a session after a share of its claims, once they are committed and before that is told."""
    chance, dropped = random.Random(seed), list[str]()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", port))
        cut = threading.Event()

        def forth() -> None:
            with contextlib.suppress(OSError):
                while data := client.recv(65536):
                    if b"insert into seedream_jobs_claims" in data and chance.random() < share:
                        cut.set()
                    server.sendall(data)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=forth, daemon=True).start()
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if cut.is_set():
                    dropped.append("claim")
                    break
                client.sendall(data)
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield int(listener.getsockname()[1]), dropped
    finally:
        listener.close()
