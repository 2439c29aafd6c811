"""A million requests are planned in the memory of a thousand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLAN = """
import re
from pathlib import Path
from seedream_jobs import pipeline
from seedream_jobs.plan.load import Target, load_job
from seedream_jobs.plan.options import PlanOptions
target = Target(origin="https://api.example", emulator=False)
job = load_job(Path("job.yaml"), shown="job.yaml", target=target, sets={})
plan = pipeline.plan([job], target=target, options=PlanOptions(sets={}))
# not getrusage: its peak begins with that of the process that forked this one
print(plan.submit, re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
def test_peak_is_flat(folder: Any) -> None:
    """The peak at 1,000,000 requests is at most one and a half times that at 1,000."""
    peaks = []
    for size in (10, 100):
        # an expression that reads two axes: counted request by request, not from the axes
        axes = ", ".join(f"{name}: {{range: [1, {size}]}}" for name in "abc")
        folder.write(
            "job.yaml",
            "version: 1\nrequest: {prompt: \"{{ a ~ ', ' ~ b }}, {{ c }}\"}\n"
            f"matrix: {{{axes}, where: a > 0}}\nlimits: {{max_requests: 1000000}}\n"
            "output: {name: \"{{ a ~ '-' ~ b }}-{{ c }}\"}\n",
        )
        environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""}
        run = subprocess.run(
            [sys.executable, "-c", PLAN], cwd=folder.path, env=environment, capture_output=True, text=True, check=True
        )
        submit, peak = map(int, run.stdout.split())
        assert submit == size**3
        peaks.append(peak)
    assert peaks[1] <= 1.5 * peaks[0]
