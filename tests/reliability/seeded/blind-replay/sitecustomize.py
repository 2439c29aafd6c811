"""Seeded fault: replay is taken for proven."""

from seedream_jobs.run.replaying import Capabilities


async def believe(self, model):
    self.of(model).proven = True
    return True


Capabilities.learn = believe
