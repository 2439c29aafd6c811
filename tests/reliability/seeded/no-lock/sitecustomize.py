"""Seeded fault: everybody gets the lock."""

import fcntl

fcntl.flock = lambda descriptor, operation: None
