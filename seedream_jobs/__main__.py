"""``python -m seedream_jobs``, the same as ``seedream-jobs``."""

import sys

from seedream_jobs.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
