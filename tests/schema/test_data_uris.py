"""A reference image of 7 MiB passes the check without being copied, walked or printed."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from seedream_jobs.job.schema import SchemaFinding, check_payload

BASE = {"model": "doubao-seedream-5-0-lite", "prompt": "a dog"}
SIZE = 7 * 1024 * 1024


def _peak(payload: dict[str, Any]) -> tuple[int, list[SchemaFinding]]:
    """Bytes that the check allocates at most."""
    check_payload({"prompt": "x", "n": "1"})  # whatever is imported and compiled once
    tracemalloc.start()
    try:
        found = check_payload(payload)
        return tracemalloc.get_traced_memory()[1], found
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, None),
        ({"n": 15}, "too-many-images"),
        ({"n": "2"}, "number-quoted"),
        ({"size": "5:4"}, "not-allowed-value"),
        ({"imageurls": []}, "unknown-field"),
        ({"sequential_image_generation_options": {"max_images": 15}}, "max-images-without-auto"),
    ],
)
def test_large_references_cost_no_memory(change: dict[str, Any], code: str | None) -> None:
    """Good or refused for another reason, checking a request with two 7 MiB references allocates next to nothing."""
    uri = "data:image/png;base64," + "A" * SIZE
    peak, found = _peak({**BASE, "image_urls": [uri, uri], **change})
    assert code in [None, *(mistake.code for mistake in found)]
    assert bool(found) == (code is not None)
    assert peak < 1_000_000


def test_a_refused_reference_is_shown_by_its_head() -> None:
    """A large reference with a wrong prefix is refused in a sentence, not in 7 MiB."""
    peak, (found,) = _peak({**BASE, "image_urls": ["data:image/webp;base64," + "A" * SIZE]})
    assert peak < 1_000_000
    assert len(found.message) < 300
    assert "data:image/webp;base64,AAA" in found.message


class _Untouchable(str):
    """A text that may be looked at by a pattern, and by nothing that visits all of it."""

    def __repr__(self) -> str:
        raise AssertionError("printed")

    def __iter__(self) -> Any:
        raise AssertionError("walked")

    def __hash__(self) -> int:
        raise AssertionError("hashed")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    def __len__(self) -> int:
        raise AssertionError("measured")


@pytest.mark.parametrize("n", [1, 15])
def test_nothing_visits_a_reference(n: int) -> None:
    """Neither a yes nor a no prints, compares, hashes or walks a data URI."""
    uri = _Untouchable("data:image/png;base64," + "A" * 100)
    found = check_payload({**BASE, "n": n, "image_urls": [uri]})
    assert [mistake.code for mistake in found] == ([] if n == 1 else ["too-many-images"])
