"""``seedream-jobs emulator``: the service's twin on a port, with faults on demand."""

from __future__ import annotations

from pathlib import Path

import click


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
@click.option("--price", metavar="USD", help="Per delivered image.  [default: the model profile's]")
@click.option("--balance", default="100", metavar="USD", help="On the account at the beginning.  [default: 100]")
@click.option("--link-life", metavar="DURATION", help="Such as 72h or 90s.  [default: the model profile's]")
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
def emulator(
    port: int,
    host: str,
    state: Path,
    delay: float,
    spread: float,
    price: str | None,
    balance: str,
    link_life: str | None,
    idempotency: str,
    deliver: str,
    faults: tuple[str, ...],
    list_faults: bool,
    seed: int,
    images: str,
    label: bool,
    latency: float,
    slow: float,
) -> None:
    """Serve the emulated service on a loopback port until Ctrl-C.

    The base URL is the first line on stdout; any key but one that begins with "invalid" is accepted. Point a run at
    it with --base-url, or start one for a single run with --emulator.
    """
    from seedream_jobs.emulator.faults import parse_fault
    from seedream_jobs.emulator.settings import Settings, parse_money, parse_seconds

    if list_faults:
        _print_faults()
        return
    settings = Settings(
        state=state,
        host=host,
        port=port,
        delay=delay,
        spread=spread,
        price=None if price is None else parse_money(price),
        balance=parse_money(balance),
        link_life=None if link_life is None else parse_seconds(link_life),
        idempotency=idempotency,  # type: ignore[arg-type] # click has checked the choice
        deliver=deliver,  # type: ignore[arg-type] # likewise
        faults=tuple(map(parse_fault, faults)),
        seed=seed,
        images=images,  # type: ignore[arg-type] # likewise
        label=label,
        latency=latency / 1000,
        slow=slow,
    )
    from seedream_jobs.emulator.server import serve

    serve(settings, click.echo)


def _print_faults() -> None:
    from seedream_jobs.emulator.faults import FAULTS

    width = max(map(len, FAULTS))
    for fault in FAULTS.values():
        click.echo(f"{fault.name:{width}}  {fault.stage:8}  {fault.about}")
