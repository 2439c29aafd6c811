"""Planning: load, check, expand, hold against the manifest, sum up; beside the loop that anyone would write.

Each size is measured in a process of its own, with its peak memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

from bench import jobs
from bench.result import Goal, Result, Row, Series, ratios
from bench.timing import ROOT, child, peak_mib

TITLE = "Planning: CPU seconds per request, all bookkeeping included"
DATA = ROOT.parent / "shared" / "data"


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


def ours(job: Path, *, first: bool) -> int:
    """What ``seedream-jobs plan`` does, without its printing.

    :param first: nothing is known in the whole campaign; else another job of it has paid for something
    """
    from seedream_jobs.pipeline import EMULATOR_ORIGIN, PlanOptions, Target, load_all, plan

    target = Target(origin=EMULATOR_ORIGIN, emulator=True)
    paid = {} if first else {f"v1:{'0' * 64}": "other.yaml"}
    loaded = load_all([job], target=target, sets={})
    return plan(loaded, target=target, asked=PlanOptions(sets={}), elsewhere_of=lambda job: paid).submit


def gains(job: Path, count: int) -> None:
    """A manifest in which ``count`` of the job's requests are stored."""
    from decimal import Decimal

    from seedream_jobs.ledger.manifest import Manifest
    from seedream_jobs.ledger.records import Header
    from seedream_jobs.ledger.state import Entry, State
    from seedream_jobs.pipeline import EMULATOR_ORIGIN, Target, load

    loaded = load(job, shown=str(job), target=Target(origin=EMULATOR_ORIGIN, emulator=True), sets={})
    made = Manifest(header=Header(id="m-bench", job=job.name, origin=EMULATOR_ORIGIN))
    for number, place in enumerate(loaded.expansion.places()):
        if number >= count:
            break
        request = loaded.expansion.request(place)
        made.entries.put(
            Entry(
                key=request.key,
                address=request.address,
                cell=request.cell,
                request=request.payload,
                repeat=1,
                output=request.output,
                max_images=1,
                generation=1,
                state=State.ACCEPTED,
                task_id=f"task_{number}",
                max_cost_usd=Decimal("0.0228"),
                submitted_at=1_800_000_000,
            )
        )
    loaded.paths.manifest.parent.mkdir(parents=True, exist_ok=True)
    with loaded.paths.manifest.open("wb") as file:
        file.writelines(made.chunks())


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
            gains(job, count)
        import seedream_jobs.pipeline
        import seedream_jobs.plan.jobs
        import seedream_jobs.plan.select  # noqa: F401  (what start-up costs is another stage's)

        if what == "naive":
            with contextlib.suppress(ImportError):
                import jsonschema  # noqa: F401
        cpu, wall = time.process_time(), time.perf_counter()
        requests = count
        if what == "naive":
            naive(folder, count)
        else:
            requests = ours(job, first=what == "first")
            assert bool(requests) == (what != "known"), requests
        return {
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall,
            "peak": peak_mib(),
            "requests": requests or count,
        }


def run(quick: bool) -> Result:
    """Interleaved: the naive loop and ours at several sizes."""
    rounds = 1 if quick else 3
    sizes = (1000, 10_000) if quick else (1000, 10_000, 100_000, 1_000_000)
    figures: dict[tuple[str, int], list[dict[str, Any]]] = {}
    wanted = [("naive", 1000), *(("ours", size) for size in sizes)]
    if not quick:
        wanted += [("known", 100_000), ("first", 1_000_000)]
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
    peaks = [[one["peak"] for one in figures["ours", size]] for size in (largest, sizes[0])]
    goals = [
        Goal(
            what=f"plan of {largest:,} / naive loop, per request",
            ratios=ratios(each("ours", largest), naive_costs[:count]),
            goal=0.02,
        ),
        Goal(
            what=f"plan of {largest:,}, wall seconds",
            ratios=tuple(one["wall"] for one in figures["ours", largest]),
            goal=9.9,
        ),
        Goal(
            what=f"peak memory at {largest:,} / at 1,000",
            ratios=ratios(peaks[0], peaks[1][:count]),
            goal=1.5,
        ),
    ]
    if ("known", 100_000) in figures:
        known = each("known", 100_000)
        rows.append(Row(what="plan, 100,000 requests, all in the manifest", values=known, unit="s"))
        goals.append(
            Goal(
                what="with a manifest of 100,000 / without",
                ratios=ratios(known, each("ours", 100_000)),
                goal=2.0,
                why=WHY_KNOWN,
            )
        )
    if ("first", 1_000_000) in figures:
        rows.append(
            Row(
                what="whole plan of 1,000,000 of which nothing is known, wall",
                values=tuple(one["wall"] for one in figures["first", 1_000_000]),
                unit="s",
                compared=False,
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
            "Every request is made and looked up, as in a campaign that has paid for something. Where nothing is "
            "known, requests are counted from the matrix' parts if these show that no two are equal.",
            "load, schema, templates, matrix, keys, equal requests, ledger, causes, money; without imports.",
            "snakemake -n needs 0.8 to 1.4 ms an item on such a machine (measured when the goals were set).",
        ),
    )


WHY_KNOWN = (
    "reading a manifest strictly costs 4 µs an entry, half of what json.loads does: 3 µs are the one pattern's; and a "
    "request is planned in little more than that: the plan alone has become the cheaper half"
)

if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
