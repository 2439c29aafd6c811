"""This module reads the options of commands that plan, pay for, or look after requests.

Called by those commands.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from functools import wraps
from typing import Any, TypeVar, cast

import click

from seedream_jobs.api.credentials import find_endpoint
from seedream_jobs.cli.options import set_option
from seedream_jobs.cli.streams import be_quiet
from seedream_jobs.plans.cost import is_amount
from seedream_jobs.plans.load import EMULATOR, Target
from seedream_jobs.plans.options import PlanOptions
from seedream_jobs.run.access import EMULATOR_PACE
from seedream_jobs.run.options import DEADLINE_SECONDS, RunOptions, parse_rate

F = TypeVar("F", bound=Callable[..., Any])

BUDGET_VARIABLE = "SEEDREAM_JOBS_BUDGET"


class Usd(click.ParamType[Decimal]):
    """An amount of USD, exact."""

    name = "USD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        if isinstance(value, Decimal):
            return value
        try:
            amount = Decimal(str(value).strip().removeprefix("$"))
        except InvalidOperation:
            amount = Decimal(-1)  # refused below, like every negative amount
        if not is_amount(amount):
            self.fail(f"{value!r} is not an amount of USD, such as 5.00", param, ctx)
        return amount


class Duration(click.ParamType[float]):
    """A time such as ``90s``, ``30m``, ``6h`` or ``2d``; a plain number is seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):  # the default: click converts it, too
            return float(value)
        text = str(value).strip().lower()
        unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:])
        number = text[:-1] if unit else text
        if not number.replace(".", "", 1).isdecimal():
            self.fail(f"{value!r} is not a time, such as 90s, 30m or 6h", param, ctx)
        return float(number) * (unit or 1)


def rehearsal_option(function: F) -> F:
    """``--emulator``, of commands that only read a record and speak to no service."""
    return click.option("--emulator", is_flag=True, help="Of the rehearsal on the emulator, not of the paid run.")(
        function
    )


def target_options(function: F) -> F:
    """``--emulator`` and ``--base-url``."""
    function = click.option("--emulator", is_flag=True, help="Use the built-in emulator: no key, nothing is paid.")(
        function
    )
    return click.option("--base-url", metavar="URL", help="The service, instead of APIMART_BASE_URL.")(function)


def target(*, emulator: bool, base_url: str | None) -> Target:
    """The service that a command uses, or would use."""
    if emulator:
        if base_url is not None:
            raise click.UsageError("--emulator and --base-url exclude each other")
        return EMULATOR
    return Target(origin=find_endpoint(base_url, os.environ).base, emulator=False)


def pace_options(function: F) -> F:
    """How fast, and how long; the command gets one value, ``run_options``, with ``--rate`` if it has that option.

    :raises UsageError: ``--rate`` is not a rate
    """

    @wraps(function)
    def read(*, concurrency: int, deadline: float, emulator: bool, rate: str | None = None, **others: Any) -> Any:
        options = RunOptions(
            concurrency=concurrency,
            rate=None if rate is None else parse_rate(rate),
            deadline=deadline,
            pace=EMULATOR_PACE if emulator else 1.0,
        )
        return function(run_options=options, emulator=emulator, **others)

    # In reverse: what is added last stands first in --help.
    for decorate in (
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=be_quiet,
            help="Show only errors and the result; run shows the plan where it asks.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Progress as JSON Lines on stderr."),
        click.option(
            "--deadline",
            type=Duration(),
            default=DEADLINE_SECONDS,
            metavar="TIME",
            help="Poll each task so long, and download so long without a further image.  [default: 30m]",
        ),
        click.option(
            "--concurrency",
            type=click.IntRange(1, 256),
            default=8,
            metavar="N",
            help="Requests to the service, and downloads, at once.  [default: 8]",
        ),
    ):
        read = decorate(read)
    return cast("F", read)


def request_options(function: F) -> F:
    """What is to be submitted, and for how much at most; the command gets one value, ``plan_options``."""

    @wraps(function)
    def read(
        *,
        sets: tuple[tuple[str, str], ...],
        select: str | None,
        limit: int | None,
        retry_failed: bool,
        replay: bool,
        again: tuple[str, ...],
        rejected: bool,
        price: Decimal | None,
        budget: Decimal | None,
        **others: Any,
    ) -> Any:
        if rejected != ("" in again):
            raise click.UsageError("--again names an address, or goes with --rejected")
        options = PlanOptions(
            sets=dict(sets),
            select=select,
            limit=limit,
            retry_failed=retry_failed,
            replay=int(time.time()) if replay else None,  # the plan leaves out what is too old then
            again=tuple(filter(None, again)),
            rejected=rejected,
            price=price,
            budgets=tuple(_budgets(budget)),
        )
        return function(plan_options=options, **others)

    for decorate in (
        click.option(
            "--again",
            multiple=True,
            is_flag=False,
            flag_value="",
            metavar="ADDRESS",
            help="Submit this request once more; both results are kept. Repeatable.",
        ),
        click.option("--rejected", is_flag=True, help="With --again: every request of which all images are rejected."),
        click.option(
            "--replay",
            is_flag=True,
            help="Send again what is in doubt, under its idempotency key: if the service ignores keys, it pays twice.",
        ),
        click.option("--retry-failed", is_flag=True, help="Submit failed, rejected and expired requests again."),
        click.option("--price", type=Usd(), help="USD per image, instead of the model profile's."),
        click.option("--budget", type=Usd(), help="The most this invocation may cost, all jobs together."),
        click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Submit only the first N now."),
        click.option("--select", metavar="EXPR", help="Only these: '{style: ink}', or a condition on the axes."),
        set_option,
    ):
        read = decorate(read)
    return cast("F", read)


def _budgets(given: Decimal | None) -> Iterator[tuple[str, Decimal]]:
    """(Whose limit, USD). A budget in the environment applies in addition to the option's."""
    if given is not None:
        yield "--budget", given
    inherited = os.environ.get(BUDGET_VARIABLE)
    if inherited is not None:
        try:
            yield BUDGET_VARIABLE, Usd().convert(inherited, None, None)
        except click.BadParameter as error:
            raise click.UsageError(f"{BUDGET_VARIABLE}: {error.message}") from None
