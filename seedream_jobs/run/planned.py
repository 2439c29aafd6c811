"""From a plan to what is to be done: its requests as submissions, each built only when a worker comes free."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from pathlib import PurePosixPath

from seedream_jobs.errors import FindingsError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.ledger.entries import Entries
from seedream_jobs.ledger.state import Entry, State
from seedream_jobs.plan.diff import Action, Change
from seedream_jobs.plan.jobs import JobPlan, JobsPlan
from seedream_jobs.run.atomic_file import Folders
from seedream_jobs.run.budget import Budget
from seedream_jobs.run.job_run import JobRun
from seedream_jobs.run.offers import offer
from seedream_jobs.run.store_image import Finish
from seedream_jobs.run.submit import Submission

MAX_HELD = 1_000
"""Of so many requests the folders are looked at before the first POST; of the others each before its own."""


def duties(planned: JobsPlan, urls: Mapping[str, str], finishing: Finish, *, detach: bool) -> list[JobRun]:
    """What is to be done for each job of a plan."""
    made: list[JobRun] = []
    for index, part in enumerate(planned.jobs):
        spec, folder = part.job.expansion.spec, part.job.paths.manifest.parent
        limit, folders = spec.budget_usd, Folders(folder, spec.root)
        for submission in islice(_submissions(planned, index, urls), MAX_HELD):
            folders.hold(submission.request.output)  # of all jobs, before the first POST of any
        made.append(
            JobRun(
                ledger=part.ledger,
                submissions=held(_submissions(planned, index, urls), folders),
                budgets=() if limit is None else (Budget(part.job.budget_name, limit, part.spent or Decimal(0)),),
                profile=spec.profile,
                poll=not detach,
                fetch=not detach,
                folder=folder,
                root=spec.root,
                finishing=finishing(folder, spec.root, part.job),
                output_of=outputs(part.job.expansion, part.ledger.entries),
            )
        )
    return made


def held(submissions: Iterator[Submission], folders: Folders) -> Iterator[Submission]:
    """Submissions, each once its images' folder was written to.

    :raises SeedreamError: from ``Folders.hold``: nothing more is to be sent
    """
    for submission in submissions:
        folders.hold(submission.request.output)
        yield submission


def outputs(expansion: Expansion, known: Entries) -> Callable[[Entry], str]:
    """Where the images of requests go that wait for them: to the folder that the job file names today.

    A folder that could not be written to is corrected in the job file; the path on record holds once a file is there.
    The name in the folder stays as it is on record. A name that may have folders of its own is looked for in the job's
    requests; where it is not found there, the path on record stands.
    """
    spec = expansion.spec
    waiting = {key for key in known if (brief := known.brief(key)) and brief[0] in (State.ACCEPTED, State.COMPLETED)}
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


def _submissions(planned: JobsPlan, index: int, urls: Mapping[str, str]) -> Iterator[Submission]:
    """The requests of one job that are to be sent, built one at a time as workers come free."""
    part = planned.jobs[index]
    known = part.ledger.entries
    for change in part.submissions(known):
        submission = _offered(planned, part, change, urls)
        if change.action is not Action.REPLAY:
            yield submission
            continue
        entry = known[change.key]
        if submission.idempotency_key == entry.idempotency_key:  # else it would not be the very same POST
            yield replace(submission, in_doubt_since=entry.submitted_at, replays=entry.replays)


def _offered(planned: JobsPlan, part: JobPlan, change: Change, urls: Mapping[str, str]) -> Submission:
    assert change.place is not None
    return offer(
        part.job.expansion.request(change.place),
        generation=change.generation,
        manifest=part.ledger.id,
        max_cost_usd=planned.tariff.cost(change.max_images),
        files=part.job.expansion.spec.files,
        urls=urls,
    )
