"""Polling: GETs per task of about 40 s, and how late its end is noticed, on a virtual clock; and CPU per GET."""

from __future__ import annotations

import time
from random import Random

from bench.result import Goal, Result, Row

TITLE = "Polling 1,000 tasks of 30 to 50 s"
EVERY = 3.0  # seconds between two GETs of the loop that anyone would write


def played(tasks: int, seed: int, *, estimates: bool) -> tuple[float, float, float]:
    """GETs per task, seconds from a task's end to its notice, CPU seconds per GET, with the real poller."""
    import trio
    import trio.testing

    from seedream_jobs.api.tasks import TaskReport
    from seedream_jobs.ledger.state import Event, Image
    from seedream_jobs.run.poll import Poller, Watch
    from seedream_jobs.run.shutdown import Shutdown

    chance = Random(seed)
    ends = {f"task_{number}": chance.uniform(30, 50) for number in range(tasks)}
    late: list[float] = []
    gets = 0

    class Service:
        async def task(self, task_id: str) -> TaskReport:
            nonlocal gets
            gets += 1
            now, end = trio.current_time() - start, ends[task_id]
            if now < end:
                return TaskReport(status="running", estimated_time=40.0 if estimates else None, created=0)
            late.append(now - end)
            image = Image(url="https://cdn.example/x.jpeg", expires_at=10**10)
            return TaskReport(status="completed", images=(image,), created=0, completed=int(end))

    class Nothing:
        async def record(self, event: Event) -> None:
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        nonlocal start
        start = trio.current_time()
        poller = Poller(
            service=Service(),
            ledger=Nothing(),
            shutdown=Shutdown(),
            random=chance,
            now=lambda: trio.current_time() - start,
            link_life=72 * 3600.0,
        )
        for task_id in ends:
            poller.add(Watch(key=f"v1:{task_id}", task_ids=(task_id,), accepted_at=0.0))
        poller.close()
        await poller.run()

    start = 0.0
    cpu = time.process_time()
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return gets / tasks, sum(late) / len(late), (time.process_time() - cpu) / gets


def plain(tasks: int, seed: int) -> tuple[float, float]:
    """GETs per task and lateness of asking every three seconds."""
    chance = Random(seed)
    ends = [chance.uniform(30, 50) for _ in range(tasks)]
    asked = [int(end // EVERY) + 1 for end in ends]
    return sum(asked) / tasks, sum(count * EVERY - end for count, end in zip(asked, ends, strict=True)) / tasks


def run(quick: bool) -> Result:
    """Several seeds; the clock is virtual, so only CPU per GET depends on the machine."""
    tasks, seeds = (200, range(2)) if quick else (1000, range(5))
    loop = [plain(tasks, seed) for seed in seeds]
    told = [played(tasks, seed, estimates=True) for seed in seeds]
    untold = [played(tasks, seed, estimates=False) for seed in seeds]

    def row(what: str, found: list[tuple[float, ...]], column: int, unit: str, *, base: bool = False) -> Row:
        return Row(what=what, values=tuple(one[column] for one in found), unit=unit, base=base)

    return Result(
        stage="poll",
        title=TITLE,
        rows=(
            row("every 3 s: GETs per task", list(loop), 0, "GETs", base=True),
            row("poller, the service says 40 s: GETs per task", list(told), 0, "GETs"),
            row("poller, nothing is said: GETs per task", list(untold), 0, "GETs"),
            row("every 3 s: noticed after", list(loop), 1, "s"),
            row("poller, the service says 40 s: noticed after", list(told), 1, "s"),
            row("poller, nothing is said: noticed after", list(untold), 1, "s"),
            row("poller: CPU per GET, client left out", list(told), 2, "s"),
        ),
        goals=(
            Goal(
                what="GETs per task / every 3 s",
                ratios=tuple(ours[0] / theirs[0] for ours, theirs in zip(told, loop, strict=True)),
                goal=0.5,
            ),
        ),
        notes=("The goals name no figure here: half of the GETs of the plain loop is this bench's own.",),
    )
