"""How a command that did something ends: what became of it, where things are, the next step, the exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedream_jobs.errors import ExitCode, SeedreamError, gravest
from seedream_jobs.ledger.state import Event, State
from seedream_jobs.report.status import Bill, bill_of, shared_tasks

if TYPE_CHECKING:
    from seedream_jobs.ledger.ledger import Ledger
    from seedream_jobs.ledger.paths import LedgerPaths
    from seedream_jobs.run.job_run import JobResult

_AT_ONCE = (ExitCode.LEDGER, ExitCode.SIGINT, ExitCode.SIGTERM, ExitCode.SIGHUP)
MAX_NAMED = 5
"""How many addresses of one kind are named before the rest is counted."""
MAX_SORTED = 1000
"""How many are put in order for that: of 100,000 failures, five need not be the first by name."""


@dataclass(slots=True, kw_only=True)
class Ending:
    """What is told at the end.

    :param parts: (job as named, ledger, its files, what was done) for each job
    :param asked: of each job, how many requests were to be submitted
    """

    parts: list[tuple[str, Ledger, LedgerPaths, JobResult]]
    emulator: bool
    asked: tuple[int, ...]
    pages: list[Path] = field(default_factory=list)
    refusals: list[SeedreamError] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        jobs: Sequence[tuple[str, Ledger, LedgerPaths]],
        done: Sequence[JobResult],
        emulator: bool,
        asked: Sequence[int] = (),
    ) -> Ending:
        """The ending of several jobs, in one order."""
        parts = [(*job, what) for job, what in zip(jobs, done, strict=True)]
        return cls(parts=parts, emulator=emulator, asked=tuple(asked) or (0,) * len(parts))

    def add_page(self, build: Callable[[], Path]) -> None:
        """Build a page; that it fails is told with the rest. Not after an interruption, and not on a failing disk."""
        if any(done.exit_code in _AT_ONCE for *_, done in self.parts):
            return
        try:
            self.pages.append(build())
        except SeedreamError as error:
            self.refusals.append(error)

    def tell(self) -> ExitCode:
        """Print it; the exit code of the process."""
        for (name, ledger, paths, done), asked in zip(self.parts, self.asked, strict=True):
            self._job(name, ledger, paths, done, asked)
        for page in self.pages:
            click.echo(f"  gallery   {_near(page)}")
        for refusal in self.refusals:
            _refused(refusal.message, refusal.hint)
        codes = [code for _, ledger, _, done in self.parts for code in (done.exit_code, _doubts(ledger))]
        return gravest([*codes, *(refusal.exit_code for refusal in self.refusals)])

    def _job(self, name: str, ledger: Ledger, paths: LedgerPaths, done: JobResult, asked: int) -> None:
        click.echo(f"{name}: {_sentence(ledger, done, asked)}")
        if ledger.header is not None:
            click.echo(f"  manifest  {_near(paths.manifest)}")
        images = _folder(ledger, paths)
        if images is not None:
            click.echo(f"  images    {_near(images)}")
        option = " --emulator" if self.emulator else ""
        for event in (*done.submitted.lost, *(done.polled.lost if done.polled is not None else ())):
            _lost(event, ledger, name, option)
        for reason, hint in _reasons(done):
            _refused(reason, hint)
        keys = _by_state(ledger)
        _named(ledger, keys["in_doubt"], "in doubt", f"seedream-jobs resolve {name}{option}")
        again = _retrying(ledger) if keys["rejected"] or keys["failed"] or keys["expired"] else ""
        failed, expired = keys["rejected"] + keys["failed"], keys["expired"]
        _named(ledger, failed, "failed", f"{again} submits {_them(failed)} again")
        _named(ledger, expired, "expired", f"{again} submits {_them(expired)} again, and pays again")
        for shared in shared_tasks(ledger):
            click.echo(f"  {shared}", err=True)
        open_tasks = len(keys["accepted"]) + len(keys["completed"])
        if open_tasks:
            click.echo(f"  {open_tasks} not fetched yet: seedream-jobs fetch {name}{option}", err=True)


def _folder(ledger: Ledger, paths: LedgerPaths) -> Path | None:
    """Where a job's images lie: the folder of the first that is stored."""
    for key in ledger.entries.keys_in(State.STORED, State.COMPLETED, State.EXPIRED):
        for image in ledger.entries[key].images:
            if image.file is not None:
                return (paths.manifest.parent / image.file).parent
    return None


def _refused(reason: str, hint: str | None) -> None:
    click.echo(f"error: {reason}", err=True)
    if hint:
        click.echo(f"  {hint}", err=True)


def _lost(event: Event, ledger: Ledger, name: str, option: str) -> None:
    """What is known and could not be written down: the person at the terminal is the last record there is."""
    entry = ledger.entries.find(event.key)
    address = event.key if entry is None else entry.address
    task_id = getattr(event, "task_id", None)
    ids = (task_id, *getattr(event, "more_task_ids", ()))
    if task_id is None:
        click.echo(f"error: not recorded: {address} is {type(event).__name__.lower()}", err=True)
    else:
        click.echo(f"error: not recorded: {address} was accepted as {', '.join(ids)}", err=True)
        click.echo(
            f"  once the disk is well: seedream-jobs resolve {name}{option} {address} --accepted {task_id}", err=True
        )


def _doubts(ledger: Ledger) -> ExitCode:
    """In-doubt submissions are a person's business until they are settled, whichever run left them."""
    return ExitCode.IN_DOUBT if ledger.entries.keys_in(State.IN_DOUBT) else ExitCode.OK


def _them(keys: list[str]) -> str:
    return "it" if len(keys) == 1 else "them"


def left_to_send(done: JobResult, asked: int) -> int:
    """How many are left to send: also those that no worker had come to when submitting stopped."""
    submitted = done.submitted
    if submitted.stop is None:
        return submitted.not_sent
    return max(submitted.not_sent, asked - submitted.accepted - submitted.rejected - submitted.in_doubt)


def _sentence(ledger: Ledger, done: JobResult, asked: int) -> str:
    from seedream_jobs.diagnostics import plural

    parts: list[str] = []
    submitted = done.submitted
    if submitted.accepted or submitted.rejected or submitted.in_doubt:
        parts.append(f"{submitted.accepted} submitted")
    if submitted.rejected:
        parts.append(f"{submitted.rejected} rejected")
    if not_sent := left_to_send(done, asked):
        parts.append(f"{not_sent} not sent")
    if done.polled is not None and done.polled.failed:
        parts.append(f"{done.polled.failed} failed")
    if done.fetched is not None and done.cut is None and (done.fetched.images or submitted.accepted):
        parts.append(f"{plural(done.fetched.images, 'image')} fetched")
    if not parts and done.exit_code is ExitCode.OK:
        parts.append("nothing to do")
    bill, stored = Bill(), 0
    for entry in ledger.entries.values():
        bill += bill_of(entry)
        stored += sum(1 for image in entry.images if image.file)
    if done.cut is not None or not (submitted.accepted or (done.fetched and done.fetched.images)):
        parts += [f"{plural(stored, 'image')} stored"] if stored or not parts else []
    if bill.usd:
        parts.append(str(bill))
    return ", ".join(parts)


def _by_state(ledger: Ledger) -> dict[str, list[str]]:
    """The keys in each state."""
    return {state.value: ledger.entries.keys_in(state) for state in State}


def _named(ledger: Ledger, keys: list[str], word: str, hint: str) -> None:
    if not keys:
        return
    click.echo(f"  {len(keys)} {word}: {hint}", err=True)
    entries = [ledger.entries[key] for key in keys[:MAX_SORTED]]
    for entry in sorted(entries, key=lambda entry: entry.address)[:MAX_NAMED]:
        why = " ".join(entry.error.message.split())[:80] if entry.error else entry.doubt or ""
        said = f"{entry.address}  {why}".rstrip()
        click.echo(f"    {''.join(c if c.isprintable() else ' ' for c in said)}", err=True)
    if len(keys) > MAX_NAMED:
        click.echo(f"    and {len(keys) - MAX_NAMED} more", err=True)


def _retrying(ledger: Ledger) -> str:
    """The options that submit again what failed: with other ``--set`` values it would be other requests."""
    from seedream_jobs.plan.options import last_sets, set_options

    return " ".join(filter(None, ["--retry-failed", set_options(last_sets(ledger.plans.values()))]))


def _reasons(done: JobResult) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for part in (done.submitted, done.polled):
        if part is not None and part.reason and part.reason not in (reason for reason, _ in found):
            found.append((part.reason, part.hint))
    if done.cut is not None and not found:
        found.append(("interrupted", "what is fetched is kept; the next fetch goes on"))
    if done.refusal is not None:
        found.append((done.refusal.message, done.refusal.hint))
    if done.fetched is not None:
        if done.fetched.stop:
            found.append((done.fetched.stop, "what is stored stays; the next fetch goes on with the rest"))
        for trouble in (*done.fetched.lost, *done.fetched.unfinished)[:MAX_NAMED]:
            found.append((f"{trouble.address}: {trouble.problem}", None))
    return found


def _near(path: Path) -> str:
    """A path as short as it can be said from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
