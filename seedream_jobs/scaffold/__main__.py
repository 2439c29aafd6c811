"""``python -m seedream_jobs.scaffold`` prints where the script for CI lies."""

from __future__ import annotations

import sys

from seedream_jobs.scaffold import CI_SCRIPT

if __name__ == "__main__":
    sys.stdout.write(f"{CI_SCRIPT}\n")
