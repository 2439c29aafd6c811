"""What is allowed in a job and probably not meant: the rules that need only the job itself, or one prompt's text.

Every finding here is a warning with a code of its own; ``lint: {ignore: [code]}`` in the job file or ``--ignore CODE``
silences it. ``expand.lint`` brings the rules to a job's prompts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.job.axis import Axis, DocumentPath
from seedream_jobs.job.spec import PARAMETERS, JobSpec

CODES = (
    "doubled-spaces",
    "fullwidth-comma",
    "identical-prompts",
    "invisible-character",
    "leftover-braces",
    "line-break",
    "long-prompt",
    "n-against-sequential",
    "smart-quotes",
    "unused-axis",
    "value-not-shown",
)
"""What can be silenced, sorted; the same list as ``lint.ignore`` in the job schema."""

MAX_WORDS = 600
MAX_HAN = 300
"""The longest prompt that the model's maker advises: English words, Chinese characters (docs/diagnostics.md)."""

_HAN = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
_BRACES = re.compile(r"\{\{|\}\}|\{%|%\}")
_DOUBLED = re.compile(r"(?<=\S)[ \t\u00a0]{2,}(?=\S)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is odd in a prompt's text: the characters ``start`` to ``end``, and a sentence."""

    code: str
    message: str
    start: int
    end: int
    hint: str | None = None


def ignored(spec: JobSpec) -> frozenset[str]:
    """The codes that the job file itself silences."""
    return frozenset(spec.document.data.get("lint", {}).get("ignore", ()))


def faults(text: str) -> Iterator[Fault]:
    """What is odd in a rendered prompt; each code once, at its first place."""
    braces = _BRACES.search(text)
    if braces:
        yield Fault(
            code="leftover-braces",
            message=f"the rendered prompt still holds {braces.group()!r}",
            start=braces.start(),
            end=braces.end(),
            hint="values of axes and vars are data and never rendered: write the placeholder in the prompt itself",
        )
    doubled = _DOUBLED.search(text)
    if doubled:
        yield Fault(
            code="doubled-spaces",
            message="the rendered prompt has doubled spaces",
            start=doubled.start(),
            end=doubled.end(),
            hint="an empty value leaves its spaces behind: {% if x %}, {{ x }}{% endif %}, or | oneline",
        )
    if len(text) > MAX_HAN:
        yield from _too_long(text)


def _too_long(text: str) -> Iterator[Fault]:
    han = len(re.findall(_HAN, text))  # compiled when the first long prompt turns up, not at every start
    words = len(re.sub(_HAN, " ", text).split())
    if han > MAX_HAN or words > MAX_WORDS:
        size = f"{han} Chinese characters" if han > MAX_HAN else f"{words} words"
        yield Fault(
            code="long-prompt",
            message=f"a prompt has {size}: the model's maker advises at most {MAX_HAN} characters or {MAX_WORDS} words",
            start=0,
            end=len(text),
            hint="a longer prompt is sent and paid all the same; details at its end may be lost",
        )


def unused_axes(spec: JobSpec) -> Iterator[Diagnostic]:
    """Axes that change no request: nothing that is sent reads them."""

    sent = {name for template in (spec.prompt, *(spec.image_urls or ())) if template for name in template.names}
    sent |= {*PARAMETERS, "prompt"}
    named = set(spec.output_name.names) if spec.output_name else set()
    filtering = set(spec.where.names) if spec.where else set()
    matched = {spec.axes[axis].names[0] for pattern in spec.exclude for axis, _ in pattern.fits}
    for axis in spec.axes:
        if len(axis.names) == 1:
            if axis.names[0] not in sent:
                elsewhere = [
                    word
                    for word, names in (("output.name", named), ("where", filtering), ("exclude", matched))
                    if axis.names[0] in names
                ]
                yield _unused(spec, axis, axis.names[0], axis.path, elsewhere)
            continue
        for name in axis.names:
            if name not in sent | named | filtering:
                written = spec.document.exists((*axis.path, "zip", name))
                path = (*axis.path, "zip", name) if written else (*axis.path, name)
                yield _unused(spec, axis, name, path, [])


def _unused(spec: JobSpec, axis: Axis, name: str, path: DocumentPath, elsewhere: list[str]) -> Diagnostic:
    count = len(axis.values)
    if elsewhere:
        message = f"the axis {name!r} changes no request: only {' and '.join(elsewhere)} reads it"
        hint = "requests that are equal are submitted once; for more copies of one write repeat"
    else:
        message = f"nothing reads the axis {name!r}"
        hint = f"write {{{{ {name} }}}} in the prompt, or remove the axis ({count} value{'' if count == 1 else 's'})"
    return spec.document.finding("unused-axis", message, path, key=True, severity="warning", hint=hint)


def contradiction(parameters: Mapping[str, Any]) -> str | None:
    """How ``n`` and ``sequential_image_generation`` contradict each other in one set of parameters, or None.

    The page: ``n`` above 1 makes it ``auto`` by itself. With ``auto`` and without ``max_images`` the model decides how
    many images it makes and charges.
    """
    n, mode = parameters.get("n"), parameters.get("sequential_image_generation")
    options = parameters.get("sequential_image_generation_options") or {}
    most = options.get("max_images")
    if isinstance(n, int) and n > 1 and mode == "disabled":
        return f"n: {n} sets sequential_image_generation to auto by itself: 'disabled' is not what happens"
    if n == 1 and mode == "auto" and most is None:
        return "n: 1 does not bound 'auto': without max_images up to 15 images are made and charged"
    if isinstance(n, int) and isinstance(most, int) and n > 1 and most < n:
        return f"max_images: {most} is less than n: {n}, which is charged in advance"
    return None
