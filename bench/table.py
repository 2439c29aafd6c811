"""Results as tables: for a terminal, and for the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.result import Goal, Result, Row

_SCALE = {"s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))}


def figure(value: float, unit: str) -> str:
    """``12.3 ms``: three digits that count, in a unit a person reads."""
    if unit in _SCALE:
        for factor, name in _SCALE[unit]:
            if abs(value) >= factor:
                return f"{_digits(value / factor)} {name}"
    return f"{_digits(value)} {unit}".rstrip()


def _digits(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def rows_of(result: Result) -> list[list[str]]:
    """A row of text for each thing measured: what, median, spread, ratio to the base."""
    base = next((row for row in result.rows if row.base), None)
    return [[row.what, figure(row.median, row.unit), _spread(row), _ratio(row, base)] for row in result.rows]


def _spread(row: Row) -> str:
    if len(row.values) < 2:
        return ""
    return f"{figure(min(row.values), row.unit)} … {figure(max(row.values), row.unit)}"


def _ratio(row: Row, base: Row | None) -> str:
    if base is None or not row.compared or row.unit != base.unit:
        return ""
    return _digits(row.median / base.median) if base.median else ""


def goal_cells(goal: Goal) -> list[str]:
    """What, the measured ratio with its spread, the goal, the verdict."""
    spread = f" ({_digits(min(goal.ratios))} … {_digits(max(goal.ratios))})" if len(goal.ratios) > 1 else ""
    sign = "≥" if goal.at_least else "≤"
    verdict = "met" if goal.met else f"**missed**{': ' if goal.why else ''}{goal.why}"
    return [goal.what, f"{_digits(goal.median)}{spread}", f"{sign} {_digits(goal.goal)}", verdict]


def text(result: Result) -> str:
    """A stage for a terminal."""
    lines = [result.title, ""]
    lines += _columns([["", "median", "spread", "ratio"], *rows_of(result)])
    if result.goals:
        lines += ["", *_columns([["goal", "measured", "wanted", ""], *map(goal_cells, result.goals)])]
    lines += [f"  {note}" for note in result.notes]
    return "\n".join(lines) + "\n"


def _columns(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]


def markdown(head: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    """A table of the page."""
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    return [*lines, *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in cells)]
