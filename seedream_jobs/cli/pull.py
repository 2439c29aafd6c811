"""``seedream-jobs pull``: images of a store come back to their names on disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from seedream_jobs import confinement
from seedream_jobs.cli.options import limit_options, rules
from seedream_jobs.cli.output import show_in_use
from seedream_jobs.cli.service_options import target
from seedream_jobs.cli.streams import say
from seedream_jobs.diagnostics import plural
from seedream_jobs.errors import ExitCode, LedgerError, SeedreamError, UsageError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.plans.load import Target
from seedream_jobs.plans.policy import POLICY_FILE, PolicyOf
from seedream_jobs.records import find_record, read_ledger
from seedream_jobs.results.engines import in_order
from seedream_jobs.results.export.rows import ExportRow, ExportRows
from seedream_jobs.results.image_store import ImageStore, bring_back, open_images

_AT_ONCE = 8
_NAMED = 20


@click.command()
@click.argument("job", type=click.Path(path_type=Path), metavar="JOB")
@click.option(
    "--select",
    metavar="EXPR",
    help="Only these: '{style: ink}', or a condition on the axes and opinions, such as 'rating >= 4'.",
)
@click.option("--chosen", is_flag=True, help="Only the images that were chosen.")
@limit_options
def pull(job: Path, select: str | None, chosen: bool) -> int:
    """Bring images back from the store of the policy's shared: images, to their names on disk.

    JOB may be a job file or only its manifest. Each image is checked by its sha256; what is there already is left as
    it is. Needs no key. Exit code 8 if some can't be brought, 1 if other files have their names.

    \b
    Examples:
      seedream-jobs pull garden.yaml
      seedream-jobs pull garden.yaml --chosen
    """
    service = target(emulator=False, base_url=None)
    record = find_record(job, target=service)
    ledger = read_ledger(record, command="pull")
    confinement.allow_images(len(ledger.entries), 0)
    show_in_use(record.shown, ledger)
    store = image_store(record.root, service, needed="pull")
    assert store is not None
    rows, counts = ExportRows.of(record, ledger.entries, select=select, chosen=chosen), Counter[str]()

    def bring(row: ExportRow) -> tuple[str, str]:
        try:
            return bring_back(store, row.image, row.own, str(row.values["key"])), ""
        except UsageError as error:
            return "blocked", error.message
        except LedgerError as error:  # the disk here
            return "unwritten", error.message
        except SeedreamError as error:
            return "missing", error.message

    apart = (row for row in rows if row.image.object is not None)
    for row, (became, why) in in_order(bring, apart, _AT_ONCE):
        counts[became] += 1
        if why and counts["blocked"] + counts["missing"] + counts["unwritten"] <= _NAMED:
            say(f"error: {row.name}: {why}", err=True)
    local = f", {plural(counts['there'], 'image')} there already" if counts["there"] else ""
    say(f"{record.shown}: {plural(counts['brought'], 'image')} brought from {store.objects.url}{local}")
    if counts["unwritten"]:
        say(f"  {counts['unwritten']} not written: seedream-jobs pull {shell_word(record.shown)} goes on", err=True)
    if counts["missing"]:
        again = f"pull {shell_word(record.shown)} goes on"
        if store.down is None:  # what can be reached does not have them
            again = f"fetch {shell_word(record.shown)} --verify puts them there again, while their links live"
        say(f"  {counts['missing']} not brought: seedream-jobs {again}", err=True)
    if counts["blocked"]:
        say(f"  {counts['blocked']} left: move what is in their place out of the way, then pull again", err=True)
    if counts["missing"] or counts["unwritten"]:
        return ExitCode.UNFINISHED
    return ExitCode.FINDINGS if counts["blocked"] else ExitCode.OK


def image_store(
    root: Path, service: Target, *, needed: str = "", policy_of: PolicyOf | None = None
) -> ImageStore | None:
    """The store of a campaign's images; a policy with findings is no reason to leave paid images to expire.

    :param needed: what does not work without one
    :param policy_of: where another policy counts than the one in the work tree
    :raises UsageError: it can't be opened from here
    """
    policy = None
    try:
        policy = (policy_of or rules(None, ()).policy_of)(root)
    except SeedreamError as error:
        say(f"warning: {POLICY_FILE}: {error.message}; a store of images that it names is not used", err=True)
    return open_images(policy, service, needed=needed)
