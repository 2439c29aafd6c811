"""What a stage of the bench found: rows of repeated measurements, goals and series; ``results.json`` keeps it."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was measured, once per round.

    :param values: one figure per round, in ``unit``
    :param base: whether the other rows' ratios are taken to this one
    :param compared: whether its own ratio to that one means something
    """

    what: str
    values: tuple[float, ...]
    unit: str
    base: bool = False
    compared: bool = True

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A ratio that is wished for, and what it was in each round.

    :param at_least: whether more is better
    :param why: the reason, told where the goal is missed
    """

    what: str
    ratios: tuple[float, ...]
    goal: float
    at_least: bool = False
    why: str = ""

    @property
    def median(self) -> float:
        """The ratio to quote."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        """Whether the median holds it."""
        return self.median >= self.goal if self.at_least else self.median <= self.goal


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A cost over sizes: (size, figure in ``unit``) pairs; the plot shows each relative to its first."""

    what: str
    unit: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one stage found. ``notes`` are sentences about how it was measured."""

    stage: str
    title: str
    rows: tuple[Row, ...]
    goals: tuple[Goal, ...] = ()
    series: tuple[Series, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """As it stands in results.json; figures with four digits that count."""
        return _rounded(asdict(self))

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Result:
        """The way back."""
        return cls(
            stage=raw["stage"],
            title=raw["title"],
            rows=tuple(Row(**{**row, "values": tuple(row["values"])}) for row in raw["rows"]),
            goals=tuple(Goal(**{**goal, "ratios": tuple(goal["ratios"])}) for goal in raw["goals"]),
            series=tuple(
                Series(**{**one, "points": tuple((size, cost) for size, cost in one["points"])})
                for one in raw["series"]
            ),
            notes=tuple(raw["notes"]),
        )


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """Round by round, so that a slow moment of the machine hits both sides."""
    return tuple(mine / other for mine, other in zip(ours, theirs, strict=True))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


FILE = Path(__file__).with_name("results.json")


def machine() -> str:
    """For people: processor, cores, kernel, Python."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def load() -> dict[str, Any]:
    """Stage to ``{"date", "machine", "result"}``."""
    if not FILE.exists():
        return {}
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def save(result: Result) -> None:
    """Put one stage's result in place of its earlier one."""
    known = load()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    known[result.stage] = {"date": today, "machine": machine(), "result": result.as_json()}
    text = json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True)
    FILE.write_text(_compact(text) + "\n", encoding="utf-8")


def _compact(text: str) -> str:
    """Lists of figures on one line: a diff then shows rows."""
    return re.sub(r"\[\s+((?:-?[\d.e+-]+,?\s*)+)\]", lambda found: "[" + " ".join(found[1].split()) + "]", text)
