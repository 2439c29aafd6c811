"""``python -I -m seedream_jobs.scaffold`` prints where the script for CI lies; with ``--lock``, the locked versions.

With ``--stores`` it says, once those are installed, what the stores of the policy in this folder need.

The package names its own dependencies by their hashes, so that CI installs them from nothing that a campaign holds.
"""

from __future__ import annotations

import sys
from pathlib import Path

from seedream_jobs.resources import resource
from seedream_jobs.scaffold import CI_SCRIPT

if __name__ == "__main__":
    if "--stores" in sys.argv:
        # Before the lock is installed there is nothing to read a policy with.
        from seedream_jobs.sharing import store_requirements

        for line in store_requirements(Path.cwd()):
            sys.stdout.write(f"{line}\n")
    else:
        sys.stdout.write(f"{resource('requirements', 'base.txt') if '--lock' in sys.argv else CI_SCRIPT}\n")
