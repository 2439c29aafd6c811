"""This module holds a YAML document: its data, and where everything in it stands.

Made by ``job.yaml_reader``; every later stage asks it for the place of a finding. Invariant: every span lies inside the
text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from seedream_jobs import confinement
from seedream_jobs.diagnostics import Diagnostic, Pos, Related, Severity, Span, in_order
from seedream_jobs.errors import FindingsError

Style = Literal["plain", "|", ">", "'", '"']
PathPart = str | int
DocumentPath = tuple[PathPart, ...]
"""A place in a document: the keys and indexes that lead to it."""

_LINE_END = re.compile(r"\r\n|\n|\r")
# Possessive (``*+``): a long run of blanks or comments is tried in one way only.
_PROPERTIES = re.compile(r"(?:[&!][^ \t\r\n]*+(?:[ \t\r\n]++|#[^\r\n]*+)*+)+")  # anchor, tag, what is between them
_STYLES: dict[str, Style] = {"|": "|", ">": ">", "'": "'", '"': '"'}


class Lines:
    """The lines of a text; a line ends with LF, CR LF or CR."""

    __slots__ = ("starts", "text")

    def __init__(self, text: str) -> None:
        self.text: str = text
        self.starts: list[int] = [0, *(match.end() for match in _LINE_END.finditer(text))]

    def pos(self, offset: int) -> Pos:
        """The place of the character at ``offset``; an offset outside the text is moved to its nearer end."""
        offset = max(0, min(offset, len(self.text)))
        line = bisect_right(self.starts, offset)
        return Pos(offset=offset, line=line, column=offset - self.starts[line - 1] + 1)

    def span(self, start: int, end: int) -> Span:
        """The stretch from ``start`` to ``end``, both offsets."""
        return Span(start=self.pos(start), end=self.pos(max(start, end)))

    def line(self, number: int) -> str:
        """Line ``number`` (from 1) without its line end; empty beyond the text."""
        start, end = self.bounds(number)
        return self.text[start:end]

    def bounds(self, number: int) -> tuple[int, int]:
        """The offsets of line ``number`` (from 1) without its line end."""
        if not 1 <= number <= len(self.starts):
            return len(self.text), len(self.text)
        start = self.starts[number - 1]
        match = _LINE_END.search(self.text, start)
        return start, match.start() if match else len(self.text)

    def around(self, offset: int) -> tuple[int, int]:
        """The offsets of the line that holds ``offset``, without its line end."""
        return self.bounds(self.pos(offset).line)


class Layout:
    """Where every key and value of a document stands, filled while it is read.

    A node is a number: ``starts[node]`` and ``ends[node]`` are offsets. A mapping's node has ``kids[node]`` from a key
    to the key's node, and the value's node is the next number; a sequence's node has the list of its items' nodes.
    ``targets`` leads from an alias to the node it stands for.
    """

    __slots__ = ("ends", "kids", "starts", "targets")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.kids: dict[int, dict[str, int] | list[int]] = {}
        self.targets: dict[int, int] = {}

    def find(self, path: Sequence[PathPart]) -> tuple[int, int | None, bool]:
        """The node of the value at ``path``, its key's node (None for an item or the root), and whether it exists.

        For a path that doesn't exist, those of the nearest parent that does.
        """
        node, key = 0, None
        for part in path:
            kids = self.kids.get(self.targets.get(node, node))
            if isinstance(kids, dict) and isinstance(part, str) and part in kids:
                key = kids[part]
                node = key + 1
            elif isinstance(kids, list) and isinstance(part, int) and 0 <= part < len(kids):
                node, key = kids[part], None
            else:
                return node, key, False
        return node, key, True

    def extent(self, text: str, node: int) -> tuple[int, int]:
        """The offsets of a node without its anchor and tag, and without the line ends after a block scalar."""
        if node >= len(self.starts):
            return 0, len(text)
        start, end = self.starts[node], self.ends[node]
        if start < end and text[start] in "&!":
            properties = _PROPERTIES.match(text, start, end)
            start = properties.end() if properties else start
        while end > start and text[end - 1] in "\r\n \t":  # a parser ends a block where the next thing begins
            end -= 1
        return start, end

    def style(self, text: str, node: int) -> Style:
        """How the scalar of a node is written."""
        return _style_at(text, *self.extent(text, node))


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML document: its data, and where everything in it stands.

    :param path: the file as the user named it, for findings
    :param text: the file's text, without a byte order mark; spans are offsets in it
    :param data: dict, list, str, int, float, bool and None, with anchors and ``<<`` applied; values of one anchor are
        one object, so don't change it in place
    :param warnings: what is allowed and probably not meant
    """

    path: str
    text: str
    data: Any
    warnings: tuple[Diagnostic, ...]
    lines: Lines
    layout: Layout

    def span(self, path: Sequence[PathPart], *, key: bool = False) -> Span:
        """Where the value at ``path`` stands; with ``key``, the mapping key that leads to it (an item has none).

        For a path that doesn't exist: where its nearest existing parent stands. A value that came through an alias
        stands where it is used, its parts where they are written; a key that came through ``<<``, too.
        """
        node, key_node, _ = self.layout.find(path)
        return self.lines.span(*self.layout.extent(self.text, node if key_node is None or not key else key_node))

    def exists(self, path: Sequence[PathPart]) -> bool:
        """Whether the document has a value at ``path``."""
        return self.layout.find(path)[2]

    def scalar_style(self, path: Sequence[PathPart]) -> Style | None:
        """How the scalar at ``path`` is written: ``plain``, ``|``, ``>``, ``'`` or ``"``; None if it is none."""
        found = self._scalar(path)
        return None if found is None else _style_at(self.text, *found[:2])

    def text_position(self, path: Sequence[PathPart], offset: int) -> Pos | None:
        """Where character ``offset`` (from 0) of the text at ``path`` stands in the file, if that is exact.

        It is for ``|`` blocks and for scalars on one line without escapes; elsewhere None, rather than a false place.
        """
        found = self._scalar(path)
        if found is None or not isinstance(found[2], str) or not 0 <= offset <= len(found[2]):
            return None
        start, end, value = found
        style = _style_at(self.text, start, end)
        if style == "|":
            for at, row in _literal_rows(self.lines, start, value):
                if offset <= len(row):
                    return self.lines.pos(at + offset)
                offset -= len(row) + 1
            return None
        # Elsewhere the text must stand in the file letter by letter: an escape, a doubled quote or a folded line moves
        # what follows it, and a false place is worse than none.
        inner = start if style == "plain" else start + 1
        if style == ">" or self.text[inner : inner + len(value)] != value or "\n" in value:
            return None
        if inner + len(value) != (end if style == "plain" else end - 1):
            return None
        return self.lines.pos(inner + offset)

    def text_span(self, path: Sequence[PathPart], start: int, end: int) -> Span | None:
        """Where the characters ``start`` to ``end`` of the text at ``path`` stand in the file, if that is exact."""
        first, last = self.text_position(path, start), self.text_position(path, end)
        return None if first is None or last is None else Span(start=first, end=last)

    def mark(self, doing: str, path: Sequence[PathPart], *, key: bool = False) -> None:
        """Say what is done with the value at ``path``, or with ``key`` its key, until the next mark."""
        at = self.span(path, key=key).start
        confinement.mark(doing, self.path, at.line, at.column)

    def finding(
        self,
        code: str,
        message: str,
        path: Sequence[PathPart],
        *,
        key: bool = False,
        severity: Severity = "error",
        hint: str | None = None,
        related: tuple[Related, ...] = (),
    ) -> Diagnostic:
        """A finding at ``path``, or with ``key`` at its key."""
        return Diagnostic(
            code=code,
            severity=severity,
            message=message,
            path=self.path,
            span=self.span(path, key=key),
            hint=hint,
            related=related,
        )

    def _scalar(self, path: Sequence[PathPart]) -> tuple[int, int, Any] | None:
        """The offsets and the value of the scalar at ``path``; of an alias, where its anchor's value is written."""
        node, _, exists = self.layout.find(path)
        value = self.data
        if not exists:
            return None
        for part in path:
            value = value[part]
        if isinstance(value, dict | list):
            return None
        return *self.layout.extent(self.text, self.layout.targets.get(node, node)), value


def check_findings(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The findings in the file's order, where all of them are warnings.

    :raises FindingsError: with every finding, where one is an error
    """
    ordered = in_order(found)
    if any(finding.severity == "error" for finding in ordered):
        raise FindingsError(ordered)
    return ordered


def _style_at(text: str, start: int, end: int) -> Style:
    return _STYLES.get(text[start], "plain") if start < end else "plain"


def _literal_rows(lines: Lines, start: int, value: str) -> Iterator[tuple[int, str]]:
    """For a ``|`` block whose header is at ``start``: the offset at which each line of its value stands, and the line.

    Yields nothing where the text and the value don't agree line by line.
    """
    first = lines.pos(start).line + 1
    wanted = value.split("\n")
    indent = _block_indent(lines, start, first)
    rows: list[tuple[int, str]] = []
    for index, row in enumerate(wanted):
        line_start, line_end = lines.bounds(first + index)
        at = min(line_start + indent, line_end)
        # The last, empty piece stands for the line end before it, and may lie in front of anything.
        if lines.text[at:line_end] != row and (row or index < len(wanted) - 1):
            return
        rows.append((at, row))
    yield from rows


def _block_indent(lines: Lines, start: int, first: int) -> int:
    """The columns in front of a block scalar's content: the first line that is not blank decides."""
    explicit = re.match(r"\|[+-]?([1-9])", lines.text[start : start + 3])
    for number in range(first, len(lines.starts) + 1):
        row = lines.line(number)
        content = row.lstrip(" ")
        if content:
            if explicit is None:
                return len(row) - len(content)
            break
    if explicit is None:
        return 0
    header = lines.line(first - 1)
    dashes = re.match(r"(?: |- )*", header)
    # A block's indentation counts from its parent: the key it belongs to, or the dash.
    parent = len(dashes.group()) if dashes else 0
    if header[parent:].startswith("|") and parent:
        parent -= 2
    return parent + int(explicit.group(1))


def spoken(value: Any) -> str:
    """A scalar as text: ``true`` and ``null`` as YAML writes them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
