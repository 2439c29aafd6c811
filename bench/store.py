"""``results.json``: what was measured last, stage by stage, with the machine and the day."""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

from bench.result import Result

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
    import re

    return re.sub(r"\[\s+((?:-?[\d.e+-]+,?\s*)+)\]", lambda found: "[" + " ".join(found[1].split()) + "]", text)
