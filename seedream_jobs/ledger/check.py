"""Whether a manifest's line is an entry, told without taking it apart: the quick twin of ``codec.decode_entry``.

One pattern describes the lines this program writes: canonical JSON, every field in its order with the values it may
have, no path that begins a part with a dot. What it matches needs no more looking at (that takes less time than
``json.loads``); whatever it does not match (an entry with a history, a line a person has edited) is decoded in full.
``tests/ledger/test_manifest.py`` holds the two against each other.

What may be left out is written ``(?:…|)``: Python tries an alternative in less time than a repetition of none or one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import PurePosixPath

from seedream_jobs.expand.identity import key_of
from seedream_jobs.job.files import within
from seedream_jobs.ledger.codec import Json, Malformed, decode_entry
from seedream_jobs.ledger.state import Earlier, Entry, State
from seedream_jobs.profile import profiles

_TEXT = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-f]{4})[^"\\\x00-\x1f]*+)*+"'
_SCALAR = rf"(?:{_TEXT}|-?(?:0|[1-9]\d{{0,14}})(?:\.\d{{1,15}}|)|true|false|null)"
_LIST = rf"\[(?:{_SCALAR}(?:,{_SCALAR})*+|)\]"
_OPTIONS = rf"\{{(?:{_TEXT}:{_SCALAR}(?:,{_TEXT}:{_SCALAR})*+|)\}}"
_VALUE = rf"(?:{_SCALAR}|{_LIST}|{_OPTIONS})"
_OBJECT = rf"\{{(?:{_TEXT}:{_VALUE}(?:,{_TEXT}:{_VALUE})*+|)\}}"
_COUNT = r"[1-9]\d{0,14}"
_WHOLE = r"(?:0|[1-9]\d{0,14})"
_MONEY = r'"-?\d{1,15}(?:\.\d{1,15}|)"'
_DAY = r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_TIME = rf'"20\d\d-{_DAY}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ"'
_PART = r'[^"\\\x00-\x1f/.][^"\\\x00-\x1f/]*+'
_PATH = rf'"{_PART}(?:/{_PART})*+"'
_STATE = "|".join(state.value for state in State if state is not State.INTENT)


def _members(fields: list[tuple[str, str, bool]]) -> str:
    """The members of a canonical object: name, value, whether it must be there. The first one must."""
    first, *others = fields
    written = [f'"{first[0]}":{first[1]}']
    written += [f',"{name}":{value}' if needed else f'(?:,"{name}":{value}|)' for name, value, needed in others]
    return "".join(written)


_IMAGE_FIELDS = {
    "bytes": _WHOLE,
    "expires_at": _WHOLE,
    "file": _PATH,
    "format": _TEXT,
    "height": _COUNT,
    "sha256": r'"[0-9a-f]{64}"',
    "url": _TEXT,
    "width": _COUNT,
}
_COMMA = r"(?:(?<=\{)|(?<!\{),)"  # before every member but the first
_IMAGE = r"\{" + "".join(rf'(?:{_COMMA}"{name}":{value}|)' for name, value in _IMAGE_FIELDS.items()) + r"\}"
_LINE = (
    r'\{(?:"crc":"[0-9a-f]{8}",|)'
    + _members(
        [
            ("address", _TEXT, True),
            ("cell", _OBJECT, True),
            ("cost_usd", _MONEY, False),
            ("generation", rf"({_COUNT})", True),
            ("idempotency_key", _TEXT, False),
            ("images", rf"\[{_IMAGE}(?:,{_IMAGE})*+\]", False),
            ("key", r'"(v1:[0-9a-f]{1,64})"', True),
            ("max_cost_usd", _MONEY, False),
            ("max_images", _COUNT, True),
            ("output", _PATH, True),
            ("repeat", _COUNT, True),
            ("request", _OBJECT, True),
            ("request_id", _TEXT, False),
            ("run", r'"[A-Za-z0-9_-]{1,128}"', False),
            ("state", rf'"({_STATE})"', True),
            ("submitted_at", _TIME, False),
            ("task_id", r'"[A-Za-z0-9_-]{1,128}"', False),
        ]
    )
    + r"\}"
)
_PLAIN = _LINE.replace(_TEXT, r'"[^"]*+"').replace(_PART, r'[^"/.][^"/]*+')
_STRANGE = bytes(byte == 0x5C or (byte < 0x20 and byte != 0x0A) for byte in range(256))  # mapped to 1


class EntryCheck:
    """Checks the lines of one manifest.

    :param folder: the manifest's folder, relative to the campaign's root: no path may lead out of that
    """

    def __init__(self, folder: PurePosixPath) -> None:
        self._folder = folder

    def decode(self, raw: Json, *, key_known: bool = False) -> Entry:
        """The entry in a line the quick look does not vouch for.

        :param key_known: its key was the digest of its request when it was written, and neither was changed since
        :raises Malformed: it is none
        :raises OutsideRoot: a path in it leads out of the campaign's root
        """
        entry = decode_entry(raw)
        self.confine(entry)
        if not key_known:
            hold_key(entry.key, entry.request, entry.repeat)
        return entry

    def confine(self, entry: Entry) -> None:
        """:raises OutsideRoot: a path of the entry leads out of the campaign's root"""
        within(self._folder, entry.output)
        attempts: tuple[Entry | Earlier, ...] = (entry, *entry.earlier)
        for attempt in attempts:
            for image in attempt.images:
                if image.file is not None:
                    within(self._folder, image.file)


def hold_key(key: str, request: Mapping[str, object], repeat: int) -> None:
    """See that a key is the digest of its request: with another one the request would count as new, or another as paid.

    :raises Malformed: it is not
    """
    model = str(request.get("model", ""))
    profile = profiles().get(model)
    try:
        expected = key_of(request, model if profile is None else profile.id, repeat)
    except (TypeError, ValueError):  # such as a text where a number of images belongs
        expected = ""
    if key != expected:
        raise Malformed("its key is not that of its request: one of the two was changed")


@cache
def quick_look() -> Callable[[bytes], re.Match[bytes] | None]:
    """Matches a line that is surely an entry (of bytes that are UTF-8): groups are generation, key and state.

    A pattern takes Python 6 ms to compile, which a job without a manifest does not wait for.
    """
    return re.compile(_LINE.encode()).fullmatch


@cache
def _each(line: str) -> Callable[[bytes], Iterator[re.Match[bytes]]]:
    """Matches line after line: one that the pattern describes, or as the fourth group any other."""
    return re.compile(rf"(?:{line}|([^\n]*+))\n".encode()).finditer


def look(lines: bytes) -> Iterable[re.Match[bytes]]:
    """Each line, with its newline: groups are those of ``quick_look``, or as the fourth a line it does not match.

    Where a piece has neither a backslash nor a control character, as nearly all have, a text is whatever stands between
    two quotes; if a newline does, there are fewer matches than lines, and the piece is looked at in the plain way. Of
    one that is not UTF-8 throughout nothing is vouched for.

    :param lines: whole lines
    """
    if not _is_utf8(lines):
        return _each("()()()(?!)")(lines)
    if 1 not in lines.translate(_STRANGE):
        found = list(_each(_PLAIN)(lines))
        if len(found) == lines.count(b"\n"):
            return found
    return _each(_LINE)(lines)


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False
