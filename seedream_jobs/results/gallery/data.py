"""Turns runs into the page's data: pooled, compact, and harmless inside a script.

Everything crosses into the page as JSON text inside JavaScript string literals, read by ``JSON.parse``: no value can
end the script element, and none (``__proto__`` included) is ever evaluated as code. One line per cell, so that a
regenerated page diffs line by line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from seedream_jobs.results.gallery.values import Cell, Run, href

AxisKind = Literal["axis", "repeat", "image", "run"]

# What must not stand raw in a script element, in a JavaScript string of any edition, or in UTF-8.
_UNSAFE = re.compile("[<>&'\u007f-\u009f\u2028\u2029\ufeff\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAxis:
    """An axis of the page: one of the jobs' axes, or one that every page may have (repeat, image, run)."""

    name: str
    kind: AxisKind
    values: tuple[str, ...]


def page_axes(runs: Sequence[Run]) -> tuple[PageAxis, ...]:
    """The union of all runs' axes and labels, in order of first appearance, and the page's own axes where they vary.

    A label that only a cell has (an ``include``) joins its axis at the end.
    """
    labels: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, values in run.axes.items():
            labels.setdefault(name, {}).update(dict.fromkeys(values))
        for cell in run.cells:
            for name, label in cell.axes.items():
                labels.setdefault(name, {})[label] = None
    repeats = max((cell.repeat for run in runs for cell in run.cells), default=1)
    images = max((cell.index for run in runs for cell in run.cells), default=1)
    axes = [PageAxis(name=name, kind="axis", values=tuple(values)) for name, values in labels.items()]
    if repeats > 1:
        axes.append(PageAxis(name="repeat", kind="repeat", values=tuple(str(n + 1) for n in range(repeats))))
    if images > 1:
        axes.append(PageAxis(name="image", kind="image", values=tuple(str(n + 1) for n in range(images))))
    if len(runs) > 1:
        axes.append(PageAxis(name="run", kind="run", values=tuple(run.title or run.name for run in runs)))
    return tuple(axes)


def literal(value: Any) -> str:
    """A JavaScript string literal whose content is ``value`` as JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain)
    # First escapes that JSON.parse undoes, then the backslashes of the literal around it.
    text = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return "'" + text.replace("\\", "\\\\") + "'"


def data_script(runs: Sequence[Run], *, title: str, generated_at: str | None, images: bool = True) -> str:
    """The classic script that holds the page's data.

    :param images: False leaves out every reference to a file, for a page that stands alone
    :raises ValueError: for an image that is not a relative path
    """
    axes = page_axes(runs)
    ranks = {axis.name: {label: n for n, label in enumerate(axis.values)} for axis in axes if axis.kind == "axis"}
    own = [axis.kind for axis in axes if axis.kind != "axis"]
    pool = _Pool()
    lines = [
        literal(_cell(cell, number, _place(cell, number, ranks, own), pool, images=images))
        for number, run in enumerate(runs)
        for cell in run.cells
    ]
    header = {
        "format": 1,
        "title": title,
        "generated_at": generated_at,
        "axes": [{"name": axis.name, "kind": axis.kind, "values": axis.values} for axis in axes],
        "runs": [
            {
                "name": run.name,
                "title": run.title or run.name,
                "cost_usd": _money(run.cost_usd),
                "max_cost_usd": _money(run.max_cost_usd),
            }
            for run in runs
        ],
        "payloads": pool.items,
    }
    body = ",\n".join(lines)
    return f"'use strict';\nglobalThis.seedreamGallery = {{\nheader: {literal(header)},\ncells: [\n{body}\n]}};\n"


class _Pool:
    """Payloads without their prompt: a few among thousands of cells, so each is written once."""

    def __init__(self) -> None:
        self.items: list[Mapping[str, Any]] = []
        self._known: dict[str, int] = {}

    def number(self, payload: Mapping[str, Any]) -> int:
        rest = {name: value for name, value in payload.items() if name != "prompt"}
        text = json.dumps(rest, separators=(",", ":"), allow_nan=False, default=_plain)
        if text not in self._known:
            self._known[text] = len(self.items)
            self.items.append(rest)
        return self._known[text]


def _cell(cell: Cell, run: int, at: list[int], pool: _Pool, *, images: bool) -> dict[str, Any]:
    """A cell as the page reads it; what is absent is left out."""
    told: dict[str, Any] = {
        "key": cell.key,
        "address": cell.address,
        "at": at,
        "run": run,
        "repeat": cell.repeat,
        "index": cell.index,
        "state": cell.state,
        "prompt": cell.prompt,
        "payload": pool.number(cell.payload),
        "image": href(cell.image) if cell.image and images else None,
        "thumbnail": href(cell.thumbnail) if cell.thumbnail and images else None,
        "width": cell.width,
        "height": cell.height,
        "sha256": cell.sha256,
        "task": cell.task_id,
        "cost": _money(cell.cost_usd),
        "error": cell.error,
        "warnings": list(cell.warnings) or None,
        "submitted": None if cell.submitted_at is None else instant(cell.submitted_at),
    }
    return {name: value for name, value in told.items() if value is not None}


def _place(cell: Cell, run: int, ranks: Mapping[str, Mapping[str, int]], own: Sequence[AxisKind]) -> list[int]:
    """The numbers of the cell's values along the page's axes; -1 where it has none."""
    numbers: dict[AxisKind, int] = {"repeat": cell.repeat - 1, "image": cell.index - 1, "run": run}
    named = [rank[cell.axes[name]] if name in cell.axes else -1 for name, rank in ranks.items()]
    return named + [numbers[kind] for kind in own]


def instant(seconds: int) -> str:
    """Unix seconds as the page prints them, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _plain(value: Any) -> Any:
    """What ``json`` doesn't know: decimals as written, mappings and tuples as themselves."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a payload")
