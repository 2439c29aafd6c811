"""``fetch`` and ``status`` over records: poll what is open, download what is done, build the page anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedream_jobs import records
from seedream_jobs.atomic_file import in_the_way
from seedream_jobs.cli.output import show_notes
from seedream_jobs.cli.result import Ending
from seedream_jobs.cli.streams import progress_mode
from seedream_jobs.errors import ExitCode, LedgerError
from seedream_jobs.ledger.state import Entry, State
from seedream_jobs.pipeline import carry_out, image_steps, open_access
from seedream_jobs.records import open_tasks
from seedream_jobs.report.progress import ProgressDisplay
from seedream_jobs.results.thumbnails import Decoders
from seedream_jobs.run.images import find_damaged, time_left
from seedream_jobs.run.job_run import JobRun, RunOptions, outputs
from seedream_jobs.run.poll import LATE

if TYPE_CHECKING:
    from seedream_jobs.ledger.ledger import Ledger
    from seedream_jobs.plan.load import Target
    from seedream_jobs.records import Record


def fetch_jobs(
    jobs: Sequence[Path],
    *,
    where: Target,
    base_url: str | None,
    options: RunOptions,
    as_json: bool,
    verify: bool,
    expiring: float | None,
    embed_metadata: bool,
    gallery: bool,
    now: Callable[[], float],
    stack: ExitStack,
) -> ExitCode:
    """Carry out ``fetch`` for several jobs at once."""
    with stack:
        found, never_run = records.find_started(jobs, target=where, command="fetch")
        show_notes(never_run)
        access = open_access(where, found[0].root, stack, base_url=base_url)
        held = [_hold(one, where, "fetch", int(now()), stack) for one in found]
        decoders = stack.enter_context(Decoders())
        work = [
            replace(
                _polling(one, ledger),
                steps=image_steps(one, decoders, embed_metadata=embed_metadata),
                repairs=tuple(find_damaged(_with_images(ledger), one.paths.manifest.parent, root=one.root))
                if verify
                else (),
                wanted=_within(expiring, one, now),
                output_of=_output_of(one, ledger),
            )
            for one, ledger in zip(found, held, strict=True)
        ]
        done = carry_out(
            work,
            access=access,
            target=where,
            options=options,
            progress=ProgressDisplay(progress_mode(as_json), total=0, usd=None, running=sum(map(open_tasks, held))),
        )
        parts = [(one.shown, ledger, one.paths) for one, ledger in zip(found, held, strict=True)]
        ending = Ending.of(parts, done, where.emulator)
        if gallery:
            for one, ledger in zip(found, held, strict=True):
                ending.add_page(partial(build_page, one, ledger))
    return ending.tell()


def _hold(one: Record, where: Target, command: str, now: int, stack: ExitStack) -> Ledger:
    return stack.enter_context(records.lock_ledger(one, origin=where.origin, command=command, now=now))


def _polling(one: Record, ledger: Ledger) -> JobRun:
    """Asking for the open tasks of a job."""
    return JobRun(
        ledger=ledger,
        submissions=iter(()),
        profile=one.profile,
        poll=True,
        root=one.root,
    )


def _output_of(one: Record, ledger: Ledger) -> Callable[[Entry], str]:
    """Where images go that are not stored yet: as the job file says today, where it is at hand."""
    return (lambda entry: entry.output) if one.job is None else outputs(one.job.expansion, ledger.entries)


def _with_images(ledger: Ledger) -> Iterator[Entry]:
    for key in ledger.entries.keys_in(State.STORED, State.COMPLETED):
        yield ledger.entries[key]


def _within(seconds: float | None, one: Record, now: Callable[[], float]) -> Callable[[Entry], bool]:
    """Whether an entry's links die within so many seconds; a task whose links are unknown may be among them."""

    def wanted(entry: Entry) -> bool:
        if seconds is None:
            return True
        left = time_left(entry, now(), one.profile)
        return left is None or left <= seconds

    return wanted


def build_page(
    one: Record,
    ledger: Ledger,
    *,
    page: Path | None = None,
    single_file: bool = False,
    contact_sheet: Path | None = None,
) -> Path:
    """Write a job's gallery from its record, with its job file where that is at hand; its ``index.html``.

    :param page: the page's folder; beside the images by default
    :param contact_sheet: also write this image
    """
    from seedream_jobs.ledger.paths import STATE_FOLDER
    from seedream_jobs.results.gallery.cells import collect
    from seedream_jobs.results.gallery.page import write_gallery

    folder = page or one.page
    try:
        folder.mkdir(parents=True, exist_ok=True)
        run = collect(
            ledger,
            expansion=one.job.expansion if one.job else None,
            name=one.name,
            page=folder.resolve(),
            folder=one.paths.manifest.parent,
            cache=one.root / STATE_FOLDER / "thumbnails",
        )
        if contact_sheet is not None:
            from seedream_jobs.results.gallery.contact_sheet import contact_sheet as draw

            draw(run.cells, folder.resolve(), contact_sheet)
        return write_gallery(folder, [run], single_file=single_file)
    except OSError as error:
        if (refused := in_the_way(folder)) is not None:
            raise refused from None
        raise LedgerError(
            f"{folder} can't be written: {error.strerror or error}",
            hint="make room, or name another place, then: gallery",
        ) from None


def poll_once(
    jobs: Sequence[Path], *, where: Target, base_url: str | None, options: RunOptions, now: float
) -> list[tuple[Record, Ledger, ExitCode]]:
    """Ask for the open tasks of several jobs; their records as they are then (read only).

    A job that a run works on is not asked for: the run does, and records it. Only to wait for it (``options.deadline``)
    is refused.
    """
    found, never_run = records.find_started(jobs, target=where, command="status")
    show_notes(never_run)
    seen = [(one, records.read_ledger(one, command="status")) for one in found]
    asked = [one for one, ledger in seen if open_tasks(ledger) and (options.deadline or ledger.held_by is None)]
    if not asked:
        return [(one, ledger, ExitCode.OK) for one, ledger in seen]
    with ExitStack() as stack:
        access = open_access(where, found[0].root, stack, base_url=base_url)
        held = [_hold(one, where, "status", int(now), stack) for one in asked]

        done = carry_out(
            [_polling(one, ledger) for one, ledger in zip(asked, held, strict=True)],
            access=access,
            target=where,
            options=options,
            progress=ProgressDisplay("quiet", total=0, usd=None),
        )
    for one, what in zip(asked, done, strict=True):
        polled = what.polled
        if polled is not None and polled.reason and not polled.reason.startswith(LATE):  # one look is no deadline
            click.echo(f"error: {one.shown}: {polled.reason}", err=True)
    codes = {one.shown: what.exit_code for one, what in zip(asked, done, strict=True)}
    return [(one, records.read_ledger(one, command="status"), codes.get(one.shown, ExitCode.OK)) for one in found]
