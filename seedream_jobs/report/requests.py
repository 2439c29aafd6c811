"""The requests of a job as a table, as JSON Lines or as curl commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.identity import wire_body
from seedream_jobs.expand.references import data_uri
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.job.files import Files
from seedream_jobs.plan.select import selector


def render_requests(expansion: Expansion, *, select: str | None, limit: int | None, form: str) -> Iterator[str]:
    """A line, or a block of lines, for each request.

    :param form: ``table``, ``jsonl`` or ``curl``
    """
    keep = None if select is None else selector(select, expansion)
    requests = (expansion.request(place) for place in expansion.places() if keep is None or keep(place.cell))
    for request in islice(requests, limit):
        if form == "jsonl":
            yield json.dumps(as_json(request), ensure_ascii=False)
        elif form == "curl":
            yield curl(request, expansion.spec.files)
        else:
            yield row(request)


def as_json(request: Request) -> dict[str, Any]:
    """A request as plain data; local references stand as ``sha256:…``."""
    return {
        "address": request.address,
        "key": request.key,
        "max_images": request.max_images,
        "output": request.output,
        "payload": dict(request.payload),
        "references": {name: reference.path for name, reference in request.references.items()},
    }


def row(request: Request) -> str:
    """``address  2K 16:9  prompt …`` on one line that no terminal obeys."""
    prompt = " ".join(str(request.payload["prompt"]).split())
    shown = "".join(character if character.isprintable() else " " for character in prompt)
    parameters = " ".join(
        f"{name}={value}" if name not in ("size", "resolution") else str(value)
        for name, value in request.payload.items()
        if name not in ("model", "prompt", "image_urls")
    )
    cut = shown if len(shown) <= 100 else shown[:99] + "…"
    return "  ".join(filter(None, (request.address, parameters, cut)))


def curl(request: Request, files: Files) -> str:
    """A command that makes the same request by hand; the key stays in its variable.

    The body is the POST's own, local references in it, and comes by standard input: no shell takes 128 KiB as one word.

    :raises UsageError: as ``data_uri``
    """
    urls = {name: data_uri(reference, files) for name, reference in request.references.items()}
    return (
        f"# {request.address}\n"
        "curl https://api.apimart.ai/v1/images/generations \\\n"
        '  --header "Authorization: Bearer $APIMART_API_KEY" \\\n'
        "  --header 'Content-Type: application/json' \\\n"
        "  --data-binary @- <<'BODY'\n"
        f"{wire_body(request.payload, urls).decode()}\n"
        "BODY"
    )
