"""Validating payloads: one check per distinct set of parameters, beside jsonschema for every request."""

from __future__ import annotations

import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from bench import jobs
from bench.result import Goal, Result, Row, ratios
from bench.timing import ROOT, Cost, here, interleaved

TITLE = "Validation: seconds per request"


def payloads(count: int) -> list[dict[str, Any]]:
    """Payloads of the benches' matrix, in its order."""
    made = []
    many, more = jobs.shape(count)
    for subject, scene, style, size in product(jobs.subjects(many), jobs.scenes(more), jobs.STYLES, jobs.SIZES):
        prompt = f"{subject} in a garden, {scene}, {style}, soft light before noon, 35mm"
        made.append({"model": "doubao-seedream-5-0-lite", "prompt": prompt, "size": size, "resolution": "2K"})
    return made


def run(quick: bool) -> Result:
    """Three ways to validate the same payloads."""
    import jsonschema

    from seedream_jobs.expand.expansion import Expansion
    from seedream_jobs.job.schema import check_payload
    from seedream_jobs.pipeline import EMULATOR_ORIGIN, Target, load

    count = 1000 if quick else 10_000
    some = 200  # for the slow one
    made = payloads(count)
    validator = jsonschema.Draft7Validator(json.loads((ROOT / "schemas" / "request.schema.json").read_bytes()))

    def slow() -> Cost:
        return _share(here(lambda: [validator.is_valid(payload) for payload in made[:some]]), some)

    def ahead() -> Cost:
        return _share(here(lambda: [list(check_payload(payload, extra={})) for payload in made]), count)

    with tempfile.TemporaryDirectory() as name:
        job = jobs.write(Path(name), count)
        target = Target(origin=EMULATOR_ORIGIN, emulator=True)
        spec = load(job, shown=str(job), target=target, sets={}).expansion.spec

        def factored() -> Cost:
            return _share(here(lambda: Expansion(spec).check()), count)

        found = interleaved(
            {
                "jsonschema, validator reused": slow,
                "compiled ahead, every request": ahead,
                "as planned, templates included": factored,
            },
            3 if quick else 7,
        )
    cpu = {what: [cost.cpu for cost in costs] for what, costs in found.items()}
    return Result(
        stage="validation",
        title=TITLE,
        rows=tuple(
            Row(what=what, values=tuple(costs), unit="s", base=what.startswith("jsonschema"))
            for what, costs in cpu.items()
        ),
        goals=(
            Goal(
                what="as planned / jsonschema per request",
                ratios=ratios(cpu["as planned, templates included"], cpu["jsonschema, validator reused"]),
                goal=0.02,
            ),
        ),
        notes=(f"{count:,} payloads of 4 distinct sets of parameters; the prompt is checked when it is rendered.",),
    )


def _share(cost: Cost, count: int) -> Cost:
    return Cost(wall=cost.wall / count, cpu=cost.cpu / count)
