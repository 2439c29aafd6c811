"""This module reads the values of an axis from files (txt, csv, tsv, json, jsonl, yaml), globs and ranges.

Called by ``job.axes``. Invariant: what is read stays data and is never rendered. Each row keeps its line, and how its
numbers are written where a prompt would show them otherwise (``3.10`` is 3.1), so that no file is read a second time.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from seedream_jobs import confinement
from seedream_jobs.characters import find_misleading
from seedream_jobs.diagnostics import Problem, did_you_mean, shorten
from seedream_jobs.errors import FindingsError
from seedream_jobs.inside import OutsideRoot, Withheld
from seedream_jobs.job.condition import compile_condition
from seedream_jobs.job.document import Document, DocumentPath
from seedream_jobs.job.files import LFS_POINTER, Files, within
from seedream_jobs.job.template import TemplateProblem, undeclared
from seedream_jobs.job.yaml_reader import number, parse

FORMATS = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".yaml", ".yml")

MAX_BYTES = 64 * 1024 * 1024
"""The largest axis file, in bytes."""

MAX_VALUES = 1_000_000
"""The most values of one axis."""

WrittenNumbers = Mapping[DocumentPath, str]
"""How numbers are written, by their path within a value; only those that ``str`` would write otherwise."""


class AxisProblem(Problem):
    """An axis whose values can't be used.

    :param at: the part of what is written for the axis to point at: ``from``, ``column``, ``where``, ``types``,
        ``glob``, ``range``, or the number of a value; None for the axis' name
    """

    def __init__(
        self, message: str, *, code: str = "axis-data", at: str | int | None = "from", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.code: str = code
        self.at: str | int | None = at


class FileRow(NamedTuple):
    """One entry of an axis file; ``line`` counts from 1, or is the entry's number where lines have no meaning."""

    line: int
    value: Any
    written: WrittenNumbers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisFile:
    """The file behind the values of one name of an axis.

    :param path: as the job file writes it
    :param lines: the line of each value
    :param written: the numbers in a value, by the value's index
    """

    path: str
    column: str | None
    lines: Sequence[int]
    written: Mapping[int, WrittenNumbers] = field(default_factory=dict)


def read_axis_file(source: Mapping[str, Any], files: Files, folder: PurePosixPath) -> tuple[AxisFile, list[Any]]:
    """The values of ``{from: …, column: …, where: …, limit: …, types: …}``, in file order, and where they stand.

    :raises AxisProblem: with the field of ``source`` to point at
    """
    path: str = source["from"]
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in FORMATS:
        raise AxisProblem(f"{path!r} has an unknown ending", hint=f"one of {' '.join(FORMATS)}")
    rows = _typed(_rows(suffix, path, _read_text(files, folder, path)), source.get("types", {}), path)
    column, limit = source.get("column"), source.get("limit")
    # An array, because a million line numbers take at least four times as much memory in a list.
    lines, values, written = array("L"), list[Any](), dict[int, WrittenNumbers]()
    for row in _column(_where(rows, source.get("where"), path), column, path):
        if len(values) >= (MAX_VALUES + 1 if limit is None else limit):  # one too many says that there are too many
            break
        if row.written:
            written[len(values)] = row.written
        lines.append(row.line)
        values.append(row.value)
    return AxisFile(path=path, column=column, lines=lines, written=written), values


def _read_text(files: Files, folder: PurePosixPath, path: str) -> str:
    """A file of the campaign as UTF-8 text, its lines ended by line feeds and begun without byte order marks.

    :raises AxisProblem: for everything that can be wrong with a path or its bytes
    """
    try:
        raw = files.read(within(folder, path), limit=MAX_BYTES + 1)
    except OutsideRoot:
        raise AxisProblem(f"{path!r} is outside the campaign's folder", hint="move the file into it") from None
    except FileNotFoundError:
        hint = "the path is relative to the job file"
        raise AxisProblem(f"there is no file {path!r}", hint=hint) from None
    except IsADirectoryError:
        raise AxisProblem(f"{path!r} is a folder", hint="for the files in it write {glob: …}") from None
    except OSError as error:
        withheld = error.hint if isinstance(error, Withheld) else None
        raise AxisProblem(f"{path!r} can't be read: {error.strerror}", hint=withheld) from None
    confinement.allow_bytes(len(raw))
    if raw.startswith(LFS_POINTER):  # its three lines would become prompts, and be paid for
        raise AxisProblem(f"{path!r} is a Git LFS pointer, not the file itself", hint="git lfs pull")
    if len(raw) > MAX_BYTES:
        raise AxisProblem(f"{path!r} is larger than {MAX_BYTES // 1024 // 1024} MiB", hint="split it")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise AxisProblem(
            f"{path}:{line}: not UTF-8 (byte 0x{raw[error.start]:02x} at offset {error.start})",
            hint="save the file as UTF-8",
        ) from None
    for at, severity, message, hint in find_misleading(text):
        if severity == "error":
            line = text.count("\n", 0, at) + 1
            raise AxisProblem(f"{path}:{line}: {message}", hint=hint)
    # Line ends depend on the checkout, and marks within the text on how files were put together: neither may change a
    # prompt, which would be bought again.
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub("^\ufeff+", "", text, flags=re.MULTILINE) if "\ufeff" in text else text


def _as_type(text: str, kind: str) -> Any:
    """A cell of a table as the type that ``types`` gives its column.

    :raises ValueError: it is none
    """
    if kind == "string":
        return text
    value: Any = {"true": True, "false": False}.get(text.lower()) if kind == "boolean" else number(text)
    if value is None or (kind == "integer" and not isinstance(value, int)):
        raise ValueError(text)
    return value


def _typed(rows: Iterator[FileRow], types: Mapping[str, str], path: str) -> Iterator[FileRow]:
    for row in rows:
        if not types or not isinstance(row.value, dict):
            yield row
            continue
        value, written = dict(row.value), dict(row.written or {})
        for column, kind in types.items():
            if column not in value:
                raise _no_column(column, value, path, at="types")
            if isinstance(value[column], str):
                text = value[column] if kind == "string" else value[column].strip()
                try:
                    value[column] = _as_type(text, kind)
                except ValueError:
                    message = f"{path}:{row.line}: {value[column][:60]!r} in column {column!r} is no {kind}"
                    raise AxisProblem(message, at="types") from None
                if kind in ("number", "integer") and str(value[column]) != text:
                    written[(column,)] = text
        yield FileRow(row.line, value, written)


def _where(rows: Iterator[FileRow], where: str | None, path: str) -> Iterator[FileRow]:
    if where is None:
        yield from rows
        return
    try:
        condition = compile_condition(where)
        unknown = undeclared(condition.names, ("row",))
        if unknown:
            raise TemplateProblem(f"{unknown[0]!r} is unknown here", hint="the entry is 'row': row.Column == 'value'")
    except TemplateProblem as problem:
        raise AxisProblem(problem.message, at="where", hint=problem.hint) from None
    for row in rows:
        try:
            kept = condition({"row": row.value})
        except TemplateProblem as problem:
            hint = problem.hint
            if problem.word is not None and isinstance(row.value, Mapping):
                hint = _among(problem.word, row.value)
            raise AxisProblem(f"{path}:{row.line}: {problem.message}", at="where", hint=hint) from None
        if kept:
            yield row


def _column(rows: Iterator[FileRow], column: str | None, path: str) -> Iterator[FileRow]:
    for row in rows:
        if column is None:
            yield row
        elif not isinstance(row.value, dict):
            raise AxisProblem(f"{path}:{row.line}: this entry has no columns", at="column", hint="leave 'column' out")
        elif column not in row.value:
            raise _no_column(column, row.value, path, at="column")
        else:
            written = {at[1:]: text for at, text in (row.written or {}).items() if at[0] == column}
            yield FileRow(line=row.line, value=row.value[column], written=written)


def _no_column(column: str, row: Mapping[str, Any], path: str, *, at: str) -> AxisProblem:
    return AxisProblem(f"{path!r} has no column {column!r}", at=at, hint=_among(column, row))


def _among(name: str, row: Mapping[str, Any]) -> str | None:
    return did_you_mean(name, row, f"it has {', '.join(map(repr, list(row)[:8]))}")


# -- formats -----------------------------------------------------------------------------------------------------------


def _rows(suffix: str, path: str, text: str) -> Iterator[FileRow]:
    """The entries of a file of one of ``FORMATS``, whose lines end with line feeds.

    In a ``.txt`` a line that begins with ``#`` is a comment, as in other tools for prompts; there is no escape for it.

    :raises AxisProblem: where the text is not of its format
    """
    if suffix == ".txt":
        for at, line in enumerate(text.split("\n"), 1):
            if (line := line.strip()) and not line.startswith("#"):
                yield FileRow(line=at, value=line)
    elif suffix in (".csv", ".tsv"):
        yield from _table(path, _csv(path, text) if suffix == ".csv" else _tsv(text))
    elif suffix in (".jsonl", ".ndjson"):
        for at, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield _json_row(_json(line, path, at), at, path)
    elif suffix == ".json":
        items = _json(text, path, 1)
        if not isinstance(items, list):
            raise AxisProblem(f"{path!r} does not hold a list", hint="an axis file is a list of values or of mappings")
        for at, item in enumerate(items, 1):
            yield _json_row(item, at, path)
    else:
        yield from _yaml(text, path)


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
            raise AxisProblem(f"{path}:{line}: a quote that opens in this row is never closed", hint=hint) from None
        raise AxisProblem(f"{path}:{reader.line_num}: {error}") from None


def _tsv(text: str) -> Cells:
    """Lines of cells, unquoted only where the whole of a cell is quoted.

    text/tab-separated-values knows no quotes, and prompts begin with them; spreadsheets write a cell that holds a quote
    in quotes all the same, each of its own doubled.
    """
    for line, row in enumerate(text.split("\n"), 1):
        if row.strip():
            yield line, [_unquoted(cell) for cell in row.split("\t")]


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def _table(path: str, lines: Cells) -> Iterator[FileRow]:
    _, header = next(lines, (1, []))
    if len(header) == 1 and header[0].count(";") > 0 and path.endswith(".csv"):
        raise AxisProblem(
            f"{path}:1: its cells are parted by semicolons, not by commas",
            hint="save it with commas (CSV UTF-8, or LibreOffice's field delimiter), or with tabs as .tsv",
        )
    doubled = sorted(name for name, times in Counter(header).items() if times > 1)
    if doubled:
        raise AxisProblem(f"{path}:1: the column {shorten(doubled[0])!r} stands twice in the header")
    for line, cells in lines:
        if len(cells) != len(header):
            raise AxisProblem(
                f"{path}:{line}: {len(cells)} cells under {len(header)} columns",
                hint="a cell that holds the delimiter or a line break needs the quotes of csv",
            )
        yield FileRow(line=line, value=dict(zip(header, cells, strict=True)))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)  # of two equal keys the last one would win in silence
    if len(found) != len(pairs):
        seen = set[str]()
        for doubled, _ in pairs:
            if doubled in seen:
                break
            seen.add(doubled)
        raise ValueError(f"the key {shorten(doubled)!r} stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class _WrittenNumber(NamedTuple):
    """A JSON number whose text is not what ``str`` makes of it."""

    value: int | float
    text: str


def _json_integer(text: str) -> int | _WrittenNumber:
    value = int(text)
    return value if str(value) == text else _WrittenNumber(value, text)


def _json_float(text: str) -> float | _WrittenNumber:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is out of range")
    return value if str(value) == text else _WrittenNumber(value, text)


def _json(text: str, path: str, line: int) -> Any:
    """The value in ``text``, which stands at ``line``; some of its numbers are ``_WrittenNumber``."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_json_float,
            parse_int=_json_integer,
        )
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a character can't be sent
        return value
    except UnicodeEncodeError:
        raise AxisProblem(f"{path}:{line}: an escape \\ud… is half a character") from None
    except json.JSONDecodeError as error:
        lines = error.msg == "Extra data" and path.lower().endswith(".json")
        hint = "a value on each line is JSON Lines: name the file .jsonl" if lines else None
        raise AxisProblem(f"{path}:{line + error.lineno - 1}:{error.colno}: not JSON: {error.msg}", hint=hint) from None
    except (ValueError, RecursionError) as error:
        raise AxisProblem(f"{path}:{line}: not usable JSON: {error}") from None


def _json_row(value: Any, line: int, path: str) -> FileRow:
    """The row of a value that ``_json`` read: its numbers as plain numbers, and beside them how they were written."""
    written: dict[DocumentPath, str] = {}

    def plain(value: Any, at: DocumentPath) -> Any:
        if isinstance(value, dict):
            return {key: plain(item, (*at, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item, (*at, index)) for index, item in enumerate(value)]
        if not isinstance(value, _WrittenNumber):
            return value
        written[at] = value.text
        return value.value

    try:
        return FileRow(line=line, value=plain(value, ()), written=written)
    except RecursionError as error:
        raise AxisProblem(f"{path}:{line}: not usable JSON: {error}") from None


def _yaml(text: str, path: str) -> Iterator[FileRow]:
    try:
        document = parse(text.encode(), path, root="list")
    except FindingsError as error:
        first = error.diagnostics[0]
        raise AxisProblem(f"{first.place}: {first.message}", hint=first.hint) from None
    for index, value in enumerate(document.data):
        yield FileRow(line=index + 1, value=value, written=dict(_yaml_numbers(document, value, (index,))))


def _yaml_numbers(document: Document, value: Any, path: DocumentPath) -> Iterator[tuple[DocumentPath, str]]:
    """The numbers in an item of a list that are not written as ``str`` would, by their path in the item."""
    if isinstance(value, dict | list):
        for part, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _yaml_numbers(document, item, (*path, part))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        span = document.span(path)
        text = document.text[span.start.offset : span.end.offset]
        if text != str(value) and not text.startswith("*"):  # an alias is no spelling
            yield path[1:], text


# -- globs and ranges --------------------------------------------------------------------------------------------------


def expand_glob(pattern: str, files: Files, folder: PurePosixPath) -> list[str]:
    """The files that match, sorted, as paths relative to the job file's folder.

    :raises AxisProblem: for a pattern that leaves the campaign
    """
    try:
        found = files.glob(folder, pattern)
    except OutsideRoot:
        raise AxisProblem(f"{pattern!r} leaves the campaign's folder", at="glob") from None
    except Withheld as error:
        raise AxisProblem(f"{pattern!r}: {error.strerror}", at="glob", hint=error.hint) from None
    except (ValueError, NotImplementedError) as error:
        raise AxisProblem(f"{pattern!r} is no pattern: {error}", at="glob") from None
    for path in found:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise AxisProblem(f"the file name {str(path)!a} is not UTF-8", at="glob", hint="rename it") from None
    return [_relative(folder, path) for path in found]


def _relative(folder: PurePosixPath, path: PurePosixPath) -> str:
    shared = 0
    for mine, theirs in zip(folder.parts, path.parts, strict=False):
        if mine != theirs:
            break
        shared += 1
    return "/".join([*[".."] * (len(folder.parts) - shared), *path.parts[shared:]])


def expand_range(bounds: list[int | float], most: int = MAX_VALUES) -> list[int | float]:
    """``[first, last]`` or ``[first, last, step]``, both ends included; counted before it is built.

    :param most: how many values there may be beside the other axes
    :raises AxisProblem: for a step that never arrives, or too many values
    """
    first, last, step = (*bounds, 1) if len(bounds) == 2 else bounds
    hint = "[first, last, step], both ends included"
    if step == 0 or (last > first and step < 0) or (last < first and step > 0):
        raise AxisProblem(f"the range {bounds} is empty", at="range", hint=hint)
    # Steps are multiplied, not added up, and rounded: 0.1 + 0.1 + 0.1 is 0.30000000000000004, and would be printed so.
    whole = all(isinstance(bound, int) for bound in (first, last, step))
    # The last value counts though its quotient is rounded down: 0.3 / 0.1 is 2.9999999999999996.
    steps = (last - first) // step if whole else (float(last) - float(first)) / step + 1e-9
    if not steps < MAX_VALUES:  # it may be infinite
        number = f"{int(steps) + 1:,}" if math.isfinite(steps) else "endlessly many"
        raise AxisProblem(f"the range {bounds} has {number} values: at most {MAX_VALUES:,}", at="range", hint=hint)
    if steps >= most:
        message = f"the range {bounds} has {int(steps) + 1:,} values: with the axes before it, at most {most:,}"
        raise AxisProblem(message, code="too-many-combinations", at="range", hint="shorten an axis, or split the job")
    return [first + index * step if whole else round(first + index * step, 12) for index in range(int(steps) + 1)]
