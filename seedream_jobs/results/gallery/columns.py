"""This module writes the cells of a page as columns, so that what many cells share is written once.

Called by ``page``; ``assets/columns.js`` reads it. Invariant: each cell's value reads back exactly as it was given.

A column is an object in one of these forms, ``n`` being the number of a cell and ``place[a][n]`` the number of its
value on axis ``a`` (-1 for none):

    {"all": v}                  the same everywhere
    {"axis": a, "of": [...]}    what the value on one axis says: ``of[place[a][n] + 1]``
    {"of": [...], "at": [...]}  few distinct values: ``of[at[n]]``
    {"list": [...]}             each its own
    {"lines": "..."}            each its own, of texts without line breaks
    {"cells": [...], "of": [...]}  null but for these cells
    {"hex": "...", "after": t}  digests of 32 bytes in base64, 43 characters each, ``t`` before the hex digits
    {"parts": [column, ...]}    texts: the parts one after the other
    {"clauses": [...], "at": [[...], ...]}  texts: of these clauses

and ``"null": [...]`` beside it names cells that have no value. In texts with ``"marks": true`` a character from U+E000
on stands for the cell's label on an axis, from U+E100 for that label as addresses spell it (``slugs`` of the axis), and
U+E1FF for its sha256: so an address, a file name or a prompt that is built from labels is the same text in every cell.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

from seedream_jobs.job.template import slug

_CLAUSE = re.compile("[^,.;:!?/=\n、。，；：！？]*[,.;:!?/=\n、。，；：！？]+[^\\S\n]*|[^,.;:!?/=\n、。，；：！？]+")
_HEX = re.compile(r"((?:v[0-9]+:)?)([0-9a-f]{64})", re.ASCII)
_MARKS = re.compile("[\ue000-\ue1ff]")
_SHA_MARK = "\ue1ff"
_MOST_PARTS = 32
_MOST_AXES = 200  # as many have a mark; a job has at most 100
_NO_DIGEST = "A" * 43  # read by nobody: the cell is among the nulls

Column = dict[str, Any]


class ColumnWriter:
    """Writes the columns of one page.

    :param places: for each axis the number of each cell's value, -1 for none
    :param labels: for each axis its values, as the cells spell them
    :param digests: the sha256 of each cell's image
    """

    def __init__(
        self, places: Sequence[Sequence[int]], labels: Sequence[Sequence[str]], digests: Sequence[str | None]
    ) -> None:
        self._places = places
        self._sizes = [len(values) for values in labels]
        self._digests = digests
        self.slugs: list[list[str]] = [[slug(label, 40) for label in values] for values in labels]
        self.slugs_used: set[int] = set()
        self._spelt = [
            [((label, chr(0xE000 + axis)), (short, chr(0xE100 + axis))) for label, short in zip(*both, strict=True)]
            for axis, both in enumerate(zip(labels[:_MOST_AXES], self.slugs, strict=False))
        ]

    @cached_property
    def _forms(self) -> list[list[tuple[str, str]]]:
        """For each cell how its labels are spelt, the longest first: a label may be a part of another."""
        both = list(zip(self._places, self._spelt, strict=False))
        known: dict[tuple[int, ...], list[tuple[str, str]]] = {}
        found = []
        for number in range(len(self._digests)):
            at = tuple(place[number] for place, _ in both)
            if at not in known:
                forms = [form for n, (_, spelt) in zip(at, both, strict=True) if n >= 0 for form in spelt[n]]
                known[at] = sorted((form for form in forms if len(form[0]) > 1), key=lambda form: -len(form[0]))
            found.append(known[at])
        return found

    def places(self) -> list[Column]:
        """The numbers on each axis: ``{"every": s, "of": n}`` where they count up every ``s`` cells, ``n`` times."""
        return [_counted(place) or {"list": list(place)} for place in self._places]

    def values(self, values: Sequence[Any]) -> Column | None:
        """Any values that JSON has; None where no cell has one."""
        nulls = [number for number, value in enumerate(values) if value is None]
        if len(nulls) == len(values):
            return None
        if len(nulls) * 2 > len(values):
            filled = [number for number, value in enumerate(values) if value is not None]
            return {"cells": filled, "of": [values[number] for number in filled]}
        column = self._column(values)
        return {**column, "null": nulls} if nulls else column

    def texts(self, values: Sequence[str | None]) -> Column | None:
        """Texts that may be built from labels: prompts, addresses, names of files."""
        whole = self.values(values)
        if whole is None or "all" in whole or "axis" in whole or "cells" in whole:
            return whole
        marked = not any(value is not None and _MARKS.search(value) for value in values)
        shown = [self._marked(number, value) if marked else value for number, value in enumerate(values)]
        clauses = [None if value is None else _clauses(value) for value in shown]
        candidates = [whole, self._parts(clauses), _by_clause(clauses)]
        nulls = [number for number, value in enumerate(values) if value is None]
        for column in candidates[1:]:
            column.update({"marks": True} if marked else {}, **({"null": nulls} if nulls else {}))
        return min(candidates, key=lambda column: len(json.dumps(column, ensure_ascii=False, separators=(",", ":"))))

    def digests(self, values: Sequence[str | None]) -> Column | None:
        """Keys and sha256; texts where they are of another form."""
        found = [None if value is None else _HEX.fullmatch(value) for value in values]
        forms = {match[1] for match in found if match is not None}
        if len(forms) != 1 or any(
            match is None and value is not None for match, value in zip(found, values, strict=True)
        ):
            return self.texts(values)
        if len(set(values)) * 2 <= len(values):  # several images of each request
            return self.values(values)
        packed = (
            _NO_DIGEST if match is None else base64.b64encode(bytes.fromhex(match[2])).decode()[:43] for match in found
        )
        nulls = [number for number, value in enumerate(values) if value is None]
        return {"hex": "".join(packed), "after": forms.pop(), **({"null": nulls} if nulls else {})}

    def _column(self, values: Sequence[Any]) -> Column:
        """The shortest form; a cell without a value may read as anything."""
        known: dict[Hashable, Any] = {}
        keys: list[Hashable] = []
        for value in values:
            if isinstance(value, str) or value is None:
                key: Hashable = value
            elif isinstance(value, list | dict):
                key = (json.dumps(value, default=str),)
            else:
                key = (type(value), value)  # 1, 1.0 and true are one key of a dictionary, and three values
            keys.append(key)
            if value is not None:
                known.setdefault(key, value)
        if len(known) == 1:
            return {"all": next(iter(known.values()))}
        if len(known) * 2 <= len(values):
            for axis, place in enumerate(self._places):
                if (of := _of_axis(place, keys)) is not None:
                    return {"axis": axis, "of": [known.get(of.get(at)) for at in range(-1, self._sizes[axis])]}
            number = {key: at for at, key in enumerate(known)}
            return {"of": list(known.values()), "at": [number.get(key, 0) for key in keys]}
        if all(value is None or (isinstance(value, str) and "\n" not in value) for value in values):
            return {"lines": "\n".join(value or "" for value in values)}
        return {"list": list(values)}

    def _marked(self, number: int, text: str | None) -> str | None:
        if text is None:
            return None
        if (digest := self._digests[number]) is not None:
            text = text.replace(digest, _SHA_MARK)
        for spelling, mark in self._forms[number]:
            if spelling in text:
                text = text.replace(spelling, mark)
                if mark >= "\ue100":
                    self.slugs_used.add(ord(mark) - 0xE100)
        return text

    def _parts(self, texts: Sequence[list[str] | None]) -> Column:
        count = max(len(parts) for parts in texts if parts is not None)
        columns = []
        for at in range(count):
            part = [None if parts is None else (parts[at] if at < len(parts) else "") for parts in texts]
            columns.append(self._column(part))
        return {"parts": columns}


def _counted(place: Sequence[int]) -> Column | None:
    step = next((number for number, at in enumerate(place) if at), len(place)) or 1
    count = max(place, default=0) + 1
    counted = all(at == number // step % count for number, at in enumerate(place))
    return {"every": step, "of": count} if counted and count > 0 else None


def _of_axis(place: Sequence[int], keys: Sequence[Hashable]) -> dict[int, Hashable] | None:
    """For each value of an axis the key that all its cells have; None where they have several."""
    found: dict[int, Hashable] = {}
    for at, key in zip(place, keys, strict=True):
        if key is not None and found.setdefault(at, key) != key:
            return None
    return found


def _clauses(text: str) -> list[str]:
    found = _CLAUSE.findall(text)
    return [*found[: _MOST_PARTS - 1], "".join(found[_MOST_PARTS - 1 :])] if len(found) > _MOST_PARTS else found


def _by_clause(texts: Sequence[list[str] | None]) -> Column:
    numbers: dict[str, int] = {}
    at = [[numbers.setdefault(part, len(numbers)) for part in parts or ()] for parts in texts]
    return {"clauses": list(numbers), "at": at}
