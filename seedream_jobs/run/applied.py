"""From a saved plan to what is to be done: what is left of its requests as submissions, as they were approved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from seedream_jobs.job.files import WorkTree
from seedream_jobs.plan.application import Application, Part
from seedream_jobs.plan.document import Item
from seedream_jobs.run.atomic_file import Folders
from seedream_jobs.run.budget import Budget
from seedream_jobs.run.job_run import JobRun
from seedream_jobs.run.offers import offer
from seedream_jobs.run.store_image import Finish
from seedream_jobs.run.submit import Submission


def duties(application: Application, urls: Mapping[str, str], finishing: Finish, *, detach: bool) -> list[JobRun]:
    """What is to be done for each job of the plan."""
    made: list[JobRun] = []
    for part in application.parts:
        limit, folder = part.job.budget_usd, part.paths.manifest.parent
        folders = Folders(folder, part.root)
        for item in part.left:
            if item.request is not None:
                folders.hold(item.request.output)  # of all jobs, before the first POST of any
        made.append(
            JobRun(
                ledger=part.ledger,
                submissions=_submissions(application, part, urls),
                budgets=() if limit is None else (Budget(part.job.budget_name, limit, part.spent),),
                profile=part.profile,
                poll=not detach,
                fetch=not detach,
                folder=folder,
                root=part.root,
                finishing=finishing(folder, part.root, None),
            )
        )
    return made


def _submissions(application: Application, part: Part, urls: Mapping[str, str]) -> Iterator[Submission]:
    offered = _offering(application, part, urls)
    return (offered(item) for item in part.left)


def _offering(application: Application, part: Part, urls: Mapping[str, str]) -> Callable[[Item], Submission]:
    files, tariff = WorkTree(part.root), application.plan.tariff

    def offered(item: Item) -> Submission:
        assert item.request is not None
        return offer(
            item.request,
            generation=item.generation,
            manifest=part.manifest,
            max_cost_usd=tariff.cost(item.max_images),
            files=files,
            urls=urls,
        )

    return offered
