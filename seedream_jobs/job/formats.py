"""The formats of axis files: txt, csv, tsv, json, jsonl and yaml as rows, each with its line."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seedream_jobs.errors import FindingsError
from seedream_jobs.job.document import Document
from seedream_jobs.job.yaml_reader import parse

FORMATS = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".yaml", ".yml")


class DataProblem(Exception):
    """An axis file that can't be used.

    :param at: the field of the axis to point at: ``from``, ``column``, ``where``, ``types``, ``glob``, ``range``
    """

    def __init__(self, message: str, *, at: str = "from", hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One entry of an axis file; ``line`` counts from 1, or is the entry's number where lines have no meaning."""

    line: int
    value: Any


class Written(float):
    """A number that knows how it is written."""

    text: str


def as_written(text: str) -> Written:
    """The JSON number in a text, with that text."""
    value = Written(text)
    value.text = text
    return value


def parse_rows(suffix: str, path: str, text: str, *, written: bool = False) -> Iterator[Row]:
    """The entries of a file of one of ``FORMATS``, whose lines end with line feeds.

    Of a prompt file, lines that begin with ``#`` are comments, as in the field's other tools; none has an escape.

    :param written: read numbers as ``Written``
    :raises DataProblem: where the text is not of its format
    """
    if suffix == ".txt":
        for at, line in enumerate(text.split("\n"), 1):
            if (line := line.strip()) and not line.startswith("#"):
                yield Row(line=at, value=line)
    elif suffix in (".csv", ".tsv"):
        yield from _table(path, _csv(path, text) if suffix == ".csv" else _tsv(text))
    elif suffix in (".jsonl", ".ndjson"):
        for at, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield Row(line=at, value=_json(line, path, at, written))
    else:
        loaded = _json(text, path, 1, written) if suffix == ".json" else _yaml(text, path, written)
        if not isinstance(loaded, list):
            raise DataProblem(f"{path!r} does not hold a list", hint="an axis file is a list of values or of mappings")
        for at, value in enumerate(loaded, 1):
            yield Row(line=at, value=value)


Cells = Iterator[tuple[int, list[str]]]
"""(line, cells) of each line of a table that is not empty."""


def _csv(path: str, text: str) -> Cells:

    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        while True:
            line = reader.line_num + 1
            cells = next(reader, None)
            if cells is None:
                return
            if any(map(str.strip, cells)):  # spreadsheets leave rows of nothing but commas behind
                yield line, cells
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            hint = 'a cell that begins with " ends with one; a quote within it is written twice'
            raise DataProblem(f"{path}:{line}: a quote that opens in this row is never closed", hint=hint) from None
        raise DataProblem(f"{path}:{reader.line_num}: {error}") from None


def _tsv(text: str) -> Cells:
    """Lines of cells, unquoted only where the whole of a cell is quoted.

    text/tab-separated-values knows no quotes, and prompts begin with them; spreadsheets write a cell that holds a quote
    in quotes all the same, each of its own doubled.
    """
    for line, written in enumerate(text.split("\n"), 1):
        if written.strip():
            yield line, [_unquoted(cell) for cell in written.split("\t")]


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def _table(path: str, lines: Cells) -> Iterator[Row]:
    _, header = next(lines, (1, []))
    if len(header) == 1 and header[0].count(";") > 0 and path.endswith(".csv"):
        raise DataProblem(
            f"{path}:1: its cells are parted by semicolons, not by commas",
            hint="save it with commas (CSV UTF-8, or LibreOffice's field delimiter), or with tabs as .tsv",
        )
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise DataProblem(f"{path}:1: the column {doubled[0]!r} stands twice in the header")
    for line, cells in lines:
        if len(cells) != len(header):
            raise DataProblem(
                f"{path}:{line}: {len(cells)} cells under {len(header)} columns",
                hint="a cell that holds the delimiter or a line break needs the quotes of csv",
            )
        yield Row(line=line, value=dict(zip(header, cells, strict=True)))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        doubled = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise ValueError(f"the key {doubled!r} stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is out of range")
    return value


def _json(text: str, path: str, line: int, written: bool) -> Any:
    floats, integers = (as_written, as_written) if written else (_finite, int)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=floats,
            parse_int=integers,
        )
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a character can't be sent
        return value
    except UnicodeEncodeError:
        raise DataProblem(f"{path}:{line}: an escape \\ud… is half a character") from None
    except json.JSONDecodeError as error:
        lines = error.msg == "Extra data" and path.lower().endswith(".json")
        hint = "a value on each line is JSON Lines: name the file .jsonl" if lines else None
        raise DataProblem(f"{path}:{line + error.lineno - 1}:{error.colno}: not JSON: {error.msg}", hint=hint) from None
    except (ValueError, RecursionError) as error:
        raise DataProblem(f"{path}:{line}: not usable JSON: {error}") from None


def _yaml(text: str, path: str, written: bool) -> Any:
    try:
        document = parse(text.encode(), path, root="list")
        return _numbers_written(document, document.data, ()) if written else document.data
    except FindingsError as error:
        first = error.diagnostics[0]
        raise DataProblem(f"{first.place}: {first.message}", hint=first.hint) from None


def _numbers_written(document: Document, value: Any, path: tuple[str | int, ...]) -> Any:
    """A YAML value with its numbers as ``Written``."""
    if isinstance(value, dict):
        return {key: _numbers_written(document, item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers_written(document, item, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    span = document.span(path)
    text = document.text[span.start.offset : span.end.offset]
    return value if text[:1] == "*" else as_written(text)
