"""The one Jinja environment: an immutable sandbox without loaders; and its errors in the words of an author."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache, wraps
from types import TracebackType
from typing import Any

from jinja2 import StrictUndefined, Template, Undefined
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from seedream_jobs.diagnostics import closest
from seedream_jobs.job.filters import FILTERS
from seedream_jobs.job.template import TemplateProblem

MAX_REPEATED = 100_000
"""The longest text or list that ``*`` or a padding may make inside a template, in items."""

# fmt: off
SAFE_FILTERS = (
    "abs", "attr", "capitalize", "count", "d", "default", "first", "float", "format", "indent", "int", "items", "join",
    "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round",
    "select", "selectattr", "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper",
    "wordcount", "wordwrap",
)
SAFE_TESTS = (
    "!=", "<", "<=", "==", ">", ">=", "boolean", "defined", "divisibleby", "eq", "equalto", "even", "false", "float",
    "ge", "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne", "none",
    "number", "odd", "sequence", "string", "true", "undefined", "upper",
)
SAFE_GLOBALS = ("range", "namespace", "joiner")
_OF_TEXT = (
    "article", "capitalize", "indent", "lower", "oneline", "replace", "slug", "string", "title", "trim", "truncate",
    "upper", "wordcount", "wordwrap",
)
_OF_TEXTS = ("join", "join_and")
# fmt: on

_PADDING = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "zfill"})
_BIG_WIDTH = re.compile(r"%[^%a-zA-Z]*(?:\d{4}|\*)")

RENDER_ERRORS = (
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


class _Sandbox(ImmutableSandboxedEnvironment):
    """No loaders, no random, no way to build a giant out of a small file; a mapping's data before its methods."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and (abs(left) > 1e6 or abs(right) > 100):
            raise SecurityError("the result of ** would be too large")
        for sized, times in ((left, right), (right, left)):
            if hasattr(sized, "__len__") and isinstance(times, int) and len(sized) * times > MAX_REPEATED:
                raise SecurityError(f"the result of * would be longer than {MAX_REPEATED:,} items")
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        # A column named "items" or "title" is data; Jinja would find the method first. Also quicker by half.
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr in _PADDING:
            return False
        return super().is_safe_attribute(obj, attr, value)


def _format(value: str, *args: Any, **kwargs: Any) -> str:
    """Jinja's ``format``, which takes widths of any size."""
    if _BIG_WIDTH.search(value):
        raise SecurityError("a width in 'format' has at most three digits")
    return value % (kwargs or args)


def _tojson(value: Any) -> str:
    """JSON as people write it; Jinja's is escaped for HTML."""
    return json.dumps(value, ensure_ascii=False)


def _finalize(value: Any) -> Any:
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
        names = ", ".join(map(str, list(value)[:5]))
        raise TemplateProblem("the value is a mapping", hint=f"name one of its fields: {names}")
    if callable(value):
        raise TemplateProblem("the value is a function", hint="call it with (), or name a field that exists")
    raise TemplateProblem("the value is a list", hint="write | join(', ') or | join_and")


def _of_text(made: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that refuses what ``{{ … }}`` would: it would write Python's spelling of it into a text."""
    at = 1 if hasattr(made, "jinja_pass_arg") else 0  # behind what Jinja itself hands to it

    @wraps(made)
    def checked(*given: Any, **named: Any) -> Any:
        return made(*given[:at], _finalize(given[at]), *given[at + 1 :], **named)

    return checked


def _of_texts(made: Callable[..., Any]) -> Callable[..., Any]:
    """The same for one that joins the items of a list; not where it is told to take a field of each."""
    at = 1 if hasattr(made, "jinja_pass_arg") else 0

    @wraps(made)
    def checked(*given: Any, **named: Any) -> Any:
        if len(given) > at + 2 or "attribute" in named:
            return made(*given, **named)
        return made(*given[:at], list(map(_finalize, given[at])), *given[at + 1 :], **named)

    return checked


@cache
def environment() -> ImmutableSandboxedEnvironment:
    """The one Jinja environment of the program."""
    env = _Sandbox(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_finalize)
    env.filters = {name: env.filters[name] for name in SAFE_FILTERS} | {"format": _format, "tojson": _tojson} | FILTERS
    env.filters |= {name: _of_text(env.filters[name]) for name in _OF_TEXT}
    env.filters |= {name: _of_texts(env.filters[name]) for name in _OF_TEXTS}
    env.tests = {name: env.tests[name] for name in SAFE_TESTS}
    env.globals = {name: env.globals[name] for name in SAFE_GLOBALS}
    env.policies["truncate.leeway"] = 0
    return env


def rendering_problem(error: Exception, template: Template, line: int) -> TemplateProblem:
    """What went wrong while ``template`` ran, at the line it had come to; ``line`` where that is not known."""
    line = _line_in(error.__traceback__, template) or line
    if isinstance(error, TemplateProblem):
        return TemplateProblem(error.message, line=error.line or line, word=error.word, hint=error.hint)
    if isinstance(error, UndefinedError):
        return TemplateProblem(undefined_sentence(str(error)), line=line, word=_quoted(str(error)))
    if isinstance(error, RecursionError):
        return TemplateProblem("the template calls itself without end", line=line)
    return TemplateProblem(str(error).rstrip(".") or type(error).__name__, line=line)


def _line_in(traceback: TracebackType | None, template: Template) -> int | None:
    """The template's line in the innermost of its frames: Jinja compiles to Python, and knows which line is whose."""
    found = None
    while traceback is not None:
        if (
            "__jinja_template__" in traceback.tb_frame.f_globals
            or traceback.tb_frame.f_code.co_filename == "<template>"
        ):
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


def undefined_sentence(jinja: str) -> str:
    """Jinja says "'dict object' has no attribute 'txt'": say it without the Python."""
    found = re.fullmatch(r"'(\w+)(?: object)?' has no (?:attribute|element) '?(.*?)'?", jinja)
    if found is None:
        return jinja
    return f"{_KINDS.get(found[1], 'the value')} has no field {found[2]!r}"


def _quoted(message: str) -> str | None:
    words: list[str] = re.findall(r"'([^']+)'", message)
    return words[-1] if words else None


def syntax_problem(error: TemplateSyntaxError) -> TemplateProblem:
    """A syntax error with the next step."""
    message = (error.message or "syntax error").partition(". Jinja")[0].rstrip(".")
    no_filter = re.match(r"No (filter|test) named '(\w+)'", message)
    if no_filter:
        env = environment()
        near = closest(no_filter[2], env.filters if no_filter[1] == "filter" else env.tests)
        return TemplateProblem(
            f"unknown {no_filter[1]} {no_filter[2]!r}",
            line=error.lineno,
            word=no_filter[2],
            hint=f"did you mean {near!r}?" if near else "docs/templates.md lists them",
        )
    hint = None
    if "unexpected '}'" in message or "unexpected end of template" in message.lower():
        hint = "every '{{' needs its '}}', every '{% … %}' block its end"
    if re.search("unexpected char '[“”„‟＂‘’‚‛：，｜（）]'", message):
        hint = "write it in half width, as on a plain keyboard: ' or \" for quotes, : , | ( )"
    return TemplateProblem(message[:1].lower() + message[1:], line=error.lineno, hint=hint)
