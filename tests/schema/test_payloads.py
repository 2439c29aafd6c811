"""The payload's schema: tables written by hand from the service's page (a file in payloads/ is a test), the rules that
join n, max_images, the mode and the references by brute force, and references of 7 MiB."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from seedream_jobs.job.schema import SchemaFinding, check_payload

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


# -- sums: against a plain predicate -------------------------------------------------------------------------------


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
        payload: dict[str, Any] = dict(BASE)
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
    base = {**BASE, "size": "auto"}
    accepted = [count for count in range(16) if not check_payload({**base, "image_urls": URLS[:count]})]
    assert accepted == list(range(1, 15))
    assert check_payload(base)


# -- large references: neither copied, walked nor printed ----------------------------------------------------------


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
