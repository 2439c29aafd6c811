"""The scaling laws as an SVG: cost per request over the number of requests, each relative to its smallest size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from bench.result import Series
from bench.table import figure

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 24, 56
COLOURS = ("#3b6fb6", "#b6533b", "#3b8f5a", "#7a5ba8")
HIGHEST = 2.0  # times the cost at the smallest size


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
