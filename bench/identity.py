"""Identity: a request's key from prepared fragments, beside json.dumps and sha256 of the whole payload."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import jobs
from bench.result import Goal, Result, Row, ratios
from bench.timing import Cost, here, interleaved

TITLE = "Identity: seconds per key, prompt included"


def run(quick: bool) -> Result:
    """The same keys in three ways."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from seedream_jobs.expand.identity import key_of
    from seedream_jobs.pipeline import EMULATOR_ORIGIN, Target, load

    count = 1000 if quick else 20_000
    with tempfile.TemporaryDirectory() as name:
        job = jobs.write(Path(name), count)
        target = Target(origin=EMULATOR_ORIGIN, emulator=True)
        expansion = load(job, shown=str(job), target=target, sets={}).expansion
        cells = list(expansion.matrix.cells())
        template = ImmutableSandboxedEnvironment().from_string(jobs.PROMPT)
        model = expansion.spec.profile.id

        def naive() -> list[str]:
            keys = []
            for cell in cells:
                bound = expansion.matrix.bindings(cell)
                payload = {"model": model, "prompt": template.render(bound), "size": bound["size"], "resolution": "2K"}
                keys.append(key_of(payload, model, 1))
            return keys

        def plain() -> list[str]:
            return [expansion.builder.build(cell, 1).key for cell in cells]

        def fragments() -> list[str]:
            return [key for cell in cells for key, _ in expansion.fragments.keys(cell)]

        assert naive() == plain() == fragments()
        ways = {"render, json.dumps, sha256": naive, "the whole request": plain, "fragments": fragments}
        found = interleaved({what: lambda way=way: here(way) for what, way in ways.items()}, 3 if quick else 7)
    cpu = {what: [_share(cost, count) for cost in costs] for what, costs in found.items()}
    base = "render, json.dumps, sha256"
    return Result(
        stage="identity",
        title=TITLE,
        rows=tuple(Row(what=what, values=tuple(costs), unit="s", base=what == base) for what, costs in cpu.items()),
        goals=(Goal(what="fragments / render, dumps, sha256", ratios=ratios(cpu["fragments"], cpu[base]), goal=0.21),),
        notes=(f"{count:,} requests; all three ways give the same keys, which the bench asserts.",),
    )


def _share(cost: Cost, count: int) -> float:
    return cost.cpu / count
