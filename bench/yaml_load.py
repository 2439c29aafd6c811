"""Reading YAML: 10,000 lines with every position, beside PyYAML's loaders, which keep none."""

from __future__ import annotations

import yaml

from bench.result import Goal, Result, Row, ratios
from bench.timing import here
from seedream_jobs.job.yaml_reader import parse

TITLE = "Reading YAML: CPU seconds of one file"
GOAL = 1.2


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


def run(quick: bool) -> Result:
    """Interleaved, in this process."""
    raw = job(1000 if quick else 10_000)
    text = raw.decode()
    work = {
        "CSafeLoader, no positions": lambda: yaml.load(text, Loader=yaml.CSafeLoader),
        "safe_load, no positions": lambda: yaml.safe_load(text),
        "parse, every position": lambda: parse(raw, "job.yaml"),
    }
    slow = "safe_load, no positions"
    found = {what: [] for what in work}  # type: dict[str, list[float]]
    for number in range(3 if quick else 8):
        for what, one in work.items():
            if number and (what != slow or number < 4):
                found[what].append(here(one).cpu)
    ours, theirs = found["parse, every position"], found["CSafeLoader, no positions"]
    return Result(
        stage="yaml_load",
        title=TITLE,
        rows=tuple(
            Row(what=what, values=tuple(figures), unit="s", base=what.startswith("C"))
            for what, figures in found.items()
        ),
        goals=(Goal(what="parse with positions / CSafeLoader", ratios=ratios(ours, theirs), goal=GOAL),),
        notes=(f"{raw.count(10):,} lines, {len(raw):,} bytes.",),
    )
