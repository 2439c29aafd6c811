"""This module is the command ``seedream-jobs emulator``, which is ``python -m seedream_jobs.emulator``, too.

Called by the command line. Each option but ``--fault`` and ``--list-faults`` is a field of ``Settings``.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from seedream_jobs.errors import SeedreamError, UsageError


def parse_money(text: str) -> Decimal:
    """USD as a decimal number.

    :raises UsageError: for anything that is not a finite number
    """
    try:
        amount = Decimal(text)
    except ArithmeticError:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise UsageError(f"{text!r} is no amount of money", hint="write a number of USD, such as 0.0228")
    return amount


def parse_seconds(text: str) -> float:
    """Seconds from ``90``, ``90s``, ``30m`` or ``72h``.

    :raises UsageError: for anything else
    """
    scale = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    try:
        return float(text) if scale is None else float(text[:-1]) * scale
    except ValueError:
        raise UsageError(f"{text!r} is no duration", hint="write 90, 90s, 30m or 72h") from None


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="0 takes the port used last, else a free one.  [default: 0]",
)
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="A loopback address.  [default: 127.0.0.1]")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".seedream/emulator/service"),
    metavar="DIR",
    help="The folder of its books; the same folder knows the same tasks.  [default: .seedream/emulator/service]",
)
@click.option("--delay", type=float, default=1.0, metavar="SECONDS", help="From acceptance to result.  [default: 1]")
@click.option("--spread", type=float, default=0.5, metavar="SHARE", help="Delays vary by this share.  [default: 0.5]")
@click.option("--price", type=parse_money, metavar="USD", help="Per delivered image.  [default: the model profile's]")
@click.option(
    "--balance", type=parse_money, default="100", metavar="USD", help="On the account at the beginning.  [default: 100]"
)
@click.option(
    "--link-life", type=parse_seconds, metavar="DURATION", help="Such as 72h or 90s.  [default: the model profile's]"
)
@click.option(
    "--idempotency",
    type=click.Choice(["honours", "ignores", "half"]),
    default="ignores",
    help="What a repeated Idempotency-Key does.  [default: ignores]",
)
@click.option(
    "--deliver",
    type=click.Choice(["n", "max", "fewer"]),
    default="n",
    help="As many images as asked for, the most that `auto` allows, or one less.  [default: n]",
)
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME:RATE", help="What goes wrong: 429:0.1, 500:every=5. Repeatable."
)
@click.option("--list-faults", is_flag=True, help="Print every fault with a sentence about it, and leave.")
@click.option("--seed", type=int, default=0, metavar="N", help="Of the faults and delays.  [default: 0]")
@click.option(
    "--images",
    type=click.Choice(["drawn", "plain"]),
    default="drawn",
    help="Show the prompt, or serve one picture per size as fast as possible.  [default: drawn]",
)
@click.option("--label", is_flag=True, help="Embed an AI label in every image.")
@click.option("--latency", type=float, default=0.0, metavar="MS", help="Before each reply of the API.  [default: 0]")
@click.option("--slow", type=float, default=3.0, metavar="SECONDS", help="What the slow faults take.  [default: 3]")
def emulator(faults: tuple[str, ...], list_faults: bool, latency: float, **settings: Any) -> None:
    """Serve the emulated service on a loopback port until Ctrl-C.

    The base URL is the first line on stdout; any key but one that begins with "invalid" is accepted. Point a run at
    it with --base-url, or start one for a single run with --emulator.

    \b
    Examples:
      seedream-jobs emulator --list-faults
      seedream-jobs emulator --port 8000
      seedream-jobs emulator --fault 429:0.1 --latency 200
    """
    from seedream_jobs.emulator.faults import FAULTS, parse_fault
    from seedream_jobs.emulator.server import serve
    from seedream_jobs.emulator.settings import Settings

    if list_faults:
        width = max(map(len, FAULTS))
        for fault in FAULTS.values():
            click.echo(f"{fault.name:{width}}  {fault.stage:8}  {fault.about}")
        return
    rules = tuple(map(parse_fault, faults))
    serve(Settings(faults=rules, latency=latency / 1000, **settings), click.echo)


if __name__ == "__main__":
    try:
        emulator(prog_name="python -m seedream_jobs.emulator")
    except SeedreamError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(error.exit_code)
