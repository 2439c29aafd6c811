"""When a run must stop submitting: what was refused to the run itself, and the same bad answer again and again.

Pure. ``note`` takes each outcome in the order in which the replies came and answers with a ``Halt`` once submitting
has to stop (table 1, rows 2, 4, 6, 11, 12, 14–16, 18, 20). The first halt stands.
"""

from __future__ import annotations

from dataclasses import dataclass

from seedream_jobs.api.outcomes import NO_CONNECTION, Outcome
from seedream_jobs.errors import ExitCode

SERVER_ERRORS_IN_A_ROW = 3
UNANSWERED_IN_A_ROW = 3
EQUAL_REFUSALS_IN_A_ROW = 10
CONNECTIONS_BEFORE_THE_FIRST = 3
"""Connections that may fail before the first one of a run comes about: then the address is wrong, or nobody is there,
and the retry budget would be spent on a typing error. Once the service was reached, retries have their budget."""

_HINTS = {
    ExitCode.USAGE: "check the base URL and what stands between here and the service",
    ExitCode.CREDENTIALS: "check the API key; what was not sent is submitted by the same command",
    ExitCode.MONEY: "top up the account; what was not sent is submitted by the same command",
    ExitCode.UNFINISHED: "run the same command later; it submits only what was not sent",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Why submitting stops, and the exit code that says so."""

    stop: ExitCode
    reason: str
    hint: str | None = None


class Breakers:
    """Watches the outcomes of one run.

    :param reached: the service has answered before, in an earlier part of the run
    """

    def __init__(self, *, reached: bool = False) -> None:
        self._reached = reached
        self._unconnected = 0
        self._server_errors = 0
        self._unanswered = 0
        self._refusal: tuple[int | None, str, str] | None = None
        self._refused: list[str] = []
        self._tripped_by: tuple[int | None, str, str] | None = None

    def note(self, key: str, outcome: Outcome, *, repeat: bool = False) -> Halt | None:
        """Take one outcome into account; a ``Halt`` if it stops the run.

        :param repeat: of a submission in doubt: it stays so, and is none of ten refusals that would be new again
        """
        if outcome.verdict in ("accepted", "rejected"):
            self._server_errors = 0
        if outcome.verdict == "accepted":
            self._unanswered = 0
            self._forget_refusals()
        if outcome.row == NO_CONNECTION:
            return self._note_no_connection(outcome)
        self._reached = True
        if outcome.stop is not None:
            return Halt(stop=outcome.stop, reason=said(outcome), hint=_HINTS.get(outcome.stop))
        if outcome.counts_against == "server":
            return self._note_server_error(outcome)
        if outcome.counts_against == "silence":
            return self._note_unanswered(outcome)
        if outcome.counts_against == "refusal" and not repeat:
            return self._note_refusal(key, outcome)
        return None

    @property
    def refused_alike(self) -> tuple[str, ...]:
        """The keys of the equal refusals that stopped the run; they are new again. Empty unless that happened."""
        return tuple(self._refused) if self._tripped_by is not None else ()

    def one_more(self, key: str, outcome: Outcome) -> bool:
        """Whether this is a further refusal of the kind that has stopped the run, beyond those that did."""
        alike = outcome.counts_against == "refusal" and _signature(outcome) == self._tripped_by
        return self._tripped_by is not None and alike and key not in self._refused

    def _note_no_connection(self, outcome: Outcome) -> Halt | None:
        self._unconnected += 1
        if self._reached or self._unconnected < CONNECTIONS_BEFORE_THE_FIRST:
            return None
        return Halt(
            stop=ExitCode.UNFINISHED,
            reason=f"the service can't be reached: {said(outcome)}",
            hint="nothing was sent: check the address (--base-url or APIMART_BASE_URL) and the network, then run the "
            "same command again",
        )

    def _note_server_error(self, outcome: Outcome) -> Halt | None:
        self._server_errors += 1
        if self._server_errors < SERVER_ERRORS_IN_A_ROW:
            return None
        return Halt(
            stop=ExitCode.UNFINISHED,
            reason=f"{SERVER_ERRORS_IN_A_ROW} server errors in a row, the last: {said(outcome)}",
            hint="settle what is in doubt with 'seedream-jobs resolve', then run the same command later",
        )

    def _note_unanswered(self, outcome: Outcome) -> Halt | None:
        self._unanswered += 1
        if self._unanswered < UNANSWERED_IN_A_ROW:
            return None
        return Halt(
            stop=ExitCode.UNFINISHED,
            reason=f"{UNANSWERED_IN_A_ROW} requests in a row got no answer, the last: {said(outcome)}",
            hint="check the network and the proxy; settle what is in doubt with 'seedream-jobs resolve', "
            "then run the same command later",
        )

    def _note_refusal(self, key: str, outcome: Outcome) -> Halt | None:
        if self._tripped_by is not None:
            return None
        signature = _signature(outcome)
        if signature != self._refusal:
            self._forget_refusals()
            self._refusal = signature
        self._refused.append(key)
        if len(self._refused) < EQUAL_REFUSALS_IN_A_ROW:
            return None
        self._tripped_by = signature
        return Halt(
            stop=ExitCode.FINDINGS,
            reason=f"{EQUAL_REFUSALS_IN_A_ROW} requests in a row were refused alike: {said(outcome)}",
            hint="mend the job file; those requests are new again",
        )

    def _forget_refusals(self) -> None:
        if self._tripped_by is None:
            self._refusal = None
            self._refused.clear()


def said(outcome: Outcome) -> str:
    """What the service, or the transport, said: for the record and for people."""
    problem = outcome.problem
    if problem is None:
        return outcome.detail or outcome.verdict.replace("_", " ")
    status = f"HTTP {problem.status}" if problem.status is not None else ""
    return " ".join(part for part in (status, problem.code, problem.message) if part) or "no reason given"


def _signature(outcome: Outcome) -> tuple[int | None, str, str]:
    problem = outcome.problem
    return (problem.status, problem.code, problem.message) if problem else (None, "", outcome.detail)
