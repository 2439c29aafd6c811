"""From a broken rule of a schema to a finding: its place, its code, one sentence, and the next step.

The sentence is the schema's own ``errorMessage`` where there is one, so that an editor and the command line say the
same; the code and the next step may stand beside it, as ``errorCode`` and ``errorHint``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from seedream_jobs.diagnostics import closest
from seedream_jobs.frozen import frozen

Path = tuple[str | int, ...]

_SHOWN = 60  # characters
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_TRUTH = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}
_CODES = {
    "type": "wrong-type",
    "enum": "not-allowed-value",
    "const": "not-allowed-value",
    "required": "missing-field",
    "additionalProperties": "unknown-field",
    "minimum": "out-of-range",
    "maximum": "out-of-range",
    "minItems": "wrong-length",
    "maxItems": "wrong-length",
    "minProperties": "empty-value",
}
_PLAIN = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}
_SPEAKS_FOR_ITSELF = frozenset(
    ["auto-size-without-reference", "max-images-without-auto", "empty-axis", "empty-value", "missing-id"]
)
_SERVICE_HAS_NONE = {
    "seed": "the service has no seed: the request can be repeated, its pixels can't",
    "negative_prompt": "the service has no negative prompt: say it in prompt",
    "response_format": "the service always answers with links; the images are downloaded by run and fetch",
    "num_images": "the number of images is n",
    "width": "pixels follow from size and resolution",
    "height": "pixels follow from size and resolution",
    "aspect_ratio": "the ratio is size",
    "images": "reference images are image_urls",
    "image": "reference images are image_urls",
    "max_images": "max_images stands below sequential_image_generation_options",
}
_MATRIX_WORDS = ("include", "exclude", "where", "sample", "zip")
_HOMES = ("request", "matrix", "limits", "output", "lint")


@frozen
class Finding:
    """A finding whose place is still a path: of a value, or with ``key`` of a mapping's key."""

    path: Path
    key: bool
    code: str
    message: str
    hint: str | None


@frozen
class Broken:
    """A rule that does not hold, and for what.

    :param keyword: the schema's keyword, such as ``enum``, and ``value`` what stands beside it
    :param schema: the schema that holds the keyword
    :param instance: what broke the rule, its long texts cut
    :param missing: the field that is not there
    :param known: the fields that could stand here, for an unknown one
    """

    keyword: str
    value: Any
    schema: Mapping[str, Any]
    instance: Any
    path: Path
    key: bool = False
    missing: str | None = None
    known: tuple[str, ...] = ()
    root: Mapping[str, Any] = field(default_factory=dict)

    def at(self, name: str, *, root: Mapping[str, Any], known: tuple[str, ...] = ()) -> Broken:
        """The same, about the key ``name`` of the mapping."""
        return replace(self, path=(*self.path, name), key=True, instance=name, known=known, root=root)

    def lacking(self, name: str) -> Broken:
        """The same, about the absent field ``name``; it stands at the key of the mapping, if that has one."""
        return replace(self, missing=name, key=bool(self.path) and isinstance(self.path[-1], str))

    @property
    def meant(self) -> str | None:
        """The field that an unknown one was probably meant to be."""
        return closest(str(self.path[-1]), self.known) if self.known else None


def finding_of(broken: Broken) -> Finding:
    """The one finding that says a broken rule."""
    code = _code(broken)
    return Finding(
        path=broken.path, key=broken.key, code=code, message=_message(broken, code), hint=_hint(broken, code)
    )


def shown(value: object) -> str:
    """A value as a message shows it, in at most 60 characters: a list by its length, a mapping by its first keys."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = repr(value[: _SHOWN + 1])
        return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 2]}…{text[0]}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _code(broken: Broken) -> str:
    if broken.keyword == "type":
        wanted = _wanted(broken)
        if isinstance(broken.instance, str) and wanted & {"integer", "number"} and _NUMBER.fullmatch(broken.instance):
            return "number-quoted"
        if isinstance(broken.instance, float) and "integer" in wanted:
            return "float-for-integer"
        return "wrong-type"
    if broken.keyword == "additionalProperties":
        return "unknown-field"
    if broken.keyword == "enum" and len(broken.value) > 1 and isinstance(broken.value[0], int):
        return "out-of-range"
    if broken.keyword == "pattern" and isinstance(broken.instance, str) and not broken.instance.strip():
        return "empty-value"
    return str(broken.schema.get("errorCode") or _CODES.get(broken.keyword, "bad-value"))


def _message(broken: Broken, code: str) -> str:
    if broken.keyword == "additionalProperties":
        return f"unknown field {shown(broken.path[-1])}"
    sentence = broken.schema.get("errorMessage") or _sentence(broken)
    if broken.missing is not None or code in _SPEAKS_FOR_ITSELF:
        return str(sentence)
    if broken.keyword in ("minItems", "maxItems"):
        return f"{sentence}; found {len(broken.instance)}"
    return f"{sentence}; found {shown(broken.instance)}"


def _sentence(broken: Broken) -> str:
    """Our own words, where the schema has none."""
    if broken.missing is not None:
        return f"{broken.missing} is missing"
    if broken.keyword == "type":
        return f"this is {' or '.join(_PLAIN[kind] for kind in sorted(_wanted(broken)))}"
    if broken.keyword == "enum":
        return f"this is one of {', '.join(map(str, broken.value))}"
    return "this value is not allowed here"


def _wanted(broken: Broken) -> set[str]:
    return {broken.value} if isinstance(broken.value, str) else set(broken.value)


def _hint(broken: Broken, code: str) -> str | None:
    if broken.keyword == "additionalProperties":
        return _about_unknown(broken)
    if code == "missing-id" and broken.path[0] == "matrix":
        word = closest(str(broken.path[1]), _MATRIX_WORDS)
        if word is not None:
            return f"did you mean {word!r}? A value that is a mapping needs an id"
    if "errorHint" in broken.schema:
        return str(broken.schema["errorHint"])
    if broken.missing is not None:
        return f"add {broken.missing}"
    if broken.key:
        return _about_name(broken)
    value = broken.instance
    if value is None:
        return "give it a value, or remove the key"
    if isinstance(value, str) and "{{" in value and broken.keyword in ("enum", "type"):
        return "this is no template: prompt, image_urls and output.name are; an axis of the field's name sets the field"
    if broken.keyword == "type":
        return _about_type(value, _wanted(broken), broken)
    if broken.keyword == "enum" and isinstance(value, str):
        if broken.path[-1:] == ("size",) and re.fullmatch(r"\d+\s*[x×*]\s*\d+", value):
            return "size is a ratio, such as 1:1; how many pixels it has follows from resolution"
        if broken.path[-1:] == ("size",) and re.fullmatch(r"\d[kK]", value):
            return f"write resolution: {value.upper()}"
        near = closest(value, (str(allowed) for allowed in broken.value))
        return f"did you mean {near!r}?" if near else None
    return None


def _about_name(broken: Broken) -> str | None:
    """A name that would do, for one that does not."""
    name = re.sub(r"\W+", "_", str(broken.instance)).strip("_")
    fits = name and broken.keyword == "pattern" and re.search(broken.value, name)
    return f"write {name}" if fits else None


def _about_type(value: object, wanted: set[str], broken: Broken) -> str | None:
    name = f"{broken.path[-1]}: " if broken.path and isinstance(broken.path[-1], str) else ""
    if isinstance(value, str):
        if wanted & {"integer", "number"} and _NUMBER.fullmatch(value):
            return f"remove the quotes: {name}{value}"
        if "boolean" in wanted and value.casefold() in _TRUTH:
            return f"write {name}{_TRUTH[value.casefold()]}"
    if isinstance(value, float) and "integer" in wanted:
        return f"write {name}{int(value)}" if value.is_integer() else "write a whole number"
    if wanted == {"string"} and isinstance(value, bool | int | float) and not {"enum", "else"} & broken.schema.keys():
        return f'put it in quotes: {name}"{shown(value)}"'
    if wanted == {"array"} and isinstance(value, Mapping):
        return "put it in a list: a dash and a space before it"
    if broken.path in (("matrix", "from"), ("matrix", "glob"), ("matrix", "range")):
        return f"an axis has a name: write prompt: {{{broken.path[1]}: {shown(value)}}}"
    if broken.path[-1:] == ("range",) and isinstance(value, int):
        return f"write range: [1, {value}]"
    if "array" in wanted and isinstance(value, str | bool | int | float):
        return f"write a list: {name}[{value if isinstance(value, str) and len(value) <= _SHOWN else shown(value)}]"
    return None


def _about_unknown(broken: Broken) -> str:
    """A misspelt field, one in the wrong place, one that people look for in vain, or none of them."""
    name, parent = str(broken.path[-1]), broken.path[:-1]
    in_request = parent == ("request",) or (not parent and "model" in broken.known)
    if in_request and name == "max_images":
        return "write sequential_image_generation_options: {max_images: 4}"
    if len(parent) == 2 and parent[0] == "matrix" and name in ("values", "value", "list", "options"):
        return f"an axis is the list itself: write {parent[1]}: [a, b]"
    near = broken.meant
    if near is not None:
        return f"did you mean {near!r}?"
    if in_request and name in _SERVICE_HAS_NONE:
        return _SERVICE_HAS_NONE[name]
    home = _home(name, parent, broken.root)
    if home is not None:
        return home
    known = ", ".join(broken.known)
    if parent == ("request",):
        return f"known: {known}; a field that is new to the service goes below request.extra"
    return f"known here: {known}"


def _home(name: str, parent: Path, root: Mapping[str, Any]) -> str | None:
    """Where a field of the job file belongs that stands somewhere else, perhaps misspelt."""
    top = root.get("properties", {})
    if "matrix" not in top:
        return None
    for home in _HOMES:
        near = closest(name, top[home].get("properties", {})) if parent != (home,) else None
        if near is not None:
            return f"{near} stands below {home}"
    near = closest(name, top) if parent else None
    return f"{near} stands at the top of the file" if near is not None else None
