"""What can be done at once about a submission in doubt: confirm a salvaged id, or repeat it where that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import anyio

from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.run.halting import Halting
from seedream_jobs.run.recording import Recording
from seedream_jobs.run.resend import OpenCase
from seedream_jobs.run.retrying import Retrying
from seedream_jobs.run.sending import Sending
from seedream_jobs.run.submission import Ask, Submission


class Doubts:
    """Pursues submissions whose doubt is already durable; whatever happens here, at worst they stay in doubt.

    :param now: Unix seconds
    """

    def __init__(
        self,
        *,
        sending: Sending,
        recording: Recording,
        halting: Halting,
        retrying: Retrying,
        ask: Ask | None,
        retry_server_errors: bool,
        random: Random,
        now: Callable[[], float],
    ) -> None:
        self._sending = sending
        self._recording = recording
        self._halting = halting
        self._retrying = retrying
        self._mark_counts = True
        self._ask = ask
        self._retry_server_errors = retry_server_errors
        self._random = random
        self._now = now

    def note_first(self, outcome: Outcome) -> None:
        """A mark on the answer to a first POST: this service's marks say nothing about replays."""
        self._mark_counts = self._mark_counts and not outcome.replayed

    async def pursue(self, worker: int, submission: Submission, body: bytes, first: Outcome, *, since: float) -> None:
        """Settle a doubt where the rules of ``resend`` allow it.

        :param first: the outcome that put it in doubt
        :param since: Unix seconds of its intent
        """
        if await self._confirm(worker, submission, first):
            return
        case = OpenCase(
            first,
            since=since,
            now=self._now(),
            replays=submission.replays,
            replay=submission.in_doubt_since is not None,
            retry_server_errors=self._retry_server_errors,
        )
        reserved = 0  # how often beside the first time
        while not self._halting.halted and (again := case.again(self._now(), self._random)) is not None:
            if again.why == "server error" and not self._retrying.budget.take(case.server_retries):
                return
            if not await self._sleep(again.wait):
                return
            costly = again.why != "pending"
            ticket = await self._sending.announce_again(submission, charged_again=costly)
            if ticket is None:
                return
            case.sent(again.why)
            reserved += costly
            outcome = await self._sending.post(worker, submission, body, ticket, repeat=True)
            if outcome.verdict == "in_doubt" and await self._known(worker, outcome):
                outcome = replace(outcome, verdict="accepted")
            answer = case.take(outcome, mark_counts=self._mark_counts)
            if answer == "open":
                await self._recording.still_in_doubt(submission, case.still_open)
            elif answer == "not charged":
                await self._recording.not_repeated(submission, outcome)
                self._recording.release(submission, int(costly))
                reserved -= costly
            else:
                await self._recording.cleared(submission, outcome, again=answer == "charged again")
                self._recording.release(submission, reserved if answer == "settled" else 0)
                return

    async def _sleep(self, seconds: float) -> bool:
        return await self._halting.idle.until(lambda: anyio.sleep(seconds))

    async def _confirm(self, worker: int, submission: Submission, outcome: Outcome) -> bool:
        """Rows 8a and 9: ask the service about a task id found in a reply that is no acceptance."""
        if outcome.task_id is None or not await self._known(worker, outcome):
            return False
        await self._recording.salvaged(submission, outcome, outcome.task_id)
        return True

    async def _known(self, worker: int, outcome: Outcome) -> bool:
        """Whether the service knows the task id that was found in a reply."""
        task_id, ask = outcome.task_id, self._ask
        if task_id is None or ask is None or self._halting.hurried:
            return False
        known = False
        with self._halting.post(worker):
            reports = [await ask.task(one) for one in (task_id, *outcome.more_task_ids)]
            known = all(report.status in ("running", "completed", "failed") for report in reports)
        return known
