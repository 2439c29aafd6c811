"""Interleaved rounds, and child processes with what they cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = Path(sys.executable).parent / "seedream-jobs"

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {
    "GIT_CEILING_DIRECTORIES": str(ROOT / ".bench")
}
"""Children may keep their bytecode, as an installed program does. For git a bench's folder lies in no repository, so
that the records in it are not refused as ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of one run, and of a child the peak of its memory in MiB."""

    wall: float
    cpu: float
    peak: float = 0.0


def interleaved(work: Mapping[str, Callable[[], Cost]], rounds: int, *, warm: int = 1) -> dict[str, list[Cost]]:
    """Each piece of work once per round, in turn; the first ``warm`` rounds are not counted."""
    found: dict[str, list[Cost]] = {name: [] for name in work}
    for number in range(warm + rounds):
        for name, run in work.items():
            cost = run()
            if number >= warm:
                found[name].append(cost)
    return found


def here(work: Callable[[], object]) -> Cost:
    """One run in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)


def command(arguments: Sequence[str | Path], *, cwd: Path | None = None) -> Cost:
    """One run of a program, from its start to its end; it must succeed."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stderr.close()
    if child.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))} ended with {child.returncode}:\n{said.decode()}")
    return Cost(wall=time.perf_counter() - started, cpu=used.ru_utime + used.ru_stime)


def child(module: str, *arguments: object) -> dict[str, Any]:
    """What ``python -m MODULE ARGUMENTS`` prints last, as JSON: how a stage measures itself in a fresh process."""
    ended = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def peak_mib() -> float:
    """The most memory this process has had, MiB (Linux: of this program alone; elsewhere with what it forked from)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def file_system(folder: Path) -> str:
    """The type of the file system a folder lies on, such as ``ext4``; ``unknown`` where the platform does not say."""
    ended = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False)
    return ended.stdout.strip() or "unknown"


def real_folder() -> Path:
    """A repository of its own on a real file system, for whoever syncs: memory would answer at once.

    :raises SystemExit: there is none
    """
    folder = ROOT / ".bench"
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").unlink(missing_ok=True)  # an ignored record is refused
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    kind = file_system(folder)
    if kind in ("tmpfs", "ramfs"):
        raise SystemExit(f"{folder} is on {kind}: an fsync there costs nothing; move the checkout to a disk")
    return folder
