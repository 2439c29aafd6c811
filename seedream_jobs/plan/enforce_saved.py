"""Holds a saved plan against the policy of the day it is run: an approval does not outlive a stricter policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.errors import FindingsError
from seedream_jobs.plan.diff import SUBMITS
from seedream_jobs.plan.document import JobDocument, PlanDocument
from seedream_jobs.plan.enforce import MAX_FINDINGS
from seedream_jobs.plan.policy import Policy
from seedream_jobs.profile import profiles


def hold_saved(policy: Policy, plan: PlanDocument, shown: str) -> PlanDocument:
    """The plan, with the policy's budget for each job where that is less than the one it was saved with.

    :param shown: the plan's file, for findings
    :raises FindingsError: the policy refuses one of its requests
    """
    found: dict[tuple[str, str], Diagnostic] = {}
    for job in plan.jobs:
        for finding in _findings(policy, job, shown):
            found.setdefault((finding.code, finding.message), finding)
            if len(found) >= MAX_FINDINGS:
                break
    if found:
        raise FindingsError(in_order(found.values()))
    return replace(plan, jobs=tuple(_lowered(policy, job) for job in plan.jobs))


def _findings(policy: Policy, job: JobDocument, shown: str) -> Iterator[Diagnostic]:
    if policy.max_requests is not None and job.requests > policy.max_requests:
        message = f"{job.path} makes {job.requests:,} requests: the policy allows {policy.max_requests:,}"
        yield _finding(policy, "policy-max-requests", message, shown, ("max_requests",))
    known = profiles()
    for item in job.items:
        if item.request is None or item.action not in SUBMITS:
            continue
        payload = item.request.payload
        violations = (
            *policy.parameters(payload, known[str(payload["model"])]),
            *policy.prompt(str(payload["prompt"]), PurePosixPath(job.path)),
        )
        for violation in violations:
            message = f"{violation.message} (at {item.address})"
            yield _finding(policy, violation.code, message, shown, violation.rule)


def _finding(policy: Policy, code: str, message: str, shown: str, rule: tuple[str | int, ...]) -> Diagnostic:
    return Diagnostic(
        code=code,
        severity="error",
        message=message,
        path=shown,
        hint="change the job and make another plan: seedream-jobs plan … -o plan.json",
        related=(policy.rule(rule),),
    )


def _lowered(policy: Policy, job: JobDocument) -> JobDocument:
    limit = policy.budget_usd
    if limit is None or (job.budget_usd is not None and job.budget_usd <= limit):
        return job
    return replace(job, budget_usd=limit, budget_name=f"budget_usd of {policy.shown}, for {job.path}")
