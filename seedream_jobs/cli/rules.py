"""What job files are held against beside their schema: the campaign's policy and the lint rules, as options."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from seedream_jobs.diagnostics import Diagnostic
    from seedream_jobs.plan.load import Rules
    from seedream_jobs.plan.policy import PolicyOf

F = TypeVar("F", bound=Callable[..., Any])


class LintCode(click.ParamType[str]):
    """The code of a lint warning; the list is looked at only where a code is given, or a shell asks for them."""

    name = "CODE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return self._choice().convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self._choice().shell_complete(ctx, param, incomplete)

    def _choice(self) -> click.Choice[str]:
        from seedream_jobs.diagnostics import LINT_CODES

        return click.Choice(LINT_CODES)


def rule_options(function: F) -> F:
    """``--policy`` and ``--ignore``."""
    function = click.option(
        "--ignore", multiple=True, type=LintCode(), metavar="CODE", help="Silence a lint warning; repeatable."
    )(function)
    return click.option(
        "--policy",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="The policy to hold, instead of the campaign's policy.yaml.",
    )(function)


def rules(
    policy: Path | None, ignore: tuple[str, ...], *, base: Callable[[datetime.date], PolicyOf] | None = None
) -> Rules:
    """The options as one value.

    :param base: makes the policy of the base revision, where there is one, for a day (UTC)
    """
    from seedream_jobs.job.yaml_reader import read_bytes
    from seedream_jobs.plan.load import Rules
    from seedream_jobs.plan.policy import policy_of_tree, read_policy

    today = _today()
    if policy is not None:  # for every campaign
        named = read_policy(read_bytes(policy, str(policy)), str(policy), today=today)
        return Rules(policy_of=lambda root: named, ignore=frozenset(ignore))
    policy_of = policy_of_tree(today=today) if base is None else base(today)
    return Rules(policy_of=policy_of, ignore=frozenset(ignore))


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _looks_like_job(text: bytes) -> bool:
    from seedream_jobs.plan.revisions import looks_like_job

    return looks_like_job(text)


def policies_among(files: tuple[Path, ...], *, only_jobs: bool) -> tuple[list[Path], list[Diagnostic], list[str]]:
    """Files that were named, sorted out: job files; the findings in policies; the policies without errors.

    :param only_jobs: leave out files that are neither, as a hook is given every YAML file of a commit
    """
    from seedream_jobs.errors import FindingsError
    from seedream_jobs.job.yaml_reader import read_bytes
    from seedream_jobs.plan.policy import POLICY_FILE

    jobs: list[Path] = []
    found: list[Diagnostic] = []
    valid: list[str] = []
    for file in files:
        if file.name != POLICY_FILE:
            if not only_jobs or _looks_like_job(read_bytes(file, str(file))):
                jobs.append(file)
            continue
        from seedream_jobs.plan.policy import read_policy

        try:
            found.extend(read_policy(read_bytes(file, str(file)), str(file), today=_today()).warnings)
            valid.append(str(file))
        except FindingsError as error:
            found.extend(error.diagnostics)
    return jobs, found, valid
