"""Planning: load, check, expand, hold against the manifest, sum up; beside the loop that anyone would write.

Each size is measured in a process of its own, with its peak memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import sys
import tempfile
import time
from itertools import islice, product
from pathlib import Path
from typing import Any

from bench import jobs
from bench.result import Goal, Result, Row, Series, ratios
from bench.timing import ROOT, child, peak_mib

TITLE = "Planning: CPU seconds per request, all bookkeeping included"
DATA = ROOT.parent / "shared" / "data"
REAL = 145_248
"""The requests of SDXL styles × PartiPrompts."""


def naive(folder: Path, count: int) -> None:
    """Render, validate, canonical JSON, sha256: for every request."""
    import jsonschema
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    template = ImmutableSandboxedEnvironment().from_string(jobs.PROMPT)
    validator = jsonschema.Draft7Validator(json.loads((ROOT / "schemas" / "request.schema.json").read_bytes()))
    seen: set[str] = set()
    many, more = jobs.shape(count)
    for subject, scene, style, size in product(jobs.subjects(many), jobs.scenes(more), jobs.STYLES, jobs.SIZES):
        prompt = template.render(subject=subject, scene=scene, style={"text": style}, camera="35mm")
        payload = {"model": "doubao-seedream-5-0-lite", "prompt": prompt, "size": size, "resolution": "2K"}
        assert validator.is_valid(payload)
        seen.add(hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest())
    assert len(seen) == count


def plan(job: Path) -> None:
    """``seedream-jobs plan``, its imports made and its output thrown away."""
    from seedream_jobs.cli.main import run_command

    with contextlib.redirect_stdout(io.StringIO()):
        code = run_command(["plan", "--emulator", str(job)])
    assert code == 0, code


def put_on_record(job: Path, count: int) -> None:
    """A manifest in which ``count`` of the job's requests are accepted, written as its format says."""
    from seedream_jobs.plans.load import EMULATOR_ORIGIN, Target, load_job

    loaded = load_job(job, shown=str(job), target=Target(origin=EMULATOR_ORIGIN, emulator=True), sets={})
    lines: list[dict[str, Any]] = [{"format": 1, "id": "m-bench", "job": job.name, "origin": EMULATOR_ORIGIN}]
    for number, place in enumerate(islice(loaded.expansion.places(), count)):
        request = loaded.expansion.request(place)
        lines.append(
            {
                "address": request.address,
                "cell": request.cell,
                "generation": 1,
                "key": request.key,
                "max_cost_usd": "0.0228",
                "max_images": 1,
                "output": request.output,
                "repeat": 1,
                "request": request.payload,
                "state": "accepted",
                "submitted_at": "2026-08-02T10:11:12Z",
                "task_id": f"task_{number}",
            }
        )
    with job.with_name(f"{job.stem}.manifest.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def real_data(folder: Path) -> Path:
    """SDXL styles × PartiPrompts: 145,248 requests."""
    styles = json.loads((DATA / "sdxl_styles.json").read_text(encoding="utf-8"))
    rows = [{"id": one["name"], "text": one["prompt"]} for one in styles if "prompt" in one]
    (folder / "styles.json").write_text(json.dumps(rows), encoding="utf-8")
    shutil.copy(DATA / "PartiPrompts.tsv", folder / "prompts.tsv")
    job = folder / "parti.yaml"
    job.write_text(
        "version: 1\n"
        "request:\n"
        "  prompt: \"{{ style.text | replace('{prompt}', subject) }}\"\n"
        "matrix:\n"
        "  style: {from: styles.json}\n"
        "  subject: {from: prompts.tsv, column: Prompt}\n"
        "limits: {max_requests: 10000000}\n",
        encoding="utf-8",
    )
    return job


def measure(what: str, count: int) -> dict[str, Any]:
    """One figure, in this process: CPU and wall seconds, peak memory in MiB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = real_data(folder) if what == "real" else jobs.write(folder, count)
        if what == "known":
            put_on_record(job, count)
        plan(jobs.write(folder / "small", 20))  # what start-up costs is another stage's
        with contextlib.suppress(ImportError):
            import jsonschema  # noqa: F401
        cpu, wall = time.process_time(), time.perf_counter()
        if what == "naive":
            naive(folder, count)
        else:
            plan(job)
        return {
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall,
            "peak": peak_mib(),
            "requests": count or REAL,
        }


def run(quick: bool) -> Result:
    """Interleaved: the naive loop and ours at several sizes."""
    rounds = 1 if quick else 3
    sizes = (1000, 10_000) if quick else (1000, 10_000, 100_000, 1_000_000)
    figures: dict[tuple[str, int], list[dict[str, Any]]] = {}
    wanted = [("naive", 1000), *(("ours", size) for size in sizes)]
    if not quick:
        wanted.append(("known", 100_000))
        if (DATA / "PartiPrompts.tsv").exists():
            wanted.append(("real", 0))
    for number in range(rounds):
        for what, size in wanted:
            if size < 1_000_000 or number < 3:
                figures.setdefault((what, size), []).append(child("bench.plan", what, size))
    return _result(figures, sizes)


def _result(figures: dict[tuple[str, int], list[dict[str, Any]]], sizes: tuple[int, ...]) -> Result:
    def each(what: str, size: int) -> tuple[float, ...]:
        return tuple(one["cpu"] / one["requests"] for one in figures[what, size])

    largest = sizes[-1]
    rows = [Row(what="naive loop, 1,000 requests", values=each("naive", 1000), unit="s", base=True)]
    rows += [Row(what=f"plan, {size:,} requests", values=each("ours", size), unit="s") for size in sizes]
    rows += [
        Row(
            what=f"whole plan of {size:,}, wall",
            values=tuple(one["wall"] for one in figures["ours", size]),
            unit="s",
            compared=False,
        )
        for size in sizes[-2:]
    ]
    rows += [
        Row(
            what=f"peak memory, {size:,} requests",
            values=tuple(one["peak"] for one in figures["ours", size]),
            unit="MiB",
        )
        for size in (sizes[0], *sizes[-2:])
    ]
    naive_costs, count = each("naive", 1000), len(each("ours", largest))
    goals = [
        Goal(
            what=f"plan of {largest:,} / naive loop, per request",
            ratios=ratios(each("ours", largest), naive_costs[:count]),
            goal=1 / 40,
        ),
        Goal(
            what=f"plan of {largest:,}, wall seconds",
            ratios=tuple(one["wall"] for one in figures["ours", largest]),
            goal=10,
        ),
        Goal(
            what=f"peak memory at {largest:,} in MiB",
            ratios=tuple(one["peak"] for one in figures["ours", largest]),
            goal=200,
        ),
    ]
    if ("known", 100_000) in figures:
        known = each("known", 100_000)
        rows.append(Row(what="plan, 100,000 requests, all in the manifest", values=known, unit="s"))
        goals.append(
            Goal(
                what="with a manifest of 100,000 / without",
                ratios=ratios(known, each("ours", 100_000)),
                goal=3.0,
            )
        )
    if ("real", 0) in figures:
        real = figures["real", 0]
        rows.append(
            Row(
                what=f"SDXL styles × PartiPrompts ({real[0]['requests']:,}), wall",
                values=tuple(one["wall"] for one in real),
                unit="s",
                compared=False,
            )
        )
        rows.append(
            Row(what="SDXL styles × PartiPrompts, peak memory", values=tuple(one["peak"] for one in real), unit="MiB")
        )
        goals.append(
            Goal(what="SDXL × PartiPrompts, peak memory in MiB", ratios=tuple(one["peak"] for one in real), goal=100)
        )
    points = tuple((size, sorted(each("ours", size))[len(each("ours", size)) // 2]) for size in sizes)
    return Result(
        stage="plan",
        title=TITLE,
        rows=tuple(rows),
        goals=tuple(goals),
        series=(Series(what="plan: per request", unit="s", points=points),),
        notes=(
            "The whole command without imports: load, schema, templates, matrix, keys, equal requests, causes, money.",
            "snakemake -n needs 0.8 to 1.4 ms an item on such a machine (measured when the goals were set).",
        ),
    )


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
