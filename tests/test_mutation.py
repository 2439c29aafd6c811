"""The trial of mutants: a change is made where it belongs, and what the page argues is still in the code."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests import mutation

BEFORE = """
LIMIT = (1, 2)


def doubled(value: int, by: int = 2) -> int:
    return value * by


class Box:
    @property
    def size(self) -> int:
        return len([LIMIT for _ in range(3)])
"""


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    """A module that is imported, and another of ours that imported its value."""
    path = tmp_path / "victim.py"
    path.write_text(BEFORE)
    made = ModuleType("seedream_jobs.victim")
    made.__file__ = str(path)
    exec(compile(BEFORE, str(path), "exec", dont_inherit=True), vars(made))
    other = ModuleType("tests.bystander")
    other.KEPT = made.LIMIT  # type: ignore[attr-defined]
    sys.modules |= {made.__name__: made, other.__name__: other}
    yield made
    del sys.modules[made.__name__], sys.modules[other.__name__]


def mutant(old: str, new: str) -> mutation.Mutant:
    after = BEFORE.replace(old, new)
    line, was, now = mutation._change(BEFORE, after)
    places = mutation._places(BEFORE)
    where, function = next((name, inner) for first, last, name, inner in places if first <= line <= last)
    return mutation.Mutant(number=0, line=line, where=where, function=function, old=was, new=now, source=after)


def test_a_change_is_made_where_it_belongs(module: ModuleType) -> None:
    """In a function, a property, a table that others imported; a default is not reached by code alone."""
    assert not mutation.exchange(module, mutant("by: int = 2", "by: int = 3"))
    assert mutation.exchange(module, mutant("value * by", "value / by"))
    assert module.doubled(3) == 1.5
    changed = mutant("range(3)", "range(4)")
    assert (changed.where, changed.line) == ("Box.size", 12)
    assert mutation.exchange(module, changed)
    assert module.Box().size == 4
    assert mutation.exchange(module, mutant("(1, 2)", "(1, 3)"))
    assert module.LIMIT == sys.modules["tests.bystander"].KEPT == (1, 3)


def test_a_fork_that_hangs_or_dies_is_told_from_one_that_answers() -> None:
    """And changes nothing here."""
    changed: list[int] = []
    assert mutation.in_fork(lambda: changed.append(1) or "survived", 60) == "survived"
    assert changed == []
    assert mutation.in_fork(lambda: os._exit(3), 60) == "died"
    assert mutation.in_fork(lambda: time.sleep(60), 0.2) == "timeout"


def test_a_row_of_the_page_argues_one_change_or_several() -> None:
    """Of the same line; a bar within a table is escaped."""
    page = "| `a: b` | `x \\| y` → `x`, `x & y` | why |\n| `c: d` | `1` → `2` | `why` |\n| other | `3` | `4` |\n"
    assert mutation.accepted(page) == {("a: b", "x | y", "x"), ("a: b", "x | y", "x & y"), ("c: d", "1", "2")}


def test_what_the_page_argues_is_in_the_code() -> None:
    """A survivor whose line is gone is to be taken from the page."""
    rows = mutation.accepted(mutation.PAGE.read_text("utf-8"))
    assert rows
    for where, old, _ in rows:
        module = where.partition(":")[0]
        text = (mutation.ROOT / "seedream_jobs" / f"{module}.py").read_text("utf-8")
        assert old in " ".join(line.strip() for line in text.splitlines()), (where, old)
