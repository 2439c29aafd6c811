"""Seeded fault: whatever is in doubt is replayed, and its answer is taken for the first POST's."""

from seedream_jobs.plan import jobs
from seedream_jobs.run.retry import OpenCase

plan_jobs = jobs.plan_jobs


def eager(*args, wish, **others):
    def asked(job):
        from dataclasses import replace
        from time import time

        return replace(wish(job), replay_at=int(time()))

    return plan_jobs(*args, wish=asked, **others)


def take(self, again, outcome, *, mark_counts):
    self._latest = outcome
    return "settled" if outcome.verdict == "accepted" else "open"


jobs.plan_jobs = eager
OpenCase.take = take
