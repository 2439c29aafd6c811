"""Seeded fault: nothing is ever synced to the disk."""

import os

os.fsync = lambda descriptor: None
if hasattr(os, "fdatasync"):
    os.fdatasync = lambda descriptor: None
