"""The installed command and the service in processes of their own, and the audit that compares their books.

Nothing here reads the record through the program under test: manifest, journal and books are taken apart as the text
they are, so that a mistake of the program can't hide itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.canary import CANARY
from tests.service import ServiceProcess

PATIENCE = 180.0
"""Seconds after which a process that should have ended is taken for hung."""

ESTABLISHED = "01"
"""The state of a connection in /proc/net/tcp; a listening socket has another, and counts there who waits."""

SEEDED = Path(__file__).parent / "seeded"
"""A folder for each seeded fault: its ``sitecustomize.py`` is imported by the child process before anything else."""

TASK_STATES = frozenset({"accepted", "completed", "stored", "failed", "expired"})


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended: exit code (negative for a signal), stdout, stderr, and its wall time in seconds."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        """Everything it said."""
        return self.out + self.err


class Command:
    """One running command, leader of its own process group."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: dict[str, str],
        stdout: int = subprocess.PIPE,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            list(arguments),
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, as a terminal does; nothing happens if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def wait(self, patience: float = PATIENCE) -> Ended:
        """Its end."""
        try:
            out, err = self.process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            out, err = self.process.communicate()
            raise AssertionError(f"still running after {patience} s:\n{_text(out)}\n{_text(err)}") from None
        return Ended(self.process.returncode, _text(out), _text(err), time.monotonic() - self.began)


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")


class Emulator:
    """The service in a process of its own; it charges before it replies, and writes its books down before that."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state = state
        self.options = options
        self.url = ""
        self._start()

    def _start(self) -> None:
        self.process = ServiceProcess("--state", str(self.state), "--images", "plain", *self.options)
        self.url = self.process.url

    def restart(self, *options: str) -> None:
        """End it and begin anew with other options: the same books, the same port."""
        self.stop()
        self.options = options
        before = self.url
        self._start()
        assert self.url == before

    def stop(self) -> None:
        """End it."""
        self.process.end()

    def hold(self) -> None:
        """Stop it in its tracks: connections are made, requests are sent, and nothing is read or answered."""
        self.process.send_signal(signal.SIGSTOP)

    def unread(self) -> int:
        """On how many connections something has arrived that it has not read: while it is held, whole requests."""
        port = f":{urlsplit(self.url).port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(1 for row in rows if row[1].endswith(port) and row[3] == ESTABLISHED and row[4][9:] != "0" * 8)

    def release(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def count(self, subject: str = "") -> int:
        """How many charges for prompts that begin so are on its books; cheap."""
        try:
            return (self.state / "books.jsonl").read_bytes().count(b'"prompt":"%s' % subject.encode())
        except FileNotFoundError:
            return 0

    def charges(self, subject: str = "") -> list[dict[str, Any]]:
        """Its books, of prompts that begin so."""
        path = self.state / "books.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [charge for charge in map(json.loads, lines) if charge["prompt"].startswith(subject)]


@dataclass
class Campaign:
    """A folder with a job file, the commands run in it, and what they left.

    :param subject: how its prompts begin, by which the charges of several campaigns on one service are told apart
    """

    folder: Path
    base_url: str
    job: str = "job.yaml"
    subject: str = "heron "
    env: dict[str, str] = field(default_factory=dict)

    def write(self, requests: int, *lines: str) -> None:
        """A job of so many different requests; ``lines`` are added at its top level."""
        text = (
            f'version: 1\nrequest: {{prompt: "{self.subject}{{{{ i }}}}"}}\nmatrix: {{i: {{range: [1, {requests}]}}}}\n'
        )
        (self.folder / self.job).write_text(text + "".join(f"{line}\n" for line in lines))

    def environment(self, fault: str | None = None, **more: str) -> dict[str, str]:
        """What a child process sees: no key and no setting of whoever runs the tests."""
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "PYTHONPATH")}
        if fault is not None:
            folder = SEEDED / fault
            assert (folder / "sitecustomize.py").is_file()
            kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), kept.get("PYTHONPATH", "")]))
        return {**kept, "APIMART_API_KEY": CANARY, "PYTHONUNBUFFERED": "1", "TERM": "dumb", **self.env, **more}

    def arguments(self, name: str, *rest: str) -> list[str]:
        """The command line; the service's address only for commands that take one."""
        return [sys.executable, "-m", "seedream_jobs", name, *rest, "--base-url", self.base_url]

    def start(
        self, name: str, *rest: str, fault: str | None = None, prefix: Sequence[str] = (),
        stdout: int = subprocess.PIPE, stdin: int = subprocess.DEVNULL, **env: str,
    ) -> Command:  # fmt: skip
        """Start a command on the job; ``prefix`` is what it is run under (``strace …``)."""
        line = [*prefix, *self.arguments(name, self.job, *rest)]
        return Command(line, cwd=self.folder, env=self.environment(fault, **env), stdout=stdout, stdin=stdin)

    def run(self, *rest: str, fault: str | None = None, prefix: Sequence[str] = (), **env: str) -> Ended:
        """``run --yes`` to its end."""
        return self.start("run", "--yes", *rest, fault=fault, prefix=prefix, **env).wait()

    def command(self, name: str, *rest: str, **env: str) -> Ended:
        """Another command to its end."""
        return self.start(name, *rest, **env).wait()

    @property
    def manifest(self) -> Path:
        return self.folder / f"{Path(self.job).stem}.manifest.jsonl"

    @property
    def journal(self) -> Path:
        """In a repository in its git folder (these campaigns have one job), else beside the manifest."""
        beside = self.folder / f"{Path(self.job).stem}.manifest.journal"
        return next(iter((self.folder / ".git" / "seedream-jobs").glob("*.journal")), beside)

    def lines(self) -> list[dict[str, Any]]:
        """Every line of the manifest, and of its parts."""
        files = [self.manifest, *sorted(self.manifest.with_suffix("").glob("*.jsonl"))]
        return [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines()]

    def entries(self) -> dict[str, dict[str, Any]]:
        """The manifest's requests by key."""
        return {line["key"]: line for line in self.lines() if "state" in line}

    def states(self) -> Counter[str]:
        """How many requests are in each state, by the manifest."""
        return Counter(line["state"] for line in self.entries().values())

    def records(self) -> list[dict[str, Any]]:
        """The journal's whole records."""
        found, lines = [], list[bytes]()
        with contextlib.suppress(FileNotFoundError):  # a run that ends removes it
            lines = self.journal.read_bytes().split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def age(self, seconds: int) -> None:
        """Make the manifest look as if everything was submitted so long ago: tasks are then asked for at once."""
        import datetime

        def earlier(line: dict[str, Any]) -> dict[str, Any]:
            line.pop("crc", None)
            for name in ("submitted_at", "since"):
                if name in line:
                    then = datetime.datetime.fromisoformat(line[name]) - datetime.timedelta(seconds=seconds)
                    line[name] = then.strftime("%Y-%m-%dT%H:%M:%SZ")
            return line

        text = "".join(
            json.dumps(earlier(line), sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
            for line in self.lines()
        )
        self.manifest.write_text(text)


@dataclass
class Snapshot:
    """What a killed run leaves: announced submissions without an outcome, and task ids it had on record."""

    open_intents: set[str]
    acknowledged: dict[str, str]


def snapshot(campaign: Campaign) -> Snapshot:
    """Read a dead run's journal."""
    open_intents: set[str] = set()
    acknowledged: dict[str, str] = {}
    for record in campaign.records():
        match record.get("event"):
            case "intended":
                open_intents.add(record["key"])
            case "accepted":
                acknowledged[record["key"]] = record["task_id"]
                open_intents.discard(record["key"])
            case None:
                continue
            case _:
                open_intents.discard(record["key"])
    return Snapshot(open_intents, acknowledged)


def told(stderr: str) -> set[str]:
    """The keys a run has reported as accepted (``--json``)."""
    found = set()
    for line in stderr.splitlines():
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict) and said.get("event") == "accepted":
                found.add(said["key"])
    return found


def audit(campaign: Campaign, emulator: Emulator, acknowledged: dict[str, str], reported: set[str]) -> list[str]:
    """The laws of the promise, held between the record and the service's books; what breaks them.

    :param acknowledged: task ids that dead runs had on record, by request key
    :param reported: keys that dead runs had told somebody were accepted
    """
    found: list[str] = []
    entries = campaign.entries()
    by_idempotency = {line["idempotency_key"]: line for line in entries.values() if "idempotency_key" in line}
    charges = emulator.charges(campaign.subject)
    for body, times in Counter(charge["body_sha256"] for charge in charges).items():
        if times > 1:
            found.append(f"charged {times} times: request {body[:8]}")
    for charge in charges:
        entry = by_idempotency.get(charge["key"])
        if entry is None:
            found.append(f"charged and not on record: {charge['id']}")
        elif entry["state"] in TASK_STATES and entry.get("task_id") != charge["id"]:
            found.append(f"another task is on record than was charged: {charge['id']}")
        elif entry["state"] not in TASK_STATES | {"in_doubt", "abandoned"}:
            found.append(f"charged and {entry['state']}: {charge['id']}")
    for key, task_id in acknowledged.items():
        if key not in entries or entries[key].get("task_id") != task_id:
            found.append(f"lost an acknowledged id: {task_id}")
    for key in reported:
        if key not in entries or entries[key]["state"] not in TASK_STATES:
            found.append(f"reported as accepted and not on record: {key}")
    return found


def until(condition: Callable[[], bool], command: Command | None = None, patience: float = PATIENCE) -> bool:
    """Wait for a condition; False if the command ended before it held."""
    limit = time.monotonic() + patience
    while not condition():
        if command is not None and not command.running:
            return condition()
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.002)
    return True


@contextlib.contextmanager
def emulating(state: Path, *options: str) -> Iterator[Emulator]:
    """An emulator that ends with the block."""
    emulator = Emulator(state, *options)
    try:
        yield emulator
    finally:
        emulator.stop()


def read_until(descriptor: int, mark: bytes, patience: float = PATIENCE) -> bytes:
    """What a terminal or pipe shows up to a mark (or its end)."""
    seen = b""
    limit = time.monotonic() + patience
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while mark not in seen:
            assert selector.select(max(0.0, limit - time.monotonic())), f"waited in vain for {mark!r} in {seen!r}"
            try:
                data = os.read(descriptor, 65536)
            except OSError:  # a terminal whose other end is closed
                break
            if not data:
                break
            seen += data
    return seen


def has(*programs: str) -> bool:
    """Whether these programs are installed."""
    return all(shutil.which(program) for program in programs)
