"""Asks ``jsonschema`` why data is refused, and makes one finding of each mistake.

One mistake often breaks several rules: a misspelt ``prompt`` is an unknown field and a missing one. What stays is the
rule that says most about a place: a wrong type before a wrong value, an unknown field before the one it stands for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from jsonschema import Draft7Validator
from jsonschema.validators import extend

from seedream_jobs.job.schema_messages import Broken, Finding, finding_of
from seedream_jobs.resources import resource

if TYPE_CHECKING:
    from jsonschema import ValidationError

_LONG = 1_000
"""Characters of a text that are looked at: no rule of ours looks further, and ``jsonschema`` prints what it gets."""

_LARGE = 10**18

_RANK = {"type": 0, "additionalProperties": 1, "required": 1, "enum": 2, "const": 2, "pattern": 3}


def explain(file: str, data: Any) -> list[Finding]:
    """The findings of a schema in ``schemas/``, one for each mistake, in the order of their places.

    :param file: ``job.schema.json`` or ``request.schema.json``
    """
    schema = _schema(file)
    broken = [each for error in _validator(file).iter_errors(_abridged(data)) for each in _rules(error, schema)]
    best: dict[tuple[object, ...], Broken] = {}
    for each in sorted(broken, key=_weight):
        best.setdefault((each.path, each.key, each.missing), each)
    kept = _without_echoes(best.values())
    return sorted((finding_of(each) for each in kept), key=lambda found: [str(part).zfill(4) for part in found.path])


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


def _rules(error: ValidationError, root: Mapping[str, Any]) -> Iterable[Broken]:
    """The broken rules of one error: an error about several unknown fields is one for each."""
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    instance: Any = error.instance
    base = Broken(
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
                yield base.at(name, known=known, root=root)
    elif base.keyword == "required":
        for name in base.value:
            if name not in instance:
                yield base.lacking(name)
    elif len(error.absolute_schema_path) > 1 and error.absolute_schema_path[-2] == "propertyNames":
        yield base.at(instance, root=root)
    else:
        yield base


def _weight(each: Broken) -> tuple[int, int]:
    """Less is better. Of two bounds on the number of references, the tighter one speaks."""
    return _RANK.get(each.keyword, 4), each.value if each.keyword == "maxItems" else 0


def _without_echoes(found: Iterable[Broken]) -> list[Broken]:
    """Without what is said to be missing where an unknown field stands for it."""
    all_found = list(found)
    unknown = {(each.path[:-1], each.meant) for each in all_found if each.keyword == "additionalProperties"}
    strangers = {place for place, _ in unknown}
    return [
        each
        for each in all_found
        if each.missing is None
        or not (
            (each.path, each.missing) in unknown
            or (each.path in strangers and each.schema.get("errorCode") == "axis-without-source")
        )
    ]
