"""``seedream-jobs export``."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from seedream_jobs import confinement
from seedream_jobs.cli.options import executor_option, limit_options, rules
from seedream_jobs.cli.output import show_in_use
from seedream_jobs.cli.pull import image_store
from seedream_jobs.cli.service_options import rehearsal_option, target
from seedream_jobs.cli.streams import draw, quiet, say, talk
from seedream_jobs.diagnostics import plural
from seedream_jobs.errors import ExitCode, LedgerError, gravest
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.paths import check_output_name
from seedream_jobs.plans.cost import PLAY_MONEY
from seedream_jobs.records import Record, find_record, read_ledger
from seedream_jobs.results.engines import Engine, parse_engine
from seedream_jobs.results.export import ExportRows
from seedream_jobs.results.export import export as write
from seedream_jobs.results.export.rows import Apart
from seedream_jobs.results.selections import find_unchosen

FORMATS = ("csv", "jsonl", "imagefolder", "webdataset", "parquet")
LINE_EVERY = 30.0
"""Seconds between two lines of progress where nobody watches."""


class Size(click.ParamType[int]):
    """Bytes, such as ``500MB``, ``1GB`` or ``64MiB``."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?)(i?)b?", str(value).strip().lower())
        if found is None or (size := _bytes(*found.groups())) < 1:
            self.fail(f"{value!r} is not a size, such as 500MB or 1GB", param, ctx)
        return size


class License(click.ParamType[str]):
    """A license as the hub names it, such as ``cc-by-4.0``: it stands in YAML as it is."""

    name = "ID"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if re.fullmatch(r"[a-z][a-z0-9.-]{0,60}", str(value)) is None:
            self.fail(f"{value!r} is not a license's id, such as cc-by-4.0, mit or other", param, ctx)
        return str(value)


def _bytes(number: str, prefix: str, binary: str) -> int:
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix or " "))


@click.command()
@click.argument("job", type=click.Path(path_type=Path), metavar="JOB")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="What to write.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The file, or the folder of imagefolder and webdataset.  [default: csv and jsonl go to stdout]",
)
@click.option(
    "--select",
    metavar="EXPR",
    help="Only these: '{style: ink}', or a condition on the axes and opinions, such as 'rating >= 4'.",
)
@click.option(
    "--chosen", is_flag=True, help="Only the images that were chosen; exit code 9 where some are to be chosen."
)
@click.option(
    "--shard-size",
    type=Size(),
    default="1GB",
    metavar="SIZE",
    help="With webdataset: the largest tar.  [default: 1GB]",
)
@click.option(
    "--license",
    "license_id",
    type=License(),
    default="unknown",
    metavar="ID",
    help="With imagefolder: the license that its dataset card names, such as cc-by-4.0.  [default: unknown]",
)
@click.option("--with-images", is_flag=True, help="With parquet: the images themselves, too.")
@executor_option("Read, check and link the images by")
@click.option("--json", "as_json", is_flag=True, help="Progress as JSON Lines on stderr.")
@rehearsal_option
@limit_options
def export(
    job: Path,
    form: str,
    output: Path | None,
    select: str | None,
    chosen: bool,
    shard_size: int,
    license_id: str,
    with_images: bool,
    executor: str | None,
    as_json: bool,
    emulator: bool,
) -> int:
    """Write a job's images as a table or a data set, one row per image.

    JOB may be a job file or only its manifest. Running it again into the same place continues or renews it. Needs no
    key, and no network but for images that are only in the store of the policy's shared: images. Exit code 8 if images
    on record are neither on disk nor in the store as they were stored: these are left out. Stars,
    ratings and notes come from reviews/<job>.yaml, choices from selections/<job>.yaml.

    \b
    Examples:
      seedream-jobs export garden.yaml --format csv
      seedream-jobs export garden.yaml --format parquet -o garden.parquet
      seedream-jobs export garden.yaml --format imagefolder --chosen -o chosen
    """
    # Only what was given counts: the default of --shard-size is no mistake with another format.
    given = click.get_current_context().get_parameter_source
    if with_images and form != "parquet":
        raise click.UsageError(f"--with-images needs --format parquet, not {form}")
    if form != "webdataset" and given("shard_size") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError(f"--shard-size needs --format webdataset, not {form}")
    if form != "imagefolder" and given("license_id") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError(f"--license needs --format imagefolder, not {form}")
    if output is not None:
        check_output_name(output)
    service = target(emulator=emulator, base_url=None)
    record = find_record(job, target=service)
    ledger = read_ledger(record, command="export")
    # For the rows; for the bytes each file raises the limit as it is read.
    confinement.allow_images(len(ledger.entries), 0)
    show_in_use(record.shown, ledger)
    progress = _Progress(as_json=as_json)
    # A table that names the images does without their bytes.
    apart = (
        None
        if form in ("csv", "jsonl") or (form == "parquet" and not with_images)
        else Apart(lambda: image_store(record.root, service), record.root)
    )
    rows = ExportRows.of(record, ledger.entries, select=select, chosen=chosen, apart=apart, on_progress=progress)
    try:
        with apart or nullcontext(), Engine(parse_engine(executor or "local")) as engine, engine.campaign(record) as at:
            rows.engine, rows.campaign = engine, at
            write(
                rows,
                form,
                None if output is None or str(output) == "-" else output,
                stdout=sys.stdout.buffer,
                shard_bytes=shard_size,
                with_images=with_images,
                license_id=license_id,
            )
    except BrokenPipeError:  # nobody reads on, which is no failure of the disk
        raise
    except OSError as error:
        progress.end()
        place = error.filename or output
        raise LedgerError(f"{place}: {error.strerror or error}", hint="then run the same command again") from None
    progress.end()
    unchosen = _unchosen(record, ledger.entries) if chosen else 0
    code = _show_json(rows, unchosen) if as_json else _show(rows, record.shown, form, output, emulator=emulator)
    if unchosen and not as_json:
        option = " --emulator" if emulator else ""
        say(f"error: {plural(unchosen, 'group')} without its chosen image", err=True)
        say(f"  seedream-jobs status {shell_word(record.shown)}{option} --offline --require-chosen", err=True)
    return gravest([ExitCode(code), ExitCode.NOT_CHOSEN if unchosen else ExitCode.OK])


def _unchosen(record: Record, entries: Entries) -> int:
    """How many groups of the job's ``select:`` lack their chosen image."""
    if record.job is None:
        return 0
    return len(find_unchosen(record.job, entries, rules(None, ()).policy_of(record.root)))


class _Progress:
    """Progress on stderr: JSON Lines, a line that is written over on a terminal, or a line now and then."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.live = sys.stderr.isatty() and not as_json and not quiet()
        self.every = 0.2 if self.live or as_json else LINE_EVERY
        self.last = time.monotonic()

    def __call__(self, images: int) -> None:
        now = time.monotonic()
        if now - self.last < self.every:
            return
        self.last = now
        if self.as_json:
            say(f'{{"event": "exporting", "images": {images}}}', err=True)
        elif self.live:
            draw(f"{images:,} images")
        else:
            talk(f"{images:,} images so far")

    def end(self) -> None:
        """Wipe the line that was written over."""
        if self.live:
            draw("")


def _show_json(rows: ExportRows, unchosen: int) -> int:
    facts = {
        "charged_usd": f"{rows.shared_usd:f}",
        "event": "exported",
        "images": rows.images,
        "left_out_usd": f"{rows.left_out_usd:f}",
        "missing": rows.missing,
        **({"to_choose": unchosen} if unchosen else {}),
        "without_image": rows.without_image,
    }
    say(json.dumps(facts), err=True)
    return ExitCode.UNFINISHED if rows.missing else ExitCode.OK


def _show(rows: ExportRows, shown: str, form: str, output: Path | None, *, emulator: bool) -> int:
    where = "" if output is None else f" in {output}"
    say(f"{shown}: {plural(rows.images, 'image')} as {form}{where}", err=True)
    option = " --emulator" if emulator else ""
    if rows.without_image:
        say(f"  {plural(rows.without_image, 'request')} without a stored image left out", err=True)
    if rows.left_out_usd:
        charged = rows.shared_usd + rows.left_out_usd
        play = PLAY_MONEY if emulator else ""
        say(f"  {rows.left_out_usd:.4f} of {charged:.4f} USD{play} charged were for what has no row", err=True)
    if not rows.missing:
        return ExitCode.OK
    say(f"error: {plural(rows.missing, 'image')} left out: on record, but not on disk as stored", err=True)
    for name, why in rows.named:
        say(f"    {name}  {why}", err=True)
    say(f"  seedream-jobs fetch {shell_word(shown)} --verify{option}", err=True)
    return ExitCode.UNFINISHED
