"""The suite can't reach the network and sees no real key."""

from __future__ import annotations

import os
import socket

import pytest


def test_a_connection_beyond_loopback_is_refused() -> None:
    """192.0.2.1 is reserved for documentation: nobody is there, and the guard speaks before the kernel does."""
    with socket.socket() as plain:
        plain.settimeout(1)
        with pytest.raises(BaseException, match="may not reach") as caught:
            plain.connect(("192.0.2.1", 443))
    assert type(caught.value).__name__ == "NetworkUse"


def test_a_name_is_not_looked_up() -> None:
    """The vendor's own name is the one that a mistake would ask for."""
    with pytest.raises(BaseException, match="may not reach"):
        socket.getaddrinfo("api.apimart.ai", 443)


def test_loopback_is_reachable() -> None:
    """The guard lets the emulator through."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


def test_no_key_and_no_option_comes_in_from_outside() -> None:
    """Whatever the developer's shell exports, tests begin without it."""
    assert [name for name in os.environ if name.startswith(("APIMART_", "SEEDREAM_JOBS_"))] == []
