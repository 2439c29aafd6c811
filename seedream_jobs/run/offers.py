"""From a planned request to a submission: its body, made only when it is sent, and its idempotency key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal

from seedream_jobs.expand.identity import canonical_json, wire_body
from seedream_jobs.expand.references import data_uri
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.job.files import Files
from seedream_jobs.run.submit import Submission


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

    canonical = canonical_json(request.payload)

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


def idempotency_key(
    manifest: str, request: Request, generation: int, urls: Mapping[str, str], canonical: bytes | None = None
) -> str:
    """Digest of manifest id, request key, generation and body (which the payload and the uploads' links determine).

    :param canonical: the payload's canonical JSON, where the caller has it
    """
    used = {name: urls[name] for name in request.references if name in urls}
    canonical = canonical_json(request.payload) if canonical is None else canonical
    body = hashlib.sha256(b"[%s,%s]" % (canonical, canonical_json(used) if used else b"{}")).hexdigest()
    return "sj-" + hashlib.sha256(f"{manifest}\n{request.key}\n{generation}\n{body}".encode()).hexdigest()
