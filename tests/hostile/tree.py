"""Builds the tree of a hostile case on disk, and runs commands in it as fresh processes under limits.

A case describes a pull request: files by their content, links and pipes by what they are, the commits, and what lies
beside the checkout. ``Server`` forks a process per command from one that has imported the package already, so a
case costs tens of milliseconds and each has limits of its own: CPU seconds, memory, no core.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.canary import CANARY

CPU_SECONDS = 5
MEMORY_MIB = 512

_SERVER = """
import json, os, resource, runpy, sys
import seedream_jobs.pipeline, seedream_jobs.expand.expansion, jinja2, jsonschema, yaml, click
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        os.setsid()
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(asked["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(os.open(asked["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        resource.setrlimit(resource.RLIMIT_CPU, (asked["cpu"], asked["cpu"] + 1))
        resource.setrlimit(resource.RLIMIT_DATA, (asked["memory"], asked["memory"]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["seedream-jobs", *asked["arguments"]]
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        code = 70
        try:
            if asked["script"]:
                runpy.run_path(asked["script"])
            else:
                runpy.run_module("seedream_jobs", run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status, used = os.wait4(child, 0)
    answer = {"code": os.waitstatus_to_exitcode(status), "cpu": used.ru_utime + used.ru_stime, "kib": used.ru_maxrss}
    print(json.dumps(answer), flush=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended. ``code`` is negative for a signal; ``cpu`` in seconds, ``memory`` in MiB."""

    code: int
    out: str
    err: str
    cpu: float
    memory: float

    @property
    def text(self) -> str:
        return self.out + self.err


class Server:
    """Runs commands, one at a time, each in a forked process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "APIMART_API_KEY": CANARY},  # /proc/self/environ shows this one
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(self, arguments: list[str], cwd: Path, *, environment: dict[str, str], script: Path | None = None) -> Ended:
        """Run ``seedream-jobs ARGUMENTS`` in ``cwd`` under the limits; ``script`` instead of it, to try the limits."""
        out, err = cwd.parent / "stdout", cwd.parent / "stderr"
        asked = {
            "arguments": arguments,
            "cwd": str(cwd),
            "environment": environment,
            "out": str(out),
            "err": str(err),
            "cpu": CPU_SECONDS if script is None else 1,
            "script": script and str(script),
            "memory": MEMORY_MIB << 20,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        ended = json.loads(self._process.stdout.readline())
        return Ended(
            code=ended["code"],
            out=out.read_text("utf-8", "backslashreplace"),
            err=err.read_text("utf-8", "backslashreplace"),
            cpu=ended["cpu"],
            memory=ended["kib"] / 1024,
        )

    def close(self) -> None:
        self._process.communicate(timeout=60)


def build(where: Path, tree: dict[str, Any]) -> None:
    """Make the files of ``tree`` below ``where``.

    A text is the content of a file. A mapping is one of ``{text: …, times: N}`` (N times, a ``#`` in it counts,
    and ``begin`` and ``end`` stand around all), ``{link: TARGET}``, ``{pipe: true}``, ``{base64: …}``;
    ``{text: …, mode: "755"}`` sets the mode. ``null`` removes the file.
    """
    for name, content in tree.items():
        path = where / name
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, dict):
            content = {"text": content}
        if path.is_symlink() or path.exists():
            path.unlink()
        if "link" in content:
            path.symlink_to(content["link"])
        elif "pipe" in content:
            os.mkfifo(path)
        elif "base64" in content:
            path.write_bytes(base64.b64decode(content["base64"]))
        else:
            times = content.get("times", 1)
            numbered = (content["text"].replace("#", str(number)) for number in range(times))
            text = "".join(numbered) if times > 1 and "#" in content["text"] else content["text"] * times
            whole = content.get("begin", "") + text + content.get("end", "")
            path.write_bytes(whole.encode("utf-8", "surrogateescape"))
        if "mode" in content:
            path.chmod(int(content["mode"], 8))


def git(where: Path, *words: str) -> None:
    """One git command in ``where``, by an author of its own and without the configuration of this machine."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(where.parent),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "n",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "n",
        "GIT_COMMITTER_EMAIL": "a@example.org",
        "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
        "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    }
    subprocess.run(["git", *words], cwd=where, env=environment, check=True, capture_output=True)
