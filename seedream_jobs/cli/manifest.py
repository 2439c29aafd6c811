"""``seedream-jobs manifest``: in how many files a record lies."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from seedream_jobs.cli.service_options import rehearsal_option, target
from seedream_jobs.cli.streams import say
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.parts import LARGE_PART, PARTS, parts_folder
from seedream_jobs.records import find_record, lock_ledger

_JOB = click.argument("job", type=click.Path(path_type=Path), metavar="JOB")


@click.group()
def manifest() -> None:
    """Split a job's record into several files, or join them.

    \b
    Examples:
      seedream-jobs manifest split garden.yaml
      seedream-jobs manifest join garden.yaml
    """


# The group's help would break off the first line.
@manifest.command(short_help="Write the record in 16 files, or in 256.")
@_JOB
@rehearsal_option
def split(job: Path, emulator: bool) -> None:
    """Write the record in 16 files by the key's first hex digit, or in 256 where those would be too large.

    A forge refuses files of about 100 MB, which is 120,000 requests. The same lines, merged by the same rule; every
    command reads both forms. Needs no key and no network.

    \b
    Examples:
      seedream-jobs manifest split garden.yaml
    """
    with _locked(job, emulator, "manifest split") as ledger:
        size, parts = _size(ledger), max(ledger.parts, PARTS[0])
        _reshape(ledger, job, PARTS[1] if size > PARTS[0] * LARGE_PART else parts)


@manifest.command()
@_JOB
@rehearsal_option
def join(job: Path, emulator: bool) -> None:
    """Write the record in one file again.

    \b
    Examples:
      seedream-jobs manifest join garden.yaml
    """
    with _locked(job, emulator, "manifest join") as ledger:
        _reshape(ledger, job, 0)


def _locked(job: Path, emulator: bool, command: str) -> Ledger:
    record = find_record(job, target=target(emulator=emulator, base_url=None))
    return lock_ledger(record, origin=None, command=command, now=int(time.time()))


def _size(ledger: Ledger) -> int:
    real = ledger.paths.real
    return sum(one.stat().st_size for one in (real, *parts_folder(real).glob("*.jsonl")) if one.exists())


def _reshape(ledger: Ledger, job: Path, parts: int) -> None:
    changed = ledger.reshape(parts)
    lies = f"{parts} files in {parts_folder(ledger.paths.real).name}" if parts else "one file"
    said = "its record is written in" if changed else "its record is already in"
    say(f"{job}: {said} {lies} ({len(ledger.entries):,} requests)")
    if changed and ledger.paths.private is None:
        real = ledger.paths.real
        names = (shell_word(os.path.relpath(one)) for one in (real, parts_folder(real)))
        say(f"commit it: git add -A -- {' '.join(names)}", err=True)
