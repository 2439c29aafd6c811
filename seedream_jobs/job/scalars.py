"""Reads a plain (unquoted) YAML scalar as JSON would: null, true, false and JSON's numbers; anything else is text.

YAML 1.1 reads ``16:9`` as 969, ``no`` as false and ``012`` as ten. Here they are the text they look like; where a
reader may expect otherwise, ``ambiguity`` says so.
"""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
"""The plain scalars that are not text and not numbers."""

NUMERIC_START = frozenset("-0123456789")
"""The characters a JSON number may begin with."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1

# What YAML 1.1 (https://yaml.org/type/) reads as something other than text. Two groups of digits with one colon,
# which YAML 1.1 takes for base 60, are left out: they are ratios here, and never meant otherwise.
_SPELLINGS = (str.lower, str.capitalize, str.upper)
_BOOLEANS = frozenset(spell(word) for word in ("yes", "no", "on", "off", "true", "false") for spell in _SPELLINGS)
_NULLS = frozenset({"Null", "NULL"})
_DATE = r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t]+[0-9]{1,2}:[0-9]{2}:[0-9]{2}.*)?"
_TIME = r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9]){2,}(?:\.[0-9_]*)?"
_BASE = r"[-+]?0(?:[xX][0-9a-fA-F_]+|[bB][01_]+|[oO]?[0-7_]+)"
_LOOSE_NUMBER = (
    r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_AMBIGUOUS_START = frozenset("+-.0123456789yYnNoOtTfF")
_NUMERIC_END = frozenset("0123456789._abcdefABCDEFnN")


class OutOfRange(ValueError):
    """A number that a computer's number types don't hold exactly or at all."""


def number(text: str) -> int | float | None:
    """The JSON number written as ``text``, None if it is not one.

    :raises OutOfRange: for an integer of more than 64 bits and for a number beyond a double's range
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    if match.group(1) is None and match.group(2) is None:
        # 20 digits hold every 64-bit integer; asked first because int() refuses thousands of digits.
        if len(text) > 21 or not _MIN_INTEGER <= (value := int(text)) <= _MAX_INTEGER:
            raise OutOfRange(text)
        return value
    approximate = float(text)
    if not math.isfinite(approximate):
        raise OutOfRange(text)
    return approximate


def ambiguity(text: str) -> str | None:
    """What YAML 1.1 would have read where we read text, as a noun; None where it would have been text, too."""
    if text[:1] not in _AMBIGUOUS_START:
        return None
    if text in _BOOLEANS and text not in WORDS:
        return "a boolean"
    if text in _NULLS:
        return "null"
    # What a pattern can't match is not shown to it: most files need none of them, and each takes a while to compile.
    if text[4:5] == "-" and re.fullmatch(_DATE, text):
        return "a date"
    if ":" in text:
        return "a number in base 60" if text.count(":") > 1 and re.fullmatch(_TIME, text) else None
    if text[-1] in _NUMERIC_END and (re.fullmatch(_BASE, text) or re.fullmatch(_LOOSE_NUMBER, text)):
        return "a number"
    return None
