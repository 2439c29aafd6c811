"""Seeded fault: the intent is written with the outcome, after the POST."""

from seedream_jobs.run.submit import Submitter

settle = Submitter._settle


async def intend(self, submission):
    return True


async def settle_late(self, submission, outcome):
    await self._record(submission.intent(int(self._now())))
    await settle(self, submission, outcome)


Submitter._intend = intend
Submitter._settle = settle_late
