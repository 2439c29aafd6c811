"""The entry point, of ``seedream-jobs`` and ``python -m seedream_jobs``: a process from its first line to its last."""

import gc
import os
import sys

YOUNG = 50_000
"""Objects made between two looks for rubbish. Python's own 700 looks two dozen times while modules are imported, which
leave none; a tenth of what ``--help`` costs."""


def main() -> None:
    """Run one command line and end the process with its exit code.

    It ends at once: taking a few hundred modules apart, to free memory that the kernel takes back anyway, would cost
    as much as reading a job file does. Whoever opened something has closed it by then.
    """
    gc.set_threshold(YOUNG)
    from seedream_jobs.cli import main as run

    code = run(sys.argv[1:])
    os._exit(code)


if __name__ == "__main__":
    main()
