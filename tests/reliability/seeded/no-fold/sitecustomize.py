"""Not a fault but its moment: the process ends where the journal would be folded."""

from seedream_jobs.ledger.ledger import Ledger


def fold(self):
    raise RuntimeError("ended before the fold")


Ledger.fold = fold
