"""Saved plans: written, read, and carried out once; refused when edited, finished, overtaken or expired.

The JSON is what ``plan -o`` saves and programs are given (schemas/plan.schema.json). The approval digest covers the
sorted (key, generation) pairs, the limits, the price and the manifests' ids. Commits, times and what the record said
are shown and not digested, so that a rebase that changes no request keeps an approval.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from seedream_jobs.diagnostics import Diagnostic, Pos, Span
from seedream_jobs.errors import HeldError, UsageError
from seedream_jobs.expand.identity import canonical_json, key_of, max_images, settled
from seedream_jobs.expand.references import Reference, read_reference
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.job.files import OutsideRoot, WorkTree, campaign_root, within
from seedream_jobs.ledger.campaign import Elsewhere
from seedream_jobs.ledger.filesystem import RealFileSystem, write_whole
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.manifest import EntrySummary
from seedream_jobs.ledger.state import ID, State
from seedream_jobs.model_profile import profiles
from seedream_jobs.plan.causes import Cause
from seedream_jobs.plan.cost import Tariff, spent
from seedream_jobs.plan.diff import SUBMITS, Action
from seedream_jobs.plan.plan import Against, Plan, PlannedJob, PlannedRequest, Removed, Revision

FORMAT = "seedream-jobs/plan/1"
LIFE = 7 * 24 * 3600
"""Seconds that a saved plan may be carried out."""
_CLOCKS = 24 * 3600
"""Seconds that two machines' clocks may differ."""
MAX_SAVED = 200_000
"""Requests of one saved plan: it is held in memory."""

_NAMED = b'"seedream-jobs/plan/'
_AGAIN = "make it again: seedream-jobs plan JOB… -o plan.json"


def digest_of(plan: Plan) -> str:
    """The approval digest, ``sha256:`` and 64 hex digits."""
    jobs = [
        {
            "budget_usd": _plain(job.budget_usd),
            "manifest": job.manifest,
            "max_requests": job.max_requests,
            "requests": sorted([item.key, item.generation] for item in job.submits),
        }
        for job in plan.jobs
        if job.submit
    ]
    content = {
        "budgets": sorted(_plain(usd) or "" for _, usd in plan.budgets),
        "form": "plan-v1",
        "jobs": sorted(jobs, key=lambda job: str(job["manifest"])),
        "price": _plain(plan.tariff.usd),
    }
    try:
        return f"sha256:{hashlib.sha256(canonical_json(content)).hexdigest()}"
    except (ValueError, RecursionError):  # NaN, Infinity, or nesting that no plan has
        raise MalformedPlan("it holds a value that no plan has") from None


def plan_id(digest: str) -> str:
    """What the plan is called in a manifest."""
    return f"p-{digest.removeprefix('sha256:')[:40]}"


def _plain(usd: Decimal | None) -> str | None:
    return None if usd is None else f"{usd.normalize():f}"


def check_place(file: Path) -> None:
    """See that a plan may be saved there: ``run`` knows it by its name, and nothing but a plan is written over.

    :raises UsageError: it is named otherwise, or something else is there
    """
    if file.suffix != ".json":
        raise UsageError(f"{file}: a saved plan is a .json file", hint="seedream-jobs plan JOB… -o plan.json")
    try:
        raw = RealFileSystem().read(file)
    except OSError:
        return  # nothing is there; or ``save`` says what is wrong with it
    if raw.strip() and _NAMED not in raw:
        raise UsageError(f"{file} is there and is no saved plan", hint="name another file, or remove it")


def save(plan: Plan, file: Path, *, made_at: int) -> Plan:
    """Write a plan, whole or not at all; the plan as it was saved, with its digest.

    :param made_at: Unix seconds
    :raises UsageError: it can't be written, or has too many requests to be held in one file
    """
    if plan.submit > MAX_SAVED:
        raise UsageError(
            f"a saved plan holds at most {MAX_SAVED:,} requests, this one has {plan.submit:,}",
            hint="save it in parts: --limit N, or --select EXPR",
        )
    saved = replace(plan, digest=digest_of(plan), made_at=made_at)
    content = encode(saved)
    text = json.dumps(content | {"checksum": _checksum(content)}, ensure_ascii=True, indent=1) + "\n"
    try:
        write_whole(RealFileSystem(), file, [text.encode("ascii")])
    except OSError as error:
        raise UsageError(f"{file} can't be written: {error.strerror or error}", hint="name another file") from None
    return saved


def read(file: Path) -> Plan:
    """The plan in a file, as it was saved.

    :raises UsageError: there is no such file, or it is no plan
    :raises HeldError: it was edited
    """
    try:
        raw = RealFileSystem().read(file)
    except FileNotFoundError:
        raise UsageError(f"there is no {file}", hint="seedream-jobs plan JOB… -o plan.json makes one") from None
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror or error}") from None
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        raise UsageError(f"{file} is no plan: it is not JSON", hint=_AGAIN) from None
    if not isinstance(data, dict) or not str(data.get("format", "")).startswith("seedream-jobs/plan/"):
        raise UsageError(
            f"{file} is no saved plan", hint="a job file ends in .yaml; seedream-jobs plan -o saves a plan"
        )
    if data["format"] != FORMAT:
        raise UsageError(f"{file} has the format {data['format']!r}, not {FORMAT!r}", hint=_AGAIN)
    if data.get("digest") is None:
        raise UsageError(f"{file} is a plan to be read (--format json), not one to be run", hint=_AGAIN)
    return _checked(data, str(file))


def _checked(data: dict[str, Any], shown: str) -> Plan:
    """The plan, if every part of it is what its name says."""
    checksum = data.pop("checksum", None)
    try:
        if checksum != _checksum(data):
            raise MalformedPlan("its checksum is another")
        plan = decode(data)
        for job in plan.jobs:
            _check_job(job)
        if plan.digest != digest_of(plan):
            raise MalformedPlan("its digest is another")
    except (MalformedPlan, OutsideRoot) as problem:
        raise HeldError(f"{shown} was edited after it was saved: {problem}", hint=_AGAIN) from None
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
    ):  # fields of other kinds
        raise HeldError(f"{shown} was edited after it was saved: a value is of another kind", hint=_AGAIN) from None
    return plan


def _checksum(content: dict[str, Any]) -> str:
    try:
        return f"sha256:{hashlib.sha256(canonical_json(content)).hexdigest()}"
    except (ValueError, RecursionError):  # NaN, Infinity, or nesting that no plan has
        raise MalformedPlan("it holds a value that no plan has") from None


def _check_job(job: PlannedJob) -> None:
    within(PurePosixPath(), job.path)
    if job.submit and (job.manifest is None or ID.fullmatch(job.manifest) is None):
        raise MalformedPlan(f"the manifest's id of {job.path}")
    found = list(job.submits)
    if (len(found), sum(item.max_images for item in found)) != (job.submit, job.submit_images):
        raise MalformedPlan(f"the numbers of {job.path}")
    if len({item.key for item in found}) != len(found):
        raise MalformedPlan(f"a request of {job.path} stands twice")
    for item in found:
        if item.request is None or item.generation < 1 or not _is_itself(item, item.request):
            raise MalformedPlan(f"the request {item.address}")
        within(PurePosixPath(job.path).parent, item.request.output)


def _is_itself(item: PlannedRequest, request: Request) -> bool:
    """Whether a request's key, images and references follow from what it says."""
    payload, profile = request.payload, profiles().get(str(request.payload.get("model")))
    if profile is None or key_of(payload, profile.id, request.repeat) != item.key:
        return False
    if max_images(payload) != item.max_images:
        return False
    local = {url for url in payload.get("image_urls", ()) if url.startswith("sha256:")}
    if local != set(request.references):
        return False
    return all(name == f"sha256:{reference.sha256}" for name, reference in request.references.items())


def _is_settled(request: Request) -> bool:
    prompt = str(request.payload["prompt"])
    return settled(prompt) == prompt


def check_fresh(plan: Plan, *, now: int, expect: str | None, shown: str) -> None:
    """Refuse a plan that is too old, or another one than was approved.

    :param now: Unix seconds
    :param expect: the digest that was approved
    :raises HeldError: with what to do
    """
    if expect is not None and expect.strip() != plan.digest:
        raise HeldError(
            f"{shown} is not the plan that was approved: its digest is {plan.digest}, expected {expect.strip()}",
            hint="have this one approved, or run the one that was",
        )
    unsettled = (item for job in plan.jobs for item in job.submits if item.request and not _is_settled(item.request))
    if item := next(unsettled, None):
        raise HeldError(f"{shown} was made by an earlier version, which sent {item.address} otherwise", hint=_AGAIN)
    if plan.made_at is None or plan.made_at - now > _CLOCKS:
        raise HeldError(f"{shown} was made in the future, by this machine's clock", hint=f"set the clock, or {_AGAIN}")
    if now - plan.made_at > LIFE:
        raise HeldError(f"{shown} is more than 7 days old", hint=_AGAIN)


def sendable(item: PlannedRequest, brief: EntrySummary | None) -> bool:
    """Whether a request of a plan is still to be sent, by what the ledger knows now (state and generation)."""
    if brief is None:
        return item.known is None and item.generation == 1
    state, generation = brief
    if state is State.NEW:
        return generation == item.generation
    waits = generation == item.generation - 1 and str(state) == item.known
    return waits and item.action in (Action.RETRY, Action.AGAIN)


# -- what is left of it ------------------------------------------------------------------------------------------------

_NEW_PLAN = "make a new plan: seedream-jobs plan JOB… -o plan.json"


def find_root(plan: Plan, file: Path, here: Path) -> Path:
    """The campaign's root that a plan was made for: around the plan's file, else around ``here``.

    :raises UsageError: neither holds the plan's jobs
    """
    for root in dict.fromkeys((campaign_root(file), campaign_root(here / "plan.json"))):
        if all((root / job.path).exists() or (root / job.record).exists() for job in plan.jobs):
            return root
    missing = plan.jobs[0].path if plan.jobs else "job file"
    raise UsageError(
        f"the campaign of {file} is not here: there is no {missing}", hint="run it in the campaign's repository"
    )


def check_target(plan: Plan, *, origin: str, emulator: bool, shown: str) -> None:
    """Refuse a plan that was made for another service.

    :param origin: of the service that the run speaks to
    :raises HeldError: with the option to add or to leave out
    """
    if plan.origin == origin:
        return
    if plan.origin == "emulator":
        hint = "add --emulator"
    elif emulator:
        hint = "leave --emulator out, or plan a rehearsal: seedream-jobs plan JOB… --emulator -o plan.json"
    else:
        hint = f"name that service: --base-url {plan.origin}"
    raise HeldError(f"{shown} was made for {plan.origin}, not {origin}", hint=hint)


def remaining(plan: Plan, ledgers: Sequence[Ledger], elsewhere: Sequence[Elsewhere], root: Path, shown: str) -> Plan:
    """What is left to submit of a saved plan, with what counts against its budgets today; the plan to be applied.

    :param plan: its jobs are those with a manifest
    :param ledgers: of its jobs, locked
    :param elsewhere: what other manifests have paid, for each of its jobs
    :param root: of the campaign
    :raises HeldError: it is finished or overtaken, of another record, or a reference image is another one
    """
    left = _remaining(plan, ledgers, elsewhere, shown)
    for job in left.jobs:
        for reference in job.references().values():
            try:
                read_reference(reference, WorkTree(root))
            except UsageError as error:
                raise HeldError(error.message, hint=_NEW_PLAN) from None
    return left


def check_records(plan: Plan, ledgers: Sequence[Ledger]) -> None:
    """Refuse a plan that was made for other records.

    :raises HeldError: naming one
    """
    for job, ledger in zip(plan.jobs, ledgers, strict=True):
        others = () if ledger.header is None else ledger.header.other_ids
        if job.manifest not in (ledger.id, *others):
            raise HeldError(
                f"{job.path} has another record here ({ledger.id}) than the plan was made for ({job.manifest})",
                hint=_NEW_PLAN,
            )


def _remaining(plan: Plan, ledgers: Sequence[Ledger], elsewhere: Sequence[Elsewhere], shown: str) -> Plan:
    assert plan.digest is not None
    records = [ledger.plans.get(plan_id(plan.digest)) for ledger in ledgers]
    if records and all(record is not None and record.finished for record in records):
        used = max(record.used_at for record in records if record is not None)
        day = datetime.fromtimestamp(used, UTC).strftime("%Y-%m-%d")
        jobs = " ".join(job.path for job in plan.jobs) + plan.option
        raise HeldError(
            f"{shown} was carried out on {day}, and a plan is carried out once",
            hint=f"seedream-jobs fetch {jobs} goes on with its images; {_NEW_PLAN}",
        )
    left: list[PlannedJob] = []
    for job, ledger, record, paid in zip(plan.jobs, ledgers, records, elsewhere, strict=True):
        submits = tuple(item for item in job.submits if sendable(item, ledger.brief(item.key)))
        if record is None:  # not used yet, it is carried out as a whole or not at all
            open_keys = {item.key for item in submits}
            for item in job.submits:
                if item.key not in open_keys:
                    raise HeldError(f"{shown} is overtaken: another run submitted {item.address}", hint=_NEW_PLAN)
        for item in submits:
            if item.key in paid.jobs and item.action is not Action.AGAIN:
                raise HeldError(
                    f"{shown} is overtaken: {item.address} is paid for in {paid.jobs[item.key]}", hint=_NEW_PLAN
                )
        already = None
        if job.budget_usd is not None:
            keys = (item.key for item in job.items if item.action is not Action.ORPHANED)
            already = spent(chain(ledger.entries.values(), paid.of_gone_jobs(keys)), plan.tariff)
        images = sum(item.max_images for item in submits)
        left.append(
            replace(job, submits=submits, submit=len(submits), submit_images=images, spent_usd=already),
        )
    return replace(plan, jobs=tuple(left))


def finished(submits: Iterable[PlannedRequest], ledger: Ledger) -> bool:
    """Whether none of a plan's requests is left to send."""
    return not any(sendable(item, ledger.brief(item.key)) for item in submits)


# -- as JSON -----------------------------------------------------------------------------------------------------------

Json = dict[str, Any]


class MalformedPlan(Exception):
    """A field of a saved plan that is not as it is written."""


def encode(plan: Plan) -> Json:
    """The whole plan as plain data; money as decimal strings, times in UTC."""
    return {
        "base": _revision(plan.base),
        "budgets": [{"name": name, "usd": str(usd)} for name, usd in plan.budgets],
        "digest": plan.digest,
        "format": FORMAT,
        "head": _revision(plan.head),
        "jobs": [_job(job) for job in plan.jobs],
        "made_at": None if plan.made_at is None else _iso(plan.made_at),
        "max_images": plan.images,
        "max_usd": _usd(plan.cost),
        "options": dict(plan.options),
        "origin": plan.origin,
        "price": _price(plan.tariff),
        "requests_to_submit": plan.submit,
    }


def _price(tariff: Tariff) -> Json:
    line: Json = {"source": tariff.source, "usd_per_image": _usd(tariff.usd)}
    if tariff.beside:
        line["beside"] = [{"source": said, "usd_per_image": _usd(usd)} for said, usd in tariff.beside]
    return line


def changes(plan: Plan) -> Iterator[Json]:
    """Each change of each job by itself, with its job: what JSON Lines are made of."""
    for job in plan.jobs:
        for item in job.items:
            yield {"job": job.shown, **_item(item)}
        for gone in job.removed:
            yield {"job": job.shown, "action": "removed", **_removed(gone)}


def _job(job: PlannedJob) -> Json:
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


def _item(item: PlannedRequest) -> Json:
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


def decode(data: Any) -> Plan:
    """The plan that ``encode`` wrote.

    :raises MalformedPlan: for a field that is missing or of another kind
    """
    try:
        return _decode(data)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise MalformedPlan(f"{type(error).__name__}: {error}") from None


def _decode(data: Mapping[str, Any]) -> Plan:
    if data["format"] != FORMAT:
        raise MalformedPlan(f"its format is {data['format']!r}, not {FORMAT!r}")
    made = data["made_at"]
    return Plan(
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


def _decode_job(job: Mapping[str, Any]) -> PlannedJob:
    items = tuple(_decode_item(item) for item in job["changes"])
    return PlannedJob(
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
        items=items,
        submits=tuple(item for item in items if item.action in SUBMITS),
        removed=tuple(
            Removed(key=one["key"], address=one["address"], payload=dict(one["payload"]), known=one["known"])
            for one in job["removed"]
        ),
    )


def _decode_item(line: Mapping[str, Any]) -> PlannedRequest:
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
        raise MalformedPlan(f"relation {relation!r}")
    return PlannedRequest(
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
        raise MalformedPlan(f"{text!r} is no amount of USD")
    return usd


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedPlan(f"{value!r} is no text")
    return value
