"""Seeded fault: the journal is removed before what is folded has its names."""

from seedream_jobs.ledger.journal import Pair

fold = Pair.fold


def early(self, new, seq, append):
    def announced(line):
        append(line)
        self.remove_journal()

    return fold(self, new, seq, announced)


Pair.fold = early
