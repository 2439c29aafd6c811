"""``python -m seedream_jobs``."""

from seedream_jobs.cli import main

main()
