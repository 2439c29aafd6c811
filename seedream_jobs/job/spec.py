"""This module turns a job file that is valid by the schema into values: its templates compiled, its axis files read.

Called by ``load_job``. Invariant: ``load_spec`` reports all findings at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from seedream_jobs.characters import find_look_alikes, mixed_scripts
from seedream_jobs.diagnostics import Diagnostic, did_you_mean
from seedream_jobs.errors import FindingsError, UsageError
from seedream_jobs.inside import OutsideRoot
from seedream_jobs.job.axes import (
    MATRIX_WORDS,
    PARAMETERS,
    Axis,
    AxisReader,
    Include,
    Pattern,
    PatternReader,
    names_below,
)
from seedream_jobs.job.condition import Condition, compile_condition
from seedream_jobs.job.document import Document, DocumentPath, check_findings
from seedream_jobs.job.files import Files, within
from seedream_jobs.job.template import (
    Template,
    TemplateProblem,
    compile_template,
    lines_of,
    template_finding,
    undeclared,
)
from seedream_jobs.job.yaml_reader import OutOfRange, number
from seedream_jobs.model_profile import DEFAULT_MODEL, Profile, profiles

DEFAULT_MAX_REQUESTS = 1_000

COUNTED = 10
"""How many times the limit that holds requests are counted, before it is only said that there are more."""

MAX_AXES = 100
"""Axes of a matrix, the names of a zip counted one by one."""

MAX_ENTRIES = 10_000
"""Entries of include, and of exclude."""

MAX_UNKNOWN = 20
"""Names of one template that are reported because nothing provides them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A stable choice among the combinations: ``size`` of them by rank, or enough to cover every pair of values."""

    strategy: Literal["random", "pairwise"] = "random"
    size: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectRule:
    """One image is chosen for each combination of some axes' values; none of them stands for the whole job.

    :param approvals: how many people choose it at least; None for what the policy asks, else 1
    """

    one_per: tuple[str, ...]
    approvals: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job file, checked.

    :param root: the campaign's root, absolute
    :param folder: the job file's folder, relative to the root
    :param parameters: request fields other than the prompt, typed, as the file gives them
    :param image_urls: templates of the references; None if the file gives none
    :param output_dir: relative to the job file's folder
    :param output_name: None for the default, address and key
    """

    document: Document
    root: Path
    folder: PurePosixPath
    files: Files
    name: str
    profile: Profile
    vars: Mapping[str, Any]
    sets: Mapping[str, str]
    parameters: Mapping[str, Any]
    extra: Mapping[str, Any]
    prompt: Template | None
    image_urls: tuple[Template, ...] | None
    axes: tuple[Axis, ...]
    exclude: tuple[Pattern, ...]
    include: tuple[Include, ...]
    where: Condition | None
    sample: Sample | None
    repeat: int
    max_requests: int
    budget_usd: Decimal | None
    split: bool
    output_dir: str
    output_name: Template | None
    select: SelectRule | None
    warnings: tuple[Diagnostic, ...]

    def axis_of(self, name: str) -> tuple[int, int] | None:
        """Where a name is bound: (index of the axis, position among its names)."""
        for index, axis in enumerate(self.axes):
            if name in axis.names:
                return index, axis.names.index(name)
        return None


def load_spec(
    document: Document,
    files: Files,
    *,
    root: Path,
    folder: PurePosixPath,
    sets: Mapping[str, str],
    file: str | None = None,
) -> JobSpec:
    """The job that a document (already valid by the schema) describes.

    :param folder: the job file's folder, relative to ``root``
    :param sets: ``--set`` values by the name of the variable
    :param file: the job file's name, where the document is shown under another one, as one of a git revision is
    :raises FindingsError: with every finding
    :raises UsageError: for a ``--set`` that names no variable
    """
    name = name_of(document.data, file or document.path)
    return _Loader(document, files, root, folder, sets, name).load()


def name_of(data: Mapping[str, Any], path: str) -> str:
    """The job's name: what the file says, else the file's stem."""
    return str(data.get("name") or PurePosixPath(path).name.split(".")[0])


class _Loader:
    def __init__(
        self, document: Document, files: Files, root: Path, folder: PurePosixPath, sets: Mapping[str, str], name: str
    ) -> None:
        self.document = document
        self.data: dict[str, Any] = document.data
        self.files, self.root, self.folder, self.sets, self.name = files, root, folder, sets, name
        self.found: list[Diagnostic] = list(document.warnings)

    def load(self) -> JobSpec:
        data, request, matrix = self.data, self.data["request"], self.data.get("matrix", {})
        limits, output, sample = data.get("limits", {}), data.get("output", {}), matrix.get("sample")
        self.vars = variables(data.get("vars", {}), self.sets, self.document.path)
        written = {name: value for name, value in matrix.items() if name not in MATRIX_WORDS}
        self._check_axes(written)
        counted = COUNTED * limits.get("max_requests", DEFAULT_MAX_REQUESTS)
        reader = AxisReader(self.files, self.folder, self.document, self.found, counted)
        axes = tuple(axis for name, value in written.items() for axis in reader.read(name, value, ("matrix", name)))
        self.declared = {name for key, value in written.items() for name in names_below(key, value)}
        unread = self.declared - {name for axis in axes for name in axis.names}
        for word in ("include", "exclude"):
            if len(matrix.get(word, ())) > MAX_ENTRIES:
                message = f"{word!r} has {len(matrix[word]):,} entries: at most {MAX_ENTRIES:,}"
                hint = "say it by where, or split the job"
                raise FindingsError(
                    [self.document.finding("too-many-entries", message, ("matrix", word), key=True, hint=hint)]
                )
        if "include" in matrix or "exclude" in matrix:
            self.document.mark("matching include and exclude", ("matrix",), key=True)
        patterns = PatternReader(axes, unread, self.document, self.found)
        include = tuple(patterns.includes(matrix.get("include", [])))
        exclude = tuple(patterns.excludes(matrix.get("exclude", [])))
        # Only now is it known which names a template may read: an include may bring names that are no axis.
        self.known = {*self.vars, *self.declared, *(name for item in include for name in item.adds)}
        prompt = self._template(request.get("prompt"), ("request", "prompt"))
        urls = [
            self._template(url, ("request", "image_urls", index))
            for index, url in enumerate(request.get("image_urls", ()))
        ]
        name = self._template(output.get("name"), ("output", "name"))
        where = self._where(matrix.get("where"))
        self.found += self._find_names_used_twice(axes)
        self.found += self._find_look_alikes(axes)
        self.found += self._find_in_request(include)
        select = self._select(data.get("select"), include)
        self.found += patterns.find_unused(include, {n for t in (prompt, name, *urls) if t for n in t.names})
        output_dir = self._output_dir(output)
        budget = limits.get("budget_usd")
        return JobSpec(
            document=self.document,
            root=self.root,
            folder=self.folder,
            files=self.files,
            name=self.name,
            profile=self._profile(axes, include),
            vars=self.vars,
            sets=dict(self.sets),
            parameters={key: value for key, value in request.items() if key not in ("prompt", "image_urls", "extra")},
            extra=request.get("extra", {}),
            prompt=prompt,
            image_urls=tuple(url for url in urls if url is not None) if "image_urls" in request else None,
            axes=axes,
            exclude=exclude,
            include=include,
            where=where,
            sample=None if sample is None else Sample(**sample),
            repeat=data.get("repeat", 1),
            max_requests=limits.get("max_requests", DEFAULT_MAX_REQUESTS),
            # By its text: the Decimal of the float 0.1 is 0.1000000000000000055….
            budget_usd=None if budget is None else Decimal(str(budget)),
            split=limits.get("split", False),
            output_dir=output_dir,
            output_name=name,
            select=select,
            warnings=check_findings(self.found),
        )

    def _check_axes(self, written: Mapping[str, Any]) -> None:
        """See that there are not too many axes, before one is read; the names of a zip count as one each.

        :raises FindingsError: at the first one too many
        """
        paths = [
            ("matrix", key, *below) for key, value in written.items() for below in names_below(key, value).values()
        ]
        if len(paths) > MAX_AXES:
            message = f"the matrix has {len(paths):,} axes: at most {MAX_AXES}"
            hint = "values that belong together are one axis of mappings, or a file with columns"
            raise FindingsError([self.document.finding("too-many-axes", message, paths[MAX_AXES], key=True, hint=hint)])

    # -- names ---------------------------------------------------------------------------------------------------------

    def _find_names_used_twice(self, axes: Sequence[Axis]) -> Iterator[Diagnostic]:
        taken: set[str] = set(self.vars)
        for axis in axes:
            for name in axis.names:
                path = axis.name_path(name)
                if name in self.data["request"]:
                    message, hint = f"{name!r} is an axis and a request field", f"remove request.{name}"
                    yield self.document.finding("axis-and-field", message, path, key=True, hint=hint)
                if name in taken:
                    message, hint = f"the name {name!r} is used twice", "rename one of them"
                    yield self.document.finding("name-twice", message, path, key=True, hint=hint)
                taken.add(name)

    def _find_look_alikes(self, axes: Sequence[Axis]) -> Iterator[Diagnostic]:
        # A reader of the plan or of the template would take one for the other, and an axis for a field it does not set.
        written = {name: axis.name_path(name) for axis in axes for name in axis.names}
        hint = "write it in one alphabet, or give it a name of its own"
        for name, path in written.items():
            if scripts := mixed_scripts(name):
                message = f"the name {name!r} mixes {' and '.join(scripts)} letters that look alike"
                yield self.document.finding("look-alike-name", message, path, key=True, hint=hint)
        for name, other in find_look_alikes(written, (*PARAMETERS, "prompt", *MATRIX_WORDS, *self.vars)):
            if not mixed_scripts(name):  # else it has its finding
                message = f"the name {name!r} looks like {other!r}"
                yield self.document.finding("look-alike-name", message, written[name], key=True, hint=hint)

    def _find_in_request(self, include: Sequence[Include]) -> Iterator[Diagnostic]:
        request = self.data["request"]
        by_include = any("prompt" in item.bindings for item in include)
        if "prompt" not in request and "prompt" not in self.declared and not by_include:
            message, hint = "the request has no prompt", "add request.prompt, or an axis named prompt"
            yield self.document.finding("missing-prompt", message, ("request",), key=True, hint=hint)
        for name in request.get("extra", ()):
            message, path = f"{name!r} is sent as it is: nobody checks it", ("request", "extra", name)
            yield self.document.finding("extra-field", message, path, key=True, severity="warning")

    def _profile(self, axes: Sequence[Axis], include: Sequence[Include]) -> Profile:
        """The model of all requests: the price, the limits of references and the life of links hold for a whole job."""
        written = [
            (value.bindings[at], value.paths[at])
            for axis in axes
            for value in axis.values
            for at, name in enumerate(axis.names)
            if name == "model"
        ]
        written += [(item.bindings["model"], (*item.path, "model")) for item in include if "model" in item.bindings]
        if "model" in self.data["request"] or "model" not in self.declared:
            written.insert(0, (self.data["request"].get("model", DEFAULT_MODEL), ("request", "model")))
        # What is no model at all has a finding by the schema of requests.
        known = [(profiles()[model], model, path) for model, path in written if model in profiles()]
        first = known[0][0] if known else profiles()[DEFAULT_MODEL]
        for profile, model, path in known:
            if profile.id != first.id:
                message, hint = f"{model!r} is another model than {first.id!r}", "write a job file for each model"
                self.found.append(self.document.finding("several-models", message, path, hint=hint))
                break
        return first

    def _output_dir(self, output: Mapping[str, Any]) -> str:
        written = str(output.get("dir", f"out/{self.name}"))
        try:
            within(self.folder, written)
        except OutsideRoot:  # images there would be written where nobody looks for them, and where git ignores nothing
            message = f"the folder {written!r} is outside the campaign's folder"
            hint = "write a folder relative to the job file, with / between its parts"
            self.found.append(self.document.finding("output-dir", message, ("output", "dir"), hint=hint))
        return written

    def _select(self, written: Mapping[str, Any] | None, include: Sequence[Include]) -> SelectRule | None:
        if written is None:
            return None
        known = {*self.declared, *(name for item in include for name in item.adds)}
        for index, name in enumerate(written["one_per"]):
            if name not in known:
                hint = _suggestion(name, known, "the axes are")
                message, path = f"'select' names {name!r}, which is no axis", ("select", "one_per", index)
                self.found.append(self.document.finding("undefined-name", message, path, hint=hint))
        return SelectRule(one_per=tuple(written["one_per"]), approvals=written.get("approvals"))

    # -- templates -----------------------------------------------------------------------------------------------------

    def _template(self, source: str | None, path: DocumentPath) -> Template | None:
        if source is None:
            return None
        self.document.mark("compiling this template", path)
        try:
            template = compile_template(source)
        except TemplateProblem as problem:
            self.found.append(template_finding(self.document, "template-syntax", problem, source, path))
            return None
        # Known are the names that any combination may have; one that lacks a name is found when it is rendered.
        for name in undeclared(template.names, self.known)[:MAX_UNKNOWN]:
            hint = _suggestion(name, self.known, "known here")
            line = next(iter(lines_of(source, name)), None)
            unknown = TemplateProblem(f"nothing provides {name!r}", line=line, word=name, hint=hint)
            self.found.append(template_finding(self.document, "undefined-name", unknown, source, path))
        return template

    def _where(self, source: str | None) -> Condition | None:
        if source is None:
            return None
        path = ("matrix", "where")
        self.document.mark("compiling this condition", path)
        bound = {*self.vars, *self.declared}  # a filter comes before the includes, so it reads nothing that they bring
        try:
            condition = compile_condition(source)
        except TemplateProblem as problem:
            self.found.append(template_finding(self.document, "where-syntax", problem, source, path))
            return None
        for name in undeclared(condition.names, bound)[:MAX_UNKNOWN]:
            hint = _suggestion(name, bound, "the axes are")
            unknown = TemplateProblem(f"'where' reads {name!r}, which is no axis", word=name, hint=hint)
            self.found.append(template_finding(self.document, "undefined-name", unknown, source, path))
        return condition


def _suggestion(name: str, known: Iterable[str], these: str) -> str | None:
    names = sorted(known)
    return did_you_mean(name, names, f"{these}: {', '.join(names) or 'none'}")


# -- variables ---------------------------------------------------------------------------------------------------------


def variables(given: Mapping[str, Any], sets: Mapping[str, str], shown: str) -> dict[str, Any]:
    """The job's variables, each ``--set`` text with the type of the one it replaces.

    :param shown: the job file as the user named it
    :raises UsageError: for a ``--set`` that names no variable, or whose text is not of the variable's type
    """
    result = dict(given)
    for name, text in sets.items():
        if name not in result:
            hint = did_you_mean(name, result, f"the job's vars are: {', '.join(result) or 'none'}")
            raise UsageError(f"--set {name}: {shown} has no such variable", hint=hint)
        try:
            text.encode()
        except UnicodeEncodeError:  # an argument of other bytes reaches Python as lone surrogates
            raise UsageError(f"--set {name}: its value is not UTF-8") from None
        result[name] = _like(result[name], text, name)
    return result


def _like(declared: Any, text: str, name: str) -> Any:
    # The type of the variable that it replaces: 3 for a text is "3", and a condition compares it with texts.
    if isinstance(declared, bool):
        if text not in ("true", "false"):
            raise UsageError(f"--set {name}={text}: {name} is true or false")
        return text == "true"
    if isinstance(declared, Mapping | list):
        raise UsageError(f"--set {name}: its value in the job file is no scalar", hint="change the job file")
    if isinstance(declared, int | float):
        try:
            value = number(text)
        except OutOfRange:
            value = None
        if value is None or (isinstance(declared, int) and isinstance(value, float)):
            kind = "a whole number" if isinstance(declared, int) else "a number"
            raise UsageError(f"--set {name}={text}: {name} is {kind}")
        return value
    return text
