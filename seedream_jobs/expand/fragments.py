"""Keys by the million: the canonical bytes of a request put together from fragments that are each computed once.

A request's canonical JSON is *head* + *prompt* + *tail*. Head and tail depend on the parameters, of which there are few
distinct ones; the prompt is made of ``pieces``. ``Cells.build`` is the plain way to the same key.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from seedream_jobs.expand.cells import Cells
from seedream_jobs.expand.matrix import Cell, Choice
from seedream_jobs.expand.pieces import Column as Column
from seedream_jobs.expand.pieces import Piece, Pieces
from seedream_jobs.expand.request import FORM, canonical_json, canonical_payload, key_of, max_images, settled
from seedream_jobs.job.template import Segment, Template, TemplateProblem

MAX_FRAMES = 65_536
"""How many frames are kept; a job with more distinct sets of parameters makes some of them anew."""


class Frame(NamedTuple):
    """What surrounds the prompt for one distinct set of parameters; ``tails`` has one entry per repeat."""

    head: bytes
    tails: tuple[bytes, ...]
    max_images: int


def escaped(text: str) -> bytes:
    """Text as it stands between the quotes of canonical JSON. Escaping is per character, so parts can be joined."""
    return encode_basestring_ascii(text)[1:-1].encode("ascii")


class Fragments:
    """The fragments of one job, and the keys put together from them."""

    def __init__(self, cells: Cells) -> None:
        self.cells, self.spec, self.matrix = cells, cells.spec, cells.matrix
        self._frames: dict[Choice, Frame] = {}
        self.returns = False  # whether a carriage return was met: then every prompt is settled whole
        self.parameter_axes = self._parameter_axes()
        self.prompt_pieces = self._prompt_pieces()
        self._never_blank = any(isinstance(part, bytes) and is_visible(part) for part in self.parts)

    def _parameter_axes(self) -> tuple[int, ...]:
        names = set(self.cells.set_by_cell)
        for template in self.spec.image_urls or ():
            names |= template.names
        return tuple(sorted({place[0] for name in names if (place := self.spec.axis_of(name))}))

    def _prompt_pieces(self) -> Pieces | None:
        """The prompt's template in pieces; an axis' values as they are; None where only an include has a prompt."""
        if self.spec.axis_of("prompt") is not None:
            value = Segment(
                text="", names=frozenset({"prompt"}), line=1, evaluate=lambda context: str(context["prompt"])
            )
            template = Template(source="", names=value.names, segments=(value,))
            return Pieces(template, self.spec, self._escaped)
        return None if self.spec.prompt is None else Pieces(_unended(self.spec.prompt), self.spec, self._escaped)

    def _escaped(self, text: str) -> bytes:
        if "\r" in text:
            self.returns = True
        return escaped(text)

    @property
    def parts(self) -> list[Piece]:
        """The pieces of the prompt, escaped."""
        return self.prompt_pieces.pieces if self.prompt_pieces else []

    def text(self, column: Column, index: int) -> bytes:
        """The escaped text of one of the prompt's columns for one value of its axis.

        :raises TemplateProblem: where it can't be evaluated; a value that no combination has may be such a one
        """
        assert self.prompt_pieces is not None  # whose column it is
        return self.prompt_pieces.column_text(column, index)

    def frame(self, choice: Choice) -> Frame:
        """Head, tails and image count for the parameters of a choice.

        :raises ReferenceProblem: for a reference image that the service would refuse
        """
        restricted = tuple([choice[axis] for axis in self.parameter_axes])
        known = self._frames.get(restricted)
        if known is None:
            if len(self._frames) >= MAX_FRAMES:
                self._frames.clear()
            known = self._frames[restricted] = self._make_frame(choice)
        return known

    def _parameters(self, cell: Cell) -> dict[str, Any]:
        return self.cells.resolve(self.cells.parameters(self.matrix.bindings(cell), self.cells.given(cell)))[0]

    def _make_frame(self, choice: Choice) -> Frame:
        parameters = self._parameters(Cell(choice, ()))
        form = canonical_payload(parameters, self.cells.model_id(parameters))
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
        """The escaped prompt of a choice, settled.

        :raises TemplateProblem: from a segment, or for a blank prompt
        """
        if self.prompt_pieces is None:
            raise TemplateProblem("this combination has no prompt", hint="give it one in its include")
        text = self.prompt_pieces.text(choice)
        if not self._never_blank and not is_visible(text):
            raise TemplateProblem("the prompt is empty")
        if self.returns or text.endswith(b"\\n"):
            return escaped(settled(json.loads(b'"' + text + b'"')))
        return text

    def keys(self, cell: Cell) -> list[tuple[str, int]]:
        """(key, most images) for each repeat of a cell.

        :raises TemplateProblem: from the prompt
        :raises ReferenceProblem: from a reference image
        """
        if cell.choice is None or cell.includes:
            return self._plain(cell)
        head, tails, images = self.frame(cell.choice)
        body = head + self.prompt(cell.choice)
        return [(f"{FORM}:{self._sha256(body + tail).hexdigest()}", images) for tail in tails]

    @cached_property
    def _sha256(self) -> Callable[[bytes], Any]:
        """Not before the first key: counting needs none, and the library takes as long to load as a job file."""
        from hashlib import sha256

        return sha256

    def _plain(self, cell: Cell) -> list[tuple[str, int]]:
        context, given = self.matrix.bindings(cell), self.cells.given(cell)
        parameters = self.cells.resolve(self.cells.parameters(context, given))[0]
        payload = {**parameters, "prompt": self.cells.prompt(context, given)}
        model = self.cells.model_id(parameters)
        images = max_images(payload)
        return [(key_of(payload, model, repeat), images) for repeat in range(1, self.spec.repeat + 1)]


def _unended(template: Template) -> Template:
    """A prompt's template without the line breaks at its end, which every prompt would have to be rid of alone."""
    segments = list(template.segments)
    while segments and segments[-1].evaluate is None:
        last = segments.pop()
        if text := last.text.rstrip("\r\n"):
            segments.append(replace(last, text=text))
            break
    return replace(template, segments=tuple(segments))


def is_visible(text: bytes) -> bool:
    """Whether escaped text holds anything but white space."""
    return text[:1].isalnum() or bool(json.loads(b'"' + text + b'"').strip())
