"""``python -m bench [--quick] [--save] [--list] [STAGE…]``: run stages and print their tables."""

from __future__ import annotations

import argparse
import importlib
import sys

from bench import page
from bench.result import Result, save
from bench.table import text

STAGES = (
    "startup",
    "yaml_load",
    "plan",
    "submit",
    "claims",
    "memory",
    "journal",
    "resume",
    "split",
    "poll",
    "fetch",
    "store",
    "thumbnails",
    "engines",
    "gallery",
    "emulator_rate",
)
"""In the order of the work; each is a module of this package."""


def measure(stage: str, *, quick: bool) -> Result:
    """Run one stage."""
    found: Result = importlib.import_module(f"bench.{stage}").run(quick)
    return found


def main(arguments: list[str]) -> int:
    """Run what was asked for; 1 if a goal was missed."""
    options = argparse.ArgumentParser(prog="python -m bench", description="Speed, as ratios side by side in one run.")
    options.add_argument("stages", nargs="*", metavar="STAGE", help=f"one of: {', '.join(STAGES)} (default: all)")
    options.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds: a smoke test, no figures")
    options.add_argument("--save", action="store_true", help="merge into bench/results.json and draw the page anew")
    options.add_argument("--draw", action="store_true", help="only draw docs/performance.md from bench/results.json")
    given = options.parse_args(arguments)
    unknown = [name for name in given.stages if name not in STAGES]
    if unknown:
        options.error(f"no such stage: {', '.join(unknown)}; there are {', '.join(STAGES)}")
    missed = 0
    for stage in () if given.draw else given.stages or STAGES:
        result = measure(stage, quick=given.quick)
        print(text(result), flush=True)
        missed += sum(not goal.met for goal in result.goals)
        if given.save and not given.quick:
            save(result)
    if given.draw or (given.save and not given.quick):
        page.write()
    return 1 if missed and not given.quick else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
