"""Prompts and expressions: Jinja in an immutable sandbox, over plain data that is never rendered again.

A template is cut into *segments*, one per top-level statement or expression, and each segment knows the names it
reads. A segment that reads a single axis is evaluated once per axis value instead of once per request
(``expand.fragments``); ``Template.render`` is the plain way, and a differential test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import StrictUndefined, meta, nodes
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from seedream_jobs.job.filters import FILTERS

MAX_REPEATED = 100_000
"""The longest text or list that ``*`` may make inside a template, in items."""

# fmt: off
_SAFE_FILTERS = (
    "abs", "attr", "capitalize", "count", "d", "default", "first", "float", "format", "indent", "int", "items", "join",
    "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round",
    "select", "selectattr", "sort", "string", "sum", "title", "tojson", "trim", "truncate", "unique", "upper",
    "wordcount", "wordwrap",
)
_SAFE_TESTS = (
    "!=", "<", "<=", "==", ">", ">=", "boolean", "defined", "divisibleby", "eq", "equalto", "even", "false", "float",
    "ge", "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne", "none",
    "number", "odd", "sequence", "string", "true", "undefined", "upper",
)
# fmt: on


class TemplateProblem(Exception):
    """A template that can't be compiled or rendered.

    :param message: one sentence for people
    :param line: line within the template, counted from 1, or None where it is not known
    :param word: the text to point at within that line
    """

    def __init__(self, message: str, *, line: int | None = None, word: str | None = None, hint: str | None = None):
        super().__init__(message)
        self.message = message
        self.line = line
        self.word = word
        self.hint = hint


class _Sandbox(ImmutableSandboxedEnvironment):
    """No loaders, no random, no way to build a giant out of a small file."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and (abs(left) > 1e6 or abs(right) > 100):
            raise SecurityError("the result of ** would be too large")
        for sized, times in ((left, right), (right, left)):
            if hasattr(sized, "__len__") and isinstance(times, int) and len(sized) * times > MAX_REPEATED:
                raise SecurityError(f"the result of * would be longer than {MAX_REPEATED:,} items")
        return super().call_binop(context, operator, left, right)


def _finalize(value: Any) -> Any:
    """What ``{{ … }}`` writes. Python's spelling of null, lists and mappings has no place in a paid prompt."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        raise TemplateProblem("the value is null", hint="give it a value, or write | default('…', true)")
    if isinstance(value, Mapping):
        names = ", ".join(map(str, list(value)[:5]))
        raise TemplateProblem("the value is a mapping", hint=f"name one of its fields: {names}")
    if isinstance(value, list | tuple):
        raise TemplateProblem("the value is a list", hint="write | join(', ') or | join_and")
    return value


@cache
def environment() -> ImmutableSandboxedEnvironment:
    """The one Jinja environment of the program."""
    env = _Sandbox(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_finalize)
    env.filters = {name: env.filters[name] for name in _SAFE_FILTERS} | FILTERS
    env.tests = {name: env.tests[name] for name in _SAFE_TESTS}
    env.globals = {name: env.globals[name] for name in ("range", "namespace", "joiner")}
    env.policies["truncate.leeway"] = 0
    return env


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a template: constant ``text``, or ``evaluate`` over the ``names`` it reads."""

    text: str
    names: frozenset[str]
    line: int
    evaluate: Callable[[Mapping[str, Any]], str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A compiled template.

    :param names: the names it reads that it does not set itself
    :param segments: its parts, in order; joined they are the rendered text
    """

    source: str
    names: frozenset[str]
    segments: tuple[Segment, ...]

    def render(self, context: Mapping[str, Any]) -> str:
        """The text for one cell.

        :raises TemplateProblem: for an undefined attribute, a null, or anything a filter refuses
        """
        return "".join(
            segment.text if segment.evaluate is None else segment.evaluate(context) for segment in self.segments
        )

    def lines_of(self, name: str) -> list[int]:
        """The lines, counted from 1, on which ``name`` is read."""
        tree = environment().parse(self.source)
        return sorted({node.lineno for node in tree.find_all(nodes.Name) if node.name == name and node.ctx == "load"})


_FORBIDDEN: dict[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from … import",
    nodes.Extends: "extends",
}


def compile_template(source: str) -> Template:
    """Compile ``source``.

    :raises TemplateProblem: with the line of a syntax error
    """
    if not any(mark in source for mark in ("{{", "{%", "{#")):
        return Template(source=source, names=frozenset(), segments=(_constant(source),))
    env = environment()
    try:
        tree = env.parse(source)
        for kind, written in _FORBIDDEN.items():
            found = tree.find(kind)
            if found is not None:
                raise TemplateProblem(
                    f"'{{% {written} %}}' is not available: a template reads no other file",
                    line=found.lineno,
                    word=written.split()[0],
                )
        names = frozenset(meta.find_undeclared_variables(tree)) - env.globals.keys()
        segments = _segments(env, tree)
    except TemplateSyntaxError as error:
        raise _syntax_problem(error, source) from error
    return Template(source=source, names=names, segments=segments)


def _constant(text: str) -> Segment:
    return Segment(text=text, names=frozenset(), line=1, evaluate=None)


def _segments(env: ImmutableSandboxedEnvironment, tree: nodes.Template) -> tuple[Segment, ...]:
    """One segment per top-level expression or statement; the whole template where a name outlives its statement."""
    if any(tree.find(kind) for kind in (nodes.Assign, nodes.AssignBlock, nodes.Macro, nodes.Block)):
        return (_compiled(env, list(tree.body), 1),)
    parts: list[nodes.Node] = []
    for node in tree.body:
        parts.extend(node.nodes if isinstance(node, nodes.Output) else [node])
    segments: list[Segment] = []
    for part in parts:
        if isinstance(part, nodes.TemplateData):
            segments.append(_constant(part.data))
        elif isinstance(part, nodes.Expr):
            segments.append(_compiled(env, [nodes.Output([part], lineno=part.lineno)], part.lineno))
        else:
            segments.append(_compiled(env, [part], part.lineno))
    return tuple(segments)


def _compiled(env: ImmutableSandboxedEnvironment, body: list[nodes.Node], line: int) -> Segment:
    tree = nodes.Template(body, lineno=1)
    tree.set_environment(env)
    names = frozenset(meta.find_undeclared_variables(tree)) - env.globals.keys()
    code = env.compile(tree)
    template = env.template_class.from_code(env, code, dict(env.globals))

    def evaluate(context: Mapping[str, Any]) -> str:
        # what Template.render does, without the cost of its traceback rewriting
        try:
            return "".join(template.root_render_func(template.new_context(dict(context), shared=False)))
        except TemplateProblem as problem:
            raise TemplateProblem(problem.message, line=problem.line or line, hint=problem.hint) from None
        except UndefinedError as error:
            raise TemplateProblem(_undefined_sentence(str(error)), line=line, word=_quoted(str(error))) from error
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise TemplateProblem(str(error) or type(error).__name__, line=line) from error

    return Segment(text="", names=names, line=line, evaluate=evaluate)


def _undefined_sentence(jinja: str) -> str:
    """Jinja says "'dict object' has no attribute 'txt'": say it without the Python."""
    found = re.fullmatch(r"'(\w+) object' has no (?:attribute|element) '?(.*?)'?", jinja)
    if found is None:
        return jinja
    kind = {"dict": "the mapping", "str": "the text", "list": "the list", "int": "the number", "float": "the number"}
    return f"{kind.get(found[1], 'the value')} has no field {found[2]!r}"


def _quoted(message: str) -> str | None:
    words: list[str] = re.findall(r"'([^']+)'", message)
    return words[-1] if words else None


def _syntax_problem(error: TemplateSyntaxError, source: str) -> TemplateProblem:
    message = (error.message or "syntax error").rstrip(".")
    hint = None
    no_filter = re.match(r"No (filter|test) named '(\w+)'", message)
    if no_filter:
        from seedream_jobs.diagnostics import closest

        env = environment()
        near = closest(no_filter[2], env.filters if no_filter[1] == "filter" else env.tests)
        hint = f"did you mean {near!r}?" if near else "the filters are listed in docs/templates.md"
        return TemplateProblem(
            f"unknown {no_filter[1]} {no_filter[2]!r}", line=error.lineno, word=no_filter[2], hint=hint
        )
    if "unexpected '}'" in message or "unexpected end of template" in message:
        hint = "every '{{' needs its '}}', every '{% … %}' block its end"
    return TemplateProblem(message[:1].lower() + message[1:], line=error.lineno, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A compiled condition over a cell (``where``, ``--select``)."""

    source: str
    names: frozenset[str]
    _evaluate: Callable[[Mapping[str, Any]], Any]

    def __call__(self, context: Mapping[str, Any]) -> bool:
        """Whether the condition holds.

        :raises TemplateProblem: for an undefined name, or a comparison that can never be true
        """
        try:
            return bool(self._evaluate(context))
        except TemplateProblem:
            raise
        except UndefinedError as error:
            raise TemplateProblem(_undefined_sentence(str(error)), word=_quoted(str(error))) from error
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise TemplateProblem(str(error) or type(error).__name__) from error


def compile_expression(source: str) -> Expression:
    """Compile a condition; every comparison in it is checked for types.

    :raises TemplateProblem: for a syntax error
    """
    env = environment()
    try:
        tree = env.parse("{{ " + source + "\n }}")
        outputs = tree.body
        if len(outputs) != 1 or not isinstance(outputs[0], nodes.Output) or len(outputs[0].nodes) != 1:
            raise TemplateProblem("this is not one expression", hint="write it without {{ }}")
        expression = _checked(outputs[0].nodes[0])
        names = frozenset(meta.find_undeclared_variables(tree)) - env.globals.keys()
        program = nodes.Template([nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)], lineno=1)
        program.set_environment(env)
        template = env.template_class.from_code(env, env.compile(program), dict(env.globals))
    except TemplateSyntaxError as error:
        raise _syntax_problem(error, source) from error

    def evaluate(context: Mapping[str, Any]) -> Any:
        scope = template.new_context(dict(context), shared=False)
        for _ in template.root_render_func(scope):
            pass
        return scope.vars["result"]

    return Expression(source=source, names=names, _evaluate=evaluate)


def _checked(node: nodes.Node) -> nodes.Expr:
    """The expression with each ``a == b`` turned into a call that refuses to compare unlike things."""
    for field, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, field, [_checked(item) if isinstance(item, nodes.Node) else item for item in value])
        elif isinstance(value, nodes.Node):
            setattr(node, field, _checked(value))
    if not isinstance(node, nodes.Compare):
        return node  # type: ignore[return-value]  # an Operand or a keyword keeps its own class
    result: nodes.Expr | None = None
    left = node.expr
    for operand in node.ops:
        call = nodes.Call(
            nodes.ImportedName(f"{__name__}.compare"),
            [nodes.Const(operand.op), left, operand.expr],
            [],
            None,
            None,
            lineno=node.lineno,
        )
        result = call if result is None else nodes.And(result, call, lineno=node.lineno)
        left = operand.expr
    assert result is not None
    return result


_OPERATORS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "eq": ("==", lambda a, b: bool(a == b)),
    "ne": ("!=", lambda a, b: bool(a != b)),
    "lt": ("<", lambda a, b: bool(a < b)),
    "lteq": ("<=", lambda a, b: bool(a <= b)),
    "gt": (">", lambda a, b: bool(a > b)),
    "gteq": (">=", lambda a, b: bool(a >= b)),
    "in": ("in", lambda a, b: bool(a in b)),
    "notin": ("not in", lambda a, b: bool(a not in b)),
}


def compare(op: str, left: Any, right: Any) -> bool:
    """``left op right``, refused where Python would quietly say "not equal" to a mistake."""
    written, operator = _OPERATORS[op]
    kinds = (_kind(left), _kind(right))
    if op not in ("in", "notin") and kinds[0] != kinds[1] and "null" not in kinds:
        if "mapping" in kinds:
            raise TemplateProblem(
                f"a mapping is compared with a {kinds[0] if kinds[1] == 'mapping' else kinds[1]} by {written}",
                hint="compare one of its fields, such as its id",
            )
        raise TemplateProblem(f"a {kinds[0]} is compared with a {kinds[1]} by {written}", hint="quote both, or neither")
    if op in ("in", "notin") and kinds[0] == "mapping":
        raise TemplateProblem(f"a mapping is looked up by {written}", hint="look up one of its fields, such as its id")
    return operator(left, right)


def _kind(value: Any) -> str:
    if isinstance(value, StrictUndefined):
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


def undeclared(template: Template | Expression, known: Iterable[str]) -> list[str]:
    """The names a template reads that nothing provides, sorted."""
    return sorted(template.names - set(known))
