"""Seeded fault: whatever is in doubt is replayed, and its answer is taken for the first POST's."""

from dataclasses import replace
from time import time

from seedream_jobs.plans import plan
from seedream_jobs.run.retry import OpenCase

make_plan = plan.make_plan


def eager(*args, options, **others):
    return make_plan(*args, options=replace(options, replay=int(time())), **others)


def take(self, again, outcome, *, mark_counts):
    self._latest = outcome
    return "settled" if outcome.verdict == "accepted" else "open"


plan.make_plan = eager
OpenCase.take = take
