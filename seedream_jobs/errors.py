"""This module defines everything that can end a command, and the exit code each of them means.

    SeedreamError
    ├── UsageError         2   a missing file, a bad option, an endpoint that is not what we think
    ├── FindingsError      1   a job file, a manifest or a policy with findings
    ├── CredentialsError   4   no key, 401, 403
    ├── MoneyError         5   402, a budget, the balance
    ├── InDoubtError       6   submissions nobody knows the outcome of
    ├── HeldError          7   another run holds the lock; a stale or used plan; another origin
    ├── UnfinishedError    8   work remains: the deadline, the rate limit, an unreachable host
    └── LedgerError       74   the ledger could not be written

Raised everywhere, caught in ``cli``. Findings, refusals, failures and bugs are four things: a finding is a
``Diagnostic`` inside a ``FindingsError``, a refusal is one of the others, a failed request is a state in the ledger,
and every other exception is a bug (70).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from seedream_jobs.diagnostics import Diagnostic


class ExitCode(IntEnum):
    """What the process says to the shell (documented in docs/exit-codes.md)."""

    # 70 and 74 are EX_SOFTWARE and EX_IOERR of sysexits.h; 128 + N is what a shell reports for signal N.
    OK = 0
    FINDINGS = 1
    USAGE = 2
    CHANGES = 3
    CREDENTIALS = 4
    MONEY = 5
    IN_DOUBT = 6
    HELD = 7
    UNFINISHED = 8
    NOT_CHOSEN = 9
    BUG = 70
    LEDGER = 74
    SIGHUP = 129
    SIGINT = 130
    SIGTERM = 143


# 6 stands before what only needs a key, money or time: a person has to decide first (docs/exit-codes.md).
PRECEDENCE: tuple[ExitCode, ...] = (
    ExitCode.SIGHUP,
    ExitCode.SIGINT,
    ExitCode.SIGTERM,
    ExitCode.BUG,
    ExitCode.LEDGER,
    ExitCode.IN_DOUBT,
    ExitCode.USAGE,
    ExitCode.CREDENTIALS,
    ExitCode.MONEY,
    ExitCode.HELD,
    ExitCode.UNFINISHED,
    ExitCode.NOT_CHOSEN,
    ExitCode.CHANGES,
    ExitCode.FINDINGS,
    ExitCode.OK,
)
"""Where several codes hold, the first of these is the process's."""


def gravest(codes: Iterable[ExitCode]) -> ExitCode:
    """The one exit code that stands for several; OK for none."""
    return min(codes, key=PRECEDENCE.index, default=ExitCode.OK)


class SeedreamError(Exception):
    """A refusal: one line that says what is wrong, and one that says what to do next.

    :param message: one sentence, without a full stop at the end
    :param hint: the next step, or None where there is none
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SeedreamError):
    """A missing file, a bad option, or an endpoint that is not what the operator thinks."""

    exit_code = ExitCode.USAGE


class FindingsError(SeedreamError):
    """Findings in a file under version control; carries all of them, in order."""

    exit_code = ExitCode.FINDINGS

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        errors = sum(1 for diagnostic in diagnostics if diagnostic.severity == "error")
        super().__init__(f"{errors} error{'' if errors == 1 else 's'} found")
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)


class CredentialsError(SeedreamError):
    """No API key, or the service refused it."""

    exit_code = ExitCode.CREDENTIALS


class MoneyError(SeedreamError):
    """A budget or the account's balance does not allow it."""

    exit_code = ExitCode.MONEY


class InDoubtError(SeedreamError):
    """Submissions whose outcome nobody knows: a person decides."""

    exit_code = ExitCode.IN_DOUBT


class HeldError(SeedreamError):
    """Another run holds the ledger, the plan is stale or used, or the manifest belongs to another origin."""

    exit_code = ExitCode.HELD


class UnfinishedError(SeedreamError):
    """Work remains; the same command goes on later."""

    exit_code = ExitCode.UNFINISHED


class LedgerError(SeedreamError):
    """The record could not be made durable; nothing may be sent without it."""

    exit_code = ExitCode.LEDGER
