"""Seeded fault: the intent is written with the outcome, after the POST."""

from seedream_jobs.run.submit import Recording

settle = Recording.settle


async def intend(self, submission):
    return True


async def settle_late(self, submission, outcome):
    await self.record(submission.intent(int(self._now())))
    await settle(self, submission, outcome)


Recording.intend = intend
Recording.settle = settle_late
