"""Shards of thumbnails: a Dask cluster of worker processes beside the pool of this machine, in CPU for each image."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from bench.result import Goal, Result, Row
from bench.thumbnails import photograph
from seedream_jobs.inside import STATE_FOLDER
from seedream_jobs.results.engines import SHARD, Engine, EngineChoice, shared_folder
from tests.engines.cluster import Cluster

TITLE = "Shards on an executor: CPU seconds per image"


def cpu() -> float:
    """CPU seconds of this process and of all below it, those that ended included."""
    me = psutil.Process()
    used = 0.0
    for process in (me, *me.children(recursive=True)):
        times = process.cpu_times()
        used += times.user + times.system + times.children_user + times.children_system
    return used


def spent(engine: Engine, shards: list[dict[str, Any]], cache: Path) -> float:
    """CPU seconds for all shards; the processes have started and imported what they need before."""
    with ThreadPoolExecutor(4) as threads:
        for measured in (shards[:2], shards):
            shutil.rmtree(cache, ignore_errors=True)
            before = cpu()
            answers = list(threads.map(engine.work, measured))
            assert not any(answer["problems"] for answer in answers)
    return cpu() - before


def run(quick: bool) -> Result:
    """Rounds of both, one after the other: what else the machine does touches both."""
    count, rounds = (4, 1) if quick else (2 * SHARD, 3)
    local, dask = [], []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        bodies = [photograph(seed) for seed in range(2)]
        images = []
        for number in range(count):
            # A comment of its own: each image has a digest, and so a thumbnail, of its own.
            name = b"%06d" % number
            body = bodies[number % 2]
            file = root / f"{number}.jpeg"
            file.write_bytes(body[:2] + b"\xff\xfe\x00\x08" + name + body[2:])
            images.append({"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()})
        cluster = Cluster(root)
        try:
            with shared_folder(root) as shared:
                plain = {
                    "work": "thumbnails",
                    "root": str(root),
                    "folder": str(root),
                    "shared": shared,
                    "store": None,
                }
                size = 2 if quick else SHARD
                shards = [{**plain, "images": images[at : at + size]} for at in range(0, count, size)]
                choices: tuple[tuple[EngineChoice, Callable[[float], None]], ...] = (
                    (EngineChoice(workers=2), local.append),
                    (EngineChoice(address=cluster.address), dask.append),
                )
                for _ in range(rounds):
                    for choice, keep in choices:
                        with Engine(choice) as engine:
                            keep(spent(engine, shards, root / STATE_FOLDER / "thumbnails") / count)
        finally:
            cluster.close()
    return Result(
        stage="engines",
        title=TITLE,
        rows=(
            Row(what="local:2", values=tuple(local), unit="s", base=True),
            Row(what="dask, two workers", values=tuple(dask), unit="s"),
        ),
        goals=(
            Goal(
                what="Dask / local pool, CPU",
                ratios=tuple(one / other for one, other in zip(dask, local, strict=True)),
                goal=1.1,
            ),
        ),
        notes=(
            f"{count} JPEGs of 4096×4096 in shards of {size}, with all processes of the cluster. "
            f"Load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
        ),
    )
