"""This module builds the requests of a job: parameters, prompt, key, address and output name of a cell.

Called by ``Expansion`` for every cell, once for its keys and once more for each request that is sent. Invariant: a key
of the stream is what ``identity.key_of`` says of the payload. What a million cells share is made once: the text of a
template's segment for each value of the axis it reads, and everything of a request but its prompt for each distinct set
of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from json.encoder import encode_basestring_ascii
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from unicodedata import normalize

from seedream_jobs.expand.identity import FORM, canonical_json, canonical_payload, max_images, settled
from seedream_jobs.expand.matrix import Cell, Choice, Matrix
from seedream_jobs.expand.references import Reference, References, is_remote
from seedream_jobs.inside import STATE_FOLDER, find_misread, is_device, is_gits
from seedream_jobs.job.axes import PARAMETERS
from seedream_jobs.job.document import spoken
from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.template import MAX_TEXT, Segment, Template, TemplateProblem, checked_length, slug
from seedream_jobs.model_profile import profiles

FIELD_ORDER = ("model", "prompt", *(name for name in PARAMETERS if name != "model"))
"""The order of a payload's fields, before those of ``extra``."""

MAX_KEPT = 32_000_000
"""How many characters of a template's texts for the values of axes are kept; further ones are made each time."""

MAX_FRAMES = 4096
"""How many distinct sets of parameters are kept, times ``repeat``; a job with more makes some of them anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One submission to be made.

    :param key: ``v1:`` and 64 hex digits; what makes two requests the same request
    :param address: for people, such as ``garden/subject=a-heron,size=16-9#1``; may change freely
    :param payload: what the user set, plus ``model``; a local reference stands as ``sha256:<hex>``
    :param references: the local references by their ``sha256:<hex>``
    :param cell: name of the axis to the label of its value
    :param max_images: the most images the service can deliver and charge
    :param output: the images' path without extension, POSIX, relative to the job file's folder
    """

    key: str
    address: str
    payload: Mapping[str, Any]
    references: Mapping[str, Reference]
    cell: Mapping[str, Any]
    repeat: int
    max_images: int
    output: str


class Column:
    """A segment that reads a single axis: its text for each of the axis' values, made when first needed.

    ``before`` and ``after`` are the constant texts around it, which become part of its own: half the pieces to join.
    """

    def __init__(self, segment: Segment, axis: int, spec: JobSpec) -> None:
        self.axis: int = axis
        self.before: str = ""
        self.after: str = ""
        self.texts: list[str | None] = [None] * len(spec.axes[axis].values)
        self._segment, self._spec = segment, spec
        self.room: int = MAX_KEPT

    def text(self, index: int) -> str:
        """The text for the axis' value ``index``.

        :raises TemplateProblem: where the segment can't be evaluated for it
        """
        known = self.texts[index]
        if known is None:
            axis = self._spec.axes[self.axis]
            context = {**self._spec.vars, **dict(zip(axis.names, axis.values[index].bindings, strict=True))}
            known = self.before + self._segment.render(context) + self.after
            self.room -= len(known)
            if self.room >= 0:
                self.texts[index] = known
        return known


class Renderer:
    """One template of a job, rendered for one cell after the other.

    :raises TemplateProblem: where even a constant part can't be evaluated
    """

    def __init__(self, template: Template, matrix: Matrix) -> None:
        self._template, self._matrix, self._spec = template, matrix, matrix.spec
        self._parts: list[str | Column | Segment] = []
        for part in map(self._part, template.segments):
            last = self._parts[-1] if self._parts else None
            if isinstance(part, str) and isinstance(last, Column):
                last.after += part
            elif isinstance(part, str) and isinstance(last, str):
                self._parts[-1] = last + part
            elif isinstance(part, Column) and isinstance(last, str):
                part.before, self._parts[-1] = last, part
            else:
                self._parts.append(part)
        self.columns: list[Column] = [part for part in self._parts if isinstance(part, Column)]
        for column in self.columns:
            column.room //= len(self.columns)
        only_columns = len(self.columns) == len(self._parts)
        self._row = [(column.axis, column.texts) for column in self.columns if only_columns]

    def _part(self, segment: Segment) -> str | Column | Segment:
        if segment.evaluate is None:
            return segment.text
        places = {name: place for name in segment.names if (place := self._spec.axis_of(name)) is not None}
        if segment.names - places.keys() - self._spec.vars.keys():
            return segment  # it reads what only an include brings, and can't be evaluated for an axis alone
        axes = {axis for axis, _ in places.values()}
        if not axes:
            return segment.render(self._spec.vars)
        if len(axes) > 1:
            return segment
        return Column(segment, axes.pop(), self._spec)

    def text(self, cell: Cell) -> str:
        """The text for a cell.

        :raises TemplateProblem: from a segment
        """
        choice = cell.choice
        # An include may bring another value for a variable that a column's texts were made with.
        if choice is None or cell.includes:
            return self._template.render(self._matrix.bindings(cell))
        if self._row:
            try:
                return "".join([texts[choice[axis]] for axis, texts in self._row])  # type: ignore[misc]
            except TypeError:  # one of them was not needed before, and is made below
                pass
        context: dict[str, Any] | None = None
        found: list[str] = []
        for part in self._parts:
            if isinstance(part, str):
                found.append(part)
            elif isinstance(part, Column):
                found.append(part.text(choice[part.axis]))
            else:
                context = self._matrix.bindings(cell) if context is None else context
                found.append(part.render(context))
        return "".join(found)


class Frame(NamedTuple):
    """All of a request but its prompt, for one distinct set of parameters.

    ``head`` + the prompt as JSON + a tail is what the key is the digest of; there is one tail for each repeat.
    """

    payload: dict[str, Any]
    references: dict[str, Reference]
    max_images: int
    head: str
    tails: tuple[str, ...]


class RequestBuilder:
    """Builds the requests of one job.

    :raises TemplateProblem: where a constant part of a template can't be evaluated
    """

    def __init__(self, spec: JobSpec, matrix: Matrix, references: References) -> None:
        self.spec: JobSpec = spec
        self.matrix: Matrix = matrix
        self.references: References = references
        named = {name for axis in spec.axes for name in axis.names}
        added = {name for item in spec.include for name in item.adds}
        self._set_by_cell = tuple(name for name in PARAMETERS if name in named | added)
        read = set(self._set_by_cell).union(*(template.names for template in spec.image_urls or ()))
        self.parameter_axes: tuple[int, ...] = tuple(
            sorted({place[0] for name in read if (place := spec.axis_of(name))})
        )
        # Without such an axis all choices share one frame: the empty slice makes () of each.
        self._parameters_of: Callable[[Choice], Any] = itemgetter(*self.parameter_axes or [slice(0)])
        self._frames: dict[tuple[Any, tuple[int, ...]], Frame] = {}
        self._prompt_is_value = "prompt" in named | added
        self.prompt_renderer: Renderer | None = None if spec.prompt is None else Renderer(spec.prompt, matrix)
        # With its slash, or empty for ".": it is put before a million names.
        self._folder = str(PurePosixPath(spec.output_dir) / "-")[:-1]
        self._spelled: list[list[str | None]] = [[None] * len(axis.values) for axis in spec.axes]

    # -- parts of a request ----------------------------------------------------------------------------------------

    def parameters(self, cell: Cell) -> dict[str, Any]:
        """The payload's fields other than the prompt, in the order of the contract; references as written.

        :raises TemplateProblem: from a template in ``image_urls``
        """
        fields, given = dict(self.spec.parameters), self.matrix.given(cell)
        for name in self._set_by_cell:
            if name in given:
                fields[name] = given[name]
        if "image_urls" in given:
            urls = given["image_urls"]
            fields["image_urls"] = [urls] if isinstance(urls, str) else list(urls)
        elif self.spec.image_urls is not None:
            context = self.matrix.bindings(cell)
            fields["image_urls"] = [template.render(context) for template in self.spec.image_urls]
        fields.setdefault("model", self.spec.profile.id)
        return {name: fields[name] for name in PARAMETERS if name in fields} | dict(self.spec.extra)

    def resolve(self, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Reference]]:
        """Parameters with each local reference as ``sha256:<hex>``, and those references.

        :raises ReferenceProblem: for one that the service would refuse
        """
        if "image_urls" not in parameters:
            return dict(parameters), {}
        local: dict[str, Reference] = {}
        urls: list[str] = []
        for url in parameters["image_urls"]:
            if is_remote(url):
                urls.append(url)
            else:
                reference = self.references.look(url)
                urls.append(f"sha256:{reference.sha256}")
                local[urls[-1]] = reference
        return {**parameters, "image_urls": urls}, local

    def prompt(self, cell: Cell) -> str:
        """The prompt of a cell: an axis' value as it is, or the rendered template.

        :raises TemplateProblem: from the template, or for a blank prompt
        """
        if self._prompt_is_value and "prompt" in (given := self.matrix.given(cell)):
            prompt = str(given["prompt"])
        elif self.prompt_renderer is None:
            raise TemplateProblem("this combination has no prompt", hint="give it one in its include")
        else:
            prompt = self.prompt_renderer.text(cell)
        if not prompt or prompt.isspace():
            raise TemplateProblem("the prompt is empty")
        return settled(prompt if len(prompt) <= MAX_TEXT else checked_length(prompt))

    # -- requests --------------------------------------------------------------------------------------------------

    def keys(self, cell: Cell) -> list[tuple[str, int]]:
        """(key, most images) for each repeat of a cell: what ``identity.key_of`` says of the payload.

        :raises TemplateProblem: from the prompt
        :raises ReferenceProblem: from a reference image
        """
        frame = self._frame(cell)
        body = frame.head + encode_basestring_ascii(self.prompt(cell))
        return [
            (f"{FORM}:{sha256((body + tail).encode('ascii')).hexdigest()}", frame.max_images) for tail in frame.tails
        ]

    def request(self, cell: Cell, repeat: int, key: str) -> Request:
        """The whole request.

        :param key: its key, from ``keys``
        :raises TemplateProblem: for a name that no file system takes
        """
        frame, values = self._frame(cell), self._values(cell)
        return Request(
            key=key,
            address=f"{self.spec.name}/{values}#{repeat}",
            payload={**frame.payload, "prompt": self.prompt(cell)},
            references=frame.references,
            cell=self.matrix.labels(cell),
            repeat=repeat,
            max_images=frame.max_images,
            output=self._output(cell, values, repeat, key),
        )

    def _frame(self, cell: Cell) -> Frame:
        choice = cell.choice
        at = (None if choice is None else self._parameters_of(choice), cell.includes)
        known = self._frames.get(at)
        if known is None:
            # A job whose references differ in every cell has as many frames as requests: memory must not follow them.
            if len(self._frames) * self.spec.repeat >= MAX_FRAMES:
                self._frames.clear()
            known = self._frames[at] = self._made_frame(cell)
        return known

    def _made_frame(self, cell: Cell) -> Frame:
        parameters, local = self.resolve(self.parameters(cell))
        payload = {
            name: value
            for name in (*FIELD_ORDER, *self.spec.extra)
            if (value := "" if name == "prompt" else parameters.get(name)) is not None
        }
        named = profiles().get(payload["model"])
        form = canonical_payload(parameters, self.spec.profile.id if named is None else named.id)
        # The canonical payload's keys are sorted, so what stands before and after the prompt is the same text for all
        # prompts of one set of parameters: the digest of a request costs one concatenation instead of a whole encoding.
        before = canonical_json({name: value for name, value in form.items() if name < "prompt"})[:-1].decode()
        after = canonical_json({name: value for name, value in form.items() if name > "prompt"})[1:].decode()
        return Frame(
            payload=payload,
            references=local,
            max_images=max_images(payload),
            head=f'{{"payload":{before},"prompt":',
            tails=tuple(f',{after},"repeat":{number}}}' for number in range(1, self.spec.repeat + 1)),
        )

    # -- names -----------------------------------------------------------------------------------------------------

    def address(self, cell: Cell, repeat: int) -> str:
        """``garden/subject=a-heron,size=16-9#1``."""
        return f"{self.spec.name}/{self._values(cell)}#{repeat}"

    def _values(self, cell: Cell) -> str:
        """``subject=a-heron,size=16-9``."""
        if cell.choice is None or cell.includes:
            return self._spell(self.matrix.given(cell))
        return ",".join(
            [
                texts[index] or self._spell_value(axis, index)
                for axis, (texts, index) in enumerate(zip(self._spelled, cell.choice, strict=True))
            ]
        )

    def _spell_value(self, axis: int, index: int) -> str:
        names, value = self.spec.axes[axis].names, self.spec.axes[axis].values[index]
        spelled = self._spelled[axis][index] = self._spell(dict(zip(names, value.bindings, strict=True)))
        return spelled

    def _spell(self, given: Mapping[str, Any]) -> str:
        return ",".join([f"{name}={self.slug_of(name, value)}" for name, value in given.items()])

    def slug_of(self, name: str, value: Any) -> str:
        """A value of an axis as an address spells it."""
        return self._slugs[name][canonical_json(value)]

    @cached_property
    def _slugs(self) -> dict[str, dict[bytes, str]]:
        """For each name the slug of each of its values; values of one slug are told apart by ``~2``, ``~3``."""
        # Numbered in the order of the file, so that a value added at the end renames no address before it.
        found: dict[str, dict[bytes, str]] = {}
        times: dict[tuple[str, str], int] = {}

        def add(name: str, value: Any, label: Any) -> None:
            known = found.setdefault(name, {})
            if (key := canonical_json(value)) not in known:
                short = slug(spoken(label), 40) or "-"
                number = times[name, short] = times.get((name, short), 0) + 1
                known[key] = short if number == 1 else f"{short}~{number}"

        for axis in self.spec.axes:
            for value in axis.values:
                for name, bound, label in zip(axis.names, value.bindings, value.labels, strict=True):
                    add(name, bound, label)
        for item in self.spec.include:
            for name, bound in item.bindings.items():
                add(name, bound, item.labels[name])
        return found

    def output_name(self, cell: Cell) -> str | None:
        """What ``output.name`` calls the images of a cell, without folder and suffixes; None where the job has none.

        :raises TemplateProblem: from the template, or for a name that no file system takes
        """
        if self._name_renderer is None:
            return None
        name = self._name_renderer.text(cell)
        check_name(name)
        return name

    @cached_property
    def _name_renderer(self) -> Renderer | None:
        return None if self.spec.output_name is None else Renderer(self.spec.output_name, self.matrix)

    def _output(self, cell: Cell, values: str, repeat: int, key: str) -> str:
        """The images' path without extension, relative to the job file's folder."""
        name = self.output_name(cell)
        if name is None:
            said = _shortened(values.replace("=", "-").replace(",", "_"), 120) or self.spec.name
            # A part of the key, because two addresses may be equal but for what was cut off.
            name = f"{said}-{key.removeprefix(f'{FORM}:')[:8]}"
        if self.spec.repeat > 1:
            name += f"-r{repeat}"
        return self._folder + name


_SLUG_HINT = "the filter 'slug' makes any text a file name"


def check_name(name: str) -> None:
    """See that an output name stays in its folder, and that every system reads it as it is written.

    :raises TemplateProblem: if it does not
    """
    if not name.strip():
        raise TemplateProblem("the output name is empty", hint=_SLUG_HINT)
    for part in name.split("/"):
        misread = "begins with a dot, which hides it" if part.strip(".") and part[0] == "." else find_misread(part)
        if misread is not None:
            raise TemplateProblem(
                f"{name[:80]!r} can't be an output name: the part {part[:80]!r} {misread}",
                hint="write a word before it" if is_device(part) else _SLUG_HINT,
            )


def check_folder(written: str) -> None:
    """See that every system reads each part of an output folder, relative to the job file, as it is written.

    :raises TemplateProblem: if one does not
    """
    for part in PurePosixPath(written).parts:
        if is_gits(part) or part.casefold() == STATE_FOLDER:
            raise TemplateProblem(
                f"the folder {written[:80]!r} is no place for images: {part}", hint="name another one"
            )
        misread = None if part == ".." else find_misread(part)
        if misread is not None:
            raise TemplateProblem(
                f"the folder {written[:80]!r} has a part {part[:80]!r} that {misread}",
                hint="name another folder, relative to the job file: output: {dir: out/images}",
            )


def _shortened(text: str, limit: int) -> str:
    """The beginning of a text in at most ``limit`` bytes of UTF-8, no character cut in two."""
    return text if len(text) * 4 <= limit else text.encode()[:limit].decode("utf-8", "ignore")


def folded_name(name: str) -> str:
    """What two names share if a file system may take them for one: case and composition of letters ignored."""
    return name.casefold() if name.isascii() else normalize("NFC", name.casefold())
