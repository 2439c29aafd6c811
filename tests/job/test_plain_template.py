"""Templates compiled without Jinja are what Jinja makes of them: same parts, same names, same texts, same refusals."""

from __future__ import annotations

import keyword
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seedream_jobs.job.compile_template import compile_template
from seedream_jobs.job.jinja_template import jinja_template
from seedream_jobs.job.plain_template import FILTERS, JINJA_WORDS, plain_template
from seedream_jobs.job.sandbox import SAFE_FILTERS, SAFE_GLOBALS, environment
from seedream_jobs.job.template import Segment, TemplateProblem
from tests.lanes import examples

PLAIN = (
    "a dog",
    "a }} b { c % } #",
    "{{ a }}",
    "{{a}}{{b}}",
    "  {{\ta\t}} in {{ b.c.d }}\n\n{{ a|lower | slug }} \n",
    "{{ p['Prompt text'] }} { {{ p[\"}}\"].x | oneline }}}",
    "{{ p['a\"]b'] }}{{ p[\"a']b\"].x }}{{ p['x\"].c[\"d'] }}",
    "{{ p[''] }}{{ p['é'] }}{{ p[' c '].c }}",
    "{{ b.items }}{{ b.__class__ }}",
    "{{ class }}{{ _x1 }}",
)
"""Templates that need no Jinja."""

OTHER = (
    "{{ a | join(', ') }}",
    "{{ a | length }}",
    "{{ a.0 }}",
    "{{ a[0] }}",
    "{{ a\n}}",
    "{{ a\n| lower }}",
    "{{ a |\nlower }}",
    "{{- a }}",
    "{{ a -}}",
    "{{ a ~ b }}",
    "{{ 'a' }}",
    "{{ é }}",
    "{{ aé }}",
    "{{ a.bé }}",
    "{{ 1 }}",
    "{{ 1a }}",
    "{{ p['a\nb'] }}",
    "{{ p['\\x41'] }}",
    "{{ a }",
    "{{ }}",
    "{{{ a }}",
    "{{ a }}\r\nb",
    "{{ a }}\rb",
    "{# a #}",
    "{% if a %}b{% endif %}",
    "{{ a.b c }}",
    "{{ a | nothing }}",
    "{{ range }}",
)
"""Templates that are left to it."""

BOUND_BY_JINJA = ("caller", "joiner", "kwargs", "loop", "namespace", "range", "self", "super", "varargs")
"""Names that need not be what a context says: Jinja binds them, here or within some statement."""

VALUES: tuple[Any, ...] = (
    *("a Dog", "", " two  words\n", "{{ a }}", "<b>&", "Ǆé ß", 0, -7, 10**18, 0.1, 1e22, -0.0, True, False),
    *(None, [], ["x"], {}, OrderedDict(c="x"), ("x",), len),
)


def contexts() -> st.SearchStrategy[dict[str, Any]]:
    """Bindings of a few names, nested a few levels, some of them missing."""
    value = st.sampled_from(VALUES)
    field = st.sampled_from(
        ["a", "c", "d", "x", "items", "__class__", "Prompt text", "}}", 'a"]b', "a']b", 'x"].c["d', "", "é", " c "]
    )
    nested = st.recursive(value, lambda inner: st.dictionaries(field, inner, max_size=4), max_leaves=8)
    return st.dictionaries(st.sampled_from(["a", "b", "p", "_x1", "class"]), nested, max_size=5)


def templates() -> st.SearchStrategy[str]:
    """Texts in and around the grammar."""
    name = st.sampled_from(["a", "b", "p", "_x1", "class", "é", "none", "self", "range", "1", "'a'", ""])
    field = st.sampled_from(
        [".c", ".d", ".items", ".__class__", "['Prompt text']", '["}}"]', "['c']", "['\\n']", ".0", "[0]", "()", " .c"]
    ) | st.sampled_from(["['a\"]b']", '["a\']b"]', "['']", "['é']"])
    word = st.sampled_from([*FILTERS, *SAFE_FILTERS, "nothing", "join('-')", ""])
    blank = st.sampled_from(["", " ", "\t", "  ", "\n", "\xa0"])
    expression = st.builds(
        lambda opening, before, root, fields, words, after, closing: (
            opening + before + root + "".join(fields) + "".join(f"{before}|{after}{one}" for one in words) + closing
        ),
        st.sampled_from(["{{", "{{", "{{", "{{ ", "{{-", "{{+", "{", "{%", "{#"]),
        blank,
        name,
        st.lists(field, max_size=3),
        st.lists(word, max_size=2),
        blank,
        st.sampled_from(["}}", "}}", "}}", " }}", "-}}", "}", "}}}", "%}", "#}", ""]),
    )
    text = st.sampled_from(
        ["", " ", "\n", "\r\n", "\r", "a dog, ", "}}", "{", "%}", "#", "é\u2028", "\\", "'", "{{ a }}"]
    )
    return st.lists(st.one_of(text, expression, expression), max_size=6).map("".join)


def outcome(segment: Segment, context: dict[str, Any]) -> tuple[object, ...]:
    """The text of a segment, or everything that is said about why there is none."""
    assert segment.evaluate is not None
    try:
        return (segment.evaluate(context),)
    except TemplateProblem as problem:
        return (problem.message, problem.line, problem.word, problem.hint)


def agree(source: str, *values: dict[str, Any]) -> bool:
    """Whether ``source`` is read without Jinja; if it is, it is what Jinja reads."""
    plain = plain_template(source)
    if plain is None:
        return False
    if "{{" not in source:  # a text without any mark is taken as it is, line ends included
        assert [part.text for part in plain.segments] == [source]
        return True
    jinja = jinja_template(source)
    assert plain.names == jinja.names
    assert plain.source == jinja.source
    assert [(part.text, part.names, part.line) for part in plain.segments] == [
        (part.text, part.names, part.line) for part in jinja.segments
    ]
    for ours, theirs in zip(plain.segments, jinja.segments, strict=True):
        assert (ours.evaluate is None) == (theirs.evaluate is None)
        if ours.evaluate is not None:
            for context in values:
                assert outcome(ours, context) == outcome(theirs, context)
    return True


@given(source=templates(), context=contexts())
@settings(max_examples=examples(500), deadline=None)
@example(source="{{ a }}", context={"a": True})
@example(source="{{ a | slug }}", context={"a": None})
@example(source="{{ a | slug | upper }}{{ a | upper | slug }}", context={"a": "a Dog"})
@example(source="{{ p[' c '] }}", context={"p": {"c": "another field", " c ": "x"}})
@example(source="\n{{ a }}\n{{ b.c | upper }}", context={"a": 1, "b": {"d": 1}})
@example(source="{{ b.items }}", context={"b": OrderedDict(items="found after the method")})
@example(source="""{{ p['a"]b'] }}""", context={"p": {"a": "another field", 'a"]b': "x"}})
def test_either_left_to_jinja_or_the_same(source: str, context: dict[str, Any]) -> None:
    """For any template in and around the grammar, and any values."""
    agree(source, context)


@pytest.mark.parametrize("source", PLAIN)
@given(context=contexts())
@settings(max_examples=examples(50), deadline=None)
def test_what_needs_no_jinja(source: str, context: dict[str, Any]) -> None:
    """The common templates are read here, whatever their values."""
    assert agree(source, context)


@pytest.mark.parametrize("source", OTHER)
def test_what_needs_it(source: str) -> None:
    """What is more than putting values in, and what is wrong."""
    assert plain_template(source) is None


@pytest.mark.parametrize(
    "name", sorted({*keyword.kwlist, *keyword.softkwlist, *JINJA_WORDS, *BOUND_BY_JINJA, *SAFE_GLOBALS, "_", "l_0_a"})
)
def test_words_of_the_languages(name: str) -> None:
    """A word of Python's is a name like any other; one of Jinja's is left to it."""
    assert agree("{{ " + name + " }}", {name: "x"}, {}) == (name not in JINJA_WORDS)
    assert agree("{{ a." + name + " }}", {"a": {name: "x"}}, {"a": {}}, {"a": "x"})


@pytest.mark.parametrize("name", sorted(environment().filters))
def test_filters(name: str) -> None:
    """Each filter that is read here does to every value what Jinja's does."""
    assert agree("{{ a | " + name + " }}", {}, *({"a": value} for value in VALUES)) == (name in FILTERS)


def test_the_rendered_text_is_jinjas_own() -> None:
    """Beside Jinja's own way to render, not only beside the segments it is cut into."""
    source, context = (
        "{{ a }}, {{ b.c | upper }}\n{{ n }}{{ yes }}\n",
        {"a": "x", "b": {"c": "é"}, "n": 1.5, "yes": True},
    )
    assert compile_template(source).render(context) == environment().from_string(source).render(context)
