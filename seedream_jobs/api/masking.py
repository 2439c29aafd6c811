"""Keeps the key out of what is shown or recorded: a service may quote it in its messages.

Only words are masked, and only once they were read. Ids, links, numbers and JSON names are left alone: the text of a
short key can occur in them by chance, and a task id that was changed is a paid task that nobody finds again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.errors import SeedreamError
from seedream_jobs.ledger.state import Problem

_MASK = "***"
_TELLING = 8  # characters: a shorter beginning of a key tells nobody anything


_SHORTEST = 4  # characters: a shorter key is no secret, and its text stands in every line
_keys: dict[str, Mask] = {}


def keep_out(secret: str) -> None:
    """Take a key out of every line of the log, and of every traceback, from now on (``without_keys``)."""
    if len(secret) >= _SHORTEST:
        _keys[secret] = Mask(secret)


def without_keys(words: str) -> str:
    """Words without any key that this process has read."""
    for mask in _keys.values():
        words = mask.text(words)
    return words


class Mask:
    """Puts ``***`` in place of one secret."""

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "Mask('***')"

    def text(self, words: str) -> str:
        """Words without the secret; a long message may have been cut in the middle of it."""
        if self._secret in words:
            words = words.replace(self._secret, _MASK)
        whole = words.removesuffix("…")
        for length in range(min(len(self._secret) - 1, len(whole)), _TELLING - 1, -1):
            if whole.endswith(self._secret[:length]):
                return whole[:-length] + _MASK + words[len(whole) :]
        return words

    def outcome(self, outcome: Outcome) -> Outcome:
        """What a submission meant, with its words masked."""
        problem, detail = self._problem(outcome.problem), self.text(outcome.detail)
        if problem == outcome.problem and detail == outcome.detail:
            return outcome
        return replace(outcome, problem=problem, detail=detail)

    def report(self, report: TaskReport) -> TaskReport:
        """What was said of a task, with its words masked."""
        problem = self._problem(report.problem)
        images = tuple(
            replace(image, error=self.text(image.error)) if image.error else image for image in report.images
        )
        if problem == report.problem and images == report.images:
            return report
        return replace(report, problem=problem, images=images)

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Masks the words of the refusals raised inside."""
        try:
            yield
        except SeedreamError as error:
            error.message = self.text(error.message)
            error.args = (error.message,)
            raise

    def _problem(self, problem: Problem | None) -> Problem | None:
        if problem is None:
            return None
        return replace(problem, code=self.text(problem.code), message=self.text(problem.message))
