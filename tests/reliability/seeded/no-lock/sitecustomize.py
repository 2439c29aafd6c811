"""Seeded fault: everybody gets the lock."""

import fcntl

fcntl.flock = lambda descriptor, operation: None

from seedream_jobs.ledger import lock  # noqa: E402  (after the fault itself)

lock._probe = lambda path: None  # it would find the fault
