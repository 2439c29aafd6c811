"""What the suite shares: the long lane's flag, a campaign's folder, the guard against the network and real keys."""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import canary
from tests.authority import Authority
from tests.campaign import Folder
from tests.lanes import choose, examples

_PRIVATE = ("APIMART_", "SEEDREAM_JOBS_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class NetworkUse(BaseException):
    """The suite tried to leave this machine. A BaseException, so that no product code can swallow it."""


def _stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: connections and look-ups beyond loopback end the test."""
    if event == "socket.connect":
        address = arguments[1]
    elif event == "socket.getaddrinfo":
        address = (arguments[0],)
    else:
        return
    if not isinstance(address, tuple) or address[0] in (None, "", b"", "localhost", b"localhost"):
        return  # a Unix socket, or this machine by name
    host = address[0].decode() if isinstance(address[0], bytes) else str(address[0])
    try:
        local = ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        local = False
    if event == "socket.getaddrinfo" and _is_address(host):
        return  # nothing is looked up for a literal address
    if not local:
        raise NetworkUse(f"the test suite may not reach {host}")


def _is_address(host: str) -> bool:
    """Whether no look-up is needed, also for odd spellings such as ``0x7f.1``."""
    try:
        ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        try:
            socket.inet_aton(host)
        except OSError:
            return False
    return True


sys.addaudithook(_stay_here)
for _name in [name for name in os.environ if name.upper().startswith(_PRIVATE)]:
    del os.environ[_name]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--slow`` runs the long lane, too."""
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the lane, before the test modules are imported."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # so does a shell with what it starts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    choose(slow=config.getoption("--slow"))
    config.pluginmanager.register(canary, "canary")
    # No deadlines: a law holds or it doesn't, however busy the machine is.
    settings.register_profile(
        "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=examples(100)
    )
    settings.load_profile("suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long lane out unless it is asked for; run it by name with ``-m slow --slow``."""
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="the long lane: --slow")
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(skip)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def refused(folder: Folder) -> Callable[[str], list[str]]:
    """``[code] file:line:col message | hint`` for each finding of a job that has errors."""

    def found(text: str) -> list[str]:
        from seedream_jobs.errors import FindingsError

        with pytest.raises(FindingsError) as caught:
            list(folder.load(text).expansion.places())
        return [f"[{d.code}] {d.place} {d.message} | {d.hint or ''}" for d in caught.value.diagnostics]

    return found


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One certificate authority for all tests."""
    if shutil.which("openssl") is None:
        pytest.skip("certificates are made by the openssl command, which is not installed")
    return Authority(tmp_path_factory.mktemp("tls"))
