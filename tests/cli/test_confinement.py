"""The worker: a command that needs no key ends as a finding where a limit ends it, and hands on all else as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest

from seedream_jobs import confinement
from seedream_jobs.cli.main import COMMANDS, CONFINED, KEYS, group, run_command
from tests.canary import CANARY

pytestmark = pytest.mark.skipif(not confinement.POSSIBLE, reason="there is no fork, or no limits")

Command = Callable[..., Any]

ENDLESS = """\
version: 1
request: {prompt: "{{ a }}{{ b }}"}
matrix:
  a: {range: [1, 10000]}
  b: {range: [1, 1000]}
  where: a == b
"""
MANY = """\
version: 1
limits: {max_requests: 100000}
request: {prompt: "{{ a }}"}
matrix: {a: {range: [1, 90000]}}
"""


@pytest.mark.parametrize("form", ["text", "json", "sarif"])
def test_processor_time_ends_as_a_finding_at_its_place(form: str, campaign: Path, command: Command) -> None:
    """In the format that was asked for, though the worker is gone."""
    (campaign / "endless.yaml").write_text(ENDLESS)
    ended = command("validate", "endless.yaml", "--max-cpu", "1", "--format", form)
    assert ended.code == 1
    if form == "text":
        assert ended.out.startswith("endless.yaml:6:3: error[too-expensive]: filtering these combinations takes more")
        assert "takes more than 2 seconds of processor time" in ended.out  # and what 11,000 values cost
    elif form == "json":
        (found,) = json.loads(ended.out)["findings"]
        assert (found["code"], found["line"]) == ("too-expensive", 6)
    else:
        (result,) = json.loads(ended.out)["runs"][0]["results"]
        assert result["ruleId"] == "too-expensive"


def test_memory_ends_as_a_finding(campaign: Path, command: Command) -> None:
    """A list of half a million values in 64 MiB."""
    (campaign / "wide.yaml").write_text("version: 1\nrequest: {prompt: a}\nvars: {a: [" + "ab," * 300_000 + "]}\n")
    ended = command("plan", "wide.yaml", "--max-memory", "64", "--max-cpu", "60")
    assert ended.code == 1
    assert "wide.yaml: error[too-expensive]: reading this file takes more than 64 MiB of memory" in ended.err


@pytest.mark.parametrize(
    "raised",
    ["MemoryError()", "OSError(12, 'Cannot allocate memory')", "RuntimeError(\"can't start new thread\")",
     "ImportError('libx.so: failed to map segment from shared object')", "'a' * (1 << 40)"],
)  # fmt: skip
def test_memory_that_ran_out_is_a_finding_whoever_says_so(raised: str, campaign: Path) -> None:
    """A thread, a child and a library that memory is missing for; and there is none left for what is said of it."""
    script = (
        "import sys\n"
        "from seedream_jobs import confinement\n"
        "from seedream_jobs.cli import main\n"
        "def run_out(*given, **named):\n"
        "    import resource\n"
        "    resource.setrlimit(resource.RLIMIT_DATA, (0, -1))\n"
        f"    made = {raised}\n"
        "    raise made\n"
        "confinement.mark = run_out\n"
        "sys.argv = ['seedream-jobs', 'validate', 'garden.yaml']\n"
        "sys.exit(main.main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=campaign, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "error[too-expensive]: this command takes more than 512 MiB of memory" in ended.stdout


@pytest.mark.parametrize("mebibytes", [44, 52, 60, 80])
def test_a_limit_of_the_shell_ends_as_a_result_or_a_finding(mebibytes: int, campaign: Path, command: Command) -> None:
    """``ulimit -v``, wherever it strikes: no crash, no mistake of ours; what is said is the limit that held."""
    (campaign / "many.yaml").write_text(MANY.replace("90000", "9000"))
    limits = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({mebibytes} << 20,) * 2)\n"
    script = limits + "import sys; from seedream_jobs.cli import main; sys.exit(main.main())\n"
    for words in (["validate", "many.yaml"], ["plan", "many.yaml", "--emulator"]):
        ended = subprocess.run(
            [sys.executable, "-c", script, *words], cwd=campaign, capture_output=True, text=True, check=False
        )
        said = ended.stdout + ended.stderr
        assert ended.returncode in (0, 1, 2), said
        assert "Traceback" not in said
        if "too-expensive" in said:
            assert f"takes more than {mebibytes} MiB of memory" in said


def test_the_limits_can_be_raised(campaign: Path, command: Command) -> None:
    """By an option, or its variable; what is asked for is what is said."""
    (campaign / "endless.yaml").write_text(ENDLESS)
    ended = command("expand", "endless.yaml", SEEDREAM_JOBS_MAX_CPU="2")
    assert "takes more than 3 seconds of processor time" in ended.err


@pytest.mark.parametrize(
    "line", ["validate garden.yaml", "validate missing.yaml", "plan garden.yaml --emulator", "show"]
)
def test_an_end_is_handed_on(line: str, command: Command, quick: Command) -> None:
    """Exit code, stdout and stderr are those of the command in one process."""
    whole, split = quick(*line.split()), command(*line.split())
    assert (split.code, split.out, split.err) == (whole.code, whole.out, whole.err)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_a_signal_reaches_the_worker(number: int, code: int, campaign: Path) -> None:
    """Sent to the process that the caller knows; no worker is left behind, and the end is the same as without one."""
    (campaign / "many.yaml").write_text(MANY)
    with subprocess.Popen(
        [sys.executable, "-m", "seedream_jobs", "expand", "many.yaml"],
        cwd=campaign,
        env={"PATH": os.environ["PATH"], "HOME": str(campaign)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.read(100)  # it lists, and is stopped by the pipe that nobody reads on
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        worker = int(children.read_text().split()[0]) if children.exists() else None
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(20) == code
    if worker is not None:
        deadline = time.monotonic() + 120
        while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not Path(f"/proc/{worker}").exists()


def test_the_worker_has_no_key(campaign: Path) -> None:
    """Nor have its children; the process that waits keeps it, and reads no file."""
    script = (
        "import os\n"
        "from seedream_jobs import confinement\n"
        "from seedream_jobs.cli.main import KEYS\n"
        "ended = confinement.split(KEYS)\n"
        "if ended is None:\n"
        "    os._exit(40 + sum(name in os.environ for name in KEYS) + (os.environ['OPENBLAS_NUM_THREADS'] != '1'))\n"
        "print(ended.code, sum(name in os.environ for name in KEYS))\n"
    )
    keys = {"APIMART_API_KEY": CANARY, "APIMART_API_KEY_FILE": "key"}
    ended = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **keys}, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "40 2\n"


@pytest.mark.parametrize("end", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_crash_is_a_finding_too(end: str) -> None:
    """Whatever ends the worker, what it was about is known."""
    script = (
        "import os, signal\n"
        "from seedream_jobs import confinement\n"
        "ended = confinement.split(())\n"
        "if ended is None:\n"
        "    confinement.set_limits(5, 512, form='json', err=False)\n"
        "    confinement.mark('reading this file', 'a\\udcff.yaml', 3, 7)\n"
        f"    os.kill(os.getpid(), signal.{end})\n"
        "print(ended.cause, ended.form, ended.doing, ascii(ended.path), ended.line, ended.column)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "crash json reading this file 'a\\udcff.yaml' 3 7\n"


def test_a_million_requests_raise_the_limits_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a job or a policy says of itself: 40 seconds and 381 MiB, in one piece or in many."""
    worker = confinement._Worker(bytearray(confinement._BOARD))
    monkeypatch.setattr(worker, "apply", lambda: None)
    monkeypatch.setattr(confinement, "_worker", worker)
    worker.seconds, worker.bytes = 5, 512 << 20
    for count in (900_000, 1_099_999, 10_000_000, 1, 10_000_000):
        confinement.allow_requests(count)
    assert (round(worker.seconds), worker.bytes >> 20) == (45, 893)


def test_a_worker_that_ends_while_it_writes_leaves_no_half_text() -> None:
    """The place before counts as unknown then; a slot of anything else than a place counts as empty."""
    board = bytearray(confinement._BOARD)

    class Torn(bytearray):
        """What a worker writes into, until it is ended at the n-th write."""

        left = 0

        def __setitem__(self, key: Any, value: Any) -> None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            super().__setitem__(key, value)

    for writes in range(4):
        board = Torn(confinement._BOARD)
        worker = confinement._Worker(board)
        board.left = 9
        worker.write(confinement._PLACE, "reading this file", "a-long-name.yaml", 12, 345)
        board.left = writes
        with suppress(KeyboardInterrupt):
            worker.write(confinement._PLACE, "x", "b.yaml", 1, 2)
        ended = confinement._read(board, -9, 0.1)
        known = {0: ("reading this file", "a-long-name.yaml", 12, 345), 3: ("x", "b.yaml", 1, 2)}
        assert (ended.doing, ended.path, ended.line, ended.column) == known.get(writes, ("", "", 0, 0))
    for text in (b"x\0b.yaml\0\x003", b"x\0b.yaml\x001", b"a\0b\0c\0d\0e"):
        board = bytearray(confinement._BOARD)
        board[confinement._PLACE] = len(text)
        board[confinement._PLACE + 4 : confinement._PLACE + 4 + len(text)] = text
        assert confinement._read(board, -9, 0.1).line == 0


FREE = {
    "init": "writes files of its own, and reads none",
    "demo": "runs its own job on its own emulator, with the key of nobody",
    "run": "submits with the key",
    "status": "polls with the key; with --offline it reads what every confined command reads, too",
    "fetch": "polls and downloads with the key",
    "resolve": "asks the service with the key, and asks a person, who may take long",
    "manifest": "writes the record anew, a million requests too; reads nothing else",
    "emulator": "serves until it is stopped",
    "schema": "prints a file of the package",
    "explain": "prints a part of a page of the package",
    "doctor": "looks for the key",
    "shared": "waits for a store and a git remote, with the credentials of the operator; reads the policy alone",
    "completion": "prints a text of the package",
}
"""Why a command is not confined."""


@pytest.mark.parametrize("name", COMMANDS)
def test_what_reads_strangers_files_and_needs_no_key_is_confined(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command is on one list or the other; the confined ones have options for their limits, and are split."""
    assert (name in CONFINED) != (name in FREE)
    split: list[tuple[str, ...]] = []
    worker = confinement.Ended(code=40, cause=None)

    def ended(dropped: tuple[str, ...]) -> confinement.Ended:
        split.append(dropped)
        return worker

    monkeypatch.setattr(confinement, "split", ended)
    code = run_command([name, "--no-such-option"], process=True)
    assert (code, split) == ((40, [KEYS]) if name in CONFINED else (2, []))

    def limited(command: click.Command) -> bool:
        if isinstance(command, click.Group):
            return all(limited(one) for one in command.commands.values())
        return {"max_cpu", "max_memory"} <= {one.name for one in command.params}

    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert limited(command) == (name in CONFINED)


def test_an_export_of_the_gallery_that_is_too_much_is_a_finding(campaign: Path, command: Command) -> None:
    """Opinions come from whoever opened the page: 15 MB of them, and 64 MiB."""
    (campaign / "big.json").write_text('{"format": "x", "ratings": [' + "[]," * 5_000_000 + "[]]}")
    ended = command("ratings", "apply", "big.json", "--max-memory", "64")
    assert ended.code == 1
    assert ended.err.startswith("big.json: error[too-expensive]: reading this file takes more than 64 MiB of memory")
    assert {file.name for file in campaign.iterdir()} == {"big.json", "garden.yaml"}


def test_nothing_happens_where_nothing_was_split() -> None:
    """In a test, on Windows and beside the key every function is silent."""
    confinement.set_limits(1, 64, form="text", err=True)
    confinement.mark("reading", "a.yaml", 1, 1)
    confinement.allow_requests(10)
    confinement.allow_bytes(10 << 20)
    assert not confinement.say_memory_ran_out()
