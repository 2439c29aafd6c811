"""The first POST: how long after the start it leaves, and how much of a matrix has been expanded by then."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import jobs
from bench.loopback import loopback
from bench.result import Goal, Result, Row
from bench.timing import child, real_folder

TITLE = "The first POST"


def measure(count: int) -> dict[str, Any]:
    """One run in this process, ended by its first POST: seconds, and how many requests were expanded before it."""
    started = time.perf_counter()
    from seedream_jobs.api.client import Client
    from seedream_jobs.cli import run_command
    from seedream_jobs.expand.expansion import Expansion, Place

    passes: list[int] = []
    places = Expansion.places

    def counted(self: Expansion) -> Iterator[Place]:
        number = len(passes)
        passes.append(0)
        for place in places(self):
            passes[number] += 1
            yield place

    async def first(*_: object, **__: object) -> None:
        found = {"seconds": time.perf_counter() - started, "made": sum(passes)}
        os.write(answer, json.dumps(found).encode() + b"\n")
        shutil.rmtree(folder)
        os.kill(service.pid, signal.SIGKILL)
        os._exit(0)

    Expansion.places = counted  # type: ignore[method-assign]
    Client.submit = first  # type: ignore[method-assign,assignment]
    answer = os.dup(1)
    os.dup2(2, 1)
    os.environ["APIMART_API_KEY"] = "bench"
    folder = Path(tempfile.mkdtemp(dir=real_folder()))
    with loopback(50) as service:
        job = jobs.write(folder, count)
        run_command(["run", str(job), "--yes", "--detach", "--concurrency", "64", "--base-url", service.url])
    raise SystemExit("no POST was made")


def run(quick: bool) -> Result:
    """From 1,000 to a million requests."""
    sizes = (1000,) if quick else (1000, 100_000, 1_000_000)
    found = {size: [child("bench.first_post", size) for _ in range(1 if quick else 3)] for size in sizes}
    large = sizes[-1]
    rows = [
        Row(what=f"{size:,} requests: start to first POST", values=tuple(one["seconds"] for one in each), unit="s")
        for size, each in found.items()
    ]
    rows.append(
        Row(
            what=f"{large:,} requests: made before the first POST",
            values=tuple(one["made"] for one in found[large]),
            unit="requests",
        )
    )
    return Result(
        stage="first_post",
        title=TITLE,
        rows=tuple(rows),
        goals=(
            Goal(
                what="share of the matrix expanded before the first POST",
                ratios=tuple(one["made"] / large for one in found[large]),
                goal=0.01,
            ),
        ),
        notes=(
            "Imports, plan, ledger and connection included.",
            "Their number and the most they can cost are known by then, from the parts of the matrix. The whole matrix "
            "is expanded once before anything is sent where those do not show that no two requests are equal (an "
            "expression that reads two axes, texts that run into one another), where something is on record already, "
            "or with --select: money does not leave before it is known how much.",
        ),
    )


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
