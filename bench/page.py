"""``docs/performance.md`` and its plot, drawn from ``results.json``: no figure on the page is written by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from bench.result import Result, Series, load
from bench.table import figure, goal_cells, markdown, rows_of
from bench.timing import ROOT

PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "scaling.svg"

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 24, 56
COLOURS = ("#3b6fb6", "#b6533b", "#3b8f5a", "#7a5ba8")
HIGHEST = 2.0  # times the cost at the smallest size

HEAD = """# Performance

Drawn from `bench/results.json` (`python3 dev.py bench --save`, or one stage: `python3 dev.py bench submit`). Trust the
ratios more than the figures: both sides of a ratio are measured in turn, in one run. Each figure is a median, with the
spread of its rounds beside it; a ratio is the median of the rounds' ratios. No test of the suite looks at a clock.
"""

WHERE = """## Where the speed comes from

- **Start-up.** Only click is imported before a command is known, and a command imports what it needs. The version is a
  constant. Garbage collection runs seldom.
- **Load.** One pass over libyaml's events builds values, positions, duplicate keys and alias bounds at once.
- **Confinement.** A command that needs no key is forked before it imports its modules. That costs 4,000 page faults,
  some 15 ms: of three small examples −1 to +4 % for `validate` and 0 to +13 % for `plan` (30 pairs with and without the
  worker, processor time of the whole tree, on a busy machine; medians, ratios of medians and of minima).
- **Plan.** A distinct set of parameters is validated once and is the fixed part of a key; a template is cut into
  segments that read one axis, each evaluated once per value. A combination is a tuple of indexes.
- **Run.** A fixed set of workers, one connection each, without a pool: a pool's bookkeeping costs as much as the
  request itself. A thread syncs the journal; records that arrive while one fsync runs share the next.
- **Resume.** A manifest is read a piece at a time. A line with a good checksum is kept as it is, and decoded when
  that entry is needed.
"""


def draw(known: dict[str, Any]) -> str:
    """The page."""
    found = {stage: Result.from_json(entry["result"]) for stage, entry in known.items()}
    lines = [HEAD, "## Goals", ""]
    cells = [[f"[{stage}](#{stage})", *goal_cells(goal)] for stage, result in found.items() for goal in result.goals]
    lines += markdown(["stage", "what", "measured", "goal", ""], cells)
    lines += ["", "## Scaling", "", "![Cost per request over the number of requests](scaling.svg)", ""]
    lines += ["Cost per request, relative to the smallest size; flat is what is wanted.", "", WHERE]
    for stage, result in found.items():
        entry = known[stage]
        lines += [f"## {stage}", "", f"{result.title}. {entry['date']}, {entry['machine']}.", ""]
        lines += markdown(["", "median", "spread", "ratio"], rows_of(result))
        lines += ["", *result.notes, ""]
    return "\n".join(lines).rstrip() + "\n"


def plot(known: dict[str, Any]) -> str:
    """The plot of every series over a size, but for those of memory."""
    found = [Result.from_json(entry["result"]) for entry in known.values()]
    return svg([one for result in found for one in result.series if one.unit == "s"])


def ordered(known: dict[str, Any]) -> dict[str, Any]:
    """The stages in the order of the work."""
    from bench.__main__ import STAGES

    return {stage: known[stage] for stage in STAGES if stage in known}


def write() -> None:
    """Both files."""
    known = ordered(load())
    PAGE.write_text(draw(known), encoding="utf-8")
    if any(entry["result"]["series"] for entry in known.values()):
        PLOT.write_text(plot(known), encoding="utf-8")


def svg(series: Sequence[Series]) -> str:
    """The plot: a logarithmic axis of sizes, a linear one of relative cost; flat is good."""
    sizes = [size for one in series for size, _ in one.points]
    low, high = math.log10(min(sizes)), math.log10(max(sizes))
    top = max(HIGHEST, *(cost / one.points[0][1] for one in series for _, cost in one.points))

    def x(size: float) -> float:
        return LEFT + (math.log10(size) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(relative: float) -> float:
        return HEIGHT - BOTTOM - relative / top * (HEIGHT - TOP - BOTTOM)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 22 * len(series)}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13">',
        "<title>Cost per request over the number of requests</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT + 22 * len(series)}" fill="#ffffff"/>',
    ]
    for exponent in range(math.ceil(low), math.floor(high) + 1):
        at = x(10**exponent)
        lines.append(f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>')
        lines.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{10**exponent:,}</text>')
    for half in range(int(top * 2) + 1):
        at = y(half / 2)
        lines.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="#e4e4e4"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{half / 2:g}</text>')
    lines.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 14}" text-anchor="middle">requests</text>')
    for number, (one, colour) in enumerate(zip(series, COLOURS, strict=False)):
        lines += _curve(one, colour, [(x(size), y(cost / one.points[0][1])) for size, cost in one.points])
        below = HEIGHT + 22 * number + 6
        first, last = one.points[0], one.points[-1]
        legend = f"{one.what}: {figure(first[1], one.unit)} at {first[0]:,}, {figure(last[1], one.unit)} at {last[0]:,}"
        lines.append(f'<rect x="{LEFT}" y="{below - 10}" width="12" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{LEFT + 20}" y="{below + 1}">{escape(legend)}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _curve(one: Series, colour: str, points: list[tuple[float, float]]) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points]
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots]
