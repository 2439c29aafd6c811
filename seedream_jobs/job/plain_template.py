"""Templates that only put values in, such as ``{{ subject }}, {{ style.text | lower }}``, compiled without Jinja.

Most prompts are such templates, and importing Jinja costs as much as a small job's whole validation. A small part of
its grammar is read here, and a small part of its values is written: texts and numbers, found in plain mappings.
Anything else is Jinja's: a template that has more in it, and a value that is missing, null, a list …, which the same
segment as Jinja compiles it then writes or refuses, in its own words. A differential test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from seedream_jobs.job.filters import article, oneline, slug
from seedream_jobs.job.template import Segment, Template, constant

Evaluate = Callable[[Mapping[str, Any]], str]

# fmt: off
JINJA_WORDS = frozenset({
    "and", "caller", "else", "false", "False", "if", "in", "is", "joiner", "kwargs", "loop", "namespace", "none",
    "None", "not", "or", "range", "self", "super", "true", "True", "varargs",
})
# fmt: on
"""Names that mean something else to Jinja than the value bound to them."""

FILTERS: dict[str, Callable[[Any], str]] = {
    "article": article,
    "capitalize": lambda value: str(value).capitalize(),
    "lower": lambda value: str(value).lower(),
    "oneline": oneline,
    "slug": slug,
    "string": str,
    "trim": lambda value: str(value).strip(),
    "upper": lambda value: str(value).upper(),
}
"""The filters that are read here; their arguments are not."""

_SUBSTITUTION = re.compile(
    r"""\{\{[ \t]*
        ([A-Za-z_]\w*)                                                        # a name,
        ((?: \.[A-Za-z_]\w* | \['[^'\\\n]*'\] | \["[^"\\\n]*"\] )*)           # a field in it,
        ((?: [ \t]*\|[ \t]*[a-z]+ )*)                                         # filters without arguments
        [ \t]*\}\}""",
    re.ASCII | re.VERBOSE,
)
_FIELD = re.compile(r"""\.(\w+) | \[(['"]) (.*?) \2\]""", re.VERBOSE)  # a key ends with the quote it began with
_PLAIN = (str, int, float, bool)


def plain_template(source: str) -> Template | None:
    """The template in ``source``; None where it takes Jinja to read it, or to say what is wrong with it."""
    if "{%" in source or "{#" in source:
        return None
    if "{{" not in source:
        return Template(source=source, names=frozenset(), segments=(constant(source),))
    if "\r" in source:  # which Jinja makes a line feed of
        return None
    segments: list[Segment] = []
    by_jinja = _by_jinja(source)
    end = 0
    while (start := source.find("{{", end)) >= 0:
        found = _SUBSTITUTION.match(source, start)
        if found is None or found[1] in JINJA_WORDS:
            return None
        filters = [word.strip() for word in found[3].split("|")[1:]]
        if not all(word in FILTERS for word in filters):
            return None
        if start > end:
            segments.append(constant(source[end:start]))
        end = found.end()
        segments.append(
            Segment(
                text="",
                names=frozenset({found[1]}),
                line=source.count("\n", 0, start) + 1,
                evaluate=_evaluator(
                    found[1],
                    tuple(field or subscript for field, _, subscript in _FIELD.findall(found[2])),
                    tuple(FILTERS[word] for word in filters),
                    by_jinja(len(segments)),
                ),
            )
        )
    if end < len(source):
        segments.append(constant(source[end:]))
    return Template(
        source=source, names=frozenset().union(*(part.names for part in segments)), segments=tuple(segments)
    )


def _evaluator(
    name: str, fields: tuple[str, ...], filters: tuple[Callable[[Any], str], ...], otherwise: Evaluate
) -> Evaluate:
    """What writes the value of a name, or of a field in it; ``otherwise`` writes or refuses what is not plain."""

    def evaluate(context: Mapping[str, Any]) -> str:
        try:
            value = context[name]
            for field in fields:
                if type(value) is not dict:
                    return otherwise(context)
                value = value[field]
        except KeyError:
            return otherwise(context)
        if type(value) not in _PLAIN:
            return otherwise(context)
        if type(value) is bool:
            value = "true" if value else "false"
        for written in filters:
            value = written(value)
        return value if type(value) is str else str(value)

    return evaluate


def _by_jinja(source: str) -> Callable[[int], Evaluate]:
    """The segments of ``source`` as Jinja compiles them, by their number; compiled when one is first asked."""

    @cache
    def compiled() -> Template:
        from seedream_jobs.job.jinja_template import jinja_template  # for the rare value only

        return jinja_template(source)

    def segment(number: int) -> Evaluate:
        def evaluate(context: Mapping[str, Any]) -> str:
            written = compiled().segments[number].evaluate
            assert written is not None  # the two cut a template at the same places
            return written(context)

        return evaluate

    return segment
