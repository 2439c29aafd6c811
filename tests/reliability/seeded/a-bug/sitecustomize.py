"""Seeded fault: a mistake in the program, met while it submits."""

from seedream_jobs.run.submit import Sending


async def announce(self, submission):
    raise ZeroDivisionError("a seeded mistake")


Sending.announce = announce
