"""Makes what happens durable, counts it, and moves the money with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import anyio

from seedream_jobs.api.outcomes import Outcome, Verdict
from seedream_jobs.errors import ExitCode, LedgerError
from seedream_jobs.ledger.state import Accepted, Event, Intended, NotSent
from seedream_jobs.run.breakers import Halt, said
from seedream_jobs.run.halting import Halting
from seedream_jobs.run.retrying import Retrying
from seedream_jobs.run.spend import Spend
from seedream_jobs.run.submission import LedgerPort, Observer, Submission, event_of


class Recording:
    """The ledger, the observer, the money and the counts of one run of submitting.

    :param now: Unix seconds
    """

    def __init__(
        self,
        *,
        ledger: LedgerPort,
        observer: Observer,
        spend: Spend,
        halting: Halting,
        retrying: Retrying,
        now: Callable[[], float],
    ) -> None:
        self.counts: Counter[Verdict] = Counter()
        self.lost: list[Event] = []
        self._ledger = ledger
        self._observer = observer
        self._spend = spend
        self._halting = halting
        self._retrying = retrying
        self._now = now

    async def record(self, event: Event, outcome: Outcome | None = None) -> bool:
        """Make an event durable, also while the run is being cancelled. False, and the run ends, where that fails."""
        try:
            await self._ledger.record(event)
        except LedgerError as error:
            if not isinstance(event, Intended):
                self.lost.append(event)
            self._halting.fail(error)
            return False
        self._observer.on_event(event, outcome)
        return True

    def left_new(self) -> None:
        """A submission was taken from the work and stays ``new``."""
        self.counts["not_sent"] += 1

    async def intend(self, submission: Submission) -> bool:
        """Announce a POST; True once that is durable."""
        most = self._spend.most(submission.max_cost_usd, submission.request.max_images)
        return await self.record(replace(submission, max_cost_usd=most).intent(int(self._now())))

    async def settle(self, submission: Submission, outcome: Outcome) -> None:
        """Make the outcome of a POST durable, and give the money back where nothing was charged."""
        if outcome.verdict in ("accepted", "rejected", "in_doubt"):
            self.counts[outcome.verdict] += 1
        if outcome.verdict == "accepted":
            self._retrying.accepted()
        durable = await self.record(event_of(outcome, submission.request.key, int(self._now())), outcome)
        if durable and outcome.verdict in ("not_sent", "refused", "rejected"):
            self._spend.release(submission.request.key)

    async def still_in_doubt(self, submission: Submission, outcome: Outcome) -> None:
        """Make a further doubt about the same submission durable; it is counted once."""
        await self.record(event_of(outcome, submission.request.key, int(self._now())), outcome)

    async def not_repeated(self, submission: Submission, outcome: Outcome) -> None:
        """The repeat of a submission in doubt was provably not charged; the submission stays in doubt."""
        at, key = int(self._now()), submission.request.key
        pending = outcome.verdict == "in_doubt"
        await self.record(
            event_of(outcome, key, at) if pending else NotSent(key=key, at=at, reason=said(outcome)), outcome
        )

    async def cleared(self, submission: Submission, outcome: Outcome, *, again: bool) -> None:
        """A recorded doubt is settled by an acceptance; with ``again``, that is another submission."""
        self.counts["in_doubt"] -= 1
        self.counts["accepted"] += 1
        self._retrying.accepted()
        at, key, task_id = int(self._now()), submission.request.key, outcome.task_id
        assert task_id is not None
        event = Accepted(
            key=key,
            at=at,
            task_id=task_id,
            request_id=outcome.request_id,
            again=again,
            more_task_ids=outcome.more_task_ids,
        )
        await self.record(event, outcome)

    def release(self, submission: Submission, times: int) -> None:
        """Give back what was reserved for repeats that were not charged."""
        for _ in range(times):
            self._spend.release(submission.request.key)

    async def salvaged(self, submission: Submission, outcome: Outcome, task_id: str) -> None:
        """A recorded doubt is settled by the task id found in its reply, which the service knows."""
        self.counts["in_doubt"] -= 1
        self.counts["accepted"] += 1
        at, key = int(self._now()), submission.request.key
        event = Accepted(
            key=key,
            at=at,
            task_id=task_id,
            request_id=outcome.request_id,
            salvaged=True,
            more_task_ids=outcome.more_task_ids,
        )
        await self.record(event, outcome)

    async def restore(self, keys: tuple[str, ...]) -> None:
        """The equal refusals that stopped the run were refusals of the run: those requests are new again."""
        async with anyio.create_task_group() as together:  # so that they share one sync
            for key in keys:
                together.start_soon(self._restore, key)

    async def _restore(self, key: str) -> None:
        event = NotSent(key=key, at=int(self._now()), reason="one of ten equal refusals that stopped the run")
        if await self.record(event):
            self.counts["rejected"] -= 1
            self.counts["not_sent"] += 1

    def reserve(self, submission: Submission) -> Halt | None:
        """Commit the most it can cost to every budget; a halt where one can't bear it."""
        request = submission.request
        over = self._spend.reserve(request.key, submission.max_cost_usd, request.max_images)
        if over is None:
            return None
        return Halt(stop=ExitCode.MONEY, reason=over, hint="raise the budget, give --price, or submit fewer requests")
