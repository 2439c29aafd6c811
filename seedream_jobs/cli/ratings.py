"""``seedream-jobs ratings``: what people said in the gallery becomes a file under version control."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from seedream_jobs import confinement
from seedream_jobs.cli.options import current_root, jobs_argument, limit_options
from seedream_jobs.cli.output import show_notes
from seedream_jobs.cli.streams import say
from seedream_jobs.errors import LedgerError, UsageError
from seedream_jobs.job.files import campaign_root
from seedream_jobs.plans.load import EMULATOR_ORIGIN, Target
from seedream_jobs.records import find_record
from seedream_jobs.results.ratings import LIMIT, REVIEWS, apply_ratings


@click.group()
def ratings() -> None:
    """Take ratings from the gallery into the campaign.

    \b
    Examples:
      seedream-jobs ratings apply ratings.json
    """


# The group's help would break off the first line.
@ratings.command(short_help="Merge exported ratings into reviews/<job>.yaml.")
@click.argument("exported", type=click.Path(path_type=Path), metavar="RATINGS.JSON")
@limit_options
@jobs_argument(required=False)
def apply(exported: Path, jobs: tuple[Path, ...]) -> None:
    """Merge exported ratings, stars, notes and votes into reviews/<job>.yaml.

    The folder lies in the campaign's root: of each JOB, or of the current folder. With JOBs, ratings of another job are
    refused. Applying the same export twice changes nothing.

    \b
    Examples:
      seedream-jobs ratings apply ratings.json
      seedream-jobs ratings apply ratings.json garden.yaml
    """
    data = read_exported(exported)
    root = current_root()
    if jobs:
        try:
            wanted = json.loads(data)["job"]
        except (ValueError, KeyError, TypeError, RecursionError):
            wanted = None  # apply_ratings says what is wrong with it
        found = {_name(job): campaign_root(job) for job in jobs}
        if isinstance(wanted, str) and wanted not in found:
            raise UsageError(
                f"{exported} rates {wanted!r}, not {', '.join(sorted(map(repr, found)))}",
                hint="name that job, or none",
            )
        root = found.get(wanted, root) if isinstance(wanted, str) else root
    with writing(root / REVIEWS):
        done = apply_ratings(data, root)
    say(str(done.file))
    show_notes(done.notes)


def read_exported(exported: Path) -> bytes:
    """The bytes of an export, one more than are allowed.

    :raises UsageError: it can't be read
    """
    confinement.mark("reading this file", str(exported))
    try:
        with exported.open("rb") as file:
            return file.read(LIMIT + 1)
    except OSError as error:
        raise UsageError(
            f"{exported}: {error.strerror or error}", hint="export ratings.json from the gallery"
        ) from None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what a disk says into a refusal."""
    try:
        yield
    except OSError as error:
        raise LedgerError(
            f"{error.filename or folder}: {error.strerror or error}", hint="then apply them again"
        ) from None


def _name(job: Path) -> str:
    return find_record(job, target=Target(origin=EMULATOR_ORIGIN, emulator=False)).name
