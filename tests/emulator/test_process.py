"""The emulator in a process of its own: the command, its signals, its death."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from seedream_jobs.emulator.__main__ import parse_money, parse_seconds
from seedream_jobs.emulator.server import EmulatorServer
from seedream_jobs.emulator.service import read_charges
from seedream_jobs.emulator.settings import Settings
from seedream_jobs.errors import UsageError

COMMAND = (sys.executable, "-c", "from seedream_jobs.emulator.__main__ import emulator; emulator()")
MODULE = (sys.executable, "-m", "seedream_jobs.emulator")
PAYLOAD = {"model": "doubao-seedream-5-0-lite", "prompt": "a heron"}


@contextlib.contextmanager
def running(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process and the URL on its first line."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def submit(url: str) -> httpx.Response:
    with httpx.Client(verify=False, trust_env=False) as client:
        return client.post(f"{url}/v1/images/generations", json=PAYLOAD, headers={"Authorization": "Bearer key"})


@pytest.mark.parametrize("command", [COMMAND, MODULE], ids=["command", "module"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_leaves_quietly(tmp_path, command, number):
    """The URL is the first line; Ctrl-C and SIGTERM end it with 0 and without a word, also in mid-reply."""
    arguments = ("--state", str(tmp_path), "--fault", "hang-after-accept:every=2")
    with running(*command, *arguments) as (process, url):
        assert submit(url).status_code == 200
        waiting = threading.Thread(target=_try, args=(url,))
        waiting.start()
        while len(read_charges(tmp_path)) < 2:
            pass
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        waiting.join()
    assert (process.returncode, output, errors) == (0, "", "")


def _try(url: str) -> None:
    with contextlib.suppress(httpx.HTTPError):
        submit(url)


def test_the_books_survive_its_death(tmp_path):
    """After SIGKILL every answered POST is on record, and the next process serves the task at the same URL."""
    with running(*MODULE, "--state", str(tmp_path)) as (process, url):
        tasks = [submit(url).json()["data"][0]["task_id"] for _ in range(20)]
        process.kill()
        process.wait()
    assert [charge.id for charge in read_charges(tmp_path)] == tasks
    with running(*MODULE, "--state", str(tmp_path)) as (_, again):
        assert again == url
        with httpx.Client(verify=False, trust_env=False) as client:
            reply = client.get(f"{again}/v1/tasks/{tasks[7]}", headers={"Authorization": "Bearer key"})
        assert reply.json()["data"]["id"] == tasks[7]


def test_the_faults_are_listed():
    """With a sentence each."""
    listed = subprocess.run([*COMMAND, "--list-faults"], capture_output=True, text=True, check=True).stdout
    assert "drop-after-accept" in listed
    assert "charged, and the connection is closed without a reply" in listed


def test_a_wrong_option_is_one_line_and_exit_2(tmp_path):
    """No traceback, nothing served."""
    arguments = ["--state", str(tmp_path), "--host", "0.0.0.0"]
    done = subprocess.run([*MODULE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["the emulator serves only loopback addresses, not 0.0.0.0"]


def test_it_shares_nothing_with_the_client():
    """Neither the HTTP client nor any stage of the program is imported: the contract is written twice."""
    script = "import sys, seedream_jobs.emulator.server; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in loaded if name.startswith("seedream_jobs")}
    base = {"errors", "diagnostics", "image_header", "model_profile", "resources"}
    assert "httpx" not in loaded
    assert {name for name in ours if not name.startswith("seedream_jobs.emulator")} <= {
        "seedream_jobs",
        *(f"seedream_jobs.{name}" for name in base),
    }


def test_the_command_is_cheap_to_load():
    """Importing it for --help loads no server and no imaging library."""
    script = "import sys, seedream_jobs.emulator.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"uvicorn", "starlette", "PIL", "asyncio", "seedream_jobs.emulator.settings"} & set(loaded)


@pytest.mark.parametrize(
    "wrong",
    [{"host": "192.0.2.1"}, {"port": 70000}, {"spread": 1.5}, {"delay": -1.0}, {"idempotency": "maybe"}],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(tmp_path, wrong):
    """Before anything is opened."""
    with pytest.raises(UsageError):
        Settings(state=tmp_path, **wrong)


def test_a_port_that_is_taken_is_told(tmp_path):
    """With the way out; port 0 falls back to a free one."""
    with EmulatorServer(Settings(state=tmp_path)) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(UsageError, match="can't listen"), EmulatorServer(Settings(state=tmp_path, port=port)):
            pass
        with EmulatorServer(Settings(state=tmp_path)) as second:
            assert second.url != first.url


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("72h", 259200), ("0.5", 0.5)])
def test_durations(text, seconds):
    """Seconds, or a number with its unit."""
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "3d", "NaNx"])
def test_wrong_durations_and_amounts(text):
    """Are refused with an example."""
    with pytest.raises(UsageError):
        parse_seconds(text)
    with pytest.raises(UsageError):
        parse_money(text or "NaN")
