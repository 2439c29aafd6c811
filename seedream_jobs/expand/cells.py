"""The plain way from a cell to a request: bindings, parameters, prompt, address, output name, key.

``expand.fragments`` computes the same keys faster, ``expand.assembly`` the same requests; differential tests hold them
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from seedream_jobs.expand.matrix import Cell, Matrix, canonical
from seedream_jobs.expand.names import checked_name, shortened
from seedream_jobs.expand.references import References, is_remote
from seedream_jobs.expand.request import Reference, Request, key_of, max_images, settled
from seedream_jobs.job.axis import spoken
from seedream_jobs.job.filters import slug
from seedream_jobs.job.spec import PARAMETERS, JobSpec
from seedream_jobs.job.template import TemplateProblem
from seedream_jobs.profile import profiles

FIELD_ORDER = ("model", "prompt", *(name for name in PARAMETERS if name != "model"))
"""The order of a payload's fields, before those of ``extra``."""


class Cells:
    """Builds the request of a cell."""

    def __init__(self, spec: JobSpec, matrix: Matrix, references: References) -> None:
        self.spec, self.matrix, self.references = spec, matrix, references
        named = {name for axis in spec.axes for name in axis.names}
        named.update(name for item in spec.include for name in item.adds)
        self.set_by_cell = tuple(name for name in PARAMETERS if name in named)
        self._slugs = _slugs(spec)

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
        """The prompt of a cell: an axis' value as it is, or the rendered template.

        :raises TemplateProblem: from the template, or for a blank prompt
        """
        if "prompt" in given:
            prompt = str(given["prompt"])
        elif self.spec.prompt is None:
            raise TemplateProblem("this combination has no prompt", hint="give it one in its include")
        else:
            prompt = self.spec.prompt.render(context)
        if not prompt.strip():
            raise TemplateProblem("the prompt is empty")
        return settled(prompt)

    def model_id(self, parameters: Mapping[str, Any]) -> str:
        """The canonical id of the model that parameters name, by whichever alias."""
        named = profiles().get(parameters["model"])
        return self.spec.profile.id if named is None else named.id

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
        context, labels = self.matrix.bindings(cell), self.matrix.labels(cell)
        given = {name: context[name] for name in labels}
        parameters, local = self.resolve(self.parameters(context, given))
        prompt = self.prompt(context, given)
        payload = {
            name: value
            for name in (*FIELD_ORDER, *self.spec.extra)
            if (value := prompt if name == "prompt" else parameters.get(name)) is not None
        }
        key = key_of(payload, self.model_id(parameters), repeat)
        values = self.spelled(given)
        return Request(
            key=key,
            address=f"{self.spec.name}/{values}#{repeat}",
            payload=payload,
            references=local,
            cell=labels,
            repeat=repeat,
            max_images=max_images(payload),
            output=self.output(values, context, repeat, key),
        )

    def address(self, cell: Cell, repeat: int) -> str:
        """``garden/subject=a-heron,size=16-9#1``."""
        return f"{self.spec.name}/{self.spelled(self.given(cell))}#{repeat}"

    def spelled(self, given: Mapping[str, Any]) -> str:
        """``subject=a-heron,size=16-9``, of the bindings that a cell makes."""
        return ",".join([f"{name}={self._slugs[name][canonical(value)]}" for name, value in given.items()])

    def output(self, values: str, context: Mapping[str, Any], repeat: int, key: str) -> str:
        """The images' path without extension, relative to the job file's folder.

        :param values: the cell's, as its address has them
        :raises TemplateProblem: for a name that no file system takes, or that leaves the output folder
        """
        if self.spec.output_name is None:
            name = self.default_name(values, key)
        else:
            name = checked_name(self.spec.output_name.render(context))
        if self.spec.repeat > 1:
            name += f"-r{repeat}"
        return str(PurePosixPath(self.spec.output_dir) / name)

    def default_name(self, values: str, key: str) -> str:
        """What images are called where the job does not say: the cell's values, and the beginning of the key."""
        said = shortened(values.replace("=", "-").replace(",", "_"), 120) or self.spec.name
        return f"{said}-{key.removeprefix('v1:')[:8]}"


def _slugs(spec: JobSpec) -> dict[str, dict[str, str]]:
    """For each name the slug of each of its values; values of one slug are told apart by ``~2``, ``~3``."""
    found: dict[str, dict[str, str]] = {}
    times: dict[tuple[str, str], int] = {}

    def add(name: str, value: Any, label: Any) -> None:
        known = found.setdefault(name, {})
        if (key := canonical(value)) not in known:
            short = slug(spoken(label), 40) or "-"
            number = times[name, short] = times.get((name, short), 0) + 1
            known[key] = short if number == 1 else f"{short}~{number}"

    for axis in spec.axes:
        for value in axis.values:
            for name, bound, label in zip(axis.names, value.bindings, value.labels, strict=True):
                add(name, bound, label)
    for item in spec.include:
        for name, bound in item.bindings.items():
            add(name, bound, item.labels[name])
    return found
