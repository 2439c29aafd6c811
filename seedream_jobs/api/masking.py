"""This module finds a secret in a text: whole or a piece of it, as it is or spelled otherwise, and masks it.

Called by ``credentials``, which keeps the key. Invariant: a text that does not give the secret away is left as it is.

A service that is asked to may say a key back reversed, in hex, percent-encoded or in base64, where the same bytes have
three spellings, by their place in a group of three. Eight characters of a random key tell enough to find the rest of it
in a leak, and occur nowhere by chance.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import cached_property

MASK = "***"
PIECE = 8
"""Characters in a row that are masked; a shorter secret is masked where it stands whole."""
SHORTEST = 4
"""A shorter secret is looked for as it stands only: a spelling of it is a letter or two, which every text holds."""
RANDOM = 16
"""Characters of a secret that is surely no word: only then is a part of it refused, and an id that holds it."""

_PERCENT = re.compile(r"%([0-9a-fA-F]{2})")
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}  # keeps each character in its place


class Spellings:
    """The spellings of one secret of visible ASCII characters. Case is no difference."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    @cached_property
    def _parts(self) -> tuple[str, ...]:
        """Each spelling of the secret cut into parts: of 15 characters in a row one part is among them."""
        length = PIECE if len(self._secret) >= RANDOM else len(self._secret)
        parts = [self._secret[at : at + length] for at in range(0, len(self._secret) - length + 1, length)]
        return tuple(dict.fromkeys(spelled for part in parts for spelled in _spelled(part)))

    @cached_property
    def _pieces(self) -> dict[int, frozenset[str]]:
        """By their length, the spellings of every piece."""
        length = min(PIECE, len(self._secret))
        found: dict[int, set[str]] = {}
        for at in range(len(self._secret) - length + 1):
            for spelled in _spelled(self._secret[at : at + length]):
                found.setdefault(len(spelled), set()).add(spelled)
        return {size: frozenset(texts) for size, texts in found.items()}

    @cached_property
    def _runs(self) -> re.Pattern[str]:
        """What of a text can hold a part: most of a prompt's words are too short, or of other characters."""
        alphabet = re.escape("".join(sorted(set("".join(self._parts)))))
        return re.compile(f"[{alphabet}]{{{min(map(len, self._parts))},}}")

    def stand_in(self, text: str) -> bool:
        """Whether a text holds the secret, or, where it is surely random, 15 of its characters in a row."""
        for form, _ in _forms(text):
            runs = " ".join(dict.fromkeys(self._runs.findall(form)))
            if runs and any(part in runs for part in self._parts):
                return True
        return False

    def mask(self, text: str) -> str:
        """A text with ``***`` in place of the secret and of each piece of it."""
        hidden = bytearray(len(text))
        for form, places in _forms(text):
            for size, pieces in self._pieces.items():
                for at in range(len(form) - size + 1):
                    if form[at : at + size] in pieces:
                        start, end = (at, at + size) if places is None else (places[at], places[at + size])
                        hidden[start:end] = b"\1" * (end - start)
        if not any(hidden):
            return text
        parts, at = [], 0
        for match in re.finditer(b"\1+", hidden):
            parts += [text[at : match.start()], MASK]
            at = match.end()
        return "".join([*parts, text[at:]])


def _forms(text: str) -> Iterator[tuple[str, list[int] | None]]:
    """A text, and the same percent-decoded, with the place in the text of each of its characters and of its end."""
    yield text.lower() if text.isascii() else text.translate(_LOWER), None
    if "%" in text and _PERCENT.search(text):
        form: list[str] = []
        places: list[int] = []
        at = 0
        while at < len(text):
            match = _PERCENT.match(text, at)
            form.append(chr(int(match[1], 16)) if match else text[at])
            places.append(at)
            at = match.end() if match else at + 1
        yield "".join(form).translate(_LOWER), [*places, len(text)]


def _spelled(text: str) -> Iterator[str]:
    """Every spelling of a text, in lower case; of base64 only the characters that no neighbour has a part in."""
    if len(text) < SHORTEST:
        yield text.translate(_LOWER)
        return
    for one in dict.fromkeys((text, text[::-1])):
        raw = one.encode("ascii")
        spellings = [one, json.dumps(one)[1:-1], raw.hex()]
        # A text has three spellings in base64, by its place in a group of three bytes.
        for before in range(3):
            coded = base64.b64encode(bytes(before) + raw).decode()
            first, last = -(-before * 4 // 3), (before + len(raw)) * 8 // 6
            spellings += [coded[first:last], coded[first:last].translate({ord("+"): "-", ord("/"): "_"})]
        yield from (spelled.translate(_LOWER) for spelled in spellings)
