"""Looks for what is odd in the texts that prompts are made of: the template, variables and axis values, each once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from seedream_jobs.diagnostics import Diagnostic, Span
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.file_rows import FileRows
from seedream_jobs.expand.prompts import read_by_prompt
from seedream_jobs.job.axis import Axis, DocumentPath
from seedream_jobs.job.characters import UNSEEN, is_right_to_left, named, unseen
from seedream_jobs.job.formats import Row, Written
from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.template import TemplateProblem

MAX_FOUND = 6
"""How many findings of one kind are looked for; one more than are reported."""

ODD = f"{UNSEEN}|\\A\\s*[“”„‟＂‘’‚‛]|[\\n\\r]\\Z"
_QUOTED = re.compile("[“”„‟＂][^“”„‟＂]*[“”„‟＂]|[‘’‚‛][^‘’‚‛]*[‘’‚‛]")


class Leaf(NamedTuple):
    """A scalar that prompts read: of an axis (``axis``, and the number of its value), or of none."""

    value: Any
    path: DocumentPath
    name: str
    axis: Axis | None = None
    number: int = 0


def odd_texts(expansion: Expansion) -> Iterator[Diagnostic]:
    """What nobody sees, line breaks in mid-sentence, quotes that are none, numbers that are written otherwise."""
    texts = _Texts(expansion)
    yield from texts.template()
    yield from texts.lists()
    looks = [texts.unseen, texts.breaks, texts.quotes, texts.numbers]
    counts = dict.fromkeys(looks, 0)
    for leaf in texts.leaves():
        for look in looks:
            if counts[look] < MAX_FOUND:
                for finding in look(leaf):
                    counts[look] += 1
                    yield finding


class _Texts:
    """The leaves of a job's variables, axes and includes that its prompts read."""

    def __init__(self, expansion: Expansion) -> None:
        self.spec: JobSpec = expansion.spec
        self.names = read_by_prompt(expansion)
        self._files = FileRows(self.spec)
        self._right_to_left: bool | None = None

    def leaves(self) -> Iterator[Leaf]:
        """What may be odd: of a million values few are, and the others are not looked at twice."""
        spec, is_odd = self.spec, re.compile(ODD).search
        for name, value in spec.vars.items():
            if name in self.names and name not in spec.sets:
                yield from _leaves(Leaf(value, ("vars", name), name))
        for axis in spec.axes:
            for position, name in enumerate(axis.names):
                if name in self.names:
                    for index, one in enumerate(axis.values):
                        value = one.bindings[position]
                        if isinstance(value, str):
                            if not (value.isascii() and value.isprintable()) and is_odd(value):
                                yield Leaf(value, one.paths[position], name, axis, index)
                        else:
                            yield from _leaves(Leaf(value, one.paths[position], name, axis, index))
        for include in spec.include:
            for name, value in include.bindings.items():
                if name in self.names:
                    yield from _leaves(Leaf(value, (*include.path, name), name))

    # -- what nobody sees ------------------------------------------------------------------------------------------

    def template(self) -> Iterator[Diagnostic]:
        """The template's own text, and numbers given by ``--set``."""
        if self.spec.prompt is None:
            return
        for name, text in self.spec.sets.items():
            value = self.spec.vars[name]
            if name in self.names and isinstance(value, int | float) and str(value) != text != str(value).lower():
                message = f"--set {name}={text[:40]}: the number is {value} in the prompt"
                yield self.spec.document.finding(
                    "ambiguous-scalar", message, ("vars", name), severity="warning", hint="quote the variable's value"
                )
        leaf = Leaf(self.spec.prompt.source, ("request", "prompt"), "prompt")
        yield from self.unseen(leaf)
        yield from self.quotes(leaf)

    def unseen(self, leaf: Leaf) -> Iterator[Diagnostic]:
        """The first character of a text that nobody sees."""
        if not isinstance(leaf.value, str):
            return
        for at in unseen(leaf.value):
            if not self._is_right_to_left() or at in set(unseen(leaf.value, right_to_left=True)):
                finding = self._finding(
                    "invisible-character",
                    f"{self._place(leaf)}{_short(leaf.value, at)} holds {named(leaf.value[at])}",
                    leaf,
                    "remove it: nobody sees it, and it is sent and paid as part of the prompt",
                )
                yield self._exactly(finding, leaf, at)
                return

    def _is_right_to_left(self) -> bool:
        """Whether anything that prompts read is written from the right; looked at when a mark for it was met."""
        if self._right_to_left is None:
            source = self.spec.prompt.source if self.spec.prompt else ""
            values = (one.bindings for axis in self.spec.axes for one in axis.values)
            self._right_to_left = is_right_to_left(source) or any(is_right_to_left(str(value)) for value in values)
        return self._right_to_left

    def _finding(self, code: str, message: str, leaf: Leaf, hint: str) -> Diagnostic:
        path = leaf.path
        if leaf.axis is not None and self._source(leaf) is not None:
            path = (*leaf.axis.name_path(leaf.name), "from")
        return self.spec.document.finding(code, message, path, severity="warning", hint=hint)

    def _exactly(self, finding: Diagnostic, leaf: Leaf, at: int) -> Diagnostic:
        document, path = self.spec.document, leaf.path
        if not document.exists(path) or self._source(leaf) is not None:
            return finding
        start, end = document.text_position(path, at), document.text_position(path, at + 1)
        return finding if start is None or end is None else replace(finding, span=Span(start=start, end=end))

    # -- line breaks -----------------------------------------------------------------------------------------------

    def breaks(self, leaf: Leaf) -> Iterator[Diagnostic]:
        """A value that ends with a line break, which then stands in mid-sentence: a ``|`` block writes one."""
        if isinstance(leaf.value, str) and leaf.value.endswith(("\n", "\r")) and self._goes_on(leaf):
            yield self._finding(
                "line-break",
                f"{self._place(leaf)}{_short(leaf.value, 0)} ends with a line break, and the prompt goes on after it",
                leaf,
                f"write it below |- or in quotes, or {{{{ {leaf.name} | trim }}}} in the prompt",
            )

    def _goes_on(self, leaf: Leaf) -> bool:
        segments = self.spec.prompt.segments if self.spec.prompt else ()
        for number in range(len(segments)):
            rendered = self._rendered(leaf, number)
            if rendered is not None and rendered.endswith(("\n", "\r")):
                rest = segments[number + 1 :]
                said = next((part.text for part in rest if part.evaluate or part.text), "")
                ended = all(part.evaluate is None and not part.text.strip() for part in rest)
                if not ended and not said.lstrip(" \t").startswith(("\n", "\r")):
                    return True
        return False

    def _rendered(self, leaf: Leaf, number: int) -> str | None:
        """The text of a segment of the prompt for a leaf's value; None where it reads anything else."""
        assert self.spec.prompt is not None
        segment, context = self.spec.prompt.segments[number], dict(self.spec.vars)
        if segment.evaluate is None or leaf.name not in segment.names:
            return None
        if leaf.axis is not None:
            context |= dict(zip(leaf.axis.names, leaf.axis.values[leaf.number].bindings, strict=True))
        if segment.names - context.keys():
            return None
        try:
            return segment.evaluate(context)
        except TemplateProblem:
            return None

    # -- how it is written -----------------------------------------------------------------------------------------

    def quotes(self, leaf: Leaf) -> Iterator[Diagnostic]:
        """A plain value between the quotes of a word processor, which YAML takes for a part of the text."""
        document = self.spec.document
        if not isinstance(leaf.value, str) or not _QUOTED.fullmatch(leaf.value.strip()):
            return
        if document.exists(leaf.path) and document.scalar_style(leaf.path) == "plain":
            yield self._finding(
                "smart-quotes",
                f"the quotes of {_short(leaf.value, 0)} are part of the text: YAML's own are \" and '",
                leaf,
                f'write "{leaf.value.strip()[1:-1][:40]}", or quote the whole if the model is to see these quotes',
            )

    def numbers(self, leaf: Leaf) -> Iterator[Diagnostic]:
        """A number that a prompt shows otherwise than it is written: ``3.10`` is 3.1, ``1e3`` is 1000.0."""
        if isinstance(leaf.value, bool) or not isinstance(leaf.value, int | float) or not self._is_read(leaf):
            return
        written = self._written(leaf)
        if written is None or written == str(leaf.value):
            return
        if any(written in (self._rendered(leaf, number) or "") for number in range(self._segments)):
            return  # formatted so
        place = self._place(leaf)
        yield self._finding(
            "ambiguous-scalar",
            f"{place}the number {written[:40]} is {leaf.value} in the prompt",
            leaf,
            "leave the column's type out (types:), or write it as text" if place else f'quote it: "{written[:40]}"',
        )

    @property
    def _segments(self) -> int:
        return len(self.spec.prompt.segments) if self.spec.prompt else 0

    def _is_read(self, leaf: Leaf) -> bool:
        """Whether the template names the field that a leaf is of; a number in an unread column changes nothing."""
        base = leaf.axis.values[leaf.number].paths[leaf.axis.names.index(leaf.name)] if leaf.axis else leaf.path[:2]
        fields = [part for part in leaf.path[len(base) :] if isinstance(part, str)]
        source = self.spec.prompt.source if self.spec.prompt else ""
        return all(re.search(rf"\b{re.escape(field)}\b", source) for field in fields)

    def _written(self, leaf: Leaf) -> str | None:
        """How a number is written, None where that is not known."""
        document = self.spec.document
        source = self._source(leaf)
        if source is not None:
            row = self._row(leaf)
            if row is None:
                return None
            value: Any = row.value
            for part in leaf.path[len(leaf.axis.name_path(leaf.name)) :] if leaf.axis else ():
                value = value[part]
            return value.text if isinstance(value, Written) else None
        if not document.exists(leaf.path) or document.scalar_style(leaf.path) != "plain":
            return None
        span = document.span(leaf.path)
        text = document.text[span.start.offset : span.end.offset]
        return text if re.fullmatch(r"-?[0-9][0-9.eE+-]*", text) else None

    def lists(self) -> Iterator[Diagnostic]:
        """``[春天，秋天]``: one value, where YAML wants a half-width comma between two."""
        document = self.spec.document
        for axis in self.spec.axes:
            for position, name in enumerate(axis.names):
                path = axis.values[0].paths[position]
                value = axis.values[0].bindings[position]
                if (
                    name == "prompt"
                    or len(axis.values) > 1
                    or not isinstance(value, str)
                    or not re.search("[，、]", value)
                ):
                    continue
                at = document.span(path[:-1]).start.offset
                if path[-1:] == (0,) and document.text[at : at + 1] == "[" and document.scalar_style(path) == "plain":
                    yield document.finding(
                        "fullwidth-comma",
                        f"the axis {name!r} has one value: in YAML only a half-width comma parts two",
                        path,
                        severity="warning",
                        hint="write [a, b]; if it is one text, put it in quotes",
                    )

    def _source(self, leaf: Leaf) -> Mapping[str, Any] | None:
        return None if leaf.axis is None else self._files.source(leaf.axis, leaf.name)

    def _row(self, leaf: Leaf) -> Row | None:
        return None if leaf.axis is None else self._files.row(leaf.axis, leaf.name, leaf.number)

    def _place(self, leaf: Leaf) -> str:
        return "" if leaf.axis is None else self._files.place(leaf.axis, leaf.name, leaf.number)


def _leaves(leaf: Leaf) -> Iterator[Leaf]:
    """The scalars in a value, each with its path."""
    value = leaf.value
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(leaf._replace(value=item, path=(*leaf.path, key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(leaf._replace(value=item, path=(*leaf.path, index)))
    else:
        yield leaf


def _short(text: str, at: int) -> str:
    """A value for a message, the part around ``at``, with nothing in it that a terminal obeys or nobody sees."""
    begin = max(0, at - 20)
    shown = text[begin : begin + 40].strip()
    said = "".join(c if c.isprintable() and not 0xFE00 <= ord(c) <= 0xFE0F else "·" for c in shown)
    return f"'{'…' if begin else ''}{said}{'…' if begin + 40 < len(text) else ''}'"
