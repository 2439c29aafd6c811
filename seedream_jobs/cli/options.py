"""Options that several commands share, read into plain values."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from seedream_jobs.plan.load import Target

F = TypeVar("F", bound=Callable[..., Any])

BUDGET_VARIABLE = "SEEDREAM_JOBS_BUDGET"


class Usd(click.ParamType[Decimal]):
    """An amount of USD, exact."""

    name = "USD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        from seedream_jobs.plan.cost import is_amount

        if isinstance(value, Decimal):
            return value
        try:
            amount = Decimal(str(value).strip().removeprefix("$"))
        except InvalidOperation:
            amount = Decimal(-1)
        if not is_amount(amount):
            self.fail(f"{value!r} is no amount of USD, such as 5.00", param, ctx)
        return amount


class Assignment(click.ParamType[tuple[str, str]]):
    """``NAME=VALUE``."""

    name = "VAR=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name.strip():
            self.fail(f"{value!r} is not VAR=VALUE", param, ctx)
        return name.strip(), text


def only_jobs(ctx: click.Context, param: click.Parameter, files: tuple[Path, ...]) -> tuple[Path, ...]:
    """Of several files, as a pattern such as ``*.yaml`` names them, those that ``init`` did not write for others."""
    if len(files) < 2:
        return files
    from seedream_jobs.plan.policy import POLICY_FILE

    jobs: list[Path] = []
    for file in files:
        policy = file.name == POLICY_FILE
        if (
            (policy and ctx.info_name != "validate")
            or file.name == ".pre-commit-config.yaml"
            or ".github" in file.parts
        ):
            click.echo(f"{file}: {'the policy' if policy else 'no job file'}, left out", err=True)
        else:
            jobs.append(file)
    return tuple(jobs) or files


def jobs_argument(function: F) -> F:
    """One or several job files."""
    return click.argument(
        "jobs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="JOB…", callback=only_jobs
    )(function)


def set_option(function: F) -> F:
    """``--set VAR=VALUE``."""
    return click.option(
        "--set", "sets", multiple=True, type=Assignment(), help="Give one of the job's vars another value."
    )(function)


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


FORMATS = ("text", "json", "jsonl", "markdown", "github", "gitlab", "sarif", "junit")


def format_option(function: F) -> F:
    """``--format``."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default="text",
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)}.  [default: text]",
    )(function)


def view_options(function: F) -> F:
    """``--format`` and ``--concise``."""
    return format_option(click.option("--concise", is_flag=True, help="A line for each job.")(function))


def pace_options(function: F) -> F:
    """How fast, and how long; handed on as one value, ``options``, with the ``--rate`` of a command that has one.

    :raises UsageError: ``--rate`` is no rate
    """

    @wraps(function)
    def read(*, concurrency: int, deadline: float, rate: str | None = None, **others: Any) -> Any:
        from seedream_jobs.run.job_run import RunOptions

        if rate is not None:
            from seedream_jobs.run.rate_limiter import parse_rate

            parse_rate(rate)  # before anything is begun
        return function(options=RunOptions(concurrency=concurrency, rate=rate, deadline=deadline), **others)

    for decorate in (
        click.option("--json", "as_json", is_flag=True, help="Progress as JSON Lines on stderr."),
        click.option(
            "--deadline",
            type=Duration(),
            default=1800.0,
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


class Duration(click.ParamType[float]):
    """A time such as ``90s``, ``30m``, ``6h`` or ``2d``; a plain number is seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        text = str(value).strip().lower()
        unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:])
        number = text[:-1] if unit else text
        if not number.replace(".", "", 1).isdecimal():
            self.fail(f"{value!r} is no time, such as 90s, 30m or 6h", param, ctx)
        return float(number) * (unit or 1)


def request_options(function: F) -> F:
    """What is to be submitted, and for how much at most; handed on as one value, ``wanted``."""

    @wraps(function)
    def read(
        *,
        sets: tuple[tuple[str, str], ...],
        select: str | None,
        limit: int | None,
        retry_failed: bool,
        replay: bool,
        again: tuple[str, ...],
        price: Decimal | None,
        budget: Decimal | None,
        **others: Any,
    ) -> Any:
        from seedream_jobs.plan.options import PlanOptions

        wanted = PlanOptions(
            sets=dict(sets),
            select=select,
            limit=limit,
            retry_failed=retry_failed,
            replay=int(time.time()) if replay else None,
            again=again,
            price=price,
            budgets=tuple(_budgets(budget)),
        )
        return function(wanted=wanted, **others)

    for decorate in (
        click.option(
            "--again",
            multiple=True,
            metavar="ADDRESS",
            help="Submit this request once more; both results are kept. Repeatable.",
        ),
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
    """Whose limit, and USD: a budget in the environment holds beside the option's."""
    if given is not None:
        yield "--budget", given
    inherited = os.environ.get(BUDGET_VARIABLE)
    if inherited is not None:
        try:
            yield BUDGET_VARIABLE, Usd().convert(inherited, None, None)
        except click.BadParameter as error:
            raise click.UsageError(f"{BUDGET_VARIABLE}: {error.message}") from None


def target(*, emulator: bool, base_url: str | None) -> Target:
    """Which service a command speaks to, or would."""
    from seedream_jobs.api.credentials import find_endpoint
    from seedream_jobs.plan.load import EMULATOR_ORIGIN, Target

    if emulator:
        if base_url is not None:
            raise click.UsageError("--emulator and --base-url exclude each other")
        return Target(origin=EMULATOR_ORIGIN, emulator=True)
    return Target(origin=find_endpoint(base_url, os.environ).base, emulator=False)
