"""This module runs the emulator behind uvicorn: in a thread of this process, or as the whole of it.

Called by the command, by ``run --emulator`` and by tests.

``with EmulatorServer(Settings(state=folder)) as server:`` serves at ``server.url`` until the block ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from seedream_jobs.emulator.app import App
from seedream_jobs.emulator.service import Service
from seedream_jobs.emulator.settings import Settings
from seedream_jobs.errors import UsageError


class EmulatorServer:
    """An emulator in a daemon thread of this process, with an event loop of its own.

    ``url`` is its base URL, ``service`` its state, which belongs to the other thread while it runs.

    :raises UsageError: on entering, where the port is taken or the state folder can't be used
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url: str = ""

    def __enter__(self) -> EmulatorServer:
        self.service: Service
        self.service, self._socket = _open(self.settings)
        self.url = url_of(self._socket)
        self._server = _Server(self.service)
        self._thread = threading.Thread(target=self._run, name="emulator", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._thread.join()
        self.service.close()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve in this thread until SIGINT or SIGTERM, which end it quietly.

    :param announce: called with the URL once connections are accepted
    :raises UsageError: where the port is taken or the state folder can't be used
    """
    service, listener = _open(settings)
    server = _Server(service)

    def stop(number: int, frame: FrameType | None) -> None:
        server.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        announce(url_of(listener))
        asyncio.run(server.serve(sockets=[listener]))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        service.close()


def _open(settings: Settings) -> tuple[Service, socket.socket]:
    service = Service(settings)
    try:
        return service, bind(settings)
    except BaseException:
        service.close()
        raise


def bind(settings: Settings) -> socket.socket:
    """A listening socket; with port 0 the one used last on this state folder, so that old links stay whole.

    :raises UsageError: where the address can't be used
    """
    remembered = settings.state / "port"
    if settings.port == 0:
        with contextlib.suppress(OSError, ValueError, OverflowError):  # the file may hold anything
            return _listen(settings.host, int(remembered.read_text(encoding="ascii")))
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        message = f"the emulator can't listen on {settings.host}:{settings.port}: {error.strerror}"
        raise UsageError(message, hint="choose another --port, or 0 for a free one") from None
    _remember(remembered, listener.getsockname()[1])
    return listener


def url_of(listener: socket.socket) -> str:
    """The base URL of a listening socket, without a trailing slash."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol number is said because asyncio sets TCP_NODELAY only where it reads IPPROTO_TCP; without it each
    # reply's body would wait 40 ms for the client's delayed acknowledgement of its head.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except BaseException:
        listener.close()
        raise
    return listener


def _remember(path: Path, port: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{port}\n", encoding="ascii")


class _Protocol(H11Protocol):
    """uvicorn's h11 protocol that hands its transport to the app, so that faults can break off a connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn itself does
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, "transport": transport}


class _Server(uvicorn.Server):
    """uvicorn's server, stopped at once: an emulator owes nobody the end of a reply."""

    def __init__(self, service: Service) -> None:
        super().__init__(
            uvicorn.Config(
                App(service),
                http=_Protocol,
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=60,
            )
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None

    def stop(self) -> None:
        """Ask the server to end; from any thread, and from a signal handler."""
        self.should_exit = True
        if self._loop is not None and self._stopped is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stopped.set)

    async def main_loop(self) -> None:
        """Wait for ``stop``, refreshing uvicorn's Date header every second."""
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        while not self.should_exit:
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), timeout=1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close every connection and end every reply under way."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # the protocols hear of it, so that no task tries to answer
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener in sockets or ():
            listener.close()
        await asyncio.sleep(0)  # let the aborted transports close their sockets

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are ours to handle: uvicorn would raise them again after a clean end."""
        yield
