"""``docs/performance.md`` and its plot, drawn from ``results.json``: no figure on the page is written by hand."""

from __future__ import annotations

from typing import Any

from bench import store
from bench.plot import svg
from bench.result import Result
from bench.table import goal_cells, markdown, rows_of
from bench.timing import ROOT

PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "scaling.svg"

HEAD = """# Performance

Drawn from `bench/results.json` (`python3 dev.py bench --save`, or one stage: `python3 dev.py bench submit`). Figures of
one machine age; ratios of two things measured in turn, in one run, less so. Each figure is a median, with the spread of
its rounds beside it; a ratio is the median of the rounds' ratios. No test of the suite looks at a clock: the suite
holds what makes things quick (which modules a command imports, that fast paths give what the plain ones give), the
bench says how quick.
"""

WHERE = """## Where the speed comes from

- **Start-up.** Only click is imported before a command is known, and a command imports what it needs. The version is a
  constant. Python looks for rubbish seldom, and the process ends without taking its modules apart.
- **Load.** One pass over libyaml's events builds values, positions, duplicate keys and alias bounds at once.
- **Plan.** What axes share is made once: a distinct set of parameters is validated once and is the fixed part of a key;
  a template is cut into the parts that read one axis, each evaluated once per value. A combination is a tuple of
  indexes.
- **Run.** A fixed set of workers, one connection each, without a pool: a pool's bookkeeping costs as much as the
  request itself. A thread syncs the journal; whatever gathered while the last fsync ran shares the next.
- **Resume.** A manifest is read a piece at a time. A line whose checksum is good is kept as it is, and decoded
  when somebody asks for that entry.
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
    known = ordered(store.load())
    PAGE.write_text(draw(known), encoding="utf-8")
    if any(entry["result"]["series"] for entry in known.values()):
        PLOT.write_text(plot(known), encoding="utf-8")
