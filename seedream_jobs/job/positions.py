"""Where things stand in a text: offsets to lines and columns, and paths into the data to spans."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Literal

from seedream_jobs.diagnostics import Pos, Span

Style = Literal["plain", "|", ">", "'", '"']
PathPart = str | int

_LINE_END = re.compile(r"\r\n|\n|\r")
_PROPERTIES = re.compile(r"(?:[&!][^ \t\r\n]*+(?:[ \t\r\n]++|#[^\r\n]*+)*+)+")  # anchor, tag, what is between them
_STYLES: dict[str, Style] = {"|": "|", ">": ">", "'": "'", '"': '"'}


class Lines:
    """The lines of a text; a line ends with LF, CR LF or CR."""

    __slots__ = ("starts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(match.end() for match in _LINE_END.finditer(text))]

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
        while end > start and text[end - 1] in "\r\n \t":
            end -= 1
        return start, end


def style_at(text: str, start: int, end: int) -> Style:
    """How the scalar between two offsets is written."""
    return _STYLES.get(text[start], "plain") if start < end else "plain"


def literal_rows(lines: Lines, start: int, value: str) -> Iterator[tuple[int, str]]:
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
