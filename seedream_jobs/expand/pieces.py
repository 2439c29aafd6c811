"""Templates as the pieces of which a million texts are put together: constants, columns of one axis, and the rest.

What reads a single axis has as many texts as that axis has values, so each is made once; only what reads several axes
is evaluated for every combination, over the few names it reads. ``Template.render`` is the plain way to the same text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.template import Segment, Template

Choice = tuple[int, ...]


class Column(NamedTuple):
    """A segment that reads one axis: its text for each of the axis' values, filled in when first needed."""

    axis: int
    texts: list[bytes | None]
    segment: Segment


class Mixed(NamedTuple):
    """A segment that reads several axes: for each name its axis and that axis' values, and the variables it reads."""

    segment: Segment
    sources: tuple[tuple[str, int, tuple[Any, ...]], ...]
    constants: dict[str, Any]

    @property
    def names(self) -> frozenset[str]:
        """The names it reads."""
        return self.segment.names


Piece = bytes | Column | Mixed


class Pieces:
    """One template of a job, cut into pieces.

    :param encode: makes bytes of a piece's text; it must be a function of each character, so that pieces can be joined
    """

    def __init__(self, template: Template, spec: JobSpec, encode: Callable[[str], bytes]) -> None:
        self._spec, self._encode = spec, encode
        self.pieces: list[Piece] = []
        for segment in template.segments:
            piece = self._piece(segment)
            if isinstance(piece, bytes) and self.pieces and isinstance(self.pieces[-1], bytes):
                self.pieces[-1] += piece
            else:
                self.pieces.append(piece)
        self._only_columns = not any(isinstance(piece, Mixed) for piece in self.pieces)
        self._row = [
            (piece.axis, piece.texts) if isinstance(piece, Column) else (None, [piece]) for piece in self.pieces
        ]

    def _piece(self, segment: Segment) -> Piece:
        spec = self._spec
        if segment.evaluate is None:
            return self._encode(segment.text)
        places = {name: place for name in segment.names if (place := spec.axis_of(name)) is not None}
        constants = {name: spec.vars[name] for name in segment.names if name not in places and name in spec.vars}
        axes = {axis for axis, _ in places.values()}
        if len(places) + len(constants) == len(segment.names):  # else it reads what only an include brings
            if not axes:
                return self._encode(segment.evaluate(constants))
            if len(axes) == 1:
                axis = axes.pop()
                return Column(axis, [None] * len(spec.axes[axis].values), segment)
        sources = tuple(
            (name, axis, tuple(value.bindings[position] for value in spec.axes[axis].values))
            for name, (axis, position) in places.items()
        )
        return Mixed(segment, sources, constants)

    def column_text(self, column: Column, index: int) -> bytes:
        """A column's text for one value.

        :raises TemplateProblem: where the segment can't be evaluated for it
        """
        known = column.texts[index]
        if known is None:
            axis = self._spec.axes[column.axis]
            context = {**self._spec.vars, **dict(zip(axis.names, axis.values[index].bindings, strict=True))}
            assert column.segment.evaluate is not None
            known = column.texts[index] = self._encode(column.segment.evaluate(context))
        return known

    def text(self, choice: Choice) -> bytes:
        """The whole text for a choice.

        :raises TemplateProblem: from a segment
        """
        if self._only_columns:
            try:
                return b"".join([texts[0 if axis is None else choice[axis]] for axis, texts in self._row])  # type: ignore[misc]
            except TypeError:  # a column's text was not needed before
                pass
        found: list[bytes] = []
        for piece in self.pieces:
            if isinstance(piece, bytes):
                found.append(piece)
            elif isinstance(piece, Column):
                found.append(piece.texts[choice[piece.axis]] or self.column_text(piece, choice[piece.axis]))
            else:
                found.append(self._mixed(piece, choice))
        return b"".join(found)

    def _mixed(self, piece: Mixed, choice: Choice) -> bytes:
        context = piece.constants.copy()
        for name, axis, values in piece.sources:
            context[name] = values[choice[axis]]
        assert piece.segment.evaluate is not None
        return self._encode(piece.segment.evaluate(context))
