"""``python -m seedream_jobs.emulator --state DIR``: the emulator in a process of its own, without the command line.

Each field of ``Settings`` is an option (``--latency`` in milliseconds); the URL is the first line on stdout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seedream_jobs.emulator.faults import parse_fault
from seedream_jobs.emulator.settings import Settings, parse_money, parse_seconds
from seedream_jobs.errors import SeedreamError

_OPTIONS: dict[str, Callable[[str], Any]] = {
    "state": Path,
    "host": str,
    "port": int,
    "delay": float,
    "spread": float,
    "price": parse_money,
    "balance": parse_money,
    "link_life": parse_seconds,
    "idempotency": str,
    "deliver": str,
    "seed": int,
    "images": str,
    "latency": lambda text: float(text) / 1000,
    "slow": float,
}


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m seedream_jobs.emulator", description=__doc__)
    for name, convert in _OPTIONS.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=convert, default=argparse.SUPPRESS, required=name == "state")
    parser.add_argument("--label", action="store_true")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME:RATE")
    options = vars(parser.parse_args(arguments))
    try:
        settings = Settings(faults=tuple(map(parse_fault, options.pop("fault"))), **options)

        from seedream_jobs.emulator.server import serve

        serve(settings, lambda url: print(url, flush=True))  # noqa: T201
    except SeedreamError as error:
        sys.stderr.write(f"{error.message}\n")
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
