"""This module says what a template may do: an allow-list over its tree, and a count of its work while it runs.

Called by ``job.template`` and ``job.condition`` before anything is compiled, and by what they compile. Invariants: what
is not named here is refused at its line; no template, of whatever file, takes more than a fraction of a second or a few
megabytes for one text.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unicodedata import normalize

from jinja2 import Environment, Undefined, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError

MAX_SOURCE = 65_536
"""The longest template in characters."""

MAX_NODES = 3_000
"""The most parts (texts, names, operators …) of a template's tree: they take about 0.1 s to compile."""

MAX_NESTING = 30
"""How deep brackets may lie in each other: Jinja's parser takes 15 frames for each, of Python's 1,000."""

MAX_BLOCKS = 12
"""How deep blocks may lie in each other: Python compiles at most 20 loops within loops."""

MAX_DEPTH = 100
"""How deep a tree may be, also where no bracket shows it: ``a + b + c`` is two deep."""

MAX_DIGITS = 18
"""The longest number in a template; 64 bits hold any of them."""

MAX_WORK = 1_000_000
"""What a template may read and make for one text: characters and items; a round of a loop is 100 and more."""

CALL, ROUND, NODE = 10, 100, 10
"""What a call costs, a round of a loop, and each node of the loop's body in a round."""

SAFE_GLOBALS = ("range", "namespace", "joiner")
LOOP_METHODS = ("cycle", "changed")

BIGGEST = 2**63 - 1
"""The largest whole number that an operator may make."""


class NotAllowed(TemplateSyntaxError):
    """A part of a template that is not on the list, or beyond a bound.

    :param word: the text to point at within the line
    """

    def __init__(self, message: str, line: int, *, word: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, line)
        self.word: str | None = word
        self.hint: str | None = hint


def parse(env: Environment, source: str, *, comparison: str | None = None) -> nodes.Template:
    """The tree of a template in which every part is allowed and counts its work.

    :param comparison: the dotted name of the function that comparisons call, if not ``compare``
    :raises TemplateSyntaxError: for anything else
    """
    _check_tokens(env, source)
    try:
        tree = env.parse(source)
    except RecursionError:
        raise NotAllowed("the template is nested too deeply", 1, hint=_FLATTER) from None
    _check_tree(env, tree)
    bounded: nodes.Template = _bounded(tree, comparison or f"{__name__}.compare")
    return bounded


# -- before it is parsed -----------------------------------------------------------------------------------------------

_FLATTER = "give parts of it a name with {% set name = … %}"
_OPENING = frozenset({"for", "if", "with", "filter", "macro", "call", "block", "autoescape"})


def _check_tokens(env: Environment, source: str) -> None:
    """See that Jinja's parser, which recurses, and Python's numbers can take the template."""
    if len(source) > MAX_SOURCE:
        hint = "put what is long into an axis, a variable or a file"
        raise NotAllowed(f"the template has {len(source):,} characters: at most {MAX_SOURCE:,}", 1, hint=hint)
    brackets = blocks = 0
    opened = False
    for line, kind, text in env.lexer.tokeniter(source, None):
        if kind == "operator":
            brackets += (text in "([{") - (text in ")]}")
        elif kind == "integer":
            if len(text.replace("_", "")) > MAX_DIGITS:
                raise NotAllowed(f"a number has more than {MAX_DIGITS} digits", line, hint="write a smaller one")
        elif kind == "float":
            if not math.isfinite(float(text)):
                raise NotAllowed("a number is too large", line, hint="write a smaller one")
        elif kind == "name" and opened:
            # "set" is not counted, as most have no end; so "endset" is not counted either.
            blocks += (text in _OPENING) - (text.startswith("end") and text != "endset")
        if kind != "whitespace":
            opened = kind == "block_begin"
        if brackets > MAX_NESTING or blocks > MAX_BLOCKS:
            what = f"brackets are nested more than {MAX_NESTING} deep"
            if blocks > MAX_BLOCKS:
                what = f"blocks are nested more than {MAX_BLOCKS} deep"
            raise NotAllowed(what, line, hint=_FLATTER)


# -- the allow-list ----------------------------------------------------------------------------------------------------

_NO_FILE = "a template reads no other file"
_NO_CALL = "a template calls nothing of its own"
_REFUSED: dict[type[nodes.Node], tuple[str, str, str]] = {
    nodes.Include: ("include", _NO_FILE, "a file's lines are an axis: {from: FILE}"),
    nodes.Import: ("import", _NO_FILE, "write its text here"),
    nodes.FromImport: ("from … import", _NO_FILE, "write its text here"),
    nodes.Extends: ("extends", _NO_FILE, "write its text here"),
    nodes.Macro: ("macro", _NO_CALL, "write {% for %} or {% set %}"),
    nodes.CallBlock: ("call", _NO_CALL, "write {% for %} or {% set %}"),
    nodes.Block: ("block", "there is no template above this one", "write its text without the block"),
    nodes.ScopedEvalContextModifier: ("autoescape", "prompts are not HTML", "leave it out"),
}
_PLAIN = frozenset(
    {
        *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.With, nodes.Assign, nodes.AssignBlock),
        *(nodes.FilterBlock, nodes.Tuple, nodes.List, nodes.Dict, nodes.Pair, nodes.CondExpr, nodes.Scope),
        *(nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos, nodes.Compare, nodes.Operand, nodes.Concat),
        *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow),
    }
)
"""Nodes that need no look: their parts are looked at. A ``Scope`` is made by ``autoescape`` alone, which is refused."""

_INSTEAD = {
    "format": "write '%s, %s' | format(a, b)",
    "get": "write .name | default('…')",
    "index": "write {% for %} with loop.index",
    "keys": "write | list",
    "ljust": "write '%-20s' | format(text)",
    "rjust": "write '%20s' | format(text)",
    "zfill": "write '%05d' | format(number)",
    "splitlines": "write | split('\\n')",
    "startswith": "write text[:2] == 'ab'",
    "endswith": "write text[-2:] == 'yz'",
    "strip": "write | trim",
    "swapcase": "write | upper or | lower",
    "casefold": "write | lower",
    "values": "write | items and take the second of each",
    **{name: f"write | {name}" for name in ("capitalize", "count", "items", "lower", "split", "title", "upper")},
    "join": "write list | join(', ')",
    "replace": "write | replace('old', 'new')",
}
"""What does the work of a method."""


def _check_tree(env: Environment, tree: nodes.Template) -> None:
    callable_names = {*SAFE_GLOBALS, *_joiners(tree)}
    line, count = 1, 0
    todo: list[tuple[nodes.Node, nodes.Node | None, int]] = [(tree, None, 0)]
    while todo:
        node, parent, depth = todo.pop()
        line, count = node.lineno or line, count + 1
        if count > MAX_NODES:
            hint = "put what differs into an axis, a variable or a file"
            raise NotAllowed(f"the template has more than {MAX_NODES:,} parts", line, hint=hint)
        if depth > MAX_DEPTH:
            raise NotAllowed(f"the template is more than {MAX_DEPTH} deep", line, hint=_FLATTER)
        if type(node) not in _PLAIN:
            _check_node(env, node, parent, line, callable_names)
        # Reversed, because the last one is taken first: the finding is then the first one in the text.
        todo.extend((child, node, depth + 1) for child in reversed([*node.iter_child_nodes()]))


def _joiners(tree: nodes.Template) -> set[str]:
    """Names that are set to a ``joiner`` and to nothing else: they are called."""
    found: set[str] = set()
    other: set[str] = set()
    for node in _all(tree):
        if isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name):
            made = node.node.node if isinstance(node.node, nodes.Call) else None
            joins = isinstance(made, nodes.Name) and made.name == "joiner"
            (found if joins else other).add(node.target.name)
    return found - other


def _all(tree: nodes.Node) -> Iterator[nodes.Node]:
    """Every node of a tree, however deep: Jinja's own walk recurses."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(node.iter_child_nodes())


def _check_node(env: Environment, node: nodes.Node, parent: nodes.Node | None, line: int, known: set[str]) -> None:
    match node:
        case nodes.Const():
            if isinstance(node.value, str) and not is_text(node.value):
                raise NotAllowed("a text holds half a character (a lone surrogate)", line, hint="write it whole")
        case nodes.Name():
            if node.name in ("self", "super") or (node.name.startswith("_") and node.name != "_"):
                raise NotAllowed(f"the name {node.name!r} is not available", line, word=node.name, hint="rename it")
        case nodes.NSRef():
            if node.attr.startswith("_"):
                raise NotAllowed(f"the name {node.attr!r} is not available", line, word=node.attr, hint="rename it")
        case nodes.For():
            if node.recursive:
                raise NotAllowed("a loop can't be 'recursive'", line, word="recursive", hint="write a loop in it")
        case nodes.Getattr():
            _check_field(node, parent, line)
        case nodes.Getitem():
            if isinstance(node.arg, nodes.Const) and str(node.arg.value).startswith("__"):
                raise _unsafe(node.arg.value, line)
        case nodes.Slice():
            if not isinstance(parent, nodes.Getitem):
                raise NotAllowed("a slice stands alone in its brackets", line, hint="write text[1:3]")
        case nodes.Filter() | nodes.Test():
            kind, names = ("filter", env.filters) if isinstance(node, nodes.Filter) else ("test", env.tests)
            if node.name not in names:
                raise TemplateSyntaxError(f"No {kind} named {node.name!r}.", line)
            _check_arguments(node, line)
        case nodes.Call():
            _check_call(node, line, known)
            _check_arguments(node, line)
        case nodes.Keyword():
            if node.key.startswith("_"):
                raise NotAllowed(f"the name {node.key!r} is not available", line, word=node.key, hint="leave it out")
        case _:
            written, why, hint = _REFUSED.get(type(node), (type(node).__name__, "it is not on the list", ""))
            message = f"'{{% {written} %}}' is not available: {why}"
            raise NotAllowed(message, line, word=written.split()[0], hint=hint or "docs/templates.md lists what is")


def _check_field(node: nodes.Getattr, parent: nodes.Node | None, line: int) -> None:
    if node.attr.startswith("_"):
        raise _unsafe(node.attr, line)
    of_loop = isinstance(node.node, nodes.Name) and node.node.name == "loop"
    if of_loop and node.attr in LOOP_METHODS and not isinstance(parent, nodes.Call):
        raise NotAllowed(f"loop.{node.attr} is a function", line, word=node.attr, hint="call it with ()")


def _unsafe(name: str, line: int) -> NotAllowed:
    hint = "fields of data only; one whose name begins with _ is written row['_name']"
    return NotAllowed(f"access to {name!r} is unsafe", line, word=name, hint=hint)


def _check_call(node: nodes.Call, line: int, known: set[str]) -> None:
    called = node.node
    if isinstance(called, nodes.Name):
        if called.name in known:
            return
        hint = f"the functions are {', '.join(SAFE_GLOBALS)}; what has a | before it is a filter"
        raise NotAllowed(f"{called.name!r} is no function", line, word=called.name, hint=hint)
    if isinstance(called, nodes.Getattr):
        of_loop = isinstance(called.node, nodes.Name) and called.node.name == "loop"
        if of_loop and called.attr in LOOP_METHODS:
            return
        hint = _INSTEAD.get(called.attr, "write a filter: docs/templates.md lists them")
        raise NotAllowed(f"a template calls no methods: .{called.attr}()", line, word=called.attr, hint=hint)
    raise NotAllowed("only a function can be called", line, hint=f"the functions are {', '.join(SAFE_GLOBALS)}")


def _check_arguments(node: nodes.Call | nodes.Filter | nodes.Test, line: int) -> None:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise NotAllowed("* and ** before an argument are not available", line, hint="write each argument")
    names = [normalize("NFKC", str(keyword.key)) for keyword in node.kwargs]  # as Python reads them
    if len(set(names)) < len(names):
        raise NotAllowed("an argument is given twice", line, hint="leave one of them out")


def is_text(text: str) -> bool:
    """Whether it can be written: half a character, a lone surrogate, can't."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


# -- the same tree, counting -------------------------------------------------------------------------------------------


def _bounded(node: Any, comparison: str) -> Any:
    """The tree with each part that may be expensive turned into one that counts."""
    for field, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, field, [_bounded(one, comparison) if isinstance(one, nodes.Node) else one for one in value])
        elif isinstance(value, nodes.Node):
            setattr(node, field, _bounded(value, comparison))
    line = node.lineno
    match node:
        case nodes.Compare():
            written = ",".join(operand.op for operand in node.ops)
            return _call(comparison, [nodes.Const(written), node.expr, *(operand.expr for operand in node.ops)], line)
        case nodes.Concat():
            # What '~' joins is written as if it stood alone: Jinja would write Python's spelling of it.
            node.nodes = [nodes.Filter(part, "string", [], [], None, None, lineno=line) for part in node.nodes]
        case nodes.For():
            inside = [part for body in node.body for part in _all(body)]
            texts = sum(len(part.data) for part in inside if isinstance(part, nodes.TemplateData))
            cost = nodes.Const(ROUND + NODE * len(inside) + texts)
            node.iter = _call(f"{__name__}.rounds", [node.iter, cost], line)
        case nodes.Getitem(arg=nodes.Slice() as cut):
            ends = [nodes.Const(None) if end is None else end for end in (cut.start, cut.stop, cut.step)]
            return _call(f"{__name__}.sliced", [node.node, *ends], line)
        case nodes.List() | nodes.Dict() | nodes.Tuple(ctx="load"):
            # A list of constants is no larger than its source, which is bounded.
            if any(not isinstance(part, nodes.Const | nodes.Pair) for part in _all(node) if part is not node):
                return _call(f"{__name__}.measured", [node], line)
    return node


def _call(name: str, arguments: list[Any], line: int) -> nodes.Call:
    return nodes.Call(nodes.ImportedName(name), arguments, [], None, None, lineno=line)


# -- while it runs -----------------------------------------------------------------------------------------------------


class TooMuch(SecurityError):
    """A template that reads or makes more than ``MAX_WORK`` for one text."""

    def __init__(self) -> None:
        super().__init__(f"the template does too much: more than {MAX_WORK:,} characters and items for one text")


class Work:
    """What is left of ``MAX_WORK`` for the text that is being made. One for the process: texts are made in turn."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left: int = MAX_WORK


WORK = Work()


def spend(units: int) -> None:
    """Count ``units``, before they are read or made.

    :raises TooMuch: if they are not left
    """
    WORK.left -= units
    if WORK.left < 0:
        raise TooMuch


def weight(value: Any) -> int:
    """The characters and items of a value, and of all within it.

    :raises TooMuch: if there are more than are left
    """
    if type(value) is str:
        return len(value)
    if not isinstance(value, dict | list | tuple):
        return 1
    total = 0
    todo: list[Any] = [value]
    while todo:
        one = todo.pop()
        total += 1
        if type(one) is str:
            total += len(one)
        elif isinstance(one, dict):
            todo.extend(one.keys())
            todo.extend(one.values())
        elif isinstance(one, list | tuple):
            todo.extend(one)
        if total + len(todo) > WORK.left:
            raise TooMuch
    return total


def measured(value: Any) -> Any:
    """A list or mapping that a template makes, counted: ``{% set a = [a, a] %}`` doubles it with each line."""
    spend(weight(value))
    return value


def rounds(values: Iterable[Any], cost: int) -> Iterator[Any]:
    """The values of a loop, each counted when its round begins."""
    for value in values:
        spend(cost)
        yield value


def sliced(value: Any, start: Any, stop: Any, step: Any) -> Any:
    """``value[start:stop:step]``."""
    if isinstance(value, Undefined):
        return value[0]  # says what is undefined
    spend(CALL + len(value))
    return value[start:stop:step]


OPERATORS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "eq": ("==", operator.eq),
    "ne": ("!=", operator.ne),
    "lt": ("<", operator.lt),
    "lteq": ("<=", operator.le),
    "gt": (">", operator.gt),
    "gteq": (">=", operator.ge),
    "in": ("in", lambda a, b: a in b),
    "notin": ("not in", lambda a, b: a not in b),
}
"""Jinja's names of the operators that compare: how each is written, and what it does."""


def compare(written: str, left: Any, *rights: Any) -> bool:
    """``left op right op right …``; ``written`` has Jinja's names of the operators, with commas."""
    if type(left) is str and written == "eq" and type(rights[0]) is str:  # most are: kept short
        WORK.left -= CALL
        return bool(left == rights[0])
    for name, right in zip(written.split(","), rights, strict=True):
        count_comparison(name, left, right)
        if not OPERATORS[name][1](left, right):
            return False
        left = right
    return True


def count_comparison(name: str, left: Any, right: Any) -> None:
    """Count what a comparison reads."""
    if isinstance(left, str) and isinstance(right, str):
        # "in" searches all of the right text; the other comparisons end with the shorter one.
        spend(CALL + (len(right) if name in ("in", "notin") else min(len(left), len(right))))
    elif name in ("in", "notin") and not isinstance(left, dict | list | tuple):
        spend(CALL + (len(right) if isinstance(right, list | tuple | range) else 0))
    else:
        spend(CALL + weight(left) + weight(right))
