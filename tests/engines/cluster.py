"""A Dask cluster of worker processes on the loopback, with TLS or without, and a relay that keeps what it is sent."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

WORKERS = 2


class Cluster:
    """A scheduler and two workers; ``kill_one`` kills a worker as the kernel does.

    :param certificates: the folder of ``tests.authority``, whose ``good`` one each of them shows, and asks for
    """

    def __init__(self, folder: Path, certificates: Path | None = None) -> None:
        self.file, self.folder = folder / "scheduler.json", folder
        self._protocol = "tcp" if certificates is None else "tls"
        self._environment = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
        for role in ("SCHEDULER", "WORKER") if certificates is not None else ():
            assert certificates is not None
            self._environment |= credentials(certificates, role)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        scheduler = ("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        scheduler += ("--protocol", self._protocol)
        self._start(*scheduler, "--scheduler-file", str(self.file))
        begun = time.monotonic()
        while not self.file.exists() or not self.file.read_text():
            assert self.processes[0].poll() is None
            assert time.monotonic() - begun < 120
            time.sleep(0.02)
        self.address = str(json.loads(self.file.read_text())["address"])
        self.fill()

    def fill(self) -> None:
        """Start workers until there are two."""
        while len(self.workers) < WORKERS:
            options = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
            options += ("--protocol", self._protocol)
            self.workers.append(self._start("dask_worker", *options, "--scheduler-file", str(self.file)))

    def kill_one(self) -> None:
        worker = self.workers.pop()
        worker.kill()
        worker.wait()

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def _start(self, module: str, *options: str) -> subprocess.Popen[bytes]:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "TMPDIR") if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *options],
            cwd=self.folder,
            env={
                **kept,
                **self._environment,
                "HOME": str(self.folder),
                "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process


def credentials(certificates: Path, role: str, name: str = "good") -> dict[str, str]:
    """The variables by which Dask finds a role's certificate, and refuses what is not encrypted."""
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    return {
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        f"{tls}CA_FILE": str(certificates / "ca.pem"),
        f"{tls}{role}__CERT": str(certificates / f"{name}.pem"),
        f"{tls}{role}__KEY": str(certificates / f"{name}.key"),
    }


class Relay:
    """Passes connections on to ``address``; ``sent`` is all that came from those who connected here."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition("/")[2].rpartition(":")
        self._to, self.sent = (host, int(port)), bytearray()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(connection,), daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        with near, socket.create_connection(self._to) as far:
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    try:
                        data = ready.recv(1 << 16)
                    except OSError:
                        data = b""
                    if not data:
                        return
                    if ready is near:
                        self.sent += data
                    (far if ready is near else near).sendall(data)

    def close(self) -> None:
        self._server.close()
