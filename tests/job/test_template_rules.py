"""The bounds of templates: what holds at a bound goes, one more is refused, and nothing runs while it compiles."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import Undefined, nodes
from jinja2.exceptions import TemplateSyntaxError, UndefinedError

from seedream_jobs.expand.request_builder import Column
from seedream_jobs.job import template as module
from seedream_jobs.job.condition import compile_condition
from seedream_jobs.job.template import FILTERS, TemplateProblem, compile_template, environment
from seedream_jobs.job.template_rules import (
    _INSTEAD,
    _PLAIN,
    _REFUSED,
    MAX_BLOCKS,
    MAX_DEPTH,
    MAX_NESTING,
    MAX_NODES,
    MAX_SOURCE,
    OPERATORS,
    WORK,
    NotAllowed,
    TooMuch,
    Work,
    compare,
    is_text,
    measured,
    parse,
    rounds,
    sliced,
    spend,
    weight,
)


def within(times: int, opening: str, closing: str, inner: str = "x") -> str:
    return opening * times + inner + closing * times


def squared(rounds: int) -> str:
    return f"{{% for a in range({rounds}) %}}{{% for b in range({rounds}) %}}{{% endfor %}}{{% endfor %}}x"


BOUNDS = {
    "source": ("x" * MAX_SOURCE, "x" * (MAX_SOURCE + 1), "characters"),
    "brackets": (
        "{{ " + within(MAX_NESTING, "(", ")", "1") + " }}",
        "{{ " + within(MAX_NESTING + 1, "[", "]") + " }}",
        "brackets",
    ),
    "blocks": (
        within(MAX_BLOCKS, "{% if 1 %}", "{% endif %}"),
        within(MAX_BLOCKS + 1, "{% with %}", "{% endwith %}"),
        "blocks",
    ),
    "depth": ("{{ 1" + "+1" * (MAX_DEPTH - 2) + " }}", "{{ 1" + "+1" * (MAX_DEPTH - 1) + " }}", "deep"),
    "parts": ("{{1}}" * (MAX_NODES - 2), "{{1}}" * (MAX_NODES - 1), "parts"),
    "digits": ("{{ 999999999999999999 }}", "{{ 9999999999999999999 }}", "digits"),
    "loops": ("{% for a in range(9000) %}{% endfor %}x", "{% for a in range(10001) %}{% endfor %}x", "too much"),
    "rounds": (squared(80), squared(101), "too much"),
    "text": ("{{ 'x' * 65536 }}", "{{ 'x' * 65537 }}", "65,537 characters"),
    "repeated": ("{{ ('x' * 100000)[:1] }}", "{{ ('x' * 100001)[:1] }}", "longer than 100,000"),
    "whole numbers": ("{{ 3037000499 * 3037000499 }}", "{{ 3037000500 * 3037000500 }}", "too large"),
    "sums": ("{{ '9223372036854775807' | int }}", "{{ '9223372036854775808' | int }}", "too large"),
    "width": ("{{ '%999d' | format(1) }}", "{{ '%1000d' | format(1) }}", "three digits"),
    "indent": ("{{ 'a' | indent(100) }}", "{{ 'a' | indent(101) }}", "100 characters"),
    "round": ("{{ 1.5 | round(30) }}", "{{ 1.5 | round(31) }}", "precision"),
    "range": ("{{ range(100000) | length }}", "{{ range(100001) | length }}", "100,000 numbers"),
}


@pytest.mark.parametrize(("held", "refused", "said"), BOUNDS.values(), ids=BOUNDS)
def test_each_bound(held: str, refused: str, said: str) -> None:
    """What is at the bound is made; what is beyond it is refused by that bound, soon and in little memory."""
    assert compile_template(held).render({})
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(TemplateProblem, match=said):
        compile_template(refused).render({})
    assert time.process_time() - began < 5
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()


def test_every_node_is_decided() -> None:
    """Jinja's nodes are all allowed, looked at, or refused; a new one of a later Jinja is refused."""
    looked_at = {nodes.Const, nodes.Name, nodes.NSRef, nodes.For, nodes.Getattr, nodes.Getitem, nodes.Slice}
    looked_at |= {nodes.Filter, nodes.Test, nodes.Call, nodes.Keyword}
    assert not looked_at & _PLAIN
    assert not _PLAIN & _REFUSED.keys() & looked_at
    calling = {nodes.Macro, nodes.CallBlock, nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block}
    internal = {nodes.ImportedName, nodes.EnvironmentAttribute, nodes.ExtensionAttribute, nodes.InternalName}
    internal |= {nodes.ContextReference, nodes.DerivedContextReference, nodes.MarkSafe, nodes.MarkSafeIfAutoescape}
    assert not (calling | internal) & (_PLAIN | looked_at)


def test_nothing_runs_while_it_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """No filter, test, operator or conversion: constant folding is off, also where names are looked for."""
    called: list[Any] = []
    env = environment()
    monkeypatch.setattr(env, "filters", {name: lambda *given: called.append(given) or "x" for name in env.filters})
    monkeypatch.setattr(env, "tests", {name: lambda *given: called.append(given) or True for name in env.tests})
    monkeypatch.setattr(env, "finalize", lambda value: called.append(value) or value)
    env.finalize.jinja_pass_arg = module._finalize.jinja_pass_arg  # type: ignore[union-attr]
    text = "{{ 'a' | upper }}{{ 'a' * 3 }}{{ 1 if 'a' is upper else 2 }}{% set x = 'b' | lower %}{{ [1, 2] | sum }}"
    compile_template(text)
    compile_condition("'a' | upper == 'b' * 3 and 3 is odd")
    assert called == []


def test_every_filter_is_bounded() -> None:
    """A filter of Jinja is replaced, or makes no more than it is given."""
    small = {"abs", "count", "d", "default", "first", "float", "last", "length"}
    assert {name for name, made in FILTERS.items() if made is module.of_jinja.FILTERS.get(name)} == small
    assert environment().filters == FILTERS


def test_a_value_in_itself_is_measured_once_for_each_place() -> None:
    """Shared parts count as often as a walk would meet them."""
    WORK.left = 10_000
    value: list[Any] = ["ab"]
    for _ in range(5):
        value = [value, value]
    assert weight(value) == 63 + 32 * 3
    for _ in range(60):
        value = [value, value]
    with pytest.raises(Exception, match="too much"):
        weight(value)


def test_a_segment_that_was_too_much_is_not_tried_for_ever() -> None:
    """A thousand requests would each do as much as one may."""
    template = compile_template("{{ a }}{% for b in range(99999) %}{% endfor %}")
    for _ in range(6):
        with pytest.raises(TemplateProblem, match="too much") as first:
            template.render({"a": 1})
    began = time.process_time()
    for _ in range(1000):
        with pytest.raises(TemplateProblem, match="too much") as last:
            template.render({"a": 1})
    assert time.process_time() - began < 1
    assert (last.value.line, last.value.hint) == (first.value.line, first.value.hint)


def test_texts_of_an_axis_are_kept_up_to_a_bound() -> None:
    """Texts of 60,000 characters for each of many values would fill the memory."""
    segment = compile_template("{{ 'x' * 60000 ~ a }}").segments[0]

    axis = SimpleNamespace(names=("a",), values=[SimpleNamespace(bindings=[number]) for number in range(10)])
    column = Column(segment, 0, SimpleNamespace(axes=(axis,), vars={}))  # type: ignore[arg-type]
    column.room = 200_000
    assert [column.text(index)[-1] for index in range(10)] == list("0123456789")
    assert sum(text is not None for text in column.texts) == 3


@pytest.mark.parametrize("name", ["_", "a_b", "é"])
def test_plain_names_go(name: str) -> None:
    """A name for what is not needed is '_'."""
    parse(environment(), f"{{% for {name} in [1] %}}x{{% endfor %}}")


REFUSALS = Path(__file__).parent / "template_refusals.golden"


def refusal(text: str) -> str:
    """Line, word, message and next step with which a template is refused."""
    with pytest.raises(TemplateSyntaxError) as caught:
        parse(environment(), text)
    error = caught.value
    word, hint = getattr(error, "word", None), getattr(error, "hint", None)
    return f"{error.lineno} [{word or ''}] {error.message}" + (f" | {hint}" if hint else "")


def redrawn(page: str) -> str:
    """Each template of the file, and under it what is said of it; ``⏎`` is a line's end."""
    texts = [line for line in page.splitlines() if line and not line.startswith("    ")]
    return "".join(f"{text}\n    {refusal(text.replace('⏎', chr(10)))}\n" for text in texts)


def test_each_refusal_says_where_what_and_what_to_write_instead() -> None:
    """As tests/job/template_refusals.golden has it; to redraw it, run this file as a program."""
    page = REFUSALS.read_text("utf-8")
    assert redrawn(page) == page
    methods = [*_INSTEAD]
    assert [name for name in methods if f".{name}() }}}}" not in page] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("⏎" + "x" * 65_536, "1 [] the template has 65,537 characters: at most 65,536 | "
         "put what is long into an axis, a variable or a file"),
        ("⏎" + "{{1}}" * 3_000, "2 [] the template has more than 3,000 parts | "
         "put what differs into an axis, a variable or a file"),
        ("⏎{{ 1" + "+1" * 100 + " }}", "2 [] the template is more than 100 deep | "
         "give parts of it a name with {% set name = … %}"),
        ("⏎{{ " + within(31, "{1:", "}") + " }}", "2 [] brackets are nested more than 30 deep | "
         "give parts of it a name with {% set name = … %}"),
        ("⏎" + within(13, "{% for a in b %}", "{% endfor %}"), "2 [] blocks are nested more than 12 deep | "
         "give parts of it a name with {% set name = … %}"),
        ("{{ " + "-" * 3000 + "1 }}", "1 [] the template is nested too deeply | "
         "give parts of it a name with {% set name = … %}"),
    ],
    ids=["source", "parts", "depth", "brackets", "blocks", "signs"],
)  # fmt: skip
def test_each_bound_of_the_text_says_what_it_is(text: str, said: str) -> None:
    """In figures, at its line."""
    assert refusal(text.replace("⏎", "\n")) == said


@pytest.mark.parametrize(
    "text",
    [
        "{{ (1) }}" * 31,
        "{% if 1 %}{% endif %}" * 13,
        "{% filter upper %}x{% endfilter %}" * 13,
        "{% set a = 1 %}" * 13,
        "{% if 1 %}{% set a %}x{% endset %}{% endif %}" * 13,
        "{{ for if if if if if if if if if if if if if if }}".replace("for", "1").replace("if", "~ iffy"),
        "{{ end }}" * 3 + within(12, "{% if end %}", "{% endif %}"),
        "if for with" * 20,
        "{{ 1 if 1 else 2 }}" * 13,
        "{{ block }}" * 13,
        "{{ 'a' | indent(width=2, first=true) }}",
        "{{ 123_456_789_012_345_678 }}",
        "{{ 1e308 }}",
        "{{ '[' * 2 }}" * 31,
        "{% set j = joiner(',') %}{{ j() }}",
        "{% for a in b %}{{ loop.cycle('x', 'y') }}{{ loop.changed(a) }}{{ loop.index }}{% endfor %}",
        "{{ a['_b'] }}{{ a[1:2] }}{{ a[:-1] }}{{ cycle.cycle }}",
        "{% set n = namespace(a=1) %}{% set n.b = 2 %}",
        "{{ '\U0001f600' }}",
    ],
)
def test_what_is_no_more_than_it_seems_goes(text: str) -> None:
    """What is closed is counted no more, and a word or a bracket within a text never."""
    parse(environment(), text)


@pytest.mark.parametrize("kind", ["for a in b", "if 1", "with", "filter upper", "set a"])
def test_blocks_of_each_kind_count(kind: str) -> None:
    """Thirteen within each other are refused, but not a text that is set, as Python nests nothing for it."""
    text = within(13, f"{{% {kind} %}}", f"{{% end{kind.split()[0]} %}}")
    if kind == "set a":
        parse(environment(), text)
    else:
        assert "blocks are nested" in refusal(text)


def test_what_ends_a_text_that_is_set_closes_no_block() -> None:
    """Its beginning did not count, so that its end does not."""
    assert "blocks are nested" in refusal("{% set a %}{% endset %}" * 3 + within(13, "{% if 1 %}", "{% endif %}"))


def test_what_is_nested_too_deeply_is_named() -> None:
    """Brackets, where the blocks around them are as many as there may be."""
    assert "brackets are nested" in refusal(
        within(12, "{% if 1 %}", "{% endif %}", "{{ " + within(31, "[", "]") + " }}")
    )


@pytest.mark.parametrize("kind", ["macro a()", "call a()", "block a", "autoescape true"])
def test_blocks_that_are_refused_anyhow_count_before_they_are_parsed(kind: str) -> None:
    """Jinja's parser recurses for them as well."""
    assert "blocks are nested" in refusal(within(13, f"{{% {kind} %}}", f"{{% end{kind.split()[0]} %}}"))


def test_half_a_character_is_no_text() -> None:
    """From the first to the last surrogate."""
    assert [is_text(text) for text in ("", "a", "é", "\ud7ff", "\ud800", "\udfff", "\ue000", "é\udc00")] == [
        *(True, True, True, True, False, False, True, False)
    ]


def test_what_counts_is_wrapped_and_nothing_else() -> None:
    """A tree as it is compiled: comparisons, joined texts, loops, slices, and lists that hold more than constants."""
    rules = "seedream_jobs.job.template_rules."
    text = "{% for a, b in c %}xyz{{ a }}{% endfor %}{{ d ~ 1 }}{{ e < 1 != 2 }}{{ f[1:] }}{{ [g] }}{{ [1, {'h': 2}] }}"
    text += "{{ {'i': j} }}{{ (k, 1) }}{{ l[1] }}{{ (1, 2) }}{{ m[:o:p] }}"
    tree = parse(environment(), text)
    found = [
        (call.node.importname.removeprefix(rules), *[getattr(one, "value", None) for one in call.args])
        for call in tree.find_all(nodes.Call)
    ]
    assert found == [
        ("rounds", None, 133),
        ("compare", "lt,ne", None, 1, 2),
        ("sliced", None, 1, None, None),
        *[("measured", None)] * 4,
        ("sliced", None, None, None, None),
    ]
    assert [one.name for one in tree.find_all(nodes.Filter)] == ["string", "string"]
    assert {type(call.args[0]) for call in tree.find_all(nodes.Call)} == {
        *(nodes.Name, nodes.Const, nodes.List, nodes.Dict, nodes.Tuple)
    }
    sliced_by = [call.args for call in tree.find_all(nodes.Call) if call.node.importname.endswith("sliced")]
    assert [getattr(one, "name", None) for one in sliced_by[1]] == ["m", None, "o", "p"]


def test_what_counts_keeps_its_line() -> None:
    """An error while it runs is shown there."""
    tree = parse(environment(), "\n{{ a ~ b }}\n{{ a < b }}\n{{ a[1:] }}\n{{ [a] }}\n{% for a in b %}{% endfor %}")
    assert [call.lineno for call in tree.find_all((nodes.Call, nodes.Filter))] == [2, 2, 3, 4, 5, 6]


def test_a_condition_compares_by_a_function_of_its_own() -> None:
    """Whose name is given; otherwise by the one here."""
    for given, used in ((None, "seedream_jobs.job.template_rules.compare"), ("a.b", "a.b")):
        (call,) = parse(environment(), "{{ 1 < 2 }}", comparison=given).find_all(nodes.Call)
        assert call.node.importname == used


def test_an_operator_is_written_as_the_language_has_it() -> None:
    """So that what is said of a comparison can be typed."""
    for name, (written, _) in OPERATORS.items():
        (call,) = parse(environment(), f"{{{{ a {written} b }}}}").find_all(nodes.Call)
        assert call.args[0].value == name


def test_what_a_new_jinja_brings_is_refused_until_it_is_listed() -> None:
    """By its node's name."""
    with pytest.raises(NotAllowed) as caught:
        parse(environment().overlay(extensions=["jinja2.ext.do"]), "{% do a %}")
    assert caught.value.message == "'{% ExprStmt %}' is not available: it is not on the list"
    assert (caught.value.word, caught.value.hint) == ("ExprStmt", "docs/templates.md lists what is")


def cost(work: Callable[[], Any], left: int = 10_000) -> tuple[Any, int]:
    """What a function returns, and what it spends."""
    WORK.left = left
    result = work()
    return result, left - WORK.left


@pytest.mark.parametrize(
    ("written", "values", "expected"),
    [
        ("eq", ("abc", "abc"), (True, 10)),
        ("eq", ("abc", "abd"), (False, 10)),
        ("ne", ("abc", "ab"), (True, 12)),
        ("lt", ("abc", "de"), (True, 12)),
        ("lt", ("de", "abc"), (False, 12)),
        ("in", ("b", "abcdef"), (True, 16)),
        ("notin", ("b", "abcdef"), (False, 16)),
        ("in", (3, [1, 2]), (False, 12)),
        ("notin", (3, (1, 2)), (True, 12)),
        ("in", (3, range(5)), (True, 15)),
        ("in", (3, {3: 4}), (True, 10)),
        ("in", ([1], [[1], 2]), (True, 16)),
        ("eq", (1, 1), (True, 12)),
        ("eq", ("a", 1), (False, 12)),
        ("eq", (["ab"], ["ab"]), (True, 18)),
        ("lteq", (1, 1), (True, 12)),
        ("gt", (2, 1), (True, 12)),
        ("gteq", (1, 1), (True, 12)),
        ("lt,lt", (1, 2, 3), (True, 24)),
        ("lt,lt", (1, 3, 3), (False, 24)),
        ("lt,gt", (2, 1, 0), (False, 12)),
        ("eq,eq", ("a", "a", "a"), (True, 22)),
    ],
)
def test_a_comparison_counts_what_it_reads(written: str, values: tuple[Any, ...], expected: tuple[bool, int]) -> None:
    """A call, and the characters and items that are looked at; after the first that does not hold no more is."""
    assert cost(lambda: compare(written, *values)) == expected


def test_a_chain_of_comparisons_is_whole() -> None:
    """An operator has a value on each side."""
    with pytest.raises(ValueError, match="zip"):
        compare("lt,lt", 1, 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("abc", 3), ("", 0), (5, 1), (None, 1), ([], 1), ({"a": [1, "bc"]}, 8), ((1, [2, ()]), 5), ([{"ab": "c"}], 7)],
)
def test_the_weight_of_a_value_is_all_within_it(value: Any, expected: int) -> None:
    """Each list, mapping, item and text one, and each character one."""
    assert weight(value) == expected
    assert cost(lambda: measured(value)) == (value, expected)


def test_a_weight_that_is_just_left_is_not_too_much() -> None:
    """One more is."""
    WORK.left = 3
    assert weight([1, 2]) == 3
    WORK.left = 2
    with pytest.raises(TooMuch):
        weight([1, 2])


def test_a_slice_costs_what_it_is_cut_from() -> None:
    """What is undefined says so, and is not measured."""
    assert cost(lambda: sliced("abcdef", 1, 5, 2)) == ("bd", 16)
    with pytest.raises(UndefinedError, match="'x' is undefined"):
        sliced(Undefined(name="x"), None, None, None)


def test_a_round_is_paid_for_when_it_begins() -> None:
    """Not all of them at first: a loop over millions may end early."""
    values = rounds([1, 2, 3], 7)
    assert cost(lambda: next(values)) == (1, 7)
    assert cost(lambda: [*values]) == ([2, 3], 14)


def test_work_ends_below_nothing() -> None:
    """What is left may be spent to the last unit; the refusal says how much there was."""
    assert Work().left == 1_000_000
    WORK.left = 5
    spend(5)
    with pytest.raises(TooMuch) as caught:
        spend(1)
    assert str(caught.value) == "the template does too much: more than 1,000,000 characters and items for one text"
    WORK.left = 5


if __name__ == "__main__":
    REFUSALS.write_text(redrawn(REFUSALS.read_text("utf-8")), "utf-8")
