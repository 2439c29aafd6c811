"""Claims: ``run --detach`` with what runners share beside the same run without, in requests a second.

As the stage ``submit``: the service answers after 50 ms and times the POSTs itself. The stores are a folder, which
takes a claim at a time, and PostgreSQL, which takes a group at a time; both are empty at the start of each round.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import jobs
from bench.loopback import Loopback, loopback
from bench.result import Goal, Result, Row
from bench.timing import ENVIRONMENT, PROGRAM, ROOT, command, file_system, real_folder

TITLE = "Claims: run --detach with a shared store beside the same run without"
WORKERS = 64
LATENCY = 50  # milliseconds


def claimed(service: Loopback, count: int, parent: Path, url: str | None) -> None:
    """The whole command in a fresh campaign whose policy names a store."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        job = jobs.write(folder, count)
        if url is not None:
            url = url.replace("STORE", str(folder / "store"))
            name = f"bench-{secrets.token_hex(4)}"  # hex alone may be a number to YAML
            (folder / "policy.yaml").write_text(f'version: 1\nshared: {{claims: "{url}", campaign: {name}}}\n')
            subprocess.run(["git", "init", "-q", str(folder)], check=True)
            command([PROGRAM, "shared", "init"], cwd=folder)
            service.window()
        options = ("--yes", "--detach", "--concurrency", WORKERS, "--base-url", service.url)
        command([PROGRAM, "run", job, *map(str, options)], cwd=folder)
    finally:
        shutil.rmtree(folder)


def run(quick: bool) -> Result:
    """3,000 requests at 64 workers: a round of fewer lasts seconds, and says more of the machine than of the claims."""
    sys.path.insert(0, str(ROOT))
    from tests import stores

    count, rounds = (300, 1) if quick else (3000, 5)
    parent = real_folder()
    ENVIRONMENT["APIMART_API_KEY"] = "bench"
    with ExitStack() as stack:
        service = stack.enter_context(loopback(LATENCY))
        database = stack.enter_context(stores.postgres())
        sides = {"without": None, "a folder": "file://STORE", "PostgreSQL": database.url}
        found: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, url in sides.items():
                claimed(service, count, parent, url)
                accepted, seconds = service.window()
                assert accepted == count, (name, accepted)
                found[name].append(accepted / seconds)
    plain = found.pop("without")
    return Result(
        stage="claims",
        title=TITLE,
        rows=(
            Row(what="run --detach, without claims", values=tuple(plain), unit="/s", base=True),
            *(Row(what=f"… with claims in {name}", values=tuple(rates), unit="/s") for name, rates in found.items()),
        ),
        goals=tuple(
            Goal(
                what=f"with claims in {name} / without",
                ratios=tuple(mine / other for mine, other in zip(rates, plain, strict=True)),
                goal=0.8,
                at_least=True,
                why=WHY,
            )
            for name, rates in found.items()
        ),
        notes=(
            f"{count:,} requests, {rounds} interleaved rounds, {WORKERS} workers, a reply after {LATENCY} ms; records "
            f"and the folder on {file_system(parent)}. The service takes about 8 images a second: at that rate no "
            "claim is felt.",
        ),
    )


WHY = "at this rate the run is bound by the processor, and two cores are shared by the run, the service and the store"
