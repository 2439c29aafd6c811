"""A YAML parser's complaint, in the form in which its causes are looked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from yaml.error import MarkedYAMLError


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the parser said, in lower case, and where; ``since`` is where the thing it was reading began."""

    problem: str
    at: int
    since: int


def complaint_of(error: MarkedYAMLError, length: int) -> Complaint:
    """What ``error`` says about a text of ``length`` characters."""

    def offset(mark: Any, default: int) -> int:
        return default if mark is None else min(int(mark.index), length)

    at = offset(error.problem_mark, length)
    problem = " ".join(part for part in (error.problem, error.context) if part)
    return Complaint(problem.lower(), at, min(offset(error.context_mark, at), at))
