"""This module compiles conditions over a cell or a row (``where``, ``--select``): Jinja expressions.

Called by ``job.spec``, ``job.axis_files`` and ``plans.options``. Invariant: unlike things are never compared: Python
would say "not equal", and a mistake would drop combinations in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import TemplateSyntaxError

from seedream_jobs.job.template import Segment, TemplateProblem, compile_segment, environment, syntax_problem
from seedream_jobs.job.template_rules import OPERATORS, count_comparison, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A compiled condition.

    :param names: the names it reads
    :param segment: a template that says something where the condition holds, and nothing where it does not
    """

    source: str
    names: frozenset[str]
    segment: Segment

    def __call__(self, context: Mapping[str, Any]) -> bool:
        """Whether the condition holds.

        :raises TemplateProblem: for an undefined name, or a comparison that can never be true
        """
        return self.segment.render(context) != ""


_WITHOUT = "write it without {{ }}"


def compile_condition(source: str) -> Condition:
    """Compile a condition; every comparison in it calls ``compare``.

    :raises TemplateProblem: for a syntax error
    """
    env = environment()
    try:
        parts = parse(env, "{{ " + source + "\n }}", comparison=f"{__name__}.compare").body
        # A }} in the source ends our own braces, and what follows it would be a template.
        if len(parts) != 1 or not isinstance(parts[0], nodes.Output) or len(parts[0].nodes) != 1:
            raise TemplateProblem("this is not one expression", hint=_WITHOUT)
        # A condition is a segment that writes a word or nothing, so that the bounds of templates hold for it, too.
        said = nodes.CondExpr(parts[0].nodes[0], nodes.Const("true"), nodes.Const(""), lineno=1)
        segment = compile_segment(env, [nodes.Output([said], lineno=1)], 1)
    except TemplateSyntaxError as error:
        raise _syntax_problem(error, source) from error
    return Condition(source=source, names=segment.names, segment=segment)


def _syntax_problem(error: TemplateSyntaxError, source: str) -> TemplateProblem:
    if "{{" in source or "{%" in source:
        return TemplateProblem("this is not one expression", hint=_WITHOUT)
    problem = syntax_problem(error)
    message = re.sub(r"(token )?'end of print statement'", "the end of the expression", problem.message)
    message = message.replace("unexpected the end of the expression", "the expression ends too early")
    hint = problem.hint
    if "got '='" in message:
        hint = "equality is written =="
    elif "unexpected '}'" in message:
        message, hint = "a bracket is not closed", None
    return TemplateProblem(message, line=1, word=problem.word, hint=hint)


_QUOTE = "quote both, or neither"


def compare(ops: str, left: Any, *rights: Any) -> bool:
    """``left op right op right …``; ``ops`` has Jinja's names of the operators, with commas.

    :raises TemplateProblem: where Python would quietly say "not equal" to a mistake
    """
    for op, right in zip(ops.split(","), rights, strict=True):
        _check_kinds(op, left, right)
        count_comparison(op, left, right)
        if not OPERATORS[op][1](left, right):
            return False
        left = right
    return True


def _check_kinds(op: str, left: Any, right: Any) -> None:
    kinds = (_kind(left), _kind(right))
    if op in ("in", "notin"):
        _check_lookup(kinds, right)
    elif kinds[0] != kinds[1] and "null" not in kinds:  # null fits every kind: it asks whether there is a value
        written = OPERATORS[op][0]
        if "mapping" in kinds:
            raise TemplateProblem(
                f"a mapping is compared with a {kinds[0] if kinds[1] == 'mapping' else kinds[1]} by {written}",
                hint="compare one of its fields, such as its id",
            )
        raise TemplateProblem(f"a {kinds[0]} is compared with a {kinds[1]} by {written}", hint=_QUOTE)


def _check_lookup(kinds: tuple[str, str], right: Any) -> None:
    if kinds[0] == "mapping":
        raise TemplateProblem("a mapping is looked up by in", hint="look up one of its fields, such as its id")
    if kinds[1] == "string" and kinds[0] != "string":
        raise TemplateProblem(f"a {kinds[0]} is looked up in a string", hint=_QUOTE)
    if kinds[1] == "list" and isinstance(right, list | tuple) and right and kinds[0] != "null":
        found = {_kind(item) for item in right}  # a set has no fixed order: min() keeps the message the same
        if kinds[0] not in found and "null" not in found:
            raise TemplateProblem(f"a {kinds[0]} is looked up in a list of {min(found)}s", hint=_QUOTE)


def _kind(value: Any) -> str:
    if isinstance(value, StrictUndefined):  # it raises when it is used, not when its type is asked for
        value._fail_with_undefined_error()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "mapping" if isinstance(value, Mapping) else "list"
