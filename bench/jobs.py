"""The job files that stages measure: a matrix of as many requests as one likes."""

from __future__ import annotations

import json
import math
from pathlib import Path

STYLES = ("photography", "ink painting", "watercolour", "woodcut", "oil on canvas")
SIZES = ("16:9", "1:1", "4:3", "3:4")
PER_SCENE = len(STYLES) * len(SIZES)
PROMPT = "{{ subject }} in a garden, {{ scene }}, {{ style.text }}, soft light before noon, {{ camera }}"


def shape(requests: int) -> tuple[int, int]:
    """How many subjects and scenes make so many requests (a multiple of 20), as equal as can be."""
    pairs, left = divmod(requests, PER_SCENE)
    assert not left, f"{requests} is no multiple of {PER_SCENE}"
    scenes = next(number for number in range(math.isqrt(pairs), 0, -1) if pairs % number == 0)
    return pairs // scenes, scenes


def subjects(count: int) -> list[str]:
    """So many subjects."""
    return [f"a heron number {number}" for number in range(count)]


def scenes(count: int) -> list[str]:
    """So many scenes."""
    return [f"spring morning {number}" for number in range(count)]


def write(folder: Path, requests: int, *, name: str = "garden") -> Path:
    """A job file of so many requests (a multiple of 20): four axes, two of which grow."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".git").mkdir(exist_ok=True)  # a campaign of its own, not a part of the checkout
    many, more = shape(requests)
    job = {
        "version": 1,
        "vars": {"camera": "35mm"},
        "request": {"prompt": PROMPT, "resolution": "2K"},
        "matrix": {
            "subject": subjects(many),
            "scene": scenes(more),
            "style": [{"id": text.split()[0], "text": text} for text in STYLES],
            "size": list(SIZES),
        },
        "limits": {"max_requests": 10_000_000},
    }
    file = folder / f"{name}.yaml"
    file.write_text(_yaml(job), encoding="utf-8")
    return file


def _yaml(job: dict[str, object]) -> str:
    """A JSON value per key: YAML, and quickly written."""
    lines = []
    for key, value in job.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            lines += [f"  {name}: {json.dumps(item, ensure_ascii=False)}" for name, item in value.items()]
        else:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"
