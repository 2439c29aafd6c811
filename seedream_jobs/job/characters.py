"""Characters that nobody sees: which there are, and where a script or an emoji needs one of them.

They come with what is copied from web pages, word processors and terminals, and are sent and paid as part of a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

UNSEEN = (
    # A flag of a region is one match, so that its tags are not met alone.
    "\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffc\U000e0000-\U000e0fff]"
)
_JOINING = (
    "[\u0590-\u109f\u1700-\u1cff\ua800-\uabff\ufb1d-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff\U0001e900-\U0001e95f]"
)
_UNSPACED = "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1900-\u1aaf\ua980-\uaaff]"
_RIGHT_TO_LEFT = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
_EMOJI = "[\u2190-\u2bff\u3030\u303d\u3297\u3299\ufe0f\U0001f000-\U0001faff]"
_VARIED = "[#*0-9\xa9\xae\u1000-\u1fff\u203c\u2049\u2070-\ufdff\uff01-\uffef\U00010000-\U0003ffff]"
_HAN = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2068\u2069")


def unseen(text: str, *, right_to_left: bool = False) -> Iterator[int]:
    """The offsets of the characters that nobody sees and no script has a use for where they stand.

    Joiners belong to Arabic, Persian and Indic words and to emoji, the space of no width to Thai and Khmer, direction
    marks to what is written from the right, variation selectors to the emoji or character before them.

    :param right_to_left: whether what surrounds the text is written from the right
    """
    if text.isascii() and text.isprintable():
        return
    for match in re.finditer(UNSEEN, text):  # compiled when the first text asks for it, not at every start
        at = match.start()
        if len(match.group()) == 1 and not _needed(text, at, right_to_left):
            yield at


def is_right_to_left(text: str) -> bool:
    """Whether something in a text is written from the right."""
    return not text.isascii() and re.search(_RIGHT_TO_LEFT, text) is not None


def named(character: str) -> str:
    """``U+200B (zero width space)``."""
    from unicodedata import name

    control = ord(character) < 32 or 127 <= ord(character) < 160
    said = "a control character" if control else name(character, "no character of its own").lower()
    return f"U+{ord(character):04X} ({said})"


def _needed(text: str, at: int, right_to_left: bool) -> bool:
    character, before, after = text[at], text[at - 1 : at] if at else "", text[at + 1 : at + 2]
    if character in "\u200c\u200d":
        if _is(_JOINING, before) or _is(_JOINING, after):
            return True
        return character == "\u200d" and _is(_EMOJI, before) and _is(_EMOJI, after)
    if character == "\u200b":
        return _is(_UNSPACED, before) or _is(_UNSPACED, after)
    if character in _DIRECTIONS:
        return right_to_left or is_right_to_left(text)
    if "\ufe00" <= character <= "\ufe0f":
        return _is(_VARIED, before)
    if "\U000e0100" <= character <= "\U000e01ef":
        return _is(_HAN, before)
    if "\u180b" <= character <= "\u180f":
        return "\u1800" <= before <= "\u18af" if before else False
    if character in "\u115f\u1160":
        return "\u1100" <= before <= "\u11ff" or "\u1100" <= after <= "\u11ff"
    return False


def _is(characters: str, one: str) -> bool:
    return bool(one) and re.match(characters, one) is not None
