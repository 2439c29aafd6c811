"""One POST, in the one order that is safe: gate, money, durable intent, a last look, POST.

Waiting at the gate comes before the intent, so that an interruption while waiting leaves no doubt. Making the intent
durable takes time; if the run was stopped or the service asked for a pause meanwhile, the intent is withdrawn as not
sent, and nothing leaves early.
"""

from __future__ import annotations

import logging

import anyio

from seedream_jobs.api.outcomes import Flight, Outcome
from seedream_jobs.run.breakers import Breakers
from seedream_jobs.run.halting import Halting
from seedream_jobs.run.pacing import Ticket
from seedream_jobs.run.recording import Recording
from seedream_jobs.run.retrying import reply_of
from seedream_jobs.run.submission import Submission, Submit, given_up
from seedream_jobs.run.turnstile import Turnstile

_log = logging.getLogger(__name__)


class Sending:
    """Announces and sends for all workers of one run; gate and breakers hear of every outcome."""

    def __init__(
        self,
        *,
        submit: Submit,
        turnstile: Turnstile,
        recording: Recording,
        halting: Halting,
        breakers: Breakers,
    ) -> None:
        self._submit = submit
        self._turnstile = turnstile
        self._recording = recording
        self._halting = halting
        self._breakers = breakers

    async def announce(self, submission: Submission) -> Ticket | None:
        """The permission to send it now, its intent durable; None where the run has stopped: then it is not sent."""
        while True:
            ticket = await self._turnstile.enter()
            if ticket is None:
                return None
            over = self._recording.reserve(submission)
            if over is not None:
                self._turnstile.leave(ticket, "other")
                self._halting.stop(over, withdraw=False)  # the money for what is announced is there
                return None
            durable = await self._recording.intend(submission)
            if durable and self._may_leave():
                return ticket
            self._turnstile.leave(ticket, "other")
            if durable:
                reason = (
                    "the run stopped before it was sent" if self._halting.withdraws else "the service asked to wait"
                )
                await self._recording.settle(submission, Outcome(row=5, verdict="not_sent", detail=reason))
            if self._halting.halted:
                return None

    async def announce_again(self, submission: Submission, *, charged_again: bool) -> Ticket | None:
        """Like ``announce``, for a submission that is in doubt and stays so: there is nothing to withdraw.

        :param charged_again: it may be charged a second time, so the money for that is reserved too
        """
        while True:
            ticket = await self._turnstile.enter()
            if ticket is None:
                return None
            if charged_again and self._recording.reserve(submission) is not None:
                self._turnstile.leave(ticket, "other")
                return None
            charged_again = False
            durable = await self._recording.intend(submission)
            if durable and self._may_leave():
                return ticket
            self._turnstile.leave(ticket, "other")
            if self._halting.halted:
                return None

    async def post(
        self, worker: int, submission: Submission, body: bytes, ticket: Ticket, *, repeat: bool = False
    ) -> Outcome:
        """Send it, or with ``repeat`` once more. Whatever happens there is an outcome; the caller records it at once.

        :raises: the cancellation, if the whole run is cancelled from outside; the outcome is recorded before
        """
        flight = Flight()
        outcome: Outcome | None = None
        _log.info("POST by worker %d: %s, %d bytes", worker, submission.request.address, len(body))
        try:
            with self._halting.post(worker):
                outcome = await self._submit.submit(
                    worker, body, idempotency_key=submission.idempotency_key, flight=flight
                )
        except anyio.get_cancelled_exc_class():
            await self._recording.settle(submission, given_up(flight, "cancelled"))
            raise
        except Exception as error:  # a bug of the client: what its flight shows still counts
            outcome = given_up(flight, repr(error))
            self._halting.fail(error)
        outcome = outcome or given_up(flight, "interrupted")
        self._turnstile.leave(ticket, reply_of(outcome), outcome.retry_after)
        halt = self._breakers.note(submission.request.key, outcome, repeat=repeat)
        if halt is not None:
            self._halting.stop(halt)
        return outcome

    def _may_leave(self) -> bool:
        return not self._halting.withdraws and self._turnstile.still_open()
