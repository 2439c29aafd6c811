"""Keys by the million: the canonical bytes of a request put together from fragments that are each computed once.

A request's canonical JSON is *head* + *prompt* + *tail*. Head and tail depend on the parameters, of which there are few
distinct ones; the prompt is a row of segments, most of which read a single axis and so have as many texts as that axis
has values. What reads several axes is evaluated per request. ``Cells.build`` is the plain way to the same key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from seedream_jobs.expand.cells import Cells
from seedream_jobs.expand.matrix import Cell, Choice
from seedream_jobs.expand.request import FORM, canonical_json, canonical_payload, key_of, max_images
from seedream_jobs.job.template import Segment, Template, TemplateProblem


class Frame(NamedTuple):
    """What surrounds the prompt for one distinct set of parameters; ``tails`` has one entry per repeat."""

    head: bytes
    tails: tuple[bytes, ...]
    max_images: int


class Column(NamedTuple):
    """A segment that reads one axis: the escaped text for each of its values, filled in when first needed."""

    axis: int
    texts: list[bytes | None]
    segment: Segment


Part = bytes | Column | Segment


def escaped(text: str) -> bytes:
    """Text as it stands between the quotes of canonical JSON. Escaping is per character, so parts can be joined."""
    return encode_basestring_ascii(text)[1:-1].encode("ascii")


class Fragments:
    """The fragments of one job, and the keys put together from them."""

    def __init__(self, cells: Cells) -> None:
        self.cells, self.spec, self.matrix = cells, cells.spec, cells.matrix
        self._frames: dict[Choice, Frame] = {}
        self.parameter_axes = self._parameter_axes()
        self.parts = self._prompt_parts()
        self.never_blank = any(isinstance(part, bytes) and part.strip() for part in self.parts)

    def _parameter_axes(self) -> tuple[int, ...]:
        names = set(self.cells.set_by_cell)
        for template in self.spec.image_urls or ():
            names |= template.names
        return tuple(sorted({place[0] for name in names if (place := self.spec.axis_of(name))}))

    def _prompt_parts(self) -> list[Part]:
        place = self.spec.axis_of("prompt")
        if place is not None:
            axis, position = place
            texts: list[bytes | None] = [
                escaped(str(value.bindings[position])) for value in self.spec.axes[axis].values
            ]
            return [Column(axis, texts, Segment(text="", names=frozenset({"prompt"}), line=1, evaluate=None))]
        return [] if self.spec.prompt is None else self.parts_of(self.spec.prompt, escaped)

    def parts_of(self, template: Template, encode: Callable[[str], bytes]) -> list[Part]:
        """A template as constants, columns and whatever reads several axes; neighbouring constants are one."""
        parts: list[Part] = []
        for segment in template.segments:
            part = self._part(segment, encode)
            if isinstance(part, bytes) and parts and isinstance(parts[-1], bytes):
                parts[-1] += part
            else:
                parts.append(part)
        return parts

    def _part(self, segment: Segment, encode: Callable[[str], bytes]) -> Part:
        if segment.evaluate is None:
            return encode(segment.text)
        places = {name: self.spec.axis_of(name) for name in segment.names}
        axes = {place[0] for place in places.values() if place}
        known = all(place or name in self.spec.vars for name, place in places.items())
        if known and not axes:
            return encode(segment.evaluate(self.spec.vars))
        if known and len(axes) == 1:
            axis = axes.pop()
            return Column(axis, [None] * len(self.spec.axes[axis].values), segment)
        return segment

    def text(self, column: Column, index: int) -> bytes:
        """A column's text for one value.

        :raises TemplateProblem: where the segment can't be evaluated for it
        """
        known = column.texts[index]
        if known is None:
            axis = self.spec.axes[column.axis]
            context = {**self.spec.vars, **dict(zip(axis.names, axis.values[index].bindings, strict=True))}
            assert column.segment.evaluate is not None
            known = column.texts[index] = escaped(column.segment.evaluate(context))
        return known

    def frame(self, choice: Choice) -> Frame:
        """Head, tails and image count for the parameters of a choice.

        :raises ReferenceProblem: for a reference image that the service would refuse
        """
        restricted = tuple(choice[axis] for axis in self.parameter_axes)
        known = self._frames.get(restricted)
        if known is None:
            if len(self._frames) >= 65_536:
                self._frames.clear()
            known = self._frames[restricted] = self._make_frame(choice)
        return known

    def parameters(self, choice: Choice) -> dict[str, Any]:
        """The parameters of a choice, references resolved."""
        cell = Cell(choice, ())
        context = self.matrix.bindings(cell)
        return self.cells.resolve(self.cells.parameters(context, self.cells.given(cell)))[0]

    def _make_frame(self, choice: Choice) -> Frame:
        parameters = self.parameters(choice)
        form = canonical_payload(parameters, self.spec.profile.id)
        before = canonical_json({name: value for name, value in form.items() if name < "prompt"})[:-1]
        after = canonical_json({name: value for name, value in form.items() if name > "prompt"})[1:]
        return Frame(
            head=b'{"payload":' + before + b',"prompt":"',
            tails=tuple(
                b'",' + after + b',"repeat":' + str(number).encode() + b"}" for number in range(1, self.spec.repeat + 1)
            ),
            max_images=max_images(parameters),
        )

    def prompt(self, choice: Choice) -> bytes:
        """The escaped prompt of a choice.

        :raises TemplateProblem: from a segment, or for a blank prompt
        """
        found: list[bytes] = []
        context: Mapping[str, Any] | None = None
        for part in self.parts:
            if isinstance(part, bytes):
                found.append(part)
            elif isinstance(part, Column):
                found.append(part.texts[choice[part.axis]] or self.text(part, choice[part.axis]))
            else:
                if context is None:
                    context = self.matrix.bindings(Cell(choice, ()))
                assert part.evaluate is not None
                found.append(escaped(part.evaluate(context)))
        text = b"".join(found)
        if not self.never_blank and not _visible(text):
            raise TemplateProblem("the prompt is empty")
        return text

    def keys(self, cell: Cell) -> Iterator[tuple[str, int]]:
        """(key, most images) for each repeat of a cell."""
        if cell.choice is None or cell.includes:
            yield from self._plain(cell)
            return
        frame = self.frame(cell.choice)
        body = frame.head + self.prompt(cell.choice)
        for tail in frame.tails:
            yield f"{FORM}:{hashlib.sha256(body + tail).hexdigest()}", frame.max_images

    def _plain(self, cell: Cell) -> Iterator[tuple[str, int]]:
        context, given = self.matrix.bindings(cell), self.cells.given(cell)
        parameters = self.cells.resolve(self.cells.parameters(context, given))[0]
        prompt = self.cells.prompt(context, given)
        if not prompt.strip():
            raise TemplateProblem("the prompt is empty")
        payload = {**parameters, "prompt": prompt}
        for repeat in range(1, self.spec.repeat + 1):
            yield key_of(payload, self.spec.profile.id, repeat), max_images(payload)


def _visible(text: bytes) -> bool:
    """Whether escaped text holds anything but white space."""
    return text[:1].isalnum() or bool(json.loads(b'"' + text + b'"').strip())
