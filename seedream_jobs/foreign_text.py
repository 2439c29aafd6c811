"""This module makes text of others safe where it is written: one function for each medium.

Called by what prints or writes for a reader. A prompt, a file name or a message of the service stays text: nothing in
it is obeyed by a terminal, by the runner of a CI that reads its log, or by a program that reads a table.

- a terminal, a CI's log: ``log_text``, which ``cli.streams`` applies to all that is printed; ``visible`` for one line
- JSON, JSON Lines, SARIF, GitLab: ``escaped_json``; CSV: ``csv_text``; XML: ``report.ci_formats.xml``
- Markdown: ``report.markdown``; workflow commands: ``report.ci_formats``; HTML: ``results.gallery``

Invariant: what the encoders of JSON and XML have written, ``log_text`` leaves as it is.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

from seedream_jobs.characters import INVISIBLE

_TAB = "    "
_WIDE_SPACE = "\u3000"  # the space of Chinese and Japanese text
_BLANK = re.compile(f"[{INVISIBLE}]")
_CREDENTIALS = re.compile(r"(https?://)[^/\s]*@", re.IGNORECASE)
_PASSWORD = re.compile(r"(://[^/\s:@]*:)([^/\s@]+)(?=@)")
_EMOJI_STYLE = "\ufe0e\ufe0f"  # most emoji are followed by one of them


class ShownCharacter(NamedTuple):
    """One character: what is shown for it, and the columns that takes."""

    shown: str
    columns: int


def is_seen(character: str) -> bool:
    """Whether a character may be printed as it is: it draws something, and steers nothing."""
    return character.isprintable() and (not _BLANK.match(character) or character in _EMOJI_STYLE)


def show_character(character: str) -> ShownCharacter:
    if " " <= character <= "~":
        return ShownCharacter(character, 1)
    if character == "\t":
        return ShownCharacter(_TAB, len(_TAB))
    if character == _WIDE_SPACE:
        return ShownCharacter("  ", 2)
    if not is_seen(character):
        # A control would steer the terminal, and a mark that reverses a line would show another file or price.
        shown = character.encode("unicode_escape").decode("ascii")
        return ShownCharacter(shown, len(shown))
    if unicodedata.category(character) in ("Mn", "Me"):
        return ShownCharacter(character, 0)
    return ShownCharacter(character, 2 if unicodedata.east_asian_width(character) in "WF" else 1)


def _is_plain(text: str) -> bool:
    """Whether all of a text is drawn, and can be shown as it is."""
    return text.isprintable() and (text.isascii() or not _BLANK.search(text))


def visible(text: str) -> str:
    """``text`` on one line; what a terminal would obey is written as an escape."""
    if _is_plain(text):
        return text
    return "".join(show_character(character).shown for character in text)


def width(text: str) -> int:
    """The columns that ``text`` takes when shown."""
    return sum(show_character(character).columns for character in text)


# Of a row of a plan or a status, what stands before its note: ``  + 12 new          ``.
_ROW = re.compile(r"  \S [\d,]+ \S.{,40}?  +(?=\S)")
# Not broken: a command, which somebody may paste, and a word; each with the spaces before it.
_UNIT = re.compile(r" *seedream-jobs [^;]*;?| *[^ ]+| +")
# Between wide characters, as Chinese and Japanese are written, a line may end anywhere but before such a mark.
_CLOSING = "，。、；：！？）》」』】〉”’…,.;:!?)"


def wrapped(text: str, columns: int) -> str:
    """``text`` on lines of at most so many columns, broken between words; what goes on is indented below its beginning.

    A command, and a word that is longer, such as a path, stays whole.
    """
    return "\n".join(part for line in text.split("\n") for part in _parts(line, columns))


def _parts(line: str, columns: int) -> Iterator[str]:
    if len(line) * 2 <= columns or width(line) <= columns:
        yield line
        return
    row = _ROW.match(line)
    indent = row.end() if row else len(line) - len(line.lstrip()) + 2
    hanging = " " * (indent if indent <= columns // 2 else 4)
    shown, taken = "", 0
    for unit in _units(line):
        wide = width(unit)
        if taken + wide > columns and shown.strip():
            yield shown.rstrip()
            unit = hanging + unit.lstrip(" ")
            shown, taken, wide = "", 0, width(unit)
        shown, taken = shown + unit, taken + wide
    yield shown.rstrip()


def _units(line: str) -> Iterator[str]:
    """A line in the pieces that are not broken."""
    for word in _UNIT.findall(line):
        if word.isascii() or "seedream-jobs " in word:
            yield word
            continue
        unit = ""
        for character in word:
            if unit.strip() and character not in _CLOSING and 2 in (width(unit[-1]), width(character)):
                yield unit
                unit = ""
            unit += character
        yield unit


def without_credentials(text: str) -> str:
    """A text without the user and password that URLs in it may have, as those of git remotes and endpoints do."""
    return _CREDENTIALS.sub(r"\1", text)


def client_words(why: object) -> str:
    """What the client of a store says, on one line, without its debugging and without credentials."""
    return without_credentials(" ".join(str(why).split("Debug source", 1)[0].split())[:300])


def masked(text: str) -> str:
    """A text of the same length in which the passwords of URLs are asterisks: what a file has is shown in CI's logs."""
    return _PASSWORD.sub(lambda found: found[1] + "*" * len(found[2]), text) if "://" in text else text


def one_line(text: str, limit: int | None = None) -> str:
    """``visible`` with each run of white space as one space, cut to ``limit`` characters."""
    shown = visible(" ".join(text.split()))
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


# What a runner obeys when it reads a log: ``::error::`` at the start of a line (GitHub), ``##[group]``, ``##vso[…]``,
# ``##teamcity[…]`` anywhere (GitHub, Azure Pipelines, TeamCity). A blank behind what is matched keeps it from doing so.
_COMMAND = re.compile(r"^[^\S\n]*:(?=:)|##[A-Za-z]{0,20}(?=\[)", re.MULTILINE)


def shell_word(name: object) -> str:
    """A name in a command that a person may paste, as one word of a shell, and never an option."""
    text = str(name)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def without_commands(text: str, put: Callable[[re.Match[str]], str]) -> str:
    """``text`` with another spelling, by ``put``, of what would begin a command: `` ::``, ``##`` or ``##word``."""
    return _COMMAND.sub(put, text) if "::" in text or "##" in text else text


def log_text(text: str, begun: str = "") -> str:
    """``text`` for a terminal and the log of a CI: of its controls only line ends and tabs are left.

    :param begun: what stands on the line already
    """
    if not _is_plain(text.replace("\n", "").replace("\t", "")):
        text = "".join(one if one in "\n\t" else show_character(one).shown for one in text)
    return without_commands(begun + text, lambda found: f"{found.group()} ")[len(begun) :]


def escaped_json(text: str) -> str:
    """JSON with escapes for what a terminal or a CI runner obeys; other scripts stay readable."""
    # Such characters, and ##[, only stand inside strings, where an escape is the same value.
    text = without_commands(text, lambda found: found.group().replace("##", "\\u0023#"))
    if _is_plain(text.replace("\n", "")):
        return text
    return "".join(one if one == "\n" or is_seen(one) else _json_escape(one) for one in text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def csv_text(text: str) -> str:
    """``text`` for a cell of CSV: controls and marks that turn a line are written out, as CSV itself has no escapes.

    The joiners that Persian, Indic scripts and emoji need stay as they are.
    """
    shown = _STEERING.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)
    return without_commands(shown, lambda found: f"{found.group()} ")
