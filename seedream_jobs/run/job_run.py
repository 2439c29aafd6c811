"""This module turns a planned job into what a session has to do for it, and holds what became of it.

Called by ``pipeline.apply``; ``fetch`` and ``status`` make a ``JobRun`` without submissions. It also does what comes
before the first POST: uploads, and the look at the balance. Invariant: a request's body is built only when it is sent,
and holds exactly what the plan says.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream

from seedream_jobs.api.credentials import ApiKey
from seedream_jobs.api.outcomes import Outcome
from seedream_jobs.atomic_file import Folders
from seedream_jobs.claims.store import ClaimStore, holder
from seedream_jobs.errors import CredentialsError, ExitCode, FindingsError, MoneyError, SeedreamError, gravest
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.identity import canonical_json, wire_body
from seedream_jobs.expand.references import Reference, data_uri, read_reference
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.job.files import Files, WorkTree
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.state import Entry, Event, State, attempt_spent_usd, paid_twice, spent_usd
from seedream_jobs.model_profile import DEFAULT_MODEL, Profile, profiles
from seedream_jobs.plans.cost import Tariff, money
from seedream_jobs.plans.diff import Action
from seedream_jobs.plans.plan import PlannedJob
from seedream_jobs.run.budget import Budget
from seedream_jobs.run.claims import SharedBudget, SharedClaims
from seedream_jobs.run.fetch import Fetched, Fetcher, ImageEvent, Work
from seedream_jobs.run.images import ImageSteps, Repair
from seedream_jobs.run.poll import Polled
from seedream_jobs.run.submit import Claims, Submission, Submitted

if TYPE_CHECKING:  # it imports httpx, which takes 0.2 s
    from seedream_jobs.api.client import Client

MAX_CHECKED_AHEAD = 1_000
"""Requests whose folders are checked before the first POST; those of the others are checked one by one."""


class Watcher(Protocol):
    """Whoever draws the progress; its calls are synchronous and quick."""

    def on_event(self, event: Event, outcome: Outcome | None, run: JobRun) -> None: ...

    def on_trouble(self, reason: str) -> None: ...

    def on_image(self, event: ImageEvent, run: JobRun) -> None: ...

    def on_news(self, text: str) -> None: ...

    def on_tick(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """What is to be done for one job.

    :param shown: the job file or the manifest as the user named it
    :param submissions: pulled one at a time; empty where nothing is to be sent
    :param budgets: that hold for this job alone
    :param poll: ask for tasks that are not done
    :param steps: what is done with each downloaded image; None downloads nothing
    :param repairs: stored images that are missing or damaged
    :param output_of: where a request's images go that wait to be fetched, as ``Entry.output``
    :param hand_out: runs the fetcher with the help of other machines; None where this one does all
    :param claims: makes what tells other runners of its submissions, on the event loop
    """

    shown: str
    ledger: Ledger
    submissions: Iterator[Submission]
    budgets: tuple[Budget, ...] = ()
    profile: Profile
    poll: bool
    root: Path
    steps: ImageSteps | None = None
    repairs: tuple[Repair, ...] = ()
    wanted: Callable[[Entry], bool] = field(default=lambda _: True)
    output_of: Callable[[Entry], str] = field(default=lambda entry: entry.output)
    hand_out: Callable[[Fetcher, MemoryObjectReceiveStream[Work]], Awaitable[Fetched]] | None = None
    claims: Callable[[], Claims] = Claims


@dataclass(slots=True, kw_only=True)
class JobResult:
    """What has become of one job so far: each part is None where it was not asked for.

    :param refusal: why downloading ended before its end
    :param cut: the exit code of the signal that ended downloading before its end
    """

    submitted: Submitted = field(default_factory=Submitted)
    polled: Polled | None = None
    fetched: Fetched | None = None
    refusal: SeedreamError | None = None
    cut: ExitCode | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The gravest of what happened in this session."""
        codes = [ExitCode.OK]
        for part in (self.submitted, self.polled):
            if part is not None and part.halt is not None:
                codes.append(part.halt.stop)
        if self.submitted.in_doubt or self.submitted.open_elsewhere:
            codes.append(ExitCode.IN_DOUBT)
        if self.submitted.rejected or (self.polled and (self.polled.failed or self.polled.expired)):
            codes.append(ExitCode.FINDINGS)
        if self.polled and self.polled.unfinished:
            codes.append(ExitCode.UNFINISHED)
        if self.fetched is not None:
            codes.append(self.fetched.exit_code)
        if self.refusal is not None:
            codes.append(self.refusal.exit_code)
        if self.cut is not None:
            codes.append(self.cut)
        return gravest(codes)


def job_run(
    job: PlannedJob,
    ledger: Ledger,
    *,
    expansion: Expansion | None,
    root: Path,
    tariff: Tariff,
    urls: Mapping[str, str],
    steps: ImageSteps,
    detach: bool,
    key: ApiKey,
    store: ClaimStore | None = None,
) -> JobRun:
    """What a session has to do for one job of a plan.

    :param ledger: the job's, locked
    :param expansion: the job file's requests, where it is at hand
    :param root: of the campaign
    :param tariff: the plan's
    :param urls: where a local reference (``sha256:<hex>``) was uploaded, once submitting begins
    :param detach: neither poll nor download
    :param key: which no request may hold
    :param store: where its requests are claimed, if anywhere
    :raises SeedreamError: a folder for images can't be written to
    """
    folders = Folders(ledger.paths.manifest.parent, root)
    for item in islice(job.submits, MAX_CHECKED_AHEAD):
        if item.request is not None:  # of all jobs, before the first POST of any
            check_request(key, item.request, canonical_json(item.request.payload))
            folders.hold(item.request.output)
    limit, profile = job.budget_usd, profiles()[DEFAULT_MODEL]
    if expansion is not None:
        profile = expansion.spec.profile
    elif (first := next((item.request for item in job.items if item.request is not None), None)) is not None:
        # A saved plan without its job file: the model stands in the payloads.
        profile = profiles()[str(first.payload["model"])]
    return JobRun(
        shown=job.shown,
        ledger=ledger,
        submissions=_submissions(job, ledger, folders, WorkTree(root), tariff, urls, key),
        budgets=() if limit is None else (Budget(job.budget_name, limit, job.spent_usd or Decimal(0)),),
        profile=profile,
        poll=not detach,
        root=root,
        steps=None if detach else steps,
        output_of=outputs(expansion, ledger.entries),
        claims=Claims if store is None else partial(_shared_claims, store, job, ledger),
    )


def _shared_claims(store: ClaimStore, job: PlannedJob, ledger: Ledger) -> Claims:
    """What tells other runners of a job's submissions, and what they may all together spend for it."""
    budget = None
    if job.budget_usd is not None:
        spent = job.spent_usd or Decimal(0)
        ended = partial(_spent_by_ended, ledger)
        budget = SharedBudget(account=job.path, limit=job.budget_usd, spent=spent, ended=ended)
    return SharedClaims(store, holder=holder(), run=ledger.run, manifest=ledger.id, budget=budget, now=time.time)


def _spent_by_ended(ledger: Ledger) -> dict[str, Decimal]:
    """By run on record that has ended: USD that it can have cost at most. Of such a run all is on record."""
    spent, repeated = defaultdict[str, Decimal](Decimal), Decimal(0)
    for entry in ledger.entries.values():
        if entry.replays or paid_twice(entry):  # which run made the repeats is not on record
            repeated += spent_usd(entry)
        for attempt in entry.attempts:
            if attempt.run is not None:
                spent[attempt.run] += attempt_spent_usd(attempt)
    unknown = {ledger.run, *(run.id for run in ledger.open_runs())}
    unknown.update(one.run for one in ledger.resolutions if one.run and one.resolution == "abandoned")
    return {run: usd + repeated for run, usd in spent.items() if run not in unknown}


def _submissions(
    job: PlannedJob,
    ledger: Ledger,
    folders: Folders,
    files: Files,
    tariff: Tariff,
    urls: Mapping[str, str],
    key: ApiKey,
) -> Iterator[Submission]:
    """The requests of one job that are to be sent, built one at a time as workers come free.

    :raises SeedreamError: from ``Folders.hold``, or a request holds the key: nothing more is to be sent
    """
    for number, item in enumerate(job.submits):
        assert item.request is not None
        canonical = canonical_json(item.request.payload)
        if number >= MAX_CHECKED_AHEAD:  # the others were looked at before the first POST
            check_request(key, item.request, canonical)
        made = submission_of(
            item.request,
            canonical,
            generation=item.generation,
            manifest=job.manifest or ledger.id,
            max_cost_usd=tariff.cost(item.max_images),
            files=files,
            urls=urls,
        )
        if item.generation > 1:
            known = ledger.entries.find(item.key)
            made = replace(made, claimed_as=known.claimed_as(item.generation) if known else item.generation)
        if item.action is Action.REPLAY:
            entry = ledger.entries[item.key]
            if made.idempotency_key != entry.idempotency_key:
                continue  # it would not be the very same POST
            made = replace(made, in_doubt_since=entry.submitted_at, replays=entry.replays)
        folders.hold(item.request.output)
        yield made


def check_request(key: ApiKey, request: Request, canonical: bytes) -> None:
    """Check that nothing of a request that is sent or recorded holds the key: a tree may have got hold of it.

    :param canonical: the payload's canonical JSON
    :raises CredentialsError: its prompt, a value, its name or a path does
    """
    texts = [canonical.decode(), request.address, request.output]
    texts += [*map(str, request.cell.values()), *(reference.path for reference in request.references.values())]
    check_without_key(key, texts, what="a prompt, a value or a name")


def check_without_key(key: ApiKey, texts: Iterable[str], *, what: str) -> None:
    """Check that no text holds the key.

    :param what: what the texts are; they are not shown
    :raises CredentialsError: one does
    """
    if key.stands_in("\n".join(texts)):  # one look at all of them; a line break is in no key
        raise CredentialsError(
            f"{what} holds the API key, or a part of it: it would be sent, recorded and committed",
            hint="find out how it came there (a file that a job reads, a variable), take it out, and replace the key",
        )


def submission_of(
    request: Request,
    canonical: bytes,
    *,
    generation: int,
    manifest: str,
    max_cost_usd: Decimal | None,
    files: Files,
    urls: Mapping[str, str],
) -> Submission:
    """The submission of a request.

    :param canonical: the payload's canonical JSON
    :param manifest: the manifest's id
    :param urls: where a local reference (``sha256:<hex>``) was uploaded; what is not in it is sent as a data URI
    """

    def body() -> bytes:
        if not request.references and b"\\u" not in canonical:
            return canonical  # nothing in it is escaped that the wire would not escape: the same bytes
        sent = {name: urls.get(name) or data_uri(reference, files) for name, reference in request.references.items()}
        return wire_body(request.payload, sent)

    return Submission(
        request=request,
        generation=generation,
        idempotency_key=idempotency_key(manifest, request, generation, urls, canonical),
        max_cost_usd=max_cost_usd,
        body=body,
    )


def idempotency_key(manifest: str, request: Request, generation: int, urls: Mapping[str, str], canonical: bytes) -> str:
    """Digest of manifest id, request key, generation and body (which the payload and the uploads' links determine).

    :param canonical: the payload's canonical JSON
    """
    used = {name: urls[name] for name in request.references if name in urls}
    body = hashlib.sha256(b"[%s,%s]" % (canonical, canonical_json(used) if used else b"{}")).hexdigest()
    return "sj-" + hashlib.sha256(f"{manifest}\n{request.key}\n{generation}\n{body}".encode()).hexdigest()


def outputs(expansion: Expansion | None, known: Entries) -> Callable[[Entry], str]:
    """Where the images go of requests that wait for them: to the folder that the job file names today.

    Somebody corrects the job file where a folder could not be written to. The name inside the folder stays as it is on
    record. ``output.name`` may hold folders of its own, so how much of a recorded path is name is looked up in the
    job's requests; a request that is not found there keeps its recorded path, as all do without a job file.
    """
    if expansion is None:
        return lambda entry: entry.output
    spec = expansion.spec
    waiting = set(known.keys_in(State.ACCEPTED, State.COMPLETED))
    parts: dict[str, int] = {}
    if spec.output_name is not None and waiting:
        above = len(PurePosixPath(spec.output_dir).parts)
        with suppress(FindingsError):  # a mistake in the job file must not hide what was paid
            for place in expansion.places():
                key = place.key if place.key in waiting else known.former.get(place.key)
                if key in waiting:
                    parts[key] = len(PurePosixPath(expansion.request(place).output).parts) - above

    def output(entry: Entry) -> str:
        length = 1 if spec.output_name is None else parts.get(entry.key)
        if entry.key not in waiting or length is None:
            return entry.output
        return str(PurePosixPath(spec.output_dir, *PurePosixPath(entry.output).parts[-length:]))

    return output


async def upload(client: Client, wanted: Mapping[str, tuple[Reference, Files]], concurrency: int) -> dict[str, str]:
    """Upload references: ``sha256:…`` to the link each got.

    :raises SeedreamError: an upload was refused; nothing was submitted
    """
    urls: dict[str, str] = {}
    refused: list[SeedreamError] = []
    limiter = anyio.CapacityLimiter(min(concurrency, 4))

    async def one(name: str, reference: Reference, files: Files) -> None:
        async with limiter:
            try:
                data = await to_thread.run_sync(read_reference, reference, files)
                stem = "reference" if reference.path.startswith("data:") else PurePosixPath(reference.path).name
                urls[name] = await client.upload(data, stem, f"image/{reference.format}")
            except SeedreamError as error:
                refused.append(error)
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for name, (reference, files) in wanted.items():
            group.start_soon(one, name, reference, files)
    if refused:
        raise refused[0]
    return urls


async def check_balance(client: Client, cost: Decimal | None) -> None:
    """Refuse to start what the balance can't pay.

    :raises MoneyError: the balance is below the plan's maximum
    :raises SeedreamError: the balance can't be read
    """
    balance = await client.balance()
    if balance.unlimited or cost is None or balance.remaining_usd is None:
        return
    if balance.remaining_usd < cost:
        raise MoneyError(
            f"the balance is {money(balance.remaining_usd)}: the plan costs at most {money(cost)}",
            hint="top it up, or submit less: --limit N",
        )
