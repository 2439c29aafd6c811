"""``seedream-jobs expand``."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click

from seedream_jobs.api.credentials import DEFAULT_BASE_URL
from seedream_jobs.cli.options import format_option, limit_options, set_option
from seedream_jobs.cli.streams import data_on_stdout, show
from seedream_jobs.expand.explain import explain
from seedream_jobs.plans.load import EMULATOR, job_file, load_job
from seedream_jobs.plans.options import selector
from seedream_jobs.report.json import request_json
from seedream_jobs.report.text import explanation_text, request_curl, request_row


@click.command()
@click.argument("job", type=click.Path(path_type=Path), metavar="JOB")
@set_option
@click.option("--select", metavar="EXPR", help="Only these: '{style: ink}', or a condition on the axes.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Only the first N.")
@format_option("table", "jsonl", "curl")
@click.option("--explain", "address", metavar="ADDRESS", help="Why this request is made, or is not.")
@limit_options
def expand(
    job: Path,
    sets: tuple[tuple[str, str], ...],
    select: str | None,
    limit: int | None,
    form: str,
    address: str | None,
) -> None:
    """List the requests a job file makes. Needs no key and no network.

    \b
    Examples:
      seedream-jobs expand garden.yaml
      seedream-jobs expand garden.yaml --select '{size: 16:9}'
      seedream-jobs expand garden.yaml --limit 1 --format curl
    """
    file = job_file(job)
    # The requests are the same for every service, so no base URL is read.
    loaded = load_job(file, shown=str(file), target=EMULATOR, sets=dict(sets))
    if address is not None:
        show(explanation_text(explain(loaded.expansion, address)))
        return
    if form != "table":
        data_on_stdout()
    expansion = loaded.expansion
    keep = None if select is None else selector(select, expansion)
    requests = (expansion.request(place) for place in expansion.places() if keep is None or keep(place.cell))
    for request in islice(requests, limit):
        match form:
            case "jsonl":
                line = request_json(request)
            case "curl":
                line = request_curl(request, expansion.spec.files, DEFAULT_BASE_URL)
            case _:
                line = request_row(request)
        show(f"{line}\n")
