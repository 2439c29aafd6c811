"""What a model accepts and delivers, as data: ``schemas/models/*.json``.

A new model is a new file. Nothing about a model (its ids, ratios, pixels, limits, link life or price) is a constant
in code; the one exception is the frozen form v1 of a request's identity, in ``expand.identity``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from seedream_jobs.resources import resource

DEFAULT_MODEL = "doubao-seedream-5-0-lite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD for one delivered image, and the day it was read off the vendor's page (``YYYY-MM-DD``)."""

    usd_per_image: Decimal
    as_of: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLimits:
    """What a reference image may be: bytes, pixels, and width divided by height."""

    formats: tuple[str, ...]
    max_bytes: int
    min_side_exclusive: int
    max_pixels: int
    min_ratio: tuple[int, int]
    max_ratio: tuple[int, int]
    max_references_and_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One model: its canonical id, its aliases, and the rules of its requests.

    ``pixels[resolution][ratio]`` is (width, height) in pixels; ``link_life`` is in seconds.
    """

    id: str
    title: str
    aliases: tuple[str, ...]
    sizes: tuple[str, ...]
    resolutions: tuple[str, ...]
    pixels: Mapping[str, Mapping[str, tuple[int, int]]]
    max_images: int
    output_formats: tuple[str, ...]
    defaults: Mapping[str, Any]
    references: ReferenceLimits
    link_life: int
    price: Price | None


def load_profile(text: str) -> Profile:
    """The profile written in ``text`` (JSON, as ``schemas/model.schema.json`` describes it)."""
    raw = json.loads(text, parse_float=Decimal)
    references, price = raw["references"], raw["price"]
    return Profile(
        id=raw["id"],
        title=raw["title"],
        aliases=tuple(raw["aliases"]),
        sizes=tuple(raw["sizes"]),
        resolutions=tuple(raw["resolutions"]),
        pixels={
            resolution: {ratio: (width, height) for ratio, (width, height) in row.items()}
            for resolution, row in raw["pixels"].items()
        },
        max_images=raw["max_images"],
        output_formats=tuple(raw["output_formats"]),
        defaults=raw["defaults"],
        references=ReferenceLimits(
            formats=tuple(references["formats"]),
            max_bytes=references["max_bytes"],
            min_side_exclusive=references["min_side_exclusive"],
            max_pixels=references["max_pixels"],
            min_ratio=tuple(references["min_ratio"]),
            max_ratio=tuple(references["max_ratio"]),
            max_references_and_images=references["max_references_and_images"],
        ),
        link_life=raw["link_life_seconds"],
        price=None
        if price is None
        else Price(usd_per_image=Decimal(price["usd_per_image"]), as_of=price["as_of"], source=price["source"]),
    )


@cache
def profiles() -> Mapping[str, Profile]:
    """Every shipped profile, by canonical id and by each alias."""
    known: dict[str, Profile] = {}
    for file in sorted(resource("schemas", "models").glob("*.json")):
        profile = load_profile(file.read_text(encoding="utf-8"))
        known.update(dict.fromkeys((profile.id, *profile.aliases), profile))
    return known
