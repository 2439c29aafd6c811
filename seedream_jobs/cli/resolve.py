"""``seedream-jobs resolve``: a person settles what nobody else can know."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click

from seedream_jobs import resolution
from seedream_jobs.cli.options import rules
from seedream_jobs.cli.output import show_in_use
from seedream_jobs.cli.service_options import target, target_options
from seedream_jobs.cli.streams import goes_on_unheard, say
from seedream_jobs.errors import ExitCode, SeedreamError, UsageError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.ledger.codec import iso
from seedream_jobs.ledger.service_errors import in_words
from seedream_jobs.ledger.state import Entry, State
from seedream_jobs.plans.cost import money
from seedream_jobs.plans.load import Target
from seedream_jobs.records import Record, find_record, read_ledger
from seedream_jobs.resolution import Decision, in_doubt, reserved
from seedream_jobs.run.access import open_access
from seedream_jobs.sharing import open_claims


@click.command()
@click.argument("job", type=click.Path(path_type=Path), metavar="JOB")
@click.argument("addresses", nargs=-1, metavar="[ADDRESS…]")
@click.option("--all", "everything", is_flag=True, help="Every request that is in doubt.")
@click.option("--accepted", metavar="TASK_ID", help="It was accepted, with this task id (from the service's console).")
@click.option("--not-charged", is_flag=True, help="It was not charged: the next run submits it.")
@click.option("--abandon", is_flag=True, help="Leave it: counted as charged, never submitted again by itself.")
@click.option(
    "--import",
    "imported",
    is_flag=True,
    help="With TASK_ID ADDRESS: that task, made by hand, belongs to ADDRESS. Alone: take what is on no record from the "
    "sidecars beside the images.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Merge the journal of an interrupted run, such as another machine's, into the record.",
)
@click.option(
    "--run",
    "lost_run",
    is_flag=True,
    help="With --not-charged or --abandon: all that a run may have paid whose journal is lost.",
)
@click.option("--check", is_flag=True, help="Ask the service about them: the balance, and each task whose id is known.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the record.")
@target_options
@goes_on_unheard
def resolve(
    job: Path,
    addresses: tuple[str, ...],
    everything: bool,
    accepted: str | None,
    not_charged: bool,
    abandon: bool,
    imported: bool,
    journal: Path | None,
    lost_run: bool,
    check: bool,
    reason: str,
    emulator: bool,
    base_url: str | None,
) -> int:
    """Settle submissions whose outcome nobody knows.

    Without an option: lists them, with time, request id and cost. Look each of them up in the service's console by
    its time or request id, then say what you found. Exit code 6 while any is left.

    An expired request whose task lives after all is asked for again by --accepted TASK_ID.

    Where the manifest says that a run is open and its journal is not here: bring that in with --journal. Where it is
    lost, --import what the console shows as paid, then close the run with --run and --not-charged or --abandon.

    \b
    Examples:
      seedream-jobs resolve garden.yaml
      seedream-jobs resolve garden.yaml ADDRESS --not-charged --reason 'not in the console'
      seedream-jobs resolve garden.yaml --all --abandon --reason 'the console is gone'
    """
    service, now = target(emulator=emulator, base_url=base_url), int(time.time())
    # --run is not among them: it goes with --not-charged or --abandon.
    chosen = [bool(accepted), not_charged, abandon, imported, check, journal is not None]
    if sum(chosen) > 1:
        raise UsageError("--accepted, --not-charged, --abandon, --import, --journal and --check exclude each other")
    if imported and addresses:
        if len(addresses) != 2:
            raise UsageError("--import takes a task id and an address, or nothing to read the sidecars")
        if not job.exists() and Path(addresses[1]).exists():  # the JOB was named last
            job, addresses = Path(addresses[1]), (str(job), addresses[0])
    if lost_run and journal is None:
        if not (not_charged or abandon) or not reason.strip():
            raise UsageError(
                "--run says what became of everything that a run may have paid, and why",
                hint="add --not-charged or --abandon, and --reason '…'",
            )
        if addresses or everything:
            raise UsageError("--run is about the run as a whole", hint="leave the addresses out")
    elif not any(chosen) and (addresses or everything):
        raise UsageError("what became of it?", hint="--accepted TASK_ID, --not-charged or --abandon")
    elif accepted or not_charged or abandon:
        if bool(addresses) == everything:
            raise UsageError("name addresses, or --all", hint=f"seedream-jobs resolve {shell_word(job)} lists them")
        if accepted and (everything or len(addresses) != 1):
            raise UsageError("--accepted settles one address: a task id belongs to one request")
    record = find_record(job, target=service, required=journal is None)
    option = " --emulator" if emulator else ""
    if journal is not None:
        new, doubtful = resolution.merge_journal(record, journal, target=service, now=now)
        say(f"{job}: the journal is merged, {new} requests are new on record, {doubtful} are in doubt.")
        say(f"  seedream-jobs {'resolve' if doubtful else 'fetch'} {shell_word(job)}{option}", err=True)
        return ExitCode.IN_DOUBT if doubtful else ExitCode.OK
    if lost_run:
        abandoned = resolution.close_lost_runs(record, abandon=abandon, reason=reason, now=now)
        if abandon:
            say(f"{job}: the run is closed; {abandoned} requests are abandoned and count as charged")
        else:
            say(f"{job}: the run is closed; the next one submits what is not on record")
        return ExitCode.OK
    if imported and addresses:
        task_id, address = addresses
        resolution.import_task(record, task_id, address, reason=reason, target=service, now=now)
        say(f"{address}: accepted as {task_id}")
        say(f"  seedream-jobs fetch {shell_word(job)}{option}", err=True)
        return ExitCode.OK
    if imported:
        stored, found = resolution.import_sidecars(record, reason=reason, target=service, now=now)
        say(f"{stored} taken from sidecars with their images, {found} to be fetched")
        say(f"  seedream-jobs status {shell_word(job)}{option}", err=True)
        return ExitCode.OK
    if check:
        return _check(record, service, base_url)
    if not any(chosen):
        return _list(record, option)
    decision = Decision(
        resolution="accepted" if accepted else "not_charged" if not_charged else "abandoned",
        task_id=accepted,
        reason=reason,
    )
    store = open_claims(rules(None, ()).policy_of(record.root), record.root, service)
    settled, left = resolution.settle(record, None if everything else addresses, decision, now=now, store=store)
    outcome = {"accepted": "accepted", "not_charged": "not charged: the next run submits it", "abandoned": "abandoned"}
    for entry in settled:
        say(f"{entry.address}: {outcome[decision.resolution]}")
    if accepted:
        say(f"  seedream-jobs fetch {shell_word(job)}{option}", err=True)
    if left:
        say(f"{left} still in doubt.", err=True)
    return ExitCode.IN_DOUBT if left else ExitCode.OK


def _list(record: Record, option: str) -> ExitCode:
    job, ledger = record.shown, read_ledger(record, command="resolve")
    show_in_use(job, ledger)
    doubtful, expired = in_doubt(ledger), resolution.entries_in(ledger, State.EXPIRED)
    if expired:
        say(f"{job}: {len(expired)} expired. One whose task the service knows after all is asked for again with")
        say(f"  seedream-jobs resolve {shell_word(job)}{option} ADDRESS --accepted TASK_ID --reason '…'")
        for entry in expired:
            say(f"  {entry.address}  {', '.join(entry.task_ids) or 'no task id'}")
    lost = [note for note in ledger.notes if note.code in ("run-open", "journal-elsewhere")]
    for note in lost:
        say(f"{job}: {note.message}.")
        say(f"  {note.hint}", err=True)
    elsewhere = resolution.in_doubt_elsewhere(ledger)
    if elsewhere:
        say(f"{job}: {len(elsewhere)} in doubt elsewhere. Each may be under way there, or its runner is gone.")
        for entry in elsewhere:
            if entry.held_by is not None:
                say(f"  {entry.address}  claimed by {entry.held_by.name}, {iso(entry.held_by.since)}")
        say("If that runner is gone, look them up in the service's console, then name each:", err=True)
        say(f"  seedream-jobs resolve {shell_word(job)}{option} ADDRESS --not-charged --reason '…'", err=True)
    if not doubtful:
        if not lost and not elsewhere:
            say(f"{job}: nothing is in doubt.")
        return ExitCode.IN_DOUBT if lost or elsewhere else ExitCode.OK
    say(
        f"{job}: {len(doubtful)} in doubt, counted with {money(reserved(doubtful))}. "
        "Each counts as paid until it is settled, and is never sent again."
    )
    for entry in doubtful:
        for line in _describe(entry):
            say(f"  {line}")
    say("Look them up in the service's console by time or request id, then:", err=True)
    say(f"  seedream-jobs resolve {shell_word(job)}{option} ADDRESS --accepted TASK_ID --reason '…'", err=True)
    say(
        f"  seedream-jobs resolve {shell_word(job)}{option} ADDRESS --not-charged --reason '…'     sends it again",
        err=True,
    )
    say(f"  seedream-jobs resolve {shell_word(job)}{option} ADDRESS --abandon --reason '…'         leaves it", err=True)
    return ExitCode.IN_DOUBT


def _describe(entry: Entry) -> Iterator[str]:
    yield entry.address
    yield f"    {entry.doubt or 'open'} since {since(entry)}, at most {money(entry.max_cost_usd)}"
    if entry.request_id:
        yield f"    request id {entry.request_id}"
    if entry.task_id:
        ids = ", ".join(entry.task_ids)
        yield f"    task id {ids}, found in a broken reply and not confirmed"


def since(entry: Entry) -> str:
    """When it came to be in doubt, UTC."""
    at = entry.since if entry.since is not None else entry.submitted_at
    if at is None:
        return "unknown time"
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _check(record: Record, service: Target, base_url: str | None) -> ExitCode:
    """Print what the service knows about what is in doubt: the balance, and the tasks whose ids were found."""
    import anyio  # these two take long to import, and only --check needs them

    from seedream_jobs.api.client import connect

    doubtful = in_doubt(read_ledger(record, command="resolve"))
    with ExitStack() as stack:
        access = open_access(service, record.root, stack, base_url=base_url)

        async def ask() -> None:
            async with connect(access, workers=1, environment=os.environ) as (client, _):
                try:
                    balance = await client.balance()
                    left = "unlimited" if balance.unlimited else money(balance.remaining_usd)
                    say(f"balance: {left}, used {money(balance.used_usd)}")
                except SeedreamError as error:
                    say(f"balance: {error.message}")
                for entry in doubtful:
                    say(entry.address)
                    if entry.task_id is None:
                        say("  no task id is known: look it up in the console by its time or request id")
                        continue
                    reports = []
                    for task_id in entry.task_ids:  # a group may have a task for each image
                        reports.append(report := await client.task(task_id))
                        problem = in_words(report.problem) if report.problem else ""
                        say(f"  task {task_id}: {report.status} {problem}".rstrip())
                    if all(report.status in ("running", "completed", "failed") for report in reports):
                        say(f"  so it was accepted: --accepted {entry.task_id}")

        anyio.run(ask)
    say(f"{len(doubtful)} in doubt, counted with {money(reserved(doubtful))}")
    return ExitCode.IN_DOUBT if doubtful else ExitCode.OK
