"""Saved plans: named by their content, carried out once, refused when edited, finished, overtaken or expired.

The approval digest covers the sorted (key, generation) pairs, the limits, the price and the manifests' ids. Commits,
times and what the ledger said are shown and not digested, so that a rebase that changes no request keeps an approval.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

from seedream_jobs.errors import HeldError, UsageError
from seedream_jobs.expand.identity import canonical_json, key_of, max_images, settled
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.job.files import OutsideRoot, within
from seedream_jobs.ledger.entries import EntrySummary
from seedream_jobs.ledger.filesystem import RealFileSystem, write_whole
from seedream_jobs.ledger.state import ID, State
from seedream_jobs.plan.diff import SUBMITS, Action
from seedream_jobs.plan.document import Item, JobDocument, PlanDocument
from seedream_jobs.plan.document_json import FORMAT, Malformed, decode, encode
from seedream_jobs.profile import profiles

LIFE = 7 * 24 * 3600
"""Seconds that a saved plan may be carried out."""
_CLOCKS = 24 * 3600
"""Seconds that two machines' clocks may differ."""
MAX_SAVED = 200_000
"""Requests of one saved plan: it is held in memory."""

_NAMED = b'"seedream-jobs/plan/'
_AGAIN = "make it again: seedream-jobs plan JOB… -o plan.json"


def digest_of(plan: PlanDocument) -> str:
    """The approval digest, ``sha256:`` and 64 hex digits."""
    jobs = [
        {
            "budget_usd": _plain(job.budget_usd),
            "manifest": job.manifest,
            "max_requests": job.max_requests,
            "requests": sorted([item.key, item.generation] for item in submitted(job)),
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
        raise Malformed("it holds a value that no plan has") from None


def plan_id(digest: str) -> str:
    """What the plan is called in a manifest."""
    return f"p-{digest.removeprefix('sha256:')[:40]}"


def submitted(job: JobDocument) -> Iterator[Item]:
    """The requests that a plan submits for one job."""
    return (item for item in job.items if item.action in SUBMITS)


def _plain(usd: Decimal | None) -> str | None:
    return None if usd is None else f"{usd.normalize():f}"


def hold_place(file: Path) -> None:
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


def save(plan: PlanDocument, file: Path, *, made_at: int) -> PlanDocument:
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


def read(file: Path) -> PlanDocument:
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


def _checked(data: dict[str, Any], shown: str) -> PlanDocument:
    """The plan, if every part of it is what its name says."""
    checksum = data.pop("checksum", None)
    try:
        if checksum != _checksum(data):
            raise Malformed("its checksum is another")
        plan = decode(data)
        for job in plan.jobs:
            _check_job(job)
        if plan.digest != digest_of(plan):
            raise Malformed("its digest is another")
    except (Malformed, OutsideRoot) as problem:
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
        raise Malformed("it holds a value that no plan has") from None


def _check_job(job: JobDocument) -> None:
    within(PurePosixPath(), job.path)
    if job.submit and (job.manifest is None or ID.fullmatch(job.manifest) is None):
        raise Malformed(f"the manifest's id of {job.path}")
    found = list(submitted(job))
    if (len(found), sum(item.max_images for item in found)) != (job.submit, job.submit_images):
        raise Malformed(f"the numbers of {job.path}")
    if len({item.key for item in found}) != len(found):
        raise Malformed(f"a request of {job.path} stands twice")
    for item in found:
        if item.request is None or item.generation < 1 or not _is_itself(item, item.request):
            raise Malformed(f"the request {item.address}")
        within(PurePosixPath(job.path).parent, item.request.output)


def _is_itself(item: Item, request: Request) -> bool:
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


def hold_fresh(plan: PlanDocument, *, now: int, expect: str | None, shown: str) -> None:
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
    unsettled = (item for job in plan.jobs for item in submitted(job) if item.request and not _is_settled(item.request))
    if item := next(unsettled, None):
        raise HeldError(f"{shown} was made by an earlier version, which sent {item.address} otherwise", hint=_AGAIN)
    if plan.made_at is None or plan.made_at - now > _CLOCKS:
        raise HeldError(f"{shown} was made in the future, by this machine's clock", hint=f"set the clock, or {_AGAIN}")
    if now - plan.made_at > LIFE:
        raise HeldError(f"{shown} is more than 7 days old", hint=_AGAIN)


def sendable(item: Item, brief: EntrySummary | None) -> bool:
    """Whether a request of a plan is still to be sent, by what the ledger knows now (state and generation)."""
    if brief is None:
        return item.known is None and item.generation == 1
    state, generation = brief
    if state is State.NEW:
        return generation == item.generation
    waits = generation == item.generation - 1 and str(state) == item.known
    return waits and item.action in (Action.RETRY, Action.AGAIN)
