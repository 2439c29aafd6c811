"""What a compiled template is, and what can be wrong with one; ``job.compile_template`` makes it.

A template is cut into *segments*, one per top-level statement or expression, and each segment knows the names it
reads. A segment that reads a single axis is evaluated once per axis value instead of once per request
(``expand.pieces``); ``Template.render`` is the plain way, and a differential test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from seedream_jobs.frozen import frozen


class TemplateProblem(Exception):
    """A template that can't be compiled or rendered.

    :param message: one sentence for people
    :param line: line within the template, counted from 1, or None where it is not known
    :param word: the text to point at within that line
    """

    def __init__(self, message: str, *, line: int | None = None, word: str | None = None, hint: str | None = None):
        super().__init__(message)
        self.message = message
        self.line = line
        self.word = word
        self.hint = hint


@frozen
class Segment:
    """A part of a template: constant ``text``, or ``evaluate`` over the ``names`` it reads.

    ``evaluate`` takes at least those names that are bound, and reads no others. It is not for two threads at once.
    """

    text: str
    names: frozenset[str]
    line: int
    evaluate: Callable[[Mapping[str, Any]], str] | None


@frozen
class Template:
    """A compiled template.

    :param names: the names it reads that it does not set itself
    :param segments: its parts, in order; joined they are the rendered text
    """

    source: str
    names: frozenset[str]
    segments: tuple[Segment, ...]

    def render(self, context: Mapping[str, Any]) -> str:
        """The text for one cell.

        :raises TemplateProblem: for an undefined attribute, a null, or anything a filter refuses
        """
        return "".join(
            segment.text if segment.evaluate is None else segment.evaluate(context) for segment in self.segments
        )


def constant(text: str) -> Segment:
    """A part of a template that reads nothing."""
    return Segment(text=text, names=frozenset(), line=1, evaluate=None)


def undeclared(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Those of the names a template reads that nothing provides, sorted."""
    return sorted(set(names) - set(known))
