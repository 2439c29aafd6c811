"""This module saves a plan as a file, reads it back, and tells what of it may still be submitted.

Called by ``plan -o``, ``show`` and the pipeline. A saved plan is carried out once; it is refused when it was edited, is
too old, or another run overtook it. Invariant: the approval digest covers the sorted (key, generation) pairs, the
limits, the price and the manifests' ids. Commits, times and what the record said are shown and not digested, so that a
rebase that changes no request keeps an approval. The JSON is also what programs are given (schemas/plan.schema.json).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from functools import cache
from itertools import chain
from pathlib import Path, PurePosixPath
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from seedream_jobs.atomic_file import write_whole
from seedream_jobs.diagnostics import Diagnostic, Pos, Span, in_order
from seedream_jobs.errors import FindingsError, HeldError, UsageError
from seedream_jobs.expand.identity import canonical_json, key_of, max_images, settled
from seedream_jobs.expand.references import Reference, read_reference
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.inside import OutsideRoot, read_start
from seedream_jobs.job.document import DocumentPath
from seedream_jobs.job.files import WorkTree, campaign_root, within
from seedream_jobs.ledger.campaign import Elsewhere, held_elsewhere
from seedream_jobs.ledger.codec import Malformed, Reader, choice, iso, mapping, moment, text, whole
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.manifest import EntrySummary
from seedream_jobs.ledger.state import ID, Moment, State
from seedream_jobs.model_profile import profiles
from seedream_jobs.plans.causes import Cause
from seedream_jobs.plans.cost import Tariff, plain, spent
from seedream_jobs.plans.diff import SUBMITS, Action
from seedream_jobs.plans.load import EMULATOR_ORIGIN, Rules
from seedream_jobs.plans.options import PlanOptions
from seedream_jobs.plans.plan import Plan, PlannedJob, PlannedRequest
from seedream_jobs.plans.policy import MAX_FINDINGS, Policy

Json = dict[str, Any]

FORMAT = "seedream-jobs/plan/1"
LIFE = 7 * 24 * 3600
"""Seconds that a saved plan may be carried out."""
_CLOCKS = 24 * 3600
"""Seconds by which the clocks of two machines may differ."""
MAX_SAVED = 200_000
"""The most requests of one saved plan. It is read into memory as a whole."""
MAX_BYTES = 1 << 30
"""The largest saved plan."""

_NAMED = b'"seedream-jobs/plan/'
_AGAIN = "make it again: seedream-jobs plan JOB… -o plan.json"


def digest_of(plan: Plan) -> str:
    """The approval digest, ``sha256:`` and 64 hex digits."""
    jobs = [
        {
            "budget_usd": None if job.budget_usd is None else plain(job.budget_usd),
            "manifest": job.manifest,
            "max_requests": job.max_requests,
            "requests": sorted([item.key, item.generation] for item in job.submits),
        }
        for job in plan.jobs
        if job.submit
    ]
    content = {
        # A budget's name is for people, and may have the path of a file in it: only the amount is approved.
        "budgets": sorted(plain(usd) for _, usd in plan.budgets),
        "form": "plan-v1",
        "jobs": sorted(jobs, key=lambda job: str(job["manifest"])),
        "price": None if plan.tariff.usd is None else plain(plan.tariff.usd),
    }
    return _checksum(content)


def _checksum(content: Json) -> str:
    try:
        return f"sha256:{hashlib.sha256(canonical_json(content)).hexdigest()}"
    except (ValueError, RecursionError):  # NaN, Infinity, or nesting that no plan has
        raise Malformed("it has a value that no plan can have") from None


def plan_id(digest: str) -> str:
    """The plan's id in a manifest."""
    return f"p-{digest.removeprefix('sha256:')[:40]}"


def check_place(file: Path) -> None:
    """Refuse to save a plan where ``run`` would not take it, or over anything but a plan.

    :raises UsageError: the name does not end in .json, or something else is there
    """
    if file.suffix != ".json":
        raise UsageError(f"{file}: a saved plan is a .json file", hint="seedream-jobs plan JOB… -o plan.json")
    try:
        raw = read_start(file, 1 << 20)  # the format stands before the jobs
    except OSError:
        return  # nothing is there, or ``save`` says what is wrong with it
    if raw.strip() and _NAMED not in raw:
        # A job's data may be JSON as well, and -o replaces what is there.
        raise UsageError(f"{file} is there and is no saved plan", hint="name another file, or remove it")


def save(plan: Plan, file: Path, *, made_at: int) -> Plan:
    """Write a plan, whole or not at all; the plan as it was saved, with its digest.

    :param made_at: Unix seconds
    :raises UsageError: it can't be written, or has too many requests to be held in one file
    """
    parts = "save it in parts: --limit N, or --select EXPR"
    if plan.submit > MAX_SAVED:
        raise UsageError(f"a saved plan holds at most {MAX_SAVED:,} requests, this one has {plan.submit:,}", hint=parts)
    saved = replace(plan, digest=digest_of(plan), made_at=made_at)
    content = encode(saved)
    text = json.dumps(content | {"checksum": _checksum(content)}, ensure_ascii=True, indent=1) + "\n"
    if len(text) > MAX_BYTES:
        raise UsageError(f"a saved plan has at most {MAX_BYTES:,} bytes, this one has {len(text):,}", hint=parts)
    try:
        write_whole(file, [text.encode("ascii")])
    except OSError as error:
        raise UsageError(f"{file} can't be written: {error.strerror or error}", hint="name another file") from None
    return saved


def read(file: Path) -> Plan:
    """The plan in a file, as it was saved.

    :raises UsageError: there is no such file, or it is no plan
    :raises HeldError: it was edited
    """
    try:
        raw = read_start(file, MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"there is no {file}", hint="seedream-jobs plan JOB… -o plan.json makes one") from None
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror or error}") from None
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{file} has more than {MAX_BYTES:,} bytes, which no saved plan has", hint=_AGAIN)
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


def _checked(data: Json, shown: str) -> Plan:
    # The checksum finds an edit by mistake. An edit on purpose can mend it, so everything that the approval does not
    # cover is checked as well: file names stay in the campaign, keys are those of the payloads.
    checksum = data.pop("checksum", None)
    try:
        if checksum != _checksum(data):
            raise Malformed("its checksum does not match")
        plan = decode(data)
        for job in plan.jobs:
            _check_job(job)
        if plan.digest != digest_of(plan):
            raise Malformed("its digest does not match")
    except (Malformed, OutsideRoot) as problem:
        raise HeldError(f"{shown} was edited after it was saved: {problem}", hint=_AGAIN) from None
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError):  # a field of the wrong type
        raise HeldError(f"{shown} was edited after it was saved: a value has the wrong type", hint=_AGAIN) from None
    return plan


def _check_job(job: PlannedJob) -> None:
    within(PurePosixPath(), job.path)
    if job.submit and (job.manifest is None or ID.fullmatch(job.manifest) is None):
        raise Malformed(f"the manifest's id of {job.path}")
    found = list(job.submits)
    if (len(found), sum(item.max_images for item in found)) != (job.submit, job.submit_images):
        raise Malformed(f"the numbers of {job.path}")
    if len({item.key for item in found}) != len(found):
        raise Malformed(f"a request of {job.path} stands twice")
    for item in found:
        # A person approved what stands here: the payload must be what the key, which the digest covers, was made of.
        if item.request is None or item.generation < 1 or not _is_itself(item, item.request):
            raise Malformed(f"the request {item.address}")
        within(PurePosixPath(job.path).parent, item.request.output)


def _is_itself(item: PlannedRequest, request: Request) -> bool:
    payload, profile = request.payload, profiles().get(str(request.payload.get("model")))
    if profile is None or key_of(payload, profile.id, request.repeat) != item.key:
        return False
    if max_images(payload) != item.max_images:
        return False
    local = {url for url in payload.get("image_urls", ()) if url.startswith("sha256:")}
    if local != set(request.references):
        return False
    return all(name == f"sha256:{reference.sha256}" for name, reference in request.references.items())


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
    for item in (item for job in plan.jobs for item in job.submits):
        prompt = "" if item.request is None else str(item.request.payload["prompt"])
        if settled(prompt) != prompt:  # today's key would be that of another prompt
            raise HeldError(f"{shown} was made by an earlier version, which sent {item.address} otherwise", hint=_AGAIN)
    if plan.made_at is None or plan.made_at - now > _CLOCKS:
        raise HeldError(f"{shown} was made in the future, by this machine's clock", hint=f"set the clock, or {_AGAIN}")
    if now - plan.made_at > LIFE:
        raise HeldError(f"{shown} is more than 7 days old", hint=_AGAIN)


def sendable(item: PlannedRequest, brief: EntrySummary | None) -> bool:
    """Whether a request of a plan is still to be sent.

    :param brief: state and generation in the ledger now; None if it has no entry
    """
    if brief is None:
        return item.known is None and item.generation == 1
    state, generation = brief
    if state is State.NEW:
        return generation == item.generation
    # Only the step that was approved: from the state that the plan saw, to the next generation.
    waits = generation == item.generation - 1 and str(state) == item.known
    return waits and item.action in (Action.RETRY, Action.AGAIN)


# -- under today's policy ----------------------------------------------------------------------------------------------


def apply_policy(policy: Policy, plan: Plan, shown: str) -> Plan:
    """Check a plan against today's policy, and lower its budgets to the policy's.

    :param shown: the plan's file, for findings
    :raises FindingsError: the policy refuses one of its requests
    """
    found: dict[tuple[str, str], Diagnostic] = {}
    for code, message, rule in (one for job in plan.jobs for one in _find_refused(policy, job)):
        found.setdefault(
            (code, message),
            Diagnostic(
                code=code,
                severity="error",
                message=message,
                path=shown,
                hint="change the job and make another plan: seedream-jobs plan … -o plan.json",
                related=(policy.rule(rule),),
            ),
        )
        if len(found) >= MAX_FINDINGS:
            break
    if found:
        raise FindingsError(in_order(found.values()))
    jobs = (
        replace(job, budget_usd=policy.budget_usd, budget_name=policy.budget_name(job.path))
        if policy.lowers(job.budget_usd)
        else job
        for job in plan.jobs
    )
    return replace(plan, jobs=tuple(jobs))


def _find_refused(policy: Policy, job: PlannedJob) -> Iterator[tuple[str, str, DocumentPath]]:
    """Yield (code, message, place of the rule)."""
    if policy.max_requests is not None and job.requests > policy.max_requests:
        message = f"{job.path} makes {job.requests:,} requests: the policy allows {policy.max_requests:,}"
        yield "policy-max-requests", message, ("max_requests",)
    for item in job.submits:
        payload = {} if item.request is None else item.request.payload
        if payload:
            yield from (
                (one.code, f"{one.message} (at {item.address})", one.rule)
                for one in (
                    *policy.parameters(payload, profiles()[str(payload["model"])]),
                    *policy.prompt(str(payload["prompt"]), PurePosixPath(job.path)),
                )
            )


# -- what is left to submit --------------------------------------------------------------------------------------------

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


def read_approved(
    files: Sequence[Path], options: PlanOptions, rules: Rules, *, expect: str | None, now: int
) -> tuple[Plan, Plan, Path]:
    """Read the saved plan that ``run`` names, under today's policy: the plan, what of it may be paid for, the root.

    The second plan has the jobs with a record, and also the budgets of this command.

    :param expect: the digest that was approved
    :raises UsageError: something beside it is named, or an option that would change it
    :raises FindingsError: the policy refuses one of its requests
    :raises HeldError: it was edited, is too old, or another one was approved
    """
    if len(files) != 1 or files[0].suffix != ".json":
        raise UsageError("a saved plan is run alone", hint="seedream-jobs run plan.json --expect DIGEST")
    changing = [*options.recorded, *(["price"] if options.price is not None else [])]
    # What was approved is what is run: an option could only make it another plan.
    if changing:
        option = f"--{changing[0].replace('_', '-')}"
        raise UsageError(
            f"{option} can't change a saved plan", hint="make another one: seedream-jobs plan … -o plan.json"
        )
    found = read(files[0])
    shown = str(files[0])
    check_fresh(found, now=now, expect=expect, shown=shown)
    root = find_root(found, files[0], Path.cwd())
    budgets = options.budgets
    policy = rules.policy_of(root)
    if policy is not None:
        found = apply_policy(policy, found, shown)
        if policy.budget_usd is not None:
            budgets = (*budgets, (f"budget_usd of {policy.shown}", policy.budget_usd))
    jobs = sorted((job for job in found.jobs if job.manifest is not None), key=lambda job: job.path)
    return found, replace(found, jobs=tuple(jobs), budgets=(*found.budgets, *budgets)), root


def check_target(plan: Plan, *, origin: str, emulator: bool, shown: str) -> None:
    """Refuse a plan that was made for another service.

    :param origin: of the service that the run speaks to
    :raises HeldError: with the option to add or to leave out
    """
    if plan.origin == origin:
        return
    if plan.origin == EMULATOR_ORIGIN:
        raise HeldError(f"{shown} was made for the emulator, not {origin}", hint="add --emulator")
    if emulator:
        hint = "leave --emulator out, or plan a rehearsal: seedream-jobs plan JOB… --emulator -o plan.json"
        raise HeldError(f"{shown} was made for a paid run, not for the emulator", hint=hint)
    # Its address is not shown as one to send the key to: a plan may be anybody's file.
    raise HeldError(
        f"{shown} was made for another service than {origin}, which is asked now",
        hint="its origin names that service: if you know it as yours, set APIMART_BASE_URL to it; else make a new plan",
    )


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


def remaining(plan: Plan, ledgers: Sequence[Ledger], elsewhere: Sequence[Elsewhere], root: Path, shown: str) -> Plan:
    """Reduce a saved plan to what is left to submit, with what counts against its budgets today: the plan to apply.

    :param plan: its jobs are those with a manifest
    :param ledgers: of its jobs, locked
    :param elsewhere: what other manifests have paid, for each of its jobs
    :param root: of the campaign
    :raises HeldError: it is finished or overtaken, of another record, or a reference image is another one
    """
    assert plan.digest is not None
    records = [ledger.plans.get(plan_id(plan.digest)) for ledger in ledgers]
    if records and all(record is not None and record.finished for record in records):
        used = max(record.used_at for record in records if record is not None)
        jobs = " ".join(shell_word(job.path) for job in plan.jobs) + plan.option
        raise HeldError(
            f"{shown} was carried out on {iso(used)[:10]}, and a plan is carried out once",
            hint=f"seedream-jobs fetch {jobs} goes on with its images; {_NEW_PLAN}",
        )
    left: list[PlannedJob] = []
    for job, ledger, record, paid in zip(plan.jobs, ledgers, records, elsewhere, strict=True):
        submits: list[PlannedRequest] = []
        held = {key for paid in (True, False) for key in held_elsewhere(ledger.entries, paid=paid)}
        for item in job.submits:
            if item.key in held:
                continue  # another runner of the campaign has it, perhaps of this very plan
            if sendable(item, ledger.entries.summary(item.key)):
                submits.append(item)
            elif record is None:  # not used yet: it is carried out as a whole or not at all
                raise HeldError(f"{shown} is overtaken: another run submitted {item.address}", hint=_NEW_PLAN)
        for item in submits:
            # --again asks for one more on purpose, wherever else the request is paid.
            if item.key in paid.jobs and item.action is not Action.AGAIN:
                where = f"{item.address} is paid for in {paid.jobs[item.key]}"
                raise HeldError(f"{shown} is overtaken: {where}", hint=_NEW_PLAN)
        already = None
        if job.budget_usd is not None:
            keys = (item.key for item in job.items if item.action is not Action.ORPHANED)
            already = spent(chain(ledger.entries.values(), paid.of_gone_jobs(keys)), plan.tariff)
        images = sum(item.max_images for item in submits)
        left.append(replace(job, submits=tuple(submits), submit=len(submits), submit_images=images, spent_usd=already))
    for job in left:
        for reference in job.references().values():
            try:
                # Read to check its digest: the approved key covers it, and other bytes would be another request.
                read_reference(reference, WorkTree(root))
            except UsageError as error:
                raise HeldError(error.message, hint=_NEW_PLAN) from None
    return replace(plan, jobs=tuple(left))


def finished(submits: Iterable[PlannedRequest], ledger: Ledger) -> bool:
    """Whether nothing of a plan is left to send."""
    return not any(sendable(item, ledger.entries.summary(item.key)) for item in submits)


# -- as JSON -----------------------------------------------------------------------------------------------------------

_NAMES: Mapping[type, Mapping[str, str]] = {
    Cause: {"place": "at", "text": "why"},
    Plan: {"tariff": "price"},
    PlannedJob: {
        "days": "submitted_days",
        "items": "changes",
        "shown": "job",
        "submit": "requests_to_submit",
        "submit_images": "max_images",
    },
    Tariff: {"usd": "usd_per_image"},
}
"""The fields whose name in the file differs. The file's names are public (schemas/plan.schema.json)."""
_PAIRS = {"beside": ("source", "usd_per_image"), "budgets": ("name", "usd"), "failures": ("why", "requests")}
"""Fields that are tuples of pairs, and the names of the two in the file."""
_OPTIONAL = ("relation", "before", "beside")
"""Fields that the file leaves out where they are empty. They stand last, as in the files of earlier versions."""
_NOT_SAVED = frozenset({"changes", "job", "ledger", "request", "submits"})


@cache
def _fields_of(kind: Any) -> tuple[tuple[str, str, Reader], ...]:
    """Each saved field: its name in the file, its name here, what reads it; in the order of the file."""
    names, hints = _NAMES.get(kind, {}), get_type_hints(kind, include_extras=True)
    saved = [one.name for one in fields(kind) if one.name not in _NOT_SAVED]
    saved.sort(key=lambda name: (_OPTIONAL.index(name) if name in _OPTIONAL else -1, names.get(name, name)))
    return tuple((names.get(name, name), name, _reader(hints[name], name)) for name in saved)


def encode(plan: Plan) -> Json:
    """The whole plan as plain data; money as decimal strings, times in UTC."""
    line = _encode(plan) | {
        "format": FORMAT,
        "made_at": None if plan.made_at is None else iso(plan.made_at),
        "max_images": plan.images,
        "max_usd": _encode(plan.cost),
        "requests_to_submit": plan.submit,
    }
    return dict(sorted(line.items()))


def changes(plan: Plan) -> Iterator[Json]:
    """Each change of each job, for JSON Lines."""
    for job in plan.jobs:
        for item in job.items:
            yield {"job": job.shown, **_encode(item)}
        for gone in job.removed:
            yield {"job": job.shown, "action": "removed", **_encode(gone)}


def _encode(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case Decimal():
            return f"{value:f}"
        case Mapping():
            return {name: _encode(one) if isinstance(one, Reference) else one for name, one in value.items()}
        case Diagnostic():
            return _encode_warning(value)
        case _ if not is_dataclass(value):
            return [_encode(one) for one in value]
    line: Json = {}
    kind: Any = type(value)
    for name, field, _ in _fields_of(kind):
        held = getattr(value, field)
        if held or field not in _OPTIONAL:
            pair = _PAIRS.get(field)
            line[name] = _encode(held) if pair is None else [_encode_pair(pair, one) for one in held]
    if isinstance(value, PlannedRequest) and value.request is not None:
        line |= {name: one for name, one in _encode(value.request).items() if name not in line}
    return line


def _encode_pair(names: tuple[str, str], pair: tuple[Any, Any]) -> Json:
    return dict(sorted((name, _encode(value)) for name, value in zip(names, pair, strict=True)))


def _encode_warning(warning: Diagnostic) -> Json:
    line: Json = {"code": warning.code, "message": warning.message, "path": warning.path}
    if warning.span is not None:
        start, end = warning.span.start, warning.span.end
        line |= {"line": start.line, "column": start.column, "end_line": end.line, "end_column": end.column}
    if warning.hint is not None:
        line["hint"] = warning.hint
    return line


def decode(data: Json) -> Plan:
    """The plan that ``encode`` wrote.

    :raises Malformed: for a field of another kind; what else that may raise, ``_checked`` catches
    """
    plan: Plan = _decode(Plan, data)
    return plan


def _decode(kind: Any, line: Json) -> Any:
    found = {field: read(field, line[name]) for name, field, read in _fields_of(kind) if name in line}
    if kind is PlannedRequest and "payload" in line:
        found["request"] = _decode(Request, line)
    elif kind is PlannedJob:
        found["submits"] = tuple(item for item in found["items"] if item.action in SUBMITS)
    return kind(**found)


def _reader(hint: Any, name: str) -> Reader:
    """The function that reads a field with this annotation; made once for each field."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint in _READERS:
        return _READERS[hint]
    if origin in (Union, UnionType):
        some = _reader(inner[0], name)
        return lambda name, value: None if value is None else some(name, value)
    if origin is Literal:
        return choice(list(inner))
    if origin is Mapping and inner[1] is Any:
        return mapping
    if origin is Mapping:
        key, one = (_reader(kind, name) for kind in inner)
        return lambda name, value: {key(name, at): one(name, held) for at, held in mapping(name, value).items()}
    if origin in (tuple, Iterable):
        if name in _PAIRS:
            kinds = [_reader(kind, name) for kind in get_args(inner[0])]
            one = _pair(tuple(zip(_PAIRS[name], kinds, strict=True)))
        else:
            one = _reader(inner[0], name)
        length = len(inner) if origin is tuple and inner[-1] is not Ellipsis else None
        return lambda name, value: tuple(one(name, each) for each in _list(name, value, length))
    return lambda name, value: _decode(hint, mapping(name, value))


def _pair(parts: tuple[tuple[str, Reader], ...]) -> Reader:
    return lambda name, value: tuple(read(part, value[part]) for part, read in parts)


def _list(name: str, value: Any, length: int | None) -> list[Any]:
    if type(value) is not list or len(value) != (len(value) if length is None else length):
        raise Malformed(f"'{name}' must be a list")
    return value


def _amount(name: str, value: Any) -> Decimal:
    usd = Decimal(text(name, value))
    if not usd.is_finite() or not 0 <= usd < 10**15:
        raise Malformed(f"{value!r} is no amount of USD")
    return usd


_READERS: Mapping[Any, Reader] = {
    Any: lambda _, value: value,
    str: text,
    int: whole,
    Moment: moment,
    Decimal: _amount,
    Action: lambda _, value: Action(value),
    Diagnostic: lambda _, value: _decode_warning(value),
}


def _decode_warning(line: Json) -> Diagnostic:
    span = None
    if "line" in line:
        start = Pos(offset=0, line=whole("line", line["line"]), column=whole("column", line["column"]))
        end = Pos(offset=0, line=whole("end_line", line["end_line"]), column=whole("end_column", line["end_column"]))
        span = Span(start=start, end=end)
    hint = None if line.get("hint") is None else text("hint", line["hint"])
    code, message, path = (text(name, line[name]) for name in ("code", "message", "path"))
    return Diagnostic(code=code, severity="warning", message=message, path=path, span=span, hint=hint)
