"""``seedream-jobs compare``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from seedream_jobs.cli.options import format_option, jobs_argument, limit_options, rules
from seedream_jobs.cli.pull import image_store
from seedream_jobs.cli.service_options import target
from seedream_jobs.cli.streams import data_on_stdout, say, show
from seedream_jobs.errors import LedgerError, SeedreamError, UsageError
from seedream_jobs.plans.review import Revisions
from seedream_jobs.plans.revisions import repository_of
from seedream_jobs.report.compare import compare_json, compare_markdown, compare_text
from seedream_jobs.results.compare import ComparedJob, draw_changes, write_comparison
from seedream_jobs.results.compare import compare as compare_images
from seedream_jobs.results.image_store import ImageStore


class Url(click.ParamType[str]):
    """An address of the web, as it can stand in Markdown."""

    name = "URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).rstrip("/")
        if not text.startswith(("https://", "http://")) or not text.isprintable() or set(text) & set(' ()<>\\"`[]'):
            self.fail(f"{value!r} is no URL that Markdown can hold, such as https://example.org/sheets", param, ctx)
        return text


@contextmanager
def compared_revisions(
    jobs: tuple[Path, ...], *, base: str, head: str | None
) -> Iterator[tuple[Revisions, list[ComparedJob]]]:
    """The images of jobs at two revisions; while it is entered they can be read out of the commits."""
    with repository_of(jobs, here=Path.cwd()) as repository:
        revisions = Revisions(
            repository,
            base=base,
            head=head,
            target=target(emulator=False, base_url=None),
            sets={},
            here=Path.cwd(),
            merge_base=True,
        )
        yield revisions, compare_images(revisions, jobs)


@contextmanager
def store_of_base(revisions: Revisions) -> Iterator[ImageStore | None]:
    """The store that the base's policy names, if it can be opened; says at the end what could not be read from it."""
    store: ImageStore | None = None
    trouble: SeedreamError | None = None
    try:
        of_base = rules(None, (), base=revisions.policy_of).policy_of
        store = image_store(revisions.root, target(emulator=False, base_url=None), policy_of=of_base)
    except UsageError as error:
        trouble = error
    yield store
    if trouble := trouble or (store.down if store is not None else None):
        say(f"warning: images that are only in the store are not shown: {trouble.message}", err=True)


@click.command()
@click.option(
    "--base", metavar="REV", required=True, help="Compare with the commit that the head began from this branch at."
)
@click.option("--head", metavar="REV", help="Compare this revision.  [default: the work tree]")
@click.option(
    "--sheets",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Draw what changed into contact sheets, was beside is.",
)
@click.option(
    "--sheets-url", type=Url(), metavar="URL", help="Where DIR will be found: Markdown shows the sheets then."
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the page of both revisions, as gallery --base does.",
)
@click.option(
    "--page-url", type=Url(), metavar="URL", help="Where DIR will be found: Markdown links to its images then."
)
@format_option("text", "markdown", "json")
@limit_options
@jobs_argument()
def compare(
    jobs: tuple[Path, ...],
    base: str,
    head: str | None,
    sheets: Path | None,
    sheets_url: str | None,
    page: Path | None,
    page_url: str | None,
    form: str,
) -> None:
    """Show what a change does to the images: equal, new image, new request, gone.

    Compares the records of JOB at two revisions. Needs no key, and no network but for images that are only in the
    store of the policy's shared: images. Checks nothing out, and writes nothing but the contact sheets and the page.

    \b
    Examples:
      seedream-jobs compare garden.yaml --base main
      seedream-jobs compare garden.yaml --base main --sheets sheets --format markdown
    """
    if sheets_url is not None and sheets is None:
        raise click.UsageError("--sheets-url needs --sheets")
    if page_url is not None and page is None:
        raise click.UsageError("--page-url needs --page")
    index = None
    with compared_revisions(jobs, base=base, head=head) as (revisions, compared):
        if sheets is not None or page is not None:
            with store_of_base(revisions) as store:
                if sheets is not None:
                    _draw(compared, revisions, sheets, store)
                if page is not None:
                    index = write_comparison(compared, revisions, folder=page, store=store)
    if form != "text":
        data_on_stdout()
    if form == "json":
        show(compare_json(compared, revisions.base, revisions.head, page=index))
    elif form == "markdown":
        urls = {"sheets_url": sheets_url, "page_url": page_url}
        show(compare_markdown(compared, revisions.base, revisions.head, page=index, **urls))
    else:
        show(compare_text(compared, revisions.base, revisions.head, page=index))


def _draw(compared: list[ComparedJob], revisions: Revisions, sheets: Path, store: ImageStore | None) -> None:
    try:
        for job in compared:
            draw_changes(job, revisions, sheets, store)
    except OSError as error:
        raise LedgerError(
            f"{error.filename or sheets}: {error.strerror or error}", hint="then run the same command again"
        ) from None
