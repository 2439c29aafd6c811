"""Compiles the schemas ahead of time into ``_valid.py``: plain Python that says yes or no, and imports next to nothing.

    python -m seedream_jobs.job.compile_schema

A valid file is the common case, and importing ``jsonschema`` costs more than everything else ``validate`` does; so it
is imported only to explain a refusal. The compiler knows the keywords that our schemas use and refuses any other. It
follows draft-07 with one exception, on purpose: ``1.0`` is no integer, because the service wants a plain ``1``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from seedream_jobs.resources import resource

ENTRIES = {"job": "job.schema.json", "payload": "request.schema.json", "policy": "policy.schema.json"}
"""Function in the generated module, and the schema it answers for."""

TARGET = Path(__file__).with_name("_valid.py")

_HEAD = '''"""Says whether a job or a payload is valid.

Generated from schemas/ by ``python -m {module}``: don't edit.
"""

# A machine wrote this, and nobody reads it line by line.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="unreachable"
from __future__ import annotations

from re import search
from typing import Any

_ABSENT: Any = object()
'''

_ANNOTATIONS = frozenset(
    [
        *("$schema", "title", "description", "markdownDescription", "examples", "default", "definitions"),
        *("errorMessage", "errorCode", "errorHint", "then", "else"),
    ]
)
"""Keywords that decide nothing by themselves."""

_TYPES = {
    "string": "isinstance({v}, str)",
    "integer": "(isinstance({v}, int) and {v} is not True and {v} is not False)",
    "number": "(isinstance({v}, (int, float)) and {v} is not True and {v} is not False)",
    "boolean": "({v} is True or {v} is False)",
    "array": "isinstance({v}, list)",
    "object": "isinstance({v}, dict)",
    "null": "{v} is None",
}


def main() -> None:
    """Writes ``_valid.py`` beside this module."""
    TARGET.write_text(generate(), encoding="utf-8")


def generate() -> str:
    """The text of ``_valid.py`` for the schemas as they are now."""
    head = _HEAD.format(module="seedream_jobs.job.compile_schema")
    parts = [
        _Compiler(json.loads(resource("schemas", file).read_text(encoding="utf-8")), name).text()
        for name, file in ENTRIES.items()
    ]
    return "\n".join([head, *parts])


_LETTERS = re.compile(r"\[(?!\^)[^\]\\]*\]")
_BEYOND_ASCII = re.compile("[^\x00-\x7f](?:-[^\x00-\x7f])?")


def ascii_pattern(pattern: str) -> str:
    """The pattern as ASCII text needs it: Python takes milliseconds to compile a class of letters of every script."""
    plain = _LETTERS.sub(lambda found: _BEYOND_ASCII.sub("", found[0]), pattern)
    if not plain.isascii() or "[]" in plain:
        raise NotImplementedError("letters beyond ASCII in classes of characters are all the schema compiler knows")
    return plain


def _frozen(values: Iterable[Any]) -> str:
    return f"frozenset({sorted(values)!r})"


class _Compiler:
    """One schema as functions: one for the whole, one for each definition, one for each loop."""

    def __init__(self, schema: Mapping[str, Any], name: str) -> None:
        self._schema, self._name = schema, name
        self._constants: dict[str, str] = {}
        self._functions: dict[str, str] = {}
        self._variables = 0

    def text(self) -> str:
        self._function(self._name, self._schema)
        lines = [f"{name}: Any = {value}" for value, name in self._constants.items()]
        return "\n".join([*lines, "", *self._functions.values()])

    # -- names -----------------------------------------------------------------------------------------------------

    def _constant(self, value: str) -> str:
        return self._constants.setdefault(value, f"_{self._name}_{len(self._constants)}")

    def _variable(self) -> str:
        self._variables += 1
        return f"v{self._variables}"

    def _function(self, name: str, schema: Any) -> str:
        """The name of a function that answers for ``schema``."""
        if name not in self._functions:
            self._functions[name] = ""  # a definition may refer to itself
            self._functions[name] = f"def {name}(v: Any) -> bool:\n    return bool({self.expression(schema, 'v')})\n"
        return name

    def _loop(self, over: str, test: str, *, names: str = "x") -> str:
        """A function that says whether ``test`` holds for each of ``over``."""
        body = f"    for {names} in {over}:\n        if not ({test}):\n            return False\n    return True\n"
        name = f"_{self._name}_each_{sum('_each_' in known for known in self._functions)}"
        self._functions[name] = f"def {name}(v: Any) -> bool:\n{body}"
        return name

    # -- expressions -----------------------------------------------------------------------------------------------

    def expression(self, schema: Any, v: str) -> str:
        """A Python expression that is true where ``v``, a name, is valid by ``schema``."""
        if isinstance(schema, bool):
            return str(schema)
        if "$ref" in schema:  # in draft-07 whatever stands beside a $ref is ignored
            return self._reference(schema["$ref"], v)
        unknown = [k for k in schema if k not in _ANNOTATIONS and k not in self._RULES]
        if unknown:
            raise NotImplementedError(f"the schema compiler does not know {unknown}")
        kinds = schema.get("type")
        kinds = frozenset([kinds] if isinstance(kinds, str) else kinds or ())
        parts: list[str] = []
        for keyword, (kind, rule) in self._RULES.items():
            test = rule(self, schema, v) if keyword in schema else "True"
            if test == "True":
                continue
            certain = kind is None or kinds == {kind} or (kind == "number" and kinds == {"integer"})
            parts.append(test if certain or kind is None else f"(not {_TYPES[kind].format(v=v)} or {test})")
        return f"({' and '.join(parts)})" if parts else "True"

    def _reference(self, reference: str, v: str) -> str:
        name = reference.removeprefix("#/definitions/")
        return f"{self._function(f'_{self._name}_{name}', self._schema['definitions'][name])}({v})"

    def _type(self, schema: Mapping[str, Any], v: str) -> str:
        kinds = schema["type"]
        tests = [_TYPES[kind].format(v=v) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
        return tests[0] if len(tests) == 1 else f"({' or '.join(tests)})"

    def _enum(self, schema: Mapping[str, Any], v: str) -> str:
        values = schema["enum"]
        kinds = {type(value) for value in values}
        if kinds == {str}:
            found = f"{v} in {self._constant(_frozen(values))}"
            return found if schema.get("type") == "string" else f"(isinstance({v}, str) and {found})"
        if kinds == {int}:
            found = f"{v} in {self._constant(_frozen(values))}"
            return found if schema.get("type") == "integer" else f"({_TYPES['number'].format(v=v)} and {found})"
        raise NotImplementedError("an enum of texts or of integers is all the schema compiler knows")

    def _const(self, schema: Mapping[str, Any], v: str) -> str:
        value = schema["const"]
        if isinstance(value, bool):
            return f"({v} is {value})"
        if not isinstance(value, str | int):
            raise NotImplementedError("a const that is a scalar is all the schema compiler knows")
        guard = "" if isinstance(value, str) else f" and {v} is not True and {v} is not False"
        return f"({v} == {value!r}{guard})"

    def _pattern(self, schema: Mapping[str, Any], v: str) -> str:
        if schema["pattern"] == r"\S":
            return f"({v} and not {v}.isspace())"
        return self._found(schema["pattern"], v)

    def _found(self, pattern: str, v: str) -> str:
        """Compiled by the first use, not by the import: some files need none of the patterns."""
        wanted, plain = self._constant(repr(pattern)), ascii_pattern(pattern)
        if plain != pattern:
            wanted = f"{self._constant(repr(plain))} if {v}.isascii() else {wanted}"
        return f"search({wanted}, {v}) is not None"

    def _bound(self, schema: Mapping[str, Any], v: str) -> str:
        return f"not {v} < {schema['minimum']!r}"  # true of NaN, as in jsonschema

    def _upper_bound(self, schema: Mapping[str, Any], v: str) -> str:
        return f"not {v} > {schema['maximum']!r}"

    def _least_items(self, schema: Mapping[str, Any], v: str) -> str:
        return f"len({v}) >= {schema['minItems']}"

    def _most_items(self, schema: Mapping[str, Any], v: str) -> str:
        return f"len({v}) <= {schema['maxItems']}"

    def _least_properties(self, schema: Mapping[str, Any], v: str) -> str:
        return f"len({v}) >= {schema['minProperties']}"

    def _required(self, schema: Mapping[str, Any], v: str) -> str:
        return f"({' and '.join(f'{name!r} in {v}' for name in schema['required'])})"

    def _properties(self, schema: Mapping[str, Any], v: str) -> str:
        parts: list[str] = []
        for name, inner in schema["properties"].items():
            value = self._variable()
            test = self.expression(inner, value)
            if test != "True":
                parts.append(f"(({value} := {v}.get({name!r}, _ABSENT)) is _ABSENT or {test})")
        return f"({' and '.join(parts)})" if parts else "True"

    def _further(self, schema: Mapping[str, Any], v: str) -> str:
        """``additionalProperties``, and ``patternProperties`` that allow everything."""
        known = self._constant(_frozen(schema.get("properties", {})))
        inner = schema["additionalProperties"]
        patterns = schema.get("patternProperties", {})
        if inner is False and not patterns:
            return f"{v}.keys() <= {known}"
        test = self.expression(inner, "x")
        if test == "True":
            return "True"
        free = [f"k in {known}", *(self._found(pattern, "k") for pattern in patterns), test]
        return f"{self._loop('v.items()', ' or '.join(free), names='k, x')}({v})"

    def _by_pattern(self, schema: Mapping[str, Any], v: str) -> str:
        if any(self.expression(inner, "x") != "True" for inner in schema["patternProperties"].values()):
            raise NotImplementedError("patternProperties that allow everything are all the schema compiler knows")
        return "True"

    def _names(self, schema: Mapping[str, Any], v: str) -> str:
        return f"{self._loop('v', self.expression(schema['propertyNames'], 'x'))}({v})"

    def _items(self, schema: Mapping[str, Any], v: str) -> str:
        return f"{self._loop('v', self.expression(schema['items'], 'x'))}({v})"

    def _all(self, schema: Mapping[str, Any], v: str) -> str:
        parts = [self.expression(inner, v) for inner in schema["allOf"]]
        return " and ".join(part for part in parts if part != "True") or "True"

    def _any(self, schema: Mapping[str, Any], v: str) -> str:
        return f"({' or '.join(self.expression(inner, v) for inner in schema['anyOf'])})"

    def _not(self, schema: Mapping[str, Any], v: str) -> str:
        return f"not {self.expression(schema['not'], v)}"

    def _if(self, schema: Mapping[str, Any], v: str) -> str:
        """What follows is asked before the condition: it mostly holds, and is cheaper."""
        condition = self.expression(schema["if"], v)
        then, otherwise = (self.expression(schema.get(branch, True), v) for branch in ("then", "else"))
        if otherwise == "True":
            return "True" if then == "True" else f"({then} or not {condition})"
        if then == "True":
            return f"({otherwise} or {condition})"
        return then if then == otherwise else f"({then} if {condition} else {otherwise})"

    _RULES: ClassVar[dict[str, tuple[str | None, Callable[[_Compiler, Mapping[str, Any], str], str]]]] = {
        "type": (None, _type),
        "enum": (None, _enum),
        "const": (None, _const),
        "pattern": ("string", _pattern),
        "minimum": ("number", _bound),
        "maximum": ("number", _upper_bound),
        "minItems": ("array", _least_items),
        "maxItems": ("array", _most_items),
        "items": ("array", _items),
        "minProperties": ("object", _least_properties),
        "required": ("object", _required),
        "properties": ("object", _properties),
        "patternProperties": ("object", _by_pattern),
        "additionalProperties": ("object", _further),
        "propertyNames": ("object", _names),
        "allOf": (None, _all),
        "anyOf": (None, _any),
        "not": (None, _not),
        "if": (None, _if),
    }
    """Keyword → (the type it speaks of, None for all; its expression), cheap ones first."""


if __name__ == "__main__":
    main()
