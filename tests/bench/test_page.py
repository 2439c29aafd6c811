"""docs/performance.md holds no figure that was not measured, and the bench's own arithmetic is right."""

from __future__ import annotations

import ast
import importlib
import json
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def checkout_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench is run from the checkout; it is not in the wheel."""
    monkeypatch.syspath_prepend(str(ROOT))


def known() -> dict[str, Any]:
    page, result = importlib.import_module("bench.page"), importlib.import_module("bench.result")
    found: dict[str, Any] = page.ordered(result.load())
    return found


def test_the_page_is_drawn_from_the_results() -> None:
    """``python3 dev.py bench --draw`` writes it."""
    page = importlib.import_module("bench.page")
    assert page.PAGE.read_text(encoding="utf-8") == page.draw(known())


def test_the_plot_is_drawn_from_the_results() -> None:
    """It is well-formed, and has a curve for each law."""
    page = importlib.import_module("bench.page")
    text = page.PLOT.read_text(encoding="utf-8")
    assert text == page.plot(known())
    curves = xml.etree.ElementTree.fromstring(text).findall("{http://www.w3.org/2000/svg}polyline")
    assert len(curves) == 3


def test_results_survive_the_way_through_json() -> None:
    """What is saved is what is drawn."""
    result = importlib.import_module("bench.result")
    for entry in known().values():
        raw = entry["result"]
        assert json.loads(json.dumps(result.Result.from_json(raw).as_json())) == raw


def test_every_stage_has_a_title_and_a_run() -> None:
    """Read, not imported: a stage may need a browser."""
    stages = importlib.import_module("bench.__main__").STAGES
    for stage in stages:
        tree = ast.parse((ROOT / "bench" / f"{stage}.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree)
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert "run" in functions, stage
    assert set(known()) <= set(stages)


def test_a_goal_is_held_by_the_median() -> None:
    """A ratio per round; a slow round does not decide."""
    goal = importlib.import_module("bench.result").Goal
    assert goal(what="x", ratios=(0.5, 1.0, 9.0), goal=1.0).met
    assert not goal(what="x", ratios=(0.5, 1.1, 9.0), goal=1.0).met
    assert goal(what="x", ratios=(0.5, 1.1, 9.0), goal=1.0, at_least=True).met


def test_figures_are_said_in_a_unit_that_people_read() -> None:
    """Microseconds stay microseconds."""
    figure = importlib.import_module("bench.table").figure
    assert [figure(value, "s") for value in (0.0000123, 0.0123, 1.23, 123.0)] == [
        "12.3 µs",
        "12.3 ms",
        "1.23 s",
        "123 s",
    ]
    assert figure(1280, "/s") == "1,280 /s"
