"""Memory of ``run --detach`` over the number of requests: journal, manifest and ending included, on the emulator."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import jobs
from bench.emulator_rate import process
from bench.result import Goal, Result, Row, Series
from bench.timing import child, peak_mib, real_folder

TITLE = "Memory of run --detach on the emulator"
PER_REQUEST = 2.0  # KiB


def measure(count: int) -> dict[str, Any]:
    """One run in this process: peak memory in MiB, seconds."""
    from seedream_jobs.cli.main import run_command

    parent = real_folder()
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        job = jobs.write(folder, count)
        emulator = ("-m", "seedream_jobs.emulator", "--balance", "1000000000", "--state", str(folder / "books"))
        with process(*emulator) as url:
            os.environ["APIMART_API_KEY"] = "bench"
            started = time.perf_counter()
            options = ["--yes", "--detach", "--concurrency", "64", "--base-url", url, "--no-gallery"]
            said = os.dup(1)
            os.dup2(2, 1)  # the command's own words are not the answer
            code = run_command(["run", str(job), *options])
            sys.stdout.flush()
            os.dup2(said, 1)
            assert code == 0, code
            wall = time.perf_counter() - started
        lines = sum(1 for _ in folder.joinpath("garden.manifest.jsonl").open("rb")) - 1
        assert lines == count, lines
        size = folder.joinpath("garden.manifest.jsonl").stat().st_size
        return {"peak": peak_mib(), "wall": wall, "manifest": size / 1024**2}
    finally:
        shutil.rmtree(folder)


def run(quick: bool) -> Result:
    """Several sizes, each in a process of its own."""
    sizes = (100, 500) if quick else (1000, 10_000, 100_000)
    found = {size: child("bench.memory", size) for size in sizes}
    small, large = sizes[0], sizes[-1]
    slope = (found[large]["peak"] - found[small]["peak"]) * 1024 / (large - small)
    rows = [
        Row(what=f"peak memory, {size:,} requests", values=(one["peak"],), unit="MiB", base=size == small)
        for size, one in found.items()
    ]
    rows += [
        Row(what=f"manifest of {size:,} requests", values=(one["manifest"],), unit="MiB") for size, one in found.items()
    ]
    rows += [
        Row(what="each further request", values=(slope,), unit="KiB"),
        Row(what=f"{large:,} requests, wall", values=(found[large]["wall"],), unit="s"),
    ]
    return Result(
        stage="memory",
        title=TITLE,
        rows=tuple(rows),
        goals=(Goal(what="KiB for each further request", ratios=(slope,), goal=PER_REQUEST, why=WHY),),
        series=(
            Series(
                what="run --detach: peak memory",
                unit="MiB",
                points=tuple((size, one["peak"]) for size, one in found.items()),
            ),
        ),
        notes=(
            "Submitting itself holds 64 requests at a time. What grows is the record: of each request "
            "its key and its line.",
        ),
    )


WHY = ""

if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
