"""``seedream-jobs collect``: what several machines fetched comes into one record."""

from __future__ import annotations

import time
from pathlib import Path

import click

from seedream_jobs import confinement
from seedream_jobs.cli.options import limit_options
from seedream_jobs.cli.output import show_findings
from seedream_jobs.cli.service_options import rehearsal_option, target
from seedream_jobs.cli.streams import say
from seedream_jobs.diagnostics import plural
from seedream_jobs.errors import ExitCode, UsageError
from seedream_jobs.ledger import shards
from seedream_jobs.records import find_record, lock_ledger


@click.command()
@click.argument("job", type=click.Path(path_type=Path), metavar="JOB")
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RECORD…")
@rehearsal_option
@limit_options
def collect(job: Path, records: tuple[Path, ...], emulator: bool) -> int:
    """Merge the records of shards (fetch --shard) into the manifest.

    RECORD is a file K-of-N.jsonl, or a folder of them. Any number of times, in any order: what is known already is
    left as it is. Exit code 8 if a shard's record is missing or ends early; 1, and nothing is merged, if one is
    damaged, another job's, or says what no fetch does.

    \b
    Examples:
      seedream-jobs collect garden.yaml records
    """
    files = [file for named in records for file in _files(named)]
    record = find_record(job, target=target(emulator=emulator, base_url=None))
    # No origin: nothing is asked, and a manifest keeps the service that it was written against.
    with lock_ledger(record, origin=None, command="collect", now=int(time.time())) as ledger:
        confinement.allow_images(len(ledger.entries), 0)
        option = " --emulator" if emulator else ""
        collected = shards.collect(ledger, files, job=record.shown, option=option)
    changed = ", ".join(f"{count:,} {state}" for state, count in sorted(collected.states.items()))
    say(f"{record.shown}: {plural(collected.records, 'record')} collected, {changed or 'nothing new'}")
    show_findings(collected.missing, err=True)
    return ExitCode.UNFINISHED if collected.missing else ExitCode.OK


def _files(named: Path) -> list[Path]:
    if not named.is_dir():
        return [named]
    found = sorted(named.glob("*-of-*.jsonl"))
    if not found:
        raise UsageError(f"{named} has no record of a shard", hint="fetch --shard K/N writes K-of-N.jsonl")
    return found
