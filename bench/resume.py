"""Reads a manifest of 100,000 requests strictly, beside a bare ``json.loads`` of each line.

    python bench/resume.py [--entries 100000] [--runs 5]

Prints the median CPU seconds of the interleaved runs of each and their ratio; the goal is 1.5. Exit 1 if it is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from decimal import Decimal

from seedream_jobs.ledger.manifest import Manifest, read_manifest
from seedream_jobs.ledger.records import Header
from seedream_jobs.ledger.state import Entry, Image, State

GOAL = 1.5


def manifest(count: int) -> bytes:
    """The bytes of a manifest with so many stored requests of one image each."""
    made = Manifest(header=Header(id="m-bench", job="garden.yaml", origin="https://api.apimart.ai"))
    for number in range(count):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        image = Image(
            expires_at=1_800_259_240, file=f"out/heron-{number}.jpeg", sha256=digest, width=3136, height=1344, bytes=9
        )
        made.entries.put(
            Entry(
                key=f"v1:{digest}",
                address=f"garden/subject=heron-{number},season=spring,style=photo#1",
                cell={"subject": f"heron {number}", "season": "spring", "style": "photo"},
                request={"model": "doubao-seedream-5-0-lite", "prompt": f"heron {number} in a garden, spring, 35mm"},
                repeat=1,
                output=f"out/heron-{number}",
                max_images=1,
                generation=1,
                state=State.STORED,
                idempotency_key=digest,
                task_id=f"task_{number:022}",
                images=(image,),
                cost_usd=Decimal("0.0228"),
                max_cost_usd=Decimal("0.0228"),
                submitted_at=1_800_000_000 + number,
            )
        )
    return b"".join(made.chunks())


def bare(data: bytes) -> None:
    """What nobody can do without."""
    for line in data.split(b"\n"):
        if line:
            json.loads(line)


def strict(data: bytes) -> None:
    """What every command does."""
    read_manifest(data, "garden.manifest.jsonl")


def seconds(work: Callable[[bytes], None], data: bytes) -> float:
    """CPU seconds of one run."""
    start = time.process_time()
    work(data)
    return time.process_time() - start


def main() -> int:
    """Run both in turn and print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--entries", type=int, default=100_000)
    options.add_argument("--runs", type=int, default=5)
    given = options.parse_args()
    data = manifest(given.entries)
    pairs = [(seconds(bare, data), seconds(strict, data)) for _ in range(given.runs)]
    ratios = sorted(ours / theirs for theirs, ours in pairs)
    print(f"{given.entries} entries, {len(data) / 1e6:.0f} MB, median of {given.runs} interleaved runs, CPU seconds")
    print(f"  json.loads per line   {statistics.median(theirs for theirs, _ in pairs):.3f}")
    print(f"  read_manifest         {statistics.median(ours for _, ours in pairs):.3f}")
    print(f"  ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), goal {GOAL}")
    return 0 if statistics.median(ratios) <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
