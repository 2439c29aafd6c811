"""Thumbnails of 100 4K JPEGs: the pool beside a bare Pillow loop, in CPU seconds, and the cores it keeps busy.

Goals: CPU at most 1.3 times the bare loop's, both cores used. Run with ``python bench/thumbnails.py``.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageOps

from seedream_jobs.results.thumbnails import Source, make_thumbnails


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


def bare(sources: list[Source], cache: Path) -> None:
    """The loop that anyone would write, in one process."""
    for source in sources:
        with Image.open(source.file) as image:
            image.draft("RGB", (768, 768))
            image.thumbnail((384, 384), reducing_gap=2.0)
            ImageOps.exif_transpose(image, in_place=True)
            image.save(cache / f"{source.sha256}.webp", "WEBP", quality=80, method=4)


def cpu() -> float:
    """CPU seconds of this process and of those it waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bodies = [photograph(seed) for seed in range(4)]
        sources = []
        for number in range(options.count):
            file = folder / f"{number}.jpeg"
            file.write_bytes(bodies[number % len(bodies)])
            sources.append(Source(file=file, sha256=f"{number:064x}"))
        (folder / "bare").mkdir()
        bare(sources[:2], folder / "bare")
        started, spent = time.perf_counter(), cpu()
        bare(sources, folder / "bare")
        plain_wall, plain_cpu = time.perf_counter() - started, cpu() - spent
        started, spent = time.perf_counter(), cpu()
        made = list(make_thumbnails(sources, folder / "cache"))
        wall, used = time.perf_counter() - started, cpu() - spent
    assert all(one.thumbnail for one in made), made
    print(f"{options.count} JPEGs of 4096×4096, {len(bodies[0]) / 1e6:.1f} MB each, {os.cpu_count()} CPUs")
    print(f"bare loop: {plain_wall:.2f} s wall, {plain_cpu:.2f} s CPU")
    print(f"pool: {wall:.2f} s wall ({plain_wall / wall:.2f} times as fast), {used:.2f} s CPU, {used / wall:.2f} cores")
    print(f"CPU ratio {used / plain_cpu:.2f}")


if __name__ == "__main__":
    main()
