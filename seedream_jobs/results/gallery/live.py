"""This module keeps the pages of jobs fresh while ``run`` or ``fetch`` works on them, in a process of its own.

Called by ``cli.terminal``. Invariant: the process that spends money builds a page before its first POST and after its
last event, never between; whatever becomes of the other process costs the freshness of the pages and nothing else.

That process goes the way of ``seedream-jobs gallery``, again and again: it reads the record from the disk.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from seedream_jobs import confinement
from seedream_jobs.errors import FindingsError, SeedreamError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.plans.load import Target
from seedream_jobs.plans.options import last_sets
from seedream_jobs.records import Record, as_last_run, find_record
from seedream_jobs.results.gallery import build_gallery
from seedream_jobs.results.gallery.page import Live, end_live
from seedream_jobs.results.processes import start_helper

if confinement.POSSIBLE:
    import resource

EVERY = 2.0
"""Seconds between two buildings of the pages, at least."""
SHARE = 20
"""The pages are built again after so many times what building them took of a processor: at most a twentieth of one."""
MEMORY = 1536 << 20
"""Bytes of the process that builds: a record of a million requests ends it, and the page waits for the run's end."""
_SOON = 10
"""Seconds to the second building, at most: the first page could not know how long it takes."""
_PATIENCE = 10
"""Seconds that it has to end."""


class LivePages:
    """Keeps the pages of jobs fresh while it is entered. They are there, placeholders and all, once it is.

    :param records: as their pages show them
    :param ledgers: of the records, in that order
    """

    def __init__(self, records: Sequence[Record], ledgers: Sequence[Ledger], *, target: Target) -> None:
        self.records: tuple[Record, ...] = tuple(records)
        self.built: list[Path] = []
        self.refusals: list[tuple[Record, SeedreamError]] = []
        self.problems: list[str] = []
        self._ledgers, self._target = tuple(ledgers), target
        self._kept: list[Record] = []  # whose pages are there
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._timer: threading.Timer | None = None
        self._every = EVERY
        self._closed = False

    def __enter__(self) -> LivePages:
        begun = time.process_time()
        for record, ledger in zip(self.records, self._ledgers, strict=True):
            try:
                self.built += build_gallery([(record, ledger)], live=_live(record, EVERY, self._target))
                self._kept.append(record)
            except SeedreamError as error:
                self.refusals.append((record, error))
        self._every = _wait_after(time.process_time() - begun)
        # A run that ends before its page would be built again needs no process for that.
        self._timer = threading.Timer(min(self._every, _SOON), self._start)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            process = self._process
        assert self._timer is not None
        self._timer.cancel()
        if process is not None:
            self.problems += _ended(process)
        for record in self._kept:
            # An open page is told, also of a run that ended in no good way. Building it anew takes longer.
            with suppress(OSError, SeedreamError):
                end_live(record.page)

    def _start(self) -> None:
        jobs = [[str(record.job.file if record.job else record.paths.manifest), record.shown] for record in self._kept]
        told = {"jobs": jobs, "origin": self._target.origin, "emulator": self._target.emulator, "every": self._every}
        with self._lock:
            if self._closed or not self._kept:
                return
            try:
                self._process = start_helper(__name__, serve_pages.__name__)
                assert self._process.stdin is not None
                self._process.stdin.write(json.dumps(told).encode() + b"\n")
                self._process.stdin.flush()
            except OSError as error:
                self.problems.append(f"the page is not kept fresh: {error.strerror or error}")


def _live(record: Record, every: float, target: Target) -> Live:
    option = " --emulator" if target.emulator else ""
    look = f"seedream-jobs status {shell_word(record.shown)}{option}"
    return Live(every=round(every, 1), at=int(time.time()), look=look)


def _wait_after(took: float) -> float:
    return max(EVERY, SHARE * took)


def _ended(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """End the process, and say what kept a page from being fresh."""
    early = process.poll() is not None
    process.terminate()
    try:
        said, _ = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
    if said:
        yield from json.loads(said)
    elif early:
        yield "the page was not fresh all the time: the process that builds it ended early"


# The process ----------------------------------------------------------------------------------------------------------


def serve_pages(memory: int = MEMORY) -> None:
    """The program of the process that builds pages: it ends when it is terminated, or with its stdin.

    Before it ends it writes a JSON list to stdout: for each page that could not be built, why.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    if confinement.POSSIBLE:
        os.nice(10)  # the run comes first
        confinement.lower(resource.RLIMIT_DATA, memory)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    problems: dict[str, str] = {}
    try:
        told = json.loads(sys.stdin.buffer.readline())
        threading.Thread(target=_end_with_parent, daemon=True).start()
        target = Target(origin=told["origin"], emulator=told["emulator"])
        records: dict[str, Record] = {}
        every = told["every"]
        while True:
            begun = time.process_time()
            for named, shown in told["jobs"]:
                try:
                    records[named] = _build(Path(named), shown, records.get(named), every, target)
                    problems.pop(named, None)
                except Exception as error:  # whatever it is costs this page only
                    problems[named] = f"{shown}: its page was not fresh at the end of the run: {_words(error)}"
            every = _wait_after(time.process_time() - begun)
            time.sleep(every)
    finally:
        with suppress(BrokenPipeError):
            answers.write(json.dumps(list(problems.values())))
            answers.close()


def _build(named: Path, shown: str, record: Record | None, every: float, target: Target) -> Record:
    """Build a page as ``seedream-jobs gallery`` does. The job is read once: the page shows the requests of this run."""
    known = record or find_record(named, target=target)
    ledger = Ledger.peek(known.paths, root=known.root)
    record = record or as_last_run(known, last_sets(ledger.plans.values()), target=target)
    build_gallery([(record, ledger)], live=_live(replace(record, shown=shown), every, target))
    return record


def _words(error: Exception) -> str:
    if isinstance(error, FindingsError):
        first = error.diagnostics[0]
        return f"{first.place} {first.message}"
    return error.message if isinstance(error, SeedreamError) else f"{type(error).__name__}: {error}"


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
