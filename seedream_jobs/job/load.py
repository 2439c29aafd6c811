"""From a checked document to a ``JobSpec``: templates compiled, axis files read, names known. All findings at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

from seedream_jobs.diagnostics import Diagnostic, closest, in_order
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.job.axes import AxisReader
from seedream_jobs.job.axis import Axis, DocumentPath, label_of, matches
from seedream_jobs.job.files import Files
from seedream_jobs.job.source import Document
from seedream_jobs.job.spec import DEFAULT_MAX_REQUESTS, PARAMETERS, Include, JobSpec, Pattern, Sample
from seedream_jobs.job.template import (
    Expression,
    Template,
    TemplateProblem,
    compile_expression,
    compile_template,
    undeclared,
)
from seedream_jobs.profile import DEFAULT_MODEL, profiles

RESERVED = (
    "include",
    "exclude",
    "where",
    "sample",
    "zip",
    "row",
    "range",
    "namespace",
    "joiner",
    "loop",
    "self",
    "extra",
)
"""Names that mean something else in a matrix or in a template."""

_MATRIX_WORDS = ("include", "exclude", "where", "sample")


def load_spec(
    document: Document, files: Files, *, root: Path, folder: PurePosixPath, sets: Mapping[str, str]
) -> JobSpec:
    """The job that a document (already valid by the schema) describes.

    :param folder: the job file's folder, relative to ``root``
    :param sets: ``--set`` values by the name of the variable
    :raises FindingsError: with every finding
    :raises UsageError: for a ``--set`` that names no variable
    """
    return _Loader(document, files, root, folder, sets).load()


class _Loader:
    def __init__(
        self, document: Document, files: Files, root: Path, folder: PurePosixPath, sets: Mapping[str, str]
    ) -> None:
        self.document = document
        self.data: dict[str, Any] = document.data
        self.files, self.root, self.folder, self.sets = files, root, folder, sets
        self.found: list[Diagnostic] = list(document.warnings)

    def load(self) -> JobSpec:
        data, request, matrix = self.data, self.data["request"], self.data.get("matrix", {})
        self.vars = self._vars(data.get("vars", {}))
        reader = AxisReader(self.document, self.files, self.folder, self.found)
        self.axes = tuple(
            axis
            for name, value in matrix.items()
            if name not in _MATRIX_WORDS
            for axis in reader.read(name, value, ("matrix", name))
        )
        self._names_once()
        include = tuple(self._includes(matrix.get("include", [])))
        self.known = {
            *self.vars,
            *(name for name in matrix if name not in RESERVED),  # also an axis that could not be read
            *(name for axis in self.axes for name in axis.names),
            *(name for item in include for name in item.adds),
        }
        prompt, urls, name = self._templates(request, data.get("output", {}))
        self._prompt_given(prompt, include)
        self._includes_used(include, [template for template in (prompt, name, *(urls or ())) if template])
        limits = data.get("limits", {})
        budget = limits.get("budget_usd")
        spec = JobSpec(
            document=self.document,
            root=self.root,
            folder=self.folder,
            files=self.files,
            name=name_of(data, self.document.path),
            profile=profiles()[request.get("model", DEFAULT_MODEL)],
            vars=self.vars,
            sets=dict(self.sets),
            parameters={key: value for key, value in request.items() if key in PARAMETERS and key != "image_urls"},
            extra=self._extra(request.get("extra", {})),
            prompt=prompt,
            image_urls=urls,
            axes=self.axes,
            exclude=tuple(self._excludes(matrix.get("exclude", []))),
            include=include,
            where=self._where(matrix.get("where")),
            sample=self._sample(matrix.get("sample")),
            repeat=data.get("repeat", 1),
            max_requests=limits.get("max_requests", DEFAULT_MAX_REQUESTS),
            budget_usd=None if budget is None else Decimal(str(budget)),
            output_dir=data.get("output", {}).get("dir", f"out/{name_of(data, self.document.path)}"),
            output_name=name,
            warnings=in_order(finding for finding in self.found if finding.severity == "warning"),
        )
        if any(finding.severity == "error" for finding in self.found):
            raise FindingsError(in_order(self.found))
        return spec

    # -- names ---------------------------------------------------------------------------------------------------------

    def _vars(self, given: Mapping[str, Any]) -> dict[str, Any]:
        result = dict(given)
        for name, text in self.sets.items():
            if name not in result:
                near = closest(name, result)
                hint = f"did you mean {near!r}?" if near else f"the job's vars are: {', '.join(result) or 'none'}"
                raise UsageError(f"--set {name}: {self.document.path} has no such variable", hint=hint)
            result[name] = _like(result[name], text, name)
        return result

    def _names_once(self) -> None:
        request = self.data["request"]
        taken: dict[str, DocumentPath] = {name: ("vars", name) for name in self.data.get("vars", {})}
        for axis in self.axes:
            for name in axis.names:
                path = (*axis.path, "zip", name) if len(axis.names) > 1 else axis.path
                if name in request:
                    self.find(
                        "axis-and-field",
                        f"{name!r} is an axis and a request field",
                        path,
                        key=True,
                        hint=f"remove request.{name}",
                    )
                elif name in RESERVED:
                    self.find("reserved-name", f"{name!r} can't be the name of an axis", path, key=True)
                if name in taken:
                    self.find(
                        "name-twice", f"the name {name!r} is used twice", path, key=True, hint="rename one of them"
                    )
                taken[name] = path
        for name in self.data.get("vars", {}):
            if name in RESERVED:
                self.find("reserved-name", f"{name!r} can't be the name of a variable", ("vars", name), key=True)

    def _extra(self, extra: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in extra:
            path = ("request", "extra", name)
            if name in (*PARAMETERS, "prompt"):
                self.find("extra-known-field", f"{name!r} is a known field", path, key=True, hint="write it in request")
            else:
                self.find(
                    "extra-field", f"{name!r} is sent as it is: nobody checks it", path, key=True, severity="warning"
                )
        return extra

    # -- templates -----------------------------------------------------------------------------------------------------

    def _templates(
        self, request: Mapping[str, Any], output: Mapping[str, Any]
    ) -> tuple[Template | None, tuple[Template, ...] | None, Template | None]:
        prompt = self._template(request["prompt"], ("request", "prompt")) if "prompt" in request else None
        urls = None
        if "image_urls" in request:
            compiled = [
                self._template(url, ("request", "image_urls", index)) for index, url in enumerate(request["image_urls"])
            ]
            urls = tuple(template for template in compiled if template is not None)
        name = self._template(output["name"], ("output", "name")) if "name" in output else None
        return prompt, urls, name

    def _template(self, source: str, path: DocumentPath) -> Template | None:
        try:
            template = compile_template(source)
        except TemplateProblem as problem:
            self.problem("template-syntax", problem, source, path)
            return None
        for name in undeclared(template, self.known):
            near = closest(name, self.known)
            hint = f"did you mean {near!r}?" if near else f"known here: {', '.join(sorted(self.known)) or 'nothing'}"
            line = next(iter(template.lines_of(name)), None)
            self.problem(
                "undefined-name",
                TemplateProblem(f"nothing provides {name!r}", line=line, word=name, hint=hint),
                source,
                path,
            )
        return template

    def _where(self, source: str | None) -> Expression | None:
        if source is None:
            return None
        path = ("matrix", "where")
        bound = {*self.vars, *(name for axis in self.axes for name in axis.names)}
        try:
            expression = compile_expression(source)
        except TemplateProblem as problem:
            self.problem("where-syntax", problem, source, path)
            return None
        for name in undeclared(expression, bound):
            near = closest(name, bound)
            hint = f"did you mean {near!r}?" if near else f"the axes are: {', '.join(sorted(bound))}"
            unknown = TemplateProblem(f"'where' reads {name!r}, which is no axis", word=name, hint=hint)
            self.problem("undefined-name", unknown, source, path)
        return expression

    def _prompt_given(self, prompt: Template | None, include: Sequence[Include]) -> None:
        axis = any("prompt" in axis.names for axis in self.axes)
        if "prompt" not in self.data["request"] and not axis and not any("prompt" in item.bindings for item in include):
            self.find(
                "missing-prompt",
                "the request has no prompt",
                ("request",),
                key=True,
                hint="add request.prompt, or an axis named prompt",
            )

    # -- include and exclude -------------------------------------------------------------------------------------------

    def _excludes(self, items: Sequence[Mapping[str, Any]]) -> list[Pattern]:
        patterns: list[Pattern] = []
        for index, item in enumerate(items):
            path: DocumentPath = ("matrix", "exclude", index)
            fits: list[tuple[int, frozenset[int]]] = []
            for name, wanted in item.items():
                place = self._axis(name)
                if place is None:
                    self._unknown_axis(name, (*path, name))
                    continue
                found = self._fit(*place, wanted)
                if not found:
                    self._no_such_value("exclude-matches-nothing", name, wanted, self.axes[place[0]], (*path, name))
                fits.append((place[0], found))
            patterns.append(Pattern(fits=tuple(fits), path=path))
        return patterns

    def _includes(self, items: Sequence[Mapping[str, Any]]) -> list[Include]:
        return [self._include(item, ("matrix", "include", index)) for index, item in enumerate(items)]

    def _include(self, item: Mapping[str, Any], path: DocumentPath) -> Include:
        fits: list[tuple[int, frozenset[int]]] | None = []
        bindings: dict[str, Any] = {}
        labels: dict[str, Any] = {}
        adds: list[str] = []
        for name, wanted in item.items():
            place = self._axis(name)
            bindings[name], labels[name] = wanted, label_of(wanted, name)
            if place is None:
                adds.append(name)
                continue
            axis = self.axes[place[0]]
            found = self._fit(*place, wanted)
            if found:
                value = axis.values[min(found)]
                bindings[name], labels[name] = value.bindings[place[1]], value.labels[place[1]]
                if fits is not None:
                    fits.append((place[0], found))
            else:
                fits = None
                if not isinstance(wanted, Mapping) and isinstance(axis.values[0].bindings[place[1]], Mapping):
                    self._no_such_value("include-unknown-id", name, wanted, axis, (*path, name))
        return Include(
            fits=None if fits is None else tuple(fits), bindings=bindings, labels=labels, adds=tuple(adds), path=path
        )

    def _includes_used(self, include: Sequence[Include], templates: Sequence[Template]) -> None:
        read = {name for template in templates for name in template.names}
        for item in include:
            for name in item.adds:
                if name not in read and name not in PARAMETERS and name != "prompt":
                    near = closest(name, [*(n for axis in self.axes for n in axis.names), *PARAMETERS])
                    self.find(
                        "include-unused-name",
                        f"'include' brings {name!r}, which no template and no request field uses",
                        (*item.path, name),
                        key=True,
                        hint=f"did you mean {near!r}?" if near else None,
                    )
        for index, item in enumerate(include):
            for later in include[index + 1 :]:
                shared = [n for n in item.adds if n in later.adds and item.bindings[n] != later.bindings[n]]
                if shared and item.fits is not None and later.fits is not None and _overlap(item.fits, later.fits):
                    self.find(
                        "include-overwrites",
                        f"this 'include' overwrites {shared[0]!r} of an earlier one",
                        (*later.path, shared[0]),
                        key=True,
                        severity="warning",
                    )

    def _axis(self, name: str) -> tuple[int, int] | None:
        for index, axis in enumerate(self.axes):
            if name in axis.names:
                return index, axis.names.index(name)
        return None

    def _fit(self, axis: int, position: int, wanted: Any) -> frozenset[int]:
        return frozenset(
            index
            for index, value in enumerate(self.axes[axis].values)
            if matches(wanted, value.bindings[position], value.labels[position])
        )

    def _unknown_axis(self, name: str, path: DocumentPath) -> None:
        names = [known for axis in self.axes for known in axis.names]
        near = closest(name, names)
        hint = f"did you mean {near!r}?" if near else f"the axes are: {', '.join(names) or 'none'}"
        self.find("unknown-axis", f"there is no axis {name!r}", path, key=True, hint=hint)

    def _no_such_value(self, code: str, name: str, wanted: Any, axis: Axis, path: DocumentPath) -> None:
        position = axis.names.index(name)
        labels = [str(value.labels[position]) for value in axis.values]
        near = closest(str(wanted), labels)
        if near == str(wanted):
            hint: str | None = "a number and a quoted number are different values"
        else:
            hint = f"did you mean {near!r}?" if near else f"it has: {', '.join(labels[:8])}"
        self.find(code, f"the axis {name!r} has no value {_short(wanted)}", path, hint=hint)

    def _sample(self, given: Mapping[str, Any] | None) -> Sample | None:
        if given is None:
            return None
        return Sample(strategy=given.get("strategy", "random"), size=given.get("size"), seed=given.get("seed", 0))

    # -- findings ------------------------------------------------------------------------------------------------------

    def find(
        self,
        code: str,
        message: str,
        path: DocumentPath,
        *,
        key: bool = False,
        severity: Any = "error",
        hint: str | None = None,
    ) -> None:
        self.found.append(self.document.finding(code, message, path, key=key, severity=severity, hint=hint))

    def problem(self, code: str, problem: TemplateProblem, source: str, path: DocumentPath) -> None:
        self.found.append(template_finding(self.document, code, problem, source, path))


def name_of(data: Mapping[str, Any], path: str) -> str:
    """The job's name: what the file says, else the file's stem."""
    return str(data.get("name") or PurePosixPath(path).name.split(".")[0])


def template_finding(
    document: Document, code: str, problem: TemplateProblem, source: str, path: DocumentPath, *, note: str = ""
) -> Diagnostic:
    """A template's problem as a finding at the exact word where that is known, else at the whole scalar."""
    from dataclasses import replace

    from seedream_jobs.diagnostics import Span

    finding = document.finding(code, problem.message + note, path, hint=problem.hint)
    start, word = _locate(source, problem)
    begin = document.text_position(path, start)
    end = document.text_position(path, start + len(word))
    if begin is None or end is None or (not word and problem.line in (None, 1)):
        return finding
    return replace(finding, span=Span(start=begin, end=end))


def _locate(source: str, problem: TemplateProblem) -> tuple[int, str]:
    """Offset and text in a template of what a problem points at: the word inside an expression, else the line."""
    import re

    lines = source.splitlines(keepends=True) or [""]
    index = min((problem.line or 1) - 1, len(lines) - 1)
    start = sum(map(len, lines[:index]))
    if problem.word:
        inside = re.compile(rf"(?<![\w]){re.escape(problem.word)}(?!\w)")
        region_end = len(source) if problem.line is None else start + len(lines[index])
        opened = max(source.find("{", start, region_end), start)
        found = inside.search(source, opened, region_end) or inside.search(source, start, region_end)
        if found:
            return found.start(), problem.word
    return start, lines[index].rstrip("\r\n")


def _like(declared: Any, text: str, name: str) -> Any:
    """``--set`` text with the type of the variable it replaces."""
    kinds: dict[type, Any] = {int: int, float: float}
    if isinstance(declared, bool):
        if text not in ("true", "false"):
            raise UsageError(f"--set {name}={text}: {name} is true or false")
        return text == "true"
    convert = kinds.get(type(declared))
    if convert is None:
        if isinstance(declared, Mapping | list):
            raise UsageError(f"--set {name}: its value in the job file is no scalar", hint="change the job file")
        return text
    try:
        return convert(text)
    except ValueError:
        raise UsageError(f"--set {name}={text}: {name} is a number") from None


def _overlap(left: Sequence[tuple[int, frozenset[int]]], right: Sequence[tuple[int, frozenset[int]]]) -> bool:
    """Whether some combination fits both."""
    others = dict(right)
    return all(found & others.get(axis, found) for axis, found in left)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
