"""Checks a job file, or the payload of one request, against its schema: the place, the sentence and the next step.

The answer yes comes from compiled code (``_valid.py``) and costs microseconds; only a refusal imports ``jsonschema``,
to explain it. Stricter than draft-07 in one point: ``1.0`` is no integer, because the service wants a plain ``1``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from seedream_jobs.diagnostics import Diagnostic, in_order
from seedream_jobs.job import _valid

if TYPE_CHECKING:
    from seedream_jobs.job.source import Document

_LOCAL = "sha256:"
_STAND_IN = "data:image/png;base64,A"


class Mistake(NamedTuple):
    """What is wrong with a payload. ``path`` leads to the value, or to the mapping that lacks something."""

    path: tuple[str | int, ...]
    code: str
    message: str
    hint: str | None


def check(document: Document) -> list[Diagnostic]:
    """Every finding of ``schemas/job.schema.json`` in a job file, in the file's order; one for each mistake."""
    if _valid.job(document.data):
        return []
    from seedream_jobs.job.schema_explain import explain

    return list(
        in_order(
            document.finding(finding.code, finding.message, finding.path, key=finding.key, hint=finding.hint)
            for finding in explain("job.schema.json", document.data)
        )
    )


def check_payload(payload: Mapping[str, Any], *, extra: Collection[str] = ()) -> list[Mistake]:
    """What ``schemas/request.schema.json`` finds in the payload of one request; nothing if it may be sent.

    No reference image is walked: of a data URI only the head is looked at.

    :param payload: what would be sent; a local reference may stand as ``sha256:<hex>``
    :param extra: names that ``request.extra`` lets through unchecked
    """
    data = _as_sent(payload, extra)
    if _valid.payload(data):
        return []
    from seedream_jobs.job.schema_explain import explain

    return [
        Mistake(finding.path, finding.code, finding.message, finding.hint)
        for finding in explain("request.schema.json", data)
    ]


def _as_sent(payload: Mapping[str, Any], extra: Collection[str]) -> dict[str, Any]:
    """The payload without what is let through, local references as the data URIs they will be."""
    data = {name: value for name, value in payload.items() if name not in extra} if extra else dict(payload)
    references = data.get("image_urls")
    if isinstance(references, list):
        data["image_urls"] = [
            _STAND_IN if isinstance(item, str) and item.startswith(_LOCAL) else item for item in references
        ]
    return data
