"""The rules that join n, max_images, the mode and the references, by brute force against a plain predicate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import jsonschema_rs

from seedream_jobs.job.schema import check_payload

COUNTS = (None, *range(1, 17))
MODES = (None, "disabled", "auto")
URLS = [f"https://example.com/{number}.jpg" for number in range(16)]


def _may_be_sent(n: int | None, max_images: int | None, mode: str | None, references: int) -> bool:
    """The page's words, as arithmetic."""
    images = 1 if n is None else n
    if not 1 <= images <= 15 or references + images > 15:
        return False
    if max_images is None:
        return True
    grouped = mode == "auto" or images > 1
    return 1 <= max_images <= 15 and references + max_images <= 15 and grouped


def _all() -> Iterator[tuple[dict[str, Any], bool]]:
    for n, max_images, mode, references in product(COUNTS, COUNTS, MODES, range(17)):
        payload: dict[str, Any] = {"model": "doubao-seedream-5-0-lite", "prompt": "a dog"}
        if n is not None:
            payload["n"] = n
        if max_images is not None:
            payload["sequential_image_generation_options"] = {"max_images": max_images}
        if mode is not None:
            payload["sequential_image_generation"] = mode
        if references:
            payload["image_urls"] = URLS[:references]
        yield payload, _may_be_sent(n, max_images, mode, references)


def test_every_combination_has_the_predicate_s_verdict(request_schema: dict[str, Any]) -> None:
    """14,739 payloads: the schema says what the arithmetic says."""
    by_schema = jsonschema_rs.Draft7Validator(request_schema)
    wrong = [payload for payload, expected in _all() if by_schema.is_valid(payload) != expected]
    assert wrong == []


def test_a_job_s_request_has_the_same_sums(job_schema: dict[str, Any]) -> None:
    """In a job file the sums hold too; the mode is left to the payload, as an axis may set it."""
    by_schema = jsonschema_rs.Draft7Validator(job_schema)
    wrong = []
    for payload, _ in _all():
        n, most = payload.get("n", 1), payload.get("sequential_image_generation_options", {}).get("max_images", 1)
        references = len(payload.get("image_urls", []))
        expected = max(n, most) <= 15 and references + max(n, most) <= 15
        job = {"version": 1, "request": payload}
        if by_schema.is_valid(job) != expected:
            wrong.append(payload)
    assert wrong == []


def test_a_sum_above_fifteen_is_one_finding(strictly: Callable[[dict[str, Any]], Any]) -> None:
    """Whichever of n and max_images is too large for the references, one finding stands at the references."""
    several = []
    for index, (payload, expected) in enumerate(_all()):
        if expected or index % 37:
            continue
        found = check_payload(payload)
        n, options = payload.get("n", 1), payload.get("sequential_image_generation_options", {})
        sums = [m for m in found if m.code == "too-many-images"]
        too_many = len(payload.get("image_urls", [])) + max(
            n if n <= 15 else 0, options.get("max_images", 0) if options.get("max_images", 0) <= 15 else 0
        )
        if len(sums) != (too_many > 15) or not found:
            several.append((payload, found))
    assert several == []


def test_size_auto_asks_for_a_reference() -> None:
    """auto is refused with no reference and accepted with 1 to 14."""
    base = {"model": "doubao-seedream-5-0-lite", "prompt": "a dog", "size": "auto"}
    accepted = [count for count in range(16) if not check_payload({**base, "image_urls": URLS[:count]})]
    assert accepted == list(range(1, 15))
    assert check_payload(base)
