"""``seedream-jobs emulator``: the emulator is another program, which brings its own options."""

from __future__ import annotations

from seedream_jobs.emulator.__main__ import emulator as emulator
