"""Reading a manifest of 100,000 requests strictly, beside a bare ``json.loads`` of each line."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

from bench.result import Goal, Result, Row, Series, ratios
from bench.timing import here
from seedream_jobs.ledger.manifest import Manifest, read_manifest
from seedream_jobs.ledger.state import Entry, Header, Image, State

TITLE = "Resuming: CPU seconds of reading a manifest"
GOAL = 1.5

WHY = (
    "of 16 µs a line json.loads takes 7.6 in a profile, the checksum 3, the look at its fields and paths 4 (which "
    "spares decoding it), the count of its depth 1"
)


def manifest(count: int) -> bytes:
    """The bytes of a manifest with so many stored requests of one image each."""
    made = Manifest(header=Header(id="m-bench", job="garden.yaml", origin="https://api.apimart.ai"))
    for number in range(count):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        image = Image(
            expires_at=1_800_259_240, file=f"out/heron-{number}.jpeg", sha256=digest, width=3136, height=1344, bytes=9
        )
        made.entries.put(
            Entry(
                key=f"v1:{digest}",
                address=f"garden/subject=heron-{number},season=spring,style=photo#1",
                cell={"subject": f"heron {number}", "season": "spring", "style": "photo"},
                request={"model": "doubao-seedream-5-0-lite", "prompt": f"heron {number} in a garden, spring, 35mm"},
                repeat=1,
                output=f"out/heron-{number}",
                max_images=1,
                generation=1,
                state=State.STORED,
                idempotency_key=digest,
                task_id=f"task_{number:022}",
                images=(image,),
                cost_usd=Decimal("0.0228"),
                max_cost_usd=Decimal("0.0228"),
                submitted_at=1_800_000_000 + number,
            )
        )
    return b"".join(made.chunks())


def bare(data: bytes) -> None:
    """What nobody can do without."""
    for line in data.split(b"\n"):
        if line:
            json.loads(line)


def strict(data: bytes) -> None:
    """What every command does."""
    read_manifest(data, "garden.manifest.jsonl")


def run(quick: bool) -> Result:
    """Interleaved, at several sizes."""
    sizes = (1000,) if quick else (1000, 10_000, 100_000)
    points, largest = [], b""
    for size in sizes:
        largest = manifest(size)
        costs = sorted(here(lambda data=largest: strict(data)).cpu / size for _ in range(3 if size > 50_000 else 9))
        points.append((size, costs[len(costs) // 2]))
    pairs = [(here(lambda: bare(largest)).cpu, here(lambda: strict(largest)).cpu) for _ in range(2 if quick else 5)]
    theirs, ours = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    return Result(
        stage="resume",
        title=TITLE,
        rows=(
            Row(what="json.loads per line", values=theirs, unit="s", base=True),
            Row(what="read_manifest, every line vouched for", values=ours, unit="s"),
        ),
        goals=(Goal(what="read_manifest / json.loads per line", ratios=ratios(ours, theirs), goal=GOAL, why=WHY),),
        series=(Series(what="resume: per entry", unit="s", points=tuple(points)),),
        notes=(f"{sizes[-1]:,} entries, {len(largest) / 1e6:.0f} MB.",),
    )
