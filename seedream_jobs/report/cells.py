"""Text as a terminal's cells: what is safe to show of each character, and how many columns it takes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

_TAB = "    "
_WIDE_SPACE = "\u3000"  # the space of Chinese and Japanese text


class Cell(NamedTuple):
    """One character: what is shown for it, and the columns that takes."""

    shown: str
    columns: int


def cell(character: str) -> Cell:
    """How ``character`` is shown."""
    if " " <= character <= "~":
        return Cell(character, 1)
    if character == "\t":
        return Cell(_TAB, len(_TAB))
    if character == _WIDE_SPACE:
        return Cell("  ", 2)
    if not character.isprintable():
        # Controls, invisible formatting (such as the marks that reverse a line), surrogates, no-break spaces.
        shown = character.encode("unicode_escape").decode("ascii")
        return Cell(shown, len(shown))
    if unicodedata.category(character) in ("Mn", "Me"):
        return Cell(character, 0)
    return Cell(character, 2 if unicodedata.east_asian_width(character) in "WF" else 1)


def cells(text: str) -> Iterator[Cell]:
    """The cells of one line of text."""
    return map(cell, text)


def visible(text: str) -> str:
    """``text`` on one line, with everything a terminal would obey shown as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(cell(character).shown for character in text)


def width(text: str) -> int:
    """The columns that ``text`` takes when shown."""
    return sum(cell(character).columns for character in text)
