"""The payload's schema against tables written by hand from the service's page; a file in payloads/ is a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.job.schema import check_payload

FOLDER = Path(__file__).with_name("payloads")
BASE = {"model": "doubao-seedream-5-0-lite", "prompt": "a dog in a garden"}
CASES = [
    pytest.param(case, id=f"{file.stem}: {case['why']}")
    for file in sorted(FOLDER.glob("*.json"))
    for case in json.loads(file.read_text(encoding="utf-8"))
]


def _payload(case: dict[str, Any]) -> dict[str, Any]:
    payload = case["payload"] if "payload" in case else {**BASE, **case["fields"]}
    if "references" in case:
        payload["image_urls"] = [f"https://example.com/{number}.jpg" for number in range(case["references"])]
    return dict(payload)


@pytest.mark.parametrize("case", CASES)
def test_the_page_s_rules(case: dict[str, Any]) -> None:
    """A good payload has no finding; a bad one has exactly the one finding that names its mistake."""
    found = [(mistake.code, list(mistake.path)) for mistake in check_payload(_payload(case))]
    assert found == ([(case["code"], case["path"])] if "code" in case else [])


def test_there_are_enough_of_both() -> None:
    """The tables hold at least sixty payloads, good ones and bad ones."""
    bad = sum("code" in case.values[0] for case in CASES)
    assert len(CASES) >= 60
    assert 30 <= bad <= len(CASES) - 30


def test_refused_values_the_page_names_have_their_own_sentence() -> None:
    """9:21 and 1K are refused by name, with what to write instead."""
    (size,) = check_payload({**BASE, "size": "9:21"})
    (resolution,) = check_payload({**BASE, "resolution": "1K"})
    assert ("9:21" in size.message, size.hint) == (True, "write 9:16")
    assert ("1K" in resolution.message, resolution.hint) == (True, "write 2K")


def test_several_mistakes_are_all_found_at_once() -> None:
    """Each of three mistakes has its finding."""
    found = check_payload({**BASE, "n": "2", "size": "5:4", "negative_prompt": "blur"})
    assert {mistake.path for mistake in found} == {("n",), ("size",), ("negative_prompt",)}


def test_extra_fields_are_let_through_by_name() -> None:
    """A field that request.extra names is not looked at; any other unknown one still is."""
    assert check_payload({**BASE, "new_field": {"deep": [1.0]}}, extra=["new_field"]) == []
    assert [m.path for m in check_payload({**BASE, "new_field": 1, "other": 2}, extra=["new_field"])] == [("other",)]


def test_a_local_reference_counts_and_is_accepted() -> None:
    """A reference that stands as its digest is as good as the data URI it will be, and counts in the sum."""
    local = [f"sha256:{number:064x}" for number in range(15)]
    assert check_payload({**BASE, "image_urls": local[:14], "size": "auto"}) == []
    assert [m.code for m in check_payload({**BASE, "image_urls": local})] == ["too-many-images"]


def test_the_payload_is_left_as_it_was() -> None:
    """Checking changes nothing in what was passed."""
    payload = {**BASE, "image_urls": ["sha256:" + "0" * 64], "x": 1}
    before = json.dumps(payload)
    check_payload(payload, extra=["x"])
    assert json.dumps(payload) == before
