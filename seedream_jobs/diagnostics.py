"""This module defines findings: where, which code, what is wrong, what to do next.

Called by every stage that reads a file, and by the reports. Invariant: a finding is a value; nothing is printed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Severity = Literal["error", "warning"]

LINT_CODES = (
    "doubled-spaces",
    "fullwidth-comma",
    "identical-prompts",
    "invisible-character",
    "leftover-braces",
    "line-break",
    "long-prompt",
    "misread-name",
    "n-against-sequential",
    "smart-quotes",
    "unused-axis",
    "value-not-shown",
)
"""What ``--ignore`` can silence, sorted; the same list as ``lint.ignore`` in the job schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pos:
    """A place between characters: ``offset`` counts characters from 0, ``line`` and ``column`` count from 1."""

    offset: int
    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of text, ``end`` exclusive."""

    start: Pos
    end: Pos

    @classmethod
    def of_line(cls, line: int, *, column: int = 1, offset: int = 0) -> Span:
        """A place that is known by its line, and the column where that is known."""
        at = Pos(offset=offset, line=line, column=column)
        return cls(start=at, end=at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Related:
    """A second place that belongs to a finding, such as the first of two equal keys."""

    message: str
    path: str
    span: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding.

    :param code: stable kebab-case name; docs/diagnostics.md lists them
    :param message: one sentence without a full stop
    :param path: the file as the user named it
    :param span: the place in it; None where the file as a whole is meant
    :param hint: the next step
    """

    code: str
    severity: Severity
    message: str
    path: str
    span: Span | None = None
    hint: str | None = None
    related: tuple[Related, ...] = ()

    @property
    def place(self) -> str:
        """``file:line:col``, or only the file."""
        if self.span is None:
            return self.path
        return f"{self.path}:{self.span.start.line}:{self.span.start.column}"


def error_at(code: str, message: str, path: str, line: int, hint: str) -> Diagnostic:
    """An error in one line of a file, counted from 1."""
    return Diagnostic(code=code, severity="error", message=message, path=path, span=Span.of_line(line), hint=hint)


class Problem(Exception):
    """Something is wrong in a part of a file. Whoever knows where the part stands makes a finding of it.

    :param message: one sentence without a full stop
    :param hint: the next step
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message: str = message
        self.hint: str | None = hint


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Each finding once, by file, place and code: the order in which every face reports them."""

    def place(finding: Diagnostic) -> tuple[str, int, int, str, str]:
        # What is said of a file as a whole comes before what is said of a place in it.
        start = Pos(offset=-1, line=0, column=1) if finding.span is None else finding.span.start
        return (finding.path, start.offset, start.line, finding.code, finding.message)

    return tuple(sorted(dict.fromkeys(diagnostics), key=place))


def plural(count: int, noun: str) -> str:
    """``1 request``, ``12 requests``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shorten(text: str, limit: int = 60) -> str:
    """A text for a message: what is longer than ``limit`` characters ends with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


_LONGEST_NAME = 200  # characters
_MOST_NAMES = 2_000


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` was probably meant to be, for a "did you mean"."""
    candidates = [candidate for candidate in known if len(candidate) <= _LONGEST_NAME]
    # The time grows with the number of names and with the lengths of both, and a stranger's file decides all of that.
    if len(name) > _LONGEST_NAME or len(candidates) > _MOST_NAMES:
        return None
    found = get_close_matches(name, candidates, n=1, cutoff=0.6)
    if not found:
        # get_close_matches takes upper and lower case for different letters.
        folded = {candidate.casefold(): candidate for candidate in candidates}
        return folded.get(name.casefold())
    return found[0]


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """The next step for a name that is not known: the one that was probably meant, else ``otherwise``."""
    near = closest(name, known)
    return otherwise if near is None else f"did you mean {near!r}?"
