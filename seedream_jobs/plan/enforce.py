"""Holds a job against its campaign's policy: each refusal at its place in the job file, with the rule beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import PurePosixPath

from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.expand.expansion import Expansion, origin, prompts
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.job.document import DocumentPath
from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.template import TemplateProblem
from seedream_jobs.plan.policy import Policy, Violation, find_word
from seedream_jobs.profile import profiles

MAX_FINDINGS = 20
"""How many refusals are reported for one job."""


def lowered(policy: Policy, spec: JobSpec) -> JobSpec:
    """The job with the policy's budget where that is less than its own or the job has none."""
    if policy.budget_usd is None or (spec.budget_usd is not None and spec.budget_usd <= policy.budget_usd):
        return spec
    return replace(spec, budget_usd=policy.budget_usd)


def budget_name(policy: Policy | None, spec: JobSpec) -> str:
    """Whose limit ``spec.budget_usd`` is, in words."""
    own = spec.document.data.get("limits", {}).get("budget_usd")
    if policy is not None and policy.budget_usd is not None and (own is None or Decimal(str(own)) > policy.budget_usd):
        return f"budget_usd of {policy.shown}, for {spec.document.path}"
    return f"limits.budget_usd of {spec.document.path}"


def hold_policy(policy: Policy, expansion: Expansion) -> tuple[Diagnostic, ...]:
    """Everything in a job that its campaign's policy refuses, but for the number of its requests.

    :param expansion: one that passed ``Expansion.check``
    """
    found: dict[tuple[object, ...], Diagnostic] = {}
    for finding in (*_limits(policy, expansion.spec), *_parameters(policy, expansion), *_words(policy, expansion)):
        found.setdefault((finding.code, finding.span, finding.hint), finding)
        if len(found) >= MAX_FINDINGS:
            break
    return in_order(found.values())


def hold_number(policy: Policy, spec: JobSpec, requests: int) -> list[Diagnostic]:
    """The finding that a job makes more requests than the policy allows, if it does."""
    if policy.max_requests is None or requests <= policy.max_requests:
        return []
    finding = spec.document.finding(
        "policy-max-requests",
        f"the job makes {requests:,} requests: the policy allows {policy.max_requests:,}",
        ("matrix",),
        key=True,
        hint=f"write sample: {{size: {policy.max_requests}}} in the matrix, or split the job",
        related=(policy.rule(("max_requests",)),),
    )
    return [finding]


def _limits(policy: Policy, spec: JobSpec) -> Iterator[Diagnostic]:
    """A job may lower the policy's limits, never raise them."""
    limits = spec.document.data.get("limits", {})
    for name, most in (("max_requests", policy.max_requests), ("budget_usd", policy.budget_usd)):
        own = limits.get(name)
        if own is not None and most is not None and Decimal(str(own)) > most:
            yield spec.document.finding(
                "policy-limit",
                f"limits.{name} is {own}: the policy allows {most}",
                ("limits", name),
                hint="a job may lower the policy's limits, not raise them",
                related=(policy.rule((name,)),),
            )


def _parameters(policy: Policy, expansion: Expansion) -> Iterator[Diagnostic]:
    """Each distinct set of parameters."""
    spec, known = expansion.spec, profiles()
    for cell in expansion.parameter_cells():
        payload = expansion.builder.parameters(cell)
        for violation in policy.parameters(payload, known.get(payload["model"], spec.profile)):
            path, key = _place(spec, cell, violation.field)
            yield _finding(policy, spec, violation, path, key=key)


def _place(spec: JobSpec, cell: Cell, field: str) -> tuple[DocumentPath, bool]:
    """Where a cell's field was set, or at the key ``request`` where it was not."""
    for number in reversed(cell.includes):
        if field in spec.include[number].bindings:
            return (*spec.include[number].path, field), False
    at = spec.axis_of(field)
    if at is not None and cell.choice is not None:
        return spec.axes[at[0]].values[cell.choice[at[0]]].path, False
    if spec.document.exists(("request", field)):
        return ("request", field), False
    return ("request",), True


def _words(policy: Policy, expansion: Expansion) -> Iterator[Diagnostic]:
    """Each prompt, to the last one: this is no advice."""
    if not policy.words:
        return
    spec = expansion.spec
    job = spec.folder / PurePosixPath(spec.document.path).name
    quick = re.compile("|".join(word.pattern.pattern for word in policy.words), re.IGNORECASE)
    try:
        for prompt in prompts(expansion):
            if prompt.text.isascii() and not quick.search(prompt.text):
                continue
            for violation in policy.prompt(prompt.text, job):
                assert violation.word is not None
                path, span = origin(expansion, prompt.cell, partial(find_word, violation.word))
                finding = _finding(policy, spec, violation, path)
                if span is None:
                    address = expansion.builder.address(prompt.cell, 1)
                    yield replace(finding, message=f"{finding.message} (at {address})")
                else:
                    yield replace(finding, span=span)
    except TemplateProblem:
        return  # the stream of requests reports it with its place


def _finding(
    policy: Policy, spec: JobSpec, violation: Violation, path: DocumentPath, *, key: bool = False
) -> Diagnostic:
    return spec.document.finding(
        violation.code, violation.message, path, key=key, hint=violation.hint, related=(policy.rule(violation.rule),)
    )
