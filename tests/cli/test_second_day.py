"""What a second day brings: a look at a job while another process works on it, and after a rehearsal."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.api.credentials import DEFAULT_BASE_URL
from seedream_jobs.errors import HeldError
from seedream_jobs.expand.identity import canonical_json
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.lock import in_use, lock_file
from seedream_jobs.ledger.state import Accepted
from seedream_jobs.plans.load import Target, load_job
from seedream_jobs.run.job_run import submission_of
from tests.canary import CANARY

Command = Callable[..., Any]


@pytest.fixture
def running(campaign: Path) -> Iterator[Ledger]:
    """The record of ``garden.yaml`` as a run holds it: one task is accepted, one POST is under way, two are to come."""
    where = Target(origin=DEFAULT_BASE_URL, emulator=False)
    job = load_job(campaign / "garden.yaml", shown="garden.yaml", target=where, sets={})
    places = list(job.expansion.places())[:2]
    with Ledger.open(
        job.paths,
        job="garden.yaml",
        origin=where.origin,
        new_id=lambda: "m-0123456789abcdef",
        root=campaign,
        command="run garden.yaml",
        now=1_800_000_000,
    ) as ledger:
        for place in places:
            request = job.expansion.request(place)
            submission = submission_of(
                request,
                canonical_json(request.payload),
                generation=1,
                manifest=ledger.id,
                max_cost_usd=None,
                files=job.expansion.spec.files,
                urls={},
            )
            ledger.record_sync(submission.intent(1_800_000_000))
        ledger.record_sync(Accepted(key=places[0].key, at=1_800_000_001, task_id="task_1", request_id="r1"))
        yield ledger


def test_what_is_in_flight_is_not_in_doubt(running: Ledger, campaign: Path, quick: Command) -> None:
    """While the run lives, its POSTs are its own business: nothing is asked for, nothing wants ``resolve``."""
    seen = quick("status", "garden.yaml")  # without a key: a job that is in use is not asked for
    assert seen.code == 8, seen.err
    assert f"  in use by process {os.getpid()} on " in seen.out
    assert ", 'run garden.yaml', since 2027-01-15T08:00:00Z\n" in seen.out
    assert "  > 1 running\n" in seen.out
    assert "  > 1 submitting\n" in seen.out
    assert "resolve" not in seen.out + seen.err
    (machine,) = json.loads(quick("status", "garden.yaml", "--format", "json").out)
    assert machine["in_doubt"] == []
    assert machine["held_by"].startswith(f"process {os.getpid()} on ")
    planned = quick("plan", "garden.yaml")
    assert "  > 2 running" in planned.out
    assert "in doubt" not in planned.out
    assert "garden.yaml: in use by process" in planned.err
    listed = quick("resolve", "garden.yaml")
    assert (listed.code, listed.out) == (0, "garden.yaml: nothing is in doubt.\n")
    assert quick("resolve", "garden.yaml", "--all", "--abandon", "--reason", "x").code in (2, 7)
    assert quick("fetch", "garden.yaml", APIMART_API_KEY=CANARY).code == 7
    assert quick("status", "garden.yaml", "--wait", APIMART_API_KEY=CANARY).code == 7


def test_a_process_number_in_the_lock_file_is_no_run(running: Ledger, campaign: Path, quick: Command) -> None:
    """The file still names a process, which lives and is another program by now: only the kernel knows."""
    lock = campaign / "garden.manifest.lock"
    left_behind = lock.read_bytes()
    running.close()
    lock.write_bytes(left_behind)
    seen = quick("status", "garden.yaml", "--offline")
    assert "in use" not in seen.out
    assert "  ? 1 in doubt" in seen.out
    assert seen.code == 6


def test_a_look_at_the_lock_stops_no_run(tmp_path: Path) -> None:
    """Views ask for the lock for a moment; a run that begins just then tries again, and is refused only by a run."""
    path, over = tmp_path / "l", threading.Event()

    def look() -> None:
        while not over.is_set():
            in_use(path)

    path.touch()
    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            held = lock_file(path, command="run", now=1)
            with pytest.raises(HeldError):
                lock_file(path, command="run", now=2)
            held.release()
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("name", ["status", "fetch", "resolve", "export"])
def test_after_a_rehearsal_the_rehearsal_is_named(name: str, campaign: Path, quick: Command) -> None:
    """A command without ``--emulator`` finds no paid record: it names the rehearsal, not only the paid run."""
    kept = campaign / ".seedream" / "emulator"
    kept.mkdir(parents=True)
    (kept / "garden.manifest.jsonl").write_text(
        '{"format":1,"id":"m-0123456789abcdef","job":"garden.yaml","origin":"emulator"}\n'
    )
    options = ("--format", "csv") if name == "export" else ()
    ended = quick(name, "garden.yaml", *options, APIMART_API_KEY=CANARY)
    assert ended.code == 2
    assert "there is only a rehearsal on the emulator" in ended.err
    assert f"seedream-jobs {name} garden.yaml --emulator" in ended.err
    fresh = campaign / "fresh.yaml"
    fresh.write_text((campaign / "garden.yaml").read_text())
    ended = quick(name, "fresh.yaml", "--emulator", *options)
    assert "seedream-jobs run fresh.yaml --emulator" in ended.err  # from a rehearsal nothing leads to the paid run
