"""Axis values from files, globs and ranges. What is read stays data and is never rendered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from seedream_jobs.diagnostics import closest
from seedream_jobs.job.axis import MAX_VALUES
from seedream_jobs.job.condition import compile_condition
from seedream_jobs.job.files import LFS_POINTER, Files, OutsideRoot, within
from seedream_jobs.job.formats import FORMATS, DataProblem, Row, as_written, parse_rows
from seedream_jobs.job.template import TemplateProblem, undeclared
from seedream_jobs.job.yaml_reader import OutOfRange, number

MAX_BYTES = 64 * 1024 * 1024
"""The largest axis file, in bytes."""


def read_text(files: Files, folder: PurePosixPath, path: str, *, at: str = "from", limit: int = MAX_BYTES) -> str:
    """A file of the campaign as UTF-8 text, its lines ended by line feeds and begun without byte order marks.

    Both depend on the checkout, and on how files were put together, and must not change a prompt.

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
    if raw.startswith(LFS_POINTER):  # its three lines would become prompts, and be paid for
        raise DataProblem(f"{path!r} is a Git LFS pointer, not the file itself", at=at, hint="git lfs pull")
    if len(raw) > limit:
        raise DataProblem(f"{path!r} is larger than {limit // 1024 // 1024} MiB", at=at, hint="split it")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataProblem(
            f"{path}:{line}: not UTF-8 (byte 0x{raw[error.start]:02x} at offset {error.start})",
            at=at,
            hint="save the file as UTF-8",
        ) from None
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub("^\ufeff+", "", text, flags=re.MULTILINE) if "\ufeff" in text else text


def read_rows(source: Mapping[str, Any], files: Files, folder: PurePosixPath, *, written: bool = False) -> list[Row]:
    """The values of ``{from: …, column: …, where: …, limit: …, types: …}``, in file order.

    :param written: read numbers as ``Written``, which know how they are written
    :raises DataProblem: with the field of ``source`` to point at
    """
    path: str = source["from"]
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in FORMATS:
        raise DataProblem(f"{path!r} has an unknown ending", hint=f"one of {' '.join(FORMATS)}")
    text = read_text(files, folder, path)
    rows = _typed(parse_rows(suffix, path, text, written=written), source.get("types", {}), path, written)
    kept = _column(_where(rows, source.get("where"), path), source.get("column"), path)
    limit = source.get("limit")
    found: list[Row] = []
    for row in kept:
        if len(found) >= (MAX_VALUES + 1 if limit is None else limit):
            break
        found.append(row)
    return found


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _number(text: str) -> int | float:
    value = number(text)
    if value is None:
        raise ValueError(text)
    return value


def _integer(text: str) -> int:
    value = number(text)
    if not isinstance(value, int):
        raise ValueError(text)
    return value


_TYPES: dict[str, Callable[[str], Any]] = {
    "string": str,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}


def _typed(rows: Iterator[Row], types: Mapping[str, str], path: str, written: bool) -> Iterator[Row]:
    for row in rows:
        if types and isinstance(row.value, dict):
            value = dict(row.value)
            for column, kind in types.items():
                if column not in value:
                    raise _no_column(column, value, path, at="types")
                if isinstance(value[column], str):
                    try:
                        text = value[column] if kind == "string" else value[column].strip()
                        value[column] = _TYPES[kind](text)
                        if written and kind in ("number", "integer"):
                            value[column] = as_written(text)
                    except (ValueError, OutOfRange):
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
        condition = compile_condition(where)
        unknown = undeclared(condition.names, ("row",))
        if unknown:
            raise TemplateProblem(f"{unknown[0]!r} is unknown here", hint="the entry is 'row': row.Column == 'value'")
    except TemplateProblem as problem:
        raise DataProblem(problem.message, at="where", hint=problem.hint) from None
    for row in rows:
        try:
            kept = condition({"row": row.value})
        except TemplateProblem as problem:
            raise _row_problem(problem, row, path) from None
        if kept:
            yield row


def _row_problem(problem: TemplateProblem, row: Row, path: str) -> DataProblem:
    hint = problem.hint
    if problem.word is not None and isinstance(row.value, Mapping):
        near = closest(problem.word, row.value)
        hint = f"did you mean {near!r}?" if near else f"it has {', '.join(map(repr, list(row.value)[:8]))}"
    return DataProblem(f"{path}:{row.line}: {problem.message}", at="where", hint=hint)


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
    for path in found:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise DataProblem(f"the file name {str(path)!a} is not UTF-8", at="glob", hint="rename it") from None
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
    first, last, step = (*bounds, 1) if len(bounds) == 2 else bounds
    hint = "[first, last, step], both ends included"
    if step == 0 or (last > first and step < 0) or (last < first and step > 0):
        raise DataProblem(f"the range {bounds} is empty", at="range", hint=hint)
    whole = all(isinstance(bound, int) for bound in (first, last, step))
    count = int((last - first) // step if whole else (last - first) / step + 1e-9) + 1
    if count > MAX_VALUES:
        raise DataProblem(f"the range {bounds} has {count:,} values: at most {MAX_VALUES:,}", at="range", hint=hint)
    return [first + index * step if whole else round(first + index * step, 12) for index in range(count)]
