"""A large record: planned with all of it paid, in parts that a forge takes.

The record is written once; each plan of it is measured in a process of its own, beside one of the same job without a
record.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import jobs
from bench.result import Goal, Result, Row, ratios
from bench.timing import child, peak_mib

TITLE = "A record in parts: planning with everything paid"
PAID = "paid"
"""The folder of the job whose requests are all on record; ``new`` is the one of the other."""


def put_on_record(job: Path, count: int) -> int:
    """A manifest in parts in which every request is stored, as a run of long names leaves it. The largest file."""
    from seedream_jobs.ledger.codec import canonical, encode, seal
    from seedream_jobs.ledger.parts import LARGE_PART, PARTS, file_of, make_parts_folder, part_names, part_of
    from seedream_jobs.ledger.state import Header, PartHeader
    from seedream_jobs.plans.load import EMULATOR_ORIGIN, Target, load_job

    loaded = load_job(job, shown=str(job), target=Target(origin=EMULATOR_ORIGIN, emulator=True), sets={})
    manifest = loaded.paths.manifest
    manifest.parent.mkdir(parents=True, exist_ok=True)
    make_parts_folder(manifest)
    parts = PARTS[0] if count * 1150 < PARTS[0] * LARGE_PART else PARTS[1]
    names = part_names(parts)

    def line(record: object) -> bytes:
        return seal(canonical(encode(record))) + b"\n"

    head = Header(id="m-bench", job=job.name, origin=EMULATOR_ORIGIN, serial=1, parts=parts)
    manifest.write_bytes(line(head))
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context(file_of(manifest, name).open("wb")) for name in names}
        for number, place in enumerate(loaded.expansion.places()):
            request = loaded.expansion.request(place)
            entry = {
                "address": request.address,
                "cell": request.cell,
                "cost_usd": "0.0228",
                "generation": 1,
                "idempotency_key": f"sj-{request.key[3:]}",
                "images": [
                    {
                        "bytes": 1_234_567,
                        "expires_at": 1_785_752_472,
                        "file": f"{request.output}.jpeg",
                        "format": "jpeg",
                        "height": 1344,
                        "sha256": request.key[3:],
                        "width": 3136,
                    }
                ],
                "key": request.key,
                "max_cost_usd": "0.0228",
                "max_images": 1,
                "output": request.output,
                "repeat": 1,
                "request": request.payload,
                "run": "9f31c2a0",
                "state": "stored",
                "submitted_at": "2026-08-02T10:11:12Z",
                "task_id": f"task_01K8{number:018}",
            }
            files[part_of(request.key, len(names[0]))].write(seal(canonical(entry)) + b"\n")
    for name in names:
        file = file_of(manifest, name)
        lines = sorted(file.read_bytes().splitlines(keepends=True), key=lambda one: one.split(b'"key":"', 1)[1])
        file.write_bytes(line(PartHeader(part=name, id="m-bench", serial=1)) + b"".join(lines))
    return max(file_of(manifest, name).stat().st_size for name in names)


def measure(folder: str, count: int) -> dict[str, Any]:
    """One plan, in this process: CPU and wall seconds, peak memory in MiB."""
    from bench.plan import plan

    plan(jobs.write(Path(folder, "small"), 20))  # what start-up costs is another stage's
    cpu, wall = time.process_time(), time.perf_counter()
    plan(Path(folder, "garden.yaml"))
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "peak": peak_mib()}


def run(quick: bool) -> Result:
    """Interleaved: the job without a record, and with all of it paid."""
    count, rounds = (10_000, 1) if quick else (1_000_000, 3)
    found: dict[str, list[dict[str, Any]]] = {"new": [], PAID: []}
    room = Path(tempfile.mkdtemp())
    try:
        for name in found:
            jobs.write(room / name, count)
        largest = child("bench.split", str(room / PAID), count, "write")["largest"]
        for _ in range(rounds):
            for name, figures in found.items():
                figures.append(child("bench.split", str(room / name), count))
    finally:
        shutil.rmtree(room)
    new, paid = ([one["cpu"] for one in found[name]] for name in found)
    peaks = tuple(one["peak"] for one in found[PAID])
    return Result(
        stage="split",
        title=TITLE,
        rows=(
            Row(what=f"plan of {count:,}, no record", values=tuple(new), unit="s", base=True),
            Row(what=f"plan of {count:,}, all on record", values=tuple(paid), unit="s"),
            Row(
                what="… wall",
                values=tuple(one["wall"] for one in found[PAID]),
                unit="s",
                compared=False,
            ),
            Row(what="… peak memory", values=peaks, unit="MiB", compared=False),
            Row(what="largest file of the record", values=(largest / 1e6,), unit="MB", compared=False),
        ),
        goals=(
            Goal(what=f"plan of {count:,}, all on record, CPU seconds", ratios=tuple(paid), goal=12),
            Goal(what="all on record / no record", ratios=ratios(tuple(paid), tuple(new)), goal=3),
            Goal(what="peak memory in MiB", ratios=peaks, goal=400),
            Goal(what="largest file in MB", ratios=(largest / 1e6,), goal=60),
        ),
        notes=("Lines of about 1,150 bytes, as a run of four axes with long names leaves them.",),
    )


def main(folder: str, count: int, what: str = "plan") -> dict[str, Any]:
    """What a child does."""
    if what == "write":
        return {"largest": put_on_record(Path(folder, "garden.yaml"), count)}
    return measure(folder, count)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])))
