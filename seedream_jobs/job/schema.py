"""This module checks a job file, or the payload of one request, against its schema: place, sentence and next step.

Called by ``load_job``, by the expansion for each distinct set of parameters, and for a policy. Invariant: one finding
for each mistake. Its sentence is the schema's own ``errorMessage`` where there is one, so that an editor and the
command line say the same; the code and the next step may stand beside it, as ``errorCode`` and ``errorHint``.

Stricter than draft-07 in one point: ``1.0`` is no integer, because the service wants a plain ``1``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Any

from jsonschema import Draft7Validator, ValidationError
from jsonschema.validators import extend

from seedream_jobs.diagnostics import Diagnostic, closest, did_you_mean, in_order
from seedream_jobs.foreign_text import masked
from seedream_jobs.job.axes import MATRIX_WORDS
from seedream_jobs.job.document import Document, DocumentPath
from seedream_jobs.job.yaml_reader import NUMBER
from seedream_jobs.resources import resource

_LOCAL = "sha256:"
_STAND_IN = "data:image/png;base64,A"  # for a local reference, which will be sent as a data URI
_LONG = 1_000
"""Characters of a text that are looked at: no rule of ours looks further, and ``jsonschema`` prints what it gets."""

MAX_BROKEN = 400
"""Broken rules of one file that are looked at: whoever reads them mends the first, and there may be 100,000."""

_LARGE = 10**18  # Python refuses to print an integer of more than 4,300 digits

# Of several broken rules about one place, the one with the least rank speaks: a wrong type explains all others.
_RANK = {"type": 0, "additionalProperties": 1, "required": 1, "enum": 2, "const": 2, "pattern": 3}

_SHOWN = 60  # characters
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
# The sentences of these codes say all there is to say: "; found …" is not added to them.
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
_HOMES = ("request", "matrix", "limits", "output", "lint")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFinding:
    """A finding whose place is still a path: of a value, or with ``key`` of a mapping's key."""

    path: DocumentPath
    key: bool
    code: str
    message: str
    hint: str | None


def check(document: Document, file: str = "job.schema.json") -> list[Diagnostic]:
    """Every finding of a schema in ``schemas/`` in a YAML file, in the file's order; one for each mistake."""
    found = explain(file, document.data)
    return list(
        in_order(document.finding(one.code, one.message, one.path, key=one.key, hint=one.hint) for one in found)
    )


def check_payload(payload: Mapping[str, Any], *, extra: Collection[str] = ()) -> list[SchemaFinding]:
    """What ``schemas/request.schema.json`` finds in the payload of one request; nothing if it may be sent.

    No reference image is walked: of a data URI only the head is looked at.

    :param payload: what would be sent; a local reference may stand as ``sha256:<hex>``
    :param extra: names that ``request.extra`` lets through unchecked
    """
    data = {name: value for name, value in payload.items() if name not in extra}
    if isinstance(data.get("image_urls"), list):
        data["image_urls"] = [
            _STAND_IN if isinstance(item, str) and item.startswith(_LOCAL) else item for item in data["image_urls"]
        ]
    return explain("request.schema.json", data)


# -- from errors to findings ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRule:
    """A rule that does not hold, and for what.

    :param keyword: the schema's keyword, such as ``enum``, and ``value`` what stands beside it
    :param schema: the schema that holds the keyword
    :param instance: what broke the rule, its long texts cut; a name, where ``key`` says that the name is wrong
    :param missing: the field that is not there
    :param known: the fields that could stand here, for an unknown one
    """

    keyword: str
    value: Any
    schema: Mapping[str, Any]
    instance: Any
    path: DocumentPath
    key: bool = False
    missing: str | None = None
    known: tuple[str, ...] = ()

    @property
    def meant(self) -> str | None:
        """The field that an unknown one was probably meant to be."""
        return closest(str(self.path[-1]), self.known) if self.known else None


def explain(file: str, data: Any) -> list[SchemaFinding]:
    """The findings of a schema in ``schemas/``, one for each mistake, in the order of their places.

    :param file: such as ``job.schema.json``
    """
    schema = _schema(file)
    rules = (each for error in _validator(file).iter_errors(_abridged(data)) for each in _rules(error))
    broken = list(islice(rules, MAX_BROKEN))
    best: dict[tuple[object, ...], BrokenRule] = {}
    # Of two bounds on the number of references, the tighter one speaks.
    for each in sorted(
        broken, key=lambda each: (_RANK.get(each.keyword, 4), each.value if each.keyword == "maxItems" else 0)
    ):
        best.setdefault((each.path, each.key, each.missing), each)
    found = []
    for each in _without_echoes(best.values()):
        code = _code(each)
        message, hint = _message(each, code), _hint(each, code, schema)
        found.append(SchemaFinding(path=each.path, key=each.key, code=code, message=message, hint=hint))
    return sorted(found, key=lambda found: [str(part).zfill(4) for part in found.path])  # names and numbers compare


@cache
def _schema(file: str) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = json.loads(resource("schemas", file).read_text(encoding="utf-8"))
    return schema


@cache
def _validator(file: str) -> Any:
    strict: Any = extend
    return strict(Draft7Validator, type_checker=Draft7Validator.TYPE_CHECKER.redefine("integer", _is_integer))(
        _schema(file)
    )


def _is_integer(_checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _abridged(value: Any) -> Any:
    """``value`` with its long texts cut: ``jsonschema`` writes what it looks at into its messages, 7 MiB or not."""
    if isinstance(value, str):
        return value[:_LONG]
    if isinstance(value, list):
        return [_abridged(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _abridged(item) for key, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-_LARGE, min(value, _LARGE))
    return value


def _rules(error: ValidationError) -> Iterable[BrokenRule]:
    """The broken rules of one error: an error about several unknown fields is one for each."""
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    instance: Any = error.instance
    base = BrokenRule(
        keyword=str(error.validator),
        value=error.validator_value,
        schema=schema,
        instance=instance,
        path=tuple(error.absolute_path),
    )
    if base.keyword == "additionalProperties":
        known, patterns = tuple(schema.get("properties", {})), schema.get("patternProperties", {})
        for name in instance:
            if name not in known and not any(re.search(pattern, name) for pattern in patterns):
                yield replace(base, path=(*base.path, name), key=True, instance=name, known=known)
    elif base.keyword == "required":
        for name in base.value:
            if name not in instance:
                # An absent field is shown at the key of its mapping, if that has one.
                yield replace(base, missing=name, key=bool(base.path) and isinstance(base.path[-1], str))
    elif len(error.absolute_schema_path) > 1 and error.absolute_schema_path[-2] == "propertyNames":
        yield replace(base, path=(*base.path, instance), key=True)
    else:
        yield base


def _without_echoes(found: Iterable[BrokenRule]) -> list[BrokenRule]:
    """The broken rules but those about a field that is only missing because its name is misspelt."""
    all_found = list(found)
    unknown = {(each.path[:-1], each.meant) for each in all_found if each.keyword == "additionalProperties"}
    strangers = {place for place, _ in unknown}

    def is_echo(each: BrokenRule) -> bool:
        no_source = each.schema.get("errorCode") == "axis-without-source"
        return (each.path, each.missing) in unknown or (no_source and each.path in strangers)

    return [each for each in all_found if each.missing is None or not is_echo(each)]


# -- words ------------------------------------------------------------------------------------------------------------


def shown(value: object) -> str:
    """A value as a message shows it, in at most 60 characters; a list by its length, a mapping by the word alone."""
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


def _code(broken: BrokenRule) -> str:
    if broken.keyword == "type":
        wanted = _wanted(broken)
        if isinstance(broken.instance, str) and wanted & {"integer", "number"} and NUMBER.fullmatch(broken.instance):
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


def _message(broken: BrokenRule, code: str) -> str:
    if broken.keyword == "additionalProperties":
        return f"unknown field {masked(shown(broken.path[-1]))}"
    sentence = broken.schema.get("errorMessage") or _sentence(broken)
    if broken.missing is not None or code in _SPEAKS_FOR_ITSELF:
        return str(sentence)
    if broken.keyword in ("minItems", "maxItems"):
        return f"{sentence}; found {len(broken.instance)}"
    return f"{sentence}; found {masked(shown(broken.instance))}"


def _sentence(broken: BrokenRule) -> str:
    if broken.missing is not None:
        return f"{broken.missing} is missing"
    if broken.keyword == "type":
        return f"this is {' or '.join(_PLAIN[kind] for kind in sorted(_wanted(broken)))}"
    if broken.keyword == "enum":
        return f"this is one of {', '.join(map(str, broken.value))}"
    return "this value is not allowed here"


def _wanted(broken: BrokenRule) -> set[str]:
    return {broken.value} if isinstance(broken.value, str) else set(broken.value)


def _hint(broken: BrokenRule, code: str, root: Mapping[str, Any]) -> str | None:
    if broken.keyword == "additionalProperties":
        return _about_unknown(broken, root)
    if code == "missing-id" and broken.path[0] == "matrix":
        # A misspelt "include" is taken for an axis, and the mappings in it have no id.
        word = closest(str(broken.path[1]), (*MATRIX_WORDS, "zip"))
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
        return did_you_mean(value, map(str, broken.value))
    return None


def _about_name(broken: BrokenRule) -> str | None:
    name = re.sub(r"\W+", "_", str(broken.instance)).strip("_")
    fits = name and broken.keyword == "pattern" and re.search(broken.value, name)
    return f"write {name}" if fits else None


def _about_type(value: object, wanted: set[str], broken: BrokenRule) -> str | None:
    name = f"{broken.path[-1]}: " if broken.path and isinstance(broken.path[-1], str) else ""
    if isinstance(value, str):
        if wanted & {"integer", "number"} and NUMBER.fullmatch(value):
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


def _about_unknown(broken: BrokenRule, root: Mapping[str, Any]) -> str:
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
    home = _home(name, parent, root)
    if home is not None:
        return home
    known = ", ".join(broken.known)
    if parent == ("request",):
        return f"known: {known}; a field that is new to the service goes below request.extra"
    return f"known here: {known}"


def _home(name: str, parent: DocumentPath, root: Mapping[str, Any]) -> str | None:
    """The section of a job file that a misplaced field belongs to."""
    top = root.get("properties", {})
    if "matrix" not in top:
        return None
    for home in _HOMES:
        near = closest(name, top[home].get("properties", {})) if parent != (home,) else None
        if near is not None:
            return f"{near} stands below {home}"
    near = closest(name, top) if parent else None
    return f"{near} stands at the top of the file" if near is not None else None
