"""Seeded fault: a request is claimed once its POST is answered."""

from seedream_jobs.run.submit import Submitter

hold, settle = Submitter._hold, Submitter._settle


async def trusting(self, submission, repeat):
    return True


async def late(self, submission, outcome):
    await hold(self, submission, None)
    await settle(self, submission, outcome)


Submitter._hold = trusting
Submitter._settle = late
