"""From a planned request to a submission: its body, made only when it is sent, and its idempotency key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal

from seedream_jobs.expand.references import data_uri
from seedream_jobs.expand.request import Request, canonical_json, wire_body
from seedream_jobs.job.files import Files
from seedream_jobs.run.submission import Submission


def offer(
    request: Request,
    *,
    generation: int,
    manifest: str,
    max_cost_usd: Decimal | None,
    files: Files,
    urls: Mapping[str, str],
) -> Submission:
    """The submission of a request.

    :param manifest: the manifest's id
    :param urls: where a local reference (``sha256:<hex>``) was uploaded; what is not in it is sent as a data URI
    """

    def body() -> bytes:
        sent = {name: urls.get(name) or data_uri(reference, files) for name, reference in request.references.items()}
        return wire_body(request.payload, sent)

    return Submission(
        request=request,
        generation=generation,
        idempotency_key=idempotency_key(manifest, request, generation, urls),
        max_cost_usd=max_cost_usd,
        body=body,
    )


def idempotency_key(manifest: str, request: Request, generation: int, urls: Mapping[str, str]) -> str:
    """Digest of manifest id, request key, generation and body (which the payload and the uploads' links determine)."""
    used = {name: urls[name] for name in request.references if name in urls}
    body = hashlib.sha256(canonical_json([request.payload, used])).hexdigest()
    return "sj-" + hashlib.sha256(f"{manifest}\n{request.key}\n{generation}\n{body}".encode()).hexdigest()
