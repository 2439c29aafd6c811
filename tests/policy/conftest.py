"""Campaigns in temporary folders, checked by the program itself."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.plans.load import EMULATOR_ORIGIN, Rules, Target, validate_jobs
from seedream_jobs.plans.policy import Policy, read_policy

TODAY = datetime.date(2026, 6, 1)
EMULATOR = Target(origin=EMULATOR_ORIGIN, emulator=True)

Found = list[tuple[str, str]]
"""(code, the text that is underlined) of each finding."""


def _shown(findings: tuple[Diagnostic, ...] | list[Diagnostic], text: str) -> Found:
    return [
        (finding.code, text[finding.span.start.offset : finding.span.end.offset] if finding.span else "")
        for finding in findings
    ]


@pytest.fixture
def policy() -> Callable[[str], Policy]:
    """The policy in a text."""
    return lambda text: read_policy(text.encode(), "policy.yaml", today=TODAY)


@pytest.fixture
def check(tmp_path: Path, policy: Callable[[str], Policy]) -> Callable[..., Found]:
    """The findings about a job, held against a policy's text (none if it is empty)."""

    def checked(job: str, rules: str = "", *, ignore: tuple[str, ...] = (), name: str = "garden.yaml") -> Found:
        (tmp_path / ".git").mkdir(exist_ok=True)
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(job, encoding="utf-8")
        held = policy("version: 1\n" + rules) if rules else None
        report = validate_jobs(
            [file], target=EMULATOR, sets={}, rules=Rules(policy_of=lambda root: held, ignore=frozenset(ignore))
        )
        return _shown(report.findings, job)

    return checked


@pytest.fixture
def lint(check: Callable[..., Found]) -> Callable[..., Found]:
    """The lint findings about a job, without those about equal requests."""

    def linted(job: str, **options: tuple[str, ...]) -> Found:
        return [found for found in check(job, **options) if found[0] != "equal-requests"]

    return linted
