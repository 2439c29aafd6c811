"""Requests whole, by the thousand: put together from parts that are each made once for an axis' value.

What is sent is built one request at a time while workers wait for it, so that this is on the way of every POST.
``Cells.build`` is the plain way to the same request; a test holds the two together.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, NamedTuple

from seedream_jobs.expand.cells import FIELD_ORDER, Cells
from seedream_jobs.expand.fragments import Fragments
from seedream_jobs.expand.matrix import Cell, Choice
from seedream_jobs.expand.output_names import OutputNames
from seedream_jobs.expand.pieces import Pieces
from seedream_jobs.expand.request import Reference, Request, max_images, settled
from seedream_jobs.job.template import TemplateProblem

MAX_BODIES = 4096
"""How many distinct sets of parameters are kept; a job with more makes some of them anew."""


class _Body(NamedTuple):
    """A payload whose prompt is still to be filled in, for one distinct set of parameters."""

    payload: dict[str, Any]
    references: dict[str, Reference]
    max_images: int


class Assembly:
    """Builds the requests of plain cells: those that are a choice of axis values, with no include in them."""

    def __init__(self, cells: Cells, fragments: Fragments) -> None:
        self._cells, self._spec = cells, cells.spec
        self._parameter_axes = fragments.parameter_axes
        self._bodies: dict[Choice, _Body] = {}
        self._spelled: list[list[str | None]] = [[None] * len(axis.values) for axis in self._spec.axes]
        self._labels = [
            [dict(zip(axis.names, value.labels, strict=True)) for value in axis.values] for axis in self._spec.axes
        ]
        self._prompt: Pieces | None = None
        if self._spec.prompt is not None and self._spec.axis_of("prompt") is None:
            self._prompt = Pieces(self._spec.prompt, self._spec, _encode)
        self._named = None if self._spec.output_name is None else OutputNames(cells)
        self._folder = str(PurePosixPath(self._spec.output_dir) / "-")[:-1]

    def request(self, cell: Cell, repeat: int, key: str) -> Request:
        """The whole request of a plain cell, whose ``key`` is known.

        :raises TemplateProblem: from a template
        :raises ReferenceProblem: from a reference image
        """
        choice = cell.choice
        assert choice is not None
        assert not cell.includes
        body = self._body(cell, choice)
        labels: dict[str, Any] = {}
        for values, index in zip(self._labels, choice, strict=True):
            labels.update(values[index])
        spelled = ",".join(
            [
                values[index] or self._spell(axis, index)
                for axis, (values, index) in enumerate(zip(self._spelled, choice, strict=True))
            ]
        )
        return Request(
            key=key,
            address=f"{self._spec.name}/{spelled}#{repeat}",
            payload={**body.payload, "prompt": self._prompt_of(cell, choice)},
            references=body.references,
            cell=labels,
            repeat=repeat,
            max_images=body.max_images,
            output=self._output(cell, spelled, repeat, key),
        )

    def _body(self, cell: Cell, choice: Choice) -> _Body:
        restricted = tuple([choice[axis] for axis in self._parameter_axes])
        known = self._bodies.get(restricted)
        if known is None:
            if len(self._bodies) >= MAX_BODIES:
                self._bodies.clear()
            known = self._bodies[restricted] = self._make_body(cell)
        return known

    def _make_body(self, cell: Cell) -> _Body:
        cells = self._cells
        parameters, local = cells.resolve(cells.parameters(cells.matrix.bindings(cell), cells.given(cell)))
        payload = {
            name: value
            for name in (*FIELD_ORDER, *self._spec.extra)
            if (value := "" if name == "prompt" else parameters.get(name)) is not None
        }
        return _Body(payload, local, max_images(payload))

    def _spell(self, axis: int, index: int) -> str:
        names, value = self._spec.axes[axis].names, self._spec.axes[axis].values[index]
        spelled = self._cells.spelled(dict(zip(names, value.bindings, strict=True)))
        self._spelled[axis][index] = spelled
        return spelled

    def _prompt_of(self, cell: Cell, choice: Choice) -> str:
        if self._prompt is None:
            return self._cells.prompt(self._cells.matrix.bindings(cell), self._cells.given(cell))
        prompt = self._prompt.text(choice).decode("utf-8", "surrogatepass")
        if not prompt.strip():
            raise TemplateProblem("the prompt is empty")
        return settled(prompt)

    def _output(self, cell: Cell, spelled: str, repeat: int, key: str) -> str:
        name = self._cells.default_name(spelled, key) if self._named is None else self._named(cell)
        if self._spec.repeat > 1:
            name += f"-r{repeat}"
        return str(PurePosixPath(self._spec.output_dir) / name) if "/" in name else self._folder + name


def _encode(text: str) -> bytes:
    """Character by character, as ``Pieces`` asks for, and back without loss: YAML can spell half a surrogate pair."""
    return text.encode("utf-8", "surrogatepass")
