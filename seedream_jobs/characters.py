"""This module knows which characters mislead a reader: those that nobody sees, that turn a line round, that look alike.

Called by what reads files, by the policy and by ``foreign_text``. Invariant: nothing is changed here, only found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple
from unicodedata import normalize

INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""What is drawn as nothing, or as a blank (Unicode's default ignorables, U+2800): the inside of a pattern's ``[]``."""

RIGHT_TO_LEFT = "[\u0590-\u061b\u061d-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"

# Who closes what (UAX #9): embeddings and overrides end with PDF, isolates with PDI.
_OPENS = {"\u202a": "\u202c", "\u202b": "\u202c", "\u2066": "\u2069", "\u2067": "\u2069", "\u2068": "\u2069"}
_OVERRIDES = "[\u202d\u202e]"
_TURNS = "[\u202a-\u202e\u2066-\u2069]"


class Misleading(NamedTuple):
    """A character that shows a text otherwise than it is read: where, and what a finding says of it."""

    offset: int
    severity: Literal["error", "warning"]
    message: str
    hint: str


def find_misleading(text: str) -> Iterator[Misleading]:
    """The characters of a file that make an editor, a terminal or a forge show other lines than are read.

    A carriage return alone goes back to the start of a line in a terminal, and is no line end in a diff. A character
    that turns the direction puts what is read first behind what is read last ("Trojan Source", CVE-2021-42574); it is
    left alone where a line has words that are written from the right and closes what it opens. One is found per line.
    Where all line ends are carriage returns, as spreadsheets on a Mac write them, the first one is a warning.
    """
    lines = "save the file with line ends LF"
    if "\r" in text and "\n" not in text:
        yield Misleading(text.index("\r"), "warning", "the lines end with CR alone: a diff shows one", lines)
    elif "\r" in text:
        for match in re.finditer("\r(?!\n)", text):
            yield Misleading(match.start(), "error", "a carriage return alone, among other line ends", lines)
    if text.isascii() or not re.search(_TURNS, text):
        return
    for line in re.finditer("[^\r\n]+", text):
        turn = re.search(_OVERRIDES, line.group()) or re.search(_TURNS, line.group())
        if turn and (turn.group() in _OVERRIDES or not _is_at_home(line.group())):
            yield Misleading(
                line.start() + turn.start(),
                "error",
                f"the character U+{ord(turn.group()):04X} turns the direction of the text",
                "remove it; in a quoted text it can be written as an escape",
            )


def _is_at_home(line: str) -> bool:
    """Whether such characters belong to a line: it is written from the right, and closes what it opens."""
    if not re.search(RIGHT_TO_LEFT, line):
        return False
    wanted: list[str] = []
    for character in line:
        if character in _OPENS:
            wanted.append(_OPENS[character])
        elif character in "\u202c\u2069" and (not wanted or wanted.pop() != character):
            return False
    return not wanted


# -- names that look alike ---------------------------------------------------------------------------------------------

# The letters of two scripts that most fonts draw alike (Unicode's confusables.txt, of what an axis name may have).
_ALIKE = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеорсухіјѕѵԁԛԝһӏΑΒΕΖΗΙΚΜΝΟΡΤΥΧονιρへべぺりニハロカタエトー01I",
    "ABESIJKMHOPCTYXaeopcyxijsvdqwhlABEZHIKMNOPTYXovipヘベペリ二八口力夕工卜一Oll",
)
_SCRIPTS = (("Latin", "[A-Za-zÀ-ɏ]"), ("Greek", "[Ͱ-Ͽ]"), ("Cyrillic", "[Ѐ-ԯ]"))


def skeleton(name: str) -> str:
    """What a name looks like: two names with one skeleton can't be told apart by eye."""
    return normalize("NFKC", name).translate(_ALIKE)


def mixed_scripts(name: str) -> tuple[str, ...]:
    """The scripts that a name mixes though one of its letters looks like one of another script; else empty."""
    found = tuple(script for script, letters in _SCRIPTS if re.search(letters, name))
    alike = any(not letter.isascii() and skeleton(letter) != letter for letter in name)
    return found if len(found) > 1 and alike else ()


def find_look_alikes(names: Iterable[str], known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each name that looks like another one, with that other one: of ``known``, or of the names before it."""
    seen = {skeleton(name): name for name in known}
    for name in names:
        other = seen.setdefault(skeleton(name), name)
        if other != name:
            yield name, other
