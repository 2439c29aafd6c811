"""This module compiles prompts: Jinja in a sandbox without loaders, over plain data that is never rendered again.

Called by ``job.spec`` for the prompt, the references and the output name, and by ``job.condition``. Invariants: a file
of a few lines can't make the program build a giant, read a file or run code; what Python would spell is never printed.

A template is cut into *segments*, one per top-level statement or expression, and each segment knows the names it reads:
one that reads a single axis is evaluated once per axis value instead of once per request (``expand.request_builder``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, wraps
from types import TracebackType
from typing import Any
from unicodedata import normalize

from jinja2 import StrictUndefined, Undefined, meta, nodes
from jinja2 import Template as Compiled
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from seedream_jobs.diagnostics import Diagnostic, Problem, did_you_mean
from seedream_jobs.job.document import Document, DocumentPath

MAX_REPEATED = 100_000
"""The longest text or list that ``*`` or a padding may make inside a template, in items."""

# Not among them: what is random (a key must be the same each time), what makes HTML, what pads to any width.
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

# Methods of texts that take a width, or find attributes by name: they would make a giant, or leave the sandbox.
_PADDING = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "zfill"})
_BIG_WIDTH = re.compile(r"%[^%a-zA-Z]*(?:\d{4}|\*)")

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

_FORBIDDEN: dict[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from … import",
    nodes.Extends: "extends",
}


class TemplateProblem(Problem):
    """A template that can't be compiled or rendered.

    :param line: line within the template, counted from 1, or None where it is not known
    :param word: the text to point at within that line
    """

    def __init__(self, message: str, *, line: int | None = None, word: str | None = None, hint: str | None = None):
        super().__init__(message, hint=hint)
        self.line, self.word = line, word


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
        return "".join([segment.render(context) for segment in self.segments])


def undeclared(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Those of the names a template reads that nothing provides, sorted."""
    return sorted(set(names) - set(known))


def compile_template(source: str) -> Template:
    """Compile ``source``.

    :raises TemplateProblem: with the line of a syntax error
    """
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
        # What '~' joins is written as if it stood alone: Jinja would write Python's spelling of it.
        for joined in tree.find_all(nodes.Concat):
            joined.nodes = [nodes.Filter(part, "string", [], [], None, None) for part in joined.nodes]
        return Template(source=source, names=_free_names(env, tree), segments=_segments(env, tree))
    except TemplateSyntaxError as error:
        raise syntax_problem(error) from error


def lines_of(source: str, name: str) -> list[int]:
    """The lines of a template, counted from 1, on which ``name`` is read."""
    tree = environment().parse(source)
    return sorted({node.lineno for node in tree.find_all(nodes.Name) if node.name == name and node.ctx == "load"})


def _free_names(env: ImmutableSandboxedEnvironment, tree: nodes.Template) -> frozenset[str]:
    return frozenset(meta.find_undeclared_variables(tree)) - env.globals.keys()


def _segments(env: ImmutableSandboxedEnvironment, tree: nodes.Template) -> tuple[Segment, ...]:
    """One segment per top-level expression or statement; the whole template where a name outlives its statement."""
    if any(tree.find(kind) for kind in (nodes.Assign, nodes.AssignBlock, nodes.Macro, nodes.Block)):
        # What a statement sets is read by a later one, so they can't be evaluated apart.
        return (compile_segment(env, list(tree.body), 1),)
    parts: list[nodes.Node] = []
    for node in tree.body:
        parts.extend(node.nodes if isinstance(node, nodes.Output) else [node])
    segments: list[Segment] = []
    for part in parts:
        if isinstance(part, nodes.TemplateData):
            segments.append(Segment(text=part.data, names=frozenset(), line=part.lineno, evaluate=None))
        elif isinstance(part, nodes.Expr):
            segments.append(compile_segment(env, [nodes.Output([part], lineno=part.lineno)], part.lineno))
        else:
            segments.append(compile_segment(env, [part], part.lineno))
    return tuple(segments)


def compile_segment(env: ImmutableSandboxedEnvironment, body: list[nodes.Node], line: int) -> Segment:
    """The segment of some nodes of a tree, which begin at ``line`` of the template."""
    tree = nodes.Template(body, lineno=1)
    tree.set_environment(env)
    names = _free_names(env, tree)
    try:
        template = env.template_class.from_code(env, env.compile(tree), dict(env.globals))
    except TemplateProblem as problem:  # a constant that can't be written, such as {{ none }}
        raise TemplateProblem(problem.message, line=problem.line or line, hint=problem.hint) from None
    return Segment(text="", names=names, line=line, evaluate=_evaluator(template, names, line))


def _evaluator(template: Compiled, names: frozenset[str], line: int) -> Callable[[Mapping[str, Any]], str]:
    # ``template.render`` makes a new Jinja context for each call, and takes five times as long. One context is enough
    # if all of it is cleared: what a ``{% set %}`` left behind would show in the next prompt.
    scope = template.new_context({}, shared=True)
    root, constants, bound = template.root_render_func, dict(template.globals), scope.parent
    wanted = tuple(names)

    def evaluate(context: Mapping[str, Any]) -> str:
        scope.vars.clear()
        scope.exported_vars.clear()
        bound.clear()
        bound.update(constants)
        for name in wanted:
            if name in context:
                bound[name] = context[name]
        try:
            return "".join(root(scope))
        except (TemplateProblem, *_RENDER_ERRORS) as error:
            raise _rendering_problem(error, template, line) from error

    return evaluate


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
    items = [str(item) for item in values]
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


FILTERS: dict[str, Callable[..., Any]] = {made.__name__: made for made in (slug, oneline, article, join_and)}


# -- the sandbox -------------------------------------------------------------------------------------------------------


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


def _refusing(made: Callable[..., Any], *, of_items: bool) -> Callable[..., Any]:
    """A filter that refuses what ``{{ … }}`` would: it would write Python's spelling of it into a text.

    :param of_items: it joins the items of a list; where it is told to take a field of each, it sees to them itself
    """
    at = 1 if hasattr(made, "jinja_pass_arg") else 0  # behind what Jinja itself hands to it

    @wraps(made)
    def checked(*given: Any, **named: Any) -> Any:
        value = given[at]
        if not of_items:
            value = _finalize(value)
        elif len(given) <= at + 2 and "attribute" not in named:
            value = [*map(_finalize, value)]
        return made(*given[:at], value, *given[at + 1 :], **named)

    return checked


@cache
def environment() -> ImmutableSandboxedEnvironment:
    """The one Jinja environment of the program."""
    env = _Sandbox(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_finalize)
    env.filters = {name: env.filters[name] for name in SAFE_FILTERS} | {"format": _format, "tojson": _tojson} | FILTERS
    env.filters |= {name: _refusing(env.filters[name], of_items=False) for name in _OF_TEXT}
    env.filters |= {name: _refusing(env.filters[name], of_items=True) for name in _OF_TEXTS}
    env.tests = {name: env.tests[name] for name in SAFE_TESTS}
    env.globals = {name: env.globals[name] for name in SAFE_GLOBALS}
    env.policies["truncate.leeway"] = 0  # else Jinja leaves a text alone that is up to five characters too long
    return env


def _rendering_problem(error: Exception, template: Compiled, line: int) -> TemplateProblem:
    """What went wrong while ``template`` ran, at the line it had come to; ``line`` where that is not known."""
    line = _line_in(error.__traceback__, template) or line
    if isinstance(error, TemplateProblem):
        return TemplateProblem(error.message, line=error.line or line, word=error.word, hint=error.hint)
    if isinstance(error, UndefinedError):
        words: list[str] = re.findall(r"'([^']+)'", str(error))
        return TemplateProblem(_undefined_sentence(str(error)), line=line, word=words[-1] if words else None)
    if isinstance(error, RecursionError):
        return TemplateProblem("the template calls itself without end", line=line)
    return TemplateProblem(str(error).rstrip(".") or type(error).__name__, line=line)


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
    found = re.fullmatch(r"'(\w+)(?: object)?' has no (?:attribute|element) '?(.*?)'?", jinja)
    if found is None:
        return jinja
    return f"{_KINDS.get(found[1], 'the value')} has no field {found[2]!r}"


def syntax_problem(error: TemplateSyntaxError) -> TemplateProblem:
    """A syntax error with the next step."""
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
