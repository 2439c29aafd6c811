"""Builds plain data from YAML's events in one pass, keeping the place of every key and value.

Anchors, aliases and ``<<`` are applied on the way. Nothing is copied for an alias: the data shares the anchored value,
and what it would come to if written out is added up *before* it is used, so that a few lines can't stand for
gigabytes.

Events are ``Any`` here: PyYAML's types call the marks optional, and the two parsers have marks of different classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from seedream_jobs.diagnostics import closest
from seedream_jobs.job.positions import Layout, Lines
from seedream_jobs.job.scalars import NUMERIC_START, WORDS, OutOfRange, Scalar, ambiguity, number
from seedream_jobs.job.yaml_findings import Findings, Stop

MAX_DEPTH = 100
"""Mappings and lists within each other."""
MAX_EXPANDED_NODES = 1_000_000
MAX_EXPANDED_CHARACTERS = 8 * 1024 * 1024
"""What a document may come to with every alias written out: keys and values, and characters."""

_GUESSED_AMONG = 200  # anchors; looking for a similar name is slow among many
_NOT_PLAIN_TEXT = frozenset("+-.0123456789yYnNoOtTfF~")
_STR_TAG = "tag:yaml.org,2002:str"
_ROOT, _KEY, _VALUE, _ITEM = range(4)


class _Marker:
    """A key that no text can be."""


_MERGE: Final = _Marker()  # where the value of "<<" waits for the end of its mapping
_NO_KEY: Final = _Marker()  # where the value of a refused key goes


class _Anchored(NamedTuple):
    """An anchored value: ``nodes`` and ``characters`` are what it comes to written out."""

    value: Any
    node: int
    nodes: int
    characters: int


@dataclass(slots=True, eq=False, repr=False)
class _Frame:
    """A mapping or list that is being filled, and what was counted before it began."""

    mode: int
    container: Any
    kids: Any
    node: int
    flow: bool
    anchor: str | None = None
    nodes_before: int = 0
    characters_before: int = 0
    key: Any = None


class Builder:
    """Reads the events of one document; afterwards ``root`` is its data and ``layout`` its places."""

    def __init__(self, text: str, lines: Lines, findings: Findings) -> None:
        self.text, self.lines, self.findings = text, lines, findings
        self.layout = Layout()
        self.root: Any = None
        self.documents = self.last_end = 0
        self._anchors: dict[str, _Anchored] = {}
        self._open: set[str] = set()
        self._stack: list[_Frame] = []
        self._extra_nodes = self._extra_characters = 0

    def run(self, next_event: Callable[[], Any]) -> None:
        """Reads to the end of the stream.

        :raises Stop: where a finding makes the rest unreadable
        :raises MarkedYAMLError: from ``next_event``
        """
        # The loop handles the scalars, three quarters of all events, in local names; the rest is called.
        starts, ends = self.layout.starts, self.layout.ends
        frame = _Frame(mode=_ROOT, container=None, kids=None, node=-1, flow=False)
        container, kids, mode, key = frame.container, frame.kids, frame.mode, None
        while True:
            event = next_event()
            kind = type(event)
            if kind is ScalarEvent:
                node = len(starts)
                starts.append(event.start_mark.index)
                end = event.end_mark.index
                ends.append(end)
                self.last_end = end
                value = event.value
                if mode == _KEY:
                    if value in container or not value or value == "<<" or event.anchor or event.tag:
                        key = self._unusual_key(event, node, frame)
                    else:
                        key = value
                    if key is not _NO_KEY:
                        kids[key] = node
                    mode = _VALUE
                    continue
                if event.tag or event.anchor:
                    value = self._unusual_scalar(event, node)
                elif event.implicit[0] and (value in WORDS or value[0] in _NOT_PLAIN_TEXT):
                    value = self._plain(value, node)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                frame.mode, frame.key = mode, key
                frame = self._begin(event, frame)
                container, kids, mode, key = frame.container, frame.kids, frame.mode, None
                continue
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                value, node = self._finish(event, frame)
                frame = self._stack.pop()
                container, kids, mode, key = frame.container, frame.kids, frame.mode, frame.key
                if mode == _KEY:  # it was a key
                    mode = _VALUE
                    continue
            elif kind is AliasEvent:
                value, node = self._alias(event)
                if mode == _KEY:
                    self.findings.alias_as_key(starts[node], ends[node])
                    key, mode = _NO_KEY, _VALUE
                    continue
            elif kind is StreamEndEvent:
                return
            else:
                self._document(event)
                continue
            if mode == _VALUE:
                container[key] = value
                mode = _KEY
            elif mode == _ITEM:
                container.append(value)
                kids.append(node)
            else:
                self.root = value

    def _document(self, event: Any) -> None:
        """Counts the documents; other events say nothing new."""
        if not isinstance(event, DocumentStartEvent):
            return
        self.documents += 1
        if self.documents > 1:
            start: Any = event.start_mark
            end: Any = event.end_mark
            self.findings.second_document(start.index, end.index)
            raise Stop

    # Scalars

    def _plain(self, text: str, node: int) -> Scalar:
        """The value of a plain scalar whose first character says that it may be other than text."""
        if text in WORDS:
            return WORDS[text]
        if text[0] in NUMERIC_START:
            try:
                value = number(text)
            except OutOfRange:
                self.findings.out_of_range(text, *self._extent(node))
                return text
            if value is not None:
                return value
        otherwise = ambiguity(text)
        if otherwise is not None:
            self.findings.ambiguous(text, otherwise, *self._extent(node))
        return text

    def _unusual_scalar(self, event: Any, node: int) -> Scalar:
        """The value of a scalar with a tag or an anchor."""
        value: Scalar = event.value
        if event.tag:
            if event.tag != _STR_TAG:
                self.findings.tag(event.tag, self.layout.starts[node], self.layout.ends[node])
        elif event.implicit[0]:
            value = self._plain(event.value, node)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, node, 1, len(event.value))
        return value

    def _unusual_key(self, event: Any, node: int, frame: _Frame) -> Any:
        """The key for a scalar that is empty, a duplicate, ``<<``, or has an anchor or a tag."""
        key: str = event.value
        start, end = self._extent(node)
        if event.tag and event.tag != _STR_TAG:
            self.findings.tag(event.tag, self.layout.starts[node], self.layout.ends[node])
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(key, node, 1, len(key))
        if event.implicit[0] and not key:
            self.findings.missing_key(start, end)
            return _NO_KEY
        if key in frame.container or (key == "<<" and _MERGE in frame.container):
            first = frame.kids[_MERGE if key == "<<" and _MERGE in frame.kids else key]
            self.findings.duplicate_key(key, self._extent(first), (start, end))
            return _NO_KEY
        return _MERGE if key == "<<" and event.implicit[0] else key

    def _extent(self, node: int) -> tuple[int, int]:
        return self.layout.extent(self.text, node)

    # Mappings and lists

    def _begin(self, event: Any, parent: _Frame) -> _Frame:
        layout = self.layout
        node, start = len(layout.starts), event.start_mark.index
        layout.starts.append(start)
        layout.ends.append(start)
        if len(self._stack) >= MAX_DEPTH:
            self.findings.too_deep(start, MAX_DEPTH)
            raise Stop
        mapping = type(event) is MappingStartEvent
        flow = bool(event.flow_style)
        unquoted = flow and mapping and self.findings.unquoted_template(start, parent.flow)
        if parent.mode == _KEY:
            parent.key = _NO_KEY
            if not unquoted and self.text[start - 1 : start + 1] != "{{":
                self.findings.complex_key(start, event.end_mark.index)
        if event.tag:
            self.findings.tag(event.tag, start, event.end_mark.index)
        anchor = event.anchor
        if anchor:
            self._open.add(anchor)
        self._stack.append(parent)
        kids: Any = {} if mapping else []
        layout.kids[node] = kids
        counts = (node + self._extra_nodes, start + self._extra_characters)
        return _Frame(_KEY if mapping else _ITEM, {} if mapping else [], kids, node, flow, anchor, *counts)

    def _finish(self, event: Any, frame: _Frame) -> tuple[Any, int]:
        if frame.flow:  # the end of a block is only known from its last value; the event stands at what follows
            self.last_end = event.end_mark.index
        self.layout.ends[frame.node] = self.last_end
        value = frame.container
        if type(value) is dict and _MERGE in value:
            value = self._merge(frame)
        if frame.anchor:
            self._open.discard(frame.anchor)
            nodes = len(self.layout.starts) + self._extra_nodes - frame.nodes_before
            characters = self.last_end + self._extra_characters - frame.characters_before
            self._anchors[frame.anchor] = _Anchored(value, frame.node, nodes, characters)
        return value, frame.node

    def _alias(self, event: Any) -> tuple[Any, int]:
        layout = self.layout
        node, start, end = len(layout.starts), event.start_mark.index, event.end_mark.index
        layout.starts.append(start)
        layout.ends.append(end)
        self.last_end = end
        name: str = event.anchor
        if name in self._open:
            self.findings.cyclic_alias(name, start, end)
            return None, node
        found = self._anchors.get(name)
        if found is None:
            guess = closest(name, self._anchors) if len(self._anchors) <= _GUESSED_AMONG else None
            self.findings.undefined_alias(name, start, end, guess)
            return None, node
        self._extra_nodes += found.nodes
        self._extra_characters += found.characters
        nodes = node + self._extra_nodes
        if nodes > MAX_EXPANDED_NODES or end + self._extra_characters > MAX_EXPANDED_CHARACTERS:
            self.findings.expands_too_far(name, start, end)
            raise Stop
        layout.targets[node] = found.node
        return found.value, node

    def _merge(self, frame: _Frame) -> dict[str, Any]:
        """The mapping with ``<<`` applied: merged keys first, an earlier source before a later one, then its own."""
        own, own_kids = frame.container, frame.kids
        merged = own.pop(_MERGE)
        node = own_kids.pop(_MERGE) + 1
        layout = self.layout
        nodes = [node]
        if isinstance(merged, list):
            nodes = list(layout.kids[layout.targets.get(node, node)])
        data: dict[str, Any] = {}
        kids: dict[str, int] = {}
        for source, at in zip(merged if isinstance(merged, list) else [merged], nodes, strict=False):
            if not isinstance(source, dict):
                if self.text[layout.starts[at]] == "*" and at not in layout.targets:
                    continue  # an alias that has its own finding
                self.findings.bad_merge(layout.starts[at], layout.ends[at])
                continue
            source_kids = layout.kids[layout.targets.get(at, at)]
            for key, value in source.items():
                if key not in data and isinstance(source_kids, dict) and key in source_kids:
                    data[key] = value
                    kids[key] = source_kids[key]
        data.update(own)
        kids.update(own_kids)
        layout.kids[frame.node] = kids
        return data
