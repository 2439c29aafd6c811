"""Seeded fault: a mistake in the program, met while it submits."""

from seedream_jobs.run.submit import Submitter


async def submit(self, worker, submission, body, *, repeat=None):
    raise ZeroDivisionError("a seeded mistake")


Submitter.submit = submit
