"""Entries as JSON: the one place that says how each field is written and read.

Canonical JSON: sorted keys, no spaces, UTF-8, absent fields omitted, money as decimal strings. ``decode_*`` are strict:
an unknown field, a wrong type or a malformed value raises ``Malformed``, never a guess.

A line on the disk, of a manifest as of a journal, begins with its checksum: ``{"crc":"xxxxxxxx",…}``, the crc32 in hex
of the same line without that member.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, cast, get_args
from zlib import crc32

from seedream_jobs.ledger.state import (
    ID,
    Accepted,
    Completed,
    Doubt,
    Earlier,
    Entry,
    Event,
    Expired,
    Failed,
    Header,
    Image,
    InDoubt,
    Intended,
    NotSent,
    OpenRun,
    PlanRecord,
    Problem,
    Rejected,
    Resolution,
    ResolutionRecord,
    Resolved,
    State,
    Stored,
)

Json = dict[str, Any]


class Malformed(Exception):
    """A field that is not what it must be; says which, and why."""


_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_ascii_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical(value: object) -> bytes:
    """Canonical JSON without a newline; the same value always gives the same bytes."""
    try:
        return _encoder.encode(value).encode()
    except UnicodeEncodeError:  # a lone surrogate in the service's words has no UTF-8: escape the line instead
        return _ascii_encoder.encode(value).encode()


SEAL = b'{"crc":"'
_AFTER_SEAL = len(SEAL) + 8 + 2  # crc, quote, comma
_OPENED = crc32(b"{")


def seal(plain: bytes) -> bytes:
    """A canonical line (of a JSON object that is not empty) with its checksum in front."""
    return b'%s%08x",%s' % (SEAL, crc32(plain), plain[1:])


def is_sealed(line: bytes) -> bool:
    """Whether a line begins with the checksum of its other bytes."""
    return (
        line.startswith(SEAL)
        and line[_AFTER_SEAL - 2 : _AFTER_SEAL] == b'",'
        and line[len(SEAL) : _AFTER_SEAL - 2] == b"%08x" % crc32(memoryview(line)[_AFTER_SEAL:], _OPENED)
    )


def unsealed(line: bytes) -> bytes:
    """The canonical line in a sealed one."""
    return b"{" + line[_AFTER_SEAL:]


@lru_cache(maxsize=64)  # many requests have the same second
def iso(seconds: int) -> str:
    """Unix seconds as ``2026-08-02T10:11:12Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def money(value: Decimal) -> str:
    """A finite amount in plain notation."""
    if not value.is_finite():
        raise ValueError(f"{value} is not an amount of money")
    return format(value, "f")


# Writing ----------------------------------------------------------------------------------------------------------


def encode_problem(problem: Problem) -> Json:
    """As it stands in a manifest and in the journal."""
    return _present({"code": problem.code, "message": problem.message, "status": problem.status})


def encode_image(image: Image) -> Json:
    """As it stands in a manifest and in the journal; the link is dropped once the file is whole."""
    plain = {field.name: getattr(image, field.name) for field in fields(Image)}
    plain["warnings"] = list(image.warnings) or None
    if image.file is not None:
        plain["url"] = None
    return _present(plain)


def encode_attempt(attempt: Entry | Earlier) -> Json:
    """The fields that an entry and an earlier submission share."""
    return _present(
        {
            "cost_usd": None if attempt.cost_usd is None else money(attempt.cost_usd),
            "doubt": attempt.doubt,
            "error": None if attempt.error is None else encode_problem(attempt.error),
            "generation": attempt.generation,
            "idempotency_key": attempt.idempotency_key,
            "images": [encode_image(image) for image in attempt.images] or None,
            "max_cost_usd": None if attempt.max_cost_usd is None else money(attempt.max_cost_usd),
            "request_id": attempt.request_id,
            "run": attempt.run,
            "since": None if attempt.since is None else iso(attempt.since),
            "state": attempt.state.value,
            "submitted_at": None if attempt.submitted_at is None else iso(attempt.submitted_at),
            "task_id": None if attempt.more_task_ids else attempt.task_id,
            "task_ids": [attempt.task_id, *attempt.more_task_ids] if attempt.more_task_ids else None,
        }
    )


def encode_entry(entry: Entry) -> Json:
    """An entry as a manifest's line holds it."""
    line = encode_attempt(entry)
    line.update(
        address=entry.address,
        cell=dict(entry.cell),
        key=entry.key,
        max_images=entry.max_images,
        output=entry.output,
        repeat=entry.repeat,
        request=dict(entry.request),
    )
    if entry.replays:
        line["replays"] = entry.replays
    if entry.earlier:
        line["earlier"] = [encode_attempt(one) for one in entry.earlier]
    return line


def _present(line: Json) -> Json:
    return {name: value for name, value in line.items() if value is not None}


# Reading ----------------------------------------------------------------------------------------------------------

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_MONEY = re.compile(r"-?\d{1,15}(\.\d{1,15})?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KEY = re.compile(r"v1:[0-9a-f]{1,64}", re.ASCII)
STATES: Mapping[str, State] = {state.value: state for state in State}
_DOUBTS = frozenset(get_args(Doubt))

FORMAT = 1
_RESOLUTIONS = frozenset(get_args(Resolution))

Reader = Callable[[str, Any], Any]


def _refuse_constant(name: str) -> None:
    raise Malformed(f"{name} is not JSON")


_scan = cast("Any", json.JSONDecoder(parse_constant=_refuse_constant)).scan_once


def parse(line: bytes) -> Json:
    """One line as a JSON object, straight through the C scanner.

    :raises Malformed: it is not one
    """
    try:
        written = line.decode()
        value, end = _scan(written, 0)
    except StopIteration:
        raise Malformed("not JSON") from None
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from None
    if end != len(written) and written[end:].strip(" \t\r"):
        raise Malformed(f"more than one JSON value (column {end + 1})")
    if type(value) is not dict:
        raise Malformed("not a JSON object")
    return value


def parse_checked(line: bytes) -> tuple[Json, bool]:
    """A manifest's line without its checksum, and whether it had one: older versions wrote none.

    The checksum of a line that a tool has spaced or sorted in another way is that of its canonical form.

    :raises Malformed: it is no JSON object, or was changed after it was written
    """
    raw = parse(line)
    written = raw.pop("crc", None)
    if written is not None and not is_sealed(line) and written != f"{crc32(canonical(raw)):08x}":
        raise Malformed("its checksum does not match: it was changed after it was written")
    return raw, written is not None


def text(name: str, value: Any) -> str:
    """A string."""
    if type(value) is not str:
        raise Malformed(f"'{name}' must be a string")
    return value


def whole(name: str, value: Any) -> int:
    """A whole number, 0 or more."""
    if type(value) is not int or value < 0:
        raise Malformed(f"'{name}' must be a whole number, 0 or more")
    return value


def _positive(name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise Malformed(f"'{name}' must be a whole number, 1 or more")
    return value


def mapping(name: str, value: Any) -> Json:
    """A JSON object."""
    if type(value) is not dict:
        raise Malformed(f"'{name}' must be an object")
    return value


def moment(name: str, value: Any) -> int:
    """``2026-08-02T10:11:12Z`` as Unix seconds."""
    if type(value) is not str or _TIME.fullmatch(value) is None:
        raise Malformed(f"'{name}' must be a time such as 2026-08-02T10:11:12Z")
    try:
        return int(datetime.fromisoformat(value).timestamp())
    except ValueError:
        raise Malformed(f"'{name}' is no time that exists: {value}") from None


def amount(name: str, value: Any) -> Decimal:
    """USD as a decimal string."""
    if type(value) is not str or _MONEY.fullmatch(value) is None:
        raise Malformed(f"'{name}' must be an amount in USD as a string, such as \"0.0228\"")
    return Decimal(value)


def identifier(name: str, value: Any) -> str:
    """A task id or manifest id: ``[A-Za-z0-9_-]{1,128}``."""
    if type(value) is not str or ID.fullmatch(value) is None:
        raise Malformed(f"'{name}' must be an id of 1 to 128 letters, digits, '_' and '-'")
    return value


def request_key(name: str, value: Any) -> str:
    """A request's key."""
    if type(value) is not str or _KEY.fullmatch(value) is None:
        raise Malformed(f"'{name}' must be 'v1:' and hex digits")
    return value


def _sha256(name: str, value: Any) -> str:
    if type(value) is not str or _SHA256.fullmatch(value) is None:
        raise Malformed(f"'{name}' must be 64 hex digits")
    return value


def _state(name: str, value: Any) -> State:
    state = STATES.get(value) if type(value) is str else None
    if state is None:
        raise Malformed(f"'{name}' must be one of {', '.join(STATES)}")
    return state


def _doubt(name: str, value: Any) -> Doubt:
    if type(value) is not str or value not in _DOUBTS:
        raise Malformed(f"'{name}' must be one of {', '.join(sorted(_DOUBTS))}")
    return cast("Doubt", value)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise Malformed(f"'{name}' must be a list")
    return tuple(text(name, one) for one in value)


def _task_ids(name: str, value: Any) -> tuple[str, ...]:
    if type(value) is not list or len(value) < 2:
        raise Malformed(f"'{name}' must be a list of two or more ids; one stands as 'task_id'")
    return tuple(identifier(name, one) for one in value)


def _with_tasks(found: Json) -> Json:
    """``task_ids`` as the first and the further ones."""
    ids = found.pop("task_ids", None)
    if ids is not None:
        if "task_id" in found:
            raise Malformed("'task_id' and 'task_ids' exclude each other")
        found["task_id"], found["more_task_ids"] = ids[0], ids[1:]
    return found


def problem(name: str, value: Any) -> Problem:
    """What the service refused or failed a request with."""
    found = read_fields(mapping(name, value), {"code": text, "message": text, "status": whole}, name)
    if "code" not in found or "message" not in found:
        raise Malformed(f"'{name}' must have 'code' and 'message'")
    return Problem(code=found["code"], message=found["message"], status=found.get("status"))


_IMAGE: Mapping[str, Reader] = {
    "url": text,
    "expires_at": whole,
    "file": text,
    "sha256": _sha256,
    "bytes": whole,
    "width": _positive,
    "height": _positive,
    "format": text,
    "warnings": _texts,
    "error": text,
}


def images(name: str, value: Any) -> tuple[Image, ...]:
    """Delivered images."""
    if type(value) is not list:
        raise Malformed(f"'{name}' must be a list")
    return tuple(Image(**read_fields(mapping(name, one), _IMAGE, name)) for one in value)


_ATTEMPT: Mapping[str, Reader] = {
    "cost_usd": amount,
    "doubt": _doubt,
    "error": problem,
    "generation": _positive,
    "idempotency_key": text,
    "images": images,
    "max_cost_usd": amount,
    "request_id": text,
    "run": identifier,
    "since": moment,
    "state": _state,
    "submitted_at": moment,
    "task_id": identifier,
    "task_ids": _task_ids,
}


def _earlier(name: str, value: Any) -> tuple[Earlier, ...]:
    if type(value) is not list:
        raise Malformed(f"'{name}' must be a list")
    found = []
    for one in value:
        attempt = _with_tasks(read_fields(mapping(name, one), _ATTEMPT, name))
        attempt.setdefault("generation", 1)
        if "state" not in attempt:
            raise Malformed(f"'{name}' must have 'state'")
        found.append(Earlier(**attempt))
    return tuple(found)


ENTRY: Mapping[str, Reader] = {
    **_ATTEMPT,
    "address": text,
    "cell": mapping,
    "earlier": _earlier,
    "key": request_key,
    "max_images": _positive,
    "output": text,
    "repeat": _positive,
    "replays": whole,
    "request": mapping,
}
REQUIRED = frozenset({"address", "cell", "generation", "key", "max_images", "output", "repeat", "request", "state"})


def read_fields(line: Json, readers: Mapping[str, Reader], where: str) -> Json:
    """Each field through its reader.

    :raises Malformed: for an unknown field, or one its reader refuses
    """
    found: Json = {}
    for name, value in line.items():
        reader = readers.get(name)
        if reader is None:
            raise Malformed(f"unknown field '{name}' in {where}")
        found[name] = reader(name, value)
    return found


def decode_entry(line: Json) -> Entry:
    """The entry a manifest's line holds.

    :raises Malformed: for anything that is not as ``encode_entry`` writes it
    """
    missing = REQUIRED - line.keys()
    if missing:
        raise Malformed(f"missing {', '.join(repr(name) for name in sorted(missing))}")
    return Entry(**_with_tasks(read_fields(line, ENTRY, "a request's line")))


_EVENTS: Mapping[str, type[Event]] = {
    "intended": Intended,
    "accepted": Accepted,
    "rejected": Rejected,
    "not_sent": NotSent,
    "in_doubt": InDoubt,
    "completed": Completed,
    "failed": Failed,
    "stored": Stored,
    "expired": Expired,
    "resolved": Resolved,
}
_WRITTEN: Mapping[type[Event], tuple[str, tuple[tuple[str, object], ...]]] = {
    kind: (name, tuple((field.name, field.default) for field in fields(kind))) for name, kind in _EVENTS.items()
}
"""For each kind its name and its fields with their defaults: every POST is written down twice."""


def encode_event(event: Event) -> Json:
    """An event as the journal's line holds it; times stay Unix seconds."""
    kind, written = _WRITTEN[type(event)]
    line: Json = {"event": kind}
    for name, default in written:
        value = getattr(event, name)
        if value is None or (default is not MISSING and value == default):
            continue
        if isinstance(value, Decimal):
            value = money(value)
        elif isinstance(value, Problem):
            value = encode_problem(value)
        elif name == "images":
            value = [encode_image(image) for image in value]
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Mapping):
            value = dict(value)
        line[name] = value
    return line


def decode_event(line: Json) -> Event:
    """The event a journal's line holds (its checksum is good: this program wrote it).

    :raises Malformed: for an event of another version
    """
    kind = _EVENTS.get(line.get("event", ""))
    if kind is None:
        raise Malformed(f"unknown event {line.get('event')!r}")
    values = {name: value for name, value in line.items() if name != "event"}
    for name in ("cost_usd", "max_cost_usd"):
        if name in values:
            values[name] = amount(name, values[name])
    if "more_task_ids" in values:
        values["more_task_ids"] = tuple(identifier("more_task_ids", one) for one in values["more_task_ids"])
    if "error" in values:
        values["error"] = problem("error", values["error"])
    if "images" in values:
        values["images"] = images("images", values["images"])
    for field in fields(kind):
        if field.name not in values and field.default is MISSING:
            if field.name not in _NULLABLE:
                raise Malformed(f"the event lacks '{field.name}'")
            values[field.name] = None
    try:
        return kind(**values)
    except TypeError as error:
        raise Malformed(str(error)) from None


_NULLABLE = frozenset({"max_cost_usd"})


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
