"""This module compiles prompts: Jinja in a sandbox without loaders, over plain data that is never rendered again.

Called by ``job.spec`` for the prompt, the references and the output name, and by ``job.condition``. Invariants: a file
of a few lines can't make the program build a giant, read a file or run code; what Python would spell is never printed.

A template is cut into *segments*, one per top-level statement or expression, and each segment knows the names it reads:
one that reads a single axis is evaluated once per axis value instead of once per request (``expand.request_builder``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, wraps
from types import FunctionType, MethodType, TracebackType
from typing import Any
from unicodedata import normalize

from jinja2 import StrictUndefined, Undefined, meta, nodes, pass_context, pass_environment
from jinja2 import Template as Compiled
from jinja2 import filters as of_jinja
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.runtime import LoopContext
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import Joiner, Namespace

from seedream_jobs.diagnostics import Diagnostic, Problem, did_you_mean, shorten
from seedream_jobs.job.document import Document, DocumentPath
from seedream_jobs.job.template_rules import (
    BIGGEST,
    CALL,
    LOOP_METHODS,
    MAX_WORK,
    OPERATORS,
    SAFE_GLOBALS,
    WORK,
    NotAllowed,
    TooMuch,
    compare,
    is_text,
    measured,
    parse,
    spend,
    weight,
)

MAX_TEXT = 65_536
"""The longest prompt, address or name that a template may make, in characters."""

MAX_REPEATED = 100_000
"""The longest text or list that ``*`` may make inside a template, in items."""

MAX_SEGMENTS = 200
"""How many parts of a template are compiled apart; one with more is compiled whole, which takes less time."""

# fmt: off
SAFE_TESTS = (
    "!=", "<", "<=", "==", ">", ">=", "boolean", "defined", "divisibleby", "eq", "equalto", "even", "false", "float",
    "ge", "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne", "none",
    "number", "odd", "sequence", "string", "true", "undefined", "upper",
)
# fmt: on

_RENDER_ERRORS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
)
"""What a template may raise while it runs; anything else is a bug of this program."""


class TemplateProblem(Problem):
    """A template that can't be compiled or rendered.

    :param line: line within the template, counted from 1, or None where it is not known
    :param word: the text to point at within that line
    """

    def __init__(self, message: str, *, line: int | None = None, word: str | None = None, hint: str | None = None):
        super().__init__(message, hint=hint)
        self.line: int | None = line
        self.word: str | None = word


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a template: constant ``text``, or ``evaluate`` over the ``names`` it reads.

    ``evaluate`` takes at least those names that are bound, and reads no others. It is not for two threads at once.
    """

    text: str
    names: frozenset[str]
    line: int
    evaluate: Callable[[Mapping[str, Any]], str] | None

    def render(self, context: Mapping[str, Any]) -> str:
        """Its text.

        :raises TemplateProblem: for an undefined attribute, a null, or anything a filter refuses
        """
        return self.text if self.evaluate is None else self.evaluate(context)


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
        return joined(segment.render(context) for segment in self.segments)


def undeclared(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Those of the names a template reads that nothing provides, sorted."""
    return sorted(set(names) - set(known))


def compile_template(source: str) -> Template:
    """Compile ``source``.

    :raises TemplateProblem: with the line of a syntax error, or of what a template may not do
    """
    env = environment()
    try:
        tree = parse(env, source)
        return Template(source=source, names=_free_names(env, tree), segments=_segments(env, tree))
    except TemplateSyntaxError as error:
        raise syntax_problem(error) from error


def lines_of(source: str, name: str) -> list[int]:
    """The lines of a template that compiles, counted from 1, on which ``name`` is read."""
    tree = environment().parse(source)
    return sorted({node.lineno for node in tree.find_all(nodes.Name) if node.name == name and node.ctx == "load"})


def _free_names(env: SandboxedEnvironment, tree: nodes.Template) -> frozenset[str]:
    # As ``meta.find_undeclared_variables``, which folds constants first, and so runs what the template says.
    generator = meta.TrackingCodeGenerator(env)
    generator.optimizer = None
    generator.visit(tree)
    return frozenset(generator.undeclared_identifiers) - env.globals.keys()


def _segments(env: SandboxedEnvironment, tree: nodes.Template) -> tuple[Segment, ...]:
    """One segment per top-level expression or statement; the whole template where a name outlives its statement."""
    parts: list[nodes.Node] = []
    for node in tree.body:
        parts.extend(node.nodes if isinstance(node, nodes.Output) else [node])
    if len(parts) > MAX_SEGMENTS or any(tree.find(kind) for kind in (nodes.Assign, nodes.AssignBlock)):
        # What a statement sets is read by a later one, so they can't be evaluated apart.
        return (compile_segment(env, list(tree.body), 1),)
    segments: list[Segment] = []
    for part in parts:
        if isinstance(part, nodes.TemplateData):
            segments.append(Segment(text=part.data, names=frozenset(), line=part.lineno, evaluate=None))
        elif isinstance(part, nodes.Expr):
            segments.append(compile_segment(env, [nodes.Output([part], lineno=part.lineno)], part.lineno))
        else:
            segments.append(compile_segment(env, [part], part.lineno))
    return tuple(segments)


def compile_segment(env: SandboxedEnvironment, body: list[nodes.Node], line: int) -> Segment:
    """The segment of some nodes of a tree that ``parse`` made, which begin at ``line`` of the template."""
    tree = nodes.Template(body, lineno=1)
    tree.set_environment(env)
    names = _free_names(env, tree)
    try:
        template = env.template_class.from_code(env, env.compile(tree), dict(env.globals))
    except (SyntaxError, RecursionError, MemoryError):  # Python's own bounds; those of ``parse`` lie below them
        raise NotAllowed("the template is too complex", line, hint="split it into several") from None
    return Segment(text="", names=names, line=line, evaluate=_evaluator(template, names, line))


_MAX_TIRED = 5
"""How often a segment may end by ``TooMuch`` before it is not tried again: each time costs a fraction of a second."""


def _evaluator(template: Compiled, names: frozenset[str], line: int) -> Callable[[Mapping[str, Any]], str]:
    # ``template.render`` makes a new Jinja context for each call, and takes five times as long. One context is enough
    # if all of it is cleared: what a ``{% set %}`` left behind would show in the next prompt.
    scope = template.new_context({}, shared=True)
    root, constants, bound = template.root_render_func, dict(template.globals), scope.parent
    wanted = tuple(names)
    tired: list[TemplateProblem] = []

    def evaluate(context: Mapping[str, Any]) -> str:
        if len(tired) >= _MAX_TIRED:
            raise _copy(tired[-1], line)
        scope.vars.clear()
        scope.exported_vars.clear()
        bound.clear()
        bound.update(constants)
        for name in wanted:
            if name in context:
                bound[name] = context[name]
        WORK.left = MAX_WORK
        try:
            text = "".join(root(scope))
        except (TemplateProblem, *_RENDER_ERRORS) as error:
            problem = _rendering_problem(error, template, line)
            if isinstance(error, TooMuch):
                tired.append(_copy(problem, line))  # not the problem itself: its frames hold what was made
            raise problem from error
        return text if len(text) <= MAX_TEXT else checked_length(text)

    return evaluate


def checked_length(text: str) -> str:
    """The text as it is.

    :raises TemplateProblem: if it is longer than any prompt may be
    """
    if len(text) > MAX_TEXT:
        raise TemplateProblem(f"the text has {len(text):,} characters: at most {MAX_TEXT:,}", hint="shorten it")
    return text


def joined(parts: Iterable[str]) -> str:
    """Parts of a text in one.

    :raises TemplateProblem: as soon as they are longer than any prompt may be
    """
    found, length = [], 0
    for part in parts:
        found.append(part)
        length += len(part)
        if length > MAX_TEXT:
            checked_length("".join(found))
    return "".join(found)


# -- filters -----------------------------------------------------------------------------------------------------------


MAX_SLUG = 80
"""The longest slug in characters: several of them must fit into one file name."""


def slug(value: Any, max_length: int = MAX_SLUG) -> str:
    """Text as a file name likes it: ``A tabby cat, 16:9`` becomes ``a-tabby-cat-16-9``. Letters of any script stay."""
    text = str(value)
    if not text.isascii():
        text = normalize("NFKC", text)
    words = re.sub(r"[^\w]+", "-", text.casefold().replace("_", "-")).strip("-")
    return words[:max_length].rstrip("-")


def oneline(value: Any) -> str:
    """Text on one line: every run of white space becomes one space."""
    return " ".join(str(value).split())


_AN = (  # compiled by the first use, not at every start
    r"(?i)(?!(?:one|once|u(?:ni|se|su|ti|k)|eu|ewe)\b|(?:uni(?!n|m)|use|usu|uti|uk|eu|one-|once-))[aeiou]|hon|hour|heir"
)


def article(value: Any) -> str:
    """English text with its indefinite article: ``heron`` becomes ``a heron``, ``owl`` becomes ``an owl``."""
    text = str(value).strip()
    return f"{'an' if re.match(_AN, text) else 'a'} {text}" if text else text


def join_and(values: Iterable[Any], word: str = "and") -> str:
    """A list as English writes it: ``a, b and c``."""
    items = _texts(values, 2)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {_text(word)} {items[-1]}"


def split(value: Any, separator: str | None = None, limit: int = -1) -> list[str]:
    """The parts of a text between separators, at most ``limit`` + 1 of them; between white space without one."""
    return _text(value).split(separator, limit)


# -- what an expression writes -----------------------------------------------------------------------------------------


def _written(value: Any) -> Any:
    """What ``{{ … }}`` writes. Python's spelling of null, lists and mappings has no place in a paid prompt."""
    if isinstance(value, str | Undefined):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    if value is None:
        raise TemplateProblem("the value is null", hint="give it a value, or write | default('…', true)")
    if isinstance(value, Mapping):
        names = ", ".join(shorten(str(name), 40) for name in list(value)[:5])
        raise TemplateProblem("the value is a mapping", hint=f"name one of its fields: {names}")
    if callable(value):
        raise TemplateProblem("the value is a function", hint="call it with (), or name a field that exists")
    raise TemplateProblem("the value is a list", hint="write | join(', ') or | join_and")


def _text(value: Any) -> str:
    """A value as ``{{ … }}`` writes it, counted."""
    text = value if isinstance(value, str) else str(_written(value))
    spend(CALL + len(text))
    return text


def _texts(values: Any, separator: int) -> list[str]:
    """Items as ``{{ … }}`` writes each, counted with what joins them."""
    items = [_text(value) for value in values]
    spend(separator * len(items))
    return items


@pass_context  # so Jinja can't call it while it compiles
def _finalize(_context: Any, value: Any) -> Any:
    if type(value) is str:
        WORK.left -= len(value)
        if WORK.left < 0:
            raise TooMuch
        return value
    return _written(value)


# -- Jinja's filters and tests, bounded --------------------------------------------------------------------------------


def _of_text(made: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of one text, counted, which refuses what ``{{ … }}`` would."""

    @wraps(made)
    def counted(value: Any, *given: Any, **named: Any) -> Any:
        return made(_text(value), *given, **named)

    return counted


def _of_list(made: Callable[..., Any], *, deep: bool = False) -> Callable[..., Any]:
    """A filter of a list, counted, which makes a list at once: what is made later would not be counted.

    :param deep: it compares the items with each other
    """
    at = 1 if hasattr(made, "jinja_pass_arg") else 0  # behind what Jinja itself hands to it

    @wraps(made)
    def counted(*given: Any, **named: Any) -> Any:
        value = given[at]
        if not isinstance(value, Undefined):
            # A path such as "a.b,c" is walked for each item.
            steps = sum(
                1 + one.count(".") + one.count(",") for one in (*given[at + 1 :], *named.values()) if type(one) is str
            )
            items = len(value) if hasattr(value, "__len__") else 1
            spend(CALL + CALL * items * (1 + steps) + (weight(value) if deep else 0))
        result = made(*given, **named)
        return list(result) if isinstance(result, Iterator) else result

    return counted


_CONVERSION = re.compile(r"%(?:\(\w*\))?[-#0 +]{0,5}(\d{0,3})(?:\.(\d{0,3}))?[hlL]?[diouxXeEfFgGcrsa%]")


def _format(value: str, *args: Any, **named: Any) -> str:
    """``'%s' % …`` with widths of at most three digits; Jinja's own takes any."""
    text = _text(value)
    if args and named:
        raise SecurityError("'format' takes arguments by place or by name, not both")
    given = [one if isinstance(one, int | float) else _text(one) for one in args]
    by_name = {name: one if isinstance(one, int | float) else _text(one) for name, one in named.items()}
    longest = max((len(str(one)) for one in (*given, *by_name.values())), default=0)
    if "%" in _CONVERSION.sub("", text):
        raise SecurityError("'format' takes %s, %d, %.2f and the like, with a width of at most three digits")
    for width, precision in _CONVERSION.findall(text):
        spend(CALL + int(width or 0) + int(precision or 0) + longest)
    made = text % (by_name or tuple(given))
    if not is_text(made):
        raise SecurityError("'format' makes half a character (a lone surrogate) of this number")
    return made


def _indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    length = len(width) if isinstance(width, str) else width
    if length > 100:
        raise SecurityError("'indent' takes at most 100 characters")
    spend(len(text.splitlines()) * max(length, 0))
    return of_jinja.do_indent(text, width, first, blank)


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = _text(value), _text(old), _text(new)
    spend(text.count(old) * len(new))
    return text.replace(old, new, -1 if count is None else count)


def _trim(text: str, chars: str | None = None) -> str:
    if chars is not None and len(chars) > 100:
        raise SecurityError("'trim' takes at most 100 characters")
    return text.strip(chars)


def _truncate(
    text: str, length: int = 255, killwords: bool = False, end: str = "...", leeway: int | None = None
) -> str:
    if length < len(end):  # Jinja asserts it, and an AssertionError would count as a bug of ours
        raise SecurityError(f"'truncate' to {length} leaves no place for the end of {len(end)} characters")
    return of_jinja.do_truncate(environment(), text, length, killwords, end, max(leeway or 0, 0))


def _wordwrap(
    text: str,
    width: int = 79,
    break_long_words: bool = True,
    wrapstring: str | None = None,
    break_on_hyphens: bool = True,
) -> str:
    if len(text) > 10_000:  # Python's own takes a time that grows faster than the text
        raise SecurityError("'wordwrap' takes a text of at most 10,000 characters")
    spend(len(text) * (CALL + len(wrapstring or "")))
    return of_jinja.do_wordwrap(environment(), text, width, break_long_words, wrapstring, break_on_hyphens)


@pass_environment
def _join(env: SandboxedEnvironment, values: Any, d: Any = "", attribute: str | int | None = None) -> str:
    between = _text(d)
    if attribute is not None:
        values = [*map(of_jinja.make_attrgetter(env, attribute), _list(values))]
    return between.join(_texts(values, len(between)))


@pass_environment
def _attr(env: SandboxedEnvironment, value: Any, name: str) -> Any:
    """A field by its name."""
    return env.getitem(value, name)


def _range(*ends: int) -> range:
    made = range(*ends)
    if made[MAX_REPEATED:]:  # len() overflows at 2**63 numbers
        raise SecurityError(f"'range' makes at most {MAX_REPEATED:,} numbers")
    return made


def _list(value: Any) -> list[Any]:
    return list(value)


def _int(value: Any, default: Any = 0, base: int = 10) -> Any:
    if isinstance(value, str):
        spend(CALL + len(value))
    return _checked_number(of_jinja.do_int(value, default, base), "int")


def _round(value: Any, precision: int = 0, method: Any = "common") -> Any:
    if not -30 <= precision <= 30:
        raise SecurityError("'round' takes a precision of -30 to 30")
    return of_jinja.do_round(value, precision, method)


@pass_environment
def _sum(env: Any, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    if not isinstance(start, int | float):
        raise SecurityError("'sum' begins with a number")
    return _checked_number(of_jinja.sync_do_sum(env, iterable, attribute, start), "sum")


def _tojson(value: Any) -> str:
    """JSON as people write it; Jinja's is escaped for HTML."""
    spend(CALL + 2 * weight(value))
    return json.dumps(value, ensure_ascii=False)


def _checked_number(value: Any, made_by: str) -> Any:
    if isinstance(value, int) and not -BIGGEST <= value <= BIGGEST:
        raise SecurityError(f"the result of {made_by} would be too large")
    return value


# Not among them: what is random (a key must be the same each time), what makes HTML, what pads to any width.
FILTERS: dict[str, Callable[..., Any]] = {
    # Jinja's own, which make no more than they are given.
    **{name: of_jinja.FILTERS[name] for name in ("abs", "count", "d", "default", "first", "float", "last", "length")},
    **{name: _of_text(getattr(of_jinja, f"do_{name}")) for name in ("capitalize", "lower", "title", "upper")},
    **{made.__name__: _of_text(made) for made in (slug, oneline, article)},
    **{made.__name__: made for made in (join_and, split)},
    "string": _text,
    "wordcount": _of_text(of_jinja.do_wordcount),
    **{made.__name__.strip("_"): _of_text(made) for made in (_indent, _trim, _truncate, _wordwrap)},
    **{made.__name__.strip("_"): made for made in (_attr, _format, _int, _join, _replace, _round, _tojson)},
    **{name: _of_list(of_jinja.FILTERS[name]) for name in ("items", "map", "reverse")},
    **{name: _of_list(of_jinja.FILTERS[name]) for name in ("reject", "rejectattr", "select", "selectattr")},
    **{name: _of_list(of_jinja.FILTERS[name], deep=True) for name in ("max", "min", "sort", "unique")},
    "list": _of_list(_list),
    "sum": _of_list(_sum),
}
"""Every filter that a template may use."""


def _of_number(made: Callable[..., bool]) -> Callable[..., bool]:
    """A test of numbers only: on a text Jinja's ``%`` would be formatting, to any width."""

    @wraps(made)
    def checked(value: Any, *given: Any) -> bool:
        for one in (value, *given):
            if not isinstance(one, int | float | Undefined):
                raise SecurityError("odd, even and divisibleby are for numbers")
        return made(value, *given)

    return checked


def _comparing(name: str) -> Callable[[Any, Any], bool]:
    def compared(value: Any, other: Any) -> bool:
        return compare(name, value, other)

    compared.__qualname__ = name  # Python names it where an argument is missing
    return compared


_NAMES = {
    "eq": ("eq", "equalto"),
    "ne": ("ne",),
    "lt": ("lt", "lessthan"),
    "lteq": ("le",),
    "gt": ("gt", "greaterthan"),
    "gteq": ("ge",),
    "in": (),
}
"""What Jinja's tests call the operators, beside how these are written."""


def _bounded_tests(tests: dict[str, Any]) -> dict[str, Any]:
    tests |= {
        name: _comparing(operator) for operator, names in _NAMES.items() for name in (OPERATORS[operator][0], *names)
    }
    tests |= {name: _of_number(tests[name]) for name in ("odd", "even", "divisibleby")}
    return tests | {name: _of_text(tests[name]) for name in ("lower", "upper")}


# -- the sandbox -------------------------------------------------------------------------------------------------------

_LOOP = frozenset(
    {"index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0", "previtem", "nextitem"}
)


class _Sandbox(SandboxedEnvironment):
    """Names reach data only: keys of mappings, places in lists and texts, what a loop and a namespace know.

    A second wall behind ``parse``; and it bounds what operators make.
    """

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        spend(CALL)
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if isinstance(left, Undefined) or isinstance(right, Undefined):
            return super().call_binop(context, operator, left, right)  # says what is undefined
        if operator == "**" and (abs(left) > 1e6 or abs(right) > 100):
            raise SecurityError("the result of ** would be too large")
        if not numbers:
            self._count(operator, left, right)
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, complex):
            raise SecurityError(f"the result of {operator} is no real number")
        return measured(result) if isinstance(result, list | tuple) else _checked_number(result, operator)

    def _count(self, operator: str, left: Any, right: Any) -> None:
        if operator == "%":
            raise SecurityError("% is for numbers: write '%s' | format(text)")
        sizes = [len(one) if isinstance(one, Sequence) else 0 for one in (left, right)]
        if operator == "*":
            times = right if isinstance(right, int) else left if isinstance(left, int) else 0
            if max(sizes) * times > MAX_REPEATED:
                raise SecurityError(f"the result of * would be longer than {MAX_REPEATED:,} items")
            spend(max(sizes) * max(times, 0))
        spend(sum(sizes))

    def getattr(self, obj: Any, attribute: str) -> Any:
        # A column named "items" or "title" is data. Also quicker by half.
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return self._field(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._field(obj, argument)

    def _field(self, obj: Any, name: Any) -> Any:
        if isinstance(obj, LoopContext):
            if name in LOOP_METHODS or name in _LOOP:
                return getattr(obj, name)
        elif isinstance(obj, Namespace):
            if isinstance(name, str) and not name.startswith("_") and hasattr(obj, name):
                return getattr(obj, name)
        elif isinstance(obj, Mapping | Sequence | Undefined):
            try:
                return obj[name]
            except (TypeError, LookupError):
                pass
        return self.undefined(obj=obj, name=name)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            kwargs.pop("_loop_vars", None)  # Jinja adds it to each call within a loop
        # The functions that are reached are ``range`` and those that ``parse`` put there: data has none.
        if type(obj) is not FunctionType:
            of_loop = type(obj) is MethodType and isinstance(obj.__self__, LoopContext)
            if obj is not Namespace and obj is not Joiner and not isinstance(obj, Joiner) and not of_loop:
                raise SecurityError("only a function can be called")
            spend(CALL + weight(args) + weight(kwargs))
        return obj(*args, **kwargs)


@cache
def environment() -> SandboxedEnvironment:
    """The one Jinja environment of the program."""
    env = _Sandbox(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_finalize, optimized=False
    )
    tests: dict[str, Any] = {name: env.tests[name] for name in SAFE_TESTS}
    env.filters = dict(FILTERS)
    env.tests = _bounded_tests(tests)
    env.globals = {name: env.globals[name] for name in SAFE_GLOBALS} | {"range": _range}
    return env


def _copy(problem: TemplateProblem, line: int) -> TemplateProblem:
    return TemplateProblem(problem.message, line=problem.line or line, word=problem.word, hint=problem.hint)


def _rendering_problem(error: Exception, template: Compiled, line: int) -> TemplateProblem:
    """What went wrong while ``template`` ran, at the line it had come to; ``line`` where that is not known."""
    line = _line_in(error.__traceback__, template) or line
    if isinstance(error, RecursionError | MemoryError):
        return TemplateProblem("a value is nested too deeply, or too large", line=line)
    if isinstance(error, TooMuch):
        hint = "shorten its loops and the texts in it; docs/templates.md has the bounds"
        return TemplateProblem(str(error), line=line, hint=hint)
    if isinstance(error, TemplateProblem):
        return _copy(error, line)
    if isinstance(error, UndefinedError):
        words: list[str] = re.findall(r"'([^']+)'", str(error))
        return TemplateProblem(_undefined_sentence(str(error)), line=line, word=words[-1] if words else None)
    return TemplateProblem(shorten(str(error).rstrip("."), 300) or type(error).__name__, line=line)


def _line_in(traceback: TracebackType | None, template: Compiled) -> int | None:
    """The template's line at which an error arose: Jinja compiles to Python, and keeps which line came from which."""
    found = None
    while traceback is not None:
        frame = traceback.tb_frame
        if "__jinja_template__" in frame.f_globals or frame.f_code.co_filename == "<template>":
            found = template.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


_KINDS = {
    "None": "null",
    "dict": "the mapping",
    "str": "the text",
    "list": "the list",
    "int": "the number",
    "float": "the number",
}


def _undefined_sentence(jinja: str) -> str:
    """Jinja says "'dict object' has no attribute 'txt'": say it without the Python."""
    found = re.fullmatch(r"'?([\w.]+)(?: object)?'? has no (attribute '(.*)'|element (.*))", jinja, re.DOTALL)
    if found is None:
        return jinja
    kind = _KINDS.get(found[1], "the value")
    return f"{kind} has no field {found[3]!r}" if found[4] is None else f"{kind} has no item {shorten(found[4])}"


def syntax_problem(error: TemplateSyntaxError) -> TemplateProblem:
    """A syntax error with the next step."""
    if isinstance(error, NotAllowed):
        return TemplateProblem(error.message or "", line=error.lineno, word=error.word, hint=error.hint)
    message = (error.message or "syntax error").partition(". Jinja")[0].rstrip(".")
    no_filter = re.match(r"No (filter|test) named '(\w+)'", message)
    if no_filter:
        env = environment()
        known = env.filters if no_filter[1] == "filter" else env.tests
        return TemplateProblem(
            f"unknown {no_filter[1]} {no_filter[2]!r}",
            line=error.lineno,
            word=no_filter[2],
            hint=did_you_mean(no_filter[2], known, "docs/templates.md lists them"),
        )
    hint = None
    if "unexpected '}'" in message or "unexpected end of template" in message.lower():
        hint = "every '{{' needs its '}}', every '{% … %}' block its end"
    if re.search("unexpected char '[“”„‟＂‘’‚‛：，｜（）]'", message):
        hint = "write it in half width, as on a plain keyboard: ' or \" for quotes, : , | ( )"
    return TemplateProblem(message[:1].lower() + message[1:], line=error.lineno, hint=hint)


# -- where a problem stands --------------------------------------------------------------------------------------------


def template_finding(
    document: Document, code: str, problem: TemplateProblem, source: str, path: DocumentPath, *, note: str = ""
) -> Diagnostic:
    """A template's problem as a finding at the exact word where that is known, else at the whole scalar."""
    finding = document.finding(code, problem.message + note, path, hint=problem.hint)
    start, word = _locate(source, problem)
    span = document.text_span(path, start, start + len(word))
    return finding if span is None or (not word and problem.line in (None, 1)) else replace(finding, span=span)


def _locate(source: str, problem: TemplateProblem) -> tuple[int, str]:
    """Offset and text in a template of what a problem points at: the word inside an expression, else the line."""
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", source) or [""]
    index = min((problem.line or 1) - 1, len(lines) - 1)
    start = sum(map(len, lines[:index]))
    if problem.word:
        field = re.compile(rf"(?<=[.'\"]){re.escape(problem.word)}(?!\w)")
        inside = re.compile(rf"(?<!\w){re.escape(problem.word)}(?!\w)")
        region_end = len(source) if problem.line is None else start + len(lines[index])
        opened = max(source.find("{", start, region_end), start)
        found = field.search(source, opened, region_end) if "no field" in problem.message else None
        found = found or inside.search(source, opened, region_end) or inside.search(source, start, region_end)
        if found:
            return found.start(), problem.word
    return start, lines[index].rstrip("\r\n")
