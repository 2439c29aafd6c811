"""Ratings become a review under version control: merged, deterministic, and never outside their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.errors import UsageError
from seedream_jobs.results.ratings import apply_ratings
from tests.lanes import examples

A, B, C = ("v1:" + letter * 64 for letter in "abc")


def export(*ratings: dict[str, Any], job: str = "garden", reviewer: str = "", votes: Any = ()) -> bytes:
    whole = [{"address": f"garden/{item['key'][-1]}#1", "index": 1, **item} for item in ratings]
    return json.dumps({"format": 1, "job": job, "reviewer": reviewer, "ratings": whole, "votes": list(votes)}).encode()


def vote(first: str, second: str, winner: str) -> dict[str, Any]:
    return {
        "axis": "style",
        "first": {"key": first, "index": 1},
        "second": {"key": second, "index": 1},
        "winner": winner,
    }


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def test_ratings_are_written_by_address(tmp_path: Path) -> None:
    path = apply_ratings(
        export({"key": B, "rating": 4}, {"key": A, "star": True, "note": "yes: 16:9\nno"}), tmp_path / "reviews"
    )
    assert path == tmp_path / "reviews" / "garden.yaml"
    assert read(path) == {
        "version": 1,
        "job": "garden",
        "ratings": [
            {"address": "garden/a#1", "key": A, "image": 1, "star": True, "note": "yes: 16:9\nno"},
            {"address": "garden/b#1", "key": B, "image": 1, "rating": 4},
        ],
    }


def test_a_later_export_replaces_takes_back_and_keeps(tmp_path: Path) -> None:
    apply_ratings(export({"key": A, "rating": 2}, {"key": B, "star": True}, {"key": C, "note": "keep"}), tmp_path)
    path = apply_ratings(
        export({"key": A, "rating": 5}, {"key": B, "star": False, "rating": None, "note": ""}), tmp_path
    )
    assert [(o["key"], o.get("rating"), o.get("note")) for o in read(path)["ratings"]] == [
        (A, 5, None),
        (C, None, "keep"),
    ]


def test_two_reviewers_have_an_opinion_each(tmp_path: Path) -> None:
    apply_ratings(export({"key": A, "rating": 2}, reviewer="Ana"), tmp_path)
    path = apply_ratings(export({"key": A, "rating": 5}, reviewer="Ben"), tmp_path)
    assert [(o["reviewer"], o["rating"]) for o in read(path)["ratings"]] == [("Ana", 2), ("Ben", 5)]


def test_a_vote_is_one_however_the_pair_was_shown(tmp_path: Path) -> None:
    path = apply_ratings(export(votes=[vote(A, B, "first"), vote(B, A, "second"), vote(B, C, "tie")]), tmp_path)
    assert [(v["first"]["key"], v["winner"]) for v in read(path)["votes"]] == [(A, "first"), (B, "tie")]
    assert read(apply_ratings(export(votes=[vote(B, A, "first")]), tmp_path))["votes"][0]["winner"] == "second"


@settings(max_examples=examples(60))
@given(
    st.lists(
        st.fixed_dictionaries(
            {"key": st.sampled_from([A, B, C]), "index": st.integers(1, 15)},
            optional={"star": st.booleans(), "rating": st.none() | st.integers(1, 5), "note": st.text(max_size=30)},
        ),
        max_size=6,
    )
)
def test_applying_twice_changes_nothing(tmp_path_factory: pytest.TempPathFactory, items: list[dict[str, Any]]) -> None:
    """Idempotent, and what was written is read back as it was, whatever the notes hold."""
    folder = tmp_path_factory.mktemp("reviews")
    data = export(*items)
    before = apply_ratings(data, folder).read_bytes()
    assert apply_ratings(data, folder).read_bytes() == before
    assert apply_ratings(export(), folder).read_bytes() == before


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"format": 1, "format": 1}', "occurs twice"),
        (b"[]", "not as the gallery writes them"),
        (export({"key": A, "rating": 6}), r"\$\.ratings\[0\]\.rating"),
        (export({"key": "x"}), "key"),
        (export({"key": A, "extra": 1}), "extra"),
        (export(job="../../etc/passwd"), "can't be the name"),
        (export(job=".hidden"), "can't be the name"),
        (export(job="a\nb"), "can't be the name"),
        (b" " * (16 * 1024 * 1024 + 1), "larger than 16 MiB"),
    ],
)
def test_a_wrong_export_is_refused_and_nothing_written(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        apply_ratings(data, tmp_path / "reviews")
    assert not (tmp_path / "reviews").exists()


@pytest.mark.parametrize(
    "text", ["[]", "version: 2", "version: 1\nratings: [{key: a}]", "a: [", "version: 1\nvotes: 7", ""]
)
def test_a_review_that_is_none_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "garden.yaml").write_text(text)
    with pytest.raises(UsageError, match="not a review this version can read"):
        apply_ratings(export({"key": A, "star": True}), tmp_path)
    assert (tmp_path / "garden.yaml").read_text() == text
