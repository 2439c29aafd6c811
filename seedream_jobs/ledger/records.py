"""What a manifest holds beside requests: its header, the plans that were used, the resolutions people gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from seedream_jobs.ledger.codec import (
    Json,
    Malformed,
    identifier,
    iso,
    mapping,
    moment,
    read_fields,
    request_key,
    text,
    whole,
)
from seedream_jobs.ledger.state import Resolution

FORMAT = 1
_RESOLUTIONS = frozenset(get_args(Resolution))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A run that began to pay and whose journal is not folded into this manifest yet.

    :param id: made once for each run
    :param intents: how many requests it may have paid, at most
    :param since: Unix seconds
    """

    id: str
    intents: int
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Whose record it is.

    :param id: made once; part of every idempotency key
    :param job: the job file's name, in the manifest's folder
    :param origin: scheme, host and path prefix of the service it was written against
    :param other_ids: ids of manifests that git merged into this one
    :param runs: the runs that are open, by id; more than one only after a merge. Written as ``run``
    :param serial: how often it was written; 0 for one of a version that did not count
    """

    id: str
    job: str
    origin: str
    other_ids: tuple[str, ...] = ()
    runs: tuple[OpenRun, ...] = ()
    serial: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRecord:
    """A plan that was applied: recorded before its first intent, ``finished`` once none of it is left to send.

    Also a direct run whose ``--set`` values are other ones than the last run's; it is never ``finished``.

    :param plan: the plan's id; ``r-…`` for a direct run
    :param digest: the approval digest; for a direct run that of its options
    :param used_at: Unix seconds
    :param options: what the operator said that changes money or requests, such as ``--set`` values
    """

    plan: str
    digest: str
    used_at: int
    finished: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionRecord:
    """What a person decided about an in-doubt submission, or about a run whose journal is lost.

    :param key: the request's; empty for a run
    :param at: Unix seconds
    :param run: the run's id; then ``resolution`` says what became of everything that it may have paid
    """

    key: str
    resolution: Resolution
    reason: str
    at: int
    task_id: str | None = None
    run: str | None = None


def encode_header(header: Header) -> Json:
    """The manifest's first line."""
    line: Json = {"format": FORMAT, "id": header.id, "job": header.job, "origin": header.origin}
    if header.other_ids:
        line["other_ids"] = list(header.other_ids)
    if header.runs:
        runs = [{"id": run.id, "intents": run.intents, "since": iso(run.since)} for run in header.runs]
        line["run"] = runs[0] if len(runs) == 1 else runs
    if header.serial:
        line["serial"] = header.serial
    return line


def encode_plan(plan: PlanRecord) -> Json:
    """A plan's line."""
    line: Json = {"digest": plan.digest, "plan": plan.plan, "used_at": iso(plan.used_at)}
    if plan.finished:
        line["finished"] = True
    if plan.options:
        line["options"] = dict(plan.options)
    return line


def encode_resolution(record: ResolutionRecord) -> Json:
    """A resolution's line."""
    line: Json = {
        "at": iso(record.at),
        "reason": record.reason,
        "resolution": record.resolution,
    }
    if record.key:
        line["key"] = record.key
    if record.task_id is not None:
        line["task_id"] = record.task_id
    if record.run is not None:
        line["run"] = record.run
    return line


def decode_header(line: Json) -> Header:
    """:raises Malformed: for a format this program does not read, or a field that is not as written"""
    if line.get("format") != FORMAT:
        raise Malformed(f"format {line.get('format')!r} is not {FORMAT}, the one this program reads")
    readers = {
        "format": _format,
        "id": identifier,
        "job": text,
        "origin": text,
        "other_ids": _ids,
        "run": _runs,
        "serial": whole,
    }
    found = read_fields(line, readers, "the header")
    _require(found, ("id", "job", "origin"))
    found.pop("format")
    if "run" in found:
        found["runs"] = found.pop("run")
    return Header(**found)


def decode_plan(line: Json) -> PlanRecord:
    """:raises Malformed: for a field that is not as written"""
    readers = {"plan": identifier, "digest": text, "used_at": moment, "finished": _flag, "options": mapping}
    found = read_fields(line, readers, "a plan's line")
    _require(found, ("plan", "digest", "used_at"))
    return PlanRecord(**found)


def decode_resolution(line: Json) -> ResolutionRecord:
    """:raises Malformed: for a field that is not as written"""
    readers = {
        "key": request_key,
        "resolution": _resolution,
        "reason": text,
        "at": moment,
        "task_id": identifier,
        "run": identifier,
    }
    found = read_fields(line, readers, "a resolution's line")
    _require(found, ("run" if "run" in found else "key", "resolution", "reason", "at"))
    found.setdefault("key", "")
    return ResolutionRecord(**found)


def _require(found: Json, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise Malformed(f"missing {', '.join(repr(name) for name in missing)}")


def _format(name: str, value: Any) -> int:
    return int(value)


def _flag(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise Malformed(f"'{name}' must be true or false")
    return value


def _ids(name: str, value: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise Malformed(f"'{name}' must be a list")
    return tuple(identifier(name, one) for one in value)


def _runs(name: str, value: Any) -> tuple[OpenRun, ...]:
    readers = {"id": identifier, "intents": whole, "since": moment}
    found = []
    for one in value if type(value) is list else [value]:
        fields = read_fields(mapping(name, one), readers, "the header's run")
        _require(fields, ("id", "intents", "since"))
        found.append(OpenRun(**fields))
    return tuple(found)


def _resolution(name: str, value: Any) -> Resolution:
    if type(value) is not str or value not in _RESOLUTIONS:
        raise Malformed(f"'{name}' must be one of {', '.join(sorted(_RESOLUTIONS))}")
    return cast("Resolution", value)
