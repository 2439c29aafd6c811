"""Thumbnails of 4K JPEGs: the pool of processes beside a bare Pillow loop."""

from __future__ import annotations

import io
import os
import random
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps

from bench.result import Goal, Result, Row
from seedream_jobs.results.thumbnails import Decoders, thumbnail_path

TITLE = "Thumbnails: seconds per image"


def photograph(seed: int) -> bytes:
    """A 4096×4096 JPEG with detail at several scales."""
    noise = random.Random(seed)
    image = Image.frombytes("RGB", (64, 64), noise.randbytes(64 * 64 * 3)).resize(
        (4096, 4096), Image.Resampling.BICUBIC
    )
    grain = Image.frombytes("L", (1024, 1024), noise.randbytes(1024 * 1024)).resize((4096, 4096))
    out = io.BytesIO()
    Image.blend(image, grain.convert("RGB"), 0.12).save(out, "JPEG", quality=90)
    return out.getvalue()


def bare(files: list[Path], cache: Path) -> None:
    """The loop that anyone would write, in one process."""
    for number, file in enumerate(files):
        with Image.open(file) as image:
            image.draft("RGB", (768, 768))
            image.thumbnail((384, 384), reducing_gap=2.0)
            ImageOps.exif_transpose(image, in_place=True)
            image.save(cache / f"{number}.webp", "WEBP", quality=80, method=4)


def pooled(files: list[Path], cache: Path) -> None:
    """Every thread hands images to the processes, as ``fetch`` does."""
    with Decoders() as decoders, ThreadPoolExecutor(decoders.workers) as threads:
        targets = [thumbnail_path(cache, f"{number:064x}") for number in range(len(files))]
        found = list(threads.map(decoders.decode, files, targets))
    assert all(one.problem is None for one in found), found


def cpu() -> float:
    """CPU seconds of this process and of those it waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def run(quick: bool) -> Result:
    """One round: it is long."""
    count = 4 if quick else 60
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bodies = [photograph(seed) for seed in range(4)]
        files = []
        for number in range(count):
            file = folder / f"{number}.jpeg"
            file.write_bytes(bodies[number % len(bodies)])
            files.append(file)
        (folder / "bare").mkdir()
        bare(files[:2], folder / "bare")
        started, spent = time.perf_counter(), cpu()
        bare(files, folder / "bare")
        plain_wall, plain_cpu = time.perf_counter() - started, cpu() - spent
        started, spent = time.perf_counter(), cpu()
        pooled(files, folder / "cache")
        wall, used = time.perf_counter() - started, cpu() - spent
    return Result(
        stage="thumbnails",
        title=TITLE,
        rows=(
            Row(what="bare loop, CPU", values=(plain_cpu / count,), unit="s", base=True),
            Row(what="pool of processes, CPU", values=(used / count,), unit="s"),
            Row(what="bare loop, wall", values=(plain_wall / count,), unit="s"),
            Row(what="pool of processes, wall", values=(wall / count,), unit="s"),
        ),
        goals=(Goal(what="pool / bare loop, CPU", ratios=(used / plain_cpu,), goal=1.3),),
        notes=(
            f"{count} JPEGs of 4096×4096, {len(bodies[0]) / 1e6:.1f} MB each; the pool kept {used / wall:.2f} of "
            f"{os.cpu_count()} cores busy.",
        ),
    )
