"""``python -I -m seedream_jobs.scaffold`` prints where the script for CI lies; with ``--lock``, the locked versions.

The package names its own dependencies by their hashes, so that CI installs them from nothing that a campaign holds.
"""

from __future__ import annotations

import sys

from seedream_jobs.resources import resource
from seedream_jobs.scaffold import CI_SCRIPT

if __name__ == "__main__":
    sys.stdout.write(f"{resource('requirements', 'base.txt') if '--lock' in sys.argv else CI_SCRIPT}\n")
