"""The plan document as JSON and back: what a saved plan holds and programs are given (schemas/plan.schema.json)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from seedream_jobs.diagnostics import Diagnostic, Pos, Span
from seedream_jobs.expand.references import Reference
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.plan.comparison import Removed
from seedream_jobs.plan.cost import Tariff
from seedream_jobs.plan.diff import Action
from seedream_jobs.plan.document import Against, Item, JobDocument, PlanDocument, Revision
from seedream_jobs.plan.summary import Cause

FORMAT = "seedream-jobs/plan/1"

Json = dict[str, Any]


class Malformed(Exception):
    """A field of a saved plan that is not as it is written."""


def encode(document: PlanDocument) -> Json:
    """The whole document as plain data; money as decimal strings, times in UTC."""
    return {
        "base": _revision(document.base),
        "budgets": [{"name": name, "usd": str(usd)} for name, usd in document.budgets],
        "digest": document.digest,
        "format": FORMAT,
        "head": _revision(document.head),
        "jobs": [_job(job) for job in document.jobs],
        "made_at": None if document.made_at is None else _iso(document.made_at),
        "max_images": document.images,
        "max_usd": _usd(document.cost),
        "options": dict(document.options),
        "origin": document.origin,
        "price": _price(document.tariff),
        "requests_to_submit": document.submit,
    }


def _price(tariff: Tariff) -> Json:
    line: Json = {"source": tariff.source, "usd_per_image": _usd(tariff.usd)}
    if tariff.beside:
        line["beside"] = [{"source": said, "usd_per_image": _usd(usd)} for said, usd in tariff.beside]
    return line


def changes(document: PlanDocument) -> Iterator[Json]:
    """Each change of each job by itself, with its job: what JSON Lines are made of."""
    for job in document.jobs:
        for item in job.items:
            yield {"job": job.shown, **_item(item)}
        for gone in job.removed:
            yield {"job": job.shown, "action": "removed", **_removed(gone)}


def _job(job: JobDocument) -> Json:
    return {
        "against": None if job.against is None else _against(job.against),
        "budget_name": job.budget_name,
        "budget_usd": _usd(job.budget_usd),
        "causes": [_cause(one) for one in job.causes],
        "changes": [_item(item) for item in job.items],
        "claimed": dict(job.claimed),
        "counts": {str(action): count for action, count in job.counts.items()},
        "elsewhere": dict(job.elsewhere),
        "failures": [{"requests": count, "why": why} for why, count in job.failures],
        "images": job.images,
        "job": job.shown,
        "manifest": job.manifest,
        "max_images": job.submit_images,
        "max_requests": job.max_requests,
        "more_causes": job.more_causes,
        "name": job.name,
        "path": job.path,
        "record": job.record,
        "removed": [_removed(gone) for gone in job.removed],
        "requests": job.requests,
        "requests_to_submit": job.submit,
        "spent_usd": _usd(job.spent_usd),
        "submitted_days": None if job.days is None else list(job.days),
        "warnings": [_warning(warning) for warning in job.warnings],
    }


def _item(item: Item) -> Json:
    line: Json = {
        "action": str(item.action),
        "address": item.address,
        "generation": item.generation,
        "key": item.key,
        "known": item.known,
        "max_images": item.max_images,
        "note": item.note,
    }
    if item.relation is not None:
        line["relation"] = item.relation
    if item.before is not None:
        line["before"] = dict(item.before)
    if item.request is not None:
        request = item.request
        line |= {
            "cell": dict(request.cell),
            "output": request.output,
            "payload": dict(request.payload),
            "references": {name: _reference(one) for name, one in request.references.items()},
            "repeat": request.repeat,
        }
    return line


def _reference(one: Reference) -> Json:
    return {
        "bytes": one.bytes,
        "format": one.format,
        "height": one.height,
        "path": one.path,
        "sha256": one.sha256,
        "width": one.width,
    }


def _removed(gone: Removed) -> Json:
    return {"address": gone.address, "key": gone.key, "known": gone.known, "payload": dict(gone.payload)}


def _against(against: Against) -> Json:
    return {
        "causes": [_cause(one) for one in against.causes],
        "changed": against.changed,
        "changed_causes": [_cause(one) for one in against.changed_causes],
        "more_causes": against.more_causes,
        "new": against.new,
        "notes": list(against.notes),
        "pending": against.pending,
        "removed": against.removed,
        "removed_paid": against.removed_paid,
    }


def _cause(one: Cause) -> Json:
    return {"at": one.place, "requests": one.requests, "why": one.text}


def _warning(warning: Diagnostic) -> Json:
    line: Json = {"code": warning.code, "message": warning.message, "path": warning.path}
    if warning.span is not None:
        start, end = warning.span.start, warning.span.end
        line |= {"line": start.line, "column": start.column, "end_line": end.line, "end_column": end.column}
    if warning.hint is not None:
        line["hint"] = warning.hint
    return line


def _revision(revision: Revision | None) -> Json | None:
    return None if revision is None else {"commit": revision.commit, "name": revision.name}


def _usd(usd: Decimal | None) -> str | None:
    return None if usd is None else f"{usd:f}"


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- and back ----------------------------------------------------------------------------------------------------------


def decode(data: Any) -> PlanDocument:
    """The document that ``encode`` wrote.

    :raises Malformed: for a field that is missing or of another kind
    """
    try:
        return _decode(data)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None


def _decode(data: Mapping[str, Any]) -> PlanDocument:
    if data["format"] != FORMAT:
        raise Malformed(f"its format is {data['format']!r}, not {FORMAT!r}")
    made = data["made_at"]
    return PlanDocument(
        origin=_text(data["origin"]),
        tariff=_decode_price(data["price"]),
        jobs=tuple(_decode_job(job) for job in data["jobs"]),
        budgets=tuple((_text(one["name"]), _amount(one["usd"])) for one in data["budgets"]),
        options=dict(data["options"]),
        base=_decode_revision(data["base"]),
        head=_decode_revision(data["head"]),
        made_at=None
        if made is None
        else int(datetime.strptime(made, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()),
        digest=None if data["digest"] is None else _text(data["digest"]),
    )


def _decode_price(data: Mapping[str, Any]) -> Tariff:
    beside = tuple((_text(one["source"]), _amount(one["usd_per_image"])) for one in data.get("beside", ()))
    return Tariff(usd=_money(data["usd_per_image"]), source=_text(data["source"]), beside=beside)


def _decode_job(job: Mapping[str, Any]) -> JobDocument:
    return JobDocument(
        shown=_text(job["job"]),
        path=_text(job["path"]),
        name=_text(job["name"]),
        record=_text(job["record"]),
        manifest=None if job["manifest"] is None else _text(job["manifest"]),
        requests=int(job["requests"]),
        images=int(job["images"]),
        submit=int(job["requests_to_submit"]),
        submit_images=int(job["max_images"]),
        counts={Action(action): int(count) for action, count in job["counts"].items()},
        causes=_decode_causes(job["causes"]),
        more_causes=int(job["more_causes"]),
        elsewhere={_text(name): int(count) for name, count in job["elsewhere"].items()},
        claimed={_text(name): int(count) for name, count in job.get("claimed", {}).items()},
        days=None if job["submitted_days"] is None else (job["submitted_days"][0], job["submitted_days"][1]),
        failures=tuple((_text(one["why"]), int(one["requests"])) for one in job["failures"]),
        warnings=tuple(_decode_warning(one) for one in job["warnings"]),
        max_requests=int(job["max_requests"]),
        budget_usd=_money(job["budget_usd"]),
        budget_name=_text(job["budget_name"]),
        spent_usd=_money(job["spent_usd"]),
        against=None if job["against"] is None else _decode_against(job["against"]),
        items=tuple(_decode_item(item) for item in job["changes"]),
        removed=tuple(
            Removed(key=one["key"], address=one["address"], payload=dict(one["payload"]), known=one["known"])
            for one in job["removed"]
        ),
    )


def _decode_item(line: Mapping[str, Any]) -> Item:
    key, address, images = _text(line["key"]), _text(line["address"]), int(line["max_images"])
    request = None
    if "payload" in line:
        request = Request(
            key=key,
            address=address,
            payload=dict(line["payload"]),
            references={name: Reference(**one) for name, one in line["references"].items()},
            cell=dict(line["cell"]),
            repeat=int(line["repeat"]),
            max_images=images,
            output=_text(line["output"]),
        )
    relation = line.get("relation")
    if relation not in (None, "new", "changed", "unchanged"):
        raise Malformed(f"relation {relation!r}")
    return Item(
        action=Action(line["action"]),
        key=key,
        address=address,
        generation=int(line["generation"]),
        max_images=images,
        known=line["known"],
        note=_text(line["note"]),
        request=request,
        relation=relation,
        before=line.get("before"),
    )


def _decode_against(data: Mapping[str, Any]) -> Against:
    return Against(
        new=int(data["new"]),
        changed=int(data["changed"]),
        pending=int(data["pending"]),
        removed=int(data["removed"]),
        removed_paid=int(data["removed_paid"]),
        causes=_decode_causes(data["causes"]),
        changed_causes=_decode_causes(data["changed_causes"]),
        more_causes=int(data["more_causes"]),
        notes=tuple(_text(note) for note in data["notes"]),
    )


def _decode_causes(data: list[Mapping[str, Any]]) -> tuple[Cause, ...]:
    return tuple(Cause(text=_text(one["why"]), place=_text(one["at"]), requests=int(one["requests"])) for one in data)


def _decode_warning(line: Mapping[str, Any]) -> Diagnostic:
    span = None
    if "line" in line:
        start = Pos(offset=0, line=int(line["line"]), column=int(line["column"]))
        end = Pos(offset=0, line=int(line["end_line"]), column=int(line["end_column"]))
        span = Span(start=start, end=end)
    return Diagnostic(
        code=_text(line["code"]),
        severity="warning",
        message=_text(line["message"]),
        path=_text(line["path"]),
        span=span,
        hint=line.get("hint"),
    )


def _decode_revision(data: Mapping[str, Any] | None) -> Revision | None:
    return None if data is None else Revision(name=_text(data["name"]), commit=_text(data["commit"]))


def _money(text: Any) -> Decimal | None:
    return None if text is None else _amount(text)


def _amount(text: Any) -> Decimal:
    usd = Decimal(_text(text))
    if not usd.is_finite() or not 0 <= usd < 10**15:
        raise Malformed(f"{text!r} is no amount of USD")
    return usd


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed(f"{value!r} is no text")
    return value
