"""This module says what a model accepts and delivers, as data: ``schemas/models/*.json``.

Called by every stage that knows a limit, a price or a size. Invariant: a new model is a new file; nothing about a model
(its ids, ratios, pixels, limits, link life or price) is a constant in code, except the frozen form v1 of a request's
identity in ``expand.identity``.
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
class AdvisedPrompt:
    """The longest prompt that the model's maker advises: in words, and in Chinese characters (``han``)."""

    words: int
    han: int


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
    advised_prompt: AdvisedPrompt | None
    link_life: int
    price: Price | None


def load_profile(text: str) -> Profile:
    """The profile written in ``text`` (JSON, as ``schemas/model.schema.json`` describes it)."""
    raw = _with_tuples(json.loads(text))
    price, advised = raw.pop("price"), raw.pop("advised_prompt")
    return Profile(
        pixels={resolution: _with_tuples(row) for resolution, row in raw.pop("pixels").items()},
        references=ReferenceLimits(**_with_tuples(raw.pop("references"))),
        advised_prompt=advised and AdvisedPrompt(**advised),
        link_life=raw.pop("link_life_seconds"),
        # The file has the price as a string: as a JSON number it would be a float, which does not hold 0.0228 exactly.
        price=price and Price(**{**price, "usd_per_image": Decimal(price["usd_per_image"])}),
        **{name: value for name, value in raw.items() if name != "$schema"},  # that one is for editors
    )


def _with_tuples(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its lists as tuples, since a profile is shared by all jobs."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}


@cache
def profiles() -> Mapping[str, Profile]:
    """Every shipped profile, by canonical id and by each alias."""
    known: dict[str, Profile] = {}
    for file in sorted(resource("schemas", "models").glob("*.json")):
        profile = load_profile(file.read_text(encoding="utf-8"))
        known.update(dict.fromkeys((profile.id, *profile.aliases), profile))
    return known
