"""This module shows what ``run`` and ``fetch`` do: the plan, the progress, what became of each job, the next step.

Called by ``pipeline`` and ``open_tasks`` as their ``Report``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from seedream_jobs.cli.output import show_findings, show_marked, show_notes
from seedream_jobs.cli.streams import at_end, draw, progress_mode, quiet, say, talk
from seedream_jobs.diagnostics import plural
from seedream_jobs.errors import ExitCode, FindingsError, SeedreamError, gravest
from seedream_jobs.foreign_text import shell_word, visible
from seedream_jobs.job.files import from_here
from seedream_jobs.ledger.campaign import held_elsewhere
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.service_errors import in_words
from seedream_jobs.ledger.shards import Shard
from seedream_jobs.ledger.state import Event, State
from seedream_jobs.plans.cost import PLAY_MONEY
from seedream_jobs.plans.load import Target
from seedream_jobs.plans.options import last_sets, set_options
from seedream_jobs.plans.plan import Plan
from seedream_jobs.records import Locked, Record, only_rehearsed
from seedream_jobs.report.progress import ProgressDisplay
from seedream_jobs.report.status import Bill, bill_of, shared_tasks
from seedream_jobs.report.text import plan_text
from seedream_jobs.results.gallery import build_gallery
from seedream_jobs.results.gallery.live import LivePages
from seedream_jobs.results.gallery.owner import PageTakenError

if TYPE_CHECKING:  # it imports anyio
    from seedream_jobs.run.job_run import JobResult

_AT_ONCE = (ExitCode.LEDGER, ExitCode.SIGINT, ExitCode.SIGTERM, ExitCode.SIGHUP)
MAX_NAMED = 5
"""How many addresses of one kind are named before the rest is counted."""
MAX_SORTED = 1000
"""How many are put in order for that: of 100,000 failures, five need not be the first by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _JobEnd:
    """What became of one job, of which ``asked`` requests were to be submitted."""

    record: Record
    ledger: Ledger
    result: JobResult
    asked: int


class Terminal:
    """Shows a person at a terminal what a command does.

    :param as_json: the progress as JSON Lines
    :param gallery: build the page of each job
    :param detach: nothing is polled, and the progress ends with the last request that went out
    :param shard: the share of one job that the command is about
    :param submits: the command pays where it is no rehearsal
    """

    def __init__(
        self,
        *,
        as_json: bool,
        emulator: bool,
        gallery: bool,
        detach: bool = False,
        shard: Shard | None = None,
        submits: bool = True,
    ) -> None:
        self._emulator, self._gallery, self._detach, self._shard = emulator, gallery, detach, shard
        self._submits = submits
        self._jobs: list[_JobEnd] = []
        self._live: LivePages | None = None
        self._pages: list[Path] = []
        self._refusals: list[SeedreamError] = []
        self._beside: list[SeedreamError] = []
        self._mode, self._begun = progress_mode(as_json), False
        self._progress = self.progress(total=0, running=0)
        at_end(lambda code: self._progress.end(code))

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._say_rehearsal("A rehearsal on the emulator: nothing is paid, and every amount is play money.")

    def _say_rehearsal(self, words: str) -> None:
        if self._emulator and self._mode != "json":  # whose lines say so themselves
            talk(words)

    def plan(self, plan: Plan, left: int) -> None:
        """Show a plan; if it was begun before, say how much of it is left."""
        self._begin()
        if not quiet():
            show_marked(plan_text(plan))
        if plan.warnings:
            show_findings(plan.warnings, err=True)
        show_notes(only_rehearsed(plan))
        if left < plan.submit:
            sent = f"{plan.submit - left:,} of {plural(plan.submit, 'request')} went out before, {left:,} left"
            talk(f"This plan was begun: {sent}.")

    def pages(
        self, records: Sequence[Record], ledgers: Sequence[Ledger], target: Target
    ) -> AbstractContextManager[object]:
        """Keep the pages of jobs fresh while it is entered, and say where they are."""
        self._begin()
        if not self._gallery:
            return nullcontext()
        self._live = LivePages(records, ledgers, target=target)
        return self._filling(self._live)

    @contextmanager
    def _filling(self, live: LivePages) -> Iterator[None]:
        with live:
            for page in live.built if not quiet() else ():
                say(f"The page fills while the images come: {from_here(page)}")
            for record, refusal in live.refusals:
                if isinstance(refusal, PageTakenError):
                    _show_taken(record, refusal)
                else:
                    _show_refusal(refusal)
            yield

    def progress(self, *, total: int, running: int, ready: int = 0, most: Decimal | None = None) -> ProgressDisplay:
        """Draw the progress while it is entered."""
        self._progress = ProgressDisplay(
            self._mode,
            total=total,
            running=running,
            ready=ready,
            most=most,
            detach=self._detach,
            play_money=self._emulator,
            draw=draw,
        )
        return self._progress

    def applied(self, locked: Locked, results: Sequence[JobResult], asked: Sequence[int]) -> None:
        """Take in what became of each job, and build the pages while the records are locked."""
        self._jobs = [
            _JobEnd(record=record, ledger=ledger, result=result, asked=count)
            for record, ledger, result, count in zip(locked.records, locked.ledgers, results, asked, strict=True)
        ]
        if self._live is None or any(job.result.exit_code in _AT_ONCE for job in self._jobs):
            return  # after an interruption nobody waits for a page, and a failing disk takes none
        taken = [record for record, refusal in self._live.refusals if isinstance(refusal, PageTakenError)]
        for record, job in zip(self._live.records, self._jobs, strict=True):
            if record in taken:
                continue
            try:
                self._pages.extend(build_gallery([(record, job.ledger)]))
            except PageTakenError as error:
                _show_taken(record, error)
            except SeedreamError as error:
                self._refusals.append(error)

    def refused(self, error: SeedreamError) -> None:
        """Say at once what failed beside the jobs; it has a part in the exit code."""
        _show_refusal(error)
        self._beside.append(error)

    def end(self) -> ExitCode:
        """Say what became of each job and what to do next; the exit code of the process."""
        for job in self._jobs:
            self._show_job(job)
        for page in self._pages:
            say(f"  gallery   {from_here(page)}")
        for problem in self._live.problems if self._live and not self._refusals else ():
            say(f"  {problem}", err=True)
        told = [refusal.message for _, refusal in self._live.refusals] if self._live else []
        for refusal in self._refusals:
            if refusal.message not in told:
                _show_refusal(refusal)
        warning = " Without --emulator the same command pays." if self._submits else ""
        self._say_rehearsal(f"This was a rehearsal: nothing was paid.{warning}")
        codes = [code for job in self._jobs for code in (job.result.exit_code, _doubts(job.ledger))]
        return gravest([*codes, *(refusal.exit_code for refusal in [*self._refusals, *self._beside])])

    def _show_job(self, job: _JobEnd) -> None:
        ledger, result, name = job.ledger, job.result, job.record.shown
        manifest = job.record.paths.manifest
        say(f"{name}: {_sentence(ledger, result, job.asked, PLAY_MONEY if self._emulator else '')}")
        option = " --emulator" if self._emulator else ""
        if self._shard is not None:
            say(f"  record    {from_here(ledger.file)}")
            whole = f"seedream-jobs collect {shell_word(name)}{option} {shell_word(from_here(ledger.file.parent))}"
            say(f"  once all {self._shard.count} shards are fetched: {whole}", err=True)
        elif ledger.header is not None:
            say(f"  manifest  {from_here(manifest)}")
        images = _image_folder(ledger, manifest.parent)
        if images is not None:
            say(f"  images    {from_here(images)}")
        for event in (*result.submitted.lost, *(result.polled.lost if result.polled is not None else ())):
            _show_lost(event, ledger, name, option)
        for reason, hint in _reasons(result):
            _refused(reason, hint)
        keys = {state.value: ledger.entries.keys_in(state) for state in State}
        _show_named(ledger, keys["in_doubt"], "in doubt", f"seedream-jobs resolve {shell_word(name)}{option}")
        # With other ``--set`` values these would be other requests.
        again = " ".join(filter(None, ["--retry-failed", set_options(last_sets(ledger.plans.values()))]))
        failed, expired = keys["rejected"] + keys["failed"], keys["expired"]
        _show_named(ledger, failed, "failed", f"{again} submits {_them(failed)} again")
        _show_named(ledger, expired, "expired", f"{again} submits {_them(expired)} again, and pays again")
        for sentence in shared_tasks(ledger):
            say(f"  {sentence}", err=True)
        for whose, count in Counter(held_elsewhere(ledger.entries, paid=True).values()).items():
            say(f"  {count} paid elsewhere: in {visible(whose)}", err=True)
        for whose, count in Counter(held_elsewhere(ledger.entries, paid=False).values()).items():
            step = f"seedream-jobs resolve {shell_word(name)}{option}"
            say(f"  {count} in doubt elsewhere: in {visible(whose)}: {step}", err=True)
        open_tasks = len(keys["accepted"]) + len(keys["completed"])
        if open_tasks:
            share = "" if self._shard is None else f" --shard {self._shard}"
            say(f"  {open_tasks} not fetched yet: seedream-jobs fetch {shell_word(name)}{option}{share}", err=True)


def _image_folder(ledger: Ledger, folder: Path) -> Path | None:
    """The folder of the first stored image.

    :param folder: the manifest's
    """
    for key in ledger.entries.keys_in(State.STORED, State.COMPLETED, State.EXPIRED):
        for image in ledger.entries[key].images:
            if image.file is not None:
                return (folder / image.file).parent
    return None


def _show_taken(record: Record, refusal: PageTakenError) -> None:
    # The images are there all the same.
    say(f"warning: no page of {record.shown}: {refusal.message}", err=True)
    say(f"  {refusal.hint}", err=True)


def _show_refusal(refusal: SeedreamError) -> None:
    if isinstance(refusal, FindingsError):  # in what people said of the images
        show_findings(refusal.diagnostics, err=True)
    else:
        _refused(refusal.message, refusal.hint)


def _refused(reason: str, hint: str | None) -> None:
    say(f"error: {reason}", err=True)
    if hint:
        say(f"  {hint}", err=True)


def _show_lost(event: Event, ledger: Ledger, name: str, option: str) -> None:
    # The person at the terminal is the last record there is.
    entry = ledger.entries.find(event.key)
    address = event.key if entry is None else entry.address
    task_id = getattr(event, "task_id", None)
    ids = (task_id, *getattr(event, "more_task_ids", ()))
    if task_id is None:
        say(f"error: not recorded: {address} is {type(event).__name__.lower()}", err=True)
    else:
        say(f"error: not recorded: {address} was accepted as {', '.join(ids)}", err=True)
        named = f"{shell_word(name)}{option} {shell_word(address)}"
        say(f"  once the disk is well: seedream-jobs resolve {named} --accepted {task_id}", err=True)


def _doubts(ledger: Ledger) -> ExitCode:
    # Doubts are told until a person settles them, whichever run left them, here or elsewhere.
    doubtful = ledger.entries.keys_in(State.IN_DOUBT) or held_elsewhere(ledger.entries, paid=False)
    return ExitCode.IN_DOUBT if doubtful else ExitCode.OK


def _them(keys: list[str]) -> str:
    return "it" if len(keys) == 1 else "them"


def left_to_send(done: JobResult, asked: int) -> int:
    """How many requests were not sent, also of those that no worker had come to when submitting stopped."""
    submitted = done.submitted
    if submitted.halt is None:
        return submitted.not_sent
    ended = submitted.accepted + submitted.rejected + submitted.in_doubt + submitted.elsewhere
    return max(submitted.not_sent, asked - ended)


def _sentence(ledger: Ledger, done: JobResult, asked: int, play_money: str) -> str:
    parts: list[str] = []
    submitted = done.submitted
    if submitted.accepted or submitted.rejected or submitted.in_doubt:
        parts.append(f"{submitted.accepted} submitted")
    if submitted.rejected:
        parts.append(f"{submitted.rejected} rejected")
    if submitted.elsewhere:
        parts.append(f"{submitted.elsewhere} claimed elsewhere")
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
        parts.append(f"{bill}{play_money}")
    return ", ".join(parts)


def _show_named(ledger: Ledger, keys: list[str], word: str, hint: str) -> None:
    if not keys:
        return
    say(f"  {len(keys)} {word}: {hint}", err=True)
    entries = [ledger.entries[key] for key in keys[:MAX_SORTED]]
    for entry in sorted(entries, key=lambda entry: entry.address)[:MAX_NAMED]:
        why = in_words(entry.error, limit=80) if entry.error else entry.doubt or ""
        say(f"    {entry.address}  {why}".rstrip(), err=True)
    if len(keys) > MAX_NAMED:
        say(f"    and {len(keys) - MAX_NAMED} more", err=True)


def _reasons(done: JobResult) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for halt in (done.submitted.halt, done.polled.halt if done.polled is not None else None):
        if halt is not None and halt.reason and halt.reason not in (reason for reason, _ in found):
            found.append((halt.reason, halt.hint))
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
