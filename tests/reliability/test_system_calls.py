"""At every system call: killed there, nothing is paid twice or lost; and no POST leaves before its intent is durable.

``strace`` injects the kill, and writes down the order. A missing fsync is invisible to kill -9 (the page cache outlives
the process): only the log of system calls shows it.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.canary import own

REQUESTS = 20
ORDER = "openat,write,writev,fsync,fdatasync,rename,unlink,connect,sendto,sendmsg,recvfrom"

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed: kills at system calls are not tried"
)


def traced(mine: Any, log: Path, *rest: str, fault: str | None = None) -> Any:
    """A run whose system calls are written down."""
    strace = ("strace", "-f", "--seccomp-bpf", "-yy", "-qq", "-s", "65536", "-o", str(own(log)), "-e", f"trace={ORDER}")
    return mine.run("--detach", *rest, fault=fault, prefix=strace)


@pytest.fixture(scope="module")
def strace_works(tmp_path_factory: pytest.TempPathFactory, harness: ModuleType) -> None:
    """Skip where the kernel does not allow tracing (some containers)."""
    folder = tmp_path_factory.mktemp("strace")
    command = ["strace", "-f", "-o", str(folder / "log"), "-e", "trace=openat", "true"]
    if harness.Command(command, cwd=folder, env=harness.Campaign(folder=folder, base_url="").environment()).wait().code:
        pytest.skip("strace may not trace here: kills at system calls are not tried")


@pytest.fixture
def log(strace_works: None, tmp_path: Path) -> Path:
    return tmp_path / "strace.log"


def test_each_post_leaves_after_its_intent_is_durable(
    log: Path, traces: ModuleType, shared_emulator: Any, campaign: Callable[..., Any]
) -> None:
    """Before the first send of each POST, an fsync of the journal that covers its intent has returned."""
    mine = campaign(shared_emulator, REQUESTS, git=True)
    ended = traced(mine, log)
    assert ended.code == 0, ended.err
    assert traces.posts(log) == REQUESTS
    assert traces.unannounced(log) == []
    assert traces.unsafe_replacements(log, mine.folder) == []
    seen = traces.calls(log)
    post = min(call.began for call in seen if call.name in ("sendto", "sendmsg", "writev") and '"POST ' in call.text)
    marked = [call for call in seen if call.name == "write" and '\\"run\\":{\\"id\\":' in call.text]
    named = [call.returned for call in seen if call.name == "rename" and f'"{mine.manifest}"' in call.text]
    assert marked[0].returned < named[0] < post, "the manifest says that a run is open before anything is sent"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no-fsync", "before its intent was durable"),
        pytest.param("late-intent", "before its intent was durable", marks=pytest.mark.slow),
    ],
)
def test_the_log_shows(
    fault: str, words: str, log: Path, traces: ModuleType, shared_emulator: Any, campaign: Callable[..., Any]
) -> None:
    """A program that never syncs, or that announces too late, does not pass."""
    mine = campaign(shared_emulator, REQUESTS, git=True)
    traced(mine, log, fault=fault)
    found = traces.unannounced(log)
    assert len(found) == traces.posts(log) == REQUESTS
    assert all(words in violation for violation in found)
    assert bool(traces.unsafe_replacements(log, mine.folder)) == (fault == "no-fsync")


def killing(call: str, number: int) -> tuple[str, ...]:
    """What a run is started under that is killed at its Nth such call."""
    # With --seccomp-bpf no signal is injected: strace 6.1 lets the call pass.
    return (
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:signal=KILL:when={number}",
    )


def killed_at(
    harness: ModuleType, mine: Any, service: Any, call: str, number: int, requests: int = REQUESTS
) -> list[str]:
    """Kill a run as some thread enters its Nth such call, run again, and compare the books."""
    first = mine.run("--detach", "--json", prefix=killing(call, number))
    left = harness.snapshot(mine)
    again = mine.run("--detach")
    states = mine.states()
    found: list[str] = harness.audit(mine, service, left.acknowledged, harness.told(first.err))
    if first.code not in (-signal.SIGKILL, 0):
        found.append(f"the killed run ended with {first.code}: {first.err}")
    if again.code != (6 if states["in_doubt"] else 0):
        found.append(f"the next run ended with {again.code}: {again.err}")
    if sum(states.values()) != requests or set(states) - {"accepted", "in_doubt"}:
        found.append(f"not every request is on record: {states}")
    if states["in_doubt"] > min(8, len(left.open_intents)):
        found.append(f"{states['in_doubt']} in doubt, of {len(left.open_intents)} left open")
    return [f"{call} {number}: {violation}" for violation in found]


def test_a_call_that_is_to_kill_does(strace_works: None, tmp_path: Path, harness: ModuleType) -> None:
    """Otherwise every point below is an undisturbed run."""
    lines = "import os; [os.rename(__file__, __file__) for _ in range(3)]"
    (tmp_path / "calls.py").write_text(lines)
    environment = harness.Campaign(folder=tmp_path, base_url="").environment()
    command = [*killing("rename", 2), sys.executable, "-S", "calls.py"]
    assert harness.Command(command, cwd=tmp_path, env=environment).wait().code == -signal.SIGKILL


@pytest.fixture
def every_point(log: Path, traces: ModuleType, shared_emulator: Any, campaign: Callable[..., Any]) -> list[Any]:
    """Every (call, number) of an undisturbed run that concerns the record or the network."""
    mine = campaign(shared_emulator, REQUESTS, git=True, name="reference")
    assert traced(mine, log).code == 0
    found: list[Any] = traces.points(log, mine.folder)
    assert {call for call, _ in found} == set(traces.CALLS)
    return found


def test_killed_at_sampled_calls(
    every_point: list[Any], traces: ModuleType, harness: ModuleType, shared_emulator: Any, campaign: Callable[..., Any]
) -> None:
    """One point of each of two calls, chosen by a seed; the long lane takes them all."""
    chance = random.Random(3)
    for call in chance.sample(traces.CALLS, 2):
        number = chance.choice([number for name, number in every_point if name == call])
        mine = campaign(shared_emulator, REQUESTS, git=True, name=f"{call}-{number}")
        assert killed_at(harness, mine, shared_emulator, call, number) == []


@pytest.mark.slow
def test_killed_at_every_call(
    every_point: list[Any], harness: ModuleType, shared_emulator: Any, campaign: Callable[..., Any]
) -> None:
    """Every one of them; in doubt is only what was open, and nothing is lost or paid twice."""
    print(len(every_point), "points")  # shown by -s, and with a failure
    found = []
    for call, number in every_point:
        mine = campaign(shared_emulator, REQUESTS, git=True, name=f"{call}-{number}")
        found += killed_at(harness, mine, shared_emulator, call, number)
    assert found == []


@pytest.fixture
def split_campaign(shared_emulator: Any, campaign: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a campaign whose record of some requests is split, and whose job asks for as many more."""

    def make(name: str) -> Any:
        mine = campaign(shared_emulator, REQUESTS, git=True, name=name)
        assert mine.run("--detach").code == 0
        split = harness_command(mine, "manifest", "split", mine.job)
        assert split.code == 0, split.said
        mine.write(2 * REQUESTS)
        return mine

    return make


def harness_command(mine: Any, *words: str) -> Any:
    """A command that takes no address of a service."""
    line = [*mine.arguments(words[0])[:3], *words]
    return sys.modules["reliability_harness"].Command(line, cwd=mine.folder, env=mine.environment()).wait()


@pytest.fixture
def split_points(log: Path, traces: ModuleType, split_campaign: Callable[..., Any]) -> list[Any]:
    """As ``every_point``, of a run that goes on with a split record."""
    mine = split_campaign("reference")
    assert traced(mine, log).code == 0
    assert traces.unsafe_replacements(log, mine.folder) == []
    return [point for point in traces.points(log, mine.folder) if point[0] in ("openat", "write", "fsync", "rename")]


def test_a_run_on_a_split_record_is_killed_at_sampled_calls(
    split_points: list[Any], harness: ModuleType, shared_emulator: Any, split_campaign: Callable[..., Any]
) -> None:
    """Two of the renames by which its parts get their names, between the first and the last of them."""
    renames = [number for call, number in split_points if call == "rename"]
    assert len(renames) > 8, "the mark, parts, the manifest itself"
    for number in random.Random(7).sample(renames[2:8], 2):  # how many parts change is in the keys
        mine = split_campaign(f"rename-{number}")
        assert killed_at(harness, mine, shared_emulator, "rename", number, 2 * REQUESTS) == []


@pytest.mark.slow
def test_a_run_on_a_split_record_is_killed_at_every_call(
    split_points: list[Any], harness: ModuleType, shared_emulator: Any, split_campaign: Callable[..., Any]
) -> None:
    """Every point of its files."""
    found = []
    for call, number in split_points:
        mine = split_campaign(f"{call}-{number}")
        found += killed_at(harness, mine, shared_emulator, call, number, 2 * REQUESTS)
    assert found == []


def test_kills_show_a_fold_that_forgets_its_parts(
    split_points: list[Any], harness: ModuleType, shared_emulator: Any, split_campaign: Callable[..., Any]
) -> None:
    """The seeded fault: the journal goes before the parts have their names; what is in no file is lost."""
    renames = [number for call, number in split_points if call == "rename"]
    mine = split_campaign("seeded")
    first = mine.run("--detach", "--json", prefix=killing("rename", renames[5]), fault="early-removal")
    assert first.code == -signal.SIGKILL, first.said
    found = harness.audit(mine, shared_emulator, {}, harness.told(first.err))
    assert any("charged and not on record" in one for one in found)
    again = mine.run("--detach")
    assert again.code == 6, "what is lost is not paid again in silence: the run is still called open"
