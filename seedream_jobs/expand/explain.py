"""This module says why a request is made, or not: the values, filters, includes and template lines behind an address.

Called by ``expand --explain``. Invariant: what it says of a request comes from the request that the builder makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from seedream_jobs.diagnostics import closest, did_you_mean, shorten
from seedream_jobs.errors import UsageError
from seedream_jobs.expand.expansion import Expansion
from seedream_jobs.expand.matrix import Cell, Choice
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.job.document import DocumentPath, spoken
from seedream_jobs.job.template import Template, TemplateProblem

Verdict = Literal["made", "dropped", "merged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that had a part in it. ``place`` is ``file:line``, empty for what stands in no file."""

    what: str
    text: str
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What becomes of an address, and why.

    :param request: None for one that was dropped
    """

    address: str
    verdict: Verdict
    reasons: tuple[Reason, ...]
    request: Request | None = None


def explain(expansion: Expansion, address: str) -> Explanation:
    """Why a combination is made, dropped, or merged into an equal one.

    :param address: as ``expand`` lists it; the job's name and ``#1`` may be left out
    :raises UsageError: the job's axes have no such combination
    :raises FindingsError: it can't be made
    """
    return _Explainer(expansion).explain(address)


class _Explainer:
    def __init__(self, expansion: Expansion) -> None:
        self.expansion, self.spec = expansion, expansion.spec
        self.matrix, self.builder, self.document = expansion.matrix, expansion.builder, expansion.spec.document

    def explain(self, address: str) -> Explanation:
        values, repeat = self._parsed(address)
        # First the includes that stand alone: they need not name every axis, as a choice must.
        cell = self._included(values) or self._chosen(address, values)
        shown = self.builder.address(cell, repeat)
        if cell.choice is not None:
            reasons = list(self._axes(cell.choice))
            dropped = self._dropped(cell.choice)
            if dropped is not None:
                return Explanation(address=shown, verdict="dropped", reasons=(*reasons, dropped))
        else:
            item = self.spec.include[cell.includes[0]]
            text = "it matches no combination, so it stands for one of its own"
            reasons = [Reason(what="include", text=text, place=self._place(item.path))]
        reasons += self._decorations(cell)
        request = self.expansion.request(self.expansion.place_of(cell, repeat))
        reasons += [*self._parameters(cell, request), *self._prompt(cell)]
        first = self._first(request.key)
        if first != shown:
            same = Reason(what="equal", text=f"the same request as {first}: submitted once")
            return Explanation(address=shown, verdict="merged", reasons=(*reasons, same), request=request)
        return Explanation(address=shown, verdict="made", reasons=tuple(reasons), request=request)

    # -- which combination -----------------------------------------------------------------------------------------

    def _parsed(self, address: str) -> tuple[dict[str, str], int]:
        """``garden/subject=heron#2`` as its values and its repeat."""
        written, _, number = address.partition("#")
        written = written.removeprefix(f"{self.spec.name}/")
        if number and not (number.isdecimal() and 1 <= int(number) <= self.spec.repeat):
            raise self._unknown(address, f"repeat is {self.spec.repeat}")
        values: dict[str, str] = {}
        for part in filter(None, written.split(",")):
            name, equals, value = part.partition("=")
            if not equals:
                raise self._unknown(address, f"{part!r} is not AXIS=VALUE")
            values[name] = value
        return values, int(number or 1)

    def _spelled(self, given: Mapping[str, Any]) -> dict[str, str]:
        return {name: self.builder.slug_of(name, value) for name, value in given.items()}

    def _included(self, values: Mapping[str, str]) -> Cell | None:
        """The include that stands for a combination of its own with these values."""
        alone = (cell for cell in self.matrix.cells() if cell.choice is None) if self.spec.include else ()
        return next((cell for cell in alone if self._spelled(self.matrix.given(cell)) == values), None)

    def _chosen(self, address: str, values: Mapping[str, str]) -> Cell:
        """The choice with these values, whether or not it survives, and the includes that decorate it."""
        names = [name for axis in self.spec.axes for name in axis.names]
        adds = [name for item in self.spec.include for name in item.adds]
        for name in values:
            if name not in names and name not in adds:
                near = closest(name, [*names, *adds])
                raise self._unknown(address, f"there is no axis {name!r}" + (f", but {near!r}" if near else ""))
        choice: list[int] = []
        for axis in self.spec.axes:
            missing = [name for name in axis.names if name not in values]
            if missing:
                raise self._unknown(address, f"it says nothing of the axis {missing[0]!r}")
            slugs = [self._spelled(dict(zip(axis.names, value.bindings, strict=True))) for value in axis.values]
            found = [index for index, row in enumerate(slugs) if all(row[name] == values[name] for name in axis.names)]
            if not found:
                name = axis.names[0]
                near = did_you_mean(values[name], [row[name] for row in slugs])
                why = f"the axis {name!r} has no value {values[name]!r}{f'; {near}' if near else ''}"
                raise self._unknown(address, why)
            choice.append(found[0])
        return Cell(tuple(choice), self.matrix.includes_of(tuple(choice)))

    def _unknown(self, address: str, why: str) -> UsageError:
        return UsageError(
            f"--explain {address}: {why}",
            hint=f"seedream-jobs expand {shell_word(self.document.path)} lists the addresses",
        )

    # -- why -------------------------------------------------------------------------------------------------------

    def _place(self, path: DocumentPath) -> str:
        return f"{self.document.path}:{self.document.span(path).start.line}"

    def _axes(self, choice: Choice) -> Iterator[Reason]:
        for axis, index in zip(self.spec.axes, choice, strict=True):
            value = axis.values[index]
            for name, bound in zip(axis.names, value.bindings, strict=True):
                text = f"{name} = {_shown(bound)}"
                if value.path == axis.path:  # the values of a file, a glob or a range share the axis' line
                    text += f" (value {index + 1} of {len(axis.values)})"
                yield Reason(what="axis", text=text, place=self._place(value.path))

    def _dropped(self, choice: Choice) -> Reason | None:
        """The filter that drops a choice."""
        # In the order of ``Matrix``: a later filter never sees what an earlier one dropped.
        for pattern in self.spec.exclude:
            if all(choice[axis] in fit for axis, fit in pattern.fits):
                return Reason(what="exclude", text="it matches this item", place=self._place(pattern.path))
        if self.spec.where is not None:
            place = self._place(("matrix", "where"))
            try:
                if not self.spec.where(self.matrix.bindings(Cell(choice, ()))):
                    return Reason(what="where", text=f"it is false: {_shown(self.spec.where.source)}", place=place)
            except TemplateProblem as problem:
                return Reason(what="where", text=problem.message, place=place)
        if self.spec.sample is not None and choice not in set(self.matrix.chosen()):
            text = f"the sample (seed {self.spec.sample.seed}) does not take it"
            return Reason(what="sample", text=text, place=self._place(("matrix", "sample")))
        return None

    def _decorations(self, cell: Cell) -> Iterator[Reason]:
        for number in cell.includes:
            item = self.spec.include[number]
            added = ", ".join(f"{name} = {_shown(item.bindings[name])}" for name in item.adds)
            if added:
                yield Reason(what="include", text=f"adds {added}", place=self._place(item.path))

    def _parameters(self, cell: Cell, request: Request) -> Iterator[Reason]:
        """Each field that is sent, and who set it."""
        for name, value in request.payload.items():
            if name == "prompt":
                continue
            path = self.matrix.path_of(cell, name)
            if path is not None:
                source = "include" if path[1] == "include" else "axis"
            else:
                written = (("request", name), ("request", "extra", name))
                path = next((one for one in written if self.document.exists(one)), None)
                source = "request" if path is not None else "always sent"
            place = "" if path is None else self._place(path)
            yield Reason(what="field", text=f"{name}: {_shown(value)} ({source})", place=place)

    def _prompt(self, cell: Cell) -> Iterator[Reason]:
        """The prompt, line by line of its template: what each line reads, and what it becomes."""
        template = self.spec.prompt
        path = self.matrix.path_of(cell, "prompt")
        if path is not None or template is None:
            yield Reason(what="prompt", text=_shown(self.builder.prompt(cell)), place=self._place(path or ()))
            return
        # Only in a | block does each line of the template have its own in the file, the first one below the |.
        first = self.document.span(("request", "prompt")).start.line
        exact = self.document.scalar_style(("request", "prompt")) == "|"
        for line, names, text in _lines(template, self.matrix.bindings(cell)):
            reads = f" (reads {', '.join(names)})" if names else ""
            number = first + line if exact else first
            yield Reason(what="prompt", text=f"{_shown(text)}{reads}", place=f"{self.document.path}:{number}")

    def _first(self, key: str) -> str:
        # A second walk through the stream, which keeps fingerprints and no addresses.
        for place in self.expansion.places():
            if place.key == key:
                return self.builder.address(place.cell, place.repeat)
        raise AssertionError("a built request is in the stream")


def _lines(template: Template, context: Mapping[str, Any]) -> Iterator[tuple[int, list[str], str]]:
    """(line of the template, the names it reads, its text) for each template line with an expression or a text."""
    rows: dict[int, tuple[set[str], list[str]]] = {}
    line = 1
    for segment in template.segments:
        if segment.evaluate is None:
            for number, piece in enumerate(segment.text.split("\n")):
                rows.setdefault(line + number, (set(), []))[1].append(piece)
            line += segment.text.count("\n")
        else:
            line = max(line, segment.line)
            names, texts = rows.setdefault(line, (set(), []))
            names.update(segment.names)
            texts.append(segment.evaluate(context))
    for number, (names, texts) in sorted(rows.items()):
        text = "".join(texts)
        if text.strip() or names:
            yield number, sorted(names), text


def _shown(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_shown(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return shorten(" ".join(spoken(value).split()), 160)
