"""The plain way from a cell to a request: bindings, parameters, prompt, address, output name, key.

``expand.fragments`` computes the same keys faster; a differential test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from seedream_jobs.expand.matrix import Cell, Matrix
from seedream_jobs.expand.references import References, is_remote
from seedream_jobs.expand.request import Reference, Request, key_of, max_images
from seedream_jobs.job.axis import spoken
from seedream_jobs.job.filters import slug
from seedream_jobs.job.spec import PARAMETERS, JobSpec
from seedream_jobs.job.template import TemplateProblem

MAX_NAME_BYTES = 200
"""The longest single file or folder name, in bytes; file systems take 255, and suffixes follow."""

_FIELD_ORDER = ("model", "prompt", *(name for name in PARAMETERS if name != "model"))


class Cells:
    """Builds the request of a cell."""

    def __init__(self, spec: JobSpec, matrix: Matrix, references: References) -> None:
        self.spec, self.matrix, self.references = spec, matrix, references
        named = {name for axis in spec.axes for name in axis.names}
        named.update(name for item in spec.include for name in item.adds)
        self.set_by_cell = tuple(name for name in PARAMETERS if name in named)
        self._slugs = [_axis_slugs([value.labels for value in axis.values]) for axis in spec.axes]

    def parameters(self, context: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """The payload's fields other than the prompt, in the order of the contract; references as written.

        :param given: the bindings that the cell itself makes (no ``vars``): only these set a field
        """
        fields = dict(self.spec.parameters)
        for name in self.set_by_cell:
            if name in given:
                fields[name] = given[name]
        if "image_urls" in given:
            urls = given["image_urls"]
            fields["image_urls"] = [urls] if isinstance(urls, str) else list(urls)
        elif self.spec.image_urls is not None:
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

    def prompt(self, context: Mapping[str, Any], given: Mapping[str, Any]) -> str:
        """The prompt of a cell: an axis' value as it is, or the rendered template."""
        if "prompt" in given:
            return str(given["prompt"])
        if self.spec.prompt is None:
            raise TemplateProblem("this combination has no prompt", hint="give it one in its include")
        return self.spec.prompt.render(context)

    def given(self, cell: Cell) -> dict[str, Any]:
        """The bindings that the cell itself makes."""
        bound = self.matrix.bindings(cell)
        named = self.matrix.labels(cell)
        return {name: bound[name] for name in named}

    def build(self, cell: Cell, repeat: int) -> Request:
        """The whole request.

        :raises TemplateProblem: from a template
        :raises ReferenceProblem: from a reference image
        """
        context, given = self.matrix.bindings(cell), self.given(cell)
        parameters, local = self.resolve(self.parameters(context, given))
        prompt = self.prompt(context, given)
        payload = {
            name: value
            for name in (*_FIELD_ORDER, *self.spec.extra)
            if (value := prompt if name == "prompt" else parameters.get(name)) is not None
        }
        key = key_of(payload, self.spec.profile.id, repeat)
        return Request(
            key=key,
            address=self.address(cell, repeat),
            payload=payload,
            references=local,
            cell=self.matrix.labels(cell),
            repeat=repeat,
            max_images=max_images(payload),
            output=self.output(cell, context, repeat, key),
        )

    def address(self, cell: Cell, repeat: int) -> str:
        """``garden/subject=a-heron,size=16-9#1``."""
        return f"{self.spec.name}/{self._values(cell)}#{repeat}"

    def _values(self, cell: Cell) -> str:
        parts: dict[str, str] = {}
        if cell.choice is not None:
            for axis, slugs, index in zip(self.spec.axes, self._slugs, cell.choice, strict=True):
                parts.update(zip(axis.names, slugs[index], strict=True))
        for number in cell.includes:
            item = self.spec.include[number]
            parts.update({name: _slug(label) for name, label in item.labels.items() if name not in parts})
        return ",".join(f"{name}={value}" for name, value in parts.items())

    def output(self, cell: Cell, context: Mapping[str, Any], repeat: int, key: str) -> str:
        """The images' path without extension, relative to the job file's folder.

        :raises TemplateProblem: for a name that no file system takes, or that leaves the output folder
        """
        if self.spec.output_name is None:
            values = self._values(cell).replace("=", "-").replace(",", "_")[:120] or self.spec.name
            name = f"{values}-{key.removeprefix('v1:')[:8]}"
        else:
            name = checked_name(self.spec.output_name.render(context))
        if self.spec.repeat > 1:
            name += f"-r{repeat}"
        return str(PurePosixPath(self.spec.output_dir) / name)


def checked_name(name: str) -> str:
    """An output name that stays in its folder and that file systems take.

    :raises TemplateProblem: if it does not
    """
    hint = "the filter 'slug' makes any text a file name"
    if not name.strip():
        raise TemplateProblem("the output name is empty", hint=hint)
    for part in name.split("/"):
        if part in ("", ".", "..") or part != part.strip() or part.startswith("."):
            raise TemplateProblem(f"{name[:80]!r} can't be an output name: a part of it is {part!r}", hint=hint)
        if len(part.encode()) > MAX_NAME_BYTES:
            raise TemplateProblem(f"an output name has {len(part.encode())} bytes: at most {MAX_NAME_BYTES}", hint=hint)
        if any(ord(character) < 32 or character in '\\:*?"<>|\x7f' for character in part):
            raise TemplateProblem(f"{name[:80]!r} can't be an output name on every system", hint=hint)
    return name


def _slug(label: Any) -> str:
    return slug(spoken(label), 40) or "-"


def _axis_slugs(rows: list[tuple[Any, ...]]) -> list[tuple[str, ...]]:
    """A slug per label; two labels of one slug are told apart by ``~2``, ``~3``."""
    columns: list[list[str]] = []
    for position in range(len(rows[0]) if rows else 0):
        times: dict[str, int] = {}
        seen: dict[str, str] = {}
        column: list[str] = []
        for row in rows:
            text = spoken(row[position])
            if text not in seen:
                short = _slug(text)
                times[short] = times.get(short, 0) + 1
                seen[text] = short if times[short] == 1 else f"{short}~{times[short]}"
            column.append(seen[text])
        columns.append(column)
    return list(zip(*columns, strict=True)) if columns else []
