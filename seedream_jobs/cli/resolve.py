"""``seedream-jobs resolve``: a person settles what nobody else can know."""

from __future__ import annotations

import time
from pathlib import Path

import click

from seedream_jobs.cli.options import target, target_options
from seedream_jobs.cli.streams import goes_on_unheard


@click.command()
@click.argument("job", type=click.Path(path_type=Path), metavar="JOB")
@click.argument("addresses", nargs=-1, metavar="[ADDRESS…]")
@click.option("--all", "everything", is_flag=True, help="All that are in doubt.")
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
@click.option("--check", is_flag=True, help="Gather evidence: the balance, and each task id that was salvaged.")
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
    """
    from seedream_jobs.cli.importing import import_sidecars, import_task
    from seedream_jobs.cli.resolving import Decision, bring_in, check_evidence, close_run, listing, settle
    from seedream_jobs.errors import UsageError

    where = target(emulator=emulator, base_url=base_url)
    chosen = [bool(accepted), not_charged, abandon, imported, check, journal is not None]
    if sum(chosen) > 1:
        raise UsageError("--accepted, --not-charged, --abandon, --import, --journal and --check exclude each other")
    if journal is not None:
        return bring_in(job, journal, where=where, now=int(time.time()))
    if lost_run:
        if not (not_charged or abandon) or not reason.strip():
            raise UsageError(
                "--run says what became of all that a run may have paid, and why",
                hint="add --not-charged or --abandon, and --reason '…'",
            )
        if addresses or everything:
            raise UsageError("--run is about the run as a whole", hint="leave the addresses out")
        return close_run(job, abandon=abandon, reason=reason, where=where, now=int(time.time()))
    if imported:
        if not addresses:
            return import_sidecars(job, reason=reason, where=where, now=int(time.time()))
        if len(addresses) != 2:
            raise UsageError("--import takes a task id and an address, or nothing to read the sidecars")
        if not job.exists() and Path(addresses[1]).exists():  # the JOB was named last
            job, addresses = Path(addresses[1]), (str(job), addresses[0])
        return import_task(job, addresses[0], addresses[1], reason=reason, where=where, now=int(time.time()))
    if check:
        return check_evidence(job, where=where, base_url=base_url)
    if not any(chosen):
        if addresses or everything:
            raise UsageError("what became of it?", hint="--accepted TASK_ID, --not-charged or --abandon")
        return listing(job, where=where)
    if bool(addresses) == everything:
        raise UsageError("name addresses, or --all", hint=f"seedream-jobs resolve {job} lists them")
    if accepted and (everything or len(addresses) != 1):
        raise UsageError("--accepted settles one address: a task id belongs to one request")
    decision = Decision(
        resolution="accepted" if accepted else "not_charged" if not_charged else "abandoned",
        task_id=accepted,
        reason=reason,
    )
    return settle(job, None if everything else addresses, decision, where=where, now=int(time.time()))
