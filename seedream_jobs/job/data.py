"""Axis values from files: one per line, csv, tsv, json, jsonl, yaml. What is read stays data and is never rendered."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from seedream_jobs.diagnostics import closest
from seedream_jobs.job.files import Files, OutsideRoot, within
from seedream_jobs.job.template import TemplateProblem, compile_expression, undeclared

MAX_BYTES = 64 * 1024 * 1024
"""The largest axis file, in bytes."""

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


def read_text(files: Files, folder: PurePosixPath, path: str, *, at: str = "from", limit: int = MAX_BYTES) -> str:
    """A file of the campaign as UTF-8 text.

    :raises DataProblem: for everything that can be wrong with a path or its bytes
    """
    try:
        raw = files.read(within(folder, path), limit=limit + 1)
    except OutsideRoot:
        raise DataProblem(f"{path!r} is outside the campaign's folder", at=at, hint="move the file into it") from None
    except FileNotFoundError:
        hint = "the path is relative to the job file"
        raise DataProblem(f"there is no file {path!r}", at=at, hint=hint) from None
    except IsADirectoryError:
        raise DataProblem(f"{path!r} is a folder", at=at, hint="for the files in it write {glob: …}") from None
    except OSError as error:
        raise DataProblem(f"{path!r} can't be read: {error.strerror}", at=at) from None
    if len(raw) > limit:
        raise DataProblem(f"{path!r} is larger than {limit // 1024 // 1024} MiB", at=at, hint="split it")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataProblem(
            f"{path}:{line}: not UTF-8 (byte 0x{raw[error.start]:02x} at offset {error.start})",
            at=at,
            hint="save the file as UTF-8",
        ) from None


def read_rows(source: Mapping[str, Any], files: Files, folder: PurePosixPath) -> list[Row]:
    """The values of ``{from: …, column: …, where: …, limit: …, types: …}``, in file order.

    :raises DataProblem: with the field of ``source`` to point at
    """
    path: str = source["from"]
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in FORMATS:
        raise DataProblem(f"{path!r} has an unknown ending", hint=f"one of {' '.join(FORMATS)}")
    text = read_text(files, folder, path)
    rows = _typed(_parse(suffix, path, text), source.get("types", {}), path)
    kept = _column(_where(rows, source.get("where"), path), source.get("column"), path)
    limit = source.get("limit")
    found: list[Row] = []
    for row in kept:
        if limit is not None and len(found) >= limit:
            break
        found.append(row)
    return found


def _parse(suffix: str, path: str, text: str) -> Iterator[Row]:
    if suffix == ".txt":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield Row(line=number, value=line.strip())
    elif suffix in (".csv", ".tsv"):
        yield from _table(path, _csv(path, text) if suffix == ".csv" else _tsv(text))
    elif suffix in (".jsonl", ".ndjson"):
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield Row(line=number, value=_json(line, path, number))
    else:
        loaded = _json(text, path, 1) if suffix == ".json" else _yaml(text, path)
        if not isinstance(loaded, list):
            raise DataProblem(f"{path!r} does not hold a list", hint="an axis file is a list of values or of mappings")
        for number, value in enumerate(loaded, 1):
            yield Row(line=number, value=value)


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
            if cells:
                yield line, cells
    except csv.Error as error:
        raise DataProblem(f"{path}:{reader.line_num}: {error}") from None


def _tsv(text: str) -> Cells:
    """Lines of cells, unquoted only where the whole of a cell is quoted.

    text/tab-separated-values knows no quotes, and prompts begin with them; spreadsheets write a cell that holds a quote
    in quotes all the same, each of its own doubled.
    """
    for line, written in enumerate(text.split("\n"), 1):
        written = written.removesuffix("\r")
        if written.strip():
            yield line, [_unquoted(cell) for cell in written.split("\t")]


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def _table(path: str, lines: Cells) -> Iterator[Row]:
    _, header = next(lines, (1, []))
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


def _json(text: str, path: str, line: int) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise DataProblem(f"{path}:{line + error.lineno - 1}:{error.colno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise DataProblem(f"{path}:{line}: not usable JSON: {error}") from None


def _yaml(text: str, path: str) -> Any:
    from seedream_jobs.errors import FindingsError
    from seedream_jobs.job.source import parse_list

    try:
        return parse_list(text.encode(), path)
    except FindingsError as error:
        first = error.diagnostics[0]
        raise DataProblem(f"{first.place}: {first.message}", hint=first.hint) from None


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


_TYPES: dict[str, Callable[[str], Any]] = {"string": str, "integer": int, "number": float, "boolean": _boolean}


def _typed(rows: Iterator[Row], types: Mapping[str, str], path: str) -> Iterator[Row]:
    for row in rows:
        if types and isinstance(row.value, dict):
            value = dict(row.value)
            for column, kind in types.items():
                if column not in value:
                    raise _no_column(column, value, path, at="types")
                if isinstance(value[column], str):
                    try:
                        value[column] = _TYPES[kind](value[column].strip())
                    except ValueError:
                        raise DataProblem(
                            f"{path}:{row.line}: {value[column][:60]!r} in column {column!r} is no {kind}", at="types"
                        ) from None
            row = Row(line=row.line, value=value)
        yield row


def _where(rows: Iterator[Row], where: str | None, path: str) -> Iterator[Row]:
    if where is None:
        yield from rows
        return
    try:
        condition = compile_expression(where)
        unknown = undeclared(condition, ("row",))
        if unknown:
            raise TemplateProblem(f"{unknown[0]!r} is unknown here", hint="the entry is 'row': row.Column == 'value'")
        for row in rows:
            if condition({"row": row.value}):
                yield row
    except TemplateProblem as problem:
        raise DataProblem(problem.message, at="where", hint=problem.hint) from None


def _column(rows: Iterator[Row], column: str | None, path: str) -> Iterator[Row]:
    for row in rows:
        if column is None:
            yield row
        elif not isinstance(row.value, dict):
            raise DataProblem(f"{path}:{row.line}: this entry has no columns", at="column", hint="leave 'column' out")
        elif column not in row.value:
            raise _no_column(column, row.value, path, at="column")
        else:
            yield Row(line=row.line, value=row.value[column])


def _no_column(column: str, row: Mapping[str, Any], path: str, *, at: str) -> DataProblem:
    near = closest(column, row)
    hint = f"did you mean {near!r}?" if near else f"it has {', '.join(map(repr, list(row)[:8]))}"
    return DataProblem(f"{path!r} has no column {column!r}", at=at, hint=hint)


def expand_glob(pattern: str, files: Files, folder: PurePosixPath) -> list[str]:
    """The files that match, sorted, as paths relative to the job file's folder.

    :raises DataProblem: for a pattern that leaves the campaign
    """
    try:
        found = files.glob(folder, pattern)
    except OutsideRoot:
        raise DataProblem(f"{pattern!r} leaves the campaign's folder", at="glob") from None
    except (ValueError, NotImplementedError) as error:
        raise DataProblem(f"{pattern!r} is no pattern: {error}", at="glob") from None
    return [_relative(folder, path) for path in found]


def _relative(folder: PurePosixPath, path: PurePosixPath) -> str:
    shared = 0
    for mine, theirs in zip(folder.parts, path.parts, strict=False):
        if mine != theirs:
            break
        shared += 1
    return str(PurePosixPath(*[".."] * (len(folder.parts) - shared), *path.parts[shared:]))


def expand_range(bounds: list[int | float]) -> list[int | float]:
    """``[first, last]`` or ``[first, last, step]``, both ends included.

    :raises DataProblem: for a step that never arrives
    """
    first, last, step = (*bounds, 1)[:3] if len(bounds) == 2 else bounds
    if step == 0 or (last - first) / step < 0:
        raise DataProblem(f"the range {bounds} is empty", at="range", hint="[first, last, step], both ends included")
    count = int((last - first) / step + 1e-9) + 1
    if count > 10_000_000:
        raise DataProblem(f"the range {bounds} has {count:,} values", at="range")
    whole = all(isinstance(bound, int) for bound in (first, last, step))
    return [first + index * step if whole else round(first + index * step, 12) for index in range(count)]
