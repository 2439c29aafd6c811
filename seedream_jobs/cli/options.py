"""This module reads options that several commands share into plain values.

Called by the commands. Invariant: ``validate`` imports it, so that it imports neither ledger nor network; the options
of commands that use the service are in ``service_options``.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from seedream_jobs import confinement
from seedream_jobs.cli.streams import say, talk
from seedream_jobs.diagnostics import LINT_CODES
from seedream_jobs.errors import UsageError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.job.files import campaign_root
from seedream_jobs.job.yaml_reader import read_own
from seedream_jobs.plans.load import Rules, find_jobs
from seedream_jobs.plans.policy import POLICY_FILE, PolicyOf, policy_of_tree, read_policy

F = TypeVar("F", bound=Callable[..., Any])


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
    """Leave out what a pattern such as ``*.yaml`` names beside job files: the policy, and files for other programs."""
    if files and ctx.info_name != "validate" and all(file.name == POLICY_FILE for file in files):
        hint = f"seedream-jobs validate {shell_word(files[0])} checks it"
        raise UsageError(f"{files[0]}: the campaign's policy, not a job", hint=hint)
    if len(files) < 2:  # one file was named, and not by a pattern
        return files
    jobs: list[Path] = []
    for file in files:
        policy = file.name == POLICY_FILE
        if (
            (policy and ctx.info_name != "validate")
            or file.name == ".pre-commit-config.yaml"
            or ".github" in file.parts
        ):
            talk(f"{file}: {'the policy' if policy else 'no job file'}, left out")
        else:
            jobs.append(file)
    return tuple(jobs) or files  # with nothing left, the command says what is wrong with what was named


def jobs_argument(*, required: bool = True) -> Callable[[F], F]:
    """One or several job files, or folders for those below them; stands below ``limit_options``, which hold for that.

    With ``--base`` the folders are left to ``Revisions``, which looks into both trees.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def read(*, jobs: tuple[Path, ...], **options: Any) -> Any:
            if options.get("base") is None:
                jobs = tuple(dict.fromkeys(below for job in jobs for below in (_below(job) if job.is_dir() else [job])))
            return function(jobs=jobs, **options)

        argument = click.argument(
            "jobs",
            nargs=-1,
            required=required,
            type=click.Path(path_type=Path, readable=False),  # where it can't be read, the reader says what to do
            metavar="JOB…" if required else "[JOB…]",
            callback=only_jobs,
        )
        return argument(cast("F", read))

    return decorate


def _below(folder: Path) -> list[Path]:
    jobs, unread = find_jobs(folder)
    for file in unread:
        say(f"warning: {file}: no permission to read it, left out", err=True)
    return jobs


def current_root() -> Path:
    """The root of the campaign that the current folder lies in."""
    return campaign_root(Path.cwd() / "job.yaml")  # any name will do: only its folder counts


def set_option(function: F) -> F:
    """``--set VAR=VALUE``."""
    return click.option(
        "--set", "sets", multiple=True, type=Assignment(), help="Give one of the job's vars another value."
    )(function)


def executor_option(help: str) -> Callable[[F], F]:
    """``--executor``."""
    return click.option("--executor", metavar="EXECUTOR", help=f"{help} local[:N] processes, or dask:ADDRESS.")


FORMATS = ("text", "json", "jsonl", "markdown", "github", "gitlab", "sarif", "junit")


def format_option(*forms: str) -> Callable[[F], F]:
    """``--format``, one of ``forms``, the first by default."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(forms),
        default=forms[0],
        metavar="FORMAT",
        help=f"{', '.join(forms)}.  [default: {forms[0]}]",
    )


def view_options(function: F) -> F:
    """``--format`` and ``--concise``."""
    return format_option(*FORMATS)(click.option("--concise", is_flag=True, help="A line for each job.")(function))


def limit_options(function: F) -> F:
    """``--max-cpu`` and ``--max-memory``: the limits of the worker, set before the command reads a file."""

    @wraps(function)
    def limited(*arguments: Any, max_cpu: int, max_memory: int, **options: Any) -> Any:
        form = options.get("form")
        # ``expand`` and ``export`` have formats of their own, in which there are no findings.
        shown = form if form in FORMATS else "text"
        err = click.get_current_context().info_name != "validate"  # whose findings are its output
        confinement.set_limits(max_cpu, max_memory, form=shown, err=err)
        return function(*arguments, **options)

    limited = click.option(
        "--max-memory",
        type=click.IntRange(min=64, max=1 << 20),
        default=confinement.MEMORY_MIB,
        metavar="MIB",
        help=f"Memory it may take, in MiB, beside what requests and large files take.  "
        f"[default: {confinement.MEMORY_MIB}]",
    )(limited)
    limited = click.option(
        "--max-cpu",
        type=click.IntRange(min=1, max=1_000_000),
        default=confinement.CPU_SECONDS,
        metavar="SECONDS",
        help=f"Processor time it may take, beside what requests and large files cost.  "
        f"[default: {confinement.CPU_SECONDS}]",
    )(limited)
    return cast(F, limited)


def rule_options(function: F) -> F:
    """``--policy`` and ``--ignore``."""
    function = click.option(
        "--ignore",
        multiple=True,
        type=click.Choice(LINT_CODES),
        metavar="CODE",
        help="Silence a lint warning; repeatable.",
    )(function)
    return policy_option(function)


def policy_option(function: F) -> F:
    """``--policy``."""
    return click.option(
        "--policy",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="A policy to use instead of the campaign's policy.yaml.",
    )(function)


def rules(
    policy: Path | None, ignore: tuple[str, ...], *, base: Callable[[datetime.date], PolicyOf] | None = None
) -> Rules:
    """What jobs are checked against, as one value.

    :param base: makes the policy of the base revision for a day (UTC), if two revisions are compared
    """
    day = today()
    if policy is not None:  # for every campaign
        named = read_policy(read_own(policy), str(policy), today=day)
        return Rules(policy_of=lambda root: named, ignore=frozenset(ignore))
    policy_of = policy_of_tree(today=day) if base is None else base(day)
    return Rules(policy_of=policy_of, ignore=frozenset(ignore))


def today() -> datetime.date:
    """The day, UTC."""
    return datetime.datetime.now(datetime.UTC).date()
