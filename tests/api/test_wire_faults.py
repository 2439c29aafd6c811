"""Every wire fault through the real client and table 1, held against a golden file and the server's own books.

To write the golden file anew: ``WRITE_GOLDEN=1 python -m pytest tests/api/test_wire_faults.py``, and review the diff.
"""

from __future__ import annotations

import importlib.util
import os
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from seedream_jobs.api.client import Client
from seedream_jobs.api.connection import Timeouts
from seedream_jobs.api.outcomes import Flight, Observation, Outcome, Sent, judge

HERE = Path(__file__).parent
GOLDEN = HERE / "wire_faults.golden"
_spec = importlib.util.spec_from_file_location("wire_faults", HERE / "wire_faults.py")
assert _spec is not None
assert _spec.loader is not None
wire_faults = importlib.util.module_from_spec(_spec)
sys.modules["wire_faults"] = wire_faults
_spec.loader.exec_module(wire_faults)
FAULTS = wire_faults.FAULTS

pytestmark = pytest.mark.anyio
Submit = Callable[[Client, bytes, Flight], Awaitable[Observation]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One fault as the client saw its last POST, and the server's books."""

    observation: Observation
    flight: Flight
    asked: int
    posts: int
    received: int

    @property
    def answered(self) -> bool:
        return self.observation.status is not None and self.observation.failure is None


async def submit_once(client: Client, body: bytes, flight: Flight) -> Observation:
    """One POST as the program makes it, and what the client's judge was shown of it."""
    shown: list[Observation] = []

    def watched(seen: Observation) -> Outcome:
        shown.append(seen)
        return judge(seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seedream_jobs.api.client.judge", watched)
        await client.submit(0, body, idempotency_key="k-1", flight=flight)
    return shown[0]


@pytest.fixture
def run(request: pytest.FixtureRequest, wire_server: Callable[..., Any]) -> Callable[..., Awaitable[Seen]]:
    """Run a fault through a client."""

    async def run(fault: Any, submit: Submit = submit_once) -> Seen:
        authority = request.getfixturevalue("authority") if fault.https else None
        server = wire_server(fault.script)
        server.pause = threading.Event()
        server.tls = server_context(authority, fault)
        if not fault.listening:
            server.close()
        here = f"{'https' if fault.https else 'http'}://127.0.0.1:{server.port}"
        trust = authority.client() if authority else None
        if trust is not None and fault.minimum_tls_1_3:
            trust.minimum_version = ssl.TLSVersion.TLSv1_3
        timeouts = replace(Timeouts(connect=8, write=8, read=8, total=20), **{fault.short: 0.4} if fault.short else {})
        proxy = f"http://127.0.0.1:{server.port}" if fault.proxy else None
        async with Client(
            here, "sk-test", workers=1, user_agent="tests", timeouts=timeouts, tls=trust, proxy=proxy
        ) as client:
            for number in range(fault.posts):
                if number:
                    server.pause.set()
                    await anyio.sleep(0.1)  # what the server does to an idle connection has arrived
                flight = Flight()
                seen = await submit(client, b"x" * fault.size, flight)
        if seen.failure:
            await anyio.sleep(0.02)  # what was sent last has been read
        return Seen(observation=seen, flight=flight, asked=fault.posts, posts=server.posts, received=server.received)

    return run


def server_context(authority: Any, fault: Any) -> ssl.SSLContext | None:
    if authority is None or fault.certificate is None:
        return None
    context: ssl.SSLContext = authority.server("good" if fault.certificate == "demanding" else fault.certificate)
    if fault.certificate == "demanding":
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(str(authority.folder / "foreign.pem"))
    if fault.minimum_tls_1_3:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def violations(fault: Any, seen: Seen, outcome: Outcome) -> list[str]:
    """The laws of the promise, judged by what the server knows."""
    found = []
    if seen.posts > seen.asked:
        found.append(f"{seen.posts} POSTs arrived for {seen.asked}")
    if outcome.verdict != "in_doubt" and not seen.answered:
        if seen.posts == seen.asked:
            found.append(f"a POST was read whole and not answered, yet it is {outcome.verdict}")
        if fault.layer not in ("connect", "tls") and seen.received:
            found.append(f"{seen.received} bytes were read and not answered, yet it is {outcome.verdict}")
    return found


def line(fault: Any, seen: Seen, outcome: Outcome) -> str:
    """One line of the golden file. Which of three ways a broken connection shows is the kernel's whim."""
    failure = seen.observation.failure or "-"
    failure = "broken" if failure in ("read", "write", "protocol") and fault.short is None else failure
    posts = "any" if fault.layer == "headers" or fault.name == "accept-and-close" else str(seen.posts)
    status = str(seen.observation.status or "-")
    return (
        f"{fault.layer:<9} {fault.name:<42} row {outcome.row:<2} {outcome.verdict:<9} "
        f"sent={seen.observation.sent:<7} status={status:<3} failure={failure:<12} posts={posts}"
    )


def golden() -> dict[str, str]:
    lines = GOLDEN.read_text("utf-8").splitlines() if GOLDEN.exists() else []
    return {entry.split()[1]: entry for entry in lines}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_fault(fault: Any, run: Callable[..., Awaitable[Seen]]) -> None:
    """The client names it, the judge places it, the server agrees that nothing was sent twice or freed wrongly."""
    seen = await run(fault)
    outcome = judge(seen.observation)
    assert violations(fault, seen, outcome) == []
    assert outcome.task_id in (None, wire_faults.ID)
    known = golden()
    if os.environ.get("WRITE_GOLDEN"):
        known[fault.name] = line(fault, seen, outcome)
        order = [fault.name for fault in FAULTS]
        GOLDEN.write_text("".join(f"{known[name]}\n" for name in order if name in known), "utf-8")
    assert line(fault, seen, outcome) == known.get(fault.name)
    if seen.posts or (seen.received and fault.layer not in ("connect", "tls")):
        assert seen.observation.sent is Sent.STARTED, "the server has bytes the trace knows nothing of"
    assert seen.flight.stage, "the trace has not fired at all"


def test_there_are_forty_faults_and_one_golden_line_for_each() -> None:
    """The golden file has no line of a fault that is gone."""
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names) >= 40
    assert {fault.layer for fault in FAULTS} == {"connect", "tls", "headers", "body", "response", "reply", "reuse"}
    assert list(golden()) == names


def judge_by_class(seen: Observation) -> Outcome:
    """The seeded fault: "a connection error was not sent, so it can be repeated"."""
    if seen.failure in ("connect", "tls", "protocol", "read", "write"):
        return Outcome(row=5, verdict="not_sent")
    return judge(seen)


async def test_a_judge_that_goes_by_exception_class_is_caught(run: Callable[..., Awaitable[Seen]]) -> None:
    """A harness that has never failed proves nothing."""
    caught = [
        fault.name
        for fault in FAULTS
        if fault.name in ("no-reply-then-fin", "no-reply-then-rst", "a-status-line-then-fin", "reset-inside-the-head")
        and violations(fault, seen := await run(fault), judge_by_class(seen.observation))
    ]
    assert len(caught) == 4


async def test_a_client_that_sends_again_is_caught(run: Callable[..., Awaitable[Seen]]) -> None:
    """The blind retry, seeded: the server's books show the second POST."""

    async def submit_again(client: Client, body: bytes, flight: Flight) -> Observation:
        seen = await submit_once(client, body, flight)
        return await submit_once(client, body, flight) if seen.failure else seen

    fault = next(fault for fault in FAULTS if fault.name == "no-reply-then-fin")
    seen = await run(fault, submit_again)
    assert violations(fault, seen, judge(seen.observation)) == ["2 POSTs arrived for 1"]
