"""This module reads and writes the records of a manifest and a journal as JSON, each field by its annotation.

Called by manifest, journal, merge and saved plans. Canonical JSON: sorted keys, no spaces, UTF-8, absent fields
omitted, money as decimal strings, times as ``2026-08-02T10:11:12Z``. A line on the disk begins with its checksum,
``{"crc":"xxxxxxxx",…}``: the crc32 in hex of the same line without that member. Invariant: reading is strict; an
unknown field, a wrong type or a malformed value raises ``Malformed``, never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints
from zlib import crc32

from seedream_jobs.diagnostics import shorten
from seedream_jobs.inside import can_be_a_name
from seedream_jobs.ledger.parts import PARTS
from seedream_jobs.ledger.state import (
    ID,
    Accepted,
    Attempt,
    Completed,
    Count,
    Entry,
    Event,
    Expired,
    Failed,
    FileName,
    Header,
    Identifier,
    Image,
    InDoubt,
    Intended,
    Key,
    Moment,
    NotSent,
    ObjectName,
    PartHeader,
    PlanRecord,
    Rejected,
    ResolutionRecord,
    Resolved,
    Seconds,
    Sha256,
    State,
    Stored,
    Whole,
)

T = TypeVar("T")

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
AFTER_SEAL = len(SEAL) + 8 + 2  # crc, quote, comma
# The checksum goes on from that of the brace, so that a sealed line is checked without a copy of its rest.
OPENED = crc32(b"{")


def seal(plain: bytes) -> bytes:
    """A canonical line (of a JSON object that is not empty) with its checksum in front."""
    return b'%s%08x",%s' % (SEAL, crc32(plain), plain[1:])


def is_sealed(line: bytes) -> bool:
    """Whether a line begins with the checksum of its other bytes."""
    return line.startswith(SEAL) and line[len(SEAL) : AFTER_SEAL] == b'%08x",' % crc32(line[AFTER_SEAL:], OPENED)


def unsealed(line: bytes) -> bytes:
    """The canonical line in a sealed one."""
    return b"{" + line[AFTER_SEAL:]


@lru_cache(maxsize=64)  # many requests have the same second
def iso(seconds: int) -> str:
    """Unix seconds as ``2026-08-02T10:11:12Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def money(value: Decimal) -> str:
    """A finite amount in plain notation."""
    if not value.is_finite():
        raise ValueError(f"{value} is not an amount of money")
    return format(value, "f")


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_MONEY = re.compile(r"\d{1,15}(\.\d{1,15})?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_OBJECT = re.compile(r"images/([0-9a-f]{2})/\1[0-9a-f]{62}\.(jpeg|png|webp|gif|avif)", re.ASCII)
_KEY = re.compile(r"v1:[0-9a-f]{1,64}", re.ASCII)
STATES: Mapping[str, State] = {state.value: state for state in State}

FORMAT = 1
SPLIT_FORMAT = 2
"""The format of a manifest in parts. A version that knows no parts refuses it: it would take its requests for new."""

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, in Unix seconds: what lies beyond it can't be written as a time."""
_LARGEST = (1 << 63) - 1
"""The largest size, or count."""
_DEEPEST = 100
"""How deep the values of a line may be nested."""


def _refuse_constant(name: str) -> None:
    raise Malformed(f"{name} is not JSON")


def _finite(written: str) -> float:
    if not isfinite(number := float(written)):
        raise Malformed(f"{written[:40]} is beyond all numbers")  # it could be read, and never be written again
    return number


_scan = cast("Any", json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)).scan_once


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
        raise Malformed(f"not JSON: {str(error).partition(';')[0]}") from None  # the rest is advice to programmers
    if end != len(written) and written[end:].strip(" \t\r"):
        raise Malformed(f"more than one JSON value (column {end + 1})")
    if type(value) is not dict:
        raise Malformed("not a JSON object")
    # Brackets in strings count, too: this only spares flat lines, which are nearly all, the walk.
    if line.count(b"{") + line.count(b"[") > _DEEPEST:
        _check_depth(value)
    return value


def _check_depth(value: Json) -> None:
    # What is read at one depth of Python's stack must be written at another one.
    inner: list[Any] = [value]
    for _ in range(_DEEPEST):
        inner = [
            part
            for one in inner
            for part in (one.values() if type(one) is dict else one)
            if type(part) is dict or type(part) is list
        ]
        if not inner:
            return
    raise Malformed("it is nested too deep")


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


# The readers compare with ``type``, not ``isinstance``: to Python a bool is an int.
def text(name: str, value: Any) -> str:
    if type(value) is not str:
        raise Malformed(f"'{name}' must be a string")
    return value


def _number(least: int, most: int, what: str) -> Reader:
    def read(name: str, value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise Malformed(f"'{name}' must be {what}")
        return value

    return read


whole = _number(0, _LARGEST, "a whole number, 0 or more")


def _matching(pattern: re.Pattern[str], what: str) -> Reader:
    def read(name: str, value: Any) -> str:
        if type(value) is not str or pattern.fullmatch(value) is None:
            raise Malformed(f"'{name}' must be {what}")
        return value

    return read


_identifier = _matching(ID, "an id of 1 to 128 letters, digits, '_' and '-'")


def file_name(name: str, value: Any) -> str:
    if type(value) is not str or value in ("", ".", "..") or "/" in value or "\\" in value or not can_be_a_name(value):
        raise Malformed(f"'{name}' must be a file's name, without a folder")
    return value


def mapping(name: str, value: Any) -> Json:
    if type(value) is not dict:
        raise Malformed(f"'{name}' must be an object")
    return value


def moment(name: str, value: Any) -> int:
    """``2026-08-02T10:11:12Z`` as Unix seconds."""
    if type(value) is not str or _TIME.fullmatch(value) is None:
        raise Malformed(f"'{name}' must be a time such as 2026-08-02T10:11:12Z")
    try:
        seconds = int(datetime.fromisoformat(value).timestamp())
    except ValueError:
        raise Malformed(f"'{name}' is no time that exists: {value}") from None
    if seconds < 0:
        raise Malformed(f"'{name}' is before 1970: {value}")
    return seconds


def amount(name: str, value: Any) -> Decimal:
    if type(value) is not str or _MONEY.fullmatch(value) is None:
        raise Malformed(f"'{name}' must be an amount in USD as a string, such as \"0.0228\"")
    return Decimal(value)


def _state(name: str, value: Any) -> State:
    state = STATES.get(value) if type(value) is str else None
    if state is None:
        raise Malformed(f"'{name}' must be one of {', '.join(STATES)}")
    return state


def _flag(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise Malformed(f"'{name}' must be true or false")
    return value


# Fields, by their annotations ---------------------------------------------------------------------------------------

Reader = Callable[[str, Any], Any]
Writer = Callable[[Any], Any]

_PLAIN: Mapping[Any, tuple[Reader, Writer | None]] = {
    str: (text, None),
    bool: (_flag, None),
    Decimal: (amount, money),
    State: (_state, lambda state: state.value),
    Identifier: (_identifier, None),
    Key: (_matching(_KEY, "'v1:' and hex digits"), None),
    Sha256: (_matching(_SHA256, "64 hex digits"), None),
    Whole: (whole, None),
    Count: (_number(1, _LARGEST, "a whole number, 1 or more"), None),
    Moment: (moment, iso),
    Seconds: (_number(0, LAST_SECOND, "a time in Unix seconds"), None),
    FileName: (file_name, None),
    ObjectName: (_matching(_OBJECT, "the name of an image in a store: images/ab/ab….jpeg"), None),
}


def _field_codec(hint: Any) -> tuple[Reader, Writer | None]:
    options = [one for one in get_args(hint) if one is not NoneType]
    if get_origin(hint) in (Union, UnionType):
        return _field_codec(options[0])
    if hint in _PLAIN:
        return _PLAIN[hint]
    if get_origin(hint) is Literal:
        return choice(options), None
    if get_origin(hint) is tuple:
        return _list(*_field_codec(options[0]))
    if get_origin(hint) is Mapping:
        return mapping, dict
    return lambda name, value: decode(hint, mapping(name, value), name), encode


def choice(options: list[str]) -> Reader:
    """What reads one of some words."""

    def read(name: str, value: Any) -> str:
        if type(value) is not str or value not in options:
            raise Malformed(f"'{name}' must be one of {', '.join(sorted(options))}")
        return value

    return read


def _list(read_one: Reader, write_one: Writer | None) -> tuple[Reader, Writer]:
    def read(name: str, value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise Malformed(f"'{name}' must be a list")
        return tuple(read_one(name, one) for one in value)

    return read, list if write_one is None else lambda values: [write_one(one) for one in values]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fields:
    """The fields of a record's type.

    :param readers: by name
    :param written: name, default and writer of each; None as writer where the value stands as it is
    :param needed: the names of those that must be there
    :param nullable: the names of those that have no default, and may be None: they may be left out
    """

    readers: Mapping[str, Reader]
    written: tuple[tuple[str, Any, Writer | None], ...]
    needed: frozenset[str]
    nullable: tuple[str, ...]


_FIELDS: dict[type[Any], _Fields] = {}


def _fields_of(kind: type[Any]) -> _Fields:
    if kind in _FIELDS:  # it is asked for twice for each POST
        return _FIELDS[kind]
    hints = get_type_hints(kind, include_extras=True)
    codecs = {field.name: _field_codec(hints[field.name]) for field in fields(kind)}
    given: Json = {field.name: {} if field.default_factory is dict else field.default for field in fields(kind)}
    bare = [name for name, default in given.items() if default is MISSING]
    found = _FIELDS[kind] = _Fields(
        readers={name: read for name, (read, _) in codecs.items()},
        written=tuple((name, given[name], write) for name, (_, write) in codecs.items()),
        needed=frozenset(name for name in bare if NoneType not in get_args(hints[name])),
        nullable=tuple(name for name in bare if NoneType in get_args(hints[name])),
    )
    return found


# Records ------------------------------------------------------------------------------------------------------------

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
_EVENT_NAMES: Mapping[type[Event], str] = {kind: name for name, kind in _EVENTS.items()}
_RECORDS: Mapping[type[Any], str] = {
    Entry: "a request's line",
    Header: "the header",
    PartHeader: "a part's header",
    PlanRecord: "a plan's line",
    ResolutionRecord: "a resolution's line",
}
_NO_KEY = "v1:0"
"""Fills in for the key while a resolution about a run is read: its line has none."""


def encode(value: Any) -> Json:
    """A record as JSON: what is absent, or has its default, is left out. An event's time stays Unix seconds."""
    line: Json = {}
    for name, default, write in _fields_of(type(value)).written:
        held = getattr(value, name)
        if held is not None and held != default:
            line[name] = held if write is None else write(held)
    match value:
        case Image(file=str()):
            line.pop("url", None)  # the link is dropped once the file is whole
        case Attempt(more_task_ids=(_, *_)):
            del line["more_task_ids"]
            line["task_ids"] = [line.pop("task_id", None), *value.more_task_ids]
        case Event():
            line["event"] = _EVENT_NAMES[type(value)]
        case PartHeader():
            line["format"] = SPLIT_FORMAT
        case Header():
            line["format"] = SPLIT_FORMAT if value.parts else FORMAT
            if runs := line.pop("runs", None):
                line["run"] = runs[0] if len(runs) == 1 else runs
        case ResolutionRecord(key=""):
            del line["key"]
    return line


def decode(kind: type[T], line: Json, where: str = "") -> T:
    """The record of a type that JSON holds.

    :param where: what it is, for messages, where it is no line of its own
    :raises Malformed: for anything that is not as ``encode`` writes it
    """
    known, where = _fields_of(kind), where or _RECORDS[kind]
    if issubclass(kind, Attempt):
        line = _with_first_task({"generation": 1, **line} if kind is Attempt else line, where)
    elif kind is Header:
        line = _with_runs(line)
    elif kind is PartHeader:
        line = {name: value for name, value in line.items() if (name, value) != ("format", SPLIT_FORMAT)}
    elif kind is ResolutionRecord and "run" in line:
        line = {"key": _NO_KEY, **line}  # one about a run has none
    found: Json = {}
    for name, value in line.items():
        read = known.readers.get(name)
        if read is None:
            raise Malformed(f"unknown field '{name}' in {where}")
        found[name] = read(name, value)
    if not known.needed <= found.keys():
        missing = ", ".join(repr(name) for name in sorted(known.needed - found.keys()))
        raise Malformed(f"missing {missing}")
    for name in known.nullable:
        found.setdefault(name, None)
    if kind is ResolutionRecord and "run" in found and found["key"] == _NO_KEY:
        found["key"] = ""
    return kind(**found)


def _with_first_task(line: Json, where: str) -> Json:
    """An attempt's ``task_ids`` as the first one and the further ones."""
    if "more_task_ids" in line:
        raise Malformed(f"unknown field 'more_task_ids' in {where}")
    if "task_ids" not in line:
        return line
    plain = dict(line)
    ids = plain.pop("task_ids")
    if "task_id" in plain:
        raise Malformed("'task_id' and 'task_ids' exclude each other")
    if type(ids) is not list or len(ids) < 2:
        raise Malformed("'task_ids' must be a list of two or more ids; one stands as 'task_id'")
    return {**plain, "task_id": ids[0], "more_task_ids": ids[1:]}


def _with_runs(line: Json) -> Json:
    written, split = line.get("format"), line.get("parts", 0)
    if written not in (FORMAT, SPLIT_FORMAT):
        raise Malformed(f"format {written!r} is not {FORMAT} or {SPLIT_FORMAT}, which this program reads")
    if (split not in PARTS) if written == SPLIT_FORMAT else ("parts" in line or "closed" in line):
        raise Malformed(f"'parts' must be 16 or 256 in format {SPLIT_FORMAT}, and is absent in format {FORMAT}")
    if "runs" in line:
        raise Malformed("unknown field 'runs' in the header")
    plain = {name: value for name, value in line.items() if name not in ("format", "run")}
    if "run" in line:
        plain["runs"] = line["run"] if type(line["run"]) is list else [line["run"]]
    return plain


def decode_event(line: Json) -> Event:
    """The event a journal's line holds.

    :raises Malformed: for anything that is not as ``encode`` writes it
    """
    named = line.get("event")
    kind = _EVENTS.get(named) if type(named) is str else None
    if kind is None:
        raise Malformed(f"unknown event {shorten(repr(named))}")
    return decode(kind, {name: value for name, value in line.items() if name != "event"}, "an event")


ENTRY_FIELDS = frozenset({*_fields_of(Entry).readers, "task_ids"} - {"more_task_ids"})
"""What a request's line may have."""
NEEDED_FIELDS = _fields_of(Entry).needed
"""What it must have."""
_RAW = {
    name: _fields_of(Entry).readers[name] for name in ("address", "cell", "max_images", "task_id", "cost_usd", "run")
}


def check_raw(raw: Json) -> None:
    """See that what is read out of a request's line without decoding it is what it must be.

    :raises Malformed: it is not
    """
    for name, read in _RAW.items():
        if name in raw:
            read(name, raw[name])
    for name in ("images", "task_ids"):
        if type(raw.get(name, [])) is not list:
            raise Malformed(f"'{name}' must be a list")
    for image in raw.get("images", ()):
        mapping("images", image)
    for task in raw.get("task_ids", ()):
        _identifier("task_ids", task)
    text("submitted_at", raw.get("submitted_at", ""))
