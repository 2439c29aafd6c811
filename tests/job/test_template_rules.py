"""The bounds of templates: what holds at a bound goes, one more is refused, and nothing runs while it compiles."""

from __future__ import annotations

import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import nodes

from seedream_jobs.expand.request_builder import Column
from seedream_jobs.job import template as module
from seedream_jobs.job.condition import compile_condition
from seedream_jobs.job.template import FILTERS, TemplateProblem, compile_template, environment
from seedream_jobs.job.template_rules import (
    _PLAIN,
    _REFUSED,
    MAX_BLOCKS,
    MAX_DEPTH,
    MAX_NESTING,
    MAX_NODES,
    MAX_SOURCE,
    WORK,
    parse,
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
    "depth": ("{{ 1" + "+1" * (MAX_DEPTH - 3) + " }}", "{{ 1" + "+1" * MAX_DEPTH + " }}", "deep"),
    "parts": ("{{1}}" * (MAX_NODES - 2), "{{1}}" * (MAX_NODES - 1), "parts"),
    "digits": ("{{ 999999999999999999 }}", "{{ 9999999999999999999 }}", "digits"),
    "loops": ("{% for a in range(9000) %}{% endfor %}x", "{% for a in range(10001) %}{% endfor %}x", "too much"),
    "rounds": (squared(80), squared(101), "too much"),
    "text": ("{{ 'x' * 65536 }}", "{{ 'x' * 65537 }}", "65,537 characters"),
    "repeated": ("{{ ('x' * 100000)[:1] }}", "{{ ('x' * 100001)[:1] }}", "longer than 100,000"),
    "whole numbers": ("{{ 3037000499 * 3037000499 }}", "{{ 3037000500 * 3037000500 }}", "too large"),
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
