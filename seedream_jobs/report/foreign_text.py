"""This module makes text safe to print: a prompt, a file name, a message of the service.

Called by the other modules of this folder. Invariant: such words never reach the terminal or the log of a CI as
something that these obey: escape sequences, ``::error::`` at the start of a line, ``##[group]`` anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from seedream_jobs.diagnostics import shorten

_TAB = "    "
_WIDE_SPACE = "\u3000"  # the space of Chinese and Japanese text


class ShownCharacter(NamedTuple):
    """One character: what is shown for it, and the columns that takes."""

    shown: str
    columns: int


def show_character(character: str) -> ShownCharacter:
    if " " <= character <= "~":
        return ShownCharacter(character, 1)
    if character == "\t":
        return ShownCharacter(_TAB, len(_TAB))
    if character == _WIDE_SPACE:
        return ShownCharacter("  ", 2)
    if not character.isprintable():
        # A control would steer the terminal, and a mark that reverses a line would show another file or price.
        shown = character.encode("unicode_escape").decode("ascii")
        return ShownCharacter(shown, len(shown))
    if unicodedata.category(character) in ("Mn", "Me"):
        return ShownCharacter(character, 0)
    return ShownCharacter(character, 2 if unicodedata.east_asian_width(character) in "WF" else 1)


def visible(text: str) -> str:
    """``text`` on one line, with everything that a terminal would obey as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(show_character(character).shown for character in text)


def width(text: str) -> int:
    """The columns that ``text`` takes when shown."""
    return sum(show_character(character).columns for character in text)


CI_COMMAND = re.compile(r"^(\s*)::", re.MULTILINE)
"""``::error::`` and the like, which a CI runner obeys at the start of a line of its log."""


def defused(text: str) -> str:
    """``text`` without anything that a CI runner takes for a command when it reads the log."""
    return CI_COMMAND.sub(r"\1: :", text).replace("##[", "# #[")


def one_line(text: str, limit: int | None = None) -> str:
    """``text`` on one line, white space as single spaces, what a terminal would obey as an escape; cut to ``limit``."""
    shown = visible(" ".join(text.split()))
    return (shown if limit is None else shorten(shown, limit)).replace("##[", "# #[")
