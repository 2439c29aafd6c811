"""Seeded fault: records are called durable when they are in memory, and written a little later."""

import threading
import time

from seedream_jobs.ledger.journal import GroupCommit

commit = GroupCommit._commit
finish = GroupCommit._finish


def commit_later(self, batch):
    def write():
        time.sleep(0.3)
        commit(self, batch)

    threading.Thread(target=write).start()


GroupCommit._commit = commit_later
