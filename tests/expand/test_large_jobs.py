"""Large jobs: prompt collections people use (PartiPrompts, GenEval, the SDXL styles), and memory at a million."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
DATA = CHECKOUT.parent / "shared" / "data"

needs_collections = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"needs the prompt collections in {DATA.name}/ beside the checkout"
)


@pytest.fixture
def data(folder: Any) -> Any:
    for file in DATA.iterdir():
        shutil.copy(file, folder.path / file.name)
    return folder


@needs_collections
def test_parti_prompts_by_category(data: Any) -> None:
    """PartiPrompts × sizes, filtered by Category; its quotes are text."""
    lines = (DATA / "PartiPrompts.tsv").read_text(encoding="utf-8").splitlines()[1:]
    animals = [line.split("\t")[0] for line in lines if line.split("\t")[1] == "Animals"]
    found = data.requests(
        """
        request: {prompt: "{{ p.Prompt }}"}
        matrix:
          p: {from: PartiPrompts.tsv, where: row.Category == 'Animals'}
          size: [1:1, 16:9]
        """
    )
    assert len(animals) > 300
    assert [request.payload["prompt"] for request in found[::2]] == animals
    assert len(found) == 2 * len(animals)
    assert len(lines) == 1632


@needs_collections
def test_geneval_as_json_lines(data: Any) -> None:
    """GenEval: a mapping a line, nested lists in it."""
    rows = [json.loads(line) for line in (DATA / "geneval.jsonl").read_text(encoding="utf-8").splitlines()]
    prompts = data.prompts(
        "request: {prompt: \"{{ g.prompt }}\"}\nmatrix: {g: {from: geneval.jsonl, where: row.tag == 'counting'}}"
    )
    assert prompts == list(dict.fromkeys(row["prompt"] for row in rows if row["tag"] == "counting"))
    counted = data.prompts(
        'request: {prompt: "{{ g.include[0].count }} × {{ g.include[0].class }}"}\n'
        "matrix: {g: {from: geneval.jsonl, where: row.tag == 'counting', limit: 3}}"
    )
    assert (
        counted
        == [f"{row['include'][0]['count']} × {row['include'][0]['class']}" for row in rows if row["tag"] == "counting"][
            :3
        ]
    )


@needs_collections
def test_single_braces_survive(data: Any) -> None:
    """A style's own {prompt} is text to us."""
    styles = json.loads((DATA / "sdxl_styles.json").read_text(encoding="utf-8"))
    prompts = data.prompts('request: {prompt: "{{ s.prompt }}"}\nmatrix: {s: {from: sdxl_styles.json}}')
    assert prompts == list(dict.fromkeys(style["prompt"] for style in styles))
    assert "{prompt}" in prompts[0]


PLAN = """
import re
from pathlib import Path
from seedream_jobs import pipeline
from seedream_jobs.plans.load import Target, load_job
from seedream_jobs.plans.options import PlanOptions
target = Target(origin="https://api.example", emulator=False)
job = load_job(Path("all.yaml"), shown="all.yaml", target=target, sets={})
plan = pipeline.plan([job], target=target, options=PlanOptions(sets={}))
# not getrusage: its peak begins with that of the process that forked this one
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(plan.submit, job.expansion.merged, peak)
"""


def planned(folder: Any, job: str) -> tuple[int, int, int]:
    """Requests to submit, requests merged, and the peak in KiB of a process that plans the job."""
    folder.write("all.yaml", job)
    environment = {"PYTHONPATH": str(CHECKOUT), "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", PLAN], cwd=folder.path, env=environment, capture_output=True, text=True, check=True
    )
    submit, merged, peak = map(int, run.stdout.split())
    return submit, merged, peak


@needs_collections
def test_styles_times_prompts_planned_whole(data: Any) -> None:
    """SDXL styles × PartiPrompts, 145,248 requests, planned whole within 100 MB (250 are allowed)."""
    job = """\
        version: 1
        request: {prompt: "{{ s.prompt | replace('{prompt}', p) }}"}
        matrix: {s: {from: sdxl_styles.json}, p: {from: PartiPrompts.tsv, column: Prompt}}
        limits: {max_requests: 200000}
        """
    submit, merged, peak = planned(data, job)
    assert submit + merged == 145_248
    assert peak // 1024 < 100


@pytest.mark.slow
def test_peak_is_flat(folder: Any) -> None:
    """The peak at 1,000,000 requests is at most one and a half times that at 1,000."""
    peaks = []
    for size in (10, 100):
        # an expression that reads two axes: counted request by request, not from the axes
        axes = ", ".join(f"{name}: {{range: [1, {size}]}}" for name in "abc")
        job = (
            "version: 1\nrequest: {prompt: \"{{ a ~ ', ' ~ b }}, {{ c }}\"}\n"
            f"matrix: {{{axes}, where: a > 0}}\nlimits: {{max_requests: 1000000}}\n"
            "output: {name: \"{{ a ~ '-' ~ b }}-{{ c }}\"}\n"
        )
        submit, _, peak = planned(folder, job)
        assert submit == size**3
        peaks.append(peak)
    assert peaks[1] <= 1.5 * peaks[0]
