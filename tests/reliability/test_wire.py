"""What goes wrong on the wire, through the installed command: exit codes, the record, and how many POSTs arrived.

The faults, the server and the golden file are those of ``tests/api``; here a run of one request meets each of them, and
then the same command is given once more: what is in doubt must not reach the server a second time.
"""

from __future__ import annotations

import importlib.util
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.authority import Authority

API = Path(__file__).parents[1] / "api"
CODES = {"accepted": {0}, "rejected": {1}, "refused": {2, 4, 5}, "in_doubt": {6}, "not_sent": {8}}
STATES = {"accepted": {"accepted"}, "rejected": {"rejected"}, "in_doubt": {"in_doubt"}}
MOST_POSTS = {"not_sent": 6}
"""Five retries of one request; everything else is sent once."""


def _load(name: str) -> ModuleType:
    full = f"reliability_api_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, API / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[full]


FAULTS = {
    fault.name: fault
    for fault in _load("wire_faults").FAULTS
    if fault.posts == 1 and not fault.proxy and fault.size < 1000  # what the command is made to send here is small
}
GOLDEN = {
    name: (row, verdict)
    for name, row, verdict in re.findall(
        r"^\w+ +(\S+) +row (\w+) +(\w+)", (API / "wire_faults.golden").read_text(), re.MULTILINE
    )
}
FAST = (
    "accept-and-close",
    "no-reply-then-rst",
    "half-the-body-then-fin",
    "html-200",
    "moved-307",
    "bad-gateway-502-html",
)


@pytest.fixture
def serve() -> Iterator[Callable[..., Any]]:
    """Starts raw-socket servers; they are closed with the test."""
    servers: list[Any] = []

    def start(script: Callable[[Any], object]) -> Any:
        servers.append(_load("conftest").WireServer(script))
        servers[-1].pause = threading.Event()
        servers[-1].tls = None
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    """The authority of the TLS faults, made when the first of them needs it."""
    made: list[Any] = []

    def authority() -> Any:
        if not made:
            made.append(Authority(tmp_path_factory.mktemp("tls")))
        return made[0]

    return authority


@pytest.fixture
def meet(
    serve: Callable[..., Any], certificates: Callable[[], Any], harness: ModuleType, tmp_path: Path
) -> Callable[..., tuple[Any, Any, Any]]:
    """Run a campaign of one request against a fault: the campaign, the server, how the command ended."""

    def meeting(fault: Any, seeded: str = "impatient") -> tuple[Any, Any, Any]:
        """The command is still running where a fault is seeded."""
        server = serve(fault.script)
        env = {"SEEDED_SHORT": fault.short or ""}
        if fault.https:
            env["SSL_CERT_FILE"] = str(certificates().folder / "ca.pem")
            server.tls = _server_context(certificates(), fault)
        if not fault.listening:
            server.close()
        base_url = f"{'https' if fault.https else 'http'}://127.0.0.1:{server.port}"
        mine = harness.Campaign(folder=tmp_path, base_url=base_url, env=env)
        mine.write(1)
        command = mine.start("run", "--yes", "--detach", "--concurrency", "1", fault=seeded)
        return mine, server, command.wait() if seeded == "impatient" else command

    return meeting


def _server_context(authority: Any, fault: Any) -> Any:
    if fault.certificate is None:
        return None
    import ssl

    context = authority.server("good" if fault.certificate == "demanding" else fault.certificate)
    if fault.certificate == "demanding":
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(str(authority.folder / "foreign.pem"))
    return context


def lanes() -> list[Any]:
    """The fast lane's faults, then every other one; a TLS version can't be asked for on the command line."""
    rest = [name for name in FAULTS if name not in FAST and not FAULTS[name].minimum_tls_1_3]
    return [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in rest)]


@pytest.mark.parametrize("name", lanes())
def test_fault(name: str, meet: Callable[..., tuple[Any, Any, Any]]) -> None:
    """Exit code, state and number of POSTs are what table 1 allows, also when the command is given again."""
    _, verdict = GOLDEN[name]
    mine, server, ended = meet(FAULTS[name])
    assert ended.code in CODES[verdict], ended.said
    assert "Traceback" not in ended.said
    assert server.posts <= MOST_POSTS.get(verdict, 1)
    states = {line["state"] for line in mine.entries().values()}
    assert states <= STATES.get(verdict, {"new"})
    if verdict in STATES:
        assert states == STATES[verdict]
    if verdict == "in_doubt":
        arrived = server.posts
        again = mine.run("--detach", fault="impatient")
        assert server.posts == arrived, "sent again"
        assert again.code == 6, again.said


def test_the_lane_catches_a_blind_resend(harness: ModuleType, meet: Callable[..., tuple[Any, Any, Any]]) -> None:
    """A program that repeats a POST after a broken connection reaches the server more than once."""
    _, server, command = meet(FAULTS["no-reply-then-rst"], seeded="blind-resend")
    assert harness.until(lambda: server.posts > 1, command)
    command.signal(signal.SIGKILL)
    command.wait()


def test_there_are_forty_faults_in_the_slow_lane() -> None:
    """Each of them has a line in the golden file."""
    assert len(FAULTS) >= 40
    assert set(FAULTS) <= set(GOLDEN)
    assert set(FAST) <= set(FAULTS)
