"""Reads a YAML file of 10,000 lines with every position, beside PyYAML's C loader, which keeps none.

    python bench/yaml_load.py [--runs 7]

Prints the median of the interleaved runs of each and their ratio; the goal is 0.6. Exit 1 if it is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import yaml

from seedream_jobs.job.source import parse

GOAL = 0.6


def job(lines: int = 10_000) -> bytes:
    """A job file of about that many lines: half a block list of texts and small mappings, half keys and values."""
    rows = ["version: 1", "matrix:", "  subject:"]
    for number in range(lines // 2):
        if number % 3:
            rows.append(f"    - a golden retriever number {number} in a garden")
        else:
            rows.append(f"    - {{id: style-{number}, text: high-definition photography, weight: {number}}}")
    rows.append("x-requests:")
    for number in range(lines // 10):
        rows += [
            f"  r{number}:",
            f'    prompt: "a heron, {number}"',
            "    size: 16:9",
            "    n: 2",
            "    watermark: false",
        ]
    return "\n".join(rows).encode() + b"\n"


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=7)
    runs = options.parse_args().runs
    raw = job()
    text = raw.decode()
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(runs):
        theirs.append(seconds(lambda: yaml.load(text, Loader=yaml.CSafeLoader)))
        ours.append(seconds(lambda: parse(raw, "job.yaml")))
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"{raw.count(10):,} lines, {len(raw):,} bytes, median of {runs} interleaved runs")
    print(f"CSafeLoader, no positions   {statistics.median(theirs) * 1000:7.1f} ms")
    print(f"parse, every position       {statistics.median(ours) * 1000:7.1f} ms")
    print(f"ratio {ratio:.2f} (goal {GOAL})")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
